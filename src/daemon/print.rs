//! What the files of a database look like from outside: enough to notice that one was written to.
//!
//! A sign and never a proof, so it only wakes who looks closely.

use std::ffi::OsString;
use std::fs::Metadata;
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
        let told =
            |meta: Metadata| (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
        let stat = |path: &Path, suffix: &str| {
            let mut name = OsString::with_capacity(path.as_os_str().len() + suffix.len());
            name.push(path);
            name.push(suffix);
            std::fs::metadata(PathBuf::from(name)).ok().map(told)
        };
        let of = |path: &Path, file| Self {
            file,
            wal: stat(path, "-wal"),
            journal: stat(path, "-journal"),
        };
        match std::fs::symlink_metadata(path) {
            // The other files lie beside the one that a link leads to. Thousands are looked at each
            // second, so only who is a link is followed by its names.
            Ok(meta) if meta.is_symlink() => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                of(&path, stat(&path, ""))
            }
            meta => of(path, meta.ok().map(told)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_looks_like_what_it_leads_to_with_the_files_beside_that() {
        let dir = tempfile::tempdir().unwrap();
        let (real, other) = (dir.path().join("real"), dir.path().join("other"));
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&other).unwrap();
        let (file, link) = (real.join("a.db"), other.join("b.db"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let folder = dir.path().join("folder");
        std::os::unix::fs::symlink(&real, &folder).unwrap();
        assert_eq!(Print::of(&link), Print::default());
        for suffix in ["", "-wal", "-journal"] {
            let before = Print::of(&file);
            std::fs::write(real.join(format!("a.db{suffix}")), "x").unwrap();
            let print = Print::of(&file);
            assert_ne!(print, before);
            assert_eq!(Print::of(&link), print);
            // A folder on the way may be a link, too.
            assert_eq!(Print::of(&folder.join("a.db")), print);
        }
        assert_eq!(Print::identity_at(&link), Print::of(&file).identity());
    }
}
