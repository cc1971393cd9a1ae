//! Two machines and one history: who refuses whom, and for how long.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;
use crate::error::ErrorKind;
use crate::format::slot::KdfParams;
use crate::progress::Silent;
use crate::repo::RepositoryOptions;
use crate::repo::keys::secret::Secret;
use crate::repo::write::presence::followed;
use crate::store::{MemoryStore, Store};
use crate::types::{Clock, Timestamp};

const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000_000;

/// Two machines with one clock, which is also the storage's.
struct Pair {
    dir: tempfile::TempDir,
    time: Arc<AtomicI64>,
    store: MemoryStore,
    secret: Secret,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let time = Arc::new(AtomicI64::new(Timestamp::now().0));
        let store = MemoryStore::with_clock(clock(&time));
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let state = dir.path().join("first");
        Repository::init(
            Arc::new(store.clone()),
            &[(&secret, "")],
            kdf,
            &RepositoryOptions::new(state).clock(clock(&time)),
        )
        .unwrap();
        Self { dir, time, store, secret }
    }

    fn pass(&self, minutes: i64) {
        self.time.fetch_add(minutes * MINUTE, Ordering::SeqCst);
    }

    fn follow(&self, machine: &str) -> Result<(History, Follower)> {
        let state = self.dir.path().join(machine);
        let opening = RepositoryOptions::new(state).clock(clock(&self.time));
        let repository = Repository::open(Arc::new(self.store.clone()), &self.secret, &opening)?;
        std::fs::create_dir_all(self.dir.path().join(machine)).unwrap();
        let path = self.dir.path().join(machine).join("app.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(x)")
            .unwrap();
        let follow_options = FollowOptions { interval: Duration::ZERO, ..Default::default() };
        let options = WatchOptions { adopt: true, follow: follow_options, ..Default::default() };
        let (history, follower) = repository.follow(&path, options, Arc::new(Silent))?;
        follower.wait_durable(PATIENCE)?;
        Ok((history, follower))
    }

    fn refuses(&self, machine: &str) {
        let refused = self.follow(machine).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy, "{refused:?}");
    }

    fn signs(&self, history: &History) -> Vec<String> {
        let listed = self.store.list(&history.names().signs()).unwrap();
        listed.into_iter().map(|e| e.name).collect()
    }
}

fn clock(time: &Arc<AtomicI64>) -> Clock {
    let time = time.clone();
    Clock::new(move || Timestamp(time.load(Ordering::SeqCst)))
}

#[test]
fn an_idle_follower_shows_that_it_is_there_until_it_says_goodbye() {
    let pair = Pair::new();
    let (history, follower) = pair.follow("first").unwrap();
    let mut last = pair.signs(&history);
    assert_eq!(last, Vec::<String>::new(), "it has just published");
    for round in 0..5 {
        pair.pass(8);
        let began = Instant::now();
        while pair.signs(&history) == last || pair.signs(&history).len() != 1 {
            assert!(began.elapsed() < PATIENCE, "no sign in round {round}: {last:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        last = pair.signs(&history);
        pair.refuses("second");
    }
    follower.stop().unwrap();
    // At once, and the first one is refused now.
    let (_, second) = pair.follow("second").unwrap();
    pair.refuses("first");
    second.stop().unwrap();
    // And back, and once more: in a term in which it said goodbye.
    for _ in 0..2 {
        let (_, first) = pair.follow("first").unwrap();
        pair.refuses("second");
        first.stop().unwrap();
    }
    // One for each of the three turns.
    assert!(pair.signs(&history).len() <= 3, "{:?}", pair.signs(&history));
}

#[test]
fn a_follower_that_does_not_show_any_more_is_followed_by_another() {
    let pair = Pair::new();
    let (history, follower) = pair.follow("first").unwrap();
    follower.stop().unwrap();
    // As if it had been another process that died: its goodbye is not there, and the claim is not
    // of a process that is known for another one's.
    let _other = followed(history.id());
    for name in pair.signs(&history) {
        pair.store.delete(&name).unwrap();
    }
    pair.pass(14);
    pair.refuses("second");
    pair.pass(2);
    pair.follow("second").unwrap().1.stop().unwrap();
}
