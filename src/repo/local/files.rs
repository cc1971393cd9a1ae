//! The files in which this machine remembers something: read, locked and replaced.
//!
//! Invariants: no link is followed here, nothing but a file is opened, and no pipe is waited for,
//! whatever names others planted. A folder that another user made is not believed, since its notes
//! say what need not be captured again; root's are.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::remedy::{Remedy, advice};

/// The longest of the small files; all of them have a few hundred bytes.
const LONGEST: u64 = 1 << 20;
/// How every file of the state is opened.
const FLAGS: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Lets a simulation come between operations on local state.
pub(crate) fn operation(_what: &str) -> io::Result<()> {
    #[cfg(test)]
    if let Some(world) = crate::simulated::world() {
        return world.local(_what);
    }
    Ok(())
}

/// Refuses a folder of the state that is another user's, or no folder. One that is not there is
/// nobody's.
///
/// # Errors
/// [`ErrorKind::Refused`]; [`ErrorKind::Storage`] when it can't be looked at.
pub(crate) fn check_folder(dir: &Path) -> Result<()> {
    let Err(e) = open_folder(dir) else { return Ok(()) };
    let object = dir.display().to_string();
    match e.kind() {
        io::ErrorKind::NotFound => Ok(()),
        io::ErrorKind::InvalidInput => {
            Err(Error::new(ErrorKind::Refused, e.to_string()).with_object(object).with_hint(advice![
                "what this machine remembers must be this user's own: name another folder with ",
                Remedy::OtherStateFolder,
            ]))
        }
        _ => Err(Error::io(e, "cannot be looked at", object).with_hint(advice![
            "a command that root ran may have made it: give it back to its user, or name another folder with ",
            Remedy::OtherStateFolder,
        ])),
    }
}

/// The bytes of a small file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_at(path, OFlags::RDONLY)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(refused("is longer than what this program writes")),
        false => Ok(bytes),
    }
}

/// Opens a file that is there to be read and changed.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_at(path, OFlags::RDWR)
}

/// Opens a file that is only there to be locked, and creates it if need be.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    open_at(path, OFlags::RDWR | OFlags::CREATE)
}

/// Replaces a file. Not durable: a crash of the machine may bring back an older one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    operation("writes what it remembers")?;
    let mut file = Unfinished::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

fn open_at(path: &Path, flags: OFlags) -> io::Result<File> {
    let (dir, name) = folder_of(path)?;
    let file = File::from(openat(&dir, name, flags | FLAGS, Mode::RUSR | Mode::WUSR).map_err(
        |e| match e {
            Errno::LOOP => refused("is a link"),
            e => e.into(),
        },
    )?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(refused("is not a file"));
    }
    // In a folder that others may write to.
    match is_trusted(meta.uid()) || meta.uid() == dir.metadata()?.uid() {
        true => Ok(file),
        false => Err(refused(&format!("belongs to another user (uid {})", meta.uid()))),
    }
}

fn folder_of(path: &Path) -> io::Result<(File, &OsStr)> {
    let name = path.file_name().ok_or_else(|| refused("names no file"))?;
    Ok((open_folder(path.parent().unwrap_or(Path::new("")))?, name))
}

fn open_folder(dir: &Path) -> io::Result<File> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let opened = openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY | FLAGS, Mode::empty());
    let folder = File::from(opened.map_err(|e| match e {
        Errno::LOOP | Errno::NOTDIR if dir.is_symlink() => refused("is a link"),
        Errno::NOTDIR if dir.exists() => refused("is not a folder"),
        e => e.into(),
    })?);
    let owner = folder.metadata()?.uid();
    if is_trusted(owner) || is_squashed(&folder, owner) {
        return Ok(folder);
    }
    Err(refused(&format!("belongs to another user (uid {owner})")))
}

/// Whether a file of this owner is one that this user or root made.
pub(crate) fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// Whether a file system shows what this user creates as another one's, as NFS may: then that
/// user's folder is this one's.
fn is_squashed(folder: &File, owner: u32) -> bool {
    let Ok(name) = disk::temporary_name() else { return false };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FLAGS;
    let Ok(file) = openat(folder, &name, flags, Mode::RUSR | Mode::WUSR) else { return false };
    let created = File::from(file).metadata().map(|meta| meta.uid());
    let _ = unlinkat(folder, &name, AtFlags::empty());
    created.is_ok_and(|created| created == owner)
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

/// A file that takes its place when it is complete. Dropping it before that removes it.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: File,
    dir: File,
    temporary: OsString,
    name: OsString,
    placed: bool,
}

impl Unfinished {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let (dir, name) = folder_of(path)?;
        let temporary = OsString::from(disk::temporary_name()?);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FLAGS;
        let file = File::from(openat(&dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
        Ok(Self { file, dir, temporary, name: name.to_owned(), placed: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        renameat(&self.dir, &self.temporary, &self.dir, &self.name)?;
        self.placed = true;
        Ok(())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(&self.dir, &self.temporary, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_planted_name_is_followed_or_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        let path = dir.path().join("state");
        symlink(&elsewhere, &path).unwrap();
        for opened in [lock_file(&path).map(drop), open(&path).map(drop), read(&path).map(drop)] {
            assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(!elsewhere.exists());
        // A replacement takes the link's place, not that of the file behind it.
        fs::write(&elsewhere, "theirs").unwrap();
        replace(&path, b"ours").unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"theirs");
        assert_eq!(read(&path).unwrap(), b"ours");
        assert!(!path.is_symlink());

        let pipe = dir.path().join("lock");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        for opened in [lock_file(&pipe).map(drop), open(&pipe).map(drop), read(&pipe).map(drop)] {
            assert_eq!(opened.unwrap_err().to_string(), "is not a file");
        }
        // Nor does a file of any length fill the memory.
        let long = dir.path().join("seen");
        File::create(&long).unwrap().set_len(20 << 30).unwrap();
        assert_eq!(read(&long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        // Nor is a folder taken that a link leads to.
        let linked = dir.path().join("linked");
        symlink(dir.path(), &linked).unwrap();
        assert_eq!(check_folder(&linked).unwrap_err().kind(), ErrorKind::Refused);
        assert!(read(&linked.join("state")).is_err());
        assert!(check_folder(&dir.path().join("none")).is_ok());
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        replace(&path, b"one").unwrap();
        let mut file = Unfinished::create(&path).unwrap();
        file.write_all(b"tw").unwrap();
        drop(file);
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
