//! The destination of an online backup that gives every page away instead of keeping it: a VFS of
//! its own for every sink, so that no state is global.

use std::ffi::{CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, ffi};

use super::callbacks::{full_pathname, no_file_beside};
use super::result::{check, unsupported};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{random_bytes, write_hex};

/// A page that SQLite wrote to the sink: its offset and content.
pub(crate) type Write = (u64, Vec<u8>);

/// The destination of an online backup that gives every page away instead of keeping it.
pub(crate) struct PageSink<'c> {
    backup: NonNull<ffi::sqlite3_backup>,
    destination: Option<Connection>,
    vfs: Box<SinkVfs>,
    source: PhantomData<&'c mut Connection>,
}

// SAFETY: the sink holds the source connection exclusively, owns the destination, and every method
// takes `&mut self`, so one thread at a time uses the backup; connections may change threads.
unsafe impl Send for PageSink<'_> {}

impl<'c> PageSink<'c> {
    /// Begins a backup of `source`, which should hold a read transaction so that the copy is of
    /// one moment.
    pub(crate) fn begin(source: &'c mut Connection) -> Result<Self> {
        let vfs = SinkVfs::register()?;
        let destination = vfs.connect().inspect_err(|_| vfs.unregister())?;
        // SAFETY: both connections are open, and this struct keeps them so: it borrows the source
        // and owns the destination.
        let backup = unsafe {
            ffi::sqlite3_backup_init(
                destination.handle(),
                c"main".as_ptr(),
                source.handle(),
                c"main".as_ptr(),
            )
        };
        match NonNull::new(backup) {
            Some(backup) => {
                Ok(Self { backup, destination: Some(destination), vfs, source: PhantomData })
            }
            None => {
                drop(destination);
                vfs.unregister();
                Err(unsupported("the online backup API"))
            }
        }
    }

    /// Copies up to `pages` more pages and makes SQLite write them. Answers whether all are done.
    pub(crate) fn step(&mut self, pages: u32) -> Result<bool> {
        let pages = c_int::try_from(pages).unwrap_or(c_int::MAX);
        // SAFETY: the backup is open until drop.
        let rc = unsafe { ffi::sqlite3_backup_step(self.backup.as_ptr(), pages) };
        if rc == ffi::SQLITE_DONE {
            return Ok(true);
        }
        check(rc, "cannot be copied")?;
        if let Some(destination) = &self.destination {
            destination
                .cache_flush()
                .map_err(|e| Error::new(ErrorKind::Source, "cannot be copied").with_source(e))?;
        }
        Ok(false)
    }

    /// The pages written since the last call, in the order of their offsets.
    pub(crate) fn take(&mut self) -> Vec<Write> {
        let mut writes = std::mem::take(&mut *self.vfs.sink.lock());
        writes.sort_by_key(|(offset, _)| *offset);
        writes
    }
}

impl Drop for PageSink<'_> {
    fn drop(&mut self) {
        // SAFETY: finished exactly once, while both connections are open. Its answer repeats what
        // `step` answered.
        unsafe { ffi::sqlite3_backup_finish(self.backup.as_ptr()) };
        self.destination = None;
        self.vfs.unregister();
    }
}

/// Where the sink's file puts what is written to it.
#[derive(Default)]
struct Sink(Mutex<Vec<Write>>);

impl Sink {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Write>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A VFS of its own for every sink, so that no state is global.
struct SinkVfs {
    vfs: ffi::sqlite3_vfs,
    name: CString,
    sink: Box<Sink>,
}

/// The sink's file, in memory that SQLite allocates.
#[repr(C)]
struct SinkFile {
    base: ffi::sqlite3_file,
    sink: *const Sink,
    size: i64,
}

impl SinkVfs {
    fn register() -> Result<Box<Self>> {
        let mut name = String::from("pagekeep-sink-");
        write_hex(&mut name, &random_bytes::<8>()?)
            .map_err(|e| Error::new(ErrorKind::Failure, "no name for a VFS").with_source(e))?;
        let name = CString::new(name)
            .map_err(|e| Error::new(ErrorKind::Failure, "no name for a VFS").with_source(e))?;
        let sink = Box::<Sink>::default();
        let vfs = ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: c_int::try_from(size_of::<SinkFile>()).unwrap_or(c_int::MAX),
            mxPathname: 64,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: (&raw const *sink).cast_mut().cast::<c_void>(),
            xOpen: Some(sink_open),
            xDelete: Some(sink_delete),
            xAccess: Some(no_file_beside),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(sink_randomness),
            xSleep: Some(sink_sleep),
            xCurrentTime: Some(sink_current_time),
            xGetLastError: None,
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        let mut registered = Box::new(Self { vfs, name, sink });
        // SAFETY: the struct is boxed, so the VFS stays where it is until `unregister`.
        let rc = unsafe { ffi::sqlite3_vfs_register(&raw mut registered.vfs, 0) };
        check(rc, "takes no VFS")?;
        Ok(registered)
    }

    fn connect(&self) -> Result<Connection> {
        let open = || {
            let name = self.name.to_str().unwrap_or_default();
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags_and_vfs("sink", flags, name)?;
            // No journal, no syncs, and a cache that holds a step: pages reach the sink when
            // `step` flushes them, in order.
            connection.execute_batch(
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-8192;",
            )?;
            Ok(connection)
        };
        open().map_err(|e: rusqlite::Error| {
            Error::new(ErrorKind::Failure, "cannot open the page sink").with_source(e)
        })
    }

    fn unregister(&self) {
        // SAFETY: SQLite looks for the pointer in its list and unlinks it; it writes nothing else.
        // No connection uses the VFS any more: the destination is closed before.
        unsafe { ffi::sqlite3_vfs_unregister((&raw const self.vfs).cast_mut()) };
    }
}

static SINK_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(sink_close),
    xRead: Some(sink_read),
    xWrite: Some(sink_write),
    xTruncate: Some(sink_truncate),
    xSync: Some(sink_flags),
    xFileSize: Some(sink_file_size),
    xLock: Some(sink_flags),
    xUnlock: Some(sink_flags),
    xCheckReservedLock: Some(sink_check_reserved),
    xFileControl: Some(sink_file_control),
    xSectorSize: Some(sink_sector_size),
    xDeviceCharacteristics: Some(sink_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn sink_open(
    vfs: *mut ffi::sqlite3_vfs,
    _name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite allocated szOsFile bytes for the file; pMethods must be set even on failure.
    unsafe { (*file).pMethods = ptr::null() };
    if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
        return ffi::SQLITE_CANTOPEN;
    }
    let file = file.cast::<SinkFile>();
    // SAFETY: as above, and `vfs` is the one that was registered, whose pAppData is its sink.
    unsafe {
        file.write(SinkFile {
            base: ffi::sqlite3_file { pMethods: &raw const SINK_METHODS },
            sink: (*vfs).pAppData.cast::<Sink>(),
            size: 0,
        });
        if !out.is_null() {
            *out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_randomness(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn sink_sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    micros
}

unsafe extern "C" fn sink_current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes a place for the answer. Nothing in a backup asks for the time.
    unsafe { *out = 2_440_587.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_close(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_read(
    _: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    len: c_int,
    _: i64,
) -> c_int {
    // The sink keeps nothing. A backup reads its destination only to learn that it is empty.
    // SAFETY: SQLite passes a buffer of `len` bytes.
    unsafe { ptr::write_bytes(buffer.cast::<u8>(), 0, usize::try_from(len).unwrap_or(0)) };
    ffi::SQLITE_IOERR_SHORT_READ
}

unsafe extern "C" fn sink_write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    let (Ok(count), Ok(place)) = (usize::try_from(len), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    let file = file.cast::<SinkFile>();
    // SAFETY: the file is ours, its sink outlives it, and the buffer has `len` bytes.
    unsafe {
        let content = std::slice::from_raw_parts(buffer.cast::<u8>(), count);
        (*file).size = (*file).size.max(offset.saturating_add(len.into()));
        (*(*file).sink).lock().push((place, content.to_vec()));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is ours.
    unsafe { (*file.cast::<SinkFile>()).size = size };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: the file is ours, and SQLite passes a place for the answer.
    unsafe { *out = (*file.cast::<SinkFile>()).size };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_flags(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_check_reserved(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a place for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sink_file_control(
    _: *mut ffi::sqlite3_file,
    _: c_int,
    _: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sink_sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn sink_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    0
}
