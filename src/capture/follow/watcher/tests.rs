//! What a watcher that has to stop may drop, and what is never remembered behind it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::capture::follow::compaction::Compactor;
use crate::capture::follow::marker::Marker;
use crate::capture::follow::publisher::Publisher;
use crate::error::ErrorKind;
use crate::format::slot::KdfParams;
use crate::progress::Silent;
use crate::repo::keys::secret::Secret;
use crate::repo::write::writer::Writer;
use crate::repo::{Repository, RepositoryOptions};
use crate::sqlite::source::Source;
use crate::store::MemoryStore;
use crate::types::Clock;

/// Where a byte of the wal-index's second header is, and so one that makes it unlike the first.
const SECOND_HEADER: u64 = 48 + 8;

struct Scene {
    dir: tempfile::TempDir,
    path: PathBuf,
    app: Connection,
    notice: Notice,
    shared: Shared,
    options: FollowOptions,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(0)")
            .unwrap();
        let notice = Notice::new().unwrap();
        let shared = Shared::new(notice.waker(), Clock::default());
        Self { dir, path, app, notice, shared, options: FollowOptions::default() }
    }

    fn watcher(&mut self) -> Watcher<'_> {
        let mut tail = Tail::open(&self.path).unwrap();
        let mut source = Source::open(&self.path).unwrap();
        let pin = source.pin().unwrap();
        tail.start_at(pin.wal_place().unwrap(), pin.pages());
        drop(pin);
        let (clock, slabs) = (self.shared.clock.clone(), self.shared.slabs.clone());
        let group = Group::new(tail.page_size(), self.dir.path(), clock, slabs);
        Watcher {
            tail,
            group,
            shared: &self.shared,
            notice: &mut self.notice,
            options: &self.options,
            path: &self.path,
            dir: self.dir.path(),
        }
    }
}

/// Makes the two headers of a wal-index unlike each other, or alike again.
fn spoil(path: &Path) {
    let shm = PathBuf::from(format!("{}-shm", path.display()));
    let file = OpenOptions::new().read(true).write(true).open(shm).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, SECOND_HEADER).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], SECOND_HEADER).unwrap();
}

/// What was captured can't be vouched for, since the wal-index can't be read at that moment, and
/// there is no time left: it is dropped, and the place is lost. Who went on would save a place
/// behind commits that are nowhere.
#[test]
fn who_drops_the_last_commits_as_it_stops_has_lost_its_place() {
    let mut scene = Scene::new();
    let (path, app) = (scene.path.clone(), Connection::open(&scene.path).unwrap());
    let mut watcher = scene.watcher();
    app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
    watcher.tail.capture(&mut watcher.group).unwrap();
    assert!(!watcher.group.is_empty());
    watcher.tail.be_hasty();
    let mut times = Times::new(Instant::now());
    times.group = Some(Instant::now());
    // It may wait, as long as it has the time.
    watcher.shared.update(|state| {
        (state.stop, state.deadline) = (true, Some(Instant::now() + SLOW * 3600));
    });
    spoil(&path);
    assert_eq!(watcher.hand_over(&mut times, true).unwrap(), None);
    assert!(!watcher.group.is_empty() && times.group.is_some());
    watcher.shared.update(|state| state.deadline = None);
    assert_eq!(watcher.hand_over(&mut times, true).unwrap(), Some(UNREADABLE));
    spoil(&path);
    assert!(watcher.group.is_empty() && watcher.shared.lock().slot.is_none());
}

/// The same where it could not even look whether there is more.
#[test]
fn who_can_not_look_before_it_has_to_stop_has_lost_its_place() {
    let mut scene = Scene::new();
    let (path, app) = (scene.path.clone(), Connection::open(&scene.path).unwrap());
    let mut watcher = scene.watcher();
    app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
    watcher.shared.update(|state| (state.stop, state.deadline) = (true, None));
    spoil(&path);
    let ended = watcher.watch().unwrap();
    spoil(&path);
    assert!(matches!(&ended, Ended::Lost(why) if why == HASTE), "{ended:?}");
}

/// Whoever stopped it hears that not all is stored.
#[test]
fn who_stops_without_a_place_says_that_not_all_is_stored() {
    let scene = Scene::new();
    let store = Arc::new(MemoryStore::new());
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let opening = RepositoryOptions::new(scene.dir.path().join("state"));
    let repository = Repository::init(store, &[(&secret, "")], kdf, &opening).unwrap();
    let place = scene.path.display().to_string();
    let history = repository.create_history("app", &place).unwrap();
    let shared = Arc::new(scene.shared);
    let mut notice = scene.notice;
    let mut stopped = |gap: Option<&str>| {
        shared.update(|state| (state.stop, state.deadline) = (true, None));
        let publisher = Publisher {
            writer: Writer::open(&history, "watch").unwrap(),
            path: &scene.path,
            place: &place,
            options: &scene.options,
            shared: &shared,
            listener: &Silent,
            digests: None,
            compactor: Compactor::default(),
            marker: Marker::new(scene.options.marks),
            signs: None,
            gap: gap.map(str::to_owned),
            told_scan: None,
            doubt: "",
            backoff: SLOW,
            warned_of: None,
        };
        publisher.run(&mut notice)
    };
    stopped(None).unwrap();
    let e = stopped(Some(HASTE)).unwrap_err();
    assert_eq!((e.kind(), e.object()), (ErrorKind::Source, Some(&*place)));
    assert!(e.message().contains(HASTE), "{e}");
}

/// A publisher that gave up holds commits that are nowhere.
#[test]
fn who_is_abandoned_comes_to_no_rest() {
    let mut scene = Scene::new();
    scene.app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
    let mut watcher = scene.watcher();
    assert!(watcher.idle());
    let group = watcher.take_group();
    watcher.shared.update(|state| state.slot = Some(group));
    assert!(!watcher.idle());
    // Neither does the slot show what it took into its hands.
    watcher.shared.update(|state| (state.abandoned, state.slot) = (true, None));
    assert!(!watcher.idle());
}
