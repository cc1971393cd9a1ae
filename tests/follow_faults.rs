//! A follower in trouble: a store that fails, is slow, loses answers; a repository that is moved away and comes back; another writer that
//! takes over; a clock that is set back; a database that is replaced, deleted, locked, or changes its journal. The application goes on,
//! the follower recovers by itself, and nothing is lost that the WAL still holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{CHEAP, Lab, noise, reference, restored_raw};
use pagekeep::capture::commit::CaptureOptions;
use pagekeep::capture::follow::{Activity, Event, FollowOptions, Follower, Listener};
use pagekeep::error::{Error, ErrorKind, Result};
use pagekeep::format::segment::CommitKind;
use pagekeep::ops::follow::{WatchOptions, follow};
use pagekeep::progress::Monitor;
use pagekeep::repo::history::History;
use pagekeep::repo::keys::Secret;
use pagekeep::repo::writer::Writer;
use pagekeep::repo::{Repository, create_store, open_store};
use pagekeep::store::{Created, Entry, Store, Upload};
use pagekeep::types::{Clock, Seq, Timestamp};
use rusqlite::Connection;

const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// What a [`Moody`] store does.
const WELL: u8 = 0;
const DOWN: u8 = 1;
/// Does what it is asked, and answers an error all the same.
const DEAF: u8 = 2;

/// A store in front of another one, in a mood.
struct Moody {
    inner: Arc<dyn Store>,
    mood: AtomicU8,
}

impl Moody {
    fn run<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let failed = || Error::new(ErrorKind::Storage, "the store is in a bad mood");
        match self.mood.load(Ordering::SeqCst) {
            DOWN => Err(failed()),
            DEAF => work().and(Err(failed())),
            _ => work(),
        }
    }

    fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

impl fmt::Debug for Moody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moody")
    }
}

impl Store for Moody {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.run(|| self.inner.head(name))
    }
    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.run(|| self.inner.get(name, limit))
    }
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.run(|| self.inner.get_range(name, offset, len))
    }
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.run(|| self.inner.create(name, bytes))
    }
    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.run(|| self.inner.upload(name))
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.run(|| self.inner.list(prefix))
    }
    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.run(|| self.inner.list_dirs(prefix))
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.run(|| self.inner.delete(name))
    }
}

#[derive(Default)]
struct Ear(Mutex<Vec<Event>>);

impl Monitor for Ear {}

impl Listener for Ear {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Ear {
    fn heard(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(wanted)
    }
}

fn options() -> WatchOptions {
    WatchOptions {
        follow: FollowOptions { interval: Duration::ZERO, ..FollowOptions::default() },
        ..WatchOptions::default()
    }
}

fn application(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
         CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)",
    )
    .unwrap();
    db
}

fn commit(db: &Connection, n: u32) {
    db.execute("INSERT INTO t(x) VALUES(?1)", [noise(n.into(), 500)]).unwrap();
}

/// Waits until something is so; the tests fail where it never is.
fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Stage {
    lab: Lab,
    store: Arc<Moody>,
    repository: Repository,
    path: std::path::PathBuf,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::quick();
        let store =
            Arc::new(Moody { inner: Arc::new(lab.store.clone()), mood: AtomicU8::new(WELL) });
        let repository = lab.through(store.clone()).unwrap();
        let path = lab.path("app.db");
        Self { lab, store, repository, path }
    }

    fn follow(&self, options: WatchOptions) -> (History, Follower, Arc<Ear>) {
        let ear = Arc::new(Ear::default());
        let (history, follower) =
            follow(&self.repository, &self.path, options, ear.clone()).unwrap();
        follower.wait_durable(PATIENCE).unwrap();
        (history, follower, ear)
    }

    /// The kinds of all commits; and the newest one restores to the present database.
    fn kinds(&self, history: &History) -> Vec<CommitKind> {
        let chain = history.chain().unwrap();
        let latest = chain.latest().unwrap().seq.0;
        let found = restored_raw(history, &chain, latest, self.lab.dir.path()).unwrap();
        assert!(found == reference(&self.path), "the head is not the database");
        chain.commits().map(|c| c.record.kind).collect()
    }
}

#[test]
fn a_store_that_fails_and_loses_answers_delays_commits_and_loses_none() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let (history, follower, ear) = stage.follow(options());
    let mut n = 0;
    for mood in [DOWN, DEAF, DOWN, DEAF] {
        stage.store.set(mood);
        for _ in 0..20 {
            commit(&db, n);
            n += 1;
        }
        let late = follower.wait_durable(SHORT).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Storage, "{late}");
        assert!(follower.status().fault.is_some_and(|f| f.message.contains("bad mood")));
        stage.store.set(WELL);
        assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(u64::from(n) + 1));
        assert_eq!(follower.status().fault, None);
    }
    assert!(
        ear.heard(|e| matches!(e, Event::Fault(_))) && ear.heard(|e| matches!(e, Event::Recovered))
    );
    assert_eq!(follower.status().scans, 0);
    follower.stop().unwrap();
    let kinds = stage.kinds(&history);
    assert!(kinds[1..].iter().all(|k| *k == CommitKind::Transaction));
    assert_eq!(kinds.len(), 81);
    assert_eq!(history.chain().unwrap().strays(), 0);
}

#[test]
fn the_wal_stays_bounded_and_the_application_goes_on_while_the_store_is_down() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let limit = 1024 * 1024;
    let mut wanted = options();
    wanted.follow.wal_limit = limit;
    let (history, follower, _) = stage.follow(wanted);
    stage.store.set(DOWN);
    let wal = format!("{}-wal", stage.path.display());
    for n in 0..3000 {
        commit(&db, n);
        if n.is_multiple_of(50) {
            // As fast as it can, but not so fast that the follower never has its turn.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let largest = std::fs::metadata(wal).unwrap().len();
    assert!(largest < 8 * limit, "{largest}");
    let status = follower.status();
    assert!(status.wal.handoffs > 0 && status.fault.is_some(), "{status:?}");
    stage.store.set(WELL);
    assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(3001));
    follower.stop().unwrap();
    assert!(stage.kinds(&history)[1..].iter().all(|k| *k == CommitKind::Transaction));
}

#[test]
fn more_than_can_be_kept_aside_becomes_one_marked_scan() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let mut wanted = options();
    wanted.follow.spool_limit = 100 * 4096;
    let (history, follower, ear) = stage.follow(wanted);
    stage.store.set(DOWN);
    for n in 0..400 {
        commit(&db, n);
    }
    until("it gives the single transactions up", || {
        follower.status().activity != Activity::Following
    });
    stage.store.set(WELL);
    follower.wait_durable(PATIENCE).unwrap();
    commit(&db, 1000);
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(follower.status().scans, 1);
    assert!(ear.heard(|e| matches!(e, Event::Scan { reason } if reason.contains("unreachable"))));
    follower.stop().unwrap();
    let kinds = stage.kinds(&history);
    assert_eq!(kinds.iter().filter(|k| **k == CommitKind::Scan).count(), 2, "{kinds:?}");
    assert_eq!(kinds.last(), Some(&CommitKind::Transaction));
}

#[test]
fn a_repository_that_is_moved_away_is_waited_for() {
    let lab = Lab::quick();
    let (here, away) = (lab.path("repo"), lab.path("elsewhere"));
    let secret = Secret::new_recovery().unwrap();
    let store = create_store(&here.display().to_string()).unwrap();
    Repository::init(store, &[(&secret, "")], CHEAP, lab.path("state")).unwrap();
    let store = open_store(&here.display().to_string()).unwrap();
    let repository = Repository::open(store, &secret, lab.path("state")).unwrap();
    let path = lab.path("app.db");
    let db = application(&path);
    let ear = Arc::new(Ear::default());
    let (history, follower) = follow(&repository, &path, options(), ear).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    std::fs::rename(&here, &away).unwrap();
    for n in 0..10 {
        commit(&db, n);
    }
    let error = follower.wait_durable(SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
    assert!(!here.exists(), "nothing comes into being in its place");
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(11));
    assert_eq!(follower.status().scans, 0);
    follower.stop().unwrap();
    assert_eq!(history.chain().unwrap().commits().count(), 11);
}

#[test]
fn a_stop_without_a_store_says_so_and_the_next_run_has_everything() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let mut wanted = options();
    wanted.follow.stop_patience = Duration::from_millis(200);
    let (history, follower, _) = stage.follow(wanted);
    stage.store.set(DOWN);
    for n in 0..10 {
        commit(&db, n);
    }
    until("it is captured", || follower.status().pending == 10);
    let error = follower.stop().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    stage.store.set(WELL);
    let (_, follower, _) = stage.follow(options());
    assert_eq!(follower.status().scans, 0);
    follower.stop().unwrap();
    let kinds = stage.kinds(&history);
    assert_eq!(kinds.len(), 11);
    assert!(kinds[1..].iter().all(|k| *k == CommitKind::Transaction));
}

#[test]
fn another_writer_that_takes_over_ends_the_follower_and_nothing_acknowledged_is_lost() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let (history, follower, _) = stage.follow(options());
    commit(&db, 1);
    let acknowledged = follower.wait_durable(PATIENCE).unwrap();
    // Another machine: the same repository, another place for local state.
    let store = Arc::new(stage.lab.store.clone());
    let other = Repository::open(store, &stage.lab.secret, stage.lab.path("other")).unwrap();
    let theirs = other.history("app").unwrap();
    let writer = Writer::open(&theirs, "test").unwrap();
    commit(&db, 2);
    until("it is superseded", || follower.has_ended());
    let error = follower.wait_durable(SHORT).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Superseded, 11));
    assert_eq!(follower.stop().unwrap_err().kind(), ErrorKind::Superseded);
    drop(writer);
    let chain = history.chain().unwrap();
    assert!(chain.commit(acknowledged).is_some());
    // On one machine the second follower is refused at once.
    let (_, first, _) = stage.follow(options());
    let ear = Arc::new(Ear::default());
    let second = follow(&stage.repository, &stage.path, options(), ear).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Busy);
    first.stop().unwrap();
    stage.kinds(&history);
}

#[test]
fn a_clock_that_is_set_back_disturbs_nothing() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let now = Arc::new(AtomicI64::new(1_800_000_000_000_000));
    let read = now.clone();
    let clock = Clock::new(move || Timestamp(read.fetch_add(1, Ordering::SeqCst)));
    let mut wanted = options();
    wanted.follow.capture = CaptureOptions { clock, ..CaptureOptions::default() };
    let (history, follower, _) = stage.follow(wanted);
    for (n, back) in (0..4).zip([0, 3_600_000_000, -7_200_000_000, 365 * 86_400_000_000]) {
        now.fetch_sub(back, Ordering::SeqCst);
        commit(&db, n);
        assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(u64::from(n) + 2));
        assert!(follower.status().lag < Duration::from_secs(1));
    }
    assert_eq!(follower.status().scans, 0);
    follower.stop().unwrap();
    let chain = history.chain().unwrap();
    let times: Vec<i64> = chain.commits().map(|c| c.record.time.0).collect();
    assert!(times[2] < times[1] && times[4] < times[0], "what the clock said is what is kept");
    stage.kinds(&history);
}

#[test]
fn a_file_that_is_replaced_deleted_or_restored_in_place_is_taken_up_again() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let (history, follower, _) = stage.follow(options());
    commit(&db, 1);
    follower.wait_durable(PATIENCE).unwrap();
    drop(db);

    // Another database takes its place.
    let new = stage.lab.path("new.db");
    let other = application(&new);
    other.execute_batch("CREATE TABLE other(x); INSERT INTO other VALUES('here')").unwrap();
    other.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).unwrap();
    drop(other);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", stage.path.display()));
    }
    std::fs::rename(&new, &stage.path).unwrap();
    until("the other file is noticed", || follower.status().activity == Activity::Polling);
    follower.wait_durable(PATIENCE).unwrap();
    let kinds = stage.kinds(&history);
    assert_eq!(kinds.last(), Some(&CommitKind::Scan));

    // It is gone for a while, and then another one comes.
    std::fs::remove_file(&stage.path).unwrap();
    until("the loss is noticed", || follower.status().fault.is_some());
    let db = application(&stage.path);
    commit(&db, 2);
    follower.wait_durable(PATIENCE).unwrap();
    until("it is followed again", || follower.status().activity == Activity::Following);
    commit(&db, 3);
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    assert_eq!(stage.kinds(&history).last(), Some(&CommitKind::Transaction));
}

#[test]
fn a_database_may_change_its_journal_as_far_as_sqlite_lets_it() {
    let stage = Stage::new();
    let db = Connection::open(&stage.path).unwrap();
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    let (history, follower, ear) = stage.follow(options());
    assert_eq!(follower.status().activity, Activity::Polling);
    assert!(ear.heard(|e| matches!(e, Event::Warning(text) if text.contains("journal_mode=WAL"))));
    commit(&db, 1);
    follower.wait_durable(PATIENCE).unwrap();
    stage.kinds(&history);

    // A poll may hold its lock just then.
    until("the switch is let through", || {
        let mode = db.query_row("PRAGMA journal_mode=WAL", [], |row| row.get::<_, String>(0));
        mode.is_ok_and(|mode| mode == "wal")
    });
    commit(&db, 2);
    until("the WAL is followed", || follower.status().activity == Activity::Following);
    let scans = follower.status().scans;
    for n in 3..10 {
        commit(&db, n);
    }
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(follower.status().scans, scans);

    // While anybody else is connected SQLite refuses to leave WAL mode; nothing else comes of it.
    let back = db.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get::<_, String>(0));
    assert!(back.is_err() || back.is_ok_and(|mode| mode == "wal"));
    commit(&db, 10);
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(follower.status().scans, scans);
    follower.stop().unwrap();
    let mode = db.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get::<_, String>(0));
    assert_eq!(mode.unwrap(), "delete");
    commit(&db, 11);
    let (_, follower, _) = stage.follow(options());
    assert_eq!(follower.status().activity, Activity::Polling);
    follower.stop().unwrap();
    stage.kinds(&history);
}

#[test]
fn an_exclusive_application_is_a_clear_error() {
    let stage = Stage::new();
    let db = application(&stage.path);
    db.execute_batch("PRAGMA locking_mode=EXCLUSIVE").unwrap();
    commit(&db, 1);
    let ear = Arc::new(Ear::default());
    let error = follow(&stage.repository, &stage.path, options(), ear).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.hint().is_some_and(|hint| hint.contains("locking_mode=EXCLUSIVE")), "{error:?}");
    assert!(stage.repository.histories().unwrap().is_empty(), "no history was begun");
}

#[test]
fn a_state_folder_that_cannot_be_written_stops_nothing_but_the_cache() {
    let stage = Stage::new();
    let db = application(&stage.path);
    let (history, follower, ear) = stage.follow(options());
    let state = stage.lab.state_of(&history).join("state");
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    for n in 0..5 {
        commit(&db, n);
        follower.wait_durable(PATIENCE).unwrap();
    }
    assert!(ear.heard(|e| matches!(e, Event::Warning(text) if text.contains("remembers"))));
    assert_eq!((follower.status().scans, follower.status().fault), (0, None));
    follower.stop().unwrap();
    assert_eq!(stage.kinds(&history).len(), 6);
}
