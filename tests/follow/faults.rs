//! What may go wrong around a follower: the store, the local state, the clock, another writer; and, in `source`, the database
//! itself. The application never notices, the follower goes on by itself, and whatever was not kept one by one is marked as a scan.

mod moody;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::support::followed::{Ear, PATIENCE, app, at_once, start};
use crate::support::process::role;
use crate::support::{CHEAP, Lab, come_back, quick_dir, reference};
use moody::{Mood, Moods};
use pagekeep::ErrorKind;
use pagekeep::internals::capture::follow::{Activity, Event, FollowOptions, Follower};
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::write::writer::Writer;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::LocalStore;
use pagekeep::internals::types::{Clock, Timestamp};
use rusqlite::Connection;

/// For what is expected not to be done in time.
const SHORT: Duration = Duration::from_millis(50);

/// A database that is followed through a store with moods.
struct Scene {
    lab: Lab,
    mood: Arc<Moods>,
    repository: Repository,
    path: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::quick();
        let (mood, store) = Moods::of(Arc::new(lab.store.clone()));
        let repository = lab.through(Arc::new(store)).unwrap();
        let path = lab.path("app.db");
        Self { lab, mood, repository, path }
    }

    fn follow(&self) -> (Follower, Arc<Ear>) {
        self.follow_with(at_once())
    }

    fn follow_with(&self, options: FollowOptions) -> (Follower, Arc<Ear>) {
        start(&self.repository, &self.path, options)
    }

    /// An application, and a follower that has stored what it found.
    fn begin(&self) -> (Connection, Follower, Arc<Ear>) {
        self.begin_with(at_once())
    }

    fn begin_with(&self, options: FollowOptions) -> (Connection, Follower, Arc<Ear>) {
        let db = app(&self.path);
        let (follower, ear) = self.follow_with(options);
        follower.wait_durable(PATIENCE).unwrap();
        (db, follower, ear)
    }

    fn history(&self) -> History {
        self.lab.repository.history("app").unwrap()
    }

    fn kinds(&self) -> Vec<CommitKind> {
        self.history().chain().unwrap().commits().map(|c| c.record.kind).collect()
    }

    /// Every commit from `first` on must restore to its reference.
    fn check(&self, first: u64, expected: &[Vec<u8>]) {
        check(&self.history(), first, expected, self.lab.dir.path());
    }
}

fn check(history: &History, first: u64, expected: &[Vec<u8>], dir: &Path) {
    let chain = history.chain().unwrap();
    let newest = chain.commits().map(|c| c.seq.0).max().unwrap();
    assert_eq!(newest + 1, first + expected.len() as u64, "one commit for each reference");
    come_back(history, &chain, (first..).zip(expected), dir);
}

/// Commits so many transactions, and answers what the database was after each.
fn commit(app: &Connection, path: &Path, count: u64) -> Vec<Vec<u8>> {
    let one = |_| {
        app.execute("INSERT INTO t(x) VALUES(randomblob(700))", []).unwrap();
        reference(path)
    };
    (0..count).map(one).collect()
}

/// The application in a process of its own, which does this and ends.
#[test]
#[ignore = "a role that the other tests start in processes of their own"]
fn role_sql() {
    if let Some(path) = std::env::var_os("PAGEKEEP_ROLE_DATABASE") {
        app(Path::new(&path)).execute_batch(&std::env::var("PAGEKEEP_ROLE_SQL").unwrap()).unwrap();
    }
}

fn elsewhere(path: &Path, sql: &str) {
    let role = role("faults::role_sql")
        .env("PAGEKEEP_ROLE_DATABASE", path)
        .env("PAGEKEEP_ROLE_SQL", sql)
        .output()
        .unwrap();
    assert!(role.status.success(), "{}", String::from_utf8_lossy(&role.stdout));
}

/// Waits until it is so, and fails if it never is.
fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_store_that_fails_hangs_or_loses_answers_costs_nothing_but_time() {
    let moods = [
        Mood::Fails(ErrorKind::Storage),
        Mood::Fails(ErrorKind::NoSpace),
        Mood::Fails(ErrorKind::Failure),
        Mood::Hangs,
        Mood::LosesAnswers,
    ];
    let scene = Scene::new();
    let (db, follower, ear) = scene.begin();
    let mut expected = vec![reference(&scene.path)];
    for mood in moods {
        scene.mood.set(mood);
        expected.extend(commit(&db, &scene.path, 20));
        until("the store is asked", || scene.mood.met() > 0);
        // Also the application's checkpoints go on.
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0)).unwrap();
        expected.extend(commit(&db, &scene.path, 20));
        let error = follower.wait_durable(SHORT).unwrap_err();
        match mood {
            Mood::Fails(kind) => {
                until("the fault shows", || {
                    follower.status().fault.is_some_and(|f| f.kind == kind)
                });
            }
            Mood::Hangs => assert_eq!(error.kind(), ErrorKind::Busy),
            _ => {}
        }
        scene.mood.set(Mood::Well);
        follower.wait_durable(PATIENCE).unwrap();
        let status = follower.status();
        assert_eq!((status.fault, status.scans, status.pending), (None, 0, 0), "{mood:?}");
    }
    follower.stop().unwrap();
    assert!(ear.count(|e| matches!(e, Event::Recovered)) > 0);
    assert!(scene.kinds()[1..].iter().all(|kind| *kind == CommitKind::Transaction));
    scene.check(1, &expected);
}

#[test]
fn a_repository_that_is_moved_away_and_back_is_gone_on_with() {
    let dir = quick_dir();
    let secret = Secret::new_recovery().unwrap();
    let root = dir.path().join("repository");
    let store = Arc::new(LocalStore::create_root(&root).unwrap());
    let repository = Repository::init(
        store,
        &[(&secret, "test")],
        CHEAP,
        &RepositoryOptions::new(dir.path().join("state")),
    )
    .unwrap();
    let path = dir.path().join("app.db");
    let db = app(&path);
    let (follower, _) = start(&repository, &path, at_once());
    follower.wait_durable(PATIENCE).unwrap();
    let mut expected = vec![reference(&path)];
    std::fs::rename(&root, dir.path().join("elsewhere")).unwrap();
    expected.extend(commit(&db, &path, 30));
    until("the fault shows", || follower.status().fault.is_some());
    assert_eq!(follower.wait_durable(SHORT).unwrap_err().kind(), ErrorKind::Storage);
    assert!(!root.exists(), "nothing is made where the repository was");
    std::fs::rename(dir.path().join("elsewhere"), &root).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!((follower.status().scans, follower.status().fault), (0, None));
    follower.stop().unwrap();
    check(&repository.history("app").unwrap(), 1, &expected, dir.path());
}

#[test]
fn more_than_may_be_kept_aside_is_scanned_and_marked_and_no_barrier_is_done_before() {
    let scene = Scene::new();
    let limited = FollowOptions { spool_limit: 1024 * 1024, ..at_once() };
    let (db, follower, ear) = scene.begin_with(limited);
    scene.mood.set(Mood::Fails(ErrorKind::Storage));
    // One group is on its way to the store; the next grows beyond the limit, and is dropped.
    commit(&db, &scene.path, 1);
    until("the fault shows", || follower.status().fault.is_some());
    let follower = Arc::new(follower);
    // A barrier behind a commit that will be dropped.
    commit(&db, &scene.path, 1);
    let waiting = {
        let (follower, store, secret) =
            (follower.clone(), scene.lab.store.clone(), scene.lab.secret.clone());
        let state = scene.lab.path("look");
        std::thread::spawn(move || {
            let seq = follower.wait_durable(PATIENCE).unwrap();
            // What is there at the moment when it is called durable.
            let repository =
                Repository::open(Arc::new(store), &secret, &RepositoryOptions::new(state)).unwrap();
            let chain = repository.history("app").unwrap().chain().unwrap();
            (seq, chain.commits().map(|c| (c.seq, c.record.kind)).next_back().unwrap())
        })
    };
    let big = "INSERT INTO t(x) VALUES(zeroblob(100000))";
    let began = Instant::now();
    while follower.status().activity == Activity::Following {
        db.execute(big, []).unwrap();
        assert!(began.elapsed() < PATIENCE, "the limit is never met");
    }
    scene.mood.set(Mood::Well);
    let (seq, (newest, kind)) = waiting.join().unwrap();
    assert!(newest >= seq);
    assert_eq!(kind, CommitKind::Scan, "the barrier's commit was dropped: only the scan has it");
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(follower.status().scans, 1);
    Arc::into_inner(follower).unwrap().stop().unwrap();
    let expected = reference(&scene.path);
    let kinds = scene.kinds();
    scene.check(kinds.len() as u64, &[expected]);
    assert_eq!(kinds.iter().filter(|kind| **kind == CommitKind::Scan).count(), 2);
    assert!(ear.count(|e| matches!(e, Event::Scan { .. })) > 0);
}

#[test]
fn local_state_that_can_not_be_written_is_waited_for() {
    let scene = Scene::new();
    let db = app(&scene.path);
    // The WAL keeps what can't be captured.
    db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
    let (follower, _) = scene.follow();
    follower.wait_durable(PATIENCE).unwrap();
    let mut expected = vec![reference(&scene.path)];
    let (state, aside) = (scene.lab.path("state"), scene.lab.path("aside"));
    for bytes in [100, 40_000_000] {
        // A file where the folder was: nothing can be made in it.
        std::fs::rename(&state, &aside).unwrap();
        std::fs::write(&state, b"in the way").unwrap();
        expected.extend(commit(&db, &scene.path, 5));
        // More than the memory's share has to go to the disk.
        db.execute("INSERT INTO t(x) VALUES(zeroblob(?1))", [bytes]).unwrap();
        expected.push(reference(&scene.path));
        if bytes > 100 {
            until("the fault shows", || follower.status().fault.is_some());
        }
        expected.extend(commit(&db, &scene.path, 5));
        std::fs::remove_file(&state).unwrap();
        std::fs::rename(&aside, &state).unwrap();
        follower.wait_durable(PATIENCE).unwrap();
        assert_eq!((follower.status().scans, follower.status().fault), (0, None));
    }
    follower.stop().unwrap();
    assert!(scene.kinds()[1..].iter().all(|kind| *kind == CommitKind::Transaction));
    scene.check(1, &expected);
}

#[test]
fn a_clock_that_is_set_back_changes_times_and_nothing_else() {
    let mut scene = Scene::new();
    let now = Arc::new(AtomicI64::new(2_000_000_000_000_000));
    let clock = {
        let now = now.clone();
        Clock::new(move || Timestamp(now.fetch_add(1000, Ordering::SeqCst)))
    };
    let (store, opening) = (scene.lab.store.clone(), scene.lab.opening().clock(clock));
    scene.repository = Repository::open(Arc::new(store), &scene.lab.secret, &opening).unwrap();
    let (db, follower, _) = scene.begin();
    let mut expected = vec![reference(&scene.path)];
    for back in [0, 3600, 24 * 3600 * 400] {
        now.fetch_sub(back * 1_000_000, Ordering::SeqCst);
        expected.extend(commit(&db, &scene.path, 10));
        follower.wait_durable(PATIENCE).unwrap();
        let status = follower.status();
        assert_eq!((status.activity, status.scans), (Activity::Following, 0));
        assert!(status.lag < PATIENCE, "{:?}", status.lag);
    }
    follower.stop().unwrap();
    scene.check(1, &expected);
    let chain = scene.history().chain().unwrap();
    let times: Vec<i64> = chain.commits().map(|c| c.record.time.0).collect();
    assert!(times[15] < times[5] && times[25] < times[15], "{times:?}");
}

#[test]
fn a_writer_that_takes_over_ends_the_follower_and_no_acknowledged_commit_is_lost() {
    let scene = Scene::new();
    let (db, follower, _) = scene.begin();
    let mut expected = vec![reference(&scene.path)];
    expected.extend(commit(&db, &scene.path, 10));
    let acknowledged = follower.wait_durable(PATIENCE).unwrap();
    let other = Repository::open(
        Arc::new(scene.lab.store.clone()),
        &scene.lab.secret,
        &RepositoryOptions::new(scene.lab.path("b")),
    )
    .unwrap();
    let writer = Writer::open(&other.history("app").unwrap(), "test").unwrap();
    commit(&db, &scene.path, 1);
    assert_eq!(follower.wait_durable(PATIENCE).unwrap_err().kind(), ErrorKind::Superseded);
    until("it ends", || follower.has_ended());
    assert_eq!(follower.status().activity, Activity::Stopped);
    // The application goes on, and may checkpoint: nothing of us is left in its way.
    commit(&db, &scene.path, 5);
    let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0));
    assert_eq!(busy.unwrap(), 0);
    assert_eq!(follower.stop().unwrap_err().kind(), ErrorKind::Superseded);
    drop(writer);
    // The other one goes on; what was acknowledged is below it.
    let (follower, _) = start(&other, &scene.path, at_once());
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    let chain = other.history("app").unwrap().chain().unwrap();
    let newest = (chain.commits().last().unwrap().seq.0, &reference(&scene.path));
    let expected = (1..=acknowledged.0).zip(&expected).chain([newest]);
    come_back(&scene.history(), &chain, expected, scene.lab.dir.path());
}

#[test]
fn the_wal_stays_bounded_and_the_application_goes_on_while_the_store_is_down() {
    let scene = Scene::new();
    let db = app(&scene.path);
    db.execute_batch("PRAGMA synchronous=OFF").unwrap();
    let limit = 1024 * 1024;
    let (follower, _) = scene.follow_with(FollowOptions { wal_limit: limit, ..at_once() });
    follower.wait_durable(PATIENCE).unwrap();
    scene.mood.set(Mood::Fails(ErrorKind::Storage));
    for n in 0..3000 {
        db.execute("INSERT INTO t(x) VALUES(randomblob(700))", []).unwrap();
        if n % 50 == 0 {
            // As fast as it can, but not so fast that the follower never has its turn.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let largest = std::fs::metadata(scene.lab.path("app.db-wal")).unwrap().len();
    assert!(largest < 8 * limit, "{largest}");
    let status = follower.status();
    assert!(status.wal.handoffs > 0 && status.fault.is_some(), "{status:?}");
    scene.mood.set(Mood::Well);
    assert_eq!(follower.wait_durable(PATIENCE).unwrap().0, 3001);
    follower.stop().unwrap();
    assert!(scene.kinds()[1..].iter().all(|kind| *kind == CommitKind::Transaction));
}

#[test]
fn a_stop_without_a_store_says_so_and_the_next_run_has_everything() {
    let scene = Scene::new();
    let patience = FollowOptions { stop_patience: Duration::from_millis(200), ..at_once() };
    let (db, follower, _) = scene.begin_with(patience);
    scene.mood.set(Mood::Fails(ErrorKind::Storage));
    let expected = commit(&db, &scene.path, 10);
    until("they are captured", || follower.status().pending == 10);
    assert_eq!(follower.stop().unwrap_err().kind(), ErrorKind::Storage);
    scene.mood.set(Mood::Well);
    let (follower, _) = scene.follow();
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(follower.status().scans, 0);
    follower.stop().unwrap();
    scene.check(2, &expected);
}

/// Whoever ends a follower hears what its end came to, also the second one, and who waits hears why.
#[test]
fn everybody_who_ends_a_follower_hears_that_the_last_commits_are_not_stored() {
    let scene = Scene::new();
    let db = app(&scene.path);
    let options = FollowOptions { stop_patience: Duration::ZERO, ..at_once() };
    let (follower, _) = scene.follow_with(options);
    follower.wait_durable(PATIENCE).unwrap();
    scene.mood.set(Mood::Fails(ErrorKind::Storage));
    db.execute("INSERT INTO t VALUES(1, 1)", []).unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    follower.on_durable(move |answer| told.send(answer.map_err(|e| e.kind())).unwrap());
    // One that panics takes nothing from the others.
    follower.on_durable(|_| panic!("on purpose"));
    let ends: Vec<_> = std::thread::scope(|scope| {
        let ends = [0; 3].map(|_| scope.spawn(|| follower.stop()));
        ends.map(|end| end.join().unwrap()).into()
    });
    for end in ends.into_iter().chain([follower.stop()]) {
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Storage);
    }
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::Storage));
    assert_eq!(follower.wait_durable(PATIENCE).unwrap_err().kind(), ErrorKind::Storage);
}
