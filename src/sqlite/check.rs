//! SQLite's own opinion of a restored file, and assertions in SQL.
//!
//! Invariant: the file is opened read-only and immutable, so no `-wal`, `-shm` or journal appears
//! beside it and not a byte of it changes. A database that is too unsound to be checked to the end is
//! a finding like any other, not an error.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::source_error;
use crate::error::{Error, ErrorKind, Result};

/// How many findings of a check are kept.
const FINDINGS: usize = 10;

/// A restored database, opened for checks.
#[derive(Debug)]
pub struct Checker {
    connection: Connection,
}

impl Checker {
    /// Opens a file that nobody changes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when SQLite can't open it.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = connect_immutable(path)?;
        Ok(Self { connection })
    }

    /// The connection, for reading.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The handle that interrupts a long check from another thread.
    pub fn interrupt_handle(&self) -> rusqlite::InterruptHandle {
        self.connection.get_interrupt_handle()
    }

    /// `PRAGMA quick_check`: what it finds, nothing if all is well.
    ///
    /// # Errors
    /// When SQLite can't finish it.
    pub fn quick_check(&self) -> Result<Vec<String>> {
        // It does not look at the order that the application's own collations define, but SQLite wants to know them.
        self.connection
            .collation_needed(|connection, name| connection.create_collation(name, |a, b| a.cmp(b)))
            .map_err(|e| failed(e, "SQLite's check did not begin"))?;
        self.findings("PRAGMA quick_check(10)")
    }

    /// `PRAGMA integrity_check`: what it finds, nothing if all is well.
    ///
    /// # Errors
    /// When SQLite can't finish it.
    pub fn integrity_check(&self) -> Result<Vec<String>> {
        self.findings("PRAGMA integrity_check(10)")
    }

    /// `PRAGMA foreign_key_check`: the rows that refer to nothing.
    ///
    /// # Errors
    /// When SQLite can't finish it.
    pub fn foreign_key_check(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut read = || {
            let mut statement = self.connection.prepare("PRAGMA foreign_key_check")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if found.len() == FINDINGS {
                    found.push("and more".to_owned());
                    break;
                }
                let (table, rowid, parent): (String, Option<i64>, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                let row = rowid.map_or_else(|| "a row".to_owned(), |id| format!("row {id}"));
                found.push(format!("{row} of {table} refers to nothing in {parent}"));
            }
            Ok(())
        };
        let read = read();
        finish(read, found, "the foreign key check did not finish")
    }

    /// Runs a user's assertion: a query whose first row's first column must be true, that is, a
    /// number other than zero. `Some` says why it does not hold.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when the SQL is not a query that can run.
    pub fn assertion(&self, sql: &str) -> Result<Option<String>> {
        let value = self.connection.query_row(sql, [], |row| row.get::<_, Value>(0));
        match value {
            Ok(Value::Integer(n)) if n != 0 => Ok(None),
            Ok(Value::Real(x)) if x != 0.0 => Ok(None),
            Ok(Value::Text(text)) => {
                Ok(Some(format!("`{sql}` answers {text:?}, which is not true")))
            }
            Ok(Value::Blob(_)) => Ok(Some(format!("`{sql}` answers a blob, which is not true"))),
            Ok(Value::Integer(n)) => Ok(Some(format!("`{sql}` answers {n}"))),
            Ok(Value::Real(x)) => Ok(Some(format!("`{sql}` answers {x}"))),
            Ok(Value::Null) => Ok(Some(format!("`{sql}` answers NULL"))),
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                Ok(Some(format!("`{sql}` answers no row")))
            }
            Err(e) if is_unsound(&e) => Ok(Some(format!("`{sql}` cannot be answered: {e}"))),
            Err(e) => {
                Err(Error::new(ErrorKind::Usage, "the assertion is not a query that can run")
                    .with_object(sql)
                    .with_source(e))
            }
        }
    }

    fn findings(&self, pragma: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut read = || {
            let mut statement = self.connection.prepare(pragma)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                if text != "ok" {
                    found.push(text);
                }
            }
            Ok(())
        };
        let read = read();
        finish(read, found, "SQLite's check did not finish")
    }
}

/// Opens a file that nobody changes, without leaving anything beside it.
pub(crate) fn connect_immutable(path: &Path) -> Result<Connection> {
    let uri = format!("file:{}?immutable=1", percent_encode(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
        .map_err(|e| failed(e, "SQLite cannot open the restored database"))
}

/// What a check found, the reason why it could not go on included.
fn finish(read: rusqlite::Result<()>, mut found: Vec<String>, what: &str) -> Result<Vec<String>> {
    match read {
        Ok(()) => {}
        Err(e) if is_unsound(&e) => found.push(e.to_string()),
        Err(e) => return Err(failed(e, what)),
    }
    Ok(found)
}

/// Whether an error is about the database, rather than about asking it.
fn is_unsound(e: &rusqlite::Error) -> bool {
    matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn failed(e: rusqlite::Error, what: &str) -> Error {
    let error = source_error(e, what);
    match error.kind() {
        ErrorKind::Source | ErrorKind::Busy => error.with_kind(ErrorKind::Damaged),
        _ => error,
    }
}

/// A path for a `file:` URI.
fn percent_encode(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_leave_no_trace_and_find_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b%?#.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=OFF;
             CREATE TABLE p(id INTEGER PRIMARY KEY);
             CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES(7);",
        )
        .unwrap();
        drop(db);
        let checker = Checker::open(&path).unwrap();
        assert!(checker.quick_check().unwrap().is_empty());
        assert!(checker.integrity_check().unwrap().is_empty());
        assert_eq!(checker.foreign_key_check().unwrap().len(), 1);
        assert_eq!(checker.assertion("SELECT count(*) = 1 FROM c").unwrap(), None);
        for not_true in ["SELECT 0", "SELECT NULL", "SELECT 'x'", "SELECT 1 WHERE 0"] {
            assert!(checker.assertion(not_true).unwrap().is_some(), "{not_true}");
        }
        assert_eq!(checker.assertion("SELEC 1").unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_database_too_unsound_to_check_is_a_finding() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unsound.db");
        std::fs::write(&path, "no database".repeat(1000)).unwrap();
        let checker = Checker::open(&path).unwrap();
        assert_eq!(checker.quick_check().unwrap().len(), 1);
        assert_eq!(checker.integrity_check().unwrap().len(), 1);
        assert_eq!(checker.foreign_key_check().unwrap().len(), 1);
        let answer = checker.assertion("SELECT count(*) FROM t").unwrap();
        assert!(answer.is_some_and(|why| why.contains("cannot be answered")));
    }
}
