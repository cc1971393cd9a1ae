//! Every transaction records in the database what the database contains after it. Whatever is stopped and killed, each commit that was
//! captured restores to a database that contains what it says; transactions follow each other without a gap, but
//! for scans, which say so; and what was called durable is there.
//!
//! `PAGEKEEP_ANY_ROUNDS` and `PAGEKEEP_ANY_SEED` make it longer, and other.

mod roles;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::dice::{Dice, number};
use crate::support::process::Process;
use crate::support::{CHEAP, heavy, integrity_check, quick_dir, restored_raw};
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::LocalStore;

fn role_path() -> Option<PathBuf> {
    std::env::var_os("PAGEKEEP_ROLE_DATABASE").map(PathBuf::from)
}

#[test]
#[ignore = "a role that the other tests start in processes of their own"]
fn role_application() {
    if let Some(path) = role_path() {
        roles::application(&path, number("PAGEKEEP_ROLE_SEED", 0));
    }
}

#[test]
#[ignore = "a role that the other tests start in processes of their own"]
fn role_follower() {
    if let Some(dir) = role_path() {
        roles::follower(&dir, number("PAGEKEEP_ROLE_SEED", 0));
    }
}

/// A folder with a repository, its key, and a database.
fn folder(page_size: u32) -> (tempfile::TempDir, rusqlite::Connection) {
    let dir = quick_dir();
    let secret = Secret::create_key_file(&dir.path().join("key")).unwrap();
    let store = LocalStore::create_root(dir.path().join("repository")).unwrap();
    Repository::init(
        Arc::new(store),
        &[(&secret, "test")],
        CHEAP,
        &RepositoryOptions::new(dir.path().join("state")),
    )
    .unwrap();
    let db = roles::begin(&dir.path().join("app.db"), page_size);
    (dir, db)
}

/// What was found in a history: how many commits of each kind.
#[derive(Debug, Default)]
struct Found {
    transactions: u64,
    scans: u64,
}

/// Restores every commit and holds it to what it says of itself. `durable` are commits with the transaction that each has at least.
fn check(dir: &Path, durable: &[(u64, u64)]) -> Found {
    let history = roles::repository(dir).history("app").unwrap();
    let chain = history.chain().unwrap();
    let mut found = Found::default();
    let mut last = None;
    for commit in chain.commits() {
        let (seq, kind) = (commit.seq.0, commit.record.kind);
        let path = dir.join("look.db");
        std::fs::write(&path, restored_raw(&history, &chain, seq, dir).unwrap()).unwrap();
        let db = roles::open(&path);
        let (n, hash) = roles::record(&db).unwrap();
        assert_eq!(roles::content(&db).unwrap(), hash, "commit {seq}, transaction {n}");
        assert_eq!(integrity_check(&db), "ok", "commit {seq}");
        drop(db);
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(dir.join(format!("look.db{suffix}")));
        }
        let before = last.replace(n).unwrap_or(n);
        match kind {
            // What is not a transaction of the application's, as VACUUM, changes no record.
            CommitKind::Transaction => {
                assert!(n == before || n == before + 1, "commit {seq}: {n} after {before}");
                found.transactions += 1;
            }
            _ => {
                assert!(n >= before, "commit {seq}: {n} after {before}");
                found.scans += 1;
            }
        }
        for (_, least) in durable.iter().filter(|(durable, _)| *durable == seq) {
            assert!(n >= *least, "commit {seq} was durable with transaction {least}, and has {n}");
        }
    }
    let newest = chain.commits().last().unwrap().seq.0;
    assert!(durable.iter().all(|(seq, _)| *seq <= newest), "{durable:?}, newest {newest}");
    found
}

fn number_of(path: &Path) -> u64 {
    roles::record(&roles::open(path)).unwrap().0
}

#[test]
fn every_captured_transaction_contains_what_it_recorded_whatever_is_killed() {
    let _heavy = heavy();
    let rounds = number("PAGEKEEP_ANY_ROUNDS", 12);
    let seed = number("PAGEKEEP_ANY_SEED", 1);
    let mut dice = Dice::new(seed);
    let (dir, db) = folder(*dice.pick(&[512, 1024, 4096]));
    drop(db);
    let path = dir.path().join("app.db");
    let mut seeds = seed * 1000;
    let mut application = || {
        seeds += 1;
        Process::role("any_transaction::role_application", &path, seeds)
    };
    let mut applications = vec![application(), application()];
    let mut durable = Vec::new();
    for round in 0..rounds {
        let interval = if dice.one_in(2) { 0 } else { 10 };
        let mut follower =
            Process::role("any_transaction::role_follower", dir.path(), interval).ready();
        for _ in 0..dice.below(5) {
            std::thread::sleep(Duration::from_millis(dice.below(80)));
            let n = number_of(&path);
            let seq: u64 = follower.ask("durable").parse().unwrap();
            durable.push((seq, n));
            if dice.one_in(4) {
                applications.remove(0).kill();
                applications.push(application());
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(40)));
        if dice.one_in(3) {
            follower.end();
        } else {
            follower.kill();
        }
        if dice.one_in(6) && round + 1 < rounds {
            // Everybody is gone, and the WAL with the last one, or stays as it was killed.
            for one in applications.drain(..) {
                if dice.one_in(2) { one.kill() } else { drop(one.end()) }
            }
            applications.extend([application(), application()]);
        }
        std::thread::sleep(Duration::from_millis(dice.below(60)));
    }
    for one in applications {
        one.end();
    }
    let n = number_of(&path);
    let mut follower = Process::role("any_transaction::role_follower", dir.path(), 0).ready();
    let seq: u64 = follower.ask("durable").parse().unwrap();
    durable.push((seq, n));
    follower.end();
    let found = check(dir.path(), &durable);
    println!("{n} transactions, {} times durable; {found:?}", durable.len());
    assert!(found.transactions > 0);
    let history = roles::repository(dir.path()).history("app").unwrap();
    let bytes = restored_raw(&history, &history.chain().unwrap(), seq, dir.path()).unwrap();
    let look = dir.path().join("last.db");
    std::fs::write(&look, bytes).unwrap();
    assert_eq!(number_of(&look), n, "the last transaction");
}

#[test]
fn a_killed_follower_is_gone_on_from_without_a_scan_while_the_wal_is_there() {
    let _heavy = heavy();
    let (dir, db) = folder(1024);
    db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
    let mut dice = Dice::new(number("PAGEKEEP_ANY_SEED", 1));
    let path = dir.path().join("app.db");
    let mut durable = Vec::new();
    for round in 0..number("PAGEKEEP_ANY_KILLS", 30) {
        let mut follower = Process::role("any_transaction::role_follower", dir.path(), 0).ready();
        let n = roles::record(&db).unwrap().0;
        let seq: u64 = follower.ask("durable").parse().unwrap();
        durable.push((seq, n));
        assert_eq!(follower.ask("scans"), "0", "round {round}");
        // It is killed while it publishes: some time after a commit.
        let until = Instant::now() + Duration::from_millis(dice.below(12));
        while Instant::now() < until {
            roles::transact(&db, &mut dice).unwrap();
        }
        follower.kill();
        roles::transact(&db, &mut dice).unwrap();
        // Before the follower has a reason to hand the WAL off.
        if std::fs::metadata(format!("{}-wal", path.display())).unwrap().len() > 3 << 20 {
            break;
        }
    }
    let mut follower = Process::role("any_transaction::role_follower", dir.path(), 0).ready();
    follower.ask("durable");
    assert_eq!(follower.ask("scans"), "0");
    follower.end();
    let found = check(dir.path(), &durable);
    println!("{found:?}");
    assert_eq!(found.scans, 1, "only the first commit is a scan");
}
