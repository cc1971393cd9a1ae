//! Whether somebody has a database open under another name: by a hard link, through a file that is
//! mounted alone, or since before it was renamed. SQLite keeps the WAL beside the name, so what is
//! committed there can't be seen here, and what is written here is not seen there.
//!
//! In WAL mode every open connection holds a shared lock on the database file, and one on its
//! `-shm`. Who has the first and not the second has another `-shm`. Linux tells of the locks of all
//! processes that this one can see; elsewhere, and across containers, there is only the mount to go
//! by.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::beside::{beside, full_path};
use super::pin::Pin;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Monitor;

/// The first byte that SQLite's shared locks cover in a database file, and the one that every
/// connection locks in a `-shm`.
const SHARED: u64 = 0x4000_0002;
const IN_USE: u64 = 128;
/// How many lists of locks say whom to look at, and how many may say nothing of this process.
const LISTS: usize = 3;
const TRIES: usize = 10;
/// How often a suspect has to have another `-shm` open, and the time between: who is just opening
/// several databases is none.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// Makes sure that nobody has a pinned database open under another name, as far as that can be
/// told. Of a file that is mounted alone it warns: whoever has it open where it comes from can't be
/// seen from here.
///
/// # Errors
/// [`ErrorKind::Refused`].
pub(crate) fn check_one_name(pin: &Pin<'_>, path: &Path, monitor: &dyn Monitor) -> Result<()> {
    if is_mounted_alone(path) {
        monitor.warn(&format!(
            "{} is a file that is mounted alone: who has it open where it comes from has another -wal, whose commits can't be seen \
             here; mount its folder instead",
            path.display()
        ));
    }
    let path = full_path(path);
    if pin.blocks_writers() || !is_open_elsewhere(&path) {
        return Ok(());
    }
    let what = "is open under another name, with another -wal beside that, whose commits can't be seen here";
    Err(Error::new(ErrorKind::Refused, what).with_object(path.display().to_string()).with_hint(
        "use the name that the application uses; after the file was renamed, restart what has it open",
    ))
}

/// Whether another process has it open with another `-shm`. The list of locks only says whom to
/// look at: who is just opening a database has one lock a moment before the other. What a process
/// has open accuses it, if it does so each time.
fn is_open_elsewhere(path: &Path) -> bool {
    let shm = beside(path, "-shm");
    let mut suspects = suspects(path, &shm);
    for look in 0..LOOKS {
        if look > 0 && !suspects.is_empty() {
            std::thread::sleep(PAUSE);
        }
        suspects.retain(|process| has_other_index(*process, path, &shm).unwrap_or(false));
    }
    !suspects.is_empty()
}

/// Who has a lock on the database and none on the `-shm`. The kernel gives the list of locks out in
/// pieces, and while others come and go a line may be missing: so whoever is on one of several
/// lists is a suspect.
fn suspects(path: &Path, shm: &Path) -> BTreeSet<u32> {
    let inode = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.ino());
    let (database, index) = (inode(path), inode(shm));
    let lists = (0..TRIES).filter_map(|_| fs::read_to_string("/proc/locks").ok());
    let told = lists.filter_map(|locks| {
        others_without(&locks, std::process::id(), (database, SHARED), (index, IN_USE))
    });
    told.take(LISTS).flatten().collect()
}

/// Whether a process has a database open, and a `-shm` of another name, and not the one that is
/// beside the database, nor one that was removed there. Numbers of files in a list of locks may be
/// those of others. `None` where that can't be looked at.
fn has_other_index(process: u32, database: &Path, shm: &Path) -> Option<bool> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let (database, beside) = (identity(database)?, identity(shm)?);
    let removed = format!("{} (deleted)", shm.display());
    let (mut has_it, mut other) = (false, false);
    for entry in fs::read_dir(format!("/proc/{process}/fd")).ok()? {
        let file = entry.ok()?.path();
        let Ok(name) = fs::read_link(&file) else { continue };
        let found = identity(&file);
        if found == Some(beside) || name.as_os_str() == removed.as_str() {
            return Some(false);
        }
        has_it |= found == Some(database);
        other |= name.as_os_str().as_encoded_bytes().ends_with(b"-shm");
    }
    Some(has_it && other)
}

/// The processes other than `me` that have a lock on one byte of a file and none on one of another,
/// by their inodes. Which devices these are on is told by the locks of `me`: some file systems show
/// others than those of their files. `None` without these.
fn others_without(
    locks: &str,
    me: u32,
    first: (u64, u64),
    second: (u64, u64),
) -> Option<BTreeSet<u32>> {
    let holders = |(inode, byte): (u64, u64)| {
        let of_byte = locks.lines().filter_map(parse).filter(|lock| {
            lock.inode == inode && lock.first <= byte && lock.last.is_none_or(|last| byte <= last)
        });
        let all: Vec<Lock<'_>> = of_byte.collect();
        let device = all.iter().find(|lock| lock.process == me)?.device;
        let there = all.iter().filter(|lock| lock.device == device).map(|lock| lock.process);
        Some(there.collect::<BTreeSet<u32>>())
    };
    let (first, second) = (holders(first)?, holders(second)?);
    Some(first.difference(&second).copied().filter(|process| *process != me).collect())
}

struct Lock<'l> {
    process: u32,
    device: &'l str,
    inode: u64,
    first: u64,
    /// `None` up to the end of the file.
    last: Option<u64>,
}

/// A line such as `2: POSIX  ADVISORY  READ 8417 00:1b:196600439 123 123`.
fn parse(line: &str) -> Option<Lock<'_>> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "POSIX" {
        return None;
    }
    let mut words = words.skip(2);
    let process = words.next()?.parse().ok()?;
    let (device, inode) = words.next()?.rsplit_once(':')?;
    let (inode, first) = (inode.parse().ok()?, words.next()?.parse().ok()?);
    let last = match words.next()? {
        "EOF" => None,
        last => Some(last.parse().ok()?),
    };
    Some(Lock { process, device, inode, first, last })
}

/// Whether a file is mounted by itself, as containers do it: nothing can take its place.
#[cfg(target_os = "linux")]
pub(crate) fn is_mounted_alone(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let looked = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
    looked.is_ok_and(|file| file.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_mounted_alone(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_database_and_not_its_wal_index_is_elsewhere() {
        let mine = "1: POSIX  ADVISORY  READ 7 00:1b:10 1073741826 1073742335
            2: POSIX  ADVISORY  READ 7 00:1b:11 123 123
            3: POSIX  ADVISORY  READ 7 00:1b:11 128 128
            4: FLOCK  ADVISORY  WRITE 9 00:1b:10 0 EOF
            nonsense";
        let with = |lines: &str| {
            let others = others_without(&format!("{mine}\n{lines}"), 7, (10, SHARED), (11, IN_USE));
            !others.unwrap().is_empty()
        };
        assert!(!with(""));
        let database = "5: POSIX  ADVISORY  READ 8 00:1b:10 1073741826 1073742335";
        assert!(with(database));
        assert!(with(&format!("{database}\n6: POSIX  ADVISORY  READ 8 00:1b:11 123 123")));
        assert!(!with(&format!("{database}\n6: POSIX  ADVISORY  READ 8 00:1b:11 128 128")));
        // Another file of the same number, on another device.
        assert!(!with("5: POSIX  ADVISORY  READ 8 00:2a:10 1073741826 1073742335"));
        assert!(with("5: POSIX  ADVISORY  WRITE 8 00:1b:10 0 EOF"));
        // Without locks of its own it can't tell.
        assert_eq!(others_without(database, 7, (10, SHARED), (11, IN_USE)), None);
    }
}
