//! A diff as SQL turns one moment into the other, row for row, whatever the tables are and whatever
//! happened in between.
//!
//! `PAGEKEEP_DIFF_ROUNDS` sets how much random work there is.
#![allow(clippy::cast_precision_loss)]

mod changeset;
mod damage;
mod feed;
pub mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::Lab;
use crate::support::dice::{Dice, number};
use pagekeep::{
    BackupOptions, DiffOptions, History, LiveDatabase, Operation, RestoreOptions, RestorePoint,
    RowChange, Silent, TableDiff,
};
use rusqlite::Connection;
use work::dump;

/// A history of random work, and its database.
fn history(lab: &Lab, seed: u64, commits: u64) -> (History, PathBuf) {
    let mut dice = Dice::new(seed);
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    work::begin(&db, &mut dice);
    for _ in 0..commits {
        work::change(&db, &mut dice);
        lab.repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
    }
    (lab.repository.history("app").unwrap(), path)
}

/// The restored file of a point, opened to be written to.
fn restored(point: &RestorePoint, dir: &Path) -> Connection {
    let target = dir.join("restored.db");
    point.restore(&target, &RestoreOptions::default().force(true), &Silent).unwrap();
    Connection::open(target).unwrap()
}

fn exact(reverse: bool) -> DiffOptions {
    DiffOptions::default().reverse(reverse).replace_redefined(true)
}

/// The script of a diff.
fn script(diff: &pagekeep::Diff<'_>) -> String {
    let mut sql = String::new();
    diff.sql(
        &mut |line| {
            sql.push_str(line);
            sql.push('\n');
            Ok(())
        },
        &Silent,
    )
    .unwrap();
    sql
}

/// SQL applied to one state gives the other.
fn turns(sql: &str, from: &Connection, into: &BTreeMap<String, Vec<String>>, what: &str) {
    from.execute_batch(sql).unwrap_or_else(|e| {
        let e: String = e.to_string().chars().take(300).collect();
        panic!("{what}: {e}")
    });
    let got = dump(from);
    for name in into.keys().chain(got.keys()) {
        let lines = |of: &BTreeMap<String, Vec<String>>| of.get(name).cloned().unwrap_or_default();
        let (got, wanted) = (lines(&got), lines(into));
        let differing = (0..got.len().max(wanted.len())).find(|i| got.get(*i) != wanted.get(*i));
        if let Some(i) = differing {
            let cut = |line: Option<&String>| line.map(|l| l.chars().take(300).collect::<String>());
            let (got, wanted) = (cut(got.get(i)), cut(wanted.get(i)));
            panic!("{what}: {name}, line {i} is {got:?} instead of {wanted:?}");
        }
    }
}

#[test]
fn as_sql_it_turns_one_moment_into_the_other_and_back() {
    for seed in 0..number("PAGEKEEP_DIFF_ROUNDS", 8) {
        let lab = Lab::quick();
        let (history, path) = history(&lab, seed, 8);
        let points = history.restore_points().unwrap();
        let dumps: Vec<_> =
            points.iter().map(|point| dump(&restored(point, lab.dir.path()))).collect();
        let mut dice = Dice::new(seed + 99);
        for _ in 0..12 {
            let (i, j) = (dice.place(points.len()), dice.place(points.len()));
            let what = format!("seed {seed}, {} to {}", points[i].seq(), points[j].seq());
            let sql = script(&points[i].diff(&points[j], &exact(false)).unwrap());
            turns(&sql, &restored(&points[i], lab.dir.path()), &dumps[j], &what);
            let sql = script(&points[i].diff(&points[j], &exact(true)).unwrap());
            turns(&sql, &restored(&points[j], lab.dir.path()), &dumps[i], &what);
        }
        // The database as it is now is the newest commit.
        let mut live = LiveDatabase::open(&path).unwrap();
        let sql = script(&points[0].diff_live(&mut live, &exact(false)).unwrap());
        turns(&sql, &restored(&points[0], lab.dir.path()), dumps.last().unwrap(), "live");
        let sql = script(&points[3].diff_from_nothing(&exact(false)).unwrap());
        let encoding: String = restored(&points[3], lab.dir.path())
            .query_row("PRAGMA encoding", [], |row| row.get(0))
            .unwrap();
        let empty = Connection::open_in_memory().unwrap();
        empty.execute_batch(&format!("PRAGMA encoding='{encoding}'")).unwrap();
        turns(&sql, &empty, &dumps[3], "nothing");
    }
}

/// What a diff tells, and how many tables it read without SQLite.
fn read(a: &RestorePoint, b: &RestorePoint, options: &DiffOptions) -> (Vec<RowChange>, u64) {
    let mut changes = Vec::new();
    let diff = a.diff(b, options).unwrap();
    let mut take = |change| {
        changes.push(change);
        Ok(())
    };
    diff.rows(&mut take, &Silent).unwrap();
    (changes, diff.read_directly())
}

/// A history of small changes, so that most pages are the same from one commit to the next.
fn small_changes(lab: &Lab, seed: u64, commits: u64) -> History {
    let mut dice = Dice::new(seed);
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    work::begin_in(&db, &mut dice, "UTF-8");
    work::fill(&db, &mut dice);
    for i in 0..commits {
        if i == commits / 2 {
            db.execute_batch(
                "ALTER TABLE typed ADD COLUMN late REAL DEFAULT 5; ALTER TABLE bare ADD COLUMN late DEFAULT -12",
            )
            .unwrap();
        }
        for _ in 0..=dice.below(3) {
            work::touch(&db, &mut dice);
        }
        lab.repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
    }
    lab.repository.history("app").unwrap()
}

#[test]
fn what_is_read_without_sqlite_is_what_sqlite_reads() {
    let (mut direct, mut keyed) = (0, 0);
    for seed in 400..400 + number("PAGEKEEP_DIFF_ROUNDS", 4) {
        let lab = Lab::quick();
        let points = small_changes(&lab, seed, 20).restore_points().unwrap();
        let mut dice = Dice::new(seed);
        for _ in 0..16 {
            let i = dice.place(points.len());
            let j = (i + dice.place(3)).min(points.len() - 1);
            let (a, b) = if dice.one_in(2) { (i, j) } else { (j, i) };
            let (told, tables) = read(&points[a], &points[b], &DiffOptions::default());
            let all = DiffOptions::default().all_rows(true);
            let (expected, none) = read(&points[a], &points[b], &all);
            assert_eq!(told, expected, "seed {seed}, {a} to {b}");
            assert_eq!(none, 0);
            direct += tables;
            // A table WITHOUT ROWID alone.
            let bare = DiffOptions::default().tables(vec!["bare".into()]);
            keyed += read(&points[a], &points[b], &bare).1;
        }
    }
    assert!(direct > 60 && keyed > 5, "{direct}, {keyed} of them WITHOUT ROWID");
}

/// A history of two commits.
fn two(lab: &Lab, first: &str, second: &str) -> (RestorePoint, RestorePoint) {
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    let commit = |sql: &str| {
        db.execute_batch(sql).unwrap();
        let seq = lab.repository.backup(&path, &BackupOptions::default(), &Silent).unwrap().seq;
        lab.repository.history("app").unwrap().point(seq).unwrap()
    };
    (commit(first), commit(second))
}

/// Each kind of table, where a commit wrote to it alone.
#[test]
fn a_commit_that_wrote_to_one_table_alone_is_seen() {
    let kinds = [
        ("t(id INTEGER PRIMARY KEY, x)", "INSERT INTO t VALUES(9, 'x')"),
        ("t(a, b)", "UPDATE t SET b = 'y' WHERE rowid = 2"),
        ("t(a, b, PRIMARY KEY(a)) WITHOUT ROWID", "DELETE FROM t WHERE a = 2"),
        ("VIRTUAL t USING rtree(id, x0, x1)", "INSERT INTO t VALUES(9, 0, 1)"),
        ("VIRTUAL t USING rtree_i32(id, x0, x1)", "UPDATE t SET x1 = 50 WHERE id = 2"),
        ("VIRTUAL t USING fts5(a, b UNINDEXED)", "UPDATE t SET b = 'z' WHERE rowid = 2"),
        ("VIRTUAL t USING fts5(a, b)", "INSERT INTO t VALUES('new', 'word')"),
        ("VIRTUAL t USING fts4(a, b)", "DELETE FROM t WHERE rowid = 1"),
    ];
    for (kind, change) in kinds {
        let lab = Lab::quick();
        let (word, rest) = match kind.strip_prefix("VIRTUAL ") {
            Some(rest) => ("VIRTUAL TABLE", rest),
            None => ("TABLE", kind),
        };
        let insert = if kind.contains("rtree") {
            "INSERT INTO t VALUES(1, 0, 1), (2, 3, 9)"
        } else {
            "INSERT INTO t VALUES(1, 'one'), (2, 'two')"
        };
        let first = format!("CREATE {word} {rest}; {insert}; CREATE TABLE other(x)");
        let (a, b) = two(&lab, &first, change);
        let (planned, _) = rows(&a, &b, &DiffOptions::default());
        let (all, _) = rows(&a, &b, &DiffOptions::default().all_rows(true));
        assert_eq!(planned, all, "{kind}");
        assert_eq!(planned.len(), 1, "{kind}: {planned:?}");
        let (none, tables) = rows(&b, &b, &DiffOptions::default());
        assert!(none.is_empty() && tables.is_empty(), "{kind}");
    }
}

fn rows(
    a: &RestorePoint,
    b: &RestorePoint,
    options: &DiffOptions,
) -> (Vec<RowChange>, Vec<TableDiff>) {
    let mut changes = Vec::new();
    let diff = a.diff(b, options).unwrap();
    let mut take = |change| {
        changes.push(change);
        Ok(())
    };
    let tables = diff.rows(&mut take, &Silent).unwrap();
    (changes, tables)
}

/// Rows as text: table, operation, key.
fn told(changes: &[RowChange]) -> Vec<String> {
    let one = |change: &RowChange| {
        let key: Vec<String> =
            change.key.values.iter().map(|v| format!("{:?}", v.as_ref())).collect();
        format!("{} {} {}", change.table, change.operation.name(), key.join(" "))
    };
    changes.iter().map(one).collect()
}

#[test]
fn rows_are_told_with_what_they_were_and_are() {
    let lab = Lab::quick();
    let (a, b) = two(
        &lab,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y); INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
         CREATE TABLE gone(x); INSERT INTO gone VALUES(7)",
        "DELETE FROM t WHERE id = 1; UPDATE t SET x = 'B' WHERE id = 2; INSERT INTO t VALUES(4, NULL, 4);
         DROP TABLE gone; CREATE TABLE come(x); INSERT INTO come VALUES(8)",
    );
    let (changes, tables) = rows(&a, &b, &DiffOptions::default());
    assert_eq!(
        told(&changes),
        [
            "come insert Integer(1)",
            "gone delete Integer(1)",
            "t delete Integer(1)",
            "t update Integer(2)",
            "t insert Integer(4)"
        ]
    );
    let update = changes.iter().find(|c| c.operation == Operation::Update).unwrap();
    let changed: Vec<&str> = update.changed().map(|(column, ..)| column).collect();
    assert_eq!(changed, ["x"]);
    let counts: Vec<_> = tables
        .iter()
        .map(|t| (&*t.name, t.fate.name(), t.inserted, t.updated, t.deleted))
        .collect();
    assert_eq!(
        counts,
        [("come", "created", 1, 0, 0), ("gone", "dropped", 0, 0, 1), ("t", "same", 1, 1, 1)]
    );
    // A row counts if the filter is true before or after.
    let options =
        DiffOptions::default().tables(vec!["T".into()]).filter("x = 'b' OR y = 4 -- here");
    let (changes, _) = rows(&a, &b, &options);
    assert_eq!(told(&changes), ["t update Integer(2)", "t insert Integer(4)"]);
    let (changes, _) = rows(&a, &a, &DiffOptions::default());
    assert_eq!(changes, []);
    let e = a.diff(&b, &DiffOptions::default().tables(vec!["none".into()])).unwrap_err();
    assert_eq!(e.kind(), pagekeep::ErrorKind::NotFound);
    let options = DiffOptions::default().filter("none = 1");
    let e = a.diff(&b, &options).unwrap().rows(&mut |_| Ok(()), &Silent).unwrap_err();
    assert_eq!(e.kind(), pagekeep::ErrorKind::Usage, "{e:?}");
}

#[test]
fn columns_that_came_or_went_count_as_null_on_the_other_side() {
    let lab = Lab::quick();
    let (a, b) = two(
        &lab,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y); INSERT INTO t VALUES(1, 'a', 1), (2, 'b', NULL)",
        "ALTER TABLE t DROP COLUMN y; ALTER TABLE t ADD COLUMN z; UPDATE t SET z = 5 WHERE id = 2",
    );
    let (changes, tables) = rows(&a, &b, &DiffOptions::default());
    assert_eq!(told(&changes), ["t update Integer(1)", "t update Integer(2)"]);
    assert_eq!(tables[0].fate.name(), "redefined");
    let names = |row: &Option<pagekeep::Named>| row.as_ref().unwrap().columns.to_vec();
    assert_eq!(
        (names(&changes[0].before), names(&changes[0].after)),
        (
            vec!["id".to_owned(), "x".into(), "y".into()],
            vec!["id".to_owned(), "x".into(), "z".into()],
        )
    );
}

#[test]
fn tables_that_only_their_application_can_read_are_named() {
    let lab = Lab::quick();
    let (a, b) = two(
        &lab,
        "CREATE TABLE t(x); CREATE VIRTUAL TABLE outside USING fts5(x, content='t');
         CREATE VIRTUAL TABLE empty USING fts5(x, content='');
         CREATE TABLE all_names(rowid, oid, _rowid_); INSERT INTO all_names VALUES(1, 2, 3)",
        "INSERT INTO t VALUES(1); UPDATE all_names SET oid = 5;
         INSERT INTO outside(rowid, x) VALUES(1, '1'); INSERT INTO empty(rowid, x) VALUES(1, 'a')",
    );
    // Of what nothing was written to no row can differ.
    let (changes, tables) = rows(&b, &b, &DiffOptions::default());
    assert!(changes.is_empty() && tables.is_empty(), "{tables:?}");
    let (changes, tables) = rows(&a, &b, &DiffOptions::default());
    assert_eq!(told(&changes), ["t insert Integer(1)"]);
    let named: Vec<_> =
        tables.iter().filter(|t| t.uncompared.is_some()).map(|t| &*t.name).collect();
    assert_eq!(named, ["all_names", "empty", "outside"]);
}
