//! For tests: a disk that keeps a journal of what was asked of it, so that the machine can lose its
//! power after any operation.
//!
//! What a file system promises is only this: a file's content survives once the file was synced, a
//! name once its directory was. All else may be there afterwards or not, each operation by itself,
//! and content in part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile, Os};

/// What was done.
#[derive(Clone, Debug)]
enum Op {
    MakeDir(PathBuf),
    Create(PathBuf, usize),
    Write(usize, Vec<u8>),
    Sync(usize),
    /// A name for a file; and one that it loses by that.
    Name(PathBuf, usize, Option<PathBuf>),
    Remove(PathBuf),
    SyncDir(PathBuf),
    /// What the disk did to a file by itself.
    Damage(usize, Vec<u8>),
}

impl Op {
    /// The directory of the name that it changes.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::MakeDir(path)
            | Self::Create(path, _)
            | Self::Name(path, _, _)
            | Self::Remove(path) => path.parent(),
            Self::Write(..) | Self::Sync(_) | Self::SyncDir(_) | Self::Damage(..) => None,
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    ops: Vec<Op>,
    files: usize,
    /// The names at this moment.
    names: BTreeMap<PathBuf, usize>,
    /// How many more operations the process lives.
    life: Option<usize>,
    /// A directory whose files are never synced, and what was in it at what moments.
    beside: PathBuf,
    moments: Vec<(usize, Files)>,
}

/// Files and what is in them.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files below a directory.
pub(crate) fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.insert(path, bytes);
        }
    }
    found
}

/// Puts files that were below a directory below another one.
pub(crate) fn lay_out(files: &Files, from: &Path, to: &Path) {
    for (path, bytes) in files {
        let Ok(path) = path.strip_prefix(from) else { continue };
        let path = to.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Log {
    fn live(&mut self) -> io::Result<()> {
        match &mut self.life {
            Some(0) => Err(io::Error::other("the process is dead")),
            Some(life) => {
                *life -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A [`Disk`] with a journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Log>>);

/// What becomes of something that was not synced when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    /// Of content: half of it is there.
    Half,
    /// Of content: it has its length, and zeros.
    Zeros,
}

impl Journal {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something unless the process is dead, and notes it.
    fn run<T>(
        &self,
        act: impl FnOnce() -> io::Result<T>,
        note: impl FnOnce(&mut Log) -> Op,
    ) -> io::Result<T> {
        let mut log = self.log();
        log.live()?;
        if !log.beside.as_os_str().is_empty() {
            let now = files(&log.beside);
            if log.moments.last().is_none_or(|(_, last)| *last != now) {
                let at = log.ops.len();
                log.moments.push((at, now));
            }
        }
        let done = act()?;
        let op = note(&mut log);
        log.ops.push(op);
        Ok(done)
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut log = self.log();
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, &bytes).unwrap();
        let file = *log.names.get(path).unwrap();
        log.ops.push(Op::Damage(file, bytes));
    }

    /// How many operations there were.
    pub(crate) fn len(&self) -> usize {
        self.log().ops.len()
    }

    /// A journal beside a directory whose files are never synced.
    pub(crate) fn beside(dir: &Path) -> Self {
        let log = Log { beside: dir.to_owned(), ..Log::default() };
        Self(Arc::new(Mutex::new(log)))
    }

    /// What was in that directory at each moment up to the first `k` operations.
    pub(crate) fn moments(&self, k: usize) -> Vec<Files> {
        let log = self.log();
        log.moments.iter().filter(|(at, _)| *at <= k).map(|(_, files)| files.clone()).collect()
    }

    /// The process dies after so many more operations.
    pub(crate) fn die_after(&self, operations: usize) {
        self.log().life = Some(operations);
    }

    /// Another process begins.
    pub(crate) fn revive(&self) {
        self.log().life = None;
    }

    /// The files that are there if the power goes after the first `k` operations. `fate` is asked
    /// for each thing that was not synced.
    pub(crate) fn outage(&self, k: usize, mut fate: impl FnMut() -> Fate) -> Files {
        let log = self.log();
        let ops = log.ops.get(..k).unwrap();
        let (mut synced_dirs, mut synced_files) = (BTreeSet::new(), BTreeSet::new());
        let mut survives = vec![true; k];
        // From the end: what follows says whether something was synced.
        for (op, survives) in ops.iter().zip(&mut survives).rev() {
            match op {
                Op::SyncDir(dir) => {
                    synced_dirs.insert(dir.as_path());
                }
                Op::Sync(file) => {
                    synced_files.insert(*file);
                }
                Op::Write(file, _) => *survives = synced_files.contains(file),
                Op::Damage(..) => {}
                _ => {
                    let dir = op.dir().unwrap();
                    *survives = synced_dirs.contains(dir) || fate() != Fate::Lost;
                }
            }
        }
        let mut names: BTreeMap<&Path, usize> = BTreeMap::new();
        let mut dirs: BTreeSet<&Path> = BTreeSet::new();
        let mut contents: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (op, survives) in ops.iter().zip(survives) {
            match op {
                Op::Write(file, bytes) => {
                    let content = contents.entry(*file).or_default();
                    match if survives { Fate::Kept } else { fate() } {
                        Fate::Kept => content.extend(bytes),
                        Fate::Lost => {}
                        Fate::Half => content.extend(bytes.iter().take(bytes.len() / 2)),
                        Fate::Zeros => content.resize(content.len() + bytes.len(), 0),
                    }
                }
                Op::Damage(file, bytes) => {
                    contents.insert(*file, bytes.clone());
                }
                _ if !survives => {}
                Op::MakeDir(path) => {
                    dirs.insert(path);
                }
                Op::Create(path, file) => {
                    names.insert(path, *file);
                }
                Op::Name(path, file, old) => {
                    names.insert(path, *file);
                    if let Some(old) = old {
                        names.remove(old.as_path());
                    }
                }
                Op::Remove(path) => {
                    names.remove(path.as_path());
                    dirs.remove(path.as_path());
                }
                Op::Sync(_) | Op::SyncDir(_) => {}
            }
        }
        let made: BTreeSet<&Path> = log
            .ops
            .iter()
            .filter_map(|op| if let Op::MakeDir(path) = op { Some(path.as_path()) } else { None })
            .collect();
        let reached = |path: &Path| {
            path.ancestors().skip(1).all(|dir| dirs.contains(dir) || !made.contains(dir))
        };
        names
            .into_iter()
            .filter(|(path, _)| reached(path))
            .map(|(path, file)| (path.to_owned(), contents.get(&file).cloned().unwrap_or_default()))
            .collect()
    }
}

impl Disk for Journal {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut file = 0;
        let inner = self.run(
            || Os.create(path),
            |log| {
                log.files += 1;
                file = log.files;
                log.names.insert(path.to_owned(), file);
                Op::Create(path.to_owned(), file)
            },
        )?;
        Ok(Box::new(JournalFile { inner, file, journal: self.clone() }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.run(|| Os.make_dir(path), |_| Op::MakeDir(path.to_owned()))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(
            || Os.link(from, to),
            |log| {
                let file = *log.names.get(from).unwrap();
                log.names.insert(to.to_owned(), file);
                Op::Name(to.to_owned(), file, None)
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(
            || Os.rename(from, to),
            |log| {
                let file = log.names.remove(from).unwrap();
                log.names.insert(to.to_owned(), file);
                Op::Name(to.to_owned(), file, Some(from.to_owned()))
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(
            || Os.remove(path),
            |log| {
                log.names.remove(path);
                Op::Remove(path.to_owned())
            },
        )
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(|| Os.remove_dir(path), |_| Op::Remove(path.to_owned()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.run(|| Os.sync_dir(dir), |_| Op::SyncDir(dir.to_owned()))
    }
}

struct JournalFile {
    inner: Box<dyn DiskFile>,
    file: usize,
    journal: Journal,
}

impl DiskFile for JournalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { inner, file, journal } = self;
        journal.run(|| inner.write(bytes), |_| Op::Write(*file, bytes.to_vec()))
    }

    fn sync(&mut self) -> io::Result<()> {
        let Self { inner, file, journal } = self;
        journal.run(|| inner.sync(), |_| Op::Sync(*file))
    }
}

mod tests {
    use super::*;
    use crate::chance::Random;
    use crate::store::{Created, LocalStore, Store};

    const FATES: [Fate; 4] = [Fate::Kept, Fate::Lost, Fate::Half, Fate::Zeros];

    /// What has to be so of an object: whether it is there, or either way if nobody was told.
    type Told = BTreeMap<String, Option<bool>>;

    fn bytes(name: &str) -> Vec<u8> {
        name.bytes().cycle().take(1000).collect()
    }

    /// Creates and deletes at random, as processes that die now and then, and notes what they were
    /// told.
    fn work(journal: &Journal, root: &Path, random: &mut Random) -> Vec<(usize, Told)> {
        let mut told: Vec<(usize, Told)> = Vec::new();
        let mut now = Told::new();
        let mut store = LocalStore::on(Arc::new(journal.clone()), root).unwrap();
        for _ in 0..60 {
            if random.below(5) == 0 {
                journal.revive();
                store = LocalStore::on(Arc::new(journal.clone()), root).unwrap();
                if random.below(2) == 0 {
                    journal.die_after(random.below(12));
                }
            }
            let name = format!("a{}/b{}/{}", random.below(2), random.below(2), random.below(3));
            // From here on either way.
            now.insert(name.clone(), None);
            told.push((journal.len(), now.clone()));
            let outcome = match random.below(4) {
                0 => store.delete(&name).map(|()| Some(false)),
                1 => store.create(&name, &bytes(&name)).map(|_| Some(true)),
                2 => {
                    // As a writer that goes on from what it finds.
                    let (dir, _) = name.rsplit_once('/').unwrap();
                    let there = store.head(&name).unwrap().is_some();
                    let synced = store.sync(&format!("{dir}/"));
                    synced.map(|()| there.then_some(true))
                }
                _ if store.head(&name).unwrap().is_some() => Ok(None),
                _ => store.upload(&name).and_then(|mut upload| {
                    for half in bytes(&name).chunks(500) {
                        upload.write(half)?;
                    }
                    upload.finish().map(|()| Some(true))
                }),
            };
            if let Ok(outcome) = outcome {
                now.insert(name, outcome);
                told.push((journal.len(), now.clone()));
            }
        }
        journal.revive();
        told
    }

    #[test]
    fn what_a_local_store_told_is_so_after_a_loss_of_power() {
        let (mut there, mut gone) = (0, 0);
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let journal = Journal::default();
            let told = work(&journal, dir.path(), &mut random);
            let mut last = 0;
            for k in 0..=journal.len() {
                while told.get(last + 1).is_some_and(|(at, _)| *at <= k) {
                    last += 1;
                }
                for way in 0..3 {
                    // All is lost, or some of it; and content in all ways.
                    let files = journal.outage(k, || match way {
                        0 => Fate::Lost,
                        _ => FATES[random.below(4)],
                    });
                    let what = format!("seed {seed}, power lost after {k}, way {way}");
                    let shown: BTreeMap<String, &Vec<u8>> = files
                        .iter()
                        .map(|(path, bytes)| {
                            let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap();
                            (name.to_owned(), bytes)
                        })
                        .filter(|(name, _)| !name.contains(".tmp-"))
                        .collect();
                    for (name, found) in &shown {
                        assert!(**found == bytes(name), "{what}: {name} is not whole");
                    }
                    let (at, told) = told.get(last).unwrap();
                    if *at > k {
                        continue;
                    }
                    for (name, told) in told {
                        let Some(told) = told else { continue };
                        assert_eq!(shown.contains_key(name), *told, "{what}: {name}");
                        if *told { there += 1 } else { gone += 1 }
                    }
                }
            }
        }
        assert!(there > 10_000 && gone > 10_000, "{there} {gone}");
    }

    #[test]
    fn what_was_not_synced_may_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::default();
        let path = dir.path().join("x");
        let mut file = journal.create(&path).unwrap();
        file.write(b"abcd").unwrap();
        let outage = |fate| journal.outage(journal.len(), || fate).remove(&path);
        assert_eq!(outage(Fate::Kept).unwrap(), b"abcd");
        assert_eq!(outage(Fate::Half).unwrap(), b"ab");
        assert_eq!(outage(Fate::Zeros).unwrap(), b"\0\0\0\0");
        assert_eq!(outage(Fate::Lost), None);
        journal.sync_dir(dir.path()).unwrap();
        assert_eq!(outage(Fate::Lost).unwrap(), b"");
        file.sync().unwrap();
        assert_eq!(outage(Fate::Lost).unwrap(), b"abcd");
        journal.remove(&path).unwrap();
        assert_eq!(outage(Fate::Lost).unwrap(), b"abcd");
        assert_eq!(outage(Fate::Kept), None);
        journal.die_after(0);
        assert!(journal.make_dir(&dir.path().join("y")).is_err());
        assert_eq!(Created::Exists, {
            journal.revive();
            std::fs::write(dir.path().join("z"), b"there").unwrap();
            LocalStore::on(Arc::new(journal), dir.path()).unwrap().create("z", b"").unwrap()
        });
    }
}
