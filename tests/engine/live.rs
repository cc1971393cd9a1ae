//! Databases that live on while they are backed up: they shrink and grow, change their journal, and are written to without a rest.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Lab, integrity_check, noise, reference, restored, restored_raw};
use rusqlite::{Connection, params};

#[test]
fn a_database_that_shrinks_and_grows_again_without_rewriting_restores_exactly() {
    // The blob comes and goes in one transaction: with a rollback journal its pages are never written, and
    // the file has holes where older pages were before.
    let grow = "BEGIN; INSERT INTO t VALUES(2, zeroblob(90000)); DELETE FROM t WHERE id=2; COMMIT";
    let shrinks = ["VACUUM", "PRAGMA incremental_vacuum"];
    for (journal, shrink) in
        ["WAL", "DELETE", "PERSIST"].iter().flat_map(|j| shrinks.map(|s| (j, s)))
    {
        for between in
            ["", "shrink", "shrink, checkpoint", "checkpoint", "shrink, reader, checkpoint"]
        {
            let case = format!("{journal}, {shrink}, between: {between}");
            let lab = Lab::quick();
            let path = lab.path("app.db");
            let app = Connection::open(&path).unwrap();
            app.execute_batch(&format!(
                "PRAGMA page_size=1024; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode={journal};
                 PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
            ))
            .unwrap();
            app.execute("INSERT INTO t VALUES(1, ?1)", [noise(1, 60_000)]).unwrap();
            app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(3, 3)")
                .unwrap();
            let mut references = vec![reference(&path)];
            lab.backup(&path);
            let mut back_up = || {
                references.push(reference(&path));
                assert!(lab.backup(&path).commit.is_some(), "{case}");
            };

            app.execute_batch("DELETE FROM t WHERE id=1").unwrap();
            app.execute_batch(shrink).unwrap();
            if between.contains("shrink") {
                back_up();
            }
            // A reader at the WAL's end lets a checkpoint finish, and the WAL go on all the same.
            let reader = Connection::open(&path).unwrap();
            if between.contains("reader") && *journal == "WAL" {
                reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
            }
            if between.contains("checkpoint") {
                app.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
            }
            app.execute_batch(grow).unwrap();
            back_up();
            app.execute_batch("INSERT INTO t VALUES(4, zeroblob(500))").unwrap();
            back_up();

            let sizes: Vec<_> = references.iter().map(Vec::len).collect();
            assert!(sizes.last() > sizes.first(), "{case}: {sizes:?}");
            let history = lab.repository.history("app").unwrap();
            let chain = history.chain().unwrap();
            for (seq, expected) in (1..).zip(&references) {
                let bytes = restored_raw(&history, &chain, seq, lab.dir.path()).unwrap();
                assert!(bytes == *expected, "{case}: commit {seq}");
            }
        }
    }
}

#[test]
fn a_database_changes_its_journal_between_backups_and_notices_nothing_of_them() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch("CREATE TABLE t(x, y); INSERT INTO t VALUES(1, 2)").unwrap();
    for round in 0..3 {
        for (mode, files) in [("DELETE", 1), ("WAL", 3)] {
            app.execute_batch(&format!("PRAGMA journal_mode={mode}")).unwrap();
            lab.backup(&path);
            app.execute_batch(&format!("CREATE TABLE {mode}{round} AS SELECT * FROM t")).unwrap();
            lab.backup(&path);
            let beside = std::fs::read_dir(lab.dir.path()).unwrap().filter(|entry| {
                entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("app.db")
            });
            assert_eq!(beside.count(), files, "round {round}: files of a database in {mode} mode");
            assert_eq!(integrity_check(&app), "ok");
        }
    }
}

/// Tells the writer to stop, also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Transactions, one after the other, until told to stop. Each keeps: accounts sum up to zero, and `meta` tells the
/// number, the count and the sum of the ledger's rows.
fn write_until_told(app: &Connection, committed: &AtomicU64, stop: &AtomicBool) {
    for n in 1i64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let pad = noise(n.unsigned_abs(), 100 + usize::try_from(n % 7).unwrap() * 700);
        app.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             UPDATE account SET v=v-{n} WHERE id={a}; UPDATE account SET v=v+{n} WHERE id={b};",
            a = n % 50 + 1,
            b = n * 7 % 50 + 1,
        ))
        .unwrap();
        app.execute("INSERT INTO ledger VALUES(?1, ?1*3, ?2)", params![n, pad]).unwrap();
        app.execute_batch(
            "DELETE FROM ledger WHERE n <= (SELECT max(n) FROM ledger) - 120;
             UPDATE meta SET n=n+1, rows=(SELECT count(*) FROM ledger), total=(SELECT sum(v) FROM ledger);
             COMMIT",
        )
        .unwrap();
        committed.fetch_add(1, Ordering::SeqCst);
    }
}

/// The number of the last transaction in a restored file, after everything about it was checked.
fn last_transaction(bytes: &[u8], path: &Path) -> u64 {
    std::fs::write(path, bytes).unwrap();
    let db = Connection::open(path).unwrap();
    let text = |sql: &str| db.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    let number = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    assert_eq!(number("SELECT sum(v) FROM account"), 0);
    assert_eq!(number("SELECT rows FROM meta"), number("SELECT count(*) FROM ledger"));
    assert_eq!(number("SELECT total FROM meta"), number("SELECT ifnull(sum(v), 0) FROM ledger"));
    assert_eq!(number("SELECT n FROM meta"), number("SELECT ifnull(max(n), 0) FROM ledger"));
    number("SELECT n FROM meta").unsigned_abs()
}

#[test]
fn backups_under_a_writer_that_never_rests_are_whole_transactions() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = Connection::open(&path).unwrap();
    app.busy_timeout(Duration::from_secs(30)).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=400;
         CREATE TABLE account(id INTEGER PRIMARY KEY, v INTEGER);
         CREATE TABLE ledger(n INTEGER PRIMARY KEY, v INTEGER, pad BLOB);
         CREATE TABLE meta(n INTEGER, rows INTEGER, total INTEGER);
         INSERT INTO meta VALUES(0, 0, 0);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i WHERE n<50)
         INSERT INTO account SELECT n, 0 FROM i;",
    )
    .unwrap();
    let (committed, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut bounds = Vec::new();
    std::thread::scope(|scope| {
        let stopper = StopOnDrop(&stop);
        let writer = scope.spawn(|| {
            write_until_told(&app, &committed, &stop);
            app
        });
        while bounds.len() < 30 && !writer.is_finished() {
            // Everything that was committed before a backup begins is in it.
            let before = committed.load(Ordering::SeqCst);
            if bounds.last().is_some_and(|(_, last)| before <= *last) {
                std::thread::yield_now();
                continue;
            }
            let report = lab.backup(&path);
            assert_eq!(report.seq.0, bounds.len() as u64 + 1);
            bounds.push((before, committed.load(Ordering::SeqCst) + 1));
        }
        drop(stopper);
        writer.join().unwrap()
    });
    let done = committed.load(Ordering::SeqCst);
    assert!(lab.backup(&path).commit.is_some());
    bounds.push((done, done));
    let history = lab.repository.history("app").unwrap();
    for (seq, (least, most)) in (1..).zip(bounds) {
        let bytes = restored(&history, seq, lab.dir.path()).unwrap();
        let n = last_transaction(&bytes, &lab.path("look.db"));
        assert!((least..=most).contains(&n), "commit {seq} ends with {n}, not {least} to {most}");
    }
}
