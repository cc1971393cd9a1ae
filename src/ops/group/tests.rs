use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;
use crate::capture::follow::{FollowOptions, Follower};
use crate::format::slot::KdfParams;
use crate::ops::follow::WatchOptions;
use crate::progress::Silent;
use crate::repo::keys::secret::Secret;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::MemoryStore;
use crate::types::Clock;

const ACCOUNTS: i64 = 8;
const EACH: i64 = 1000;
const WRITERS: u64 = 3;

fn open(path: &Path) -> Connection {
    let app = Connection::open(path).unwrap();
    app.busy_timeout(Duration::from_secs(30)).unwrap();
    app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF").unwrap();
    app
}

fn make(path: &Path) -> Connection {
    let app = open(path);
    let sql = "CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER);
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
               INSERT INTO account SELECT i, ?2 FROM n";
    let (create, fill) = sql.split_once(';').unwrap();
    app.execute_batch(create).unwrap();
    app.execute(fill, (ACCOUNTS, EACH)).unwrap();
    app
}

fn follow(repository: &Repository, path: &Path) -> (History, Follower) {
    let follow = FollowOptions {
        interval: Duration::from_millis(50),
        wal_limit: 1 << 20,
        ..FollowOptions::default()
    };
    let options = WatchOptions { follow, ..WatchOptions::default() };
    let (history, follower) = repository.follow(path, options, Arc::new(Silent)).unwrap();
    follower.wait_durable(Duration::from_secs(30)).unwrap();
    (history, follower)
}

/// Moves money from an account of one database to one of the other, both ways, as one transaction.
fn transfer(paths: &[PathBuf; 2], seed: u64, stop: &AtomicBool, done: &AtomicU64) {
    let app = open(&paths[0]);
    app.execute("ATTACH ?1 AS other", [paths[1].to_str().unwrap()]).unwrap();
    let mut random = crate::chance::Random::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let (from, to) = match random.below(2) {
            0 => ("main", "other"),
            _ => ("other", "main"),
        };
        let (one, two, amount) = (random.below(8) + 1, random.below(8) + 1, random.below(50) + 1);
        let paid = app.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             UPDATE {from}.account SET money = money - {amount} WHERE id = {one};
             UPDATE {to}.account SET money = money + {amount} WHERE id = {two};
             COMMIT"
        ));
        match paid {
            Ok(()) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            // SQLite's locks are not fair: of several writers that never pause, one may starve.
            Err(e) => {
                assert_eq!(e.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{e}");
                if !app.is_autocommit() {
                    app.execute_batch("ROLLBACK").unwrap();
                }
            }
        }
    }
}

fn money(history: &History, seq: Seq) -> i64 {
    let point = history.point(seq).unwrap();
    let view = point.open(&crate::ops::view::ViewOptions::default()).unwrap();
    view.query_row("SELECT sum(money) FROM account", [], |row| row.get(0)).unwrap()
}

/// Transfers between two databases keep the sum of both, and every moment of the group has it.
#[test]
fn every_moment_of_a_group_has_all_of_a_transfer_or_nothing() {
    let rounds: usize =
        std::env::var("PAGEKEEP_GROUP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a.db", "b.db"].map(|name| dir.path().join(name));
    let _apps: Vec<Connection> = paths.iter().map(|path| make(path)).collect();
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let store = Arc::new(MemoryStore::with_clock(Clock::default()));
    let options = RepositoryOptions::new(dir.path().join("state"));
    Repository::init(store.clone(), &[(&secret, "")], kdf, &options).unwrap();
    let repository = Repository::open(store, &secret, &options).unwrap();
    let followed = paths.each_ref().map(|path| follow(&repository, path));
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut held = Vec::new();
    let (mut moments, mut busy) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        for seed in 0..WRITERS {
            let (paths, stop, done) = (&paths, &stop, &done);
            scope.spawn(move || transfer(paths, seed, stop, done));
        }
        for round in 0..rounds {
            let mut members: Vec<Member> = paths
                .iter()
                .zip(&followed)
                .map(|(path, (history, follower))| Member {
                    path: path.clone(),
                    history: history.clone(),
                    cutter: follower.cutter(),
                })
                .collect();
            let before = done.load(Ordering::Relaxed);
            let label = format!("round {round}");
            // As the daemon does, which tries again later: writers that never pause leave no room.
            let tries = (0..10).map(|_| snapshot(&mut members, &label, None, &Silent));
            let mut last = None;
            for made in tries {
                let is_busy = matches!(&made, Err(e) if e.kind() == ErrorKind::Busy);
                last = Some(made);
                if !is_busy {
                    break;
                }
                busy += 1;
            }
            let moment = last.unwrap();
            let moment = moment.unwrap_or_else(|e| {
                stop.store(true, Ordering::Relaxed);
                let how = followed.each_ref().map(|(_, follower)| {
                    (follower.status(), follower.lock_times().into_iter().max())
                });
                panic!("{e}, after {} moments and {before} transfers: {how:?}", moments.len())
            });
            held.push(moment.held);
            moments.push((members, moment));
            // Others get on meanwhile.
            let began = Instant::now();
            while done.load(Ordering::Relaxed) < before + 3 && began.elapsed().as_secs() < 30 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut transfers = std::collections::BTreeSet::new();
    for (members, moment) in &moments {
        let parts: Vec<i64> = members
            .iter()
            .zip(&moment.labels)
            .map(|(member, label)| money(&member.history, label.seq))
            .collect();
        assert_eq!(parts.iter().sum::<i64>(), 2 * ACCOUNTS * EACH, "{:?}", moment.labels);
        transfers.insert(parts[0]);
    }
    assert!(transfers.len() > 1, "nothing was transferred between moments");
    held.sort();
    let at = |percent: usize| held[(held.len() - 1) * percent / 100];
    eprintln!(
        "{rounds} moments and {busy} that were given up, beside {} transfers: locks held {:?} (median), {:?} (p99), {:?} (longest)",
        done.load(Ordering::Relaxed),
        at(50),
        at(99),
        at(100)
    );
}

#[test]
fn a_label_tells_how_many_databases_its_moment_has() {
    let label = moment_label("shop", Timestamp(1_795_780_800_000_000), 3);
    assert_eq!((&*label, databases_of(&label)), ("shop 2026-11-27T12:00:00Z of 3", Some(3)));
    for other in ["before migration", "end of 2", "2026-11-27T12:00:00Z of many", ""] {
        assert_eq!(databases_of(other), None, "{other}");
    }
}

#[test]
fn a_group_that_cannot_be_locked_labels_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch("CREATE TABLE t(x)").unwrap();
    let gate = Gate::open(&path).map(|_| ()).unwrap_err();
    assert_eq!(gate.kind(), ErrorKind::Refused, "{gate}");
    // One whose writer never ends its transaction is not waited for under the locks of others.
    app.execute_batch("PRAGMA journal_mode=WAL; BEGIN IMMEDIATE").unwrap();
    let gate = Gate::open(&path).unwrap();
    assert!(!gate.take(Instant::now()).unwrap());
    app.execute_batch("COMMIT").unwrap();
    assert!(gate.take(Instant::now() + HELD).unwrap());
    let refused = app.execute_batch("BEGIN IMMEDIATE");
    assert!(refused.is_err());
    gate.release();
    app.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
}

/// Between the locks' first try and the next one a file is replaced, and its follower goes on with
/// the new one: the lock on the old one keeps nobody from writing to the new one.
#[test]
fn a_lock_on_a_file_that_was_replaced_makes_no_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("a.db"), dir.path().join("new.db"));
    let app = make(&path);
    drop(make(&new));
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let store = Arc::new(MemoryStore::with_clock(Clock::default()));
    let options = RepositoryOptions::new(dir.path().join("state"));
    Repository::init(store.clone(), &[(&secret, "")], kdf, &options).unwrap();
    let repository = Repository::open(store, &secret, &options).unwrap();
    let (history, follower) = follow(&repository, &path);
    let gates = [Gate::open(&path).unwrap()];
    let mut members = [Member { path: path.clone(), history, cutter: follower.cutter() }];
    assert!(try_cut(&members, &gates).is_ok());
    drop(app);
    for side in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{side}", path.display())).unwrap();
    }
    std::fs::rename(&new, &path).unwrap();
    // The follower goes on with the new file.
    let app = open(&path);
    app.execute_batch("UPDATE account SET money = 0").unwrap();
    follower.wait_durable(Duration::from_secs(30)).unwrap();
    let refused = try_cut(&members, &gates).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
    drop(gates);
    let moment = snapshot(&mut members, "now", None, &Silent).unwrap();
    assert_eq!(money(&members[0].history, moment.labels[0].seq), 0);
}
