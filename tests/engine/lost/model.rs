//! What an undo or a recover has to come to, decided beside the engine: three states of each row, and
//! one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{recover, undo};
use crate::support::Lab;
use crate::support::dice::{Dice, number};
use pagekeep::internals::types::Seq;
use pagekeep::{ErrorKind, OnConflict, RecoverOptions, Silent, UndoOptions};
use rusqlite::Connection;

/// The rows of a table: two values by an integer, whatever the key is made of.
type Rows = BTreeMap<i64, [i64; 2]>;
type State = BTreeMap<&'static str, Rows>;

/// The table whose rows have rowids that may become those of others.
const MOVING: &str = "loose";

/// The tables, and how SQL makes their key of an integer and an integer of their key.
const TABLES: [(&str, &str, &str, &str); 5] = [
    ("ipk", "id", "?1", "id"),
    ("bare", "k", "'Key' || ?1", "CAST(substr(k, 4) AS INTEGER)"),
    ("strict", "id", "?1", "id"),
    ("words", "rowid", "?1", "rowid"),
    ("loose", "rowid", "?1", "rowid"),
];

const SCHEMA: &str = "
    CREATE TABLE ipk(id INTEGER PRIMARY KEY, x, y);
    CREATE TABLE bare(k TEXT COLLATE NOCASE PRIMARY KEY, x, y) WITHOUT ROWID;
    CREATE TABLE strict(id INTEGER PRIMARY KEY, x INT, z INT AS (x + 1) STORED, y ANY) STRICT;
    CREATE VIRTUAL TABLE words USING fts5(x, y);
    CREATE TABLE loose(x, y);
    CREATE INDEX ix ON ipk(x);
    CREATE TABLE log(what);
    CREATE TRIGGER a AFTER INSERT ON ipk BEGIN INSERT INTO log VALUES('insert'); END;
    CREATE TRIGGER b AFTER UPDATE ON bare BEGIN INSERT INTO log VALUES('update'); END;
    CREATE TRIGGER c BEFORE DELETE ON strict BEGIN SELECT RAISE(ABORT, 'never'); END;
    CREATE TRIGGER d AFTER DELETE ON loose BEGIN INSERT INTO log VALUES('delete'); END;";

fn read(path: &Path) -> (State, i64) {
    let db = Connection::open(path).unwrap();
    let mut state = State::new();
    for (table, _, _, key) in TABLES {
        let sql = format!("SELECT {key}, x, y FROM {table}");
        let mut statement = db.prepare(&sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?]));
        let rows = statement.query_map([], row).unwrap();
        state.insert(table, rows.collect::<rusqlite::Result<_>>().unwrap());
    }
    let log = db.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
    (state, log)
}

/// Random changes, as an application makes them.
fn change(db: &Connection, dice: &mut Dice) {
    let small = |dice: &mut Dice, n| i64::try_from(dice.below(n)).unwrap();
    for _ in 0..=dice.below(6) {
        let (table, key, value, _) = *dice.pick(&TABLES);
        let (id, x) = (small(dice, 12) + 1, small(dice, 4));
        let sql = match dice.below(4) {
            0 => format!("INSERT OR IGNORE INTO {table}({key}, x, y) VALUES({value}, ?2, ?2)"),
            1 => format!("UPDATE {table} SET x = ?2 WHERE {key} = {value}"),
            2 => format!("UPDATE {table} SET y = ?2 WHERE {key} = {value}"),
            // Its trigger forbids it.
            _ if table == "strict" => continue,
            _ => format!("DELETE FROM {table} WHERE {key} = {value} AND ?2 >= 0"),
        };
        db.execute(&sql, [id, x]).unwrap();
    }
}

/// What an undo comes to: the rows, and how many are in conflict.
fn undone(before: &State, after: &State, live: &State, force: bool) -> (State, u64) {
    let (mut result, mut conflicts) = (live.clone(), 0);
    for (table, ..) in TABLES {
        let (before, after) = (&before[table], &after[table]);
        let keys: BTreeSet<i64> = before.keys().chain(after.keys()).copied().collect();
        for key in keys {
            let (was, became, is) = (before.get(&key), after.get(&key), live[table].get(&key));
            if was == became {
                continue;
            }
            let rows = result.get_mut(table).unwrap();
            match (was, became, is) {
                (Some(was), None, None) => drop(rows.insert(key, *was)),
                (Some(was), None, Some(is)) if was == is => {}
                (None, Some(_), None) => {}
                (None, Some(became), Some(is)) if became == is => drop(rows.remove(&key)),
                (Some(was), Some(became), Some(is)) => {
                    let touched = (0..2).filter(|i| was[*i] != became[*i]);
                    let is_free = |i: &usize| is[*i] == became[*i] || is[*i] == was[*i];
                    // Any change may mean that it is another row.
                    let is_same = table != MOVING || is == became || is == was;
                    if force || (is_same && touched.clone().all(|i| is_free(&i))) {
                        touched.for_each(|i| rows.get_mut(&key).unwrap()[i] = was[i]);
                    } else {
                        conflicts += 1;
                    }
                }
                (Some(was), ..) if force => drop(rows.insert(key, *was)),
                (None, ..) if force => drop(rows.remove(&key)),
                _ => conflicts += 1,
            }
        }
    }
    (result, conflicts)
}

#[test]
fn an_undo_and_a_recover_come_to_what_the_model_says() {
    let (mut met, mut plain, mut refused) = (0, 0, 0);
    for seed in 0..number("PAGEKEEP_LOST_ROUNDS", 6) * 4 {
        let lab = Lab::quick();
        let mut dice = Dice::new(seed + 1);
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        let journal = dice.pick(&["WAL", "DELETE"]);
        db.execute_batch(&format!(
            "PRAGMA journal_mode={journal}; PRAGMA synchronous=OFF; {SCHEMA}"
        ))
        .unwrap();
        // The state of each commit, by its number.
        let mut states = BTreeMap::new();
        // Some changes come to nothing.
        while states.len() < 6 {
            change(&db, &mut dice);
            let seq = lab.backup(&path).seq.0;
            states.insert(seq, read(&path).0);
        }
        let history = lab.repository.history("app").unwrap();
        for _ in 0..6 {
            let newest = *states.keys().last().unwrap();
            let first = 2 + dice.below(newest - 1);
            let last = first + dice.below(newest - first + 1).min(2);
            let how = *dice.pick(&[OnConflict::Stop, OnConflict::Skip, OnConflict::Force]);
            let what = format!("seed {seed}, {first} to {last}, {how:?}");
            let (live, log) = read(&path);
            let force = how == OnConflict::Force;
            let (wanted, conflicts) = undone(&states[&(first - 1)], &states[&last], &live, force);
            let tables: Vec<String> = TABLES.iter().map(|t| t.0.to_owned()).collect();
            let options = UndoOptions::default().tables(tables).on_conflict(how);
            let seqs = (Seq(first), Seq(last));
            let told = history.preview_undo(&path, seqs, &options, &Silent).unwrap();
            assert_eq!(read(&path), (live.clone(), log), "{what}: a preview changes nothing");
            let applied = history.undo(&path, seqs, &options, &Silent).unwrap();
            assert_eq!(applied.conflicts.count, conflicts, "{what}: {:?}", applied.conflicts);
            assert_eq!((told.changed(), told.conflicts), (applied.changed(), applied.conflicts));
            let stopped = conflicts > 0 && how == OnConflict::Stop;
            assert_eq!(applied.stopped, stopped, "{what}");
            let wanted = if stopped { live } else { wanted };
            assert_eq!(read(&path), (wanted.clone(), log), "{what}");
            met += conflicts;
            plain += u64::from(applied.done.is_some());
            if let Some(done) = applied.done {
                states.insert(done.now.0, wanted);
            }
            // Rows of some moment come back.
            let (live, log) = read(&path);
            let (table, _, _, key) = *dice.pick(&TABLES);
            let then = 1 + dice.below(newest);
            let rest = i64::try_from(dice.below(3)).unwrap();
            let changed = dice.one_in(2);
            let options = RecoverOptions::default()
                .tables(vec![table.to_uppercase()])
                .filter(format!("{key} % 3 = {rest} -- some"))
                .changed(changed);
            let mut wanted = live.clone();
            for (key, row) in &states[&then][table] {
                let is_lost = changed || !live[table].contains_key(key);
                if key % 3 == rest && is_lost {
                    wanted.get_mut(table).unwrap().insert(*key, *row);
                }
            }
            let what = format!("seed {seed}, {table} of {then}, {changed}");
            let differs = |(key, row)| live[table].get(key).is_some_and(|live| live != row);
            let applied = recover(&history, &path, then, &options);
            if table == MOVING && !changed && states[&then][table].iter().any(differs) {
                assert_eq!(applied.unwrap_err().kind(), ErrorKind::Refused, "{what}");
                assert_eq!(read(&path), (live, log), "{what}");
                refused += 1;
                continue;
            }
            let applied = applied.unwrap();
            assert_eq!(read(&path), (wanted.clone(), log), "{what}");
            if let Some(done) = applied.done {
                states.insert(done.now.0, wanted.clone());
                // And that goes back in turn.
                let now = done.now.0;
                let back = undo(&history, &path, (now, now), OnConflict::Stop).unwrap();
                assert_eq!(read(&path), (live.clone(), log), "{what}");
                states.insert(back.done.unwrap().now.0, live);
            }
            change(&db, &mut dice);
            let seq = lab.backup(&path).seq.0;
            states.insert(seq, read(&path).0);
        }
    }
    assert!(
        met > 5 && plain > 20 && refused > 0,
        "{met} conflicts, {plain} undone, {refused} refused"
    );
}
