//! SQL that wants more than to read.

use super::*;
use crate::ops::trial::Bench;
use crate::ops::view::ViewOptions;

/// Keeps what is answered, as text.
#[derive(Default)]
struct Kept(Vec<Vec<String>>);

impl Answers for Kept {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        self.0.push(columns.to_vec());
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> rusqlite::Result<Next> {
        let columns = self.0.last().map_or(0, Vec::len);
        let value = |i| row.get::<_, rusqlite::types::Value>(i).map(|v| format!("{v:?}"));
        self.0.push((0..columns).map(value).collect::<rusqlite::Result<_>>()?);
        Ok(if self.0.len() > 100 { Next::Enough } else { Next::Row })
    }

    fn end(&mut self) {}
}

/// A view of a database that has a bit of everything.
fn asked(time: Duration) -> (Bench, Asked) {
    let mut bench = Bench::with_page_size(1, 4096);
    bench
        .app
        .execute_batch(
            "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('some words');
             CREATE VIRTUAL TABLE g USING fts4(x); INSERT INTO g VALUES('other words');
             CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3);
             INSERT INTO t(x) VALUES(1), (2), (3);
             CREATE VIEW v AS SELECT id FROM t; CREATE TABLE u(a, b AS (a + 1));",
        )
        .unwrap();
    let seq = bench.capture();
    let point = bench.history.point(seq).unwrap();
    let mut view = point.open(&ViewOptions::default()).unwrap();
    view.attach("then", &point).unwrap();
    let limits = Limits { time: Some(time), value_bytes: 1 << 20 };
    let asked = Asked::new(view, limits, || false).unwrap();
    (bench, asked)
}

#[test]
fn what_only_reads_is_answered() {
    let (_bench, asked) = asked(Duration::from_secs(600));
    for (sql, rows) in [
        ("SELECT * FROM t", 3),
        ("SELECT * FROM main.t JOIN \"then\".t USING(id)", 3),
        ("SELECT x FROM f WHERE f MATCH 'words'", 1),
        ("SELECT x FROM g WHERE g MATCH 'words'", 1),
        ("SELECT id FROM r WHERE x0 < 5", 1),
        ("SELECT * FROM v", 3),
        (
            "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n",
            9,
        ),
        ("SELECT name FROM pragma_table_info('t')", 2),
        ("PRAGMA table_info(t)", 2),
        ("PRAGMA page_count", 1),
        ("PRAGMA user_version", 1),
        ("SELECT value FROM json_each('[1,2]')", 2),
        ("SELECT count(*) FROM dbstat", 1),
        ("EXPLAIN QUERY PLAN SELECT * FROM t", 1),
        ("PRAGMA integrity_check", 1),
        ("VALUES(1),(2)", 2),
        ("-- nothing", 0),
    ] {
        let mut kept = Kept::default();
        asked.run(sql, &mut kept).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        assert_eq!(kept.0.len().saturating_sub(1), rows, "{sql}: {:?}", kept.0);
    }
    let mut kept = Kept::default();
    asked.run("SELECT 1; SELECT 2; -- and so on", &mut kept).unwrap();
    assert_eq!(kept.0.len(), 4);
}

#[test]
fn what_does_more_than_read_is_refused() {
    let (bench, asked) = asked(Duration::from_secs(600));
    let file = bench.dir.path().join("made.db");
    let made = file.display();
    for sql in [
        format!("ATTACH '{made}' AS x"),
        format!("ATTACH 'file:{made}?mode=rwc' AS x"),
        "ATTACH ':memory:' AS x".to_owned(),
        format!("VACUUM INTO '{made}'"),
        "VACUUM".to_owned(),
        "DETACH \"then\"".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "SELECT fts3_tokenizer('x', x'0102030405060708')".to_owned(),
        "INSERT INTO t(x) VALUES(1)".to_owned(),
        "UPDATE sqlite_schema SET sql = ''".to_owned(),
        "DELETE FROM t".to_owned(),
        "CREATE TABLE x(y)".to_owned(),
        "CREATE TEMP TABLE x AS SELECT 1".to_owned(),
        "CREATE VIRTUAL TABLE temp.x USING fts5(y)".to_owned(),
        "CREATE TEMP VIEW x AS SELECT 1".to_owned(),
        "CREATE TEMP TRIGGER x DELETE ON t BEGIN SELECT 1; END".to_owned(),
        "DROP TABLE t".to_owned(),
        "ALTER TABLE t RENAME TO x".to_owned(),
        "REINDEX".to_owned(),
        "ANALYZE".to_owned(),
        "BEGIN".to_owned(),
        "SAVEPOINT x".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "PRAGMA trusted_schema = 1".to_owned(),
        "PRAGMA hard_heap_limit = 0".to_owned(),
        "PRAGMA soft_heap_limit = 0".to_owned(),
        "PRAGMA temp_store_directory = '/tmp'".to_owned(),
        "PRAGMA journal_mode = WAL".to_owned(),
        "PRAGMA user_version = 7".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "PRAGMA mmap_size = 1".to_owned(),
        "PRAGMA cache_size = 1".to_owned(),
        "SELECT * FROM pragma_hard_heap_limit".to_owned(),
        "INSERT INTO f(f) VALUES('rebuild')".to_owned(),
    ] {
        let mut kept = Kept::default();
        let e = asked.run(&sql, &mut kept).expect_err(&sql);
        let kinds = [ErrorKind::Refused, ErrorKind::Usage];
        assert!(kinds.contains(&e.kind()), "{sql}: {e:?}");
        assert!(kept.0.len() <= 1, "{sql} answers {:?}", kept.0);
    }
    assert!(!file.exists());
    for reads in ["readfile('/etc/passwd')", "writefile('x', 'y')", "edit('x')"] {
        let e = asked.run(&format!("SELECT {reads}"), &mut Kept::default()).unwrap_err();
        assert!(e.message().contains("no such function"), "{e:?}");
    }
    let mut kept = Kept::default();
    asked.run("SELECT count(*) FROM t", &mut kept).unwrap();
    assert_eq!(kept.0[1], ["Integer(3)"]);
}

#[test]
fn what_would_never_end_ends_with_its_time() {
    let (_bench, asked) = asked(Duration::from_millis(50));
    for sql in [
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i FROM n) SELECT count(*) FROM n",
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM json_each(json_array(1,2,3,4,5,6,7,8,9)) a, json_each('[1,2,3,4,5,6,7,8,9]') b,
         json_each('[1,2,3,4,5,6,7,8,9]') c, json_each('[1,2,3,4,5,6,7,8,9]') d, json_each('[1,2,3,4,5,6,7,8,9]') e,
         json_each('[1,2,3,4,5,6,7,8,9]') f, json_each('[1,2,3,4,5,6,7,8,9]') g, json_each('[1,2,3,4,5,6,7,8,9]') h",
    ] {
        let e = asked.run(sql, &mut Kept::default()).unwrap_err();
        assert!(e.kind() == ErrorKind::Failure && e.message().contains("took longer"), "{e:?}");
    }
    // The next statement has all its time.
    asked.run("SELECT count(*) FROM t", &mut Kept::default()).unwrap();
}

#[test]
fn a_stop_ends_what_runs() {
    let (bench, _) = asked(Duration::from_secs(1));
    let view = bench.history.latest().unwrap().unwrap().open(&ViewOptions::default()).unwrap();
    let limits = Limits { time: None, value_bytes: 1 << 20 };
    let asked = Asked::new(view, limits, || true).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i FROM n) SELECT i FROM n";
    let mut kept = Kept::default();
    let e = asked.run(&format!("{endless} WHERE i > 1"), &mut kept).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted);
}

#[test]
fn a_value_that_is_too_large_is_an_error() {
    let (_bench, asked) = asked(Duration::from_secs(600));
    for sql in [
        "SELECT zeroblob(1 << 30)",
        "SELECT randomblob(1 << 30)",
        "SELECT printf('%*s', 1 << 30, 'x')",
        "WITH RECURSIVE n(s) AS (VALUES('xxxxxxxx') UNION ALL SELECT s || s FROM n) SELECT max(s) FROM n",
        "SELECT hex(zeroblob(1000000))",
    ] {
        let e = asked.run(sql, &mut Kept::default()).unwrap_err();
        assert!(e.kind() == ErrorKind::NoSpace && e.hint().is_some(), "{sql}: {e:?}");
    }
    // And rows that are not wanted are not made.
    let sql = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let mut kept = Kept::default();
    asked.run(sql, &mut kept).unwrap();
    assert_eq!(kept.0.len(), 101);
}
