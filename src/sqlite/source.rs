//! A source database, and a pin on one moment of it.
//!
//! [`Source`] opens a file without leaving a trace in it. [`Pin`] is a read transaction together with
//! the exact state that it sees: page size, size in pages, and where the WAL stood.
//!
//! Invariants:
//! - In WAL mode the pin's snapshot is exactly the wal-index header that the pin carries: the header
//!   is read before and after the transaction begins, and both must be equal. So it is known which
//!   frames belong to the snapshot.
//! - If all those frames were in the database file when the pin began, the file alone is the
//!   snapshot, and the WAL must not be read: such a pin may sit on read mark zero, and then a writer
//!   may restart the WAL under it. Otherwise the pin sits on a mark above zero, and nobody can.
//! - Closing the last connection would checkpoint the WAL and delete it, and with it the proof that
//!   only its new frames are news. So a source with frames in its WAL is closed without a checkpoint.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ffi::FileRef;
pub use super::position::Position;
use super::position::{ChangeCounter, FileIdentity, Moment, Place, Since};
use super::source_error;
use super::wal::{WalIndex, WalPosition};
use super::witness::{Look, Stat, Touched};
use crate::error::{Error, ErrorKind, Result};
use crate::types::PageSize;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How long to wait for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to try for a quiet moment before asking writers for one.
const QUIET_TRIES: usize = 50;

/// A database file, opened for reading.
#[derive(Debug)]
pub struct Source {
    connection: Option<Connection>,
    path: PathBuf,
    /// Whether it was in WAL mode when it was pinned last. Of any other database the wal-index must not even be
    /// looked at: that would create it.
    wal: Option<bool>,
    /// The file that was pinned last.
    file: Option<FileIdentity>,
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
        let connection = connect(path).map_err(|e| e.with_object(name))?;
        Ok(Self { connection: Some(connection), path: path.to_owned(), wal: None, file: None })
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
        match (self.file, FileIdentity::of(&self.path)) {
            (None, _) => true,
            (Some(file), Ok((now, _))) => file == now,
            (Some(_), Err(_)) => false,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            close(connection, self.wal);
        }
    }
}

/// A connection for reading, which waits a while for locks. Dropping it leaves the WAL alone: what could not be read is never written.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    };
    connect().map_err(|e| source_error(e, "cannot be opened"))
}

/// Closes a connection without losing a WAL that somebody may go on from. `wal` tells whether the database is in WAL mode; `None` if
/// that is not known, since it could not be read.
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

/// Closes a connection as any other does: the last one brings what is in the WAL into the database file, and removes the WAL.
pub(super) fn close_as_usual(connection: Connection) {
    // Neither can fail on an open connection with no statement under way; and then files stay that are in nobody's way.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    let _ = connection.close();
}

/// Whether there is something in the WAL of a database, judged by its file.
fn has_wal(connection: &Connection) -> bool {
    let Some(path) = connection.path() else { return true };
    std::fs::metadata(format!("{path}-wal")).is_ok_and(|meta| meta.len() > 0)
}

/// Makes sure, as far as SQLite's locks can tell, that nobody has a database open. What is no database is not in use.
///
/// In WAL mode every open connection holds a lock, so the answer is certain; with a rollback journal only a
/// transaction under way does.
///
/// # Errors
/// [`ErrorKind::Busy`] when somebody has.
pub(crate) fn check_unused(path: &Path) -> Result<()> {
    use rusqlite::ErrorCode;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let take_all = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(path, flags)?;
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

/// How the database keeps its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Journal {
    /// WAL, as the wal-index told it for this very snapshot.
    Wal(WalIndex),
    /// A rollback journal, or none; the fields of the header that SQLite's own cache trusts.
    Rollback(Option<ChangeCounter>),
}

/// A read transaction, and the state that it sees. Ends when dropped.
#[derive(Debug)]
pub struct Pin<'c> {
    connection: &'c mut Connection,
    path: Option<PathBuf>,
    file: Option<FileIdentity>,
    pub(crate) journal: Journal,
    /// In WAL mode, what the file looked like after the pin began; with it, whether the next write to it will show.
    rest: Option<(ChangeCounter, bool)>,
    page_size: PageSize,
    pages: u32,
}

impl<'c> Pin<'c> {
    /// Pins the present moment of a connection's main database: any database that SQLite can read,
    /// in memory or on a VFS of somebody else's too.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it is not a sound database, [`ErrorKind::Busy`] when it is
    /// locked or the connection has a transaction of its own.
    pub fn on_connection(connection: &'c mut Connection) -> Result<Self> {
        if !connection.is_autocommit() {
            return Err(Error::new(ErrorKind::Busy, "the connection is in a transaction")
                .with_hint("commit or roll back before a backup"));
        }
        Self::begin(connection, None)
    }

    fn begin(connection: &'c mut Connection, path: Option<&Path>) -> Result<Self> {
        let failed = |e| source_error(e, "cannot be read");
        let mode: String =
            connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
        let wal = if mode == "wal" { begin_wal(connection)? } else { None };
        if wal.is_none() {
            begin_read(connection).map_err(failed)?;
        }
        // From here on the transaction is open, and dropping the pin ends it.
        let mut pin = Self {
            connection,
            path: path.map(Path::to_owned),
            file: None,
            journal: Journal::Rollback(None),
            rest: None,
            page_size: PageSize::DEFAULT,
            pages: 0,
        };
        pin.page_size = pin.pragma("page_size").and_then(|n| {
            PageSize::new(n).ok_or_else(|| Error::new(ErrorKind::Source, "has no sound page size"))
        })?;
        pin.pages = pin.pragma("page_count")?;
        // Looked at under the lock, so that no writer comes in between.
        let stat = path.map(FileIdentity::of).transpose()?;
        pin.file = stat.map(|(file, _)| file);
        pin.journal = match (wal, stat) {
            (Some(index), _) => {
                pin.rest = pin.look_at_rest()?;
                Journal::Wal(index)
            }
            (None, Some((_, modified))) => {
                Journal::Rollback(change_counter(pin.connection, modified)?)
            }
            (None, None) => Journal::Rollback(None),
        };
        Ok(pin)
    }

    /// The page size.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The size in pages; 0 for an empty database.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Whether the pin makes writers wait, as a reader of a rollback-journal database does.
    pub fn blocks_writers(&self) -> bool {
        matches!(self.journal, Journal::Rollback(_))
    }

    /// Where the WAL stands, frames or not; `None` in other journal modes.
    pub(crate) fn wal_place(&self) -> Option<WalPosition> {
        match self.journal {
            Journal::Wal(index) => Some(WalPosition::of(&index)),
            Journal::Rollback(_) => None,
        }
    }

    /// The version of SQLite that wrote the file last, as far as the file's header tells (offset 96); `None` for a
    /// database that is empty or has no file.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the file can't be read.
    pub(crate) fn last_writer(&self) -> Result<Option<i32>> {
        let Some(file) = FileRef::database(self.connection)? else { return Ok(None) };
        let mut header = [0; 100];
        if file.read_at(&mut header, 0)? {
            return Ok(None);
        }
        let [.., a, b, c, d] = header;
        Ok(i32::try_from(u32::from_be_bytes([a, b, c, d])).ok().filter(|v| *v > 0))
    }

    /// Whether pages can be read through a file handle.
    pub(crate) fn has_file(&self) -> Result<bool> {
        Ok(FileRef::database(self.connection)?.is_some())
    }

    /// The place that this moment is, if it can prove anything later.
    pub fn position(&self) -> Option<Position> {
        let file = self.file?;
        match self.journal {
            Journal::Wal(index) => {
                let position = Position::in_wal(file, WalPosition::of(&index));
                // Nothing of a later commit can be backfilled under this pin.
                let has_all = index.backfilled >= index.frames;
                match self.rest.filter(|(_, shows)| *shows && has_all) {
                    Some((rest, _)) => Some(position.at_rest(rest)),
                    None => Some(position),
                }
            }
            Journal::Rollback(None) => None,
            Journal::Rollback(Some(counter)) => {
                Some(Position { file, place: Place::Rollback(counter), rest: None })
            }
        }
    }

    /// What a position proves about this moment. For frames the caller still has to check that their
    /// checksums continue the position's.
    pub(crate) fn since(&self, position: &Position) -> Since {
        if self.file != Some(position.file) {
            return Since::Unknown;
        }
        match (self.journal, position.place) {
            (Journal::Rollback(Some(now)), Place::Rollback(then)) if now == then => Since::Nothing,
            // Without frames the salts are those of a WAL to come: they prove nothing.
            (Journal::Wal(now), Place::Wal(then)) if now.salts == then.salts && then.frame > 0 => {
                if now.frames == then.frame && now.checksum == then.checksum {
                    Since::Nothing
                } else if now.frames > then.frame {
                    Since::Frames(then)
                } else {
                    Since::Unknown
                }
            }
            // Nobody wrote to the file since it had everything. So whatever was committed since is in the WAL, as it is now: what a
            // WAL in between had would have been written to the file.
            (Journal::Wal(now), Place::Wal(_)) if self.is_at_rest(position) => match now.frames {
                0 => Since::Nothing,
                _ => Since::Frames(WalPosition::before_all(&now)),
            },
            _ => Since::Unknown,
        }
    }

    /// Whether the file is as a position knows it, from when the file had everything.
    fn is_at_rest(&self, position: &Position) -> bool {
        position.rest.is_some() && position.rest == self.rest.map(|(now, _)| now)
    }

    /// What its file looks like now; `None` if there is none, or if that can't be told.
    pub(crate) fn look(&self) -> Option<Glance> {
        let path = self.path.as_deref()?;
        let index = || wal_index(self.connection).ok().flatten();
        let glance = match self.journal {
            Journal::Wal(_) => {
                let (before, stat) = (index()?, Stat::of(path)?);
                Glance::Wal(Look::new(stat, before, index()?))
            }
            Journal::Rollback(_) => Glance::Rollback(Stat::of(path)?),
        };
        (self.file == Some(glance.stat().file)).then_some(glance)
    }

    /// This moment, to be compared with a follower's positions later.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            file: self.file,
            commits: self.wal_place().map(|at| at.changes),
            position: self.position(),
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        self.connection
    }

    pub(crate) fn pragma(&self, name: &str) -> Result<u32> {
        self.connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .map_err(|e| source_error(e, "cannot be read"))
    }

    /// What the file looks like, and whether the next write to it will show.
    fn look_at_rest(&self) -> Result<Option<(ChangeCounter, bool)>> {
        let Some(stat) = self.path.as_deref().and_then(Stat::of) else { return Ok(None) };
        if self.file != Some(stat.file) {
            return Ok(None);
        }
        let counter = change_counter(self.connection, stat.modified())?;
        Ok(counter.map(|counter| (counter, stat.is_settled())))
    }
}

/// What changes with every write to a connection's database file, which was modified then; `None` without a file, or a whole header.
pub(super) fn change_counter(
    connection: &Connection,
    modified: (i64, i64),
) -> Result<Option<ChangeCounter>> {
    let Some(file) = FileRef::database(connection)? else { return Ok(None) };
    let mut header = [0; 100];
    if file.read_at(&mut header, 0)? {
        return Ok(None);
    }
    let field =
        |at: usize| header.get(at..).and_then(|b| b.first_chunk()).map(|b| u32::from_be_bytes(*b));
    let (Some(counter), Some(valid_for)) = (field(24), field(92)) else { return Ok(None) };
    Ok(Some(ChangeCounter { counter, valid_for, bytes: file.size()?, modified }))
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // Ending a read transaction changes nothing, and closing the connection ends it as well.
        let _ = self.connection.execute_batch("ROLLBACK");
    }
}

/// What a database file looks like, in any journal mode.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Glance {
    /// In WAL mode, with how far checkpoints had come.
    Wal(Look),
    /// With a rollback journal, or none.
    Rollback(Stat),
}

impl Glance {
    fn stat(&self) -> &Stat {
        match self {
            Self::Wal(look) => look.stat(),
            Self::Rollback(stat) => stat,
        }
    }

    /// Whether the file is as it was.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.stat().same_as(other.stat())
    }

    /// Whether the file was written to just now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.stat().is_fresh()
    }

    /// Who changed the file until a later glance, while a pin was held: with a rollback journal nobody may.
    pub(crate) fn until(&self, now: &Self) -> Touched {
        match (self, now) {
            (Self::Wal(then), Self::Wal(now)) => then.until(now, then.frames()),
            _ if !self.same_as(now) => Touched::ByOthers,
            _ if self.is_fresh() => Touched::Perhaps,
            _ => Touched::No,
        }
    }
}

fn begin_read(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN")?;
    // BEGIN alone takes no snapshot; the first read does.
    let read = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    if read.is_err() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    read
}

/// Begins a read transaction whose snapshot is exactly the wal-index header that comes back. `None`,
/// without a transaction, when there is no shared wal-index to compare with.
pub(super) fn begin_wal(connection: &Connection) -> Result<Option<WalIndex>> {
    let failed = |e| source_error(e, "cannot be read");
    // The first read opens the WAL.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    for _ in 0..QUIET_TRIES {
        if let Some(index) = try_begin_wal(connection)? {
            return Ok(Some(index));
        }
        if wal_region(connection)?.is_none() {
            return Ok(None);
        }
    }
    // Writers commit faster than we begin. Stand in their queue once: while another connection of
    // ours holds the write lock, nothing moves.
    let gate = connect(Path::new(connection.path().unwrap_or_default()))?;
    gate.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let begun = try_begin_wal(connection);
    let _ = gate.execute_batch("ROLLBACK");
    begun?
        .map(Some)
        .ok_or_else(|| Error::new(ErrorKind::Busy, "never stands still long enough to be read"))
}

/// One attempt; `None` when a writer came in between, and then no transaction is open.
pub(super) fn try_begin_wal(connection: &Connection) -> Result<Option<WalIndex>> {
    let before = wal_index(connection)?;
    begin_read(connection).map_err(|e| source_error(e, "cannot be read"))?;
    let after = wal_index(connection);
    match (before, after) {
        // The count of backfilled frames is no part of the header: a reset between the two reads takes it back to zero, while
        // the pin sits where it sat before.
        (Some(before), Ok(Some(after))) if before.same_snapshot(&after) => {
            Ok(Some(WalIndex { backfilled: before.backfilled.max(after.backfilled), ..after }))
        }
        (_, after) => {
            let _ = connection.execute_batch("ROLLBACK");
            after.map(|_| None)
        }
    }
}

fn wal_region(connection: &Connection) -> Result<Option<[u8; super::ffi::WAL_INDEX_LEN]>> {
    match FileRef::database(connection)? {
        Some(file) => file.wal_index(),
        None => Ok(None),
    }
}

pub(super) fn wal_index(connection: &Connection) -> Result<Option<WalIndex>> {
    Ok(wal_region(connection)?.and_then(|bytes| WalIndex::parse(&bytes)))
}

#[cfg(test)]
mod tests {
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
