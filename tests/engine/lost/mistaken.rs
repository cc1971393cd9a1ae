//! Rows that must not be taken for others, and what is told of rows that were left out.

use super::{history_of, of, recover, texts, undo};
use crate::support::Lab;
use pagekeep::internals::types::Seq;
use pagekeep::{Applied, ErrorKind, OnConflict, RecoverOptions, Silent};
use rusqlite::Connection;

/// The rows and the SQL that are told.
fn told(applied: &mut Applied) -> (Vec<String>, String) {
    let (mut keys, mut sql) = (Vec::new(), String::new());
    applied
        .rows(&mut |change| {
            keys.push(format!("{:?} {:?}", change.operation, change.key.values));
            Ok(())
        })
        .unwrap();
    applied
        .sql(&mut |statement| {
            sql.push_str(statement);
            sql.push('\n');
            Ok(())
        })
        .unwrap();
    (keys, sql)
}

#[test]
fn an_undo_changes_no_row_that_a_vacuum_moved_under_the_rowid_of_another_one() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE t(name, status);
             WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) INSERT INTO t SELECT 'c' || i, 'open' FROM n",
            "UPDATE t SET status = 'paid' WHERE name = 'c7'",
            "UPDATE t SET status = 'paid' WHERE name = 'c10'; DELETE FROM t WHERE name IN ('c1', 'c2', 'c3')",
        ],
    );
    Connection::open(&path).unwrap().execute_batch("VACUUM").unwrap();
    let rows = "SELECT rowid || name || status FROM t ORDER BY rowid";
    let before = texts(&path, rows);
    assert_eq!(before[6], "7c10paid");
    for how in [OnConflict::Stop, OnConflict::Skip] {
        let applied = undo(&history, &path, (2, 2), how).unwrap();
        assert_eq!((applied.changed(), applied.conflicts.count), (0, 1), "{how:?}");
        assert_eq!(texts(&path, rows), before, "{how:?}");
    }
    undo(&history, &path, (2, 2), OnConflict::Force).unwrap();
    assert_eq!(texts(&path, rows)[6], "7c10open");
}

#[test]
fn a_recover_of_a_table_whose_rowids_a_vacuum_moved_is_refused_but_for_an_exact_one() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE t(name);
             WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) INSERT INTO t SELECT 'c' || i FROM n",
            "DELETE FROM t WHERE rowid <= 5",
        ],
    );
    let rows = "SELECT name FROM t ORDER BY rowid";
    // Rows that are missing alone do come back.
    let told = history.point(Seq(1)).unwrap().preview_recover(&path, &of("t"), &Silent).unwrap();
    assert_eq!(told.changed(), 5);
    Connection::open(&path).unwrap().execute_batch("VACUUM").unwrap();
    let before = texts(&path, rows);
    assert_eq!(before, ["c6", "c7", "c8", "c9", "c10"]);
    // Whatever rows are asked for: those that moved are seen.
    for options in [of("t"), of("t").filter("rowid > 7"), of("T").on_conflict(OnConflict::Skip)] {
        let e = recover(&history, &path, 1, &options).unwrap_err();
        let hint = e.hint().unwrap().to_string();
        assert_eq!((e.kind(), e.object()), (ErrorKind::Refused, Some("table \"t\"")), "{e:?}");
        assert!(e.message().contains("VACUUM") && hint.contains("rows"), "{e:?} {hint}");
        assert_eq!(texts(&path, rows), before);
    }
    recover(&history, &path, 1, &of("t").changed(true)).unwrap();
    let all: Vec<String> = (1..=10).map(|i| format!("c{i}")).collect();
    assert_eq!(texts(&path, rows), all);
}

#[test]
fn no_table_is_taken_for_one_of_the_look_at_foreign_keys() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES(1), (2);
             CREATE TABLE refers(id INTEGER PRIMARY KEY, p REFERENCES p); INSERT INTO refers VALUES(10, 1)",
            "INSERT INTO refers VALUES(20, 2), (30, 2); INSERT INTO p VALUES(3)",
        ],
    );
    let rows = "SELECT CAST(id AS TEXT) FROM refers ORDER BY id";
    assert_eq!(undo(&history, &path, (2, 2), OnConflict::Stop).unwrap().changed(), 3);
    assert_eq!(texts(&path, rows), ["10"]);
    let both = RecoverOptions::default().tables(vec!["refers".into(), "p".into()]);
    assert_eq!(recover(&history, &path, 2, &both).unwrap().changed(), 3);
    assert_eq!(texts(&path, rows), ["10", "20", "30"]);
}

#[test]
fn rows_that_were_left_out_are_not_told_as_done() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE u(id INTEGER PRIMARY KEY, mail TEXT UNIQUE); CREATE TABLE log(x);
             CREATE TRIGGER tr AFTER INSERT ON u BEGIN INSERT INTO log VALUES(1); END;
             INSERT INTO u VALUES(1, 'a'), (2, 'b'), (3, 'c')",
            "DELETE FROM u WHERE id < 3; INSERT INTO u VALUES(7, 'a')",
        ],
    );
    let point = history.point(Seq(1)).unwrap();
    let skip = of("u").on_conflict(OnConflict::Skip);
    let mut previewed = point.preview_recover(&path, &skip, &Silent).unwrap();
    let (keys, sql) = told(&mut previewed);
    assert_eq!(keys, ["Insert [Integer(2)]"]);
    assert!(sql.contains("'b'") && !sql.contains("'a'"), "{sql}");
    // What stopped did nothing.
    let mut stopped = point.preview_recover(&path, &of("u"), &Silent).unwrap();
    assert!(stopped.stopped && told(&mut stopped).0.is_empty());
    let mut done = point.recover(&path, &skip, &Silent).unwrap();
    assert_eq!(told(&mut done), (keys, sql));
    // All that is left is in the way of another one: nothing was done, and no trigger is told of.
    let mut nothing = point.recover(&path, &skip, &Silent).unwrap();
    assert_eq!((nothing.changed(), nothing.tables[0].skipped), (0, 1));
    assert!(nothing.done.is_none() && nothing.silent.is_empty() && nothing.rebuilt.is_empty());
    assert!(told(&mut nothing).0.is_empty());
}

#[test]
fn an_index_that_the_application_fills_in_part_stays_so() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE docs(id INTEGER PRIMARY KEY, body, published);
             CREATE VIRTUAL TABLE part USING fts5(body, content='docs', content_rowid='id');
             CREATE VIRTUAL TABLE whole USING fts5(body, content='docs', content_rowid='id');
             CREATE TRIGGER a AFTER INSERT ON docs WHEN new.published BEGIN INSERT INTO part(rowid, body) VALUES(new.id, new.body); END;
             CREATE TRIGGER b AFTER INSERT ON docs BEGIN INSERT INTO whole(rowid, body) VALUES(new.id, new.body); END;
             CREATE TRIGGER c AFTER DELETE ON docs BEGIN INSERT INTO whole(whole, rowid, body) VALUES('delete', old.id, old.body); END;
             INSERT INTO docs VALUES(1, 'beta', 1), (2, 'beta', 0), (3, 'gamma', 0)",
            "DELETE FROM docs WHERE id = 3",
        ],
    );
    let applied = recover(&history, &path, 1, &of("docs")).unwrap();
    assert_eq!((applied.changed(), applied.rebuilt), (1, vec!["whole".to_owned()]));
    assert_eq!(applied.left.len(), 1);
    assert!(applied.left[0].contains("part"), "{:?}", applied.left);
    let found = "SELECT CAST(rowid AS TEXT) FROM part WHERE part MATCH 'beta'";
    assert_eq!(texts(&path, found), ["1"]);
    let found = "SELECT CAST(rowid AS TEXT) FROM whole WHERE whole MATCH 'gamma'";
    assert_eq!(texts(&path, found), ["3"]);
}
