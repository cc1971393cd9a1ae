//! Which database files this process has open, and under which names.
//!
//! Within one process SQLite knows a file by its inode and not by its name. A second connection
//! under another name, by a hard link or after the file was renamed, would use the wal-index of
//! the first name beside the WAL of its own: what it then writes, or leaves out as it closes, is
//! somebody's lost transaction. So a file is opened under one name at a time. That is one of the
//! few things that are the process's, as they are SQLite's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::beside::full_path;
use super::position::FileIdentity;
use crate::error::{Error, ErrorKind, Result};

/// The files that are open, with their names, and how often each is.
static HELD: Mutex<BTreeMap<FileIdentity, (PathBuf, usize)>> = Mutex::new(BTreeMap::new());

/// A file that is about to be opened, or open, under its one name. It is to be dropped after the
/// connections.
#[derive(Debug)]
pub(super) struct Held(Option<FileIdentity>);

impl Held {
    /// Takes a file for opening.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when this process has it open under another name.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let name = full_path(path);
        // What is not there is not opened either.
        let Some(file) = FileIdentity::of(&name) else { return Ok(Self(None)) };
        let mut held = held();
        let (known, times) = held.entry(file).or_insert_with(|| (name.clone(), 0));
        if *known != name {
            let what = format!(
                "is the same file as {}, which this program has open: under two names a database can lose transactions",
                known.display()
            );
            return Err(Error::new(ErrorKind::Busy, what)
                .with_object(path.display().to_string())
                .with_hint("wait until the other name is closed; keep one of the two"));
        }
        *times += 1;
        Ok(Self(Some(file)))
    }
}

/// Whether this process has a file open: whoever opens it besides and closes it again drops the
/// locks of the process.
#[cfg(feature = "cli")]
pub(super) fn is_held(file: FileIdentity) -> bool {
    held().contains_key(&file)
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(file) = self.0 else { return };
        let mut held = held();
        if let Some((_, times)) = held.get_mut(&file) {
            *times -= 1;
            if *times == 0 {
                held.remove(&file);
            }
        }
    }
}

fn held() -> MutexGuard<'static, BTreeMap<FileIdentity, (PathBuf, usize)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_open_under_one_name_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, link] = ["a.db", "b.db", "link.db"].map(|name| dir.path().join(name));
        std::fs::write(&a, "x").unwrap();
        std::fs::hard_link(&a, &b).unwrap();
        std::os::unix::fs::symlink(&a, &link).unwrap();
        let first = Held::take(&a).unwrap();
        // A link leads to the same name.
        let second = Held::take(&link).unwrap();
        assert_eq!(Held::take(&b).unwrap_err().kind(), ErrorKind::Busy);
        drop(first);
        assert_eq!(Held::take(&b).unwrap_err().kind(), ErrorKind::Busy);
        drop(second);
        let renamed = Held::take(&b).unwrap();
        assert_eq!(Held::take(&a).unwrap_err().kind(), ErrorKind::Busy);
        drop(renamed);
        drop(Held::take(&a).unwrap());
        assert!(Held::take(&dir.path().join("absent.db")).is_ok());
    }
}
