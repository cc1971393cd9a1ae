//! `trace` gives the versions that asking every restore point gives, and asks few of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::dice::{Dice, number};
use crate::support::{Lab, keep_last};
use pagekeep::{
    Cell, ErrorKind, History, KeyValue, Named, Operation, RestorePoint, Seq, Silent, Trace,
    TraceOptions, Version, ViewOptions,
};
use rusqlite::{Connection, OptionalExtension};

/// A row that is followed: its table, its key, and how SQL finds it.
struct Followed {
    table: &'static str,
    key: Vec<KeyValue>,
    find: &'static str,
}

fn followed() -> Vec<Followed> {
    let of = |table, key: &[&str], find| {
        let key = key.iter().map(|value| KeyValue::from(*value)).collect();
        Followed { table, key, find }
    };
    vec![
        of("a", &["3"], "rowid = 3"),
        of("A", &["40"], "rowid = 40"),
        of("b", &["2"], "rowid = 2"),
        of("c", &["kEy3"], "k = 'key3'"),
        of("c", &["key9"], "k = 'key9'"),
        of("d", &["3", "p1  "], "q = 3.0 AND p = 'p1' COLLATE RTRIM"),
        of("d", &["4.5", "'p2'"], "q = 4.5 AND p = 'p2' COLLATE RTRIM"),
        of("e", &["x'01'"], "k = x'01'"),
    ]
}

/// The tables, each as it is created anew.
const TABLES: [(&str, &str); 5] = [
    ("a", "CREATE TABLE a(id INTEGER PRIMARY KEY, x, y TEXT DEFAULT 'd', g AS (x || 'g'))"),
    ("b", "CREATE TABLE b(x, y)"),
    ("c", "CREATE TABLE c(k TEXT COLLATE NOCASE PRIMARY KEY, x, y) WITHOUT ROWID"),
    (
        "d",
        "CREATE TABLE d(p TEXT, q REAL, x, y, PRIMARY KEY(q DESC, p COLLATE RTRIM)) WITHOUT ROWID",
    ),
    ("e", "CREATE TABLE e(k BLOB PRIMARY KEY, x, y) WITHOUT ROWID"),
];

/// A change of the database, of any kind.
fn step(dice: &mut Dice, added: &mut u64) -> String {
    let (table, sql) = *dice.pick(&TABLES);
    let value = match dice.below(8) {
        0 => "NULL".to_owned(),
        1 => format!("randomblob({})", dice.below(4000)),
        2 => "1.0".to_owned(),
        _ => dice.below(4).to_string(),
    };
    let key = match table {
        "a" | "b" => {
            let any = dice.below(60);
            format!("rowid, x, y) VALUES({}", dice.pick(&[2, 3, 40, any]))
        }
        "c" => format!("k, x, y) VALUES('{}{}'", dice.pick(&["key", "KEY"]), dice.pick(&[3, 5, 9])),
        "d" => {
            let (p, spaces) = (1 + dice.below(2), dice.pick(&["", " "]));
            format!("p, q, x, y) VALUES('p{p}{spaces}', {}", dice.pick(&["3", "4.5", "6"]))
        }
        _ => format!("k, x, y) VALUES({}", dice.pick(&["x'01'", "x'0102'", "'01'"])),
    };
    match dice.below(120) {
        0 => "VACUUM".to_owned(),
        1 | 2 => format!("DROP TABLE {table}; {sql}"),
        3 => format!("DROP TABLE {table}"),
        4 => {
            *added += 1;
            let default = dice.pick(&["", "DEFAULT 5"]);
            format!("ALTER TABLE {table} ADD COLUMN more{added} {default}")
        }
        5 => format!("CREATE INDEX IF NOT EXISTS i{table} ON {table}(x)"),
        6 => "CREATE TABLE IF NOT EXISTS other(x); ANALYZE".to_owned(),
        7 => format!("ALTER TABLE {table} RENAME COLUMN y TO z; ALTER TABLE {table} RENAME z TO y"),
        8 => format!("ALTER TABLE {table} RENAME COLUMN x TO was_x"),
        9..=11 => format!("ALTER TABLE {table} RENAME COLUMN was_x TO x"),
        12..=16 => format!("DELETE FROM {table} WHERE random() % 3 = 0"),
        17..=40 => format!("UPDATE {table} SET x = {value} WHERE random() % 3 = 0"),
        41..=55 => format!(
            "INSERT INTO filler SELECT randomblob({}) FROM (VALUES(1), (2), (3), (4), (5))",
            dice.below(900)
        ),
        56 => "DELETE FROM filler".to_owned(),
        57..=60 => format!("CREATE TABLE IF NOT EXISTS {}", &sql["CREATE TABLE ".len()..]),
        _ => format!("INSERT OR REPLACE INTO {table}({key}, {value}, 'y{}')", dice.below(3)),
    }
}

/// A history in which everything happens; some of its commits are pruned at some time.
fn history(lab: &Lab, seed: u64, commits: u64) -> History {
    let (path, mut dice) = (lab.path("app.db"), Dice::new(seed));
    let db = Connection::open(&path).unwrap();
    let mode = dice.pick(&["WAL", "DELETE"]);
    db.execute_batch(&format!(
        "PRAGMA page_size={}; PRAGMA auto_vacuum={}; PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF;
         PRAGMA encoding='{}'; CREATE TABLE filler(x)",
        dice.pick(&[512, 1024]),
        dice.below(3),
        dice.pick(&["UTF-8", "UTF-16le"]),
    ))
    .unwrap();
    let late = dice.pick(&TABLES).0;
    for (_, sql) in TABLES.iter().filter(|(table, _)| *table != late) {
        db.execute_batch(sql).unwrap();
    }
    let (pruned, mut added) = (dice.below(commits), 0);
    for i in 0..commits {
        for _ in 0..=dice.below(3) {
            // A table or a column may not be there, and a row may be in the way.
            let _ = db.execute_batch(&step(&mut dice, &mut added));
        }
        lab.backup(&path);
        let history = lab.repository.history("app").unwrap();
        if i == pruned {
            for point in history.restore_points().unwrap() {
                if !dice.one_in(3) {
                    point.hold("kept").unwrap();
                }
            }
            history
                .prune(
                    &keep_last(1 + u32::try_from(dice.below(9)).unwrap(), Duration::ZERO),
                    &Silent,
                )
                .unwrap();
        }
    }
    lab.repository.history("app").unwrap()
}

/// The columns of a row with their values; those that are NULL are left out, as those that are not
/// there.
type Row = BTreeMap<String, String>;

fn seen(named: &Named) -> Row {
    let there = named.iter().filter(|(_, value)| **value != Cell::Null);
    there.map(|(column, value)| (column.to_owned(), format!("{value:?}"))).collect()
}

/// The row at a restore point.
fn at(point: &RestorePoint, row: &Followed) -> Option<Row> {
    let view = point.open(&ViewOptions::default()).unwrap();
    let sql =
        "SELECT group_concat('\"' || name || '\"') FROM pragma_table_xinfo(?1) WHERE hidden = 0";
    let columns: Option<String> = view.query_row(sql, [row.table], |row| row.get(0)).unwrap();
    let sql = format!("SELECT {} FROM {} WHERE {}", columns?, row.table, row.find);
    let mut statement = view.prepare(&sql).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    statement
        .query_row([], |row| {
            let values = (0..names.len()).map(|i| row.get_ref(i).map(Cell::from));
            let values = values.collect::<rusqlite::Result<Vec<Cell>>>()?;
            Ok(seen(&Named { columns: names.clone().into(), values }))
        })
        .optional()
        .unwrap()
}

/// What asking every restore point gives, the newest version first.
fn linear(points: &[RestorePoint], row: &Followed) -> Vec<(Seq, Option<Row>, Option<Row>)> {
    let mut versions = Vec::new();
    let mut before = None;
    for point in points {
        let after = at(point, row);
        if after != before {
            versions.push((point.seq(), before, after.clone()));
        }
        before = after;
    }
    versions.reverse();
    versions
}

fn trace(
    history: &History,
    (table, key): (&str, &[KeyValue]),
    options: &TraceOptions,
) -> pagekeep::Result<(Trace, Vec<Version>)> {
    let mut versions = Vec::new();
    let trace = history.trace(table, key, options, &Silent, &mut |version| {
        versions.push(version);
        Ok(())
    })?;
    assert_eq!(trace.versions, versions.len() as u64);
    Ok((trace, versions))
}

#[test]
fn a_trace_gives_the_versions_that_asking_every_restore_point_gives() {
    let (mut versions, mut saved) = (0, 0);
    for seed in 0..number("PAGEKEEP_TRACE_ROUNDS", 8) {
        let lab = Lab::quick();
        let mut dice = Dice::new(seed + 1000);
        let history = history(&lab, seed, 20 + dice.below(60));
        let all = history.restore_points().unwrap();
        for row in followed() {
            let (first, last) = match dice.one_in(3) {
                true => (dice.place(all.len()), all.len() - 1),
                false => (0, all.len() - 1),
            };
            let points = &all[first..=last];
            let options = TraceOptions::default().from(all[first].seq()).to(all[last].seq());
            let expected = linear(points, &row);
            let what = format!("seed {seed}, {} {}", row.table, row.find);
            let (trace, found) = match trace(&history, (row.table, &row.key), &options) {
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    assert_eq!(expected, [], "{what}");
                    continue;
                }
                found => found.unwrap(),
            };
            let told: Vec<_> = found
                .iter()
                .map(|v| {
                    let side = |side: &Option<Named>| side.as_ref().map(seen);
                    (v.seq, side(&v.change.before), side(&v.change.after))
                })
                .collect();
            assert_eq!(told, expected, "{what}");
            for version in &found {
                let point = all.iter().find(|point| point.seq() == version.seq).unwrap();
                assert_eq!(version.time, point.time());
                let is_first = version.seq == points[0].seq();
                assert_eq!(version.was_there, is_first, "{what}");
                assert_eq!(version.change.key.values.len(), row.key.len());
            }
            assert_eq!(trace.restore_points, points.len() as u64);
            assert!(trace.asked <= trace.restore_points && !trace.has_more);
            versions += found.len();
            saved += trace.restore_points - trace.asked;
            let limited = options.limit(2);
            let (_, newest) =
                crate::trace::trace(&history, (row.table, &row.key), &limited).unwrap();
            assert_eq!(newest, found[..found.len().min(2)], "{what}");
        }
    }
    assert!(versions > 100 && saved > 100, "{versions} versions, {saved} not asked");
}

#[test]
fn commits_that_touch_other_pages_are_not_asked() {
    for mode in ["WAL", "DELETE"] {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             INSERT INTO t VALUES(1, 'one'); CREATE TABLE other(x)"
        ))
        .unwrap();
        for i in 0..500 {
            // The file grows, and page 1 is written each time.
            db.execute("INSERT INTO other VALUES(randomblob(3000))", []).unwrap();
            if i == 250 {
                db.execute("UPDATE t SET x = 'two'", []).unwrap();
            }
            lab.backup(&path);
        }
        let history = lab.repository.history("app").unwrap();
        let of = |id: i64| {
            trace(&history, ("t", &[KeyValue::from(id)]), &TraceOptions::default()).unwrap()
        };
        let (asked, versions) = of(1);
        assert_eq!(asked.restore_points, 500);
        // Before the change and behind it.
        assert_eq!(asked.asked, 2, "{mode}");
        let told: Vec<_> = versions.iter().map(|v| (v.seq.0, v.change.operation)).collect();
        assert_eq!(told, [(251, Operation::Update), (1, Operation::Insert)]);
        assert_eq!(versions[0].change.changed().count(), 1);
        // A row that is not there has pages, too: that on which it would be has other rows only.
        let (absent, versions) = of(2);
        assert_eq!((absent.asked, versions.len()), (1, 0));
    }
}

/// Commits that write the page of a row, and mostly another row of it, tell of it by its bytes.
#[test]
fn commits_that_write_other_rows_of_a_page_do_not_ask_for_the_row() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x, y REAL);
         INSERT INTO t VALUES(1, 'one', 1), (2, 'two', 2), (5, 'five', 5)",
    )
    .unwrap();
    for i in 0..60 {
        let sql = match i % 20 {
            7 => "UPDATE t SET y = y + 1 WHERE id = 1",
            11 => "DELETE FROM t WHERE id = 1",
            13 => "INSERT INTO t VALUES(1, 'again', 7)",
            _ => "UPDATE t SET y = y + 0.5 WHERE id = 2",
        };
        db.execute(sql, []).unwrap();
        lab.backup(&path);
    }
    let history = lab.repository.history("app").unwrap();
    let points = history.restore_points().unwrap();
    let row = Followed { table: "t", key: vec![KeyValue::from(1)], find: "id = 1" };
    let (told, found) = trace(&history, ("t", &row.key), &TraceOptions::default()).unwrap();
    let side = |side: &Option<Named>| side.as_ref().map(seen);
    let found: Vec<_> =
        found.iter().map(|v| (v.seq, side(&v.change.before), side(&v.change.after))).collect();
    assert_eq!(found, linear(&points, &row));
    // One for each version, and for the newest commit.
    assert!(found.len() == 10 && told.asked <= 11, "{} of {}", told.asked, found.len());
}

#[test]
fn what_has_no_key_and_what_is_not_there_is_refused() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE two(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;
         CREATE TABLE hidden(rowid, _rowid_, oid); CREATE VIRTUAL TABLE f USING fts5(x);
         CREATE VIEW v AS SELECT 1",
    )
    .unwrap();
    let kind = |history: &History, table: &str, key: &[&str]| {
        let key: Vec<KeyValue> = key.iter().map(|value| KeyValue::from(*value)).collect();
        let e = trace(history, (table, &key), &TraceOptions::default()).unwrap_err();
        assert!(e.to_string().contains(table) && e.hint().is_some(), "{e:?}");
        e.kind()
    };
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    assert_eq!(kind(&history, "none", &["1"]), ErrorKind::NotFound);
    assert_eq!(kind(&history, "v", &["1"]), ErrorKind::NotFound);
    assert_eq!(kind(&history, "t", &["1", "2"]), ErrorKind::Usage);
    assert_eq!(kind(&history, "t", &["one"]), ErrorKind::Usage);
    assert_eq!(kind(&history, "two", &["1"]), ErrorKind::Usage);
    assert_eq!(kind(&history, "hidden", &["1"]), ErrorKind::Refused);
    assert_eq!(kind(&history, "f", &["1"]), ErrorKind::Refused);
    let wrong = TraceOptions::default().from(Seq(77));
    let e = trace(&history, ("t", &[KeyValue::from(1)]), &wrong).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[test]
fn a_prune_meanwhile_gives_no_other_version() {
    let (mut whole, mut cut, mut pruned) = (0, 0, 0);
    for seed in 0..10 {
        let lab = Lab::quick();
        let history = history(&lab, seed, 40);
        let points = history.restore_points().unwrap();
        let row = Followed { table: "a", key: vec![KeyValue::from(3)], find: "rowid = 3" };
        let expected: Vec<Seq> = linear(&points, &row).into_iter().map(|v| v.0).collect();
        let (mut found, mut is_pruned) = (Vec::new(), false);
        let options = TraceOptions::default();
        let ended = history.trace("a", &row.key, &options, &Silent, &mut |version| {
            found.push(version.seq);
            if found.len() == 2 && !is_pruned {
                is_pruned = true;
                history.prune(&keep_last(3, Duration::ZERO), &Silent).unwrap();
            }
            Ok(())
        });
        assert!(expected.starts_with(&found), "seed {seed}");
        pruned += u32::from(is_pruned);
        match ended {
            Ok(_) => whole += 1,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NotFound, "{e:?}");
                cut += 1;
            }
        }
    }
    assert!(pruned > 2 && cut > 0, "{pruned} pruned, {cut} cut, {whole} whole");
}
