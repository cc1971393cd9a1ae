//! What a system says of a file: its kind, mode, owner, times and size.

use rustix::fs::{FileType, Stat};

use crate::types::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// What is known of a file, a folder or a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: FileType,
    /// With the kind, as the system has it.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) changed: i64,
    pub(super) inode: i64,
    pub(super) size: u64,
}

impl Facts {
    /// What a system says. The types of its numbers are not the same everywhere.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    pub(super) fn of(stat: &Stat) -> Self {
        let nanos = |seconds: i128, nanos: i128| {
            let whole = seconds.saturating_mul(NANOS).saturating_add(nanos);
            i64::try_from(whole).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX })
        };
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: u32::from(stat.st_mode),
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: nanos(i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec)),
            changed: nanos(i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
            // A number to compare, and nothing else.
            inode: i64::from_ne_bytes(u64::from(stat.st_ino).to_ne_bytes()),
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }

    /// Whether the content of a file may have changed between two looks.
    pub(super) fn moved_since(&self, before: &Self) -> bool {
        (self.kind, self.size, self.modified, self.changed, self.inode)
            != (before.kind, before.size, before.modified, before.changed, before.inode)
    }

    /// The second of the last change, as the archive has it.
    pub(super) fn second(&self) -> i64 {
        self.modified.div_euclid(1_000_000_000)
    }

    /// Whether it changed at a time, or so shortly before that its times may not tell.
    pub(super) fn may_change_unseen(&self, looked: Option<Timestamp>) -> bool {
        /// The coarsest clock of a file system, FAT's, with room.
        const GRAIN: i64 = 3_000_000;
        let Some(Timestamp(looked)) = looked else { return true };
        self.changed.div_euclid(1000) >= looked.saturating_sub(GRAIN)
    }
}
