//! The application's other half: a writer through this crate's SQLite library, as `application.py` is one through Python's.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ErrorCode};

use crate::support::dice::Dice;

/// How long an application waits for a lock.
const BUSY: Duration = Duration::from_secs(5);

/// Commits without a checkpoint of its own, with so many microseconds between two commits, until stdin ends.
pub fn flood(path: &Path, micros: u64) {
    let stop = stopped_by_stdin();
    let db = open(path);
    db.execute_batch("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0").unwrap();
    let mut n = 0u64;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        if micros > 0 {
            std::thread::sleep(Duration::from_micros(micros));
        }
        db.execute(
            "REPLACE INTO t(id, a, b) VALUES(?1, ?1, randomblob(9000))",
            [n.cast_signed() % 2000],
        )
        .unwrap();
    }
    println!("\n{n} transactions");
}

fn stopped_by_stdin() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::SeqCst);
    });
    stop
}

struct Writer<'a> {
    path: &'a Path,
    dice: Dice,
    db: Connection,
    truncates: Vec<f64>,
    transactions: u64,
    busy: u64,
}

/// Does everything that an application may do, until stdin ends, and says how that went in one line of JSON.
pub fn write_until_told(path: &Path, seed: u64) {
    let stop = stopped_by_stdin();
    let dice = Dice::new(seed);
    let db = open(path);
    let mut writer = Writer { path, dice, db, truncates: Vec::new(), transactions: 0, busy: 0 };
    while !stop.load(Ordering::SeqCst) {
        match writer.act() {
            Ok(()) => writer.transactions += 1,
            Err(e) if is_in_the_way(&e) => {
                writer.busy += 1;
                if !writer.db.is_autocommit() {
                    writer.db.execute_batch("ROLLBACK").unwrap();
                }
            }
            Err(e) => panic!("an application's statement failed: {e}"),
        }
    }
    println!(
        "\n{}",
        serde_json::json!({
            "counts": {"transactions": writer.transactions, "busy": writer.busy},
            "truncates": writer.truncates,
        })
    );
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(BUSY).unwrap();
    db
}

/// Other writers are in the way, or the schema moved under us.
fn is_in_the_way(e: &Error) -> bool {
    let locked = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::SchemaChanged];
    e.sqlite_error_code().is_some_and(|code| locked.contains(&code))
        || e.to_string().contains("no such table")
}

impl Writer<'_> {
    fn act(&mut self) -> rusqlite::Result<()> {
        let n = self.dice.below(1000);
        match self.dice.below(100) {
            0..30 => self.run(&format!(
                "BEGIN IMMEDIATE; INSERT INTO t(a, b) VALUES({n}, randomblob({}));
                 INSERT INTO t(a, b) VALUES({n}, 'x'); COMMIT",
                n * 3
            )),
            30..48 => self
                .run(&format!("UPDATE t SET a=a+1, b=randomblob({n}) WHERE a % 40 = {}", n % 40)),
            48..58 => self.run(&format!(
                "DELETE FROM t WHERE a BETWEEN {n} AND {n} + 25
                 OR (SELECT count(*) FROM t) > 2000 AND id % 3 > 0"
            )),
            58..63 => self.run("BEGIN; UPDATE t SET b=randomblob(1500) WHERE a < 400; ROLLBACK"),
            63..68 => self.run(
                "BEGIN IMMEDIATE; INSERT INTO t(a, b) VALUES(1, 'kept'); SAVEPOINT s;
                 DELETE FROM t WHERE a > 700; ROLLBACK TO s; COMMIT",
            ),
            68..71 => {
                let end = if self.dice.one_in(3) { "ROLLBACK" } else { "COMMIT" };
                self.run(&format!(
                    "PRAGMA cache_size=8; BEGIN IMMEDIATE;
                     WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i WHERE n < {n})
                     INSERT INTO t(a, b) SELECT n, randomblob(2000) FROM i; {end}; PRAGMA cache_size=2000"
                ))
            }
            71..73 => self.run(&format!(
                "BEGIN IMMEDIATE; INSERT INTO t(id, a, b) VALUES(-1, 0, zeroblob({}));
                 DELETE FROM t WHERE id=-1; COMMIT",
                n * 200
            )),
            73..74 => self.run(&format!("PRAGMA auto_vacuum={}; VACUUM", n % 3)),
            74..76 => self.run("VACUUM"),
            76..80 => self.run(&format!("PRAGMA incremental_vacuum({})", n % 50 + 1)),
            80..89 => self.checkpoint(),
            89..92 => {
                self.db = open(self.path);
                let pages = *self.dice.pick(&[0, 10, 100, 1000]);
                let synchronous = *self.dice.pick(&["OFF", "NORMAL", "FULL"]);
                self.run(&format!(
                    "PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint={pages}"
                ))
            }
            _ => {
                std::thread::sleep(Duration::from_micros(n * 60));
                Ok(())
            }
        }
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.execute_batch(sql)
    }

    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        let mode = *self.dice.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE", "TRUNCATE"]);
        let began = Instant::now();
        self.run(&format!("PRAGMA wal_checkpoint({mode})"))?;
        if mode == "TRUNCATE" {
            self.truncates.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(())
    }
}
