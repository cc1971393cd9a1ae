//! The application: processes whose every transaction says in the database which one it is, and
//! what the database holds after it.
//!
//! A transaction writes its number, a sum over all rows, and a hash that runs through all
//! transactions before it. Before it commits it writes number and hash to a journal beside the
//! database. So a restored file proves by itself that it is one committed state, and the journal
//! proves that it is one of this database's, and which one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::support::dice::Dice;
use crate::support::process::role;

/// How many rows there are at most.
const ROWS: u64 = 400;

/// Number, running hash, and sum over all rows.
struct Record {
    n: u64,
    hash: [u8; 32],
    sum: u128,
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    db.execute_batch("PRAGMA synchronous=NORMAL").unwrap();
    db
}

/// Makes a database without a transaction, and its journal.
pub fn begin(path: &Path, page_size: u32) {
    let db = open(path);
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA journal_mode=WAL;
         CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(length(v));
         CREATE TABLE record(n INTEGER, hash BLOB, sum BLOB);"
    ))
    .unwrap();
    db.execute("INSERT INTO record VALUES(0, ?1, ?2)", params![[0u8; 32], [0u8; 16]]).unwrap();
    File::create(journal_of(path)).unwrap();
}

fn journal_of(path: &Path) -> PathBuf {
    path.with_extension("journal-of-the-test")
}

fn record(db: &Connection) -> rusqlite::Result<Record> {
    db.query_row("SELECT n, hash, sum FROM record", [], |row| {
        let n: i64 = row.get(0)?;
        Ok(Record { n: n.unsigned_abs(), hash: row.get(1)?, sum: u128::from_le_bytes(row.get(2)?) })
    })
}

/// What a row adds to the sum.
fn weight(id: i64, v: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&id.to_le_bytes()).update(v);
    let mut weight = [0; 16];
    hasher.finalize_xof().fill(&mut weight);
    u128::from_le_bytes(weight)
}

fn next_hash(before: &[u8; 32], n: u64, sum: u128) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(&n.to_le_bytes()).update(&sum.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// One transaction of 1 to 30 rows.
fn transact(db: &Connection, dice: &mut Dice, journal: &mut File) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let Record { n, hash, mut sum } = record(db)?;
    for _ in 0..=dice.below(30) {
        let id = i64::try_from(dice.below(ROWS)).unwrap();
        let old: Option<Vec<u8>> = db
            .prepare_cached("SELECT v FROM t WHERE id=?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        sum = sum.wrapping_sub(old.map_or(0, |v| weight(id, &v)));
        if dice.one_in(8) {
            db.prepare_cached("DELETE FROM t WHERE id=?1")?.execute([id])?;
            continue;
        }
        let len = if dice.one_in(20) { dice.below(6000) } else { dice.below(400) };
        let v: Vec<u8> = (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        db.prepare_cached("REPLACE INTO t VALUES(?1, ?2)")?.execute(params![id, v])?;
        sum = sum.wrapping_add(weight(id, &v));
    }
    let (n, hash) = (n + 1, next_hash(&hash, n + 1, sum));
    db.prepare_cached("UPDATE record SET n=?1, hash=?2, sum=?3")?.execute(params![
        i64::try_from(n).unwrap(),
        hash,
        sum.to_le_bytes()
    ])?;
    // One write, so that a kill leaves a line or none.
    let line = format!("{n} {:016x}\n", short(&hash));
    journal.write_all(line.as_bytes()).unwrap();
    db.execute_batch("COMMIT")
}

fn short(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(hash[..8].try_into().unwrap())
}

/// A process that writes to a database until its standard input ends.
pub fn command(path: &Path, seed: u64, pause: u64) -> Command {
    let mut command = role("mixed::role_writer");
    command
        .env("PAGEKEEP_ROLE_DATABASE", path)
        .env("PAGEKEEP_ROLE_SEED", seed.to_string())
        .env("PAGEKEEP_ROLE_PAUSE", pause.to_string());
    command
}

/// Transactions, and whatever else applications do between them, until standard input ends. `pause`
/// is the longest time between two, in milliseconds.
pub fn write_until_told(path: &Path, seed: u64, pause: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::SeqCst);
    });
    let mut dice = Dice::new(seed);
    let mut journal = OpenOptions::new().append(true).open(journal_of(path)).unwrap();
    let mut db = open(path);
    while !stop.load(Ordering::SeqCst) {
        let done = match dice.below(80) {
            0 => {
                let mode = *dice.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
                db.execute_batch(&format!("PRAGMA wal_checkpoint({mode})"))
            }
            1 => {
                db = open(path);
                let pages = *dice.pick(&[0, 20, 1000]);
                db.execute_batch(&format!("PRAGMA wal_autocheckpoint={pages}"))
            }
            2 => {
                std::thread::sleep(Duration::from_millis(dice.below(20 * pause + 1)));
                Ok(())
            }
            _ => transact(&db, &mut dice, &mut journal),
        };
        match done {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                if !db.is_autocommit() {
                    db.execute_batch("ROLLBACK").unwrap();
                }
            }
            done => done.expect("an application's statement"),
        }
        std::thread::sleep(Duration::from_micros(dice.below(1000 * pause + 1)));
    }
}

/// One transaction more.
pub fn write_once(path: &Path, seed: u64) {
    let mut journal = OpenOptions::new().append(true).open(journal_of(path)).unwrap();
    transact(&open(path), &mut Dice::new(seed), &mut journal).unwrap();
}

/// The number of the live database's last transaction.
pub fn last(path: &Path) -> u64 {
    record(&open(path)).unwrap().n
}

/// What the application wrote down, as far as it was read.
pub struct Journal {
    path: PathBuf,
    read: Mutex<(u64, Vec<u64>)>,
}

impl Journal {
    pub fn of(path: &Path) -> Self {
        Self { path: journal_of(path), read: Mutex::new((0, vec![0])) }
    }

    /// The hash of a transaction. Who wrote a number down and died before it committed is followed
    /// by another one with the same number, so the last line counts.
    fn hash(&self, n: u64) -> Option<u64> {
        let mut read = self.read.lock().unwrap();
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(read.0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        read.0 += whole as u64;
        for line in text[..whole].lines() {
            let (n, hash) = line.split_once(' ').expect("a line of the journal");
            let n: usize = n.parse().unwrap();
            if read.1.len() <= n {
                read.1.resize(n + 1, 0);
            }
            read.1[n] = u64::from_str_radix(hash, 16).unwrap();
        }
        read.1.get(usize::try_from(n).unwrap()).copied()
    }

    /// Which committed state a restored file is; or why it is none.
    pub fn recognise(&self, file: &Path) -> Result<u64, String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(format!("file:{}?immutable=1", file.display()), flags)
            .map_err(|e| e.to_string())?;
        let look = || -> rusqlite::Result<(Record, u128, String)> {
            let mut sum = 0u128;
            let mut rows = db.prepare("SELECT id, v FROM t")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                sum = sum.wrapping_add(weight(row.get(0)?, row.get_ref(1)?.as_blob()?));
            }
            let sound = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            Ok((record(&db)?, sum, sound))
        };
        let (record, sum, sound) = look().map_err(|e| format!("it cannot be read: {e}"))?;
        let n = record.n;
        if sound != "ok" {
            return Err(format!("integrity_check of transaction {n}: {sound}"));
        }
        if sum != record.sum {
            return Err(format!("its rows are not those after transaction {n}"));
        }
        let expected = if n == 0 { Some(0) } else { self.hash(n) };
        if expected != Some(short(&record.hash)) {
            return Err(format!("its transaction {n} was never committed to this database"));
        }
        Ok(n)
    }
}

#[test]
fn what_was_never_committed_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    begin(&path, 1024);
    for seed in 1..=5 {
        write_once(&path, seed);
    }
    let copy = |name: &str, sql: &str| {
        let copy = dir.path().join(name);
        open(&path).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        std::fs::copy(&path, &copy).unwrap();
        let db = open(&copy);
        db.execute_batch(sql).unwrap();
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        Journal::of(&path).recognise(&copy)
    };
    assert_eq!(copy("same.db", ""), Ok(5));
    assert!(copy("row.db", "UPDATE t SET v=x'00' WHERE id=(SELECT max(id) FROM t)").is_err());
    assert!(copy("number.db", "UPDATE record SET n=4").is_err());
    assert!(copy("hash.db", "UPDATE record SET hash=zeroblob(32)").is_err());
}
