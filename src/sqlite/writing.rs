//! The connection by which single rows of a live database are changed, beside the application.
//!
//! Invariants:
//! - Triggers do not run and foreign keys cascade nothing: what happens is what was asked for.
//! - All is one transaction of SQLite's. What is not committed is rolled back, also by the next
//!   that opens the database after a crash.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::beside::is_in_wal_mode;
use super::connection::{close, close_as_usual, connect};
use super::source_error;
use crate::error::{Error, Result};

/// How long to wait for the database's locks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many statements are kept prepared.
const STATEMENTS: usize = 64;

/// A connection that writes.
#[derive(Debug)]
pub(crate) struct Writing {
    connection: Option<Connection>,
    is_wal: Option<bool>,
    /// Whether something was committed.
    has_written: bool,
}

impl Writing {
    /// Opens the database at a path.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Source`] when it can't be opened.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let connection = connect(path).map_err(|e| e.with_object(&*name))?;
        let writing = Self { connection: Some(connection), is_wal: None, has_written: false };
        writing.prepare().map_err(|e| e.with_object(name))
    }

    fn prepare(mut self) -> Result<Self> {
        let db = self.connection()?;
        let set = || {
            db.busy_timeout(PATIENCE)?;
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
            db.set_prepared_statement_cache_capacity(STATEMENTS);
            db.execute_batch("PRAGMA temp_store=FILE")
        };
        set().map_err(failed)?;
        let is_wal = is_in_wal_mode(db)?;
        self.is_wal = Some(is_wal);
        Ok(self)
    }

    pub(crate) fn connection(&self) -> Result<&Connection> {
        let closed = || Error::new(crate::error::ErrorKind::Failure, "is closed");
        self.connection.as_ref().ok_or_else(closed)
    }

    /// Takes the write lock.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Busy`] when it can't be had.
    pub(crate) fn begin(&self) -> Result<()> {
        self.connection()?.execute_batch("BEGIN IMMEDIATE").map_err(failed)
    }

    /// Commits what was written.
    ///
    /// # Errors
    /// As [`Writing::begin`]; what was written is rolled back then.
    ///
    /// # Durability
    /// As the application's own commits with `synchronous=FULL`.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let committed = self.connection()?.execute_batch("COMMIT").map_err(failed);
        match &committed {
            Ok(()) => self.has_written = true,
            Err(_) => self.rollback(),
        }
        committed
    }

    /// Takes back what was not committed, if there is anything.
    pub(crate) fn rollback(&self) {
        // SQLite may have done it by itself; and closing the connection does it as well.
        if let Some(db) = self.connection.as_ref().filter(|db| !db.is_autocommit()) {
            let _ = db.execute_batch("ROLLBACK");
        }
    }

    /// Keeps in memory what is not committed, so that no file is written before.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn write_nothing_before_commit(&self) -> Result<()> {
        self.connection()?.execute_batch("PRAGMA cache_spill=OFF").map_err(failed)
    }

    /// A number that is another one after somebody else committed.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn data_version(&self) -> Result<i64> {
        let db = self.connection()?;
        db.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(failed)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.rollback();
        let Some(connection) = self.connection.take() else { return };
        connection.flush_prepared_statement_cache();
        match self.has_written {
            // If nobody else has it open, one file is the database again.
            true => close_as_usual(connection),
            false => close(connection, self.is_wal),
        }
    }
}

fn failed(e: rusqlite::Error) -> Error {
    source_error(e, "cannot be written to")
}
