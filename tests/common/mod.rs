//! What the integration tests share: a repository in a temporary folder, and databases to put into it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagekeep::error::Result;
use pagekeep::format::slot::KdfParams;
use pagekeep::ops::backup::{BackupOptions, BackupReport, backup};
use pagekeep::ops::restore::{RestoreOptions, restore};
use pagekeep::progress::Silent;
use pagekeep::repo::Repository;
use pagekeep::repo::history::History;
use pagekeep::repo::keys::Secret;
use pagekeep::store::{MemoryStore, Store};
use pagekeep::types::Seq;
use rusqlite::Connection;

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
            dir.path().join("state"),
        )
        .unwrap();
        Self { dir, store, secret, repository }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same repository through another store.
    pub fn through(&self, store: Arc<dyn Store>) -> Result<Repository> {
        Repository::open(store, &self.secret, self.path("state"))
    }

    pub fn backup(&self, path: &Path) -> BackupReport {
        backup(&self.repository, path, &BackupOptions::default(), &Silent).unwrap()
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
    restore(history, &chain, &commit, &target, &RestoreOptions::default(), &Silent)?;
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
