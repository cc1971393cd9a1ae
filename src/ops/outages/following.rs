//! The machine loses its power while a database is followed. It may come back as it was, or without
//! its last transactions: an application that does not sync every commit loses some of its own,
//! which the repository has.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::{Site, aftermath, cases, reopen};
use crate::capture::follow::{FollowOptions, Follower};
use crate::chance::Random;
use crate::ops::follow::WatchOptions;
use crate::ops::point::RestorePoint;
use crate::ops::restore::{Check, RestoreOptions};
use crate::progress::Silent;
use crate::repo::Repository;
use crate::store::testing::power::{Files, files, lay_out};
use crate::types::Seq;

const PATIENCE: Duration = Duration::from_secs(60);
const COMMITS: usize = 40;

/// A commit that was called durable.
struct Durable {
    /// After how many operations it was.
    at: usize,
    /// The database's files then.
    left: Files,
    /// What the commit has to restore to.
    bytes: Vec<u8>,
}

fn open(path: &Path) -> Connection {
    let app = Connection::open(path).unwrap();
    app.busy_timeout(Duration::from_secs(10)).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)",
    )
    .unwrap();
    app
}

fn begin(repository: &Repository, path: &Path) -> Follower {
    let follow_options = FollowOptions { interval: Duration::ZERO, ..FollowOptions::default() };
    // It lies elsewhere now, and the claim of the one that died looks like one of ours.
    let options = WatchOptions {
        adopt: true,
        takeover: true,
        follow: follow_options,
        ..WatchOptions::default()
    };
    repository.follow(path, options, Arc::new(Silent)).unwrap().1
}

/// The database's files as they are at this moment, copied by another process: closing a file of
/// one's own would drop the locks that SQLite holds on it.
fn photograph(app: &Connection, path: &Path, to: &Path) -> Files {
    std::fs::create_dir(to).unwrap();
    // With the write lock held the WAL is not reset, so a checkpoint meanwhile takes nothing away.
    app.execute_batch("BEGIN IMMEDIATE").unwrap();
    for suffix in ["-wal", ""] {
        let from = format!("{}{suffix}", path.display());
        let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    }
    app.execute_batch("ROLLBACK").unwrap();
    let taken = files(to);
    std::fs::remove_dir_all(to).unwrap();
    taken
}

/// What is in a database's files with everything of the WAL in place.
fn checkpointed(left: &Files, from: &Path, dir: &Path) -> Vec<u8> {
    lay_out(left, from, dir);
    let db = Connection::open(dir.join("live.db")).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    let bytes = std::fs::read(dir.join("live.db")).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    bytes
}

/// Follows a database, and answers what was called durable.
fn followed(site: &Site) -> Vec<Durable> {
    let dir = site.bench.dir.path();
    let (path, photo) = (dir.join("live.db"), dir.join("photo"));
    let app = open(&path);
    let follower = begin(&site.open("original"), &path);
    let mut durable = Vec::new();
    for n in 0..COMMITS {
        if n > 0 {
            app.execute("INSERT INTO t(x) VALUES(randomblob(300))", []).unwrap();
        }
        let seq = follower.wait_durable(PATIENCE).unwrap();
        assert_eq!(seq.0, n as u64 + 1);
        let at = site.journal.len();
        let left = photograph(&app, &path, &photo);
        let bytes = checkpointed(&left, &photo, &dir.join("copy-of-it"));
        durable.push(Durable { at, left, bytes });
    }
    follower.stop().unwrap();
    durable
}

fn restored(repository: &Repository, seq: Seq, dir: &Path) -> Vec<u8> {
    let history = repository.history("live").unwrap();
    let chain = history.chain().unwrap();
    let commit = chain.commit(seq).unwrap_or_else(|| panic!("commit {seq} is gone"));
    let target = dir.join("restored");
    let options = RestoreOptions { check: Check::None, force: false };
    RestorePoint::of(&history, &chain, &commit).restore(&target, &options, &Silent).unwrap();
    let bytes = std::fs::read(&target).unwrap();
    std::fs::remove_file(target).unwrap();
    bytes
}

#[test]
fn what_a_follower_called_durable_survives_a_loss_of_power() {
    for seed in 0..cases() {
        let site = Site::new(seed);
        let durable = followed(&site);
        let mut random = Random::new(seed);
        let end = site.journal.len();
        assert!(end > 300, "{end}");
        let photo = site.bench.dir.path().join("photo");
        let mut k = durable[0].at;
        while k <= end {
            println!("seed {seed}, power lost after {k} of {end}");
            let place = aftermath(&site, k, &mut random);
            let told = durable.iter().take_while(|d| d.at <= k).count();
            // The database as it was, or without its last transactions.
            let lost = random.below(4).min(told - 1);
            lay_out(&durable[told - 1 - lost].left, &photo, place.path());
            let path = place.path().join("live.db");
            let app = open(&path);
            let repository = reopen(&place, "original", &site.secret);
            let follower = begin(&repository, &path);
            follower.wait_durable(PATIENCE).unwrap();
            app.execute("INSERT INTO t(x) VALUES('after the outage')", []).unwrap();
            let newest = follower.wait_durable(PATIENCE).unwrap();
            follower.stop().unwrap();
            for (seq, durable) in (1..).zip(&durable[..told]) {
                let same = restored(&repository, Seq(seq), place.path()) == durable.bytes;
                assert!(same, "commit {seq} restores to other bytes");
            }
            let left = photograph(&app, &path, &place.path().join("photo"));
            let from = place.path().join("photo");
            let now = checkpointed(&left, &from, &place.path().join("copy-of-it"));
            assert!(restored(&repository, newest, place.path()) == now, "the newest commit");
            k += 1 + random.below(3);
        }
    }
}
