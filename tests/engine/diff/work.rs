//! Random work on every kind of table, and dumps that tell states apart.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::support::dice::Dice;
use crate::support::noise;

/// Makes a database, of some page size, encoding and journal mode.
pub fn begin(db: &Connection, dice: &mut Dice) {
    let page_size = dice.pick(&[512, 1024, 4096, 65536]);
    let journal = dice.pick(&["WAL", "DELETE"]);
    let encoding = dice.pick(&["UTF-8", "UTF-16le", "UTF-16be"]);
    let vacuum = dice.pick(&["NONE", "FULL", "INCREMENTAL"]);
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={vacuum};
         PRAGMA journal_mode={journal}; PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF;
         CREATE TABLE plain(id INTEGER PRIMARY KEY, a TEXT, b BLOB, c REAL, d);
         CREATE INDEX by_a ON plain(a);
         CREATE TABLE loose(k TEXT PRIMARY KEY, \"odd \"\"name\" NUMERIC);
         CREATE TABLE hidden(rowid TEXT, v);
         CREATE TABLE bare(k TEXT COLLATE NOCASE, n, v, PRIMARY KEY(n DESC, k COLLATE RTRIM)) WITHOUT ROWID;
         CREATE TABLE folded(k TEXT PRIMARY KEY COLLATE NOCASE, v) WITHOUT ROWID;
         CREATE TABLE derived(x INTEGER, y INTEGER AS (x * 2) STORED, z INT AS (x + 1), w ANY) STRICT;
         CREATE TABLE places(id INTEGER PRIMARY KEY, place INT UNIQUE, name TEXT);
         CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, x REFERENCES plain(id));
         CREATE TABLE log(what, id);
         CREATE TRIGGER noted AFTER UPDATE ON plain BEGIN INSERT INTO log VALUES('plain', new.id); END;
         CREATE TRIGGER gone AFTER DELETE ON places BEGIN INSERT INTO log VALUES('places', old.id); END;
         CREATE VIRTUAL TABLE words USING fts5(text, more);
         CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
         CREATE VIEW large AS SELECT id FROM plain WHERE length(b) > 1000;"
    ))
    .unwrap();
}

/// One transaction, or several.
pub fn change(db: &Connection, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        step(db, dice);
    }
}

/// A number that SQLite takes.
fn below(dice: &mut Dice, n: u64) -> i64 {
    i64::try_from(dice.below(n)).unwrap()
}

/// Any value.
fn value(dice: &mut Dice) -> Value {
    match dice.below(10) {
        0 => Value::Null,
        1 => Value::Integer(below(dice, 3) - 1),
        2 => Value::Integer(i64::MIN),
        3 => Value::Real(*dice.pick(&[0.1, -0.0, 1.0, 5e-324, f64::INFINITY, 1e23])),
        4 => Value::Real(f64::from_bits(dice.next() >> 2)),
        5 => Value::Blob(noise(dice.below(99), dice.place(40))),
        6 => Value::Text((*dice.pick(&["it's", "a\0b", "", "\x1b[31m\n", "größer 🦀"])).to_owned()),
        _ => Value::Text(format!("text {}", dice.below(30))),
    }
}

fn step(db: &Connection, dice: &mut Dice) {
    let run = |sql: &str| db.execute_batch(sql).unwrap();
    match dice.below(21) {
        0..=2 => {
            for _ in 0..dice.below(60) {
                let (a, d) = (format!("text {}", dice.below(50)), value(dice));
                let b = noise(dice.below(1 << 40), dice.place(400));
                let sql = "INSERT INTO plain(a, b, c, d) VALUES(?1, ?2, ?3, ?4)";
                db.execute(sql, params![a, b, dice.below(1 << 50) as f64 / 7.0, d]).unwrap();
            }
        }
        3 => {
            let big = noise(dice.below(9), dice.place(90_000));
            db.execute("INSERT INTO plain(a, b) VALUES('big', ?1)", [big]).unwrap();
        }
        4 => {
            let sql = "UPDATE plain SET a = a || '.', d = ?1 WHERE id % 7 = ?2";
            db.execute(sql, params![value(dice), below(dice, 7)]).unwrap();
        }
        5 => {
            // The last bytes of a long row alone: the pages that it overflows to.
            let sql = "UPDATE plain SET b = CAST(substr(b, 1, length(b) - 1) || x'77' AS BLOB) WHERE length(b) > 5000";
            run(sql);
        }
        6 => {
            db.execute("DELETE FROM plain WHERE id % 5 = ?1", [below(dice, 5)]).unwrap();
        }
        7 => {
            let sql =
                "UPDATE OR IGNORE plain SET id = id + 100000 WHERE id % 11 = ?1 AND id < 100000";
            db.execute(sql, [below(dice, 11)]).unwrap();
        }
        8 => {
            for _ in 0..dice.below(20) {
                let sql = "INSERT OR REPLACE INTO loose VALUES(?1, ?2)";
                db.execute(sql, params![value(dice), value(dice)]).unwrap();
                let sql = "INSERT INTO hidden VALUES(?1, ?2)";
                db.execute(sql, params![value(dice), value(dice)]).unwrap();
            }
            run("DELETE FROM hidden WHERE _rowid_ % 3 = 0");
        }
        9..=10 => {
            let keys = ["a", "A", "b ", "b", "B", "é", "\u{ffff}", "\u{10000}", ""];
            for _ in 0..dice.below(40) {
                let (k, n) = (*dice.pick(&keys), value(dice));
                let sql = "INSERT OR REPLACE INTO bare VALUES(?1, coalesce(?2, 0), ?3)";
                db.execute(sql, params![k, n, value(dice)]).unwrap();
                let sql = "INSERT OR REPLACE INTO folded VALUES(?1, ?2)";
                db.execute(sql, params![k, value(dice)]).unwrap();
            }
            db.execute("DELETE FROM bare WHERE k = ?1", [*dice.pick(&keys)]).unwrap();
        }
        11 => {
            let sql = "INSERT INTO derived(x, w) VALUES(?1, ?2)";
            db.execute(sql, params![below(dice, 1000), value(dice)]).unwrap();
            run("UPDATE derived SET x = x + 1 WHERE x % 3 = 0");
        }
        12 => {
            let sql = "INSERT OR IGNORE INTO places(place, name) VALUES(?1, ?2)";
            for _ in 0..dice.below(30) {
                db.execute(sql, params![below(dice, 60), value(dice)]).unwrap();
            }
        }
        13 => {
            // Two rows exchange a unique value.
            run("UPDATE OR IGNORE places SET place = -place - 1 WHERE place >= 0;
                 UPDATE OR IGNORE places SET place = (-place) % 60 + 60 * (id % 2) WHERE place < 0 AND
                   NOT EXISTS(SELECT 1 FROM places b WHERE b.place = (-places.place) % 60 + 60 * (places.id % 2))");
        }
        14 => {
            let sql = "INSERT INTO counted(x) VALUES(?1)";
            db.execute(sql, [below(dice, 10)]).unwrap();
            run("DELETE FROM counted WHERE id % 4 = 0");
        }
        15 => {
            let sql = "INSERT INTO words VALUES('some number' || ?1, ?2)";
            db.execute(sql, params![below(dice, 99), value(dice)]).unwrap();
            run(
                "UPDATE words SET more = 'it''s' WHERE rowid % 5 = 1; DELETE FROM words WHERE rowid % 7 = 3",
            );
        }
        16 => {
            let sql = "INSERT OR REPLACE INTO boxes VALUES(?1, ?2 / 3.0, ?2 + 5)";
            db.execute(sql, params![below(dice, 100), below(dice, 1000)]).unwrap();
        }
        17 => {
            let n = dice.below(3);
            run(&format!(
                "CREATE TABLE IF NOT EXISTS more{n}(x UNIQUE, y); INSERT OR IGNORE INTO more{n} VALUES({n}, 2);
                 CREATE TRIGGER IF NOT EXISTS t{n} AFTER INSERT ON more{n} BEGIN DELETE FROM log; END;
                 DROP TABLE IF EXISTS more{}",
                (n + 1) % 3
            ));
        }
        18 => {
            let n = dice.below(1 << 30);
            let sql = dice.pick(&[
                "CREATE INDEX i{n} ON plain(c)",
                "ALTER TABLE plain ADD COLUMN e{n} DEFAULT 'five'",
                "CREATE UNIQUE INDEX u{n} ON places(place, name)",
                "DROP VIEW IF EXISTS large; CREATE VIEW large AS SELECT id FROM plain",
                "ALTER TABLE log RENAME COLUMN what TO w{n}; ALTER TABLE log RENAME COLUMN w{n} TO what",
            ]);
            run(&sql.replace("{n}", &n.to_string()));
        }
        _ => {
            let upkeep = ["VACUUM", "PRAGMA incremental_vacuum(5)", "REINDEX", "ANALYZE"];
            run(dice.pick::<&str>(&upkeep));
        }
    }
}

/// All that a database has, as text: its schema, and each table's rows with their rowids.
pub fn dump(db: &Connection) -> BTreeMap<String, Vec<String>> {
    let lines = |sql: &str| -> Vec<String> {
        let mut statement = db.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let n = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cell = |i| format!("{:?}", row.get_ref(i).unwrap());
            Ok((0..n).map(cell).collect::<Vec<_>>().join("|"))
        });
        rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let mut all = BTreeMap::from([(
        "(schema)".to_owned(),
        lines(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1, 2",
        ),
    )]);
    let mut statement = db
        .prepare("SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') AND name NOT LIKE 'sqlite\\_s%' ESCAPE '\\'")
        .unwrap();
    let tables: Vec<(String, bool)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    for (name, without_rowid) in tables {
        let rowid = if without_rowid { "" } else { "_rowid_, " };
        all.insert(name.clone(), lines(&format!("SELECT {rowid}* FROM \"{name}\"")));
    }
    all.insert(
        "(sequences)".to_owned(),
        lines("SELECT name, seq FROM sqlite_sequence ORDER BY name"),
    );
    all
}
