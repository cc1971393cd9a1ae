//! Following a live database: every transaction a commit, through handoffs, checkpoints, restarts and changes of the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Lab, reference, restored_raw};
use pagekeep::capture::follow::{Activity, Event, FollowOptions, Follower, Listener};
use pagekeep::format::segment::CommitKind;
use pagekeep::ops::follow::{WatchOptions, follow};
use pagekeep::progress::Monitor;
use pagekeep::types::Seq;
use rusqlite::Connection;

const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what it hears.
#[derive(Default)]
struct Ear(Mutex<Vec<Event>>);

impl Monitor for Ear {}

impl Listener for Ear {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Ear {
    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|e| wanted(e)).count()
    }
}

fn options() -> WatchOptions {
    WatchOptions {
        follow: FollowOptions { interval: Duration::ZERO, ..FollowOptions::default() },
        ..WatchOptions::default()
    }
}

fn start(lab: &Lab, path: &Path) -> (Follower, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let (_, follower) = follow(&lab.repository, path, options(), ear.clone()).unwrap();
    (follower, ear)
}

fn app(path: &Path) -> Connection {
    let app = Connection::open(path).unwrap();
    app.busy_timeout(Duration::from_secs(10)).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)",
    )
    .unwrap();
    app
}

#[test]
fn every_transaction_is_a_commit_and_comes_back() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = app(&path);
    let (follower, ear) = start(&lab, &path);
    assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(1));
    let mut expected = vec![reference(&path)];
    for n in 0..300 {
        db.execute("INSERT INTO t VALUES(?1, randomblob(?2))", [n, n * 20]).unwrap();
        if n % 10 == 0 {
            db.execute_batch("BEGIN; DELETE FROM t; ROLLBACK").unwrap();
        }
        if n % 50 == 49 {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        }
        expected.push(reference(&path));
    }
    assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(301));
    let status = follower.status();
    assert_eq!((status.activity, status.scans, status.wal.commits), (Activity::Following, 0, 300));
    assert_eq!((status.pending, status.fault), (0, None));
    follower.stop().unwrap();
    let history = lab.repository.history("app").unwrap();
    let chain = history.chain().unwrap();
    let kinds: Vec<CommitKind> = chain.commits().map(|c| c.record.kind).collect();
    assert_eq!(kinds[0], CommitKind::Scan);
    assert!(kinds[1..].iter().all(|k| *k == CommitKind::Transaction));
    for (seq, expected) in (1..).zip(&expected) {
        let bytes = restored_raw(&history, &chain, seq, lab.dir.path()).unwrap();
        assert!(bytes == *expected, "commit {seq}");
    }
    assert_eq!(ear.count(|e| matches!(e, Event::Fault(_))), 0);
}
