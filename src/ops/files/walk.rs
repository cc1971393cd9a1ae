//! Finds what is chosen, folder by folder, by handles.
//!
//! Invariants: no link is followed behind a root. Names are met once, in order. A folder of a
//! repository's or of the state is not entered.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::chosen::{Chosen, Part, Root};
use super::facts::Facts;
use crate::error::Result;
use crate::format::MAGIC;
use crate::format::names::{REPOSITORY, TOP};
use crate::progress::{Monitor, check_cancelled};

/// How deep folders may lie in each other: each is a handle that is open.
const DEEPEST: usize = 200;
/// How folders are opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
/// How folders are opened that need not be readable.
#[cfg(any(target_os = "linux", target_os = "android"))]
const THROUGH: OFlags = FOLDER.union(OFlags::PATH);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const THROUGH: OFlags = FOLDER;

/// A file, a folder, a link, or something else that was found.
pub(super) struct Found<'a> {
    /// The folder that it is in.
    pub(super) folder: &'a OwnedFd,
    pub(super) name: &'a OsStr,
    /// Its real path.
    pub(super) path: &'a Path,
    pub(super) facts: Facts,
}

/// Hears what is found.
pub(super) trait Visitor {
    /// Something is there.
    fn found(&mut self, found: &Found<'_>) -> Result<()>;
    /// A folder could not be read; what is below it is not known.
    fn unread(&mut self, path: &Path, e: &io::Error);
    /// What was named is not there.
    fn missing(&mut self, path: &Path);
    /// What was named is a part of a repository, or of the state folder.
    fn own(&mut self, path: &Path);
    /// Nobody knows what a path means.
    fn unknown(&mut self, path: &Path, e: &io::Error);
}

/// One walk.
pub(super) struct Walk<'a, V> {
    chosen: &'a Chosen,
    visitor: &'a mut V,
    /// Real paths that are not entered.
    barred: &'a [PathBuf],
    monitor: &'a dyn Monitor,
    met: BTreeSet<PathBuf>,
}

impl<'a, V: Visitor> Walk<'a, V> {
    pub(super) fn new(
        chosen: &'a Chosen,
        visitor: &'a mut V,
        barred: &'a [PathBuf],
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self { chosen, visitor, barred, monitor, met: BTreeSet::new() }
    }

    /// Visits all that is chosen. Returns how many of the paths mean something.
    ///
    /// # Errors
    /// What the visitor answers; a stop.
    pub(super) fn run(mut self) -> Result<usize> {
        let mut there = 0;
        for (typed, root) in self.chosen.roots() {
            let root = match root {
                Ok(root) => root,
                Err(e) if is_absent(&e) => {
                    self.visitor.missing(typed);
                    continue;
                }
                Err(e) => {
                    self.visitor.unknown(typed, &e);
                    there += 1;
                    continue;
                }
            };
            there += 1;
            let (Root::Path(path) | Root::Below { folder: path, .. }) = &root;
            if self.is_own(path) {
                self.visitor.own(path);
                continue;
            }
            match root {
                Root::Path(path) => {
                    let parent = path.parent().unwrap_or(Path::new("/"));
                    match (through(parent), path.file_name()) {
                        (Ok(folder), Some(name)) => self.visit(&folder, parent, name, 0)?,
                        (Ok(folder), None) => self.enter(&folder, &path, 0)?,
                        (Err(e), _) => self.visitor.unknown(typed, &e),
                    }
                }
                Root::Below { folder, parts } => match through(&folder) {
                    Ok(handle) => self.match_parts(&handle, &folder, &parts, 0)?,
                    Err(e) => self.visitor.unknown(typed, &e),
                },
            }
        }
        Ok(there)
    }

    /// Visits what matches the parts of a pattern in a folder.
    fn match_parts(
        &mut self,
        folder: &OwnedFd,
        path: &Path,
        parts: &[Part],
        depth: usize,
    ) -> Result<()> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        if depth > DEEPEST {
            self.visitor.unread(path, &too_deep());
            return Ok(());
        }
        if matches!(part, Part::Any) {
            self.match_parts(folder, path, rest, depth + 1)?;
        }
        let ours = is_repository(folder);
        for name in self.names(folder, path)? {
            let whole = path.join(&name);
            if !part.matches(&name) || self.is_barred(&whole) || (ours && is_of_repository(&name)) {
                continue;
            }
            let is_last = rest.is_empty() && !matches!(part, Part::Any);
            if is_last {
                self.visit(folder, path, &name, depth)?;
                continue;
            }
            let behind = if matches!(part, Part::Any) { parts } else { rest };
            match openat(folder, &name, FOLDER, Mode::empty()) {
                Ok(below) => self.match_parts(&below, &whole, behind, depth + 1)?,
                // No folder, a link, or gone.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::MLINK) => {}
                Err(e) => self.visitor.unread(&whole, &e.into()),
            }
        }
        Ok(())
    }

    /// Whether a root lies in the state folder, or among the objects of a repository.
    fn is_own(&self, path: &Path) -> bool {
        if self.barred.iter().any(|barred| path.starts_with(barred)) {
            return true;
        }
        let is_among = |above: &Path| {
            let name = path.strip_prefix(above).ok()?.components().next()?;
            is_of_repository(name.as_os_str()).then(|| through(above).ok())?
        };
        path.ancestors().skip(1).filter_map(is_among).any(|folder| is_repository(&folder))
    }

    fn is_barred(&self, path: &Path) -> bool {
        self.chosen.excludes(path) || self.barred.iter().any(|barred| barred == path)
    }

    fn visit(&mut self, folder: &OwnedFd, parent: &Path, name: &OsStr, depth: usize) -> Result<()> {
        check_cancelled(self.monitor)?;
        let path = parent.join(name);
        if self.is_barred(&path) || !self.met.insert(path.clone()) {
            return Ok(());
        }
        let facts = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Facts::of(&stat),
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => {
                self.visitor.unread(&path, &e.into());
                return Ok(());
            }
        };
        if facts.kind != FileType::Directory {
            return self.visitor.found(&Found { folder, name, path: &path, facts });
        }
        if depth > DEEPEST {
            self.visitor.unread(&path, &too_deep());
            return Ok(());
        }
        match openat(folder, name, FOLDER, Mode::empty()) {
            Ok(below) => {
                let facts = rustix::fs::fstat(&below).map_or(facts, |stat| Facts::of(&stat));
                self.visitor.found(&Found { folder, name, path: &path, facts })?;
                self.enter(&below, &path, depth + 1)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(e) => {
                self.visitor.unread(&path, &e.into());
                Ok(())
            }
        }
    }

    /// Visits all that is in a folder.
    fn enter(&mut self, folder: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        let names = self.names(folder, path)?;
        let ours = is_repository(folder);
        for name in names {
            if !ours || !is_of_repository(&name) {
                self.visit(folder, path, &name, depth)?;
            }
        }
        Ok(())
    }

    /// What is in a folder, in order.
    fn names(&mut self, folder: &OwnedFd, path: &Path) -> Result<Vec<OsString>> {
        check_cancelled(self.monitor)?;
        let read = || {
            let mut names = Vec::new();
            // The handle itself may be one that can't be read from.
            for entry in Dir::new(openat(folder, c".", FOLDER, Mode::empty())?)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push(OsStr::from_bytes(name).to_owned());
                }
            }
            names.sort();
            Ok(names)
        };
        let read: rustix::io::Result<Vec<OsString>> = read();
        Ok(read.unwrap_or_else(|e| {
            self.visitor.unread(path, &e.into());
            Vec::new()
        }))
    }
}

fn too_deep() -> io::Error {
    io::Error::other(format!("is more than {DEEPEST} folders deep"))
}

pub(super) fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Opens a folder by its real path: a link that was put there since is not followed.
fn through(path: &Path) -> io::Result<OwnedFd> {
    let mut folder = openat(CWD, "/", THROUGH, Mode::empty())?;
    for part in path.components() {
        if let Component::Normal(name) = part {
            folder = openat(&folder, name, THROUGH, Mode::empty())?;
        }
    }
    Ok(folder)
}

/// Whether a name in a repository's folder is the repository's. Beside these may lie what is
/// somebody's own.
fn is_of_repository(name: &OsStr) -> bool {
    TOP.iter().any(|top| name == *top)
}

/// Whether a folder has a repository's objects.
fn is_repository(folder: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(folder, REPOSITORY, flags, Mode::empty()) else { return false };
    let mut front = [0; MAGIC.len()];
    let mut file = File::from(file);
    file.metadata().is_ok_and(|meta| meta.is_file())
        && file.read_exact(&mut front).is_ok()
        && front == MAGIC
}
