//! Places in a source database, to be taken up again later: which file, and where its WAL or its
//! change counter stood.
//!
//! Pure but for a look at the file's identity, which opens nothing and so drops no locks.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::wal::WalPosition;

/// What tells one file from another under the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of what is at a path; `None` if there is nothing, or it can't be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        // stat opens nothing, so it drops no locks.
        std::fs::metadata(path).ok().map(|meta| Self::of_meta(&meta))
    }

    /// The identity of a file that was looked at.
    pub(super) fn of_meta(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: meta.dev(), inode: meta.ino() }
    }
}

/// What changes with every write to a database file. With a rollback journal that is every
/// transaction; in WAL mode, every checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeCounter {
    pub(super) counter: u32,
    pub(super) valid_for: u32,
    pub(super) bytes: u64,
    /// Seconds and nanoseconds. SQLite does without it; but a file that was copied over may have
    /// the same counter, and then this differs.
    pub(super) modified: (i64, i64),
}

/// Where a capture left off: what must still be true for less than a scan to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub(super) file: FileIdentity,
    pub(super) place: Place,
    /// In WAL mode, if the file had everything up to the place: what the file looked like. It
    /// proves the place as long as nobody wrote to the file, whatever became of the WAL.
    #[serde(default)]
    pub(super) rest: Option<ChangeCounter>,
}

impl Position {
    /// A place in the WAL of a file.
    pub(crate) fn in_wal(file: FileIdentity, place: WalPosition) -> Self {
        Self { file, place: Place::Wal(place), rest: None }
    }

    /// The same place, with what a file that has everything looks like.
    pub(super) fn at_rest(self, rest: ChangeCounter) -> Self {
        Self { rest: Some(rest), ..self }
    }

    /// The same, as another one of the same place knows the file.
    pub(crate) fn resting_as(self, other: &Self) -> Self {
        Self { rest: other.rest, ..self }
    }

    /// Whether two places with a rollback journal are of one count of transactions: between them
    /// nobody committed anything.
    pub(crate) fn is_same_count(&self, other: &Self) -> bool {
        match (self.place, other.place) {
            (Place::Rollback(this), Place::Rollback(other_place)) => {
                self.file == other.file && this.counter == other_place.counter
            }
            _ => false,
        }
    }

    fn is_same_place(&self, other: &Self) -> bool {
        (self.file, self.place) == (other.file, other.place)
    }

    /// The file, and the place in its WAL, if it is one.
    pub(crate) fn wal(&self) -> Option<(FileIdentity, WalPosition)> {
        match self.place {
            Place::Wal(place) => Some((self.file, place)),
            Place::Rollback(_) => None,
        }
    }
}

/// A moment that a follower has captured or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(super) file: Option<FileIdentity>,
    /// The count of commits, in WAL mode.
    pub(super) commits: Option<u32>,
    pub(super) position: Option<Position>,
}

impl Moment {
    /// Whether a position is of exactly this moment, which it proves by itself.
    pub(crate) fn is_at(&self, position: &Position) -> bool {
        let is_place = position.wal().is_none_or(|(_, at)| at.frame > 0);
        is_place && self.position.is_some_and(|then| then.is_same_place(position))
    }

    /// Whether a follower at work, whose position this is, has captured the moment. It counts
    /// commits without a gap, so a higher count is a later moment. The count of one that is not at
    /// work may be of another wal-index.
    pub(crate) fn is_before(&self, position: &Position) -> bool {
        match (self.commits, position.wal()) {
            (Some(then), Some((file, at))) => {
                self.file == Some(file) && at.changes.wrapping_sub(then) <= u32::MAX / 2
            }
            _ => false,
        }
    }

    /// Whether a position stands for exactly this moment, although the WAL was reset since: no
    /// frame is in it, and no commit was counted. Of use only while a follower is at work, whose
    /// connections keep the count from being made anew.
    pub(crate) fn is_just(&self, position: &Position) -> bool {
        let (Some(then), Some((file, at))) = (self.commits, position.wal()) else { return false };
        let is_empty = self.position.and_then(|now| now.wal()).is_some_and(|(_, at)| at.frame == 0);
        is_empty && self.file == Some(file) && at.changes == then
    }

    /// Whether later positions can be told from earlier ones.
    pub(crate) fn counts(&self) -> bool {
        self.commits.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    Wal(WalPosition),
    Rollback(ChangeCounter),
}

/// What a position proves about the present moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Nothing was committed since.
    Nothing,
    /// Everything committed since is in the WAL's frames behind this place.
    Frames(WalPosition),
    /// It proves nothing; only a scan tells.
    Unknown,
}
