//! A pin on one moment of a database: a read transaction together with the exact state that it
//! sees.
//!
//! Invariants:
//! - In WAL mode the pin's snapshot is exactly the wal-index header that the pin carries: the
//!   header is read before and after the transaction begins, and both must be equal. So it is known
//!   which frames belong to the snapshot.
//! - If all those frames were in the database file when the pin began, the file alone is the
//!   snapshot, and the WAL must not be read: such a pin may sit on read mark zero, and then a
//!   writer may restart the WAL under it. Otherwise the pin sits on a mark above zero, and nobody
//!   can.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::connection::{connect, wal_index, wal_region};
use super::ffi::FileRef;
use super::position::{ChangeCounter, FileIdentity, Moment, Place, Position, Since};
use super::source_error;
use super::wal::{WalIndex, WalPosition};
use super::witness::{Look, Stat, Touched};
use crate::error::{Error, ErrorKind, Result};
use crate::types::PageSize;

/// How often to try for a quiet moment before asking writers for one.
const QUIET_TRIES: usize = 50;

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
    pub(super) file: Option<FileIdentity>,
    pub(crate) journal: Journal,
    /// In WAL mode, what the file looked like after the pin began; with it, whether the next write
    /// to it will show.
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

    pub(super) fn begin(connection: &'c mut Connection, path: Option<&Path>) -> Result<Self> {
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
        let stat = path.map(Stat::at).transpose()?;
        pin.file = stat.map(|stat| stat.file);
        let counter = match &stat {
            Some(stat) => change_counter(pin.connection, stat.modified())?,
            None => None,
        };
        pin.journal = match wal {
            Some(index) => {
                pin.rest = counter.zip(stat.map(|stat| stat.is_settled()));
                Journal::Wal(index)
            }
            None => Journal::Rollback(counter),
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

    /// Whether the WAL had frames that were not in the database file yet.
    pub(crate) fn has_frames_to_checkpoint(&self) -> bool {
        match self.journal {
            Journal::Wal(index) => index.backfilled < index.frames,
            Journal::Rollback(_) => false,
        }
    }

    /// The version of SQLite that wrote the file last, as far as the file's header tells (offset
    /// 96); `None` for a database that is empty or has no file.
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

    /// What a position proves about this moment. For frames the caller still has to check that
    /// their checksums continue the position's.
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
            // Nobody wrote to the file since it had everything. So whatever was committed since is
            // in the WAL, as it is now: what a WAL in between had would have been written to the
            // file.
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
}

/// What changes with every write to a connection's database file, which was modified then; `None`
/// without a file, or a whole header.
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

    /// Whether the file's time lies ahead, so that it does not tell when it was written to.
    pub(crate) fn is_ahead(&self) -> bool {
        self.stat().is_ahead()
    }

    /// Whether the file was written to just now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.stat().is_fresh()
    }

    /// Who changed the file until a later glance, while a pin was held: with a rollback journal
    /// nobody may.
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

/// Begins a read transaction whose snapshot is exactly the wal-index header that comes back.
/// `None`, without a transaction, when there is no shared wal-index to compare with.
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
        // The count of backfilled frames is no part of the header: a reset between the two reads
        // takes it back to zero, while the pin sits where it sat before.
        (Some(before), Ok(Some(after))) if before.same_snapshot(&after) => {
            Ok(Some(WalIndex { backfilled: before.backfilled.max(after.backfilled), ..after }))
        }
        (_, after) => {
            let _ = connection.execute_batch("ROLLBACK");
            after.map(|_| None)
        }
    }
}
