//! The folder of a `restore-all` until all of it is there: under a temporary name.
//!
//! Invariant: who builds holds the folder locked. So one that nobody holds was left by a process
//! that was killed, and the next one beside it removes it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::disk::{is_temporary, make_dirs, rename_new, sync_names, temporary_name};
use crate::error::{Error, ErrorKind, Result};

/// What the temporary names of these folders end with.
const KIND: &str = ".restore-all";
/// How often a folder is made anew that somebody took for one that was left.
const TRIES: u32 = 8;

/// A folder under a temporary name. Dropping it removes it with what is in it.
pub(super) struct Building {
    pub(super) path: PathBuf,
    /// Locked, as long as it is open.
    folder: File,
}

impl Building {
    /// Makes one beside the folder that it is to become, and removes what others left there.
    pub(super) fn beside(folder: &Path) -> Result<Self> {
        let parent = parent_of(folder);
        let failed = |e| Error::io(e, "cannot be created", folder.display().to_string());
        make_dirs(parent).map_err(failed)?;
        sweep(parent);
        for _ in 0..TRIES {
            let name = temporary_name().map_err(failed)? + KIND;
            let path = parent.join(name);
            fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
            if let Some(folder) = held(&path).map_err(failed)? {
                return Ok(Self { path, folder });
            }
        }
        Err(Error::new(ErrorKind::Busy, "others remove what is made here")
            .with_object(parent.display().to_string()))
    }

    /// Gives it its name, unless that is taken.
    pub(super) fn publish(self, folder: &Path) -> Result<()> {
        let of = |path: &Path| PathBuf::from(path.file_name().unwrap_or_default());
        let published = (|| {
            sync_names(&self.folder)?;
            let dir = File::open(parent_of(folder))?;
            rename_new(&dir, &of(&self.path), &of(folder))?;
            sync_names(&dir)
        })();
        published.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => taken(folder),
            _ => Error::io(e, "cannot get its name", folder.display().to_string()),
        })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // After it got its name there is nothing of the old one.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// That a folder has a name already.
pub(super) fn taken(folder: &Path) -> Error {
    Error::new(ErrorKind::Refused, "is there already")
        .with_object(folder.display().to_string())
        .with_hint("name a folder that is not there; it is created")
}

fn parent_of(folder: &Path) -> &Path {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// The folder, locked; `None` if somebody else was faster, and removes it.
fn held(path: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // Where nothing can be locked nobody removes what others left.
        Err(TryLockError::Error(_)) | Ok(()) => {}
    }
    let same = fs::symlink_metadata(path).is_ok_and(|there| {
        folder.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    });
    Ok(same.then_some(folder))
}

/// Removes the folders of those who were killed. What can't be removed stays: it is in nobody's
/// way.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|n| is_temporary(n) && n.ends_with(KIND));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if folder.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_one_left_goes_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let held = Building::beside(&dir.path().join("a")).unwrap();
        fs::write(held.path.join("half"), "half").unwrap();
        // As a kill leaves it: nobody holds it, and nobody removed it.
        let left = dir.path().join(format!("{}{KIND}", temporary_name().unwrap()));
        let others = dir.path().join(temporary_name().unwrap());
        for folder in [&left, &others] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("half"), "half").unwrap();
        }
        let next = Building::beside(&dir.path().join("b")).unwrap();
        assert!(!left.exists(), "nobody holds it");
        assert!(held.path.join("half").exists() && others.exists());
        next.publish(&dir.path().join("b")).unwrap();
        held.publish(&dir.path().join("a")).unwrap();
        assert!(dir.path().join("a/half").exists() && dir.path().join("b").exists());
    }

    #[test]
    fn who_comes_second_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let (first, second) = (Building::beside(&out).unwrap(), Building::beside(&out).unwrap());
        fs::write(first.path.join("whole"), "whole").unwrap();
        first.publish(&out).unwrap();
        assert_eq!(second.publish(&out).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(out.join("whole").exists());
    }
}
