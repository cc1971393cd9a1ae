//! For tests: a database, its history, and what each commit has to restore to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::capture::commit::{CaptureOptions, capture};
use crate::chance::Random;
use crate::codec::batch::SelfCheck;
use crate::error::Result;
use crate::format::proof::Level;
use crate::format::slot::KdfParams;
use crate::ops::point::RestorePoint;
use crate::ops::prune::PruneOptions;
use crate::ops::restore::{Check, RestoreOptions};
use crate::ops::verify::VerifyOptions;
use crate::policy::retention::{Policy, Zone};
use crate::progress::Silent;
use crate::repo::history::handle::History;
use crate::repo::keys::secret::Secret;
use crate::repo::write::writer::Writer;
use crate::repo::{Repository, RepositoryOptions};
use crate::sqlite::source::Source;
use crate::store::{Fault, MemoryStore, Store};
use crate::types::{Clock, Seq, Timestamp};

/// How an operation of a store fails.
pub(super) const FAULTS: [Fault; 4] = [Fault::Error, Fault::LostResponse, Fault::Torn, Fault::Dead];

pub(super) const HOUR: i64 = 3_600_000_000;
/// 2026-03-01T00:00:00Z.
const BEGIN: i64 = 1_772_323_200_000_000;

fn clock_of(time: &Arc<AtomicI64>) -> Clock {
    let time = time.clone();
    Clock::new(move || Timestamp(time.load(Ordering::Relaxed)))
}

fn opening(time: &Arc<AtomicI64>, state_dir: PathBuf) -> RepositoryOptions {
    RepositoryOptions::new(state_dir).clock(clock_of(time)).threads(1)
}

/// A database, its history, and what each commit has to restore to.
pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) time: Arc<AtomicI64>,
    pub(super) store: MemoryStore,
    pub(super) secret: Secret,
    pub(super) history: History,
    pub(super) app: Connection,
    pub(super) random: Random,
    pub(super) expected: BTreeMap<Seq, Vec<u8>>,
}

impl Bench {
    pub(super) fn new(seed: u64) -> Self {
        let page_size = [512, 512, 1024, 4096][Random::new(seed).below(4)];
        Self::with_page_size(seed, page_size)
    }

    pub(super) fn with_page_size(seed: u64, page_size: u32) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let time = Arc::new(AtomicI64::new(BEGIN));
        let store = MemoryStore::with_clock(clock_of(&time));
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let shared = Arc::new(store.clone());
        let repository = Repository::init(
            shared,
            &[(&secret, "")],
            kdf,
            &opening(&time, dir.path().join("state")),
        )
        .unwrap();
        let history = repository.create_history("app", "app.db").unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        let mut random = Random::new(seed);
        app.execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={}; PRAGMA synchronous=OFF;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)",
            random.below(3)
        ))
        .unwrap();
        let expected = BTreeMap::new();
        Self { dir, time, store, secret, history, app, random, expected }
    }

    pub(super) fn clock(&self) -> Clock {
        clock_of(&self.time)
    }

    /// How the repository is opened on a machine of its own, whose state folder has this name.
    pub(super) fn machine(&self, name: &str) -> RepositoryOptions {
        opening(&self.time, self.dir.path().join(name))
    }

    pub(super) fn pass(&self, micros: i64) {
        self.time.fetch_add(micros, Ordering::Relaxed);
    }

    /// Changes the database in some way and captures it.
    pub(super) fn commit(&mut self) -> Seq {
        let mut random = Random::new(self.random.below(1 << 30) as u64);
        let mut n = || random.below(1000);
        let sql = match n() % 10 {
            0..=4 => format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{})
                 INSERT INTO t(x) SELECT randomblob({}) FROM n",
                n() % 20 + 1,
                n() % 900
            ),
            5 | 6 => format!("UPDATE t SET x=randomblob({}) WHERE id%7={}", n() % 900, n() % 7),
            7 => format!("DELETE FROM t WHERE id%5={}", n() % 5),
            8 => "VACUUM".to_owned(),
            _ => "DELETE FROM t WHERE id>3; PRAGMA incremental_vacuum".to_owned(),
        };
        self.app.execute_batch(&sql).unwrap();
        self.capture()
    }

    pub(super) fn capture(&mut self) -> Seq {
        self.try_capture().unwrap()
    }

    pub(super) fn try_capture(&mut self) -> Result<Seq> {
        let path = self.dir.path().join("app.db");
        let mut source = Source::open(&path)?;
        let mut writer = Writer::open(&self.history, "backup")?;
        let options = CaptureOptions { self_check: SelfCheck::Every, ..CaptureOptions::default() };
        let captured = capture(&mut writer, source.pin()?, "app.db", &options, &Silent)?;
        self.expected.insert(captured.seq, std::fs::read(path).unwrap());
        Ok(captured.seq)
    }

    pub(super) fn through(&self, store: Arc<dyn Store>) -> Result<History> {
        Repository::open(store, &self.secret, &self.machine("elsewhere"))?.history("app")
    }

    /// Restores every restore point, and answers which they are.
    pub(super) fn check(&self, what: &str) -> BTreeSet<Seq> {
        let chain = self.history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let options = RestoreOptions { check: Check::None, force: false };
        let mut found = BTreeSet::new();
        for commit in chain.commits() {
            let target = self.dir.path().join("restored");
            RestorePoint::of(&self.history, &chain, &commit)
                .restore(&target, &options, &Silent)
                .unwrap_or_else(|e| panic!("{what}: commit {}: {e:?}", commit.seq));
            let same = std::fs::read(&target).unwrap() == self.expected[&commit.seq];
            assert!(same, "{what}: commit {} has other bytes", commit.seq);
            std::fs::remove_file(target).unwrap();
            found.insert(commit.seq);
        }
        found
    }

    pub(super) fn options(&self, policy: Policy) -> PruneOptions {
        PruneOptions { grace: Duration::ZERO, ..PruneOptions::new(policy, Zone::Utc) }
    }

    pub(super) fn verify(&self, what: &str) {
        let options = all_data(self.dir.path());
        let report = self.history.verify(None, &options, &Silent).unwrap();
        assert_eq!(report.findings, vec![], "{what}");
    }
}

impl Bench {
    /// Every object of the history is one that somebody needs.
    pub(super) fn no_orphans(&self, what: &str) {
        no_orphans(&self.history, what);
    }
}

/// Looks at all data, on one thread.
pub(super) fn all_data(scratch: &std::path::Path) -> VerifyOptions {
    VerifyOptions::new(Level::Data, scratch)
}

/// Every object of a history is one that somebody needs.
pub(super) fn no_orphans(history: &History, what: &str) {
    let chain = history.chain().unwrap();
    let names = history.names();
    let mut needed: BTreeSet<String> = BTreeSet::new();
    for segment in chain.segments() {
        needed.insert(segment.name().to_owned());
        let parts = 0..u32::try_from(segment.manifest.parts.len()).unwrap();
        needed.extend(parts.map(|part| names.part(segment.reference.id, part)));
    }
    for prefix in [names.log(), names.merged(), names.data()] {
        for entry in history.repository().store().list(&prefix).unwrap() {
            assert!(needed.contains(&entry.name), "{what}: {} is an orphan", entry.name);
        }
    }
    assert!(chain.expired().records().len() <= 1, "{what}");
}
