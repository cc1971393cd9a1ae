//! Where a restored file goes: what is there already, who owns it, and how the new file takes its
//! place.
//!
//! Invariants: without `force` nothing is replaced. With it, the old file and its `-wal`, `-shm`
//! and `-journal` step aside together before the new one takes the name, so no old WAL is ever
//! applied to it; and they are all there until it stands. A link is followed to the file that it
//! leads to, as SQLite does, but not one that another account made.

use crate::ops::folder::follow_links;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::TOP;
use crate::ops::folder::Folder;
use crate::ops::scratch::Scratch;
use crate::progress::Monitor;
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::sqlite::connection::check_unused;
use crate::sqlite::elsewhere::is_mounted_alone;

/// What SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Bytes of the longest name of a file.
const LONGEST: usize = 255;

/// The place of a file that is to be restored.
#[derive(Debug)]
pub(super) struct Target {
    /// For people, and for SQLite.
    path: PathBuf,
    name: OsString,
    /// What is there already.
    old: Option<Metadata>,
    /// Whether what is there steps aside.
    force: bool,
}

impl Target {
    /// Looks at a place.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is none for a file; [`ErrorKind::Refused`] when something is
    /// there, and `force` is not set.
    pub(super) fn at(path: &Path, force: bool) -> Result<Self> {
        let path = follow_links(path)?;
        let object = path.display().to_string();
        if path.as_os_str().as_bytes().ends_with(b"/") && !path.is_dir() {
            return Err(Error::new(ErrorKind::Usage, "is a directory that does not exist")
                .with_object(object)
                .with_hint("name the file that should be created"));
        }
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return Err(Error::new(ErrorKind::Usage, "is no name of a file")
                .with_object(object)
                .with_hint("name the file that should be created"));
        };
        let old = match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io(e, "cannot be looked at", object)),
            Ok(meta) if meta.is_dir() => {
                return Err(Error::new(ErrorKind::Usage, "is a directory")
                    .with_object(object)
                    .with_hint("name the file that should be created"));
            }
            Ok(meta) if !meta.is_file() => {
                return Err(Error::new(ErrorKind::Usage, "is a device, a pipe or a socket")
                    .with_object(object)
                    .with_hint("name a file"));
            }
            Ok(_) if !force => {
                return Err(Error::new(ErrorKind::Refused, "exists already")
                    .with_object(object)
                    .with_hint(advice![
                        "choose another target, or replace it with ",
                        Remedy::Force
                    ]));
            }
            Ok(_) if is_mounted_alone(&path) => {
                return Err(Error::new(
                    ErrorKind::Refused,
                    "is a file that is mounted alone: nothing can take its place",
                )
                .with_object(object)
                .with_hint("restore where it is mounted from, or mount its folder instead"));
            }
            Ok(meta) => Some(meta),
        };
        let target = Self { path, name, old, force };
        if !force {
            target.check_beside()?;
        }
        Ok(target)
    }

    /// Makes sure that the place is not among a repository's objects, which nothing replaces.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is.
    pub(super) fn check_outside(&self, repository: &Repository) -> Result<()> {
        let Ok(root) = fs::canonicalize(repository.store().location()) else { return Ok(()) };
        let folder = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
        let file = folder.map(|dir| dir.join(&self.name)).unwrap_or_default();
        let first = file.strip_prefix(root).ok().and_then(|inside| inside.iter().next());
        // Beside these a database may lie that has its repository in its own folder.
        if !first.is_some_and(|first| TOP.iter().any(|ours| first == *ours)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, "is in the repository, which is for backups alone")
            .with_object(self.path.display().to_string())
            .with_hint("restore to another folder"))
    }

    /// A WAL without its database would be applied to the file that is about to be created.
    fn check_beside(&self) -> Result<()> {
        for suffix in BESIDE {
            let path = with_suffix(self.path.as_os_str(), suffix);
            if fs::symlink_metadata(&path).is_ok() {
                return Err(Error::new(ErrorKind::Refused, "is left over from another database")
                    .with_object(Path::new(&path).display().to_string())
                    .with_hint(advice!["move it away, or replace it with ", Remedy::Force]));
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a restored file this place.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when the old file is in use, [`ErrorKind::Refused`] when the name was
    /// taken meanwhile. After an error what was there is there.
    ///
    /// # Durability
    /// When this returns, the file is durable under its name.
    pub(super) fn take(self, mut scratch: Scratch, monitor: &dyn Monitor) -> Result<()> {
        self.dress(&scratch, monitor);
        if self.old.is_some() {
            check_unused(&self.path)?;
        }
        let aside = match self.force {
            true => Some(Aside::step(scratch.folder(), &self.path, &self.name)?),
            false => None,
        };
        let placed = match scratch.place(&self.name) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(ErrorKind::Refused, "came into being meanwhile")
                .with_object(self.path.display().to_string())
                .with_hint("it stays as it is: look at it, or name another file")),
            Err(e) => Err(failed(e, "cannot be put in place", &self.path)),
        };
        let folder = scratch.folder();
        if let Err(error) = placed {
            return Err(match aside.map(|aside| aside.back(folder)) {
                Some(Err(e)) => error.with_source(e),
                _ => error,
            });
        }
        folder.sync().map_err(|e| failed(e, "cannot be made durable", folder.path()))?;
        match aside {
            Some(aside) => aside.remove(folder),
            None => Ok(()),
        }
    }

    /// Gives the file the owner, the group and the mode of the one that it replaces. What can't be
    /// given is told: an application may be locked out.
    fn dress(&self, scratch: &Scratch, monitor: &dyn Monitor) {
        let Ok(ours) = scratch.file().metadata() else { return };
        let Some(old) = &self.old else {
            let of = fs::metadata(scratch.folder().path());
            if let Ok(of) = of.as_ref()
                && of.uid() != ours.uid()
                && of.uid() != 0
            {
                monitor.warn(&format!(
                    "{} belongs to user {}, its folder to user {}: an application of that user can't open it; `chown` gives it away",
                    self.path.display(),
                    ours.uid(),
                    of.uid()
                ));
            }
            return;
        };
        let file = scratch.file();
        let owner = (old.uid() != ours.uid()).then(|| Uid::from_raw(old.uid()));
        let group = (old.gid() != ours.gid()).then(|| Gid::from_raw(old.gid()));
        // The group before the mode, and both before the owner, who alone may change them. Each by
        // itself: one may be allowed.
        let given = [
            group.map_or(Ok(()), |group| rustix::fs::fchown(file, None, Some(group))),
            rustix::fs::fchmod(file, Mode::from_raw_mode(old.mode() & 0o777)),
            owner.map_or(Ok(()), |owner| rustix::fs::fchown(file, Some(owner), None)),
        ];
        if given.iter().any(Result::is_err) {
            monitor.warn(&format!(
                "{} had the owner {}:{} and the mode {:04o}; not all of that could be kept",
                self.path.display(),
                old.uid(),
                old.gid(),
                old.mode() & 0o777
            ));
        }
    }
}

/// The files of the old database under other names: all still there until the new one stands.
struct Aside {
    moved: Vec<(OsString, OsString)>,
}

impl Aside {
    fn step(folder: &Folder, path: &Path, name: &OsStr) -> Result<Self> {
        let tag = disk::temporary_name().map_err(|e| failed(e, "cannot be replaced", path))?;
        let tag = format!(".old-{}", tag.trim_start_matches('.'));
        // A name has at most 255 bytes.
        let room = LONGEST.saturating_sub(tag.len() + "-journal".len());
        let bytes = name.as_bytes();
        let mut old = OsStr::from_bytes(bytes.get(..room).unwrap_or(bytes)).to_owned();
        old.push(tag);
        let mut aside = Self { moved: Vec::new() };
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let (from, to) = (with_suffix(name, suffix), with_suffix(&old, suffix));
            match folder.rename(&from, &to) {
                Ok(()) => aside.moved.push((from, to)),
                // What has too long a name can't be there.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename
                    ) => {}
                Err(e) => {
                    let error = failed(e, "cannot be moved aside", &path.with_file_name(&from));
                    return Err(match aside.back(folder) {
                        Err(e) => error.with_source(e),
                        Ok(()) => error,
                    });
                }
            }
        }
        Ok(aside)
    }

    fn back(self, folder: &Folder) -> Result<()> {
        for (from, to) in self.moved.iter().rev() {
            let failed = |e| failed(e, "could not be moved back", &folder.path().join(to));
            folder.rename(to, from).map_err(failed)?;
        }
        Ok(())
    }

    fn remove(self, folder: &Folder) -> Result<()> {
        for (_, to) in &self.moved {
            let failed = |e| failed(e, "could not be removed", &folder.path().join(to));
            folder.remove(to).map_err(failed)?;
        }
        Ok(())
    }
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

fn failed(e: io::Error, what: &str, path: &Path) -> Error {
    Error::io(e, what, path.display().to_string())
}
