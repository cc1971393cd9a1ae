//! What the files of a database look like from outside: enough to notice that one was written to.
//!
//! A sign and never a proof, so it only wakes who looks closely.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::types::Timestamp;

/// Identity, size and time of one file.
type Stat = (u64, u64, u64, i64, i64);

/// What the files of a database look like; `None` for one that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print {
    /// The database.
    pub(super) file: Option<Stat>,
    /// Its WAL.
    pub(super) wal: Option<Stat>,
    /// Its rollback journal.
    journal: Option<Stat>,
}

impl Print {
    /// How the files of a database look now. Nothing is opened.
    pub(super) fn of(path: &Path) -> Self {
        // The other files lie beside the one that a link leads to.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let stat = |suffix: &str| {
            let mut name = OsString::from(&path);
            name.push(suffix);
            let meta = std::fs::metadata(PathBuf::from(name)).ok()?;
            Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        Self { file: stat(""), wal: stat("-wal"), journal: stat("-journal") }
    }

    /// Whether nothing was written since a time, and there is nothing beside the database.
    pub(super) fn rests_since(&self, time: Timestamp) -> bool {
        let is_empty = |stat: &Option<Stat>| stat.is_none_or(|(_, _, bytes, ..)| bytes == 0);
        let is_old = |(.., seconds, _): Stat| seconds < time.0.div_euclid(1_000_000);
        self.file.is_some_and(is_old) && is_empty(&self.wal) && is_empty(&self.journal)
    }

    /// Whether what was captured completely when it looked like this is all there is when it looks
    /// like another.
    pub(super) fn has_all_of(&self, later: &Self) -> bool {
        if !self.is_there() || self.identity() != later.identity() {
            return false;
        }
        match self.wal {
            // Whoever commits writes to the WAL.
            Some(_) => later.wal == self.wal,
            None => later == self,
        }
    }

    /// What tells a file from others, whatever its name; `None` if it is not there.
    pub(super) fn identity_at(path: &Path) -> Option<(u64, u64)> {
        std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
    }

    /// The same, as it was when this was taken.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        self.file.map(|(device, inode, ..)| (device, inode))
    }

    /// Whether the database is there.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_some()
    }
}
