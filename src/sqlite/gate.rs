//! The write lock of a database, held for a moment in which nobody commits. Nothing is written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::beside::is_in_wal_mode;
use super::connection::{close, connect};
use super::held::Held;
use super::position::FileIdentity;
use super::source_error;
use crate::error::{Error, ErrorKind, Result};

/// How long the lock is asked for without a pause.
const BUSY: Duration = Duration::from_millis(5);

/// A connection that can hold the write lock.
#[derive(Debug)]
pub(crate) struct Gate {
    connection: Option<Connection>,
    path: PathBuf,
    file: FileIdentity,
    _held: Held,
}

impl Gate {
    /// Opens a database.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it can't be opened, [`ErrorKind::Refused`] when it is not in WAL
    /// mode: its writers would wait for as long as it is read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let held = Held::take(path)?;
        let name = path.display().to_string();
        let gone = || Error::new(ErrorKind::Source, "is not there").with_object(&*name);
        let file = FileIdentity::of(path).ok_or_else(gone)?;
        let connection = connect(path).map_err(|e| e.with_object(&*name))?;
        if !is_in_wal_mode(&connection).map_err(|e| e.with_object(&*name))? {
            close(connection, Some(false));
            return Err(Error::new(ErrorKind::Refused, "is not in WAL mode")
                .with_object(name)
                .with_hint("PRAGMA journal_mode=WAL lets it be read beside its writers"));
        }
        let failed = |e| source_error(e, "cannot be opened").with_object(&*name);
        connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        Ok(Self { connection: Some(connection), path: path.to_owned(), file, _held: held })
    }

    /// Takes the write lock, if it can be had until then. A busy writer leaves it only for
    /// moments, which a longer sleep would miss; one that holds it for long is waited for without
    /// keeping a processor busy.
    ///
    /// # Errors
    /// SQLite's, but for those that say that somebody else has it.
    pub(crate) fn take(&self, until: Instant) -> Result<bool> {
        let Some(connection) = &self.connection else { return Ok(false) };
        let began = Instant::now();
        loop {
            let begun = connection.prepare_cached("BEGIN IMMEDIATE");
            match begun.and_then(|mut begin| begin.raw_execute()) {
                Ok(_) => return Ok(true),
                Err(e) => {
                    let error = source_error(e, "cannot be locked");
                    if error.kind() != ErrorKind::Busy {
                        return Err(error);
                    }
                }
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            match began.elapsed() < BUSY {
                true => std::thread::yield_now(),
                false => std::thread::sleep(BUSY / 100),
            }
        }
    }

    /// Whether the path is that of the file still that was opened: a lock on a file that was
    /// replaced keeps nobody from writing to the new one.
    pub(crate) fn is_current(&self) -> bool {
        FileIdentity::of(&self.path) == Some(self.file)
    }

    /// Lets go of it.
    pub(crate) fn release(&self) {
        if let Some(db) = self.connection.as_ref().filter(|db| !db.is_autocommit()) {
            // SQLite may have done it by itself; and closing the connection does it as well.
            let _ = db.execute_batch("ROLLBACK");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
        if let Some(connection) = self.connection.take() {
            connection.flush_prepared_statement_cache();
            close(connection, Some(true));
        }
    }
}
