//! Any transaction: an application that records in each transaction a hash of its own content, followed by processes that are stopped and
//! killed at random, as is the application. Every captured commit must restore to a database whose content gives the recorded hash;
//! and of single transactions none may be missing between two of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{CHEAP, noise, quick_dir, restored_raw};
use pagekeep::capture::follow::FollowOptions;
use pagekeep::format::segment::CommitKind;
use pagekeep::ops::follow::{WatchOptions, follow};
use pagekeep::progress::Silent;
use pagekeep::repo::keys::Secret;
use pagekeep::repo::{Repository, create_store, open_store};
use rusqlite::{Connection, params};

const PATIENCE: Duration = Duration::from_secs(60);
/// The roles that this binary plays in processes of its own: the application, or a follower.
const APPLICATION: &str = "PAGEKEEP_ANY_APPLICATION";
const FOLLOWER: &str = "PAGEKEEP_ANY_FOLLOWER";

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = quick_dir();
        let lab = Self { dir };
        let secret = Secret::create_key_file(&lab.path("key")).unwrap();
        let store = create_store(&lab.path("repo").display().to_string()).unwrap();
        Repository::init(store, &[(&secret, "")], CHEAP, lab.path("state")).unwrap();
        let db = open(&lab.path("app.db"));
        db.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX t_x ON t(x);
             CREATE TABLE meta(n INT, hash TEXT); INSERT INTO meta VALUES(0, '');",
        )
        .unwrap();
        transact(&db, 0);
        lab
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn repository(&self) -> Repository {
        repository(self.dir.path())
    }

    fn role(&self, role: &str, seed: u64) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role", "--nocapture"])
            .env(role, self.dir.path())
            .env("SEED", seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

fn repository(dir: &Path) -> Repository {
    let secret = Secret::read_key_file(&dir.join("key")).unwrap();
    let store = open_store(&dir.join("repo").display().to_string()).unwrap();
    Repository::open(store, &secret, dir.join("state")).unwrap()
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("PRAGMA synchronous=OFF").unwrap();
    db
}

/// A hash of everything but itself.
fn content(db: &Connection) -> String {
    let mut hasher = blake3::Hasher::new();
    let n: i64 = db.query_row("SELECT n FROM meta", [], |row| row.get(0)).unwrap();
    hasher.update(&n.to_le_bytes());
    let mut rows = db.prepare_cached("SELECT id, x FROM t ORDER BY id").unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        hasher.update(&row.get::<_, i64>(0).unwrap().to_le_bytes());
        hasher.update(&row.get::<_, Vec<u8>>(1).unwrap());
    }
    hasher.finalize().to_hex().to_string()
}

/// A transaction that does something, counts itself, and records the hash.
fn transact(db: &Connection, seed: u64) {
    let pick = noise(seed + 5, 16);
    let (id, len) = (i64::from(pick[0]), usize::from(pick[1]) * 4);
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let wanted = match pick[2] % 8 {
        0..5 => {
            db.execute("INSERT OR REPLACE INTO t VALUES(?1, ?2)", params![id, noise(seed, len)])
        }
        5 => db.execute("DELETE FROM t WHERE id % 7 = ?1 % 7", [id]),
        6 => db.execute("UPDATE t SET x = zeroblob(length(x) % 900 + 7) WHERE id > ?1", [id]),
        _ => db.execute("INSERT OR REPLACE INTO t VALUES(?1, ?2)", params![id, noise(seed, 9000)]),
    };
    wanted.unwrap();
    db.execute("UPDATE meta SET n = n + 1", []).unwrap();
    db.execute("UPDATE meta SET hash = ?1", [content(db)]).unwrap();
    db.execute_batch("COMMIT").unwrap();
}

/// What other commits an application makes: none of them changes the content.
fn disturb(db: &Connection, seed: u64) {
    let pick = noise(seed + 99, 16)[3];
    let sql = match pick % 40 {
        0 => "VACUUM",
        1 => "PRAGMA wal_checkpoint(TRUNCATE)",
        2 => "PRAGMA wal_checkpoint(PASSIVE)",
        3 => "BEGIN IMMEDIATE; DELETE FROM t; ROLLBACK",
        _ => return,
    };
    // A checkpoint may find the database busy, and answers rows.
    let _ = db.execute_batch(sql);
}

/// The roles. As a test of its own it does nothing.
#[test]
fn role() {
    let seed: u64 = std::env::var("SEED").map_or(0, |s| s.parse().unwrap());
    let stop = std::thread::spawn(|| {
        let mut rest = String::new();
        let _ = std::io::Read::read_to_string(&mut std::io::stdin(), &mut rest);
    });
    if let Some(dir) = std::env::var_os(APPLICATION) {
        let db = open(&Path::new(&dir).join("app.db"));
        for n in seed * 1_000_000.. {
            if stop.is_finished() {
                return;
            }
            transact(&db, n);
            disturb(&db, n);
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    if let Some(dir) = std::env::var_os(FOLLOWER) {
        let options = options(Duration::from_millis(noise(seed, 1)[0].into()));
        let path = Path::new(&dir).join("app.db");
        let (_, follower) =
            follow(&repository(Path::new(&dir)), &path, options, Arc::new(Silent)).unwrap();
        stop.join().unwrap();
        follower.stop().unwrap();
    }
}

fn options(interval: Duration) -> WatchOptions {
    WatchOptions {
        follow: FollowOptions { interval, ..FollowOptions::default() },
        ..WatchOptions::default()
    }
}

/// Restores every commit, compares its content with the hash that it recorded, and answers the number of scans among them and the last
/// transaction's number.
fn check_all(lab: &Lab) -> (usize, i64) {
    let repository = lab.repository();
    let history = repository.history("app").unwrap();
    let chain = history.chain().unwrap();
    let work = quick_dir();
    let (mut scans, mut last) = (0, None);
    for commit in chain.commits() {
        let bytes = restored_raw(&history, &chain, commit.seq.0, work.path()).unwrap();
        let path = work.path().join("state.db");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        std::fs::write(&path, bytes).unwrap();
        let db = Connection::open(&path).unwrap();
        let (n, hash): (i64, String) =
            db.query_row("SELECT n, hash FROM meta", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        assert_eq!(hash, content(&db), "commit {}", commit.seq);
        if commit.seq.0.is_multiple_of(16) {
            let sound: String =
                db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok", "commit {}", commit.seq);
        }
        match (commit.record.kind, last) {
            (CommitKind::Transaction, Some(last)) => {
                // The same number: a VACUUM, which is a commit, too.
                assert!(n == last || n == last + 1, "commit {}: {n} after {last}", commit.seq);
            }
            (CommitKind::Transaction, None) => panic!("a history begins with a scan"),
            _ => scans += 1,
        }
        last = Some(n);
    }
    (scans, last.unwrap_or(0))
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn stop(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn every_captured_commit_restores_to_what_it_recorded_through_kills_and_restarts() {
    let seconds: u64 = std::env::var("PAGEKEEP_ANY_SECONDS").map_or(6, |s| s.parse().unwrap());
    let lab = Lab::new();
    let began = Instant::now();
    let mut seed = 1;
    let (mut application, mut follower) = (lab.role(APPLICATION, seed), lab.role(FOLLOWER, seed));
    while began.elapsed() < Duration::from_secs(seconds) {
        seed += 1;
        let pick = noise(seed, 4);
        std::thread::sleep(Duration::from_millis(100 + u64::from(pick[0]) * 4));
        match pick[1] % 5 {
            0 | 1 => {
                kill(follower);
                follower = lab.role(FOLLOWER, seed);
            }
            2 => {
                stop(follower);
                follower = lab.role(FOLLOWER, seed);
            }
            3 => {
                kill(application);
                application = lab.role(APPLICATION, seed);
            }
            _ => {
                // All at once, as when the machine loses its power, but for the page cache.
                kill(application);
                kill(follower);
                application = lab.role(APPLICATION, seed);
                follower = lab.role(FOLLOWER, seed);
            }
        }
    }
    stop(application);
    stop(follower);
    let db = open(&lab.path("app.db"));
    let n: i64 = db.query_row("SELECT n FROM meta", [], |row| row.get(0)).unwrap();
    drop(db);
    let (scans, last) = check_all(&lab);
    println!("{n} transactions, {scans} scans, {} restarts", seed - 1);
    assert_eq!(last, n, "what was committed before a clean stop is captured");
    assert!(n > 100);
}

#[test]
fn a_killed_follower_goes_on_without_a_scan_where_the_wal_has_it_all() {
    let lab = Lab::new();
    let db = open(&lab.path("app.db"));
    db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
    // A count of commits that no rebuilt wal-index has by chance.
    for n in 0..1000 {
        db.execute("UPDATE meta SET hash = ?1", [n]).unwrap();
    }
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    transact(&db, 1);
    for round in 0..4u64 {
        let follower = lab.role(FOLLOWER, round);
        // Some captured, some not: wherever it is killed, the WAL keeps what it missed.
        for n in 0..10 {
            transact(&db, round * 1000 + n);
        }
        std::thread::sleep(Duration::from_millis(150 * round));
        kill(follower);
        for n in 100..110 {
            transact(&db, round * 1000 + n);
        }
    }
    let path = lab.path("app.db");
    let (_, follower) =
        follow(&lab.repository(), &path, options(Duration::ZERO), Arc::new(Silent)).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    let scans = follower.status().scans;
    follower.stop().unwrap();
    let (marked, last) = check_all(&lab);
    // Fewer frames than the follower hands off of its own accord, so the WAL has them all.
    assert_eq!(last, 82);
    assert_eq!((scans, marked), (0, 1));
}
