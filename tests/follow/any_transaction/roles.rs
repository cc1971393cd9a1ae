//! The two processes that are killed: an application whose every transaction records what the database contains, and a follower.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pagekeep::internals::capture::follow::FollowOptions;
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::LocalStore;
use rusqlite::{Connection, ErrorCode, params};

use crate::support::dice::Dice;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    db
}

/// The repository in a folder.
pub fn repository(dir: &Path) -> Repository {
    let store = Arc::new(LocalStore::open(dir.join("repository")).unwrap());
    let secret = Secret::read_key_file(&dir.join("key")).unwrap();
    Repository::open(store, &secret, &RepositoryOptions::new(dir.join("state"))).unwrap()
}

/// A hash over every row of every table but the record itself.
pub fn content(db: &Connection) -> rusqlite::Result<Vec<u8>> {
    let mut hash = blake3::Hasher::new();
    for sql in ["SELECT id, a, b FROM t ORDER BY id", "SELECT k, k, v FROM u ORDER BY k"] {
        let mut rows = db.prepare_cached(sql)?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..3 {
                hash.update(format!("{:?};", row.get_ref(column)?).as_bytes());
            }
        }
        hash.update(b"|");
    }
    Ok(hash.finalize().as_bytes().to_vec())
}

/// The number of the last transaction, and the hash that it recorded.
pub fn record(db: &Connection) -> rusqlite::Result<(u64, Vec<u8>)> {
    db.query_row("SELECT n, hash FROM record", [], |r| {
        Ok((r.get::<_, i64>(0)?.unsigned_abs(), r.get(1)?))
    })
}

/// A database with its first record.
pub fn begin(path: &Path, page_size: u32) -> Connection {
    let db = open(path);
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;
         CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t(a);
         CREATE TABLE u(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
         CREATE TABLE record(n INTEGER, hash BLOB); INSERT INTO record VALUES(0, x'')"
    ))
    .unwrap();
    db.execute("UPDATE record SET hash=?1", [content(&db).unwrap()]).unwrap();
    db
}

/// One transaction, recorded or rolled back.
pub fn transact(db: &Connection, dice: &mut Dice) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    for _ in 0..dice.below(5) + 1 {
        let n = i64::try_from(dice.below(200)).unwrap();
        match dice.below(8) {
            0..3 => db.execute("INSERT INTO t(a, b) VALUES(?1, randomblob(?1 * 9))", [n])?,
            3 => db.execute("UPDATE t SET a=a+1, b=randomblob(?1) WHERE id % 7 = ?1 % 7", [n])?,
            4 => db.execute("DELETE FROM t WHERE id % 5 = ?1 % 5 OR a > 150", [n])?,
            5 => db.execute("REPLACE INTO u VALUES('key' || ?1, hex(randomblob(?1)))", [n])?,
            6 => {
                db.execute_batch("SAVEPOINT s; UPDATE t SET b='gone'; ROLLBACK TO s; RELEASE s")?;
                0
            }
            _ => db.execute("DELETE FROM u WHERE v < hex(randomblob(1)) AND ?1 > 50", [n])?,
        };
    }
    if dice.one_in(8) {
        return db.execute_batch("ROLLBACK");
    }
    db.execute("UPDATE record SET n=n+1, hash=?1", params![content(db)?])?;
    db.execute_batch("COMMIT")
}

/// Transactions, and whatever else applications do between them, until stdin ends.
pub fn application(path: &Path, seed: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::SeqCst);
    });
    let mut dice = Dice::new(seed);
    let mut db = open(path);
    while !stop.load(Ordering::SeqCst) {
        let mode = *dice.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
        let done = match dice.below(60) {
            0 => db.execute_batch("VACUUM"),
            1 => db.execute_batch("PRAGMA incremental_vacuum(5)"),
            2 => db.execute_batch(&format!("PRAGMA wal_checkpoint({mode})")),
            3 => {
                db = open(path);
                let pages = *dice.pick(&[0, 20, 1000]);
                db.execute_batch(&format!(
                    "PRAGMA wal_autocheckpoint={pages}; PRAGMA cache_size=10"
                ))
            }
            4..12 => {
                std::thread::sleep(Duration::from_millis(dice.below(12)));
                Ok(())
            }
            _ => transact(&db, &mut dice),
        };
        match done {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                if !db.is_autocommit() {
                    db.execute_batch("ROLLBACK").unwrap();
                }
            }
            done => done.expect("an application's statement"),
        }
    }
}

/// Follows until stdin ends. Answers `durable` with the newest durable commit, `scans` with how often everything was read.
pub fn follower(dir: &Path, interval: u64) {
    let options = WatchOptions {
        follow: FollowOptions {
            interval: Duration::from_millis(interval),
            ..FollowOptions::default()
        },
        ..WatchOptions::default()
    };
    let (_, follower) =
        repository(dir).follow(&dir.join("app.db"), options, Arc::new(Silent)).unwrap();
    println!("\nready");
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "durable" => println!("{}", follower.wait_durable(PATIENCE).unwrap()),
            "scans" => println!("{}", follower.status().scans),
            other => panic!("{other:?}"),
        }
    }
    follower.stop().unwrap();
}
