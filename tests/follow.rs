//! Following a live database: every transaction a commit, through handoffs, checkpoints, restarts and changes of the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::followed::{PATIENCE, app, at_once, start};
use common::{Lab, come_back, reference};
use pagekeep::internals::capture::follow::{Activity, Event, FollowOptions};
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::types::Seq;

#[test]
fn every_transaction_is_a_commit_and_comes_back() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = app(&path);
    let (follower, ear) = start(&lab.repository, &path, at_once());
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
    come_back(&history, &chain, (1..).zip(&expected), lab.dir.path());
    assert_eq!(ear.count(|e| matches!(e, Event::Fault(_))), 0);
}

/// What keeps the WAL from being reset may be somebody else, such as another backup tool; people are told once.
#[test]
fn a_wal_that_somebody_else_keeps_beyond_its_limit_is_told() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = app(&path);
    let options = FollowOptions { wal_limit: 1 << 20, ..at_once() };
    let (follower, ear) = start(&lab.repository, &path, options);
    follower.wait_durable(PATIENCE).unwrap();
    let other = app(&path);
    other.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    let told =
        || ear.count(|e| matches!(e, Event::Warning(w) if w.contains("keeps it from being reset")));
    db.execute("INSERT INTO t(x) VALUES(randomblob(4000000))", []).unwrap();
    let began = std::time::Instant::now();
    while told() == 0 {
        assert!(began.elapsed() < PATIENCE, "{:?}", ear.heard());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    db.execute("INSERT INTO t(x) VALUES(randomblob(1000000))", []).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    other.execute_batch("COMMIT").unwrap();
    follower.stop().unwrap();
    assert_eq!(told(), 1, "{:?}", ear.heard());
}
