//! Whether a file is as it was left, without a connection to it.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::beside::{beside, full_path};
use super::held::is_held;
use super::position::{ChangeCounter, FileIdentity, Place, Position};

impl Position {
    /// Whether the file at a path has everything up to here and was not written to since, and
    /// nothing that counts lies beside it. To be asked only while this process has no connection
    /// to it: what is opened here and closed again drops the locks of the process.
    pub(crate) fn is_resting(&self, path: &Path) -> bool {
        let known = match self.place {
            Place::Wal(_) => self.rest,
            Place::Rollback(counter) => Some(counter),
        };
        let path = full_path(path);
        let is_there = |suffix| std::fs::metadata(beside(&path, suffix)).is_ok_and(|m| m.len() > 0);
        let Some(known) = known.filter(|_| !is_there("-wal") && !is_there("-journal")) else {
            return false;
        };
        if FileIdentity::of(&path).is_none_or(is_held) {
            return false;
        }
        ChangeCounter::of_closed(&path).is_some_and(|(file, now)| file == self.file && now == known)
    }
}

impl ChangeCounter {
    /// What a file looks like that this process has no connection to.
    fn of_closed(path: &Path) -> Option<(FileIdentity, Self)> {
        let file = std::fs::File::open(path).ok()?;
        let mut header = [0; 100];
        file.read_exact_at(&mut header, 0).ok()?;
        let meta = file.metadata().ok()?;
        let field = |at: usize| header.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b));
        let counter = Self {
            counter: field(24)?,
            valid_for: field(92)?,
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        };
        Some((FileIdentity::of_meta(&meta), counter))
    }
}
