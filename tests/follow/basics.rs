//! Following a live database: every transaction a commit, through handoffs, checkpoints, restarts and changes of the file.

use crate::support::followed::{PATIENCE, app, at_once, start};
use crate::support::{Lab, come_back, reference};
use pagekeep::ErrorKind;
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
    // It looks each second at least, however long the machine keeps it from that here.
    assert!(status.looked.is_some_and(|ago| ago.as_secs() < 60), "{status:?}");
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

/// Each is called once, in any order of commits, calls and the end.
#[test]
fn whoever_asks_to_be_called_is_called_once_with_what_became_of_it() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = app(&path);
    let (follower, _) = start(&lab.repository, &path, at_once());
    // The scan.
    assert_eq!(follower.wait_durable(PATIENCE).unwrap(), Seq(1));
    let (told, heard) = std::sync::mpsc::channel();
    let ask = |n: u64| {
        let told = told.clone();
        follower.on_durable(move |answer| told.send((n, answer.map_err(|e| e.kind()))).unwrap());
    };
    for n in 1..=20_u64 {
        db.execute("INSERT INTO t VALUES(?1, 1)", [n.cast_signed()]).unwrap();
        ask(n);
    }
    for _ in 1..=20 {
        let (n, answer) = heard.recv_timeout(PATIENCE).unwrap();
        // Each covers what came before it, or more.
        assert!(answer.unwrap() > Seq(n), "{n}: {answer:?}");
    }
    // What was asked for just before the end is durable when that comes.
    db.execute("INSERT INTO t VALUES(21, 1)", []).unwrap();
    ask(21);
    follower.stop().unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (21, Ok(Seq(22))));
    ask(22);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (22, Err(ErrorKind::Interrupted)));
    // A second end does no harm, and says nothing new.
    follower.stop().unwrap();
    assert!(heard.try_recv().is_err());
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
