//! How connections to other people's databases are opened and closed.
//!
//! Invariant: what could not be read is never written. A connection that is dropped leaves the WAL
//! alone.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::beside::{beside, check_owner, full_path, is_in_wal_mode};
use super::ffi::{FileRef, WAL_INDEX_LEN};
use super::source_error;
use super::wal::WalIndex;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often to look for a lock that can't be waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection for reading, which waits a while for locks. Dropping it leaves the WAL alone: what
/// could not be read is never written.
///
/// # Errors
/// [`ErrorKind::Source`] when it can't be opened, or must not be: see [`check_owner`].
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let path = full_path(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    };
    let connection = connect().map_err(|e| source_error(e, "cannot be opened"))?;
    check_owner(&connection, &path)?;
    check_dotfile(&connection, &path)?;
    Ok(connection)
}

/// Refuses a database that somebody locks by a folder beside it: SQLite's VFS `unix-dotfile` does,
/// and no other sees those locks.
fn check_dotfile(connection: &Connection, path: &Path) -> Result<()> {
    let lock = beside(path, ".lock");
    let began = Instant::now();
    // It has no WAL; and other programs make such folders, too.
    while lock.is_dir() && !is_in_wal_mode(connection)? {
        if began.elapsed() >= BUSY_TIMEOUT {
            return Err(locked_by_folder(path, &lock));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn locked_by_folder(path: &Path, lock: &Path) -> Error {
    let lock = lock.display();
    Error::new(
        ErrorKind::Busy,
        format!("is locked by an application that uses SQLite's VFS unix-dotfile: {lock} is there"),
    )
    .with_object(path.display().to_string())
    .with_hint("other programs can't read it beside that application: stop it; if nothing uses that folder then, remove it")
}

/// Closes a connection without losing a WAL that somebody may go on from. `wal` tells whether the
/// database is in WAL mode; `None` if that is not known, since it could not be read.
pub(super) fn close(connection: Connection, wal: Option<bool>) {
    // A WAL with frames stays for the next run to go on from. Without frames there is nothing
    // to keep, and an ordinary close removes the empty files that opening made.
    let has_frames = match wal {
        Some(true) => match wal_index(&connection) {
            Ok(index) => index.is_some_and(|index| index.frames > 0),
            Err(_) => true,
        },
        Some(false) => false,
        None => has_wal(&connection),
    };
    match has_frames {
        // A failure to close has no consequence for what was read.
        true => drop(connection.close()),
        false => close_as_usual(connection),
    }
}

/// Closes a connection as any other does: the last one brings what is in the WAL into the database
/// file, and removes the WAL.
pub(super) fn close_as_usual(connection: Connection) {
    // Neither can fail on an open connection with no statement under way; and then files stay that
    // are in nobody's way.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    let _ = connection.close();
}

/// Whether there is something in the WAL of a database, judged by its file.
fn has_wal(connection: &Connection) -> bool {
    let Some(path) = connection.path() else { return true };
    std::fs::metadata(beside(Path::new(path), "-wal")).is_ok_and(|meta| meta.len() > 0)
}

/// Makes sure, as far as SQLite's locks can tell, that nobody has a database open. What is no
/// database is not in use.
///
/// In WAL mode every open connection holds a lock, so the answer is certain; with a rollback
/// journal only a transaction under way does.
///
/// # Errors
/// [`ErrorKind::Busy`] when somebody has.
pub(crate) fn check_unused(path: &Path) -> Result<()> {
    use rusqlite::ErrorCode;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let take_all = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(full_path(path), flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK")
    };
    match take_all() {
        Err(e)
            if matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Err(Error::new(ErrorKind::Busy, "is in use")
                .with_object(path.display().to_string())
                .with_hint("stop the application that has it open, or restore to another file")
                .with_source(e))
        }
        // Whatever else is wrong with a file that is about to be replaced does not matter.
        _ => Ok(()),
    }
}

pub(super) fn wal_region(connection: &Connection) -> Result<Option<[u8; WAL_INDEX_LEN]>> {
    match FileRef::database(connection)? {
        Some(file) => file.wal_index(),
        None => Ok(None),
    }
}

pub(super) fn wal_index(connection: &Connection) -> Result<Option<WalIndex>> {
    Ok(wal_region(connection)?.and_then(|bytes| WalIndex::parse(&bytes)))
}
