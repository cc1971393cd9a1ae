//! Random work on every kind of table, and dumps that tell states apart.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::support::dice::Dice;
use crate::support::noise;

/// Makes a database, of some page size, encoding and journal mode.
pub fn begin(db: &Connection, dice: &mut Dice) {
    let encoding = *dice.pick(&["UTF-8", "UTF-16le", "UTF-16be"]);
    begin_in(db, dice, encoding);
}

/// As [`begin`], in an encoding.
pub fn begin_in(db: &Connection, dice: &mut Dice, encoding: &str) {
    let page_size = dice.pick(&[512, 1024, 4096, 65536]);
    let journal = dice.pick(&["WAL", "DELETE"]);
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
         CREATE TABLE typed(a DOUBLE, b FLOAT, c \"REAL INT\", d NUMERIC, id INTEGER PRIMARY KEY, e POINT, f REALTEXT, g CLOB REAL);
         CREATE TRIGGER noted AFTER UPDATE ON plain BEGIN INSERT INTO log VALUES('plain', new.id); END;
         CREATE TRIGGER gone AFTER DELETE ON places BEGIN INSERT INTO log VALUES('places', old.id); END;
         CREATE VIRTUAL TABLE words USING fts5(text, more);
         CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
         CREATE VIEW large AS SELECT id FROM plain WHERE length(b) > 1000;"
    ))
    .unwrap();
}

/// Fills the tables, so that a page is a small part of them.
pub fn fill(db: &Connection, dice: &mut Dice) {
    db.execute_batch("BEGIN").unwrap();
    for i in 0..900_i64 {
        let b = noise(dice.below(1 << 40), dice.place(if i % 60 == 0 { 9000 } else { 200 }));
        let sql = "INSERT INTO plain(a, b, c, d) VALUES(?1, ?2, ?3, ?4)";
        db.execute(sql, params![format!("text {i}"), b, i / 7, value(dice)]).unwrap();
        let sql = "INSERT INTO typed(a, b, c, d, e) VALUES(?1, ?2, ?3, ?4, ?2)";
        db.execute(sql, params![value(dice), i, value(dice), value(dice)]).unwrap();
        let key = format!("key {}", dice.below(1 << 40));
        db.execute(
            "INSERT OR IGNORE INTO bare VALUES(?1, ?2, ?3)",
            params![key, i % 9, value(dice)],
        )
        .unwrap();
        let v = noise(i.unsigned_abs(), dice.place(if i % 50 == 0 { 6000 } else { 90 }));
        db.execute("INSERT OR IGNORE INTO folded VALUES(?1, ?2)", params![key, v]).unwrap();
        db.execute("INSERT INTO hidden VALUES(?1, ?2)", params![value(dice), value(dice)]).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
}

/// A change of few rows.
pub fn touch(db: &Connection, dice: &mut Dice) {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| db.execute(sql, values).unwrap();
    let at = below(dice, 900);
    let (v, w) = (value(dice), value(dice));
    match dice.below(18) {
        0 => run("UPDATE plain SET d = ?1 WHERE id = ?2", &[&v, &at]),
        1 => run("INSERT INTO plain(a, d) VALUES('new', ?1)", &[&v]),
        2 => run("DELETE FROM plain WHERE id = ?1", &[&at]),
        3 => {
            let b = noise(dice.below(99), dice.place(9000));
            run("UPDATE plain SET b = ?1 WHERE id = ?2", &[&b, &at])
        }
        // The last bytes of a long row alone: the pages that it overflows to.
        4 => run(
            "UPDATE plain SET b = CAST(substr(b, 1, length(b) - 1) || x'77' AS BLOB)
             WHERE id = (SELECT id FROM plain WHERE length(b) > 5000 AND id >= ?1 LIMIT 1)",
            &[&at],
        ),
        5 => run("DELETE FROM plain WHERE id BETWEEN ?1 AND ?1 + 30", &[&at]),
        6 => {
            for _ in 0..30 {
                let b = noise(dice.below(1 << 40), dice.place(300));
                run("INSERT OR IGNORE INTO plain(id, b) VALUES(?1, ?2)", &[&below(dice, 1500), &b]);
            }
            0
        }
        7 => run("UPDATE OR IGNORE plain SET id = id + 2000 WHERE id = ?1", &[&at]),
        8..=9 => run(
            "INSERT OR REPLACE INTO typed(a, b, c, d, id) VALUES(?1, ?2, ?2, ?1, ?3)",
            &[&v, &w, &at],
        ),
        10 => run("UPDATE typed SET d = ?1 WHERE id BETWEEN ?2 AND ?2 + 3", &[&v, &at]),
        11 => {
            let key = format!("KEY {} ", dice.below(1 << 40));
            run("INSERT OR REPLACE INTO bare(k, n, v) VALUES(?1, ?2, ?3)", &[&key, &(at % 9), &v])
        }
        12 => run(
            "UPDATE bare SET v = ?1 WHERE n = ?2 AND k > 'key 5' AND k < 'key 51'",
            &[&v, &(at % 9)],
        ),
        13 => run("DELETE FROM bare WHERE n = ?1 AND k > 'key 7' AND k < 'key 73'", &[&(at % 9)]),
        14 => {
            let (key, v) = (format!("key {at}"), noise(9, dice.place(7000)));
            let sql =
                "UPDATE folded SET v = ?1 WHERE k = (SELECT k FROM folded WHERE k > ?2 LIMIT 1)";
            run(sql, &[&v, &key])
        }
        15 => run("UPDATE folded SET k = upper(k) WHERE k BETWEEN 'key 3' AND 'key 31'", &[]),
        16 => run("DELETE FROM hidden WHERE _rowid_ = ?1", &[&at]),
        _ => run("INSERT INTO hidden VALUES(?1, ?2)", &[&v, &w]),
    };
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
    match dice.below(24) {
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
        // Values that columns of each affinity store otherwise than they are read.
        21..=22 => {
            for _ in 0..dice.below(40) {
                let sql = "INSERT OR REPLACE INTO typed(a, b, c, d, id, e, f, g) VALUES(?1, ?2, ?3, ?4, ?5, ?2, ?3, ?1)";
                let (a, b) = (value(dice), Value::Real(below(dice, 9) as f64));
                let (c, d, id) = (value(dice), value(dice), below(dice, 300) - 100);
                db.execute(sql, params![a, b, c, d, id]).unwrap();
            }
            db.execute("DELETE FROM typed WHERE id % 9 = ?1", [below(dice, 9)]).unwrap();
        }
        18 => {
            let n = dice.below(1 << 30);
            let sql = dice.pick(&[
                "CREATE INDEX i{n} ON plain(c)",
                "ALTER TABLE plain ADD COLUMN e{n} DEFAULT 'five'",
                "ALTER TABLE typed ADD COLUMN e{n} REAL DEFAULT 5",
                "ALTER TABLE typed ADD COLUMN e{n} TEXT DEFAULT 12",
                "ALTER TABLE typed ADD COLUMN e{n} NUMERIC DEFAULT '-07'; ALTER TABLE typed ADD COLUMN w{n} DEFAULT TRUE",
                "ALTER TABLE typed ADD COLUMN e{n} BLOB DEFAULT x'00ff'; ALTER TABLE typed ADD COLUMN w{n} DEFAULT word",
                "ALTER TABLE typed ADD COLUMN e{n} INT DEFAULT 1.0 NOT NULL",
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
