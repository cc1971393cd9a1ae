//! What the test binaries share: a repository in a temporary folder, and databases to put into it.
//! Each of them takes a part.
#![allow(dead_code)]

#[cfg(feature = "cli")]
pub mod cli;
pub mod dice;
pub mod example;
pub mod exhibit;
pub mod followed;
pub mod hooked;
pub mod process;
pub mod python;
#[cfg(feature = "cli")]
pub mod terminal;
pub mod twins;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pagekeep::Result;
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::format::slot::KdfParams;
use pagekeep::internals::ops::backup::{BackupOptions, BackupReport};
use pagekeep::internals::ops::point::RestorePoint;
use pagekeep::internals::ops::prune::PruneOptions;
use pagekeep::internals::ops::restore::{Check, RestoreOptions};
use pagekeep::internals::ops::verify::{VerifyOptions, VerifyReport};
use pagekeep::internals::policy::retention::{Policy, Zone};
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::chain::Chain;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::{MemoryStore, Store};
use pagekeep::internals::types::Seq;
use rusqlite::Connection;

use dice::Dice;

/// Held by a test that keeps all cores busy for long, or that measures what becomes of a load.
///
/// The tests of a binary run several at a time. Two such loads at once would each be another load
/// than the test is about, and would hold up the tests beside them beyond their patience: so there
/// is one of them at a time. Light tests run beside it, and hold their bounds on a busy machine.
pub fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    // A heavy test that failed is no reason for the next one to fail.
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cost that tests can pay thousands of times.
pub const CHEAP: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

/// A repository in memory, its local state and a work folder on disk.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub store: MemoryStore,
    pub secret: Secret,
    pub repository: Repository,
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = MemoryStore::new();
        let secret = Secret::new_recovery().unwrap();
        let repository = Repository::init(
            Arc::new(store.clone()),
            &[(&secret, "test")],
            CHEAP,
            &RepositoryOptions::new(dir.path().join("state")),
        )
        .unwrap();
        Self { dir, store, secret, repository }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How it is opened again on the same machine.
    pub fn opening(&self) -> RepositoryOptions {
        RepositoryOptions::new(self.path("state"))
    }

    /// The same repository through another store.
    pub fn through(&self, store: Arc<dyn Store>) -> Result<Repository> {
        Repository::open(store, &self.secret, &self.opening())
    }

    pub fn backup(&self, path: &Path) -> BackupReport {
        self.repository.backup(path, &BackupOptions::default(), &Silent).unwrap()
    }

    pub fn forget_state(&self) {
        let _ = std::fs::remove_dir_all(self.path("state"));
    }
}

/// The bytes that a commit restores to.
pub fn restored(history: &History, seq: u64, dir: &Path) -> Result<Vec<u8>> {
    let chain = history.chain()?;
    let commit = chain.commit(Seq(seq)).expect("the commit is on the chain");
    let target = dir.join(format!("restored-{seq}.db"));
    let _ = std::fs::remove_file(&target);
    RestorePoint::of(history, &chain, &commit).restore(
        &target,
        &RestoreOptions::default(),
        &Silent,
    )?;
    let bytes = std::fs::read(&target).unwrap();
    std::fs::remove_file(&target).unwrap();
    Ok(bytes)
}

/// The bytes of a database as they would be with everything in the file: a copy, checkpointed.
pub fn reference(path: &Path) -> Vec<u8> {
    let copy = path.with_extension("reference");
    for suffix in ["", "-wal", "-journal"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        let to = PathBuf::from(format!("{}{suffix}", copy.display()));
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
    let db = Connection::open(&copy).unwrap();
    let mode: String = db.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    if mode == "wal" {
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    drop(db);
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    bytes
}

/// A folder for databases and restored files: in memory where the system has such a place, since nothing here
/// has to survive a crash.
pub fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

impl Lab {
    /// As [`Lab::new`], with a work folder that is quick.
    pub fn quick() -> Self {
        let dir = quick_dir();
        let store = MemoryStore::new();
        let secret = Secret::new_recovery().unwrap();
        let init = [(&secret, "test")];
        let repository = Repository::init(
            Arc::new(store.clone()),
            &init,
            CHEAP,
            &RepositoryOptions::new(dir.path().join("state")),
        )
        .unwrap();
        Self { dir, store, secret, repository }
    }

    /// The folder of local state that belongs to a history.
    pub fn state_of(&self, history: &History) -> PathBuf {
        self.path("state").join(self.repository.id().to_string()).join(history.id().to_string())
    }
}

/// Restores a commit without SQLite's check: for comparing bytes, which says more.
pub fn restored_raw(history: &History, chain: &Chain, seq: u64, dir: &Path) -> Result<Vec<u8>> {
    let commit = chain.commit(Seq(seq)).expect("the commit is on the chain");
    let target = dir.join("restored.db");
    let options = RestoreOptions::default().check(Check::None);
    RestorePoint::of(history, chain, &commit).restore(&target, &options, &Silent)?;
    let bytes = std::fs::read(&target).unwrap();
    std::fs::remove_file(&target).unwrap();
    Ok(bytes)
}

/// Each of these commits restores to what the database was.
#[track_caller]
pub fn come_back<'b>(
    history: &History,
    chain: &Chain,
    expected: impl IntoIterator<Item = (u64, &'b Vec<u8>)>,
    dir: &Path,
) {
    for (seq, expected) in expected {
        let bytes = restored_raw(history, chain, seq, dir);
        let bytes = bytes.unwrap_or_else(|e| panic!("commit {seq}: {e:?}"));
        assert!(bytes == *expected, "commit {seq} restores to other bytes");
    }
}

/// Verifies all of a history.
pub fn verify_all(history: &History, level: Level, scratch: &Path) -> Result<VerifyReport> {
    let options = VerifyOptions::new(level, scratch);
    history.verify(None, &options, &Silent)
}

/// A prune that keeps the newest commits, and for so long what was replaced.
pub fn keep_last(last: u32, grace: Duration) -> PruneOptions {
    let policy = Policy { last, ..Policy::default() };
    PruneOptions::new(policy, Zone::Utc).grace(grace)
}

/// The names of the files in a folder.
pub fn walk_names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
    names.sort();
    names
}

/// What SQLite thinks of a database.
pub fn integrity_check(db: &Connection) -> String {
    db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

/// Every object of a store.
pub fn objects(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let listed = ["keys/", "histories/"].iter().flat_map(|prefix| store.list(prefix).unwrap());
    let names = listed.map(|entry| entry.name).chain(["repository".to_owned()]);
    names
        .filter_map(|name| {
            let bytes = store.get(&name, u64::MAX).unwrap()?;
            Some((name, bytes))
        })
        .collect()
}

/// A store of its own with these objects.
pub fn store_of(objects: &BTreeMap<String, Vec<u8>>) -> MemoryStore {
    let store = MemoryStore::new();
    for (name, bytes) in objects {
        store.damage(name, bytes);
    }
    store
}

/// Bytes that no compressor shortens, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// An object with a bit flipped at some places, or at all of them, cut in half, and gone (`None`).
pub fn ways_to_damage(bytes: &[u8], all: bool) -> Vec<Option<Vec<u8>>> {
    // The front, the end, and some places between.
    let few = vec![0, 9, 20, 45, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)];
    let places = if all { (0..bytes.len()).collect() } else { few };
    let flipped = places.into_iter().filter(|at| *at < bytes.len()).map(|at| {
        let mut bad = bytes.to_vec();
        bad[at] ^= 0x40;
        Some(bad)
    });
    flipped.chain([Some(bytes[..bytes.len() / 2].to_vec()), None]).collect()
}
