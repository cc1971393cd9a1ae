//! Single cases: what is in the way of rows, what is refused, and what goes with them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{history_of, of, recover, texts, undo};
use crate::support::{Lab, integrity_check, walk_names};
use pagekeep::internals::types::Seq;
use pagekeep::{
    ConflictReason, DiffOptions, ErrorKind, OnConflict, RecoverOptions, RowChange, Silent,
    UndoOptions,
};
use rusqlite::Connection;

#[test]
fn a_row_that_meets_the_unique_value_of_another_one_is_named_and_the_other_one_stays() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE u(id INTEGER PRIMARY KEY, mail TEXT UNIQUE ON CONFLICT REPLACE, x CHECK(x < 9));
             INSERT INTO u VALUES(1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
            "DELETE FROM u WHERE id < 3; INSERT INTO u VALUES(7, 'a', 7)",
        ],
    );
    let applied = recover(&history, &path, 1, &of("u")).unwrap();
    assert!(applied.stopped && applied.done.is_none() && applied.changed() == 0);
    let conflict = &applied.conflicts.first[0];
    let said = ConflictReason::Constraint("UNIQUE constraint failed: u.mail".to_owned());
    assert_eq!((&conflict.reason, applied.conflicts.count), (&said, 1));
    assert_eq!(history.snapshots().unwrap(), []);
    let applied = recover(&history, &path, 1, &of("u").on_conflict(OnConflict::Skip)).unwrap();
    assert_eq!((applied.tables[0].inserted, applied.tables[0].skipped), (1, 1));
    assert_eq!(texts(&path, "SELECT id || mail FROM u ORDER BY id"), ["2b", "3c", "7a"]);
}

#[test]
fn rows_that_exchange_unique_values_make_room_for_each_other() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE u(id INTEGER PRIMARY KEY, place INT UNIQUE, on_air INT, half INT AS (place / 2));
             CREATE UNIQUE INDEX by_half ON u(half);
             CREATE UNIQUE INDEX by_air ON u(on_air) WHERE on_air > 0;
             INSERT INTO u VALUES(1, 10, 1), (2, 20, 0), (3, 30, 0)",
            "UPDATE u SET place = -place; UPDATE u SET place = 10 WHERE id = 2; UPDATE u SET place = 20 WHERE id = 1;
             UPDATE u SET place = 30 WHERE id = 3; UPDATE u SET on_air = 0 WHERE id = 1; UPDATE u SET on_air = 1 WHERE id = 3",
        ],
    );
    let applied = undo(&history, &path, (2, 2), OnConflict::Stop).unwrap();
    assert_eq!((applied.tables[0].updated, applied.conflicts.count), (3, 0));
    let rows = "SELECT id || ' ' || place || ' ' || on_air FROM u ORDER BY id";
    assert_eq!(texts(&path, rows), ["1 10 1", "2 20 0", "3 30 0"]);
    // One of two that exchanged has to stay, and so has the other one: then both are as they were.
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "UPDATE u SET place = 99 WHERE id = 1; UPDATE u SET place = 10 WHERE id = 2;
                      UPDATE u SET place = 20 WHERE id = 1",
    )
    .unwrap();
    let seq = lab.backup(&path).seq.0;
    db.execute_batch("UPDATE u SET place = 77 WHERE id = 1").unwrap();
    let applied = undo(&history, &path, (seq, seq), OnConflict::Skip).unwrap();
    assert_eq!(applied.conflicts.count, 1);
    assert_eq!(texts(&path, rows), ["1 77 1", "2 20 0", "3 30 0"]);
}

#[test]
fn no_row_comes_to_refer_to_nothing() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE p(id INTEGER PRIMARY KEY, x);
             CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE);
             INSERT INTO p VALUES(1, 'one'), (2, 'two'); INSERT INTO c VALUES(10, 1), (20, 2)",
            "PRAGMA foreign_keys=OFF; INSERT INTO c VALUES(99, 77); PRAGMA foreign_keys=ON; DELETE FROM p WHERE id = 1",
            "INSERT INTO p VALUES(3, 'three')",
            "INSERT INTO c VALUES(30, 3)",
        ],
    );
    let e = recover(&history, &path, 1, &of("c")).unwrap_err();
    assert_eq!((e.kind(), e.object()), (ErrorKind::Refused, Some("table \"c\"")));
    assert!(e.message().contains("\"p\"") && e.message().contains("10"), "{e:?}");
    assert_eq!(texts(&path, "SELECT 'c' || id FROM c"), ["c20", "c30", "c99"]);
    assert_eq!(history.snapshots().unwrap(), []);
    // Both together are whole; the row that referred to nothing before is nobody's concern.
    let both = RecoverOptions::default().tables(vec!["p".into(), "c".into()]);
    assert_eq!(recover(&history, &path, 1, &both).unwrap().changed(), 2);
    // A row that others refer to stays, and nothing cascades.
    let e = undo(&history, &path, (3, 3), OnConflict::Stop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused, "{e:?}");
    assert_eq!(texts(&path, "SELECT 'c' || id FROM c"), ["c10", "c20", "c30", "c99"]);
    undo(&history, &path, (3, 4), OnConflict::Stop).unwrap();
    assert_eq!(texts(&path, "SELECT 'p' || id FROM p"), ["p1", "p2"]);
}

#[test]
fn what_can_not_be_done_exactly_is_refused_and_nothing_changes() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 'a'), (2, 'b');
             CREATE TABLE gone(x); INSERT INTO gone VALUES(1); CREATE VIRTUAL TABLE f USING fts5(x, content='')",
            "DELETE FROM t WHERE id = 1; DROP TABLE gone",
            "ALTER TABLE t ADD COLUMN y",
            "CREATE TABLE made(x)",
        ],
    );
    let before = std::fs::read(&path).unwrap();
    let refused = |table: &str, seq: u64, fragment: &str| {
        let e = recover(&history, &path, seq, &of(table)).unwrap_err();
        let hint = e.hint().map(ToString::to_string).unwrap_or_default();
        let told = format!("{} {hint}", e.message());
        assert!(e.kind() == ErrorKind::Refused && told.contains(fragment), "{table}: {e:?}");
        assert!(e.object().is_some_and(|object| object.contains(table)) && !hint.is_empty());
    };
    refused("gone", 1, "is gone from the database");
    refused("t", 1, "defined otherwise");
    refused("f", 1, "can't be compared");
    refused("made", 1, "was not there at seq:1");
    let e = recover(&history, &path, 1, &of("none")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let refused = |seqs, kind, fragment: &str| {
        let e = undo(&history, &path, seqs, OnConflict::Force).unwrap_err();
        assert!(e.kind() == kind && e.message().contains(fragment), "{seqs:?}: {e:?}");
    };
    refused((4, 4), ErrorKind::Refused, "made it");
    refused((3, 3), ErrorKind::Refused, "defined it otherwise");
    refused((2, 2), ErrorKind::Refused, "dropped it");
    refused((1, 1), ErrorKind::Refused, "no state from before seq:1");
    refused((5, 5), ErrorKind::NotFound, "no commit seq:5");
    refused((3, 2), ErrorKind::Usage, "is behind");
    // The table was redefined since.
    let options = UndoOptions::default().tables(vec!["t".to_owned()]);
    let e = history.undo(&path, (Seq(2), Seq(2)), &options, &Silent).unwrap_err();
    assert!(e.kind() == ErrorKind::Refused && e.message().contains("defined otherwise"), "{e:?}");
    assert!(std::fs::read(&path).unwrap() == before, "the file was written to");
    // The changes of the schema were marked, and nothing else is labelled.
    assert!(history.snapshots().unwrap().iter().all(|label| label.until.is_some()));
}

#[test]
fn what_only_the_application_knows_is_refused_before_anything_is_stored() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.create_collation("mine", |a, b| a.cmp(b)).unwrap();
    db.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x COLLATE mine);
         INSERT INTO t VALUES(1, 'a'), (2, 'b')",
    )
    .unwrap();
    lab.backup(&path);
    db.execute_batch("DELETE FROM t WHERE id = 1").unwrap();
    let history = lab.repository.history("app").unwrap();
    let e = recover(&history, &path, 1, &of("t")).unwrap_err();
    assert!(e.kind() == ErrorKind::Refused && e.message().contains("mine"), "{e:?}");
    assert_eq!(history.restore_points().unwrap().len(), 1);
}

#[test]
fn a_commit_whose_parent_is_thinned_away_is_not_undone_alone() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE t(x); INSERT INTO t VALUES(1)",
            "INSERT INTO t VALUES(2)",
            "INSERT INTO t VALUES(3)",
            "INSERT INTO t VALUES(4)",
        ],
    );
    history.point(Seq(1)).unwrap().hold("kept").unwrap();
    history.point(Seq(3)).unwrap().hold("kept").unwrap();
    history.prune(&crate::support::keep_last(1, Duration::ZERO), &Silent).unwrap();
    for seqs in [(3, 3), (2, 2)] {
        let e = undo(&history, &path, seqs, OnConflict::Stop).unwrap_err();
        let hint = e.hint().unwrap().to_string();
        assert_eq!(e.kind(), ErrorKind::Refused, "{e:?}");
        assert!(e.message().contains("between seq:1 and seq:3") && hint.contains("seq:2 to seq:3"));
    }
    undo(&history, &path, (2, 3), OnConflict::Stop).unwrap();
    assert_eq!(texts(&path, "SELECT CAST(x AS TEXT) FROM t"), ["1", "4"]);
}

#[test]
fn an_index_of_the_texts_of_another_table_follows_its_rows() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &[
            "CREATE TABLE docs(id INTEGER PRIMARY KEY, body);
             CREATE VIRTUAL TABLE docs_fts USING fts5(body, content='docs', content_rowid='id');
             CREATE TRIGGER ai AFTER INSERT ON docs BEGIN INSERT INTO docs_fts(rowid, body) VALUES(new.id, new.body); END;
             CREATE TRIGGER ad AFTER DELETE ON docs BEGIN INSERT INTO docs_fts(docs_fts, rowid, body) VALUES('delete', old.id, old.body); END;
             INSERT INTO docs VALUES(1, 'alpha beta'), (2, 'gamma')",
            "DELETE FROM docs WHERE id = 1",
        ],
    );
    let applied = recover(&history, &path, 1, &of("docs")).unwrap();
    assert_eq!((applied.rebuilt, applied.silent.len()), (vec!["docs_fts".to_owned()], 2));
    let found = "SELECT CAST(rowid AS TEXT) FROM docs_fts WHERE docs_fts MATCH 'beta'";
    assert_eq!(texts(&path, found), ["1"]);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("INSERT INTO docs_fts(docs_fts, rank) VALUES('integrity-check', 1)").unwrap();
    // The application's own trigger finds there what it takes away.
    db.execute_batch("DELETE FROM docs WHERE id = 1").unwrap();
    assert_eq!(texts(&path, found), [""; 0]);
    assert_eq!(integrity_check(&db), "ok");
}

#[test]
fn a_database_that_nobody_has_open_is_one_file_before_and_after() {
    let lab = Lab::quick();
    let (history, path) = history_of(
        &lab,
        &["PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)", "DELETE FROM t"],
    );
    let names = || walk_names(lab.dir.path());
    let before = names();
    history.point(Seq(1)).unwrap().preview_recover(&path, &of("t"), &Silent).unwrap();
    assert_eq!(names(), before);
    recover(&history, &path, 1, &of("t")).unwrap();
    assert_eq!(names(), before);
    assert!(recover(&history, &path, 1, &of("none")).is_err());
    assert_eq!(names(), before);
}

#[test]
fn beside_an_application_that_writes_its_rows_all_stay() {
    for journal in ["WAL", "DELETE"] {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        db.busy_timeout(Duration::from_secs(60)).unwrap();
        db.execute_batch(&format!(
            "PRAGMA journal_mode={journal}; CREATE TABLE sold(id INTEGER PRIMARY KEY, x);
             CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t SELECT i, hex(i) FROM n"
        ))
        .unwrap();
        lab.backup(&path);
        db.execute_batch("DELETE FROM t WHERE id % 3 = 0").unwrap();
        let history = lab.repository.history("app").unwrap();
        let over = AtomicBool::new(false);
        let (db, sold) = std::thread::scope(|scope| {
            let over = &over;
            let seller = scope.spawn(move || {
                let mut sold = 0_i64;
                while !over.load(Ordering::Relaxed) {
                    db.execute("INSERT INTO sold(x) VALUES('sold')", []).unwrap();
                    sold += 1;
                    // With a rollback journal others have to get a turn.
                    std::thread::sleep(Duration::from_millis(2));
                }
                (db, sold)
            });
            let applied = recover(&history, &path, 1, &of("t"));
            over.store(true, Ordering::Relaxed);
            let ended = seller.join().unwrap();
            let applied = applied.unwrap();
            assert_eq!(applied.changed(), 100);
            let done = applied.done.unwrap();
            let point = |seq: Seq| history.point(seq).unwrap();
            let (before, now) = (point(done.before.seq), point(done.now));
            let mut others = 0;
            let mut take = |change: RowChange| {
                others += u32::from(&*change.table != "t");
                Ok(())
            };
            before.diff(&now, &DiffOptions::default()).unwrap().rows(&mut take, &Silent).unwrap();
            assert!(!done.alone || others == 0, "{journal}: {others} rows of the application");
            ended
        });
        let count = |table: &str| -> i64 {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("t"), count("sold")), (300, sold), "{journal}");
    }
}

#[test]
fn rows_that_keep_each_other_from_their_values_are_skipped_while_that_takes_few_rounds() {
    for (rows, done) in [(40, true), (150, false)] {
        let lab = Lab::quick();
        let fill = format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, place UNIQUE);
             WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, i FROM n"
        );
        let shift = "UPDATE t SET place = -place; UPDATE t SET place = 1 - place";
        let (history, path) = history_of(&lab, &[&fill, shift, "INSERT INTO t VALUES(1000, 1)"]);
        let before = texts(&path, "SELECT id || '/' || place FROM t ORDER BY id");
        // Each row that stays keeps the next one from its old place.
        let undone = undo(&history, &path, (2, 2), OnConflict::Skip);
        match done {
            true => {
                let undone = undone.unwrap();
                assert_eq!((undone.changed(), undone.tables[0].skipped), (0, rows));
            }
            false => {
                let refused = undone.unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Refused, "{refused:?}");
                assert!(refused.to_string().contains("after 100 rounds"), "{refused}");
            }
        }
        assert_eq!(texts(&path, "SELECT id || '/' || place FROM t ORDER BY id"), before);
    }
}
