//! Rows that come back, and commits that are taken back: exactly these rows, and no other one.
//!
//! A model decides beside the engine what an undo or a recover has to come to, row by row. Random
//! work on every kind of table says that undoing is exact. `PAGEKEEP_LOST_ROUNDS` sets how much.

mod cases;
mod keeper;
mod mistaken;
mod model;

use std::path::{Path, PathBuf};

use crate::diff::work;
use crate::support::Lab;
use crate::support::dice::{Dice, number};
use pagekeep::internals::types::Seq;
use pagekeep::{
    Applied, ErrorKind, History, OnConflict, RecoverOptions, Result, Silent, UndoOptions,
};
use rusqlite::Connection;

fn undo(history: &History, path: &Path, seqs: (u64, u64), how: OnConflict) -> Result<Applied> {
    let options = UndoOptions::default().on_conflict(how);
    history.undo(path, (Seq(seqs.0), Seq(seqs.1)), &options, &Silent)
}

fn recover(history: &History, path: &Path, seq: u64, options: &RecoverOptions) -> Result<Applied> {
    history.point(Seq(seq)).unwrap().recover(path, options, &Silent)
}

/// A recover of one table.
fn of(table: &str) -> RecoverOptions {
    RecoverOptions::default().tables(vec![table.to_owned()])
}

/// The texts that a question answers.
fn texts(path: &Path, sql: &str) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// All rows, without the largest rowids of AUTOINCREMENT tables: those never go back. An R-tree
/// gives its rows in an order that depends on how they came, so each table's are sorted.
fn rows(path: &Path) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut dump = work::dump(&Connection::open(path).unwrap());
    dump.remove("(sequences)");
    dump.values_mut().for_each(|lines| lines.sort());
    dump
}

fn same(path: &Path, wanted: &std::collections::BTreeMap<String, Vec<String>>, what: &str) {
    let got = rows(path);
    for name in wanted.keys().chain(got.keys()) {
        let (got, wanted) = (got.get(name), wanted.get(name));
        if got != wanted {
            let cut = |lines: Option<&Vec<String>>, other: Option<&Vec<String>>| {
                let other = other.cloned().unwrap_or_default();
                let lines = lines.into_iter().flatten().filter(|l| !other.contains(l));
                lines.take(4).map(|l| l.chars().take(200).collect()).collect::<Vec<String>>()
            };
            panic!("{what}: {name} has {:?} instead of {:?}", cut(got, wanted), cut(wanted, got));
        }
    }
}

#[test]
fn undoing_the_newest_commit_gives_the_rows_of_its_parent_and_undoing_that_gives_them_back() {
    let (mut undone, mut refused) = (0, 0);
    for seed in 0..number("PAGEKEEP_LOST_ROUNDS", 6) {
        let lab = Lab::quick();
        let mut dice = Dice::new(seed + 7);
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        work::begin(&db, &mut dice);
        lab.backup(&path);
        let history = lab.repository.history("app").unwrap();
        for _ in 0..8 {
            work::change(&db, &mut dice);
            let before = rows(&path);
            let mut parent = lab.backup(&path).seq.0;
            work::change(&db, &mut dice);
            let after = rows(&path);
            let seq = lab.backup(&path).seq.0;
            if seq == parent {
                continue;
            }
            let what = format!("seed {seed}, seq:{seq}");
            let applied = match undo(&history, &path, (seq, seq), OnConflict::Stop) {
                Err(e) if e.kind() == ErrorKind::Refused => {
                    // A table came, went, or was redefined.
                    same(&path, &after, &what);
                    refused += 1;
                    continue;
                }
                applied => applied.unwrap_or_else(|e| panic!("{what}: {e:?}")),
            };
            assert_eq!(applied.conflicts.count, 0, "{what}: {:?}", applied.conflicts);
            let mut wanted = before;
            // Indexes, views and triggers stay.
            wanted.insert("(schema)".to_owned(), after["(schema)"].clone());
            same(&path, &wanted, &what);
            // FTS5 takes an index for wrong through a connection that looked at it before.
            let fresh = Connection::open(&path).unwrap();
            assert_eq!(crate::support::integrity_check(&fresh), "ok", "{what}");
            db.execute_batch("INSERT INTO words(words) VALUES('integrity-check')").unwrap();
            let Some(done) = applied.done else {
                assert_eq!(applied.changed(), 0, "{what}");
                continue;
            };
            undone += 1;
            parent = done.before.seq.0;
            assert_eq!((done.now.0, done.alone), (parent + 1, true), "{what}");
            let label = format!("before undo of seq:{seq}");
            assert_eq!((done.before.seq.0, done.before.label), (seq, label), "{what}");
            let again = match undo(&history, &path, (done.now.0, done.now.0), OnConflict::Stop) {
                // The application had rows that refer to nothing, and they would come again.
                Err(e) if e.message().contains("would refer to") => {
                    refused += 1;
                    same(&path, &wanted, &what);
                    continue;
                }
                again => again.unwrap_or_else(|e| panic!("{what}: {e:?}")),
            };
            assert_eq!(again.conflicts.count, 0, "{what}");
            same(&path, &after, &format!("{what}, undone again"));
        }
    }
    assert!(undone > refused && undone > 10, "{undone} undone, {refused} refused");
}

#[test]
fn recovered_rows_come_back_as_they_were_in_every_kind_of_table_and_nothing_else_changes() {
    let mut came = 0;
    for seed in 0..number("PAGEKEEP_LOST_ROUNDS", 6) {
        let lab = Lab::quick();
        let mut dice = Dice::new(seed + 31);
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        work::begin(&db, &mut dice);
        for _ in 0..6 {
            work::change(&db, &mut dice);
        }
        let all = rows(&path);
        let seq = lab.backup(&path).seq.0;
        let history = lab.repository.history("app").unwrap();
        let tables =
            ["plain", "loose", "hidden", "bare", "folded", "derived", "places", "words", "boxes"];
        for table in tables {
            let key = match table {
                "bare" | "folded" => "length(k)",
                "hidden" => "_rowid_",
                "boxes" | "plain" | "places" => "id",
                _ => "rowid",
            };
            let n = i64::try_from(dice.below(3)).unwrap();
            // The triggers of the application run for the application.
            db.execute_batch(&format!("DELETE FROM {table} WHERE {key} % 3 = {n}")).unwrap();
        }
        let log = rows(&path)["log"].clone();
        for table in tables {
            let options = RecoverOptions::default().tables(vec![table.to_owned()]);
            let applied = recover(&history, &path, seq, &options).unwrap();
            came += applied.changed();
            assert_eq!(applied.conflicts.count, 0, "{table}");
        }
        let mut wanted = all;
        wanted.insert("log".to_owned(), log);
        same(&path, &wanted, &format!("seed {seed}"));
        let db = Connection::open(&path).unwrap();
        assert_eq!(crate::support::integrity_check(&db), "ok");
        db.execute_batch("INSERT INTO words(words) VALUES('integrity-check')").unwrap();
    }
    assert!(came > 50, "{came}");
}

/// A database with a history, by the SQL of its commits. The file has no connection but those of
/// the test.
fn history_of(lab: &Lab, commits: &[&str]) -> (History, PathBuf) {
    let path = lab.path("app.db");
    for sql in commits {
        let db = Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        lab.backup(&path);
    }
    (lab.repository.history("app").unwrap(), path)
}
