//! SQLite's own file handles, the wal-index, and what connections are told about files.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

use super::result::{check, unsupported};
use crate::error::Result;

/// Bytes of the wal-index that tell where the WAL stands: the header twice, then `nBackfill` and
/// the read marks.
pub(crate) const WAL_INDEX_LEN: usize = 136;

/// A handle that SQLite has open.
pub(crate) struct FileRef<'c> {
    file: NonNull<ffi::sqlite3_file>,
    methods: &'c ffi::sqlite3_io_methods,
    connection: PhantomData<&'c Connection>,
}

impl<'c> FileRef<'c> {
    /// The handle of the main database file; `None` for a database without a file.
    pub(crate) fn database(connection: &'c Connection) -> Result<Option<Self>> {
        Self::control(connection, ffi::SQLITE_FCNTL_FILE_POINTER)
    }

    /// The handle of the journal: of the WAL, in WAL mode, once the database was read.
    pub(crate) fn journal(connection: &'c Connection) -> Result<Option<Self>> {
        Self::control(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)
    }

    fn control(connection: &'c Connection, op: c_int) -> Result<Option<Self>> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open for the life of the borrow; both operations write one
        // pointer to the place given, which is a local of that type.
        let rc = unsafe {
            ffi::sqlite3_file_control(
                connection.handle(),
                c"main".as_ptr(),
                op,
                (&raw mut file).cast::<c_void>(),
            )
        };
        check(rc, "cannot give its file handle")?;
        let Some(file) = NonNull::new(file) else { return Ok(None) };
        // SAFETY: SQLite answered a pointer to its own sqlite3_file, whose pMethods is null for a
        // file that is not open and else points to a static table.
        let methods = unsafe { file.as_ref().pMethods.as_ref() };
        Ok(methods.map(|methods| Self { file, methods, connection: PhantomData }))
    }

    /// Reads `buffer.len()` bytes at `offset`. What lies beyond the end of the file reads as zeros,
    /// as it does for SQLite; the answer tells whether anything did.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        let read = self.methods.xRead.ok_or_else(|| unsupported("xRead"))?;
        let len = c_int::try_from(buffer.len()).map_err(|_| unsupported("so long a read"))?;
        let offset = i64::try_from(offset).map_err(|_| unsupported("so high an offset"))?;
        // SAFETY: the handle is open (its methods were there), the buffer has `len` bytes, and
        // the borrow of the connection keeps other users of the handle away.
        let rc =
            unsafe { read(self.file.as_ptr(), buffer.as_mut_ptr().cast::<c_void>(), len, offset) };
        if rc == ffi::SQLITE_IOERR_SHORT_READ {
            return Ok(true);
        }
        check(rc, "cannot be read")?;
        Ok(false)
    }

    /// The size of the file in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        let size_of = self.methods.xFileSize.ok_or_else(|| unsupported("xFileSize"))?;
        let mut size = 0;
        // SAFETY: as in `read_at`; the callee writes one i64.
        check(unsafe { size_of(self.file.as_ptr(), &raw mut size) }, "has no size")?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// The first bytes of the wal-index, as they stand at this moment; other processes write them
    /// all the while, so a caller compares the two copies of the header. `None` where the database
    /// has no shared wal-index.
    pub(crate) fn wal_index(&self) -> Result<Option<[u8; WAL_INDEX_LEN]>> {
        let Some(map) = self.methods.xShmMap.filter(|_| self.methods.iVersion >= 2) else {
            return Ok(None);
        };
        let mut region: *mut c_void = ptr::null_mut();
        // SAFETY: as in `read_at`. Region 0 of 32 KiB is the one that SQLite itself maps; with
        // bExtend 0 the call only answers what is mapped or exists.
        let rc = unsafe { map(self.file.as_ptr(), 0, 32 * 1024, 0, &raw mut region) };
        check(rc, "has no wal-index")?;
        if region.is_null() {
            return Ok(None);
        }
        if let Some(barrier) = self.methods.xShmBarrier {
            // SAFETY: as above.
            unsafe { barrier(self.file.as_ptr()) };
        }
        let mut words = [[0u8; 4]; WAL_INDEX_LEN / 4];
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: the region has 32 KiB, is aligned to a page, and stays mapped as long as the
            // connection has the WAL open; volatile, since others write it.
            let value = unsafe { region.cast::<u32>().add(i).read_volatile() };
            *word = value.to_ne_bytes();
        }
        let mut bytes = [0; WAL_INDEX_LEN];
        bytes.copy_from_slice(words.as_flattened());
        Ok(Some(bytes))
    }
}

/// Lets no other file be opened or made on a connection: `ATTACH` and `VACUUM INTO` fail.
pub(crate) fn forbid_other_files(connection: &Connection) {
    // SAFETY: the connection is open for the life of the borrow; the call changes a number of it.
    unsafe { ffi::sqlite3_limit(connection.handle(), ffi::SQLITE_LIMIT_ATTACHED, 0) };
}

/// Lets the WAL stay when the connection is the last to close: it is checkpointed then, but not
/// removed.
pub(crate) fn keep_wal_on_close(connection: &Connection) -> Result<()> {
    let mut keep: c_int = 1;
    // SAFETY: the connection is open for the life of the borrow; the operation reads and writes one
    // int at the place given.
    let rc = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut keep).cast::<c_void>(),
        )
    };
    check(rc, "cannot keep its WAL")
}
