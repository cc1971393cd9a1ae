//! What a system says of a file: its kind, mode, owner, times and size.

use std::time::Duration;

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

    /// How long it takes until a further change can't have the time of the last one any more: many
    /// systems tell time by a tick of up to 10 ms.
    pub(super) fn settles_in(&self, now: Timestamp) -> Option<Duration> {
        /// Two ticks of the slowest clock, in microseconds.
        const TICKS: i64 = 20_000;
        let age = now.0.checked_sub(self.changed.div_euclid(1000))?;
        // One from the future has another clock, of which nothing is known.
        let rest = TICKS.checked_sub(age).filter(|_| age >= 0)?;
        u64::try_from(rest).ok().filter(|rest| *rest > 0).map(Duration::from_micros)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_just_changed_is_waited_for_shortly_and_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let stat = rustix::fs::stat(folder.path()).unwrap();
        let facts = Facts { changed: 5_000_000_999, ..Facts::of(&stat) };
        for (now, wait) in [
            (5_000_000, Some(20_000)),
            (5_019_999, Some(1)),
            (5_020_000, None),
            (9_000_000, None),
            // Another clock; and none that makes sense.
            (4_999_999, None),
            (i64::MIN, None),
            (i64::MAX, None),
        ] {
            let wait = wait.map(Duration::from_micros);
            assert_eq!(facts.settles_in(Timestamp(now)), wait, "{now}");
        }
    }
}
