//! A folder held by a handle, and files in it by their handles: whoever may change names in the
//! folder can't make us use another file than the one that was written and compared.
//!
//! Invariants: no link is followed and nothing is waited for but in the folder's own path; a name
//! is given to the file of a handle, and looked at again afterwards.

use crate::repo::local::files::is_trusted;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::disk;
use crate::error::{Error, ErrorKind, Result};

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when there is none; what the system answers.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let what = match File::open(path) {
            Ok(dir) if dir.metadata().is_ok_and(|meta| meta.is_dir()) => {
                return Ok(Self { dir, path: path.to_owned() });
            }
            Ok(_) => "is no folder",
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => "is no folder",
            Err(e) if e.kind() == io::ErrorKind::NotFound => "does not exist",
            Err(e) => return Err(Error::io(e, "cannot be opened", path.display().to_string())),
        };
        Err(Error::new(ErrorKind::Usage, format!("{what}, so no file can be created in it"))
            .with_object(path.display().to_string())
            .with_hint(
                "check the path, and whether its disk is mounted; nothing creates a folder for it",
            ))
    }

    /// The path that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file, 0600, that must not be there.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Opens a file that is there for writing, if it is a plain file.
    pub(crate) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// What has a name; `None` if it is free. A link is not followed.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives what has a name another one, whatever had that.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    /// Removes a name.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    /// Makes the names durable, as far as the file system can.
    pub(crate) fn sync(&self) -> io::Result<()> {
        disk::sync_names(&self.dir)
    }

    /// Gives a file of this folder its final name, which must be free. Answers `false` if it is
    /// not.
    pub(crate) fn place(&self, file: &File, from: &OsStr, to: &OsStr) -> io::Result<bool> {
        let of_handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        let placed = match rustix::fs::linkat(
            CWD,
            of_handle.as_str(),
            &self.dir,
            to,
            AtFlags::SYMLINK_FOLLOW,
        ) {
            Ok(()) => self.remove(from),
            Err(Errno::EXIST) => return Ok(false),
            // No links here, or no /proc.
            Err(_) => match self.rename_new(from, to) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                renamed => renamed,
            },
        };
        placed?;
        match self.is(to, file)? {
            true => Ok(true),
            false => Err(io::Error::other("somebody put another file there")),
        }
    }

    /// Whether a name is a file's.
    pub(crate) fn is(&self, name: &OsStr, file: &File) -> io::Result<bool> {
        let ours = rustix::fs::fstat(file)?;
        Ok(self.stat(name)?.is_some_and(|s| (s.st_dev, s.st_ino) == (ours.st_dev, ours.st_ino)))
    }

    /// Whether a name is a folder's that has nothing in it. A link is not followed.
    #[cfg(feature = "cli")]
    pub(crate) fn is_empty_folder(&self, name: &OsStr) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let read = || -> rustix::io::Result<bool> {
            let folder = rustix::fs::openat(&self.dir, name, flags, Mode::empty())?;
            for entry in rustix::fs::Dir::read_from(&folder)? {
                if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        // One that can't be read is not known to be empty.
        read().unwrap_or(false)
    }

    /// Gives a folder in it its final name, which must be free.
    #[cfg(feature = "cli")]
    pub(crate) fn rename_new_folder(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match disk::rename_new(&self.dir, Path::new(from), Path::new(to)) {
            // In two steps: a folder replaces nothing but a folder that is empty.
            Err(e) if is_unsupported(&e) => match self.stat(to)? {
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                None => self.rename(from, to),
            },
            renamed => renamed,
        }
    }

    /// Renames, unless the new name is taken.
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match disk::rename_new(&self.dir, Path::new(from), Path::new(to)) {
            // Some file systems can't do that in one step.
            Err(e) if is_unsupported(&e) => {}
            renamed => return renamed,
        }
        // Whoever else wants the name finds it taken from here on.
        drop(self.create(to)?);
        self.rename(from, to).inspect_err(|_| {
            // It is empty, and ours.
            let _ = self.remove(to);
        })
    }

    /// Whether somebody else than this account and root may change names in the folder, or in one
    /// above it.
    pub(crate) fn is_shared(&self) -> bool {
        let Ok(path) = fs::canonicalize(&self.path) else { return true };
        let me = rustix::process::geteuid().as_raw();
        path.ancestors().any(|dir| match fs::symlink_metadata(dir) {
            Ok(meta) => {
                let theirs = ![me, 0].contains(&meta.uid());
                // With the sticky bit only a name's owner may change it.
                let open = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
                theirs || open
            }
            Err(_) => true,
        })
    }
}

fn is_unsupported(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported
}

/// How many handles of this process are of a file; `None` if the system does not tell.
pub(crate) fn handles_of(file: &File) -> Option<usize> {
    let ours = file.metadata().ok()?;
    let fds = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")).ok()?;
    let same = |entry: io::Result<fs::DirEntry>| {
        // Follows the link to what is open, whatever its name is now.
        let meta = entry.and_then(|entry| fs::metadata(entry.path())).ok()?;
        Some((meta.dev(), meta.ino()) == (ours.dev(), ours.ino()))
    };
    Some(fds.filter_map(same).filter(|same| *same).count())
}

/// The file that links lead to, whether or not it is there.
///
/// # Errors
/// [`ErrorKind::Refused`] for a link of another user's; [`ErrorKind::Usage`] for one that leads to
/// itself.
pub(crate) fn follow_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let Ok(meta) = fs::symlink_metadata(&path) else { return Ok(path) };
        if !meta.is_symlink() {
            return Ok(path);
        }
        let object = path.display().to_string();
        if !is_trusted(meta.uid()) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("is a link that user {} made", meta.uid()),
            )
            .with_object(object)
            .with_hint("name the file that it leads to, if that is what you want"));
        }
        let to = fs::read_link(&path).map_err(|e| Error::io(e, "cannot be read", object))?;
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(Error::new(ErrorKind::Usage, "is a link that leads to itself")
        .with_object(path.display().to_string()))
}
