//! Rewinding a live database, and telling beforehand what that would change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::support::{Lab, integrity_check, noise, objects, reference, restored};
use pagekeep::internals::format::snapshot::SnapshotKind;
use pagekeep::internals::keeper::{Keeper, KeeperOptions};
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::ops::rewind::{RewindOptions, Rewound, rewind_capturing};
use pagekeep::internals::progress::{Monitor, Silent};
use pagekeep::internals::repo::Repository;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::write::writer::Writer;
use pagekeep::internals::types::Seq;
use pagekeep::{Error, ErrorKind, TableFate};
use rusqlite::{Connection, params};

fn open(path: &Path, journal: &str) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode={journal}; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)"
    ))
    .unwrap();
    db
}

fn count(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// As `pagekeep rewind` does it.
fn capture_present(
    repository: &Repository,
    history: &History,
    path: &Path,
    patience: Duration,
    monitor: &dyn Monitor,
) -> pagekeep::Result<Seq> {
    let options = BackupOptions::default().name(history.name()).patience(patience);
    repository.backup(path, &options, monitor).map(|report| report.seq)
}

fn back(lab: &Lab, history: &History, path: &Path, to: u64) -> pagekeep::Result<Rewound> {
    rewind_capturing(
        history,
        path,
        Seq(to),
        &RewindOptions::default(),
        &mut |at_most| capture_present(&lab.repository, history, path, at_most, &Silent),
        &Silent,
    )
}

/// The bytes without the fields of page 1 that SQLite's backup API changes, so that other connections notice.
fn without_counters(mut bytes: Vec<u8>) -> Vec<u8> {
    for field in [24..28, 40..44, 92..100] {
        bytes[field].fill(0);
    }
    bytes
}

#[test]
fn a_rewind_is_seen_by_open_connections_and_undone_by_another() {
    for journal in ["WAL", "DELETE"] {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let db = open(&path, journal);
        let mut images = Vec::new();
        for n in 0..3 {
            for m in 0..50 {
                db.execute("INSERT INTO t(x) VALUES(?1)", [noise(n * 100 + m, 700)]).unwrap();
            }
            lab.backup(&path);
            images.push(reference(&path));
        }
        // Not captured yet: a rewind must not lose it.
        db.execute("DELETE FROM t WHERE id > 120", []).unwrap();
        images.push(reference(&path));
        let history = lab.repository.history("app").unwrap();
        let mut statement = db.prepare("SELECT count(*) FROM t").unwrap();
        let mut counted = || statement.query_row([], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(counted(), 120);

        let done = back(&lab, &history, &path, 1).unwrap();
        assert_eq!(counted(), 50, "{journal}");
        assert_eq!((done.to, done.before.seq, done.now), (Seq(1), Seq(4), Seq(5)));
        assert_eq!(done.before.kind, SnapshotKind::Safety);
        assert_eq!(done.before.label, "before rewind to seq:1");
        assert!(restored(&history, 4, lab.dir.path()).unwrap() == images[3], "{journal}");
        let now = restored(&history, 5, lab.dir.path()).unwrap();
        assert!(now == reference(&path), "{journal}: what is captured is what is there");
        assert!(without_counters(now) == without_counters(images[0].clone()), "{journal}");

        db.execute("INSERT INTO t VALUES(1000, 'after')", []).unwrap();
        let undone = back(&lab, &history, &path, done.before.seq.0).unwrap();
        assert_eq!(counted(), 120);
        assert_eq!(undone.before.seq, Seq(6));
        let now = restored(&history, undone.now.0, lab.dir.path()).unwrap();
        assert!(without_counters(now) == without_counters(images[3].clone()), "{journal}");
        assert_eq!(integrity_check(&db), "ok");
    }
}

#[test]
fn an_open_read_transaction_keeps_what_it_saw() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    lab.backup(&path);
    db.execute("INSERT INTO t VALUES(1, 1)", []).unwrap();
    let reader = open(&path, "WAL");
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reader), 1);
    let history = lab.repository.history("app").unwrap();
    back(&lab, &history, &path, 1).unwrap();
    assert_eq!((count(&reader), count(&db)), (1, 0));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&reader), 0);
}

/// Stops when it is told that pages are copied.
struct StopAtInstall(std::sync::atomic::AtomicBool);

impl Monitor for StopAtInstall {
    fn phase(&self, phase: pagekeep::internals::progress::Phase, _: Option<u64>) {
        if phase == pagekeep::internals::progress::Phase::Install {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn whatever_goes_wrong_before_the_end_leaves_the_database_as_it_was() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    lab.backup(&path);
    db.execute("INSERT INTO t VALUES(1, 1)", []).unwrap();
    let history = lab.repository.history("app").unwrap();
    let before = reference(&path);
    let unchanged = |what: &str| {
        assert!(reference(&path) == before, "{what}");
        let leftovers = std::fs::read_dir(lab.dir.path()).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp")
        });
        assert_eq!(leftovers.count(), 0, "{what}");
        assert_eq!(history.snapshots().unwrap(), [], "a label of nothing that happened: {what}");
    };
    let options = RewindOptions::default();
    let capture = |at_most| capture_present(&lab.repository, &history, &path, at_most, &Silent);

    // The second capture is the one under the lock.
    let mut calls = 0;
    let mut failing = |at_most| {
        calls += 1;
        if calls == 2 { Err(Error::new(ErrorKind::Storage, "gone")) } else { capture(at_most) }
    };
    let error =
        rewind_capturing(&history, &path, Seq(1), &options, &mut failing, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    unchanged("a capture that fails");

    let stop = StopAtInstall(false.into());
    let error =
        rewind_capturing(&history, &path, Seq(1), &options, &mut |at_most| capture(at_most), &stop)
            .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    unchanged("a stop");

    let error = back(&lab, &history, &path, 77).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    unchanged("a commit that is not there");

    let other = open(&path, "WAL");
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = back(&lab, &history, &path, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    other.execute_batch("ROLLBACK").unwrap();
    unchanged("a writer that does not end");
    back(&lab, &history, &path, 1).unwrap();
    assert_eq!(count(&db), 0);
}

#[test]
fn another_page_size_is_refused_in_wal_mode_and_taken_otherwise() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "DELETE");
    db.execute("INSERT INTO t VALUES(1, 1)", []).unwrap();
    lab.backup(&path);
    db.execute_batch("DELETE FROM t; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL")
        .unwrap();
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let error = back(&lab, &history, &path, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(count(&db), 0);
    db.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).unwrap();
    back(&lab, &history, &path, 1).unwrap();
    assert_eq!(count(&db), 1);
}

#[test]
fn a_follower_that_holds_the_history_is_waited_for() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let keeper = Keeper::open(&path, lab.repository.clone(), KeeperOptions::default()).unwrap();
    let db = keeper.connect().unwrap();
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    let empty = keeper.snapshot("empty").unwrap();
    for n in 0..20 {
        db.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
    }
    // As `pagekeep rewind` does it while `pagekeep watch` runs.
    let history = lab.repository.history("app").unwrap();
    let done = back(&lab, &history, &path, empty.seq().0).unwrap();
    assert_eq!(count(&db), 0);
    assert_eq!(done.now, keeper.wait_durable(Duration::from_secs(30)).unwrap());
    // And through the keeper itself.
    let before = keeper.history().find(&done.before.label).unwrap();
    keeper.rewind(&before).unwrap();
    assert_eq!(count(&db), 20);
    assert_eq!(keeper.status().scans, 0);
    keeper.close().unwrap();

    // A writer that does not follow the database never catches up; there is no telling how long it takes to be sure of that, so a stop
    // ends the wait.
    db.execute("DELETE FROM t", []).unwrap();
    let writer = Writer::open(&history, "test").unwrap();
    let stop = pagekeep::internals::progress::Stoppable::default();
    stop.stop();
    let error = capture_present(&lab.repository, &history, &path, Duration::from_secs(30), &stop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    drop(writer);
}

/// All rows of a table by what names a row in it.
fn rows(db: &Connection, sql: &str) -> BTreeMap<String, String> {
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    db.execute_batch(
        "CREATE TABLE w(a TEXT COLLATE NOCASE, b INT, c, PRIMARY KEY(a, b)) WITHOUT ROWID;
         CREATE TABLE same(x); INSERT INTO same VALUES(1); CREATE INDEX t_x ON t(x);
         CREATE TABLE gone(x); INSERT INTO gone VALUES(1), (2); CREATE TABLE shape(x);",
    )
    .unwrap();
    for n in 0..400i64 {
        db.execute("INSERT INTO t VALUES(?1, ?2)", params![n, noise(n.unsigned_abs(), 90)])
            .unwrap();
        db.execute("INSERT INTO w VALUES(?1, ?2, ?3)", params![format!("Key{}", n % 50), n, n])
            .unwrap();
    }
    lab.backup(&path);
    let keyed = [
        ("t", "SELECT CAST(id AS TEXT), hex(x) FROM t"),
        ("w", "SELECT lower(a) || '/' || b, a || c FROM w"),
    ];
    let then: Vec<_> = keyed.map(|(_, sql)| rows(&db, sql)).into();
    db.execute_batch(
        "DELETE FROM t WHERE id % 7 = 0; UPDATE t SET x = 1 WHERE id % 11 = 3; INSERT INTO t SELECT id + 1000, x FROM t WHERE id < 9;
         DELETE FROM w WHERE b % 13 = 0; UPDATE w SET c = 'x' WHERE b > 390; UPDATE w SET a = upper(a) WHERE b < 5;
         INSERT INTO w VALUES('new', 1, 1); DROP TABLE gone; CREATE TABLE fresh(y); DROP INDEX t_x; CREATE VIEW v AS SELECT 1;
         ALTER TABLE shape ADD COLUMN y;",
    )
    .unwrap();
    let now: Vec<_> = keyed.map(|(_, sql)| rows(&db, sql)).into();
    let history = lab.repository.history("app").unwrap();
    let (before, stored) = (reference(&path), objects(&lab.store));
    let wal = std::fs::read(lab.path("app.db-wal")).unwrap();
    let found = history
        .point(Seq(1))
        .unwrap()
        .preview_rewind(&path, &RewindOptions::default(), &Silent)
        .unwrap();
    assert!(reference(&path) == before && objects(&lab.store) == stored);
    assert!(std::fs::read(lab.path("app.db-wal")).unwrap() == wal);

    let of = |name: &str| found.tables.iter().find(|t| &*t.name == name);
    for ((name, _), (then, now)) in keyed.iter().zip(then.iter().zip(&now)) {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (now.keys().collect(), then.keys().collect());
        let changed = old.intersection(&new).filter(|k| now[**k] != then[**k]).count() as u64;
        let table = of(name).unwrap();
        let expected =
            (new.difference(&old).count() as u64, old.difference(&new).count() as u64, changed);
        assert_eq!((table.inserted, table.deleted, table.updated), expected, "{name}");
        assert_eq!(table.fate, TableFate::Same);
    }
    assert_eq!(of("same"), None);
    let gone = of("gone").unwrap();
    assert_eq!((&gone.fate, gone.inserted), (&TableFate::Created, 2));
    assert_eq!(of("fresh").unwrap().fate, TableFate::Dropped);
    assert_eq!(of("shape").unwrap().fate, TableFate::Redefined);
    let schema: Vec<String> =
        found.schema.iter().map(|s| format!("{} {} {}", s.kind, s.name, s.operation())).collect();
    assert_eq!(
        schema,
        [
            "table fresh dropped",
            "table gone created",
            "table shape redefined",
            "view v dropped",
            "index t_x created"
        ]
    );
    assert!(found.pages > 0);

    back(&lab, &history, &path, 1).unwrap();
    let found = history
        .point(Seq(1))
        .unwrap()
        .preview_rewind(&path, &RewindOptions::default(), &Silent)
        .unwrap();
    assert!(found.tables.is_empty() && found.schema.is_empty(), "{found:?}");
}

/// Few pages differ, none of them the table's own, and all its rows come, go, or are others.
#[test]
fn a_dry_run_counts_rows_of_tables_whose_pages_stay_as_they_are() {
    let rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)";
    /// A table, and how many of its rows come, change and go.
    type Told = (&'static str, [u64; 3]);
    let cases: [(&str, &[Told]); 4] = [
        ("DROP TABLE t", &[("t", [300, 0, 0])]),
        ("ALTER TABLE t RENAME TO t2", &[("t", [300, 0, 0]), ("t2", [0, 0, 300])]),
        (
            "ALTER TABLE \"t\" RENAME TO x; ALTER TABLE \"u\" RENAME TO \"t\"; ALTER TABLE x RENAME TO \"u\"",
            &[("t", [300, 0, 0]), ("u", [0, 0, 300])],
        ),
        ("ALTER TABLE t ADD COLUMN y DEFAULT 5", &[("t", [0, 300, 0])]),
    ];
    for (change, expected) in cases {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        // Free pages that are there already, so that a table that goes takes no page along.
        db.execute_batch(&format!(
            "CREATE TABLE \"t\"(id INTEGER PRIMARY KEY, z); CREATE TABLE \"u\"(id INTEGER PRIMARY KEY, z);
             {rows} INSERT INTO t SELECT i, hex(i) FROM n; CREATE TABLE f(x);
             {rows} INSERT INTO f SELECT randomblob(900) FROM n; DROP TABLE f"
        ))
        .unwrap();
        lab.backup(&path);
        db.execute_batch(change).unwrap();
        let point = lab.repository.history("app").unwrap().point(Seq(1)).unwrap();
        let found = point.preview_rewind(&path, &RewindOptions::default(), &Silent).unwrap();
        let told: Vec<(&str, [u64; 3])> =
            found.tables.iter().map(|t| (&*t.name, [t.inserted, t.updated, t.deleted])).collect();
        assert_eq!(told, expected, "{change}");
    }
}

#[test]
fn a_busy_application_beside_a_follower_does_not_hold_a_rewind_up() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let options = KeeperOptions::default().interval(Duration::ZERO);
    let keeper = Keeper::open(&path, lab.repository.clone(), options).unwrap();
    let db = keeper.connect().unwrap();
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    let empty = keeper.snapshot("empty").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let history = lab.repository.history("app").unwrap();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let db = open(&path, "WAL");
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                db.execute("INSERT INTO t(x) VALUES(1)", []).unwrap();
            }
        });
        let began = std::time::Instant::now();
        // As another process does it, which knows of the follower only what it remembers.
        let done = back(&lab, &history, &path, empty.seq().0);
        let took = began.elapsed();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(took < Duration::from_secs(20), "{took:?}");
        done.unwrap()
    });
    keeper.close().unwrap();
    assert_eq!(done.now, done.before.seq.next());
    // Exactly the commit of the rewind: no row of the old state, none of the time after.
    let bytes = restored(&history, done.now.0, lab.dir.path()).unwrap();
    let look = lab.path("look.db");
    std::fs::write(&look, bytes).unwrap();
    assert_eq!(count(&Connection::open(&look).unwrap()), 0);
}

#[test]
fn a_rewind_to_an_empty_database_and_across_journal_modes() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA page_size=8192").unwrap();
    lab.backup(&path);
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 1)")
        .unwrap();
    lab.backup(&path);
    db.execute_batch("PRAGMA journal_mode=WAL; DELETE FROM t").unwrap();
    let history = lab.repository.history("app").unwrap();
    back(&lab, &history, &path, 2).unwrap();
    assert_eq!(count(&db), 1);
    back(&lab, &history, &path, 1).unwrap();
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 0);
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_dry_run_copes_with_what_only_the_application_understands() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    db.create_collation("mine", |a, b| b.cmp(a)).unwrap();
    db.execute_batch(
        "CREATE TABLE odd(rowid TEXT, _rowid_ TEXT, oid TEXT); INSERT INTO odd VALUES(1, 2, 3);
         CREATE TABLE own(k TEXT COLLATE mine PRIMARY KEY, x) WITHOUT ROWID; INSERT INTO own VALUES('a', 1), ('b', 2);
         INSERT INTO t VALUES(1, CAST(x'ff00fe' AS TEXT));",
    )
    .unwrap();
    lab.backup(&path);
    db.execute_batch("DELETE FROM odd; DELETE FROM own; UPDATE t SET x = CAST(x'fffe' AS TEXT)")
        .unwrap();
    let history = lab.repository.history("app").unwrap();
    let found = history
        .point(Seq(1))
        .unwrap()
        .preview_rewind(&path, &RewindOptions::default(), &Silent)
        .unwrap();
    let told: Vec<(&str, bool, u64)> =
        found.tables.iter().map(|t| (&*t.name, t.uncompared.is_some(), t.updated)).collect();
    assert_eq!(told, [("odd", true, 0), ("own", true, 0), ("t", false, 1)]);
    back(&lab, &history, &path, 1).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM own", [], |row| row.get(0)), Ok(2));
}

#[test]
fn scratch_files_of_killed_processes_are_swept_away() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let make = |name: &str| {
        let file = std::fs::File::create(lab.path(name)).unwrap();
        file.set_modified(long_ago).unwrap();
        file
    };
    drop(make(".tmp-0011223344556677.db"));
    let at_work = make(".tmp-8899aabbccddeeff.db");
    at_work.lock().unwrap();
    drop(make("mine.db"));
    back(&lab, &history, &path, 1).unwrap();
    assert!(!lab.path(".tmp-0011223344556677.db").exists());
    assert!(lab.path(".tmp-8899aabbccddeeff.db").exists() && lab.path("mine.db").exists());
    drop(db);
}

fn mode(db: &Connection) -> String {
    db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap()
}

/// SQLite's copy of an empty image is over at once: it must not be before the present was captured under the lock.
#[test]
fn a_rewind_to_a_commit_without_pages_keeps_what_it_writes_over() {
    for journal in ["WAL", "DELETE"] {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        std::fs::write(&path, "").unwrap();
        lab.backup(&path);
        let db = open(&path, journal);
        db.execute_batch("INSERT INTO t VALUES(1, 1), (2, 2)").unwrap();
        let history = lab.repository.history("app").unwrap();
        let done = back(&lab, &history, &path, 1).unwrap();
        let tables: i64 =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0, "{journal}");
        assert_eq!(done.before.seq, Seq(2), "{journal}");
        let labels: Vec<Seq> = history.snapshots().unwrap().iter().map(|s| s.seq).collect();
        assert_eq!(labels, [Seq(2)], "{journal}: the state before, and no other");
        back(&lab, &history, &path, done.before.seq.0).unwrap();
        assert_eq!(count(&db), 2, "{journal}");
    }
}

/// The database was closed, so its WAL is empty, and nothing was committed since: a follower that scanned it has everything.
#[test]
fn a_follower_that_scanned_and_found_an_empty_wal_is_not_waited_for() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    drop(open(&path, "WAL"));
    let keeper = Keeper::open(&path, lab.repository.clone(), KeeperOptions::default()).unwrap();
    let first = keeper.wait_durable(Duration::from_secs(30)).unwrap();
    let history = lab.repository.history("app").unwrap();
    back(&lab, &history, &path, first.0).unwrap();
    keeper.close().unwrap();
}

/// A follower that is stopped by a debugger or a slow disk: the lock is let go, so that the application can write, and taken again when
/// the follower had its time.
#[test]
fn nobody_waits_long_for_a_rewind_that_waits_for_a_follower() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let other = open(&path, "WAL");
    other.busy_timeout(Duration::ZERO).unwrap();
    let write = || other.execute("INSERT INTO t(x) VALUES(1)", []);
    let mut calls = Vec::new();
    let mut capture = |at_most: Duration| {
        calls.push((at_most, write().is_ok()));
        // Under the lock it does not catch up, the first time.
        match calls.len() {
            2 => Err(Error::new(ErrorKind::Busy, "does not catch up")),
            _ => capture_present(&lab.repository, &history, &path, at_most, &Silent),
        }
    };
    rewind_capturing(&history, &path, Seq(1), &RewindOptions::default(), &mut capture, &Silent)
        .unwrap();
    let written: Vec<bool> = calls.iter().map(|(_, written)| *written).collect();
    assert_eq!(written, [true, false, true, false, true], "let go, and taken again");
    let under_lock = calls.iter().filter(|(_, written)| !written);
    assert!(under_lock.into_iter().all(|(at_most, _)| *at_most <= Duration::from_secs(2)));
    // The last one was written behind the rewind.
    assert_eq!(count(&db), 1);
}

#[test]
fn a_rewind_keeps_the_journal_mode_that_the_database_has_now() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = open(&path, "WAL");
    db.execute_batch("INSERT INTO t VALUES(1, 1)").unwrap();
    lab.backup(&path);
    db.execute_batch("DELETE FROM t; PRAGMA journal_mode=DELETE").unwrap();
    let history = lab.repository.history("app").unwrap();
    back(&lab, &history, &path, 1).unwrap();
    assert_eq!((count(&db), mode(&db).as_str()), (1, "delete"));
    drop(db);
    let again = Connection::open(&path).unwrap();
    assert_eq!((count(&again), mode(&again).as_str()), (1, "delete"), "and it says so itself");
}

#[test]
fn a_rewind_over_a_change_of_encoding_is_refused() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let make = |encoding: &str| {
        let _ = std::fs::remove_file(&path);
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE t(x)")).unwrap();
        lab.backup(&path);
    };
    make("UTF-16le");
    make("UTF-8");
    let history = lab.repository.history("app").unwrap();
    let error = back(&lab, &history, &path, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("UTF-16le"), "{error}");
}
