//! A database and its twin: the same is done to both, so that what each commit must restore to is known although the first one is
//! captured transaction by transaction, while it lives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pagekeep::internals::capture::follow::FollowOptions;
use pagekeep::internals::ops::backup::{BackupOptions, BackupReport};
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::Repository;
use rusqlite::Connection;

use super::{noise, reference};

pub struct Twins {
    path: PathBuf,
    twin: PathBuf,
    dbs: [Connection; 2],
    /// What each commit must restore to.
    pub references: Vec<Vec<u8>>,
}

impl Twins {
    /// Two databases with a table `t(id, x)`, which nobody has captured yet.
    pub fn new(dir: &Path, name: &str, page_size: u32) -> Self {
        let [path, twin] = ["", "-twin"].map(|suffix| dir.join(format!("{name}{suffix}.db")));
        let dbs = [&path, &twin].map(|path| {
            let db = Connection::open(path).unwrap();
            db.execute_batch(&format!(
                "PRAGMA page_size={page_size}; PRAGMA auto_vacuum=FULL; PRAGMA journal_mode=WAL;
                 PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
            ))
            .unwrap();
            db
        });
        Self { path, twin, dbs, references: Vec::new() }
    }

    /// Runs statements on both.
    pub fn run(&self, sql: &str) {
        self.dbs.iter().for_each(|db| db.execute_batch(sql).unwrap());
    }

    /// Backs up what was run: one commit, in a segment of its own.
    pub fn backup(&mut self, repository: &Repository) -> BackupReport {
        // What is kept by a mark would not expire as the tests want it.
        let mut options = BackupOptions::default();
        options.marks = None;
        let report = repository.backup(&self.path, &options, &Silent).unwrap();
        self.references.push(reference(&self.path));
        assert_eq!(report.seq.0, self.references.len() as u64, "every backup is a commit");
        report
    }

    /// Follows the database while each of the statements is a transaction: as many commits. Answers whether one segment has
    /// them all, as it should be unless this machine paused for too long.
    pub fn follow(&mut self, repository: &Repository, steps: &[String]) -> bool {
        let follow_options = FollowOptions {
            interval: Duration::from_secs(600),
            marks: None,
            ..FollowOptions::default()
        };
        let options = WatchOptions { follow: follow_options, ..WatchOptions::default() };
        let (history, follower) = repository.follow(&self.path, options, Arc::new(Silent)).unwrap();
        follower.wait_durable(Duration::from_secs(60)).unwrap();
        // Without a pause, in which what there is would be published.
        steps.iter().for_each(|step| self.dbs[0].execute_batch(step).unwrap());
        follower.stop().unwrap();
        for step in steps {
            self.dbs[1].execute_batch(step).unwrap();
            self.references.push(reference(&self.twin));
        }
        let chain = history.chain().unwrap();
        let newest = &chain.newest().unwrap().manifest;
        assert_eq!(newest.last().0, self.references.len() as u64, "every step is a commit");
        newest.commits.len() == steps.len()
    }
}

/// A statement that sets a row to some noise, and then to what compresses well.
pub fn set(id: u64, seed: u64, noisy: usize, len: usize) -> String {
    let noise: String = noise(seed, noisy).iter().map(|byte| format!("{byte:02x}")).collect();
    let rest = "61".repeat(len.saturating_sub(noisy));
    format!("INSERT OR REPLACE INTO t VALUES({id}, x'{noise}{rest}')")
}
