//! Objects as files below a directory.
//!
//! Publishing is: write a temporary file beside the final place, fsync it, `link` it to the final
//! name, which fails if that exists, unlink the temporary name, fsync the directory. Temporary
//! names begin with `.tmp-`, so listings skip what a crash leaves behind. Where the file system has
//! no hard links, `renameat2(RENAME_NOREPLACE)` does the same. Deleting is: unlink, fsync the
//! directory.
//!
//! Invariants: files are 0600 and directories 0700 of this account, unless the root is shared
//! ([`super::shared`]); no file is ever opened for writing under a final name. A directory's own
//! name is durable before anything in it is.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::contract::{
    Created, Entry, Nature, Store, Upload, already_there, check_name, check_prefix, is_folder_name,
    is_part_of_name, too_large,
};
use super::shared::Shared;
use super::strange;
use crate::disk::{self, Disk, DiskFile, Os, is_absent, is_temporary};
use crate::error::{Error, ErrorKind, Result};
use crate::remedy::{Remedy, advice};
use crate::types::Timestamp;

/// No name has more parts: what lies deeper is no object, and may be too deep to be looked at.
const DEEPEST: usize = 8;

/// A [`Store`] in a directory.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Directories whose names, and those of their parents up to the root, were made durable by
    /// this process.
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl LocalStore {
    /// A store in a directory that exists.
    ///
    /// # Errors
    /// [`ErrorKind::NoRepository`] when there is no such directory, [`ErrorKind::Storage`] when it
    /// can't be looked at.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let shared = fs::metadata(&root).ok().as_ref().and_then(Shared::like);
        let disk = shared.map_or(Arc::new(Os) as Arc<dyn Disk>, |shared| Arc::new(shared));
        Self::on(disk, root)
    }

    /// As [`LocalStore::open`], on another disk than the operating system's.
    pub(crate) fn on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => Ok(Self { root, disk, durable: Mutex::default() }),
            Ok(_) => Err(Error::new(ErrorKind::NoRepository, "is not a directory")
                .with_object(root.display().to_string())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NoRepository, "does not exist")
                    .with_object(root.display().to_string())
                    .with_hint(advice![
                        "is its disk mounted? If so, check ",
                        Remedy::OtherLocation,
                        "; ",
                        Remedy::CreateRepository,
                        " creates a new repository there",
                    ]))
            }
            Err(e) => Err(storage(e, "cannot be opened", root.display().to_string())),
        }
    }

    /// A store in a directory that is created, with its parents, if it is not there.
    ///
    /// # Durability
    /// The new directories survive a crash once this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] or [`ErrorKind::NoSpace`] when it can't be created.
    pub fn create_root(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        disk::make_dirs(&root)
            .map_err(|e| storage(e, "cannot be created", root.display().to_string()))?;
        Self::open(root)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    fn open_file(&self, name: &str) -> Result<Option<(File, u64)>> {
        let opened = strange::open(&self.path(name)?).and_then(|file| {
            let meta = file.metadata()?;
            Ok((file, meta))
        });
        match opened {
            Ok((file, meta)) if meta.is_file() => Ok(Some((file, meta.len()))),
            Ok((_, meta)) => Err(strange::no_file(name, meta.file_type())),
            Err(e) => match strange::why(&self.root, name, &e) {
                Some(strange) => Err(strange),
                None if is_absent(&e) => Ok(None),
                None => Err(storage(e, "cannot be opened", name)),
            },
        }
    }

    fn stage(&self, name: &str) -> Result<Staged> {
        let path = self.path(name)?;
        let staged = path.parent().ok_or(io::ErrorKind::NotFound.into()).and_then(|dir| {
            let create = || {
                self.make_durable(dir)?;
                let temporary = dir.join(disk::temporary_name()?);
                Ok((self.disk.create(&temporary)?, temporary))
            };
            let created = match create() {
                // An empty directory was swept away meanwhile.
                Err(e) if is_absent(&e) => {
                    self.known().clear();
                    create()
                }
                created => created,
            };
            let (file, temporary) = created?;
            Ok(Staged {
                disk: self.disk.clone(),
                file,
                temporary: Some(temporary),
                dir: dir.to_owned(),
                path: path.clone(),
                name: name.to_owned(),
            })
        });
        staged.map_err(|e: io::Error| {
            strange::blocked(&self.root, name, &e)
                .unwrap_or_else(|| storage(e, "cannot be written", name))
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a directory below the root and its parents. One that is there may be of a process
    /// that died before it was durable.
    fn make_durable(&self, dir: &Path) -> io::Result<()> {
        if self.known().contains(dir) {
            return Ok(());
        }
        // A root that is gone (moved, unmounted) must not come into being again.
        fs::metadata(&self.root)?;
        if dir != self.root
            && let Some(parent) = dir.parent()
        {
            self.make_durable(parent)?;
            disk::make_dir(&*self.disk, dir)?;
            self.disk.sync_dir(parent)?;
        }
        self.known().insert(dir.to_owned());
        Ok(())
    }

    fn entries(&self, dir: &Path) -> io::Result<Vec<(fs::DirEntry, String)>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Only what never had an object is empty: a root that is gone (an unmounted disk) is
            // not, nor is what is no folder.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::metadata(&self.root)?;
                let name = dir.strip_prefix(&self.root).ok().and_then(Path::to_str);
                if name.is_some_and(|name| strange::in_the_way(&self.root, name).is_some()) {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What can't be an object's name, or a part of one, is none of ours.
            match entry.file_name().into_string() {
                Ok(name) if is_part_of_name(&name) => found.push((entry, name)),
                _ => {}
            }
        }
        found.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(found)
    }

    fn walk(&self, dir: &str, found: &mut Vec<Entry>) -> io::Result<()> {
        for (entry, name) in self.entries(&self.root.join(dir))? {
            // What is a folder and can't hold objects is in the place of one, or nothing of ours:
            // that is for readers to say.
            let is_folder = is_folder_name(&name) && strange::kind_of(&entry)?.is_dir();
            let name = format!("{dir}/{name}");
            if is_folder && !strange::leads_up(&entry)? {
                if name.split('/').count() < DEEPEST {
                    self.walk(&name, found)?;
                }
            } else {
                match strange::measure(&entry) {
                    Ok(meta) => {
                        // What is no file has no bytes; whoever reads it is told what it is.
                        let len = if meta.is_file() { meta.len() } else { 0 };
                        found.push(Entry { name, len, modified: modified(&meta) });
                    }
                    // Deleted while we listed.
                    Err(e) if is_absent(&e) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path(name)?;
        let looked = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => fs::metadata(&path),
            looked => looked,
        };
        match looked {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(meta) => Err(strange::no_file(name, meta.file_type())),
            Err(e) => match strange::why(&self.root, name, &e) {
                Some(strange) => Err(strange),
                None if is_absent(&e) => Ok(None),
                None => Err(storage(e, "cannot be looked at", name)),
            },
        }
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((file, len)) = self.open_file(name)? else { return Ok(None) };
        if len > limit {
            return Err(too_large(name, len, limit));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|e| storage(e, "cannot be read", name))?;
        Ok(Some(bytes))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        let Some((file, all)) = self.open_file(name)? else { return Ok(None) };
        let there = usize::try_from(all.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(there)];
        file.read_exact_at(&mut bytes, offset).map_err(|e| storage(e, "cannot be read", name))?;
        Ok(Some(bytes))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let mut staged = self.stage(name)?;
        staged.write(bytes)?;
        staged.publish()
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        Ok(Box::new(self.stage(name)?))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let dir = check_prefix(prefix)?;
        let mut found = Vec::new();
        self.walk(dir, &mut found).map_err(|e| self.unlisted(e, prefix))?;
        found.sort();
        Ok(found)
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let dir = check_prefix(prefix)?;
        let dirs = || {
            let mut found = Vec::new();
            for (entry, name) in self.entries(&self.root.join(dir))? {
                if strange::kind_of(&entry)?.is_dir() {
                    found.push(format!("{prefix}{name}"));
                }
            }
            Ok(found)
        };
        dirs().map_err(|e| self.unlisted(e, prefix))
    }

    fn look(&self, prefix: &str) -> Result<Vec<(String, Nature)>> {
        let dir = self.root.join(check_prefix(prefix)?);
        let looked = || {
            let entries = match fs::read_dir(&dir) {
                Err(e) if is_absent(&e) => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry?;
                let (name, kind) = (entry.file_name(), strange::kind_of(&entry)?);
                let nature = match name.to_str() {
                    Some(name) if name.starts_with('.') => continue,
                    Some(name) if !is_part_of_name(name) => Nature::Strange,
                    Some(_) if kind.is_dir() => Nature::Folder,
                    Some(_) if kind.is_file() => Nature::File,
                    _ => Nature::Strange,
                };
                found.push((format!("{prefix}{}", name.to_string_lossy()), nature));
            }
            Ok(found)
        };
        looked().map_err(|e| self.unlisted(e, prefix))
    }

    fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        let removed = match self.disk.remove(&path) {
            // Whoever deleted it may have died before that was durable.
            Err(e) if is_absent(&e) => Ok(()),
            removed => removed,
        };
        let dir = path.parent().unwrap_or(&self.root);
        removed
            .and_then(|()| self.sync_if_there(dir))
            .map_err(|e| storage(e, "cannot be deleted", name))
    }

    fn sync(&self, prefix: &str) -> Result<()> {
        let dir = self.root.join(check_prefix(prefix)?);
        self.sync_if_there(&dir).map_err(|e| storage(e, "cannot be made durable", prefix))
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        let location = self.location();
        self.sweep_dir(&self.root, before, 0).map_err(|e| storage(e, "cannot be swept", location))
    }
}

impl LocalStore {
    fn unlisted(&self, e: io::Error, prefix: &str) -> Error {
        strange::blocked(&self.root, prefix.trim_end_matches('/'), &e)
            .unwrap_or_else(|| storage(e, "cannot be listed", prefix))
    }

    fn sync_if_there(&self, dir: &Path) -> io::Result<()> {
        match self.disk.sync_dir(dir) {
            Err(e) if is_absent(&e) => fs::metadata(&self.root).map(|_| ()),
            synced => synced,
        }
    }

    /// Removes unfinished writes and empty directories below a directory that were last changed
    /// before a moment, and answers how many writes there were.
    fn sweep_dir(&self, dir: &Path, before: Timestamp, depth: usize) -> io::Result<u64> {
        let mut removed = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let old = match entry.metadata() {
                Ok(meta) => modified(&meta) < before,
                Err(e) if is_absent(&e) => false,
                Err(e) => return Err(e),
            };
            let gone = if kind.is_dir() {
                if depth < DEEPEST {
                    removed += self.sweep_dir(&path, before, depth + 1)?;
                }
                if old { self.disk.remove_dir(&path) } else { Ok(()) }
            } else if old && kind.is_file() && entry.file_name().to_str().is_some_and(is_temporary)
            {
                self.disk.remove(&path).inspect(|()| removed += 1)
            } else {
                Ok(())
            };
            match gone {
                Err(e) if !is_absent(&e) && e.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    return Err(e);
                }
                _ => {}
            }
        }
        Ok(removed)
    }
}

/// When a file was last written to. A file system that does not say counts it as new.
fn modified(meta: &fs::Metadata) -> Timestamp {
    meta.modified().map_or_else(|_| Timestamp::now(), Timestamp::from)
}

/// A file under its temporary name. Dropping it removes the file.
struct Staged {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    temporary: Option<PathBuf>,
    dir: PathBuf,
    path: PathBuf,
    name: String,
}

impl Staged {
    fn publish(mut self) -> Result<Created> {
        let Some(temporary) = self.temporary.clone() else { return Ok(Created::Exists) };
        let published = self.file.sync().and_then(|()| {
            let is_new = disk::publish_new(&*self.disk, &temporary, &self.path)?;
            if is_new {
                self.temporary = None;
            }
            // Whoever created one that was there before may have died before its name was durable.
            self.disk.sync_dir(&self.dir)?;
            Ok(if is_new { Created::New } else { Created::Exists })
        });
        published.map_err(|e| storage(e, "cannot be written", &*self.name))
    }
}

impl Upload for Staged {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes).map_err(|e| storage(e, "cannot be written", &*self.name))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let name = self.name.clone();
        match self.publish()? {
            Created::New => Ok(()),
            Created::Exists => Err(already_there(&name)),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing depends on it: a file that stays is skipped by every listing.
            let _ = self.disk.remove(temporary);
        }
    }
}

fn storage(e: io::Error, what: &str, object: impl Into<String>) -> Error {
    let unsupported = e.kind() == io::ErrorKind::Unsupported;
    let error = Error::io(e, what, object);
    match error.kind() {
        ErrorKind::Refused if unsupported => {
            error.with_hint("keep the repository on a file system that has hard links")
        }
        ErrorKind::Storage => error
            .with_hint("check that the repository's disk is mounted and writable for this user"),
        ErrorKind::NoSpace => {
            error.with_hint("what was published before is whole; free some space and run it again")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path()).unwrap();
        crate::store::testing::conformance::check(&store);
        store.create("u/there", b"first").unwrap();
        assert!(store.upload("u/there").and_then(|u| u.finish()).is_err());
        assert_eq!(store.get("u/there", 10).unwrap().unwrap(), b"first");
    }

    #[test]
    fn files_are_private_and_nothing_temporary_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::create_root(dir.path().join("a/b")).unwrap();
        store.create("keys/00", b"x").unwrap();
        drop(store.upload("keys/01").unwrap());
        let mode = |p: &str| fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("a/b"), 0o700);
        assert_eq!(mode("a/b/keys"), 0o700);
        assert_eq!(mode("a/b/keys/00"), 0o600);
        assert_eq!(fs::read_dir(dir.path().join("a/b/keys")).unwrap().count(), 1);
    }

    #[test]
    fn a_group_that_shares_the_root_shares_everything_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let set = |p: &str, mode| {
            fs::set_permissions(dir.path().join(p), fs::Permissions::from_mode(mode)).unwrap();
        };
        let mode = |p: &str| fs::metadata(dir.path().join(p)).unwrap().permissions().mode();
        fs::create_dir_all(dir.path().join("r/left")).unwrap();
        set("r/left", 0o700);
        // Whoever may only read shares nothing by that.
        for (root, folder, file) in
            [(0o755, 0o700, 0o600), (0o770, 0o770, 0o640), (0o2770, 0o2770, 0o640)]
        {
            set("r", root);
            let store = LocalStore::open(dir.path().join("r")).unwrap();
            store.create(&format!("a{root}/b/00"), b"x").unwrap();
            store.create(&format!("left/{root}"), b"x").unwrap();
            assert_eq!(mode(&format!("r/a{root}")) & 0o7777, folder, "{root:o}");
            assert_eq!(mode(&format!("r/a{root}/b")) & 0o7777, folder, "{root:o}");
            assert_eq!(mode(&format!("r/a{root}/b/00")) & 0o7777, file, "{root:o}");
            assert_eq!(mode("r/left") & 0o7777, folder, "{root:o}");
        }
    }

    #[test]
    fn unfinished_writes_are_swept_once_they_are_old() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path()).unwrap();
        store.create("a/b/kept", b"x").unwrap();
        let mut upload = store.upload("a/b/half").unwrap();
        upload.write(b"half").unwrap();
        std::mem::forget(upload);
        let written = store.list("a/").unwrap()[0].modified;
        assert!(Timestamp::now().0 - written.0 < 60_000_000, "{written}");
        assert_eq!(store.sweep(Timestamp(written.0 - 60_000_000)).unwrap(), 0);
        assert_eq!(store.sweep(Timestamp(written.0 + 60_000_000)).unwrap(), 1);
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn a_root_that_went_away_is_an_error_and_not_an_empty_list() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::create_root(dir.path().join("r")).unwrap();
        assert_eq!(store.list("keys/").unwrap(), vec![]);
        fs::remove_dir(dir.path().join("r")).unwrap();
        assert!(store.list("keys/").is_err());
        assert!(store.list_dirs("keys/").is_err());
    }
}
