//! Brings the files of a moment back, into a folder that is new.
//!
//! Invariants: nothing is written outside of that folder: each part of a name is opened in the
//! folder before it, and no link is followed; links come last. The folder gets its name when all of
//! it is durable.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps};
use rustix::fs::{Uid, chownat, fchmod, fchown, futimens, mkdirat, openat, symlinkat, utimensat};
use rustix::io::Errno;

use super::entries::{Entry, Stored};
use super::name::{above, parts};
use super::report::{Refused, Restored};
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::folder::Folder;
use crate::ops::point::RestorePoint;
use crate::progress::{Monitor, Phase, check_cancelled};

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Restores the files of a moment into a folder that is new, or takes the place of an empty one.
///
/// # Errors
/// [`ErrorKind::Refused`] when anything else is there; [`ErrorKind::Usage`] when the moment has no
/// files; [`ErrorKind::Damaged`]; what the system answers. After an error all is as it was, but
/// where the folder was restored and could not be given the mode of the empty one.
///
/// # Durability
/// When this returns, the folder and all that is in it is durable.
pub(crate) fn restore(
    point: &RestorePoint,
    target: &Path,
    monitor: &dyn Monitor,
) -> Result<Restored> {
    let object = target.display().to_string();
    let name = target.file_name().ok_or_else(|| {
        Error::new(ErrorKind::Usage, "is no name of a folder").with_object(object.clone())
    })?;
    let parent = Folder::open(target.parent().unwrap_or(Path::new("")))?;
    let empty =
        match parent.stat(name).map_err(|e| Error::io(e, "cannot be looked at", &*object))? {
            Some(stat) if parent.is_empty_folder(name) => Some(stat),
            Some(_) => return Err(taken(&object)),
            None => None,
        };
    let stored = Stored::open(point)?;
    let entries = stored.entries()?;
    let unfinished = Unfinished::beside(&parent)?;
    let restored = Extract::new(&stored, &unfinished.folder, &object).run(&entries, monitor)?;
    unfinished.place(&parent, name, empty.as_ref()).map_err(|e| match e.kind() {
        // A folder that was empty has something by now.
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::NotADirectory => taken(&object),
        io::ErrorKind::ResourceBusy => Error::new(
            ErrorKind::Refused,
            "is where something is mounted, and nothing takes its place",
        )
        .with_object(&*object)
        .with_hint("name a folder in it that is not there yet"),
        _ => Error::io(e, "cannot be put in place", &*object),
    })?;
    Ok(restored)
}

fn taken(object: &str) -> Error {
    Error::new(ErrorKind::Refused, "exists already")
        .with_object(object)
        .with_hint("name a folder that is not there yet, or one that is empty")
}

/// A folder under a temporary name. Dropping it removes it.
struct Unfinished {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
    is_placed: bool,
}

impl Unfinished {
    fn beside(parent: &Folder) -> Result<Self> {
        let create = || {
            let name = OsString::from(disk::temporary_name()?);
            let path = parent.path().join(&name);
            mkdirat(CWD, &path, Mode::RWXU)?;
            match openat(CWD, &path, FOLDER, Mode::empty()) {
                Ok(folder) => Ok(Self { folder, name, path, is_placed: false }),
                Err(e) => {
                    let _ = fs::remove_dir(&path);
                    Err(io::Error::from(e))
                }
            }
        };
        create()
            .map_err(|e| Error::io(e, "cannot be written to", parent.path().display().to_string()))
    }

    /// Gives it its final name; an empty folder that has it lends its mode and its owner.
    fn place(mut self, parent: &Folder, name: &OsStr, empty: Option<&Stat>) -> io::Result<()> {
        disk::sync_names(&File::from(self.folder.try_clone()?))?;
        match empty {
            Some(_) => parent.rename(&self.name, name)?,
            None => parent.rename_new_folder(&self.name, name)?,
        }
        // From here on it stays: a mode that forbids to write to it keeps nobody from removing it.
        self.is_placed = true;
        if let Some(stat) = empty {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            // Without root it can be another one's only where its folder is; then ours has to do.
            let _ = fchown(&self.folder, Some(uid), Some(gid));
            fchmod(&self.folder, Mode::from_raw_mode(stat.st_mode))?;
            File::from(self.folder.try_clone()?).sync_all()?;
        }
        parent.sync()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_placed {
            // Its folders are this user's own, and may be written to until the end.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

struct Extract<'a> {
    stored: &'a Stored,
    root: &'a OwnedFd,
    /// For messages.
    target: &'a str,
    restored: Restored,
    is_root: bool,
}

impl<'a> Extract<'a> {
    fn new(stored: &'a Stored, root: &'a OwnedFd, target: &'a str) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self { stored, root, target, restored: Restored::default(), is_root }
    }

    fn run(mut self, entries: &[Entry], monitor: &dyn Monitor) -> Result<Restored> {
        let total = entries.iter().filter(|entry| entry.refused.is_none()).map(|e| e.size);
        monitor.phase(Phase::Restore, Some(total.fold(0, u64::saturating_add)));
        let of = |kind: FileType| {
            entries.iter().filter(move |entry| entry.refused.is_none() && entry.kind == kind)
        };
        for entry in entries {
            if let Some(why) = entry.refused {
                self.refuse(entry, why);
            }
        }
        let mut folders = Vec::new();
        for entry in of(FileType::Directory) {
            check_cancelled(monitor)?;
            if self.told(entry, self.folder(&parts(&entry.name).unwrap_or_default()))?.is_some() {
                folders.push(entry);
            }
        }
        for entry in of(FileType::RegularFile) {
            check_cancelled(monitor)?;
            self.file(entry, monitor)?;
        }
        for entry in of(FileType::Symlink) {
            check_cancelled(monitor)?;
            self.link(entry)?;
        }
        monitor.phase(Phase::Sync, None);
        // What is kept is named by its whole path: the archive itself has not the folders above it.
        let own: BTreeSet<&[u8]> = of(FileType::Directory).map(|entry| &*entry.name).collect();
        let taken = entries.iter().filter(|entry| entry.refused.is_none());
        let between: BTreeSet<&[u8]> =
            taken.flat_map(|entry| above(&entry.name)).filter(|name| !own.contains(name)).collect();
        for name in between {
            check_cancelled(monitor)?;
            self.sync_between(name)?;
        }
        // The innermost first: a folder may get a mode that keeps us out, and the time of its last
        // change when nothing in it changes any more.
        for entry in folders.into_iter().rev() {
            let done = self.folder(&parts(&entry.name).unwrap_or_default()).and_then(|folder| {
                let is_whole = self.dress(&folder, entry)?;
                disk::sync_names(&File::from(folder))?;
                Ok(is_whole)
            });
            if let Some(is_whole) = self.told(entry, done)? {
                self.restored.folders += 1;
                self.restored.undressed += u64::from(!is_whole);
            }
        }
        Ok(self.restored)
    }

    fn refuse(&mut self, entry: &Entry, why: impl Into<String>) {
        self.restored.refused.push(Refused { name: entry.shown(), why: why.into() });
    }

    /// What was done for an entry; what only this name is not taken for is told, and all else is an
    /// error.
    fn told<T>(&mut self, entry: &Entry, done: io::Result<T>) -> Result<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(e) if is_of_name(&e) => {
                self.refuse(entry, e.to_string());
                Ok(None)
            }
            Err(e) => {
                let object = Path::new(self.target).join(entry.shown()).display().to_string();
                Err(Error::io(e, "cannot be restored", object))
            }
        }
    }

    /// Opens a folder, made if it is not there.
    fn folder(&self, parts: &[&OsStr]) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for part in parts {
            folder = match openat(&folder, *part, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) => {
                    mkdirat(&folder, *part, Mode::RWXU)?;
                    openat(&folder, *part, FOLDER, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }

    /// Makes a folder durable that the archive does not have itself, if it was made.
    fn sync_between(&self, name: &[u8]) -> Result<()> {
        let sync = || {
            let mut folder = self.root.try_clone()?;
            for part in parts(name).map_err(io::Error::other)? {
                folder = match openat(&folder, part, FOLDER, Mode::empty()) {
                    // All that was to be in it was refused.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                    opened => opened?,
                };
            }
            disk::sync_names(&File::from(folder))
        };
        sync().map_err(|e| {
            let object = Path::new(self.target).join(super::name::shown(name));
            Error::io(e, "cannot be restored", object.display().to_string())
        })
    }

    /// Opens the folder that a name is in.
    fn parent<'e>(&self, entry: &'e Entry) -> io::Result<(OwnedFd, &'e OsStr)> {
        let parts = parts(&entry.name).map_err(io::Error::other)?;
        let (name, above) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.folder(above)?, *name))
    }

    fn file(&mut self, entry: &Entry, monitor: &dyn Monitor) -> Result<()> {
        let create = || {
            let (folder, name) = self.parent(entry)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?))
        };
        let Some(mut file) = self.told(entry, create())? else { return Ok(()) };
        let object = Path::new(self.target).join(entry.shown()).display().to_string();
        self.stored.content(entry, |piece| {
            check_cancelled(monitor)?;
            file.write_all(piece).map_err(|e| Error::io(e, "cannot be written", &*object))?;
            monitor.advance(piece.len() as u64);
            Ok(())
        })?;
        let done = self.dress(&file, entry).and_then(|is_whole| {
            file.sync_all()?;
            Ok(is_whole)
        });
        if let Some(is_whole) = self.told(entry, done)? {
            self.restored.files += 1;
            self.restored.bytes += entry.size;
            self.restored.undressed += u64::from(!is_whole);
        }
        Ok(())
    }

    fn link(&mut self, entry: &Entry) -> Result<()> {
        let target = self.stored.target(entry)?;
        let create = || {
            let (folder, name) = self.parent(entry)?;
            symlinkat(OsStr::from_bytes(&target), &folder, name)?;
            if let Some((uid, gid)) = entry.owner.filter(|_| self.is_root) {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(&folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            // Not every file system has times of links.
            let _ = utimensat(&folder, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW);
            Ok(())
        };
        if self.told(entry, create())?.is_some() {
            self.restored.links += 1;
        }
        Ok(())
    }

    /// Gives a file or a folder its owner, mode and time. Returns whether that is all as it was.
    fn dress(&self, file: impl AsFd, entry: &Entry) -> io::Result<bool> {
        let ours = (
            rustix::process::geteuid().as_raw(),
            rustix::fs::fstat(&file).map(|stat| stat.st_gid).unwrap_or_default(),
        );
        let is_owned = match entry.owner {
            Some((uid, gid)) if self.is_root => {
                fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).is_ok()
            }
            owner => owner == Some(ours),
        };
        // A program that runs as its owner must not become another one's.
        let mode = if is_owned { entry.mode } else { entry.mode & 0o1777 };
        fchmod(&file, mode_of(mode))?;
        let is_timed = futimens(&file, &times(entry)).is_ok();
        Ok((is_owned || !self.is_root) && is_timed)
    }
}

#[allow(clippy::useless_conversion)]
fn mode_of(mode: u32) -> Mode {
    Mode::from_raw_mode(RawMode::try_from(mode).unwrap_or_default())
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec {
        tv_sec: entry.modified.div_euclid(1_000_000_000),
        tv_nsec: entry.modified.rem_euclid(1_000_000_000),
    };
    Timestamps { last_access: time, last_modification: time }
}

/// Whether an error is about one name, which another file system may take.
fn is_of_name(e: &io::Error) -> bool {
    let of = [
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::ILSEQ,
        Errno::EXIST,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::PERM,
    ];
    let code = e.raw_os_error();
    code.is_some_and(|code| of.iter().any(|of| of.raw_os_error() == code))
}
