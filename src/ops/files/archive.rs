//! The archive on this machine: a database with the table `sqlar`, as SQLite's own program has it,
//! and beside it the table of what tells whether a file is as it was.
//!
//! Invariants: all of a run is one transaction. Content is stored as it is, in pieces, and pages
//! that stay the same are not written.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::blob::Blob;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OptionalExtension, params};

use super::facts::Facts;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::local::files::lock_file;

/// Tells the archive from any other database: "PKFA".
pub(super) const APPLICATION: i32 = 0x504B_4641;
/// How much of a file is in memory at a time.
pub(super) const PIECE: usize = 1 << 18;
/// What a row has besides its content, with room.
const ROW: u64 = 16 << 10;

const SCHEMA: &str = "
CREATE TABLE sqlar(name TEXT PRIMARY KEY, mode INT, mtime INT, sz INT, data BLOB);
CREATE TABLE pagekeep_files(
  name TEXT PRIMARY KEY, uid INT, gid INT, mtime_ns INT, ctime_ns INT, inode INT
) WITHOUT ROWID;";

/// An archive that is open.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) db: Connection,
    path: PathBuf,
}

/// What the archive has of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    row: i64,
    mode: u32,
    /// As the archive has it: -1 for a link.
    size: i64,
    uid: u32,
    gid: u32,
    modified: i64,
    changed: i64,
    inode: i64,
}

impl Record {
    /// Whether a file is as it was.
    pub(super) fn is(&self, facts: &Facts, size: i64) -> bool {
        *self == Self::of(self.row, facts, size)
    }

    fn of(row: i64, facts: &Facts, size: i64) -> Self {
        // Of folders and links it is read every time what they have.
        let (changed, inode) = match facts.kind.is_file() {
            true => (facts.changed, facts.inode),
            false => (0, 0),
        };
        Self {
            row,
            mode: facts.mode,
            size,
            uid: facts.uid,
            gid: facts.gid,
            modified: facts.modified,
            changed,
            inode,
        }
    }
}

/// How a file's content came into the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// All of it; whether anything of it is new.
    Whole { is_new: bool },
    /// It is longer or shorter than it was.
    Moved,
}

impl Archive {
    /// Opens an archive that is there, or begins one.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when what is there is no archive, or SQLite can't read it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(e, "cannot be opened", path.display().to_string());
        // A file, and this user's; no link is followed.
        lock_file(path).map_err(failed)?;
        let archive = Connection::open(path).map_err(|e| of_sqlite(e, path))?;
        let archive = Self { db: archive, path: path.to_owned() };
        archive
            .prepare()
            .map_err(|e| archive.failed(e))?
            .then_some(archive)
            .ok_or_else(|| Error::damaged(path.display().to_string(), "is no archive of files"))
    }

    fn prepare(&self) -> rusqlite::Result<bool> {
        self.db.busy_timeout(std::time::Duration::from_secs(5))?;
        let tables: Vec<String> = self
            .db
            .prepare("SELECT name FROM sqlite_schema WHERE type <> 'index' ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if tables.is_empty() {
            self.db.execute_batch(&format!(
                "PRAGMA journal_mode=WAL; BEGIN; {SCHEMA} PRAGMA application_id={APPLICATION}; COMMIT;"
            ))?;
            return Ok(true);
        }
        let id: i32 = self.db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let mode: String = self.db.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        Ok(id == APPLICATION && tables == ["pagekeep_files", "sqlar"] && mode == "wal")
    }

    /// Removes an archive, with what SQLite has beside it.
    pub(super) fn remove(path: &Path) -> Result<()> {
        for suffix in ["-wal", "-shm", "-journal", ""] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    let object = Path::new(&file).display().to_string();
                    return Err(Error::io(e, "cannot be removed", object));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The largest file that SQLite takes.
    pub(super) fn largest(&self) -> Result<u64> {
        let limit = self.db.limit(Limit::SQLITE_LIMIT_LENGTH).map_err(|e| self.failed(e))?;
        Ok(u64::try_from(limit).unwrap_or(0).saturating_sub(ROW))
    }

    pub(super) fn run(&self, sql: &str) -> Result<()> {
        self.db.execute_batch(sql).map_err(|e| self.failed(e))
    }

    /// What it has of a name.
    pub(super) fn record(&self, name: &[u8]) -> Result<Option<Record>> {
        let find = || {
            let mut find = self.db.prepare_cached(
                "SELECT s.rowid, mode, sz, uid, gid, mtime_ns, ctime_ns, inode
                 FROM sqlar s JOIN pagekeep_files f ON f.name = s.name
                 WHERE s.name = CAST(?1 AS TEXT)",
            )?;
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Record {
                    row: row.get(0)?,
                    mode: row.get(1)?,
                    size: row.get(2)?,
                    uid: row.get(3)?,
                    gid: row.get(4)?,
                    modified: row.get(5)?,
                    changed: row.get(6)?,
                    inode: row.get(7)?,
                })
            };
            find.query_row([name], read).optional()
        };
        find().map_err(|e| self.failed(e))
    }

    /// Stores a folder, or a link with its target.
    pub(super) fn put(&self, name: &[u8], facts: &Facts, target: Option<&[u8]>) -> Result<()> {
        let size = if target.is_some() { -1 } else { 0 };
        self.describe(name, facts, size).and_then(|()| {
            let sql = "UPDATE sqlar SET data = CAST(?2 AS TEXT)
                       WHERE name = CAST(?1 AS TEXT) AND data IS NOT CAST(?2 AS TEXT)";
            let done =
                self.db.prepare_cached(sql).and_then(|mut put| put.execute(params![name, target]));
            done.map(drop).map_err(|e| self.failed(e))
        })
    }

    /// The target of a link that is stored.
    pub(super) fn target(&self, record: &Record) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT CAST(data AS BLOB) FROM sqlar WHERE rowid = ?1";
        self.db.query_row(sql, [record.row], |row| row.get(0)).map_err(|e| self.failed(e))
    }

    /// Stores a file as it is read. The outer result is the archive's, the inner one the file's.
    pub(super) fn copy(
        &self,
        name: &[u8],
        facts: &Facts,
        file: &mut File,
        before: Option<&Record>,
    ) -> Result<std::io::Result<Copied>> {
        let size = i64::try_from(facts.size).unwrap_or(i64::MAX);
        let is_as_long = before.is_some_and(|record| {
            record.size == size
                && rustix::fs::FileType::from_raw_mode(kind_bits(record.mode)).is_file()
        });
        self.describe(name, facts, size)?;
        let row = self.record(name)?.map(|record| record.row).unwrap_or_default();
        if !is_as_long {
            let sql = "UPDATE sqlar SET data = zeroblob(?2) WHERE rowid = ?1";
            self.db.execute(sql, [row, size]).map_err(|e| self.failed(e))?;
        }
        let blob = self.db.blob_open("main", "sqlar", "data", row, false);
        let mut blob = blob.map_err(|e| self.failed(e))?;
        let written = fill(&mut blob, file, facts.size, is_as_long);
        blob.close().map_err(|e| self.failed(e))?;
        match written {
            Ok(Some(is_new)) => Ok(Ok(Copied::Whole { is_new })),
            Ok(None) => Ok(Ok(Copied::Moved)),
            Err(Side::File(e)) => Ok(Err(e)),
            Err(Side::Archive(e)) => {
                Err(Error::io(e, "cannot be written", self.path.display().to_string()))
            }
        }
    }

    /// Stores what is known of a name.
    fn describe(&self, name: &[u8], facts: &Facts, size: i64) -> Result<()> {
        let record = Record::of(0, facts, size);
        let store = || {
            self.db
                .prepare_cached(
                    "INSERT INTO sqlar(name, mode, mtime, sz) VALUES(CAST(?1 AS TEXT), ?2, ?3, ?4)
                     ON CONFLICT(name) DO UPDATE
                     SET mode = excluded.mode, mtime = excluded.mtime, sz = excluded.sz",
                )?
                .execute(params![name, record.mode, facts.second(), size])?;
            self.db
                .prepare_cached(
                    "INSERT INTO pagekeep_files VALUES(CAST(?1 AS TEXT), ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT(name) DO UPDATE SET uid = excluded.uid, gid = excluded.gid,
                     mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
                     inode = excluded.inode",
                )?
                .execute(params![
                    name,
                    record.uid,
                    record.gid,
                    record.modified,
                    record.changed,
                    record.inode
                ])
        };
        store().map(drop).map_err(|e: rusqlite::Error| self.failed(e))
    }

    /// All names that it has.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>> {
        let all = || {
            let mut all = self.db.prepare("SELECT CAST(name AS BLOB) FROM sqlar ORDER BY name")?;
            all.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        all().map_err(|e| self.failed(e))
    }

    /// Removes a name.
    pub(super) fn forget(&self, name: &[u8]) -> Result<()> {
        let forget = || {
            for table in ["sqlar", "pagekeep_files"] {
                let sql = format!("DELETE FROM {table} WHERE name = CAST(?1 AS TEXT)");
                self.db.prepare_cached(&sql)?.execute([name])?;
            }
            Ok(())
        };
        forget().map_err(|e| self.failed(e))
    }

    /// Closes it, so that everything is in its file.
    pub(super) fn close(self) -> Result<()> {
        let Self { db, path } = self;
        db.close().map_err(|(_, e)| of_sqlite(e, &path))
    }

    fn failed(&self, e: rusqlite::Error) -> Error {
        of_sqlite(e, &self.path)
    }
}

#[allow(clippy::useless_conversion)]
fn kind_bits(mode: u32) -> rustix::fs::RawMode {
    mode.try_into().unwrap_or_default()
}

/// Whose trouble it is.
enum Side {
    File(std::io::Error),
    Archive(std::io::Error),
}

/// Writes a file into a blob of its size; where the blob has content, only what differs. `None`
/// when the file has another size; else whether anything was written.
fn fill(
    blob: &mut Blob<'_>,
    file: &mut File,
    size: u64,
    compare: bool,
) -> std::result::Result<Option<bool>, Side> {
    let mut piece = vec![0; PIECE];
    let mut stored = vec![0; if compare { PIECE } else { 0 }];
    let (mut at, mut is_new) = (0, !compare);
    file.seek(SeekFrom::Start(0)).map_err(Side::File)?;
    loop {
        let len = read_full(file, &mut piece).map_err(Side::File)?;
        let Some(read) = piece.get(..len).filter(|read| !read.is_empty()) else {
            return Ok((at == size).then_some(is_new));
        };
        let end = at + len as u64;
        if end > size {
            return Ok(None);
        }
        let is_same = match stored.get_mut(..len) {
            Some(stored) if compare => {
                blob.read_exact(stored).map_err(Side::Archive)?;
                stored == read
            }
            _ => false,
        };
        if !is_same {
            blob.seek(SeekFrom::Start(at)).map_err(Side::Archive)?;
            blob.write_all(read).map_err(Side::Archive)?;
            is_new = true;
        }
        at = end;
    }
}

/// Reads until a piece is full, or the file ends.
fn read_full(file: &mut File, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = piece.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

/// What SQLite says about the archive.
fn of_sqlite(e: rusqlite::Error, path: &Path) -> Error {
    use rusqlite::ErrorCode;
    let kind = match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Damaged,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        // A column that has something else than what is written there.
        None if matches!(
            e,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        ) =>
        {
            ErrorKind::Damaged
        }
        _ => ErrorKind::Failure,
    };
    Error::new(kind, "cannot be used as an archive of files")
        .with_object(path.display().to_string())
        .with_source(e)
}
