//! The callbacks of a read-only VFS, whose files are databases that somebody serves page by page.
//!
//! There is one such VFS in a process. It is registered when it is needed for the first time and
//! never unregistered, so there is no moment at which a connection could outlive it. A file is
//! found by a name that nobody can guess, and only as long as [`Served`] is there; once SQLite has
//! opened it, it holds on to what it reads from until SQLite closes it.
//!
//! The device says of itself that nothing on it ever changes (`SQLITE_IOCAP_IMMUTABLE`). So SQLite
//! takes no locks, looks for no journal, and opens a database in WAL mode without a wal-index:
//! page 1 is shown as it was captured. Of a database that moves ([`PageProvider::moves`]) it does
//! not say so: SQLite takes locks, which are nothing here, and looks at the change counter with
//! each transaction.
//!
//! SQLite's temporary files do not come here: the VFS "unix" opens them, as for any connection.

use std::any::Any;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::ffi;

use super::callbacks::{full_pathname, no_file_beside};
use super::result::check;
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::provider::PageProvider;
use crate::types::{PageNo, random_bytes, write_hex};

/// A database that SQLite can open by a URI, as long as this is there.
pub(crate) struct Served {
    name: String,
    database: Arc<Database>,
}

/// What the callbacks read from.
struct Database {
    provider: Box<dyn PageProvider>,
    /// Why the last read that failed did so.
    failed: Mutex<Option<Error>>,
}

/// The databases that can be opened, by name.
static SERVED: LazyLock<Mutex<HashMap<String, Arc<Database>>>> = LazyLock::new(Mutex::default);

impl Served {
    pub(crate) fn begin(provider: Box<dyn PageProvider>) -> Result<Self> {
        Vfs::registered()?;
        let name = random_name("view-")?;
        let database = Arc::new(Database { provider, failed: Mutex::new(None) });
        lock(&SERVED).insert(name.clone(), database.clone());
        Ok(Self { name, database })
    }

    /// What a connection opens or attaches.
    pub(crate) fn uri(&self) -> Result<String> {
        let vfs = Vfs::registered()?.name.to_string_lossy();
        Ok(format!("file:{}?vfs={vfs}", self.name))
    }

    /// Why the last read that failed did so, once.
    pub(crate) fn take_error(&self) -> Option<Error> {
        lock(&self.database.failed).take()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // What is served may be the last of its kind, and take a while to end.
        let served = lock(&SERVED).remove(&self.name);
        drop(served);
    }
}

impl Database {
    /// Fills a buffer from an offset on. Returns how many of its bytes are there.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let page_size = self.provider.page_size();
        let (page_len, size) =
            (u64::from(page_size.get()), page_size.file_len(self.provider.pages()));
        let mut done = 0;
        let mut whole = Vec::new();
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            if at >= size {
                break;
            }
            let page = u32::try_from(at / page_len + 1).map_err(|_| out_of_bounds())?;
            let within = usize::try_from(at % page_len).unwrap_or(usize::MAX);
            if within == 0 && rest.len() >= page_size.bytes() {
                let page_room = rest.get_mut(..page_size.bytes()).ok_or_else(out_of_bounds)?;
                self.provider.read(PageNo(page), page_room)?;
                done += page_size.bytes();
                continue;
            }
            // SQLite reads parts of pages only to learn how large they are.
            whole.resize(page_size.bytes(), 0);
            self.provider.read(PageNo(page), &mut whole)?;
            let part = whole.get(within..).ok_or_else(out_of_bounds)?;
            let len = part.len().min(rest.len());
            let (to, from) = (rest.get_mut(..len), part.get(..len));
            to.zip(from).ok_or_else(out_of_bounds).map(|(to, from)| to.copy_from_slice(from))?;
            done += len;
        }
        Ok(done)
    }

    /// Keeps an error for whoever asks what was behind SQLite's; returns SQLite's.
    fn fail(&self, error: Error) -> c_int {
        let code = match error.kind() {
            ErrorKind::Damaged => ffi::SQLITE_IOERR_DATA,
            _ => ffi::SQLITE_IOERR_READ,
        };
        *lock(&self.failed) = Some(error);
        code
    }
}

/// The VFS, as SQLite knows it.
struct Vfs {
    name: &'static CStr,
    /// SQLite's own VFS, which serves temporary files, the time, and the like.
    unix: *mut ffi::sqlite3_vfs,
}

// SAFETY: both point to what is never freed: a string that was leaked, and a static of SQLite's
// that it does not change after its initialisation, but for the list that it guards by a mutex.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

impl Vfs {
    fn registered() -> Result<&'static Self> {
        static VFS: OnceLock<Vfs> = OnceLock::new();
        static BEGINNING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = lock(&BEGINNING);
        match VFS.get() {
            Some(vfs) => Ok(vfs),
            None => Self::register().map(|vfs| VFS.get_or_init(|| vfs)),
        }
    }

    fn register() -> Result<Self> {
        // SAFETY: the name is terminated. SQLite initialises itself, and returns null or one of its
        // own VFS, which are static.
        let unix = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
        // SAFETY: as above.
        let Some(like) = (unsafe { unix.as_ref() }) else {
            return Err(Error::new(ErrorKind::Failure, "this SQLite has no VFS \"unix\""));
        };
        // Another copy of this library in the process has one of its own.
        let name = CString::new(random_name("pagekeep-")?)
            .map_err(|e| Error::new(ErrorKind::Failure, "no name for a VFS").with_source(e))?;
        let name: &'static CStr = Box::leak(name.into_boxed_c_str());
        let own = c_int::try_from(size_of::<ViewFile>()).unwrap_or(c_int::MAX);
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            // Room for a file of either kind.
            szOsFile: own.max(like.szOsFile),
            mxPathname: like.mxPathname,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: unix.cast::<c_void>(),
            xOpen: Some(view_open),
            xDelete: Some(view_delete),
            xAccess: Some(no_file_beside),
            xFullPathname: Some(full_pathname),
            xDlOpen: Some(view_dl_open),
            xDlError: Some(view_dl_error),
            xDlSym: Some(view_dl_sym),
            xDlClose: Some(view_dl_close),
            xRandomness: Some(view_randomness),
            xSleep: Some(view_sleep),
            xCurrentTime: Some(view_current_time),
            xGetLastError: None,
            xCurrentTimeInt64: Some(view_current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the struct was leaked, so the VFS stays where it is.
        check(unsafe { ffi::sqlite3_vfs_register(vfs, 0) }, "takes no VFS")?;
        Ok(Self { name, unix })
    }

    /// SQLite's own VFS, if this one was registered, as it is whenever a callback runs.
    fn unix() -> Option<&'static ffi::sqlite3_vfs> {
        let unix = Self::registered().ok()?.unix;
        // SAFETY: a static of SQLite's.
        unsafe { unix.as_ref() }
    }
}

/// A file of the VFS, in memory that SQLite allocates.
#[repr(C)]
struct ViewFile {
    base: ffi::sqlite3_file,
    /// From [`Arc::into_raw`]; given back when SQLite closes the file.
    database: *const Database,
}

static VIEW_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(view_close),
    xRead: Some(view_read),
    xWrite: Some(view_write),
    xTruncate: Some(view_truncate),
    xSync: Some(view_flags),
    xFileSize: Some(view_file_size),
    xLock: Some(view_flags),
    xUnlock: Some(view_flags),
    xCheckReservedLock: Some(view_check_reserved),
    xFileControl: Some(view_file_control),
    xSectorSize: Some(view_sector_size),
    xDeviceCharacteristics: Some(view_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// What SQLite opens for itself and for a while.
const TEMPORARY: c_int = ffi::SQLITE_OPEN_TEMP_DB
    | ffi::SQLITE_OPEN_TRANSIENT_DB
    | ffi::SQLITE_OPEN_TEMP_JOURNAL
    | ffi::SQLITE_OPEN_SUBJOURNAL;

unsafe extern "C" fn view_open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite allocated szOsFile bytes for the file; pMethods must be set even on failure.
    unsafe { (*file).pMethods = ptr::null() };
    if flags & TEMPORARY != 0 {
        let Some((unix, open)) = Vfs::unix().and_then(|unix| Some((unix, unix.xOpen?))) else {
            return ffi::SQLITE_CANTOPEN;
        };
        // SAFETY: all arguments are SQLite's own, and the file has room for one of that VFS, which
        // does not write to what describes it.
        return unsafe { open(ptr::from_ref(unix).cast_mut(), name, file, flags, out) };
    }
    if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 || name.is_null() {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite passes a terminated name.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let found = lock(&SERVED).get(&*name).cloned();
    let Some(database) = found else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: the file has room for one of ours, as above. `out` may be null.
    unsafe {
        file.cast::<ViewFile>().write(ViewFile {
            base: ffi::sqlite3_file { pMethods: &raw const VIEW_METHODS },
            database: Arc::into_raw(database),
        });
        if let Some(out) = out.as_mut() {
            *out = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READONLY;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is ours, was opened, and is closed once; what it held is given back here.
    let database = unsafe {
        (*file).pMethods = ptr::null();
        Arc::from_raw((*file.cast::<ViewFile>()).database)
    };
    match catch_unwind(AssertUnwindSafe(|| drop(database))) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_CLOSE,
    }
}

unsafe extern "C" fn view_read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(len), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: the file is ours and open, so its database is there; the buffer has `len` bytes,
    // which SQLite may not have initialised before.
    let (database, buffer) = unsafe {
        ptr::write_bytes(buffer.cast::<u8>(), 0, count);
        let buffer = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), count);
        (&*(*file.cast::<ViewFile>()).database, buffer)
    };
    let read = catch_unwind(AssertUnwindSafe(|| database.read(offset, buffer)));
    match read.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(done) if done == count => ffi::SQLITE_OK,
        // The rest of the buffer is zero.
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(e) => database.fail(e),
    }
}

unsafe extern "C" fn view_file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: the file is ours and open, and SQLite passes a place for the answer.
    unsafe {
        let provider = &(*(*file.cast::<ViewFile>()).database).provider;
        let size =
            catch_unwind(AssertUnwindSafe(|| provider.page_size().file_len(provider.pages())));
        let Some(size) = size.ok().and_then(|size| i64::try_from(size).ok()) else {
            return ffi::SQLITE_IOERR_FSTAT;
        };
        *out = size;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is ours and open.
    let provider = unsafe { &(*(*file.cast::<ViewFile>()).database).provider };
    match catch_unwind(AssertUnwindSafe(|| provider.moves())) {
        Ok(true) => 0,
        _ => ffi::SQLITE_IOCAP_IMMUTABLE,
    }
}

unsafe extern "C" fn view_write(
    _: *mut ffi::sqlite3_file,
    _: *const c_void,
    _: c_int,
    _: i64,
) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn view_truncate(_: *mut ffi::sqlite3_file, _: i64) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn view_flags(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_check_reserved(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a place for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_file_control(
    _: *mut ffi::sqlite3_file,
    _: c_int,
    _: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn view_sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn view_delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn view_dl_open(_: *mut ffi::sqlite3_vfs, _: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn view_dl_error(_: *mut ffi::sqlite3_vfs, room: c_int, out: *mut c_char) {
    let text = c"a view of the past loads no extensions".to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| text.len() <= room) {
        // SAFETY: SQLite passes `room` bytes for the text, which fits.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), out, text.len()) };
    }
}

unsafe extern "C" fn view_dl_sym(
    _: *mut ffi::sqlite3_vfs,
    _: *mut c_void,
    _: *const c_char,
) -> Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

unsafe extern "C" fn view_dl_close(_: *mut ffi::sqlite3_vfs, _: *mut c_void) {}

unsafe extern "C" fn view_randomness(
    _: *mut ffi::sqlite3_vfs,
    len: c_int,
    out: *mut c_char,
) -> c_int {
    match Vfs::unix().and_then(|unix| Some((unix, unix.xRandomness?))) {
        // SAFETY: the arguments are SQLite's own.
        Some((unix, ask)) => unsafe { ask(ptr::from_ref(unix).cast_mut(), len, out) },
        None => 0,
    }
}

unsafe extern "C" fn view_sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    match Vfs::unix().and_then(|unix| Some((unix, unix.xSleep?))) {
        // SAFETY: the arguments are SQLite's own.
        Some((unix, sleep)) => unsafe { sleep(ptr::from_ref(unix).cast_mut(), micros) },
        None => 0,
    }
}

unsafe extern "C" fn view_current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    match Vfs::unix().and_then(|unix| Some((unix, unix.xCurrentTime?))) {
        // SAFETY: the arguments are SQLite's own.
        Some((unix, ask)) => unsafe { ask(ptr::from_ref(unix).cast_mut(), out) },
        None => ffi::SQLITE_ERROR,
    }
}

unsafe extern "C" fn view_current_time_int64(_: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    match Vfs::unix().and_then(|unix| Some((unix, unix.xCurrentTimeInt64?))) {
        // SAFETY: the arguments are SQLite's own.
        Some((unix, ask)) => unsafe { ask(ptr::from_ref(unix).cast_mut(), out) },
        None => ffi::SQLITE_ERROR,
    }
}

fn random_name(prefix: &str) -> Result<String> {
    let mut name = String::from(prefix);
    write_hex(&mut name, &random_bytes::<16>()?)
        .map_err(|e| Error::new(ErrorKind::Failure, "no name for a view").with_source(e))?;
    Ok(name)
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(ErrorKind::Failure, "reading a page panicked")
        .with_hint("this is a defect of pagekeep; please report it")
        .with_source(said.unwrap_or("without a message"))
}

fn out_of_bounds() -> Error {
    Error::new(ErrorKind::Failure, "SQLite asks for bytes that no page has")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
