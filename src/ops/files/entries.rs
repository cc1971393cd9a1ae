//! What an archive has, read from a moment that was stored.
//!
//! Invariants: whatever bytes an archive has, reading it ends, takes bounded memory for each name,
//! and never panics. An entry that can't be one of a folder says why.

use std::collections::BTreeMap;
use std::io::Read;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use rustix::fs::FileType;

use super::name::{above, parts};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::view::{DatabaseView, ViewOptions};

/// The longest name, and the longest target of a link.
const LONGEST: i64 = 4096;

/// One name of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(super) row: i64,
    pub(super) name: Vec<u8>,
    pub(super) kind: FileType,
    /// Permissions alone.
    pub(super) mode: u32,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    /// Who owned it, and its group.
    pub(super) owner: Option<(u32, u32)>,
    /// The size of its content, or of a link's target.
    pub(super) size: u64,
    /// Where a link leads.
    target: Option<Vec<u8>>,
    /// Why it can't be restored.
    pub(super) refused: Option<&'static str>,
}

impl Entry {
    /// Its name for people.
    pub(crate) fn shown(&self) -> String {
        super::name::shown(&self.name)
    }

    /// A stable word for what it is.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            FileType::Directory => "folder",
            FileType::RegularFile => "file",
            FileType::Symlink => "link",
            _ => "unknown",
        }
    }

    /// Where a link leads, for people.
    pub(crate) fn target(&self) -> Option<String> {
        self.target.as_deref().map(super::name::shown)
    }

    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// When it was changed, in nanoseconds since 1970.
    pub(crate) fn modified(&self) -> i64 {
        self.modified
    }

    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    pub(crate) fn refused(&self) -> Option<&'static str> {
        self.refused
    }
}

/// An archive at a moment.
pub(super) struct Stored {
    view: DatabaseView,
    name: String,
}

impl Stored {
    pub(super) fn open(point: &RestorePoint) -> Result<Self> {
        let view = point.open(&ViewOptions::default())?;
        let name = format!("{}@seq:{}", point.history().name(), point.seq());
        let stored = Self { view, name };
        match stored.is_table("sqlar", &["name", "mode", "mtime", "sz", "data"])? {
            true => Ok(stored),
            false => {
                Err(Error::new(ErrorKind::Usage, "has no archive of files")
                    .with_object(stored.name))
            }
        }
    }

    /// All entries, sorted, so that a folder comes before what is in it.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let owners = ["name", "uid", "gid", "mtime_ns"];
        let (more, join) = match self.is_table("pagekeep_files", &owners)? {
            // One row for each name, whatever is there: else a small archive has endless entries.
            true => (
                "f.uid, f.gid, f.mtime_ns",
                "LEFT JOIN (SELECT name, uid, gid, mtime_ns FROM pagekeep_files GROUP BY name) f
                 ON f.name = s.name",
            ),
            false => ("NULL, NULL, NULL", ""),
        };
        let sql = format!(
            "SELECT s.rowid, typeof(s.name) = 'text',
             CASE WHEN octet_length(s.name) <= {LONGEST} THEN CAST(s.name AS BLOB) END,
             s.mode, s.mtime, s.sz, typeof(s.data), octet_length(s.data), {more}
             FROM sqlar s {join}"
        );
        let read = || {
            let mut all = self.view.prepare(&sql)?;
            all.query_map([], entry)?.collect::<rusqlite::Result<Vec<Entry>>>()
        };
        let mut entries = read().map_err(|e| self.failed(e))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        judge(&mut entries);
        Ok(entries)
    }

    /// The target of a link.
    pub(super) fn target(&self, entry: &Entry) -> Result<Vec<u8>> {
        let sql = "SELECT CAST(data AS BLOB) FROM sqlar WHERE rowid = ?1";
        self.view.query_row(sql, [entry.row], |row| row.get(0)).map_err(|e| self.failed(e))
    }

    /// Hands a file's content over, piece by piece.
    pub(super) fn content(
        &self,
        entry: &Entry,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if entry.size == 0 {
            return Ok(());
        }
        let blob = self.view.blob_open("main", "sqlar", "data", entry.row, true);
        let mut blob = blob.map_err(|e| self.failed(e))?;
        let mut piece = vec![0; super::archive::PIECE];
        loop {
            let read = blob.read(&mut piece).map_err(|e| match self.view.take_cause() {
                Some(cause) => cause,
                None => Error::io(e, "cannot be read", format!("{}: {}", self.name, entry.shown())),
            })?;
            match piece.get(..read).filter(|read| !read.is_empty()) {
                Some(read) => take(read)?,
                None => return Ok(()),
            }
        }
    }

    /// Whether there is an ordinary table with these columns.
    fn is_table(&self, table: &str, columns: &[&str]) -> Result<bool> {
        let look = |db: &Connection| {
            let is_plain: bool = db.query_row(
                "SELECT EXISTS(SELECT 1 FROM pragma_table_list(?1)
                 WHERE schema = 'main' AND type = 'table')",
                [table],
                |row| row.get(0),
            )?;
            let mut found = db.prepare(
                "SELECT CAST(name AS TEXT) FROM pragma_table_xinfo(?1) WHERE hidden = 0",
            )?;
            let found: Vec<String> =
                found.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok(is_plain && columns.iter().all(|column| found.iter().any(|name| name == column)))
        };
        look(&self.view).map_err(|e| self.failed(e))
    }

    fn failed(&self, e: rusqlite::Error) -> Error {
        let e = self.view.explain(e);
        match e.object() {
            Some("SQL") | None => e.with_object(self.name.clone()),
            Some(_) => e,
        }
    }
}

/// What the archive has at a moment, sorted by name.
///
/// # Errors
/// [`ErrorKind::Usage`] when the moment has no files; [`ErrorKind::Damaged`]; store errors.
pub(crate) fn list(point: &RestorePoint) -> Result<Vec<Entry>> {
    let stored = Stored::open(point)?;
    let mut entries = stored.entries()?;
    for entry in &mut entries {
        if entry.kind == FileType::Symlink && entry.refused.is_none() {
            entry.target = Some(stored.target(entry)?);
        }
    }
    Ok(entries)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let number = |at: usize| match row.get_ref(at) {
        Ok(ValueRef::Integer(n)) => Some(n),
        _ => None,
    };
    let (mode, seconds, stored, nanos) = (number(3), number(4), number(5), number(10));
    let (is_text, data): (bool, String) = (row.get(1)?, row.get(6)?);
    let name: Option<Vec<u8>> = row.get(2)?;
    let size = number(7).and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    let bits = mode.and_then(|mode| u32::try_from(mode).ok());
    let kind = bits.map_or(FileType::Unknown, kind_of);
    let refused = match (&name, kind) {
        (None, _) => Some("has a name that no system takes"),
        _ if !is_text => Some("has a name that is no text"),
        (_, FileType::Directory) => None,
        (_, FileType::Symlink) => match (data.as_str(), stored) {
            ("text" | "blob", Some(-1)) if size > 0 && size <= LONGEST.unsigned_abs() => None,
            _ => Some("is a link without a target"),
        },
        (_, FileType::RegularFile) => match (data.as_str(), stored) {
            ("blob", Some(stored)) if u64::try_from(stored) == Ok(size) => None,
            ("null", Some(0)) => None,
            ("blob", Some(stored)) if u64::try_from(stored).is_ok_and(|stored| stored > size) => {
                Some("is compressed, as this program stores no file")
            }
            _ => Some("has another size than the archive says"),
        },
        _ => Some("is no file, folder or link"),
    };
    let id = |at: usize| {
        let id = number(at).and_then(|id| u32::try_from(id).ok());
        id.filter(|id| *id != u32::MAX)
    };
    Ok(Entry {
        row: row.get(0)?,
        name: name.unwrap_or_default(),
        kind,
        mode: bits.unwrap_or(0) & 0o7777,
        modified: nanos.unwrap_or_else(|| seconds.unwrap_or(0).saturating_mul(1_000_000_000)),
        owner: id(8).zip(id(9)),
        size,
        target: None,
        refused,
    })
}

#[allow(clippy::useless_conversion)]
fn kind_of(mode: u32) -> FileType {
    mode.try_into().map_or(FileType::Unknown, FileType::from_raw_mode)
}

/// Refuses names that lead elsewhere, or through something that is no folder.
fn judge(entries: &mut [Entry]) {
    let mut kinds: BTreeMap<Vec<u8>, FileType> = BTreeMap::new();
    for entry in entries.iter_mut().filter(|entry| entry.refused.is_none()) {
        entry.refused = match parts(&entry.name) {
            Err(why) => Some(why),
            Ok(_) => match kinds.insert(entry.name.clone(), entry.kind) {
                Some(_) => Some("has the name of another entry"),
                None => None,
            },
        };
    }
    for entry in entries.iter_mut().filter(|entry| entry.refused.is_none()) {
        let through = above(&entry.name)
            .find_map(|folder| kinds.get(folder).filter(|kind| **kind != FileType::Directory));
        entry.refused = through.map(|kind| match kind {
            FileType::Symlink => "leads through a link",
            _ => "is in something that is no folder",
        });
    }
}
