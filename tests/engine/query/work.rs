//! Random work on a database that has every kind of table, and the questions that tell its states
//! apart.

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::support::dice::Dice;
use crate::support::noise;

/// Makes a database, of some page size, encoding and journal mode.
pub fn begin(db: &Connection, dice: &mut Dice) {
    let page_size = dice.pick(&[512, 1024, 4096, 8192, 65536]);
    let journal = dice.pick(&["WAL", "DELETE"]);
    let encoding = dice.pick(&["UTF-8", "UTF-16le"]);
    let vacuum = dice.pick(&["NONE", "FULL", "INCREMENTAL"]);
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={vacuum};
         PRAGMA journal_mode={journal}; PRAGMA synchronous=OFF;
         CREATE TABLE plain(id INTEGER PRIMARY KEY, a TEXT, b BLOB, c REAL);
         CREATE INDEX by_a ON plain(a);
         CREATE TABLE bare(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
         CREATE TABLE derived(x INTEGER, y INTEGER AS (x * 2) STORED) STRICT;
         CREATE VIRTUAL TABLE words USING fts5(text);
         CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
         CREATE VIEW large AS SELECT id FROM plain WHERE length(b) > 1000;"
    ))
    .unwrap();
}

/// One transaction, or several.
pub fn change(db: &Connection, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        step(db, dice);
    }
}

/// A number that SQLite takes.
fn below(dice: &mut Dice, n: u64) -> i64 {
    i64::try_from(dice.below(n)).unwrap()
}

fn step(db: &Connection, dice: &mut Dice) {
    let seed = dice.below(1 << 40);
    match dice.below(12) {
        0..=3 => {
            for i in 0..dice.below(40) {
                let len = usize::try_from(dice.below(600)).unwrap();
                db.execute(
                    "INSERT INTO plain(a, b, c) VALUES(?1, ?2, ?3)",
                    params![format!("text {}", dice.below(50)), noise(seed + i, len), seed as f64],
                )
                .unwrap();
            }
        }
        4 => {
            let len = usize::try_from(dice.below(120_000)).unwrap();
            let sql = "INSERT INTO plain(a, b) VALUES('big', ?1)";
            db.execute(sql, [noise(seed, len)]).unwrap();
        }
        5 => {
            let sql = "UPDATE plain SET a = a || '.', b = zeroblob(?1) WHERE id % 7 = ?2";
            db.execute(sql, params![below(dice, 900), below(dice, 7)]).unwrap();
        }
        6 => {
            db.execute("DELETE FROM plain WHERE id % 5 = ?1", [below(dice, 5)]).unwrap();
        }
        7 => {
            let sql = "INSERT OR REPLACE INTO bare VALUES('key ' || ?1, ?2)";
            for _ in 0..dice.below(30) {
                db.execute(sql, params![below(dice, 200), below(dice, 1 << 50)]).unwrap();
            }
        }
        8 => {
            let text = format!("some words and number{}", dice.below(100));
            db.execute("INSERT INTO words VALUES(?1)", [text]).unwrap();
            db.execute("INSERT INTO derived(x) VALUES(?1)", [below(dice, 1000)]).unwrap();
        }
        9 => {
            let sql = "INSERT OR REPLACE INTO boxes VALUES(?1, ?2, ?2 + 5)";
            db.execute(sql, params![below(dice, 100), below(dice, 1000)]).unwrap();
        }
        10 => {
            let n = dice.below(3);
            db.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS more{n}(x); INSERT INTO more{n} VALUES({seed});
                 DROP TABLE IF EXISTS more{}",
                (n + 1) % 3
            ))
            .unwrap();
        }
        _ => {
            let sql = dice.pick(&["VACUUM", "PRAGMA incremental_vacuum(5)", "REINDEX"]);
            // A checkpoint that has to wait leaves it undone.
            db.execute_batch(sql).unwrap();
        }
    }
}

/// Questions that read tables in order, by key, by index, and through every module.
pub const QUESTIONS: [&str; 12] = [
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM plain ORDER BY id",
    "SELECT count(*), sum(length(b)), max(c) FROM plain",
    "SELECT id, length(b) FROM plain WHERE a = 'text 7' ORDER BY id",
    "SELECT a, count(*) FROM plain GROUP BY a",
    "SELECT * FROM plain WHERE id = (SELECT max(id) FROM plain)",
    "SELECT * FROM bare",
    "SELECT * FROM derived",
    "SELECT rowid, text FROM words WHERE words MATCH 'words'",
    "SELECT id FROM boxes WHERE x0 < 300 ORDER BY id",
    "SELECT count(*) FROM large",
    "PRAGMA integrity_check",
];

/// What a question comes to, or why there is no answer.
pub fn answer(db: &Connection, question: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = db.prepare(question)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i)).collect())?;
    rows.collect()
}

/// What all questions come to.
pub fn answers(db: &Connection) -> Vec<Vec<Vec<Value>>> {
    QUESTIONS.iter().map(|question| answer(db, question).unwrap()).collect()
}
