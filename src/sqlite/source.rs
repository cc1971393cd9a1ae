//! A source database: a file that is pinned now and then, and closed without a trace that somebody
//! would mind.
//!
//! Invariant: closing the last connection would checkpoint the WAL and delete it, and with it the
//! proof that only its new frames are news. So a source with frames in its WAL is closed without a
//! checkpoint, unless somebody has another proof.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::connection::{close, close_as_usual, connect};
use super::held::Held;
use super::pin::{Journal, Pin};
use super::position::FileIdentity;
pub use super::position::Position;
use crate::error::{Error, ErrorKind, Result};

/// A database file, opened for reading.
#[derive(Debug)]
pub struct Source {
    connection: Option<Connection>,
    path: PathBuf,
    /// Whether it was in WAL mode when it was pinned last. Of any other database the wal-index must
    /// not even be looked at: that would create it.
    wal: Option<bool>,
    /// The file that was pinned last.
    file: Option<FileIdentity>,
    /// Nothing else of this process opens it under another name meanwhile.
    _held: Held,
}

impl Source {
    /// Opens a database file.
    ///
    /// The file is opened for reading and writing where that is allowed, since a reader in WAL mode
    /// writes the `-shm`; nothing is ever written to the database by this crate's reading.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it does not exist, is not a file, or can't be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let meta = std::fs::metadata(path)
            .map_err(|e| Error::io(e, "cannot be opened", &*name).with_kind(ErrorKind::Source))?;
        if !meta.is_file() {
            return Err(Error::new(ErrorKind::Source, "is not a database file").with_object(name));
        }
        let held = Held::take(path)?;
        let connection = connect(path).map_err(|e| e.with_object(name))?;
        let connection = Some(connection);
        Ok(Self { connection, path: path.to_owned(), wal: None, file: None, _held: held })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pins the present moment.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it is not a sound database, [`ErrorKind::Busy`] when it stays
    /// locked.
    pub fn pin(&mut self) -> Result<Pin<'_>> {
        let name = self.path.display().to_string();
        let path = &self.path;
        let Some(connection) = &mut self.connection else {
            return Err(Error::new(ErrorKind::Source, "is closed").with_object(name));
        };
        let pin = Pin::begin(connection, Some(path)).map_err(|e| e.with_object(name))?;
        self.wal = Some(matches!(pin.journal, Journal::Wal(_)));
        self.file = pin.file;
        Ok(pin)
    }

    /// Closes it as any other connection is closed: see [`close_as_usual`].
    pub(crate) fn close_as_usual(mut self) {
        if let Some(connection) = self.connection.take() {
            close_as_usual(connection);
        }
    }

    /// Whether the path still leads to the file that was pinned last.
    pub(crate) fn is_current(&self) -> bool {
        self.file.is_none_or(|file| FileIdentity::of(&self.path) == Some(file))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            close(connection, self.wal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::config::DbConfig;

    use super::super::position::Since;
    use super::*;

    fn open(path: &Path, sql: &str) -> Connection {
        let db = Connection::open(path).unwrap();
        db.execute_batch(sql).unwrap();
        db
    }

    #[test]
    fn a_position_in_the_wal_proves_what_came_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app = open(&path, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
        let mut source = Source::open(&path).unwrap();
        let position = source.pin().unwrap().position().unwrap();
        assert_eq!(source.pin().unwrap().since(&position), Since::Nothing);
        app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
        assert!(matches!(source.pin().unwrap().since(&position), Since::Frames(_)));
        app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(2)").unwrap();
        assert_eq!(source.pin().unwrap().since(&position), Since::Unknown);
    }

    #[test]
    fn an_empty_wal_proves_nothing_but_the_file_does_as_long_as_nobody_writes_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app = open(
            &path,
            "PRAGMA journal_mode=WAL; CREATE TABLE t(x); PRAGMA wal_checkpoint(TRUNCATE)",
        );
        let mut source = Source::open(&path).unwrap();
        let pin = source.pin().unwrap();
        assert!(matches!(pin.journal, Journal::Wal(_)));
        if let Some(fresh) = pin.position().filter(|p| p.rest.is_none()) {
            // Written just now: the next write might have the same time.
            assert_eq!(pin.since(&fresh), Since::Unknown);
        }
        drop(pin);
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(10);
        std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
        let position = source.pin().unwrap().position().unwrap();
        assert_eq!(source.pin().unwrap().since(&position), Since::Nothing);
        app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
        assert!(
            matches!(source.pin().unwrap().since(&position), Since::Frames(at) if at.frame == 0)
        );
        app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        assert_eq!(source.pin().unwrap().since(&position), Since::Unknown);
    }

    #[test]
    fn what_can_not_be_read_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app =
            open(&path, "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
        app.execute_batch("PRAGMA wal_checkpoint; UPDATE t SET x=2").unwrap();
        app.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(app);
        // The checksums hold, and the first page is none of a database.
        let wal = dir.path().join("a.db-wal");
        let mut bytes = std::fs::read(&wal).unwrap();
        crate::sqlite::wal::forge_first_page(&mut bytes);
        std::fs::write(&wal, &bytes).unwrap();
        let before = std::fs::read(&path).unwrap();
        let tried = Source::open(&path).and_then(|mut source| source.pin().map(|_| ()));
        assert!(tried.is_err());
        assert!(crate::sqlite::tail::Tail::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read(&wal).unwrap(), bytes);
    }

    #[test]
    fn closing_keeps_a_wal_with_frames_and_removes_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let wal = dir.path().join("a.db-wal");
        drop(open(&path, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)"));
        assert!(!wal.exists());
        let mut source = Source::open(&path).unwrap();
        source.pin().unwrap();
        drop(source);
        assert!(!wal.exists(), "nothing was in the WAL, so nothing stays");

        let app = open(&path, "INSERT INTO t VALUES(1)");
        app.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(app);
        let before = std::fs::read(&wal).unwrap();
        let mut source = Source::open(&path).unwrap();
        source.pin().unwrap();
        drop(source);
        assert_eq!(std::fs::read(&wal).unwrap(), before);
    }

    #[test]
    fn in_rollback_mode_the_change_counter_is_the_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app = open(&path, "CREATE TABLE t(x)");
        let mut source = Source::open(&path).unwrap();
        let pin = source.pin().unwrap();
        assert!(pin.blocks_writers());
        let position = pin.position().unwrap();
        assert_eq!(pin.since(&position), Since::Nothing);
        drop(pin);
        app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
        assert_eq!(source.pin().unwrap().since(&position), Since::Unknown);
    }

    #[test]
    fn what_is_no_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "not a database, but long enough to look at".repeat(30)).unwrap();
        let error = Source::open(&path).unwrap().pin().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert!(error.object().unwrap().ends_with("a.txt"));
        assert_eq!(Source::open(dir.path()).unwrap_err().kind(), ErrorKind::Source);
        assert_eq!(Source::open(&dir.path().join("no")).unwrap_err().kind(), ErrorKind::Source);
    }

    #[test]
    fn an_exclusive_application_is_busy_and_not_an_error_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let _app = open(&path, "CREATE TABLE t(x); BEGIN EXCLUSIVE");
        let mut source = Source::open(&path).unwrap();
        source.connection.as_ref().unwrap().busy_timeout(Duration::ZERO).unwrap();
        assert_eq!(source.pin().unwrap_err().kind(), ErrorKind::Busy);
    }
}
