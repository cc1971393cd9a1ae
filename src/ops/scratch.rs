//! Files that a commit is restored to before it is known to be sound, under temporary names that no
//! process leaves behind for long.
//!
//! Invariant: what is written, compared, checked and given a name is the file of one handle, also
//! in a folder whose names others may change.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::folder::{Folder, handles_of};

/// What scratch files end with.
const SCRATCH: &str = ".db";

/// A file under a temporary name. Dropping it removes it.
pub(crate) struct Scratch {
    file: File,
    folder: Folder,
    name: OsString,
    path: PathBuf,
    /// Whether it has its final name.
    placed: bool,
}

impl Scratch {
    /// In the folder of a file.
    ///
    /// # Errors
    /// When the folder is not there, or can't be written to.
    pub(crate) fn beside(target: &Path) -> Result<Self> {
        Self::inside(target.parent().unwrap_or(Path::new("")))
    }

    /// In a folder.
    ///
    /// # Errors
    /// As [`Scratch::beside`].
    pub(crate) fn inside(dir: &Path) -> Result<Self> {
        Self::in_folder(Folder::open(dir)?)
    }

    /// In an open folder.
    ///
    /// # Errors
    /// As [`Scratch::beside`].
    pub(crate) fn in_folder(folder: Folder) -> Result<Self> {
        sweep(&folder);
        let create = || {
            let name = OsString::from(format!("{}{SCRATCH}", disk::temporary_name()?));
            let file = folder.create(&name)?;
            // Held as long as the file is wanted, so that others know it from one that a killed
            // process left.
            file.lock()?;
            Ok((file, name))
        };
        let (file, name) = create().map_err(|e: io::Error| {
            Error::io(e, "cannot be written to", folder.path().display().to_string())
        })?;
        let path = folder.path().join(&name);
        Ok(Self { file, folder, name, path, placed: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where it is, for SQLite, which opens by name: see [`Scratch::opened`].
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Has SQLite open the file by its name, and makes sure that it is this one, where others may
    /// change names.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not, or that can't be told; what `open` answers.
    pub(crate) fn opened<T>(&self, open: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        if !self.folder.is_shared() {
            return open(&self.path);
        }
        let before = handles_of(&self.file);
        let opened = open(&self.path)?;
        match (before, handles_of(&self.file)) {
            (Some(before), Some(after)) if after > before => Ok(opened),
            _ => Err(Error::new(
                ErrorKind::Refused,
                "somebody else may change names in this folder, and what SQLite opened there is not what was restored",
            )
            .with_object(self.folder.path().display().to_string())
            .with_hint("restore to a folder that only you may write to")),
        }
    }

    /// Gives the file its final name in its folder, which must be free. Answers `false` if it is
    /// not.
    ///
    /// # Errors
    /// What the system answers; when somebody changed names meanwhile.
    pub(crate) fn place(&mut self, name: &OsStr) -> io::Result<bool> {
        self.placed = self.folder.place(&self.file, &self.name, name)?;
        Ok(self.placed)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever else has the name by now is somebody else's.
        if !self.placed && self.folder.is(&self.name, &self.file).unwrap_or(false) {
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// Whether a name is one that [`Scratch`] gives, and not somebody's own that begins alike.
fn is_scratch(name: &str) -> bool {
    let own = name.strip_suffix(SCRATCH).filter(|name| disk::is_temporary(name));
    own.and_then(|name| name.rsplit_once('-')).is_some_and(|(front, number)| {
        !front.contains('-') && number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// Removes the scratch files that killed processes left in a folder: those that nobody has locked.
/// Whatever is in the way does no harm.
fn sweep(folder: &Folder) {
    let Ok(entries) = fs::read_dir(folder.path()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(is_scratch);
        // A file that is just coming into being is not locked yet.
        let is_old = |file: &File| {
            let modified = file.metadata().and_then(|meta| meta.modified());
            modified.is_ok_and(|t| t.elapsed().is_ok_and(|age| age > Duration::from_secs(60)))
        };
        if ours
            && let Ok(file) = folder.open_file(&name)
            && is_old(&file)
            && file.try_lock().is_ok()
        {
            let _ = folder.remove(&name);
        }
    }
}
