//! What is asked of a file system, one call for each change, so that tests can have the machine
//! lose its power between any two of them (`store::testing::power`).
//!
//! Also how files come to their final names here: written under a temporary name that no listing
//! shows, made durable, and then linked, which fails if the name is taken.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::io::Errno;

use crate::types::{random_bytes, write_hex};

/// The prefix of unfinished writes.
const TEMPORARY: &str = ".tmp-";

/// Changes of a file system. What was changed survives a loss of power only once it was synced: a
/// file's content by the file, its name by the directory. What a disk does not say itself it leaves
/// to the operating system.
pub(crate) trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file, 0600, that must not be there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a directory, 0700.
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }
    /// Gives a file a second name, which must not be taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }
    /// Gives a file another name, which must not be taken.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_new(rustix::fs::CWD, from, to)
    }
    /// Removes a name of a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        sync_names(&File::open(dir)?)
    }
}

/// A file that is being written.
pub(crate) trait DiskFile: Send {
    /// Appends.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct Os;

impl Os {
    /// Creates a file, 0600, that must not be there.
    pub(crate) fn create_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }
}

impl Disk for Os {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self::create_file(path)?))
    }
}

impl DiskFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Gives a finished temporary file its final name. Returns true, and then the temporary name is
/// gone; or false, and it is still there, if the name is taken.
pub(crate) fn publish_new(disk: &dyn Disk, temporary: &Path, path: &Path) -> io::Result<bool> {
    let published = match disk.link(temporary, path) {
        Err(e) if no_hard_links(&e) => disk.rename(temporary, path),
        linked => linked.and_then(|()| disk.remove(temporary)),
    };
    match published {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// What a file system says that can't give a file its name without replacing another one.
const NO_WAY: &str = "the file system has neither hard links nor renames that replace nothing";

fn no_hard_links(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::TooManyLinks
    )
}

/// Makes the names in a folder durable. Some file systems can't, and say so: then nothing more can
/// be done.
pub(crate) fn sync_names(dir: &File) -> io::Result<()> {
    match dir.sync_all() {
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced,
    }
}

/// Renames in a folder, unless the new name is taken.
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(crate) fn rename_new(dir: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    let renamed = renameat_with(&dir, from, &dir, to, RenameFlags::NOREPLACE);
    renamed.map_err(|e| match e {
        Errno::INVAL | Errno::NOSYS | Errno::NOTSUP => {
            io::Error::new(io::ErrorKind::Unsupported, NO_WAY)
        }
        e => e.into(),
    })
}

/// Renames in a folder, unless the new name is taken: not here.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(crate) fn rename_new(_dir: impl AsFd, _from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the file system has no hard links"))
}

/// Creates a directory and its parents, each durable in its own parent.
pub(crate) fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    make_dirs(parent)?;
    make_dir(&Os, dir)?;
    Os.sync_dir(parent)
}

/// Creates a directory if it is not there.
pub(crate) fn make_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.make_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        made => made,
    }
}

/// A name for an unfinished file, which nobody else has.
pub(crate) fn temporary_name() -> io::Result<String> {
    let bytes = random_bytes::<8>().map_err(io::Error::other)?;
    let mut name = TEMPORARY.to_owned();
    write_hex(&mut name, &bytes).map_err(io::Error::other)?;
    Ok(name)
}

/// Whether a file's name is one of those.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Whether an error says that nothing is there.
pub(crate) fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system without links.
    #[derive(Debug)]
    struct Linkless;

    impl Disk for Linkless {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            Os.create(path)
        }
        fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn nothing_is_replaced_whether_or_not_there_are_links() {
        for disk in [&Os as &dyn Disk, &Linkless] {
            let dir = tempfile::tempdir().unwrap();
            let (a, b) = (dir.path().join("a"), dir.path().join("b"));
            fs::write(&a, "1").unwrap();
            assert!(publish_new(disk, &a, &b).unwrap(), "{disk:?}");
            assert!(!a.exists(), "{disk:?}");
            fs::write(&a, "2").unwrap();
            assert!(!publish_new(disk, &a, &b).unwrap(), "{disk:?}");
            assert_eq!(fs::read(&b).unwrap(), b"1", "{disk:?}");
            assert!(a.exists(), "{disk:?}");
        }
    }
}
