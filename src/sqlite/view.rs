//! A connection to a database that is nowhere a file: its pages come from a [`PageProvider`].
//!
//! Invariants:
//! - Nothing can be written: SQLite is told that the medium is read-only and immutable.
//! - An error of the provider is an SQL error, and can be asked for ([`View::take_error`]).
//! - The connection is closed before its pages are withdrawn.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::ffi::Served;
#[cfg(feature = "cli")]
pub(crate) use super::ffi::memory_used;
use super::provider::PageProvider;
use super::source_error;
use crate::error::{Error, ErrorKind, Result};

/// A read-only connection to one database, and to others that were attached.
pub(crate) struct View {
    // Declared first, and so closed first.
    connection: Connection,
    served: Vec<Served>,
}

impl View {
    /// Opens a database as `main`. SQLite keeps `cache_bytes` of its pages.
    ///
    /// # Errors
    /// What the provider answers; [`ErrorKind::Source`] when SQLite can't open it.
    pub(crate) fn open(provider: Box<dyn PageProvider>, cache_bytes: usize) -> Result<Self> {
        let served = Served::begin(provider)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let uri = served.uri()?;
        let opened = Connection::open_with_flags(&uri, flags).and_then(|connection| {
            // Views, triggers and generated columns of the past run only what is harmless.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            set_cache(&connection, "main", cache_bytes)?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => Ok(Self { connection, served: vec![served] }),
            Err(e) => {
                let cause = served.take_error();
                Err(cause.unwrap_or_else(|| source_error(e, "cannot be opened")))
            }
        }
    }

    /// Attaches another database under a name.
    ///
    /// # Errors
    /// As [`View::open`]; [`ErrorKind::Usage`] when the name is taken, there are ten already, or
    /// the text encoding is another one.
    pub(crate) fn attach(
        &mut self,
        name: &str,
        provider: Box<dyn PageProvider>,
        cache_bytes: usize,
    ) -> Result<()> {
        let served = Served::begin(provider)?;
        let uri = served.uri()?;
        let attached = self
            .connection
            .execute("ATTACH ?1 AS ?2", [&*uri, name])
            .and_then(|_| set_cache(&self.connection, name, cache_bytes));
        if let Err(e) = attached {
            return Err(served.take_error().unwrap_or_else(|| not_attached(e, name)));
        }
        self.served.push(served);
        Ok(())
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// What a provider answered to a read that failed since this was asked last.
    pub(crate) fn take_error(&self) -> Option<Error> {
        // All are taken: none is told after a later statement.
        let mut taken: Vec<Error> = self.served.iter().filter_map(Served::take_error).collect();
        taken.pop()
    }
}

/// Why SQLite attaches nothing: mostly since the request makes no sense to it.
fn not_attached(e: rusqlite::Error, name: &str) -> Error {
    let is_request = e.sqlite_error_code() == Some(ErrorCode::Unknown);
    let error = source_error(e, "cannot be attached").with_object(format!("{name:?}"));
    if is_request { error.with_kind(ErrorKind::Usage) } else { error }
}

fn set_cache(connection: &Connection, name: &str, bytes: usize) -> rusqlite::Result<()> {
    let name = name.replace('"', "\"\"");
    // Below zero it is in KiB.
    connection.execute_batch(&format!("PRAGMA \"{name}\".cache_size = -{}", bytes / 1024))
}

#[cfg(test)]
mod tests;
