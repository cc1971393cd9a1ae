//! Storage that fails: at every operation, in every way, during a backup and during a restore.
//!
//! Whatever happens: the repository opens, every commit that was there restores byte for byte, whatever was reported as
//! stored is stored, and the next backup goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{CHEAP, Lab, noise, quick_dir, reference, restored_raw};
use pagekeep::internals::format::segment::{CommitKind, SegmentKind};
use pagekeep::internals::ops::backup::{BackupOptions, BackupReport};
use pagekeep::internals::ops::point::RestorePoint;
use pagekeep::internals::ops::restore::RestoreOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::Repository;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::store::{Fault, FaultStore, LocalStore, Store};
use pagekeep::{Error, ErrorKind, RepositoryOptions};
use rusqlite::Connection;

const FAULTS: [Fault; 5] =
    [Fault::Error, Fault::LostResponse, Fault::Torn, Fault::StaleList, Fault::Dead];

/// What the backup that meets the fault has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    InlineBase,
    BaseWithParts,
    WalDelta,
    ScanDelta,
    Labelled,
}

/// A database and what its commits must restore to.
struct Bench {
    lab: Lab,
    path: PathBuf,
    app: Connection,
    references: BTreeMap<u64, Vec<u8>>,
    label: Option<&'static str>,
}

impl Bench {
    /// Everything up to the moment of the backup that meets the fault.
    fn new(scenario: Scenario) -> Self {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
             PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x)",
        )
        .unwrap();
        let label = (scenario == Scenario::Labelled).then_some("the label");
        let mut bench = Self { lab, path, app, references: BTreeMap::new(), label };
        bench.write(1, 3000);
        match scenario {
            Scenario::InlineBase => {}
            // More pages than one index block lists.
            Scenario::BaseWithParts => bench.write(2, 2_200_000),
            Scenario::WalDelta | Scenario::ScanDelta | Scenario::Labelled => {
                for seq in 1..=2 {
                    bench.lab.backup(&bench.path);
                    bench.references.insert(seq, reference(&bench.path));
                    bench.write(10 + seq, 2000);
                }
            }
        }
        if scenario == Scenario::ScanDelta {
            bench.app.execute_batch("PRAGMA journal_mode=DELETE").unwrap();
        }
        bench
    }

    fn write(&self, id: u64, len: usize) {
        let mut x = noise(id, len.min(2000));
        x.resize(len, b'.');
        self.app.execute("INSERT INTO t VALUES(?1, ?2)", (id.cast_signed(), x)).unwrap();
    }

    fn back_up(&self, repository: &Repository) -> Result<BackupReport, Error> {
        let mut options = BackupOptions::default();
        options.label = self.label.map(str::to_owned);
        repository.backup(&self.path, &options, &Silent)
    }

    /// A backup through a store that fails; opening the repository counts.
    fn back_up_through<S: Store + 'static>(
        &self,
        store: FaultStore<S>,
    ) -> Result<BackupReport, Error> {
        let opening = self.lab.opening().threads(1);
        self.back_up(&Repository::open(Arc::new(store), &self.lab.secret, &opening)?)
    }

    /// Every commit on the chain, through the store as it is, restores to what it should.
    fn check(&self, what: &str) -> u64 {
        let repository = self.lab.through(Arc::new(self.lab.store.clone())).unwrap();
        let history = match repository.history("app") {
            Ok(history) => history,
            Err(e) => {
                assert_eq!(
                    (e.kind(), self.references.len()),
                    (ErrorKind::NotFound, 0),
                    "{what}: {e:?}"
                );
                return 0;
            }
        };
        let chain = history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let last = chain.latest().map_or(0, |commit| commit.seq.0);
        assert!(self.references.keys().all(|seq| *seq <= last), "{what}: commits went missing");
        for (seq, expected) in self.references.range(..=last) {
            let bytes = restored_raw(&history, &chain, *seq, self.lab.dir.path());
            let bytes = bytes.unwrap_or_else(|e| panic!("{what}: commit {seq}: {e:?}"));
            assert!(bytes == *expected, "{what}: commit {seq} restores to other bytes");
        }
        last
    }

    /// After a backup that met a fault: the commits, then two more backups, as if nothing had been.
    fn goes_on(&mut self, outcome: Result<BackupReport, Error>, forget: bool, what: &str) {
        let before = self.references.len() as u64;
        let now = reference(&self.path);
        let last = self.check(what);
        assert!(last == before || last == before + 1, "{what}: {last} commits, {before} before");
        match &outcome {
            Ok(report) => {
                assert!(report.commit.is_some() && report.seq.0 == last && last > before, "{what}");
                assert_eq!(report.snapshot.is_some(), self.label.is_some(), "{what}");
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::Storage, "{what}: {e:?}"),
        }
        if last > before {
            self.references.insert(last, now.clone());
            self.check(what);
        }
        if forget {
            self.lab.forget_state();
        }
        let next = self.back_up(&self.lab.repository).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(next.commit.is_some(), last == before, "{what}: the same is not stored twice");
        self.references.insert(before + 1, now);
        self.write(100, 700);
        let more = self.back_up(&self.lab.repository).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(more.seq.0, before + 2, "{what}");
        self.references.insert(before + 2, reference(&self.path));
        assert_eq!(self.check(what), before + 2, "{what}");
        if let Some(label) = self.label {
            let labels = more.history.snapshots().unwrap();
            assert!(labels.iter().all(|l| l.label == label), "{what}");
            let acknowledged = outcome.iter().chain([&next, &more]);
            for snapshot in acknowledged.filter_map(|report| report.snapshot.as_ref()) {
                assert!(labels.contains(snapshot), "{what}: a label that was reported is gone");
            }
        }
    }
}

/// The scenario with every fault at every operation.
fn every_fault(scenario: Scenario, kind: SegmentKind, how: CommitKind, parts: usize) {
    // Without a fault it is what it is meant to be.
    let bench = Bench::new(scenario);
    let counting = Arc::new(FaultStore::counting(Arc::new(bench.lab.store.clone())));
    let opening = bench.lab.opening().threads(1);
    let repository = Repository::open(counting.clone(), &bench.lab.secret, &opening).unwrap();
    let report = bench.back_up(&repository).unwrap();
    let operations = counting.operations();
    let chain = report.history.chain().unwrap();
    let newest = chain.newest().unwrap();
    assert_eq!((newest.manifest.kind, newest.manifest.parts.len()), (kind, parts));
    assert_eq!(report.commit.unwrap().kind, how);
    assert!(operations > 8, "{operations} operations");

    let mut failed = 0u64;
    for (k, fault) in (0..operations).flat_map(|k| FAULTS.map(|fault| (k, fault))) {
        for forget in [false, true] {
            let what = format!("{scenario:?}, {fault:?} at {k}, forgetting the state: {forget}");
            let mut bench = Bench::new(scenario);
            let store = FaultStore::new(Arc::new(bench.lab.store.clone()), k, fault);
            let outcome = bench.back_up_through(store);
            failed += u64::from(outcome.is_err());
            bench.goes_on(outcome, forget, &what);
        }
    }
    assert!(failed > operations, "only {failed} backups failed");
}

#[test]
fn a_base_in_one_object_survives_every_fault() {
    every_fault(Scenario::InlineBase, SegmentKind::Base, CommitKind::Scan, 0);
}

#[test]
fn a_base_with_parts_survives_every_fault() {
    every_fault(Scenario::BaseWithParts, SegmentKind::Base, CommitKind::Scan, 1);
}

#[test]
fn a_delta_from_the_wal_survives_every_fault() {
    every_fault(Scenario::WalDelta, SegmentKind::Delta, CommitKind::Wal, 0);
}

#[test]
fn a_delta_from_a_scan_survives_every_fault() {
    every_fault(Scenario::ScanDelta, SegmentKind::Delta, CommitKind::Scan, 0);
}

#[test]
fn a_labelled_backup_survives_every_fault() {
    every_fault(Scenario::Labelled, SegmentKind::Delta, CommitKind::Wal, 0);
}

/// Restores the newest commit through a store, from scratch.
fn restore_through(
    bench: &Bench,
    store: Arc<dyn Store>,
    target: &Path,
    threads: usize,
) -> Result<(), Error> {
    let opening = bench.lab.opening().threads(threads);
    let history = Repository::open(store, &bench.lab.secret, &opening)?.history("app")?;
    let chain = history.chain()?;
    let commit = chain.latest().unwrap();
    let options = RestoreOptions::default();
    RestorePoint::of(&history, &chain, &commit).restore(target, &options, &Silent)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

#[test]
fn a_restore_that_meets_a_fault_leaves_the_right_file_or_none() {
    for scenario in [Scenario::BaseWithParts, Scenario::WalDelta] {
        let bench = Bench::new(scenario);
        bench.back_up(&bench.lab.repository).unwrap();
        let expected = reference(&bench.path);
        let store = Arc::new(bench.lab.store.clone());
        let dir = bench.lab.path("out");
        let target = dir.join("target.db");
        fs::create_dir(&dir).unwrap();
        for threads in [1, 4] {
            let counting = Arc::new(FaultStore::counting(store.clone()));
            restore_through(&bench, counting.clone(), &target, threads).unwrap();
            fs::remove_file(&target).unwrap();
            let operations = counting.operations();
            let (mut done, mut failed) = (0, 0);
            for (k, fault) in (0..operations).flat_map(|k| FAULTS.map(|fault| (k, fault))) {
                let what = format!("{scenario:?}, {fault:?} at {k}, {threads} threads");
                let faulty = Arc::new(FaultStore::new(store.clone(), k, fault));
                match restore_through(&bench, faulty, &target, threads) {
                    Ok(()) => {
                        assert!(fs::read(&target).unwrap() == expected, "{what}: other bytes");
                        assert_eq!(files(&dir), [&*target], "{what}");
                        fs::remove_file(&target).unwrap();
                        done += 1;
                    }
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Storage, "{what}: {e:?}");
                        assert!(files(&dir).is_empty(), "{what}: {:?}", files(&dir));
                        failed += 1;
                    }
                }
            }
            // Every operation is needed: only a listing that leaves nothing out does no harm.
            assert_eq!((done, failed), (operations, 4 * operations), "{scenario:?}");
        }
    }
}

/// A repository in a folder, and a database.
struct Folder {
    dir: tempfile::TempDir,
    secret: Secret,
    path: PathBuf,
}

impl Folder {
    fn new(template: &Path) -> Self {
        let dir = quick_dir();
        let path = dir.path().join("app.db");
        fs::copy(template, &path).unwrap();
        let folder = Self { secret: Secret::new_recovery().unwrap(), dir, path };
        let init = [(&folder.secret, "test")];
        Repository::init(
            folder.store(),
            &init,
            CHEAP,
            &RepositoryOptions::new(folder.dir.path().join("state")),
        )
        .unwrap();
        folder
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    fn store(&self) -> Arc<LocalStore> {
        Arc::new(LocalStore::create_root(self.root()).unwrap())
    }

    fn back_up(&self, store: Arc<dyn Store>) -> Result<BackupReport, Error> {
        let repository = Repository::open(
            store,
            &self.secret,
            &RepositoryOptions::new(self.dir.path().join("state")),
        )?;
        repository.backup(&self.path, &BackupOptions::default(), &Silent)
    }

    fn restores_to(&self, expected: &[u8]) -> bool {
        let state = self.dir.path().join("elsewhere");
        let repository =
            Repository::open(self.store(), &self.secret, &RepositoryOptions::new(state)).unwrap();
        let history = repository.history("app").unwrap();
        let chain = history.chain().unwrap();
        let last = chain.latest().unwrap().seq.0;
        restored_raw(&history, &chain, last, self.dir.path()).unwrap() == expected
    }

    /// Files of the repository that are no objects.
    fn unlisted(&self) -> Vec<PathBuf> {
        let store = self.store();
        let listed = ["keys/", "histories/"].iter().flat_map(|p| store.list(p).unwrap());
        let listed: Vec<_> = listed.map(|entry| self.root().join(entry.name)).collect();
        let mut unlisted = files(&self.root());
        unlisted.retain(|file| !listed.contains(file) && !file.ends_with("repository/repository"));
        unlisted
    }
}

/// A database whose base has parts.
fn template() -> (Bench, Vec<u8>) {
    let bench = Bench::new(Scenario::BaseWithParts);
    bench.app.execute_batch("PRAGMA journal_mode=DELETE").unwrap();
    let bytes = fs::read(&bench.path).unwrap();
    (bench, bytes)
}

#[test]
fn a_repository_in_a_folder_keeps_no_unfinished_file_of_a_failed_backup() {
    let (bench, bytes) = template();
    let folder = Folder::new(&bench.path);
    let counting = Arc::new(FaultStore::counting(folder.store()));
    folder.back_up(counting.clone()).unwrap();
    for k in 0..counting.operations() {
        for fault in FAULTS {
            let what = format!("{fault:?} at {k}");
            let folder = Folder::new(&bench.path);
            let outcome = folder.back_up(Arc::new(FaultStore::new(folder.store(), k, fault)));
            assert!(folder.unlisted().is_empty(), "{what}: {:?}", folder.unlisted());
            if outcome.is_ok() {
                assert!(folder.restores_to(&bytes), "{what}");
            }
            folder.back_up(folder.store()).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert!(folder.restores_to(&bytes), "{what}");
        }
    }
}

#[test]
fn unfinished_files_that_a_killed_process_left_are_no_objects() {
    let (bench, bytes) = template();
    let folder = Folder::new(&bench.path);
    let report = folder.back_up(folder.store()).unwrap();
    let store = folder.store();
    let listed = store.list("histories/").unwrap();
    let mut dirs: Vec<_> =
        files(&folder.root()).iter().map(|f| f.parent().unwrap().to_owned()).collect();
    dirs.dedup();
    // A history that was to be, too.
    let unborn = folder.root().join(format!("histories/{}", "0".repeat(32)));
    fs::create_dir(&unborn).unwrap();
    dirs.push(unborn);
    for dir in &dirs {
        fs::write(dir.join(".tmp-0123456789abcdef"), b"half of an object").unwrap();
    }
    assert!(dirs.len() > 5 && folder.unlisted().len() == dirs.len(), "{dirs:?}");
    assert_eq!(store.list("histories/").unwrap(), listed);
    assert!(folder.restores_to(&bytes));
    Connection::open(&folder.path).unwrap().execute_batch("DELETE FROM t WHERE id=1").unwrap();
    let next = folder.back_up(folder.store()).unwrap();
    assert_eq!((next.history.id(), next.seq.0), (report.history.id(), 2));
    assert!(folder.restores_to(&fs::read(&folder.path).unwrap()));
}
