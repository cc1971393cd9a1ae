//! What a diff writes as a changeset, applied by SQLite's own session extension.

use std::collections::BTreeMap;
use std::path::Path;

use super::{exact, history, restored};
use crate::diff::work::dump;
use crate::support::dice::number;
use crate::support::{Lab, python};
use pagekeep::{DiffOptions, RestorePoint, Silent, TableDiff};
use rusqlite::Connection;

/// The changeset of a diff, and how its tables differ.
fn written(
    old: &RestorePoint,
    new: &RestorePoint,
    options: &DiffOptions,
) -> (Vec<u8>, Vec<TableDiff>) {
    let mut bytes = Vec::new();
    let diff = old.diff(new, options).unwrap();
    let mut write = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Ok(())
    };
    let told = diff.changeset(&mut write, &Silent).unwrap();
    (bytes, told)
}

/// Applies a changeset with SQLite's session extension. Returns what it said of a conflict.
fn apply(python: &Path, deed: &str, database: &Path, changeset: &[u8]) -> Result<usize, String> {
    let file = database.with_extension("changeset");
    std::fs::write(&file, changeset).unwrap();
    let ran =
        python::script(python, "changeset.py").arg(deed).arg(database).arg(file).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    match ran.status.success() {
        true => Ok(ran.stdout.iter().filter(|byte| **byte == b'\n').count()),
        false => Err(errors),
    }
}

/// Tables of one definition in both moments, which a changeset has wholly.
fn comparable(a: &Connection, b: &Connection, told: &[TableDiff]) -> Vec<String> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let definition = |db: &Connection, name: &str| -> Option<String> {
        db.query_row(sql, [name], |row| row.get(0)).ok()
    };
    let names =
        told.iter().filter(|table| table.uncompared.is_none()).map(|table| table.name.to_string());
    names
        .filter(|name| definition(a, name).is_some() && definition(a, name) == definition(b, name))
        .collect()
}

/// What a changeset has of the rows of a table: not the rowid, where another column is the key.
fn known(dump: &BTreeMap<String, Vec<String>>, name: &str) -> Vec<String> {
    let mut lines = dump.get(name).cloned().unwrap_or_default();
    if name == "loose" {
        let rest = |line: &String| line.split_once('|').unwrap().1.to_owned();
        lines = lines.iter().map(rest).collect();
        lines.sort();
    }
    lines
}

#[test]
fn sqlite_applies_a_changeset_and_takes_it_back() {
    let Some(python) = python::find() else { return };
    let (mut tables, mut changes, mut left_out, mut stuck, mut back) = (0, 0, 0, 0, 0);
    for seed in 0..number("PAGEKEEP_DIFF_ROUNDS", 5) {
        let lab = Lab::quick();
        let (history, _) = history(&lab, seed + 4000, 6);
        let points = history.restore_points().unwrap();
        for dir in ["a", "b"] {
            std::fs::create_dir(lab.path(dir)).unwrap();
        }
        for (old, new) in points.iter().zip(&points[1..]) {
            let (bytes, told) = written(old, new, &exact(false));
            left_out += told.iter().filter(|table| table.uncompared.is_some()).count();
            let (a, b) = (restored(old, &lab.path("a")), restored(new, &lab.path("b")));
            let names = comparable(&a, &b, &told);
            let (before, after) = (dump(&a), dump(&b));
            drop((a, b));
            // Rows that exchange unique values are more than any changeset can do.
            match apply(&python, "apply", &lab.path("a/restored.db"), &bytes) {
                Ok(n) => changes += n,
                Err(said) if said.contains("CONSTRAINT") => {
                    stuck += 1;
                    continue;
                }
                Err(said) => panic!("seed {seed}, seq:{}: {said}", new.seq()),
            }
            let got = dump(&Connection::open(lab.path("a/restored.db")).unwrap());
            for name in &names {
                assert_eq!(
                    known(&got, name),
                    known(&after, name),
                    "seed {seed}, seq:{}, {name}",
                    new.seq()
                );
                tables += 1;
            }
            match apply(&python, "revert", &lab.path("b/restored.db"), &bytes) {
                Ok(_) => back += 1,
                // Backwards a row comes before the other one of its key goes.
                Err(said) if ["folded", "loose", "CONSTRAINT"].iter().any(|s| said.contains(s)) => {
                    continue;
                }
                Err(said) => panic!("back, seed {seed}, seq:{}: {said}", new.seq()),
            }
            let got = dump(&Connection::open(lab.path("b/restored.db")).unwrap());
            for name in &names {
                assert_eq!(
                    known(&got, name),
                    known(&before, name),
                    "back, seed {seed}, seq:{}, {name}",
                    new.seq()
                );
            }
        }
    }
    println!(
        "{tables} tables, {changes} changes, {left_out} tables left out, {stuck} stuck, {back} back"
    );
    assert!(tables > 20 && changes > 100 && left_out > 5 && stuck * 4 < tables && back > 5);
}

#[test]
fn what_a_changeset_can_not_tell_is_said_of_its_table() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE keyed(id INTEGER PRIMARY KEY, x); INSERT INTO keyed VALUES(1, 'a');
         CREATE TABLE named(k TEXT PRIMARY KEY, v); INSERT INTO named VALUES('k', 1), (NULL, 2);
         CREATE TABLE loose(x); INSERT INTO loose VALUES(1);
         CREATE TABLE same(x); CREATE TABLE grows(id INTEGER PRIMARY KEY);
         CREATE TABLE mixed(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY)) WITHOUT ROWID;
         INSERT INTO mixed VALUES('a', 1), ('A', 2);
         CREATE VIRTUAL TABLE words USING fts5(text);",
    )
    .unwrap();
    lab.backup(&path);
    db.execute_batch(
        "UPDATE keyed SET x = 'b'; UPDATE named SET v = v + 1; UPDATE loose SET x = 2;
         ALTER TABLE grows ADD COLUMN y; INSERT INTO grows VALUES(1, 2); INSERT INTO words VALUES('one');
         UPDATE mixed SET v = 3 WHERE v = 2;",
    )
    .unwrap();
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let points = history.restore_points().unwrap();
    let (bytes, told) = written(&points[0], &points[1], &DiffOptions::default());
    let of = |name: &str| {
        let table = told.iter().find(|table| &*table.name == name).unwrap();
        table.uncompared.clone().unwrap_or_default()
    };
    assert_eq!(of("keyed"), "");
    assert_eq!(of("named"), "1 row has NULL in the primary key, which a changeset can't tell");
    assert_eq!(of("loose"), "it has no PRIMARY KEY, by which a changeset knows rows");
    assert_eq!(of("grows"), "it has other columns, and a changeset has rows of one definition");
    assert_eq!(of("words"), "it is a virtual table, which changesets do not have");
    assert_eq!(of("mixed"), "its primary key sorts by another collation than its columns");
    assert_eq!(told.len(), 6);
    // Two tables with one update each: the key, what was there, and what is.
    let mut wanted = b"T\x02\x01\x00keyed\0\x17\0".to_vec();
    wanted.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x01\x03\x01a\0\x03\x01b");
    wanted.extend_from_slice(b"T\x02\x01\x00named\0\x17\0");
    wanted.extend_from_slice(b"\x03\x01k\x01\0\0\0\0\0\0\0\x01\0\x01\0\0\0\0\0\0\0\x02");
    assert_eq!(bytes, wanted);
}
