//! States before schema changes and large deletions get a label by themselves, which ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use pagekeep::internals::repo::history::labels::Snapshot;
use pagekeep::internals::types::Clock;
use pagekeep::testing::MemoryStore;
use pagekeep::{
    BackupOptions, BackupReport, CopyOptions, Error, ErrorKind, History, Monitor, PruneOptions,
    RepairOptions, Repository, RepositoryOptions, Secret, Seq, Silent, SnapshotKind, Store,
    Timestamp,
};
use rusqlite::Connection;

use crate::support::hooked::{Fate, Hooked, Op};
use crate::support::{CHEAP, keep_last, quick_dir};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A repository in memory and a database, with a clock that only passes when it is told to.
struct Site {
    dir: tempfile::TempDir,
    time: Arc<AtomicI64>,
    store: MemoryStore,
    secret: Secret,
    repository: Repository,
    app: Connection,
}

impl Site {
    fn new() -> Self {
        let dir = quick_dir();
        let time = Arc::new(AtomicI64::new(1_777_000_000_000_000));
        let store = MemoryStore::with_clock(clock(&time));
        let secret = Secret::new_recovery().unwrap();
        let options = RepositoryOptions::new(dir.path().join("state")).clock(clock(&time));
        let repository =
            Repository::init(Arc::new(store.clone()), &[(&secret, "")], CHEAP, &options).unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
            .unwrap();
        fill(&app, 400);
        Self { dir, time, store, secret, repository, app }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn pass(&self, micros: i64) {
        self.time.fetch_add(micros, Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.time.load(Ordering::SeqCst))
    }

    /// Another opening of the repository, on a machine of this name and with a clock that is so
    /// many microseconds ahead.
    fn elsewhere(&self, store: Arc<dyn Store>, machine: &str, ahead: i64) -> Repository {
        let time = self.time.clone();
        let clock = Clock::new(move || Timestamp(time.load(Ordering::SeqCst) + ahead));
        let options = RepositoryOptions::new(self.dir.path().join(machine)).clock(clock);
        Repository::open(store, &self.secret, &options).unwrap()
    }

    fn backup(&self) -> BackupReport {
        backup(&self.repository, &self.path())
    }

    /// Changes the database an hour later, and backs it up.
    fn after(&self, sql: &str) -> BackupReport {
        self.pass(60 * MINUTE);
        self.app.execute_batch(sql).unwrap();
        self.backup()
    }

    fn history(&self) -> History {
        self.repository.history("app").unwrap()
    }

    fn labels(&self) -> Vec<(u64, String)> {
        told(&self.history().snapshots().unwrap())
    }
}

fn clock(time: &Arc<AtomicI64>) -> Clock {
    let time = time.clone();
    Clock::new(move || Timestamp(time.load(Ordering::SeqCst)))
}

fn fill(app: &Connection, rows: u32) {
    app.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
         INSERT INTO t(x) SELECT randomblob(900) FROM n"
    ))
    .unwrap();
}

fn backup(repository: &Repository, path: &Path) -> BackupReport {
    repository.backup(path, &BackupOptions::default(), &Silent).unwrap()
}

fn told(labels: &[Snapshot]) -> Vec<(u64, String)> {
    labels.iter().map(|label| (label.seq.0, label.label.clone())).collect()
}

fn label(seq: u64, label: &str) -> (u64, String) {
    (seq, label.to_owned())
}

fn keep_one() -> PruneOptions {
    keep_last(1, Duration::ZERO)
}

#[test]
fn a_backup_marks_the_state_before_what_matters_and_nothing_else() {
    let site = Site::new();
    assert_eq!(told(&site.backup().marks), []);
    for sql in
        ["INSERT INTO t(x) VALUES(1)", "UPDATE t SET x=2 WHERE id<9", "DELETE FROM t WHERE id<9"]
    {
        assert_eq!(told(&site.after(sql).marks), [], "{sql}");
    }
    let schema = site.after("ALTER TABLE t ADD COLUMN y");
    assert_eq!(told(&schema.marks), [label(4, "before-schema-change-5")]);
    let [mark] = &schema.marks[..] else { panic!("{:?}", schema.marks) };
    assert_eq!((mark.kind, mark.time), (SnapshotKind::Mark, site.now()));
    assert_eq!(mark.until, Some(Timestamp(site.now().0 + 30 * DAY)));
    let delete = site.after("DELETE FROM t WHERE id>100");
    assert_eq!(told(&delete.marks), [label(5, "before-large-delete-6")]);
    // Free pages hold nothing any more. SQLite counts a VACUUM as a change of the schema.
    assert_eq!(told(&site.after("VACUUM").marks), [label(6, "before-schema-change-7")]);
    assert_eq!(site.after("CREATE INDEX t_y ON t(y)").marks.len(), 1);
    assert_eq!(site.after("DROP TABLE t").marks[0].label, "before-schema-change-9");
    let found = site.history().find("before-large-delete-6").unwrap();
    assert_eq!(found.seq(), Seq(5));
    assert_eq!(site.labels().len(), 5);
}

#[test]
fn what_comes_within_a_minute_is_one_migration_and_a_day_has_ten() {
    let site = Site::new();
    site.backup();
    for n in 0..100 {
        site.pass(MINUTE / 50);
        site.app.execute_batch(&format!("CREATE TABLE u{n}(y)")).unwrap();
        site.backup();
    }
    let labels = site.labels();
    assert_eq!(labels, [label(1, "before-schema-change-2"), label(51, "before-schema-change-52")]);
    for n in 100..130 {
        site.pass(5 * MINUTE);
        site.app.execute_batch(&format!("CREATE TABLE u{n}(y)")).unwrap();
        site.backup();
    }
    assert_eq!(site.labels().len(), 10);
    site.pass(DAY);
    assert_eq!(site.after("CREATE TABLE v(y)").marks.len(), 1);
}

#[test]
fn nothing_is_marked_that_has_no_table_or_where_nobody_wants_it() {
    let site = Site::new();
    site.app.execute_batch("DROP TABLE t; VACUUM").unwrap();
    site.backup();
    site.app.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    assert_eq!(told(&site.backup().marks), []);
    site.pass(60 * MINUTE);
    site.app.execute_batch("CREATE TABLE v(x)").unwrap();
    let options = BackupOptions::default().marks(None);
    let report = site.repository.backup(&site.path(), &options, &Silent).unwrap();
    assert_eq!((report.seq, told(&report.marks)), (Seq(3), vec![]));
    // And what was not wanted is not made up for.
    assert_eq!(told(&site.after("INSERT INTO v VALUES(1)").marks), []);
    assert_eq!(site.labels(), []);
    let options = BackupOptions::default().marks(Some(Duration::from_secs(60)));
    site.pass(60 * MINUTE);
    site.app.execute_batch("DROP TABLE v").unwrap();
    let report = site.repository.backup(&site.path(), &options, &Silent).unwrap();
    assert_eq!(report.marks[0].until, Some(Timestamp(site.now().0 + MINUTE)));
}

#[test]
fn nobody_gives_a_label_that_looks_as_a_mark() {
    let site = Site::new();
    let history = site.backup().history;
    let point = history.point(Seq(1)).unwrap();
    assert_eq!(point.label("before-schema-change-2").unwrap_err().kind(), ErrorKind::Usage);
    // One without an end could be read by nobody.
    let other = history.add_snapshot(Seq(1), "mine", SnapshotKind::Mark);
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(history.snapshots().unwrap(), []);
    point.label("before-schema-changes").unwrap();
    let marks = site.after("ALTER TABLE t ADD COLUMN y").marks;
    assert_eq!(told(&marks), [label(1, "before-schema-change-2")]);
}

#[test]
fn a_mark_that_was_taken_back_comes_back_with_its_end() {
    let site = Site::new();
    let history = site.backup().history;
    let mark = site.after("ALTER TABLE t ADD COLUMN y").marks.remove(0);
    history.remove_snapshot(&mark).unwrap();
    site.pass(MINUTE);
    let back = history.give_back(&mark).unwrap();
    assert_eq!((back.kind, back.until, &back.label), (mark.kind, mark.until, &mark.label));
    site.after("INSERT INTO t(x) VALUES(1)");
    site.pass(30 * DAY);
    let ended = history.prune(&keep_one(), &Silent).unwrap().ended;
    assert_eq!((told(&ended), site.labels()), (vec![label(1, &mark.label)], vec![]));
}

/// The state before a commit is let go before it was marked. An earlier one is another state.
#[test]
fn an_earlier_state_is_never_marked_in_the_place_of_one_that_is_gone() {
    let site = Site::new();
    site.backup();
    site.after("INSERT INTO t(x) VALUES('the last good one')");
    let refuses = Arc::new(AtomicBool::new(true));
    let through = site.elsewhere(without_labels(&site, &refuses, false), "state", 0);
    site.pass(60 * MINUTE);
    site.app.execute_batch("DROP TABLE t").unwrap();
    assert_eq!(told(&backup(&through, &site.path()).marks), []);
    site.history().point(Seq(1)).unwrap().label("mine").unwrap();
    site.history().prune(&keep_one(), &Silent).unwrap();
    refuses.store(false, Ordering::SeqCst);
    let warned = Warned::default();
    let report = through.backup(&site.path(), &BackupOptions::default(), &warned).unwrap();
    assert_eq!((told(&report.marks), site.labels()), (vec![], vec![label(1, "mine")]));
    let warnings = warned.0.lock().unwrap();
    let is_told = |text: &String| text.contains("a prune dropped the state before seq:3");
    assert!(warnings.iter().any(is_told), "{warnings:?}");
}

/// Keeps what was warned of.
#[derive(Default)]
struct Warned(std::sync::Mutex<Vec<String>>);

impl Monitor for Warned {
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// A machine whose clock stands in the past until somebody sets it.
#[test]
fn a_mark_lasts_as_long_as_it_says_by_the_clock_of_the_storage() {
    let site = Site::new();
    site.backup();
    let past = site.elsewhere(Arc::new(site.store.clone()), "state", -400 * DAY);
    site.pass(60 * MINUTE);
    site.app.execute_batch("ALTER TABLE t ADD COLUMN y").unwrap();
    assert_eq!(backup(&past, &site.path()).marks.len(), 1);
    site.after("INSERT INTO t(x) VALUES(1)");
    let history = site.history();
    assert!(history.snapshots().unwrap()[0].until.unwrap() < site.now());
    assert_eq!(told(&history.prune(&keep_one(), &Silent).unwrap().ended), []);
    site.pass(31 * DAY);
    assert_eq!(history.prune(&keep_one(), &Silent).unwrap().ended.len(), 1);
}

#[test]
fn only_a_prune_ends_a_mark_in_time_and_a_wrong_clock_ends_none() {
    let site = Site::new();
    site.backup();
    site.after("ALTER TABLE t ADD COLUMN y");
    site.after("INSERT INTO t(x) VALUES(1)");
    let mark = label(1, "before-schema-change-2");
    let history = site.history();
    let points = |history: &History| -> Vec<u64> {
        history.restore_points().unwrap().iter().map(|point| point.seq().0).collect()
    };
    // A machine whose clock is off by a year, either way.
    for ahead in [365 * DAY, -365 * DAY] {
        let store = Arc::new(site.store.clone());
        let wrong = site.elsewhere(store, "wrong", ahead).history("app").unwrap();
        assert_eq!(wrong.prune(&keep_one(), &Silent).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!((site.labels(), points(&history)), (vec![mark.clone()], vec![1, 2, 3]));
    }
    // A minute before its end it keeps its commit.
    site.pass(30 * DAY - 61 * MINUTE);
    let report = history.prune(&keep_one(), &Silent).unwrap();
    assert_eq!((told(&report.ended), points(&history)), (vec![], vec![1, 3]));
    let why = &report.kept[0].reasons[0].to_string();
    assert!(why.starts_with("marked \"before-schema-change-2\", until 20"), "{why}");
    // Time alone ends nothing.
    site.pass(2 * MINUTE);
    assert_eq!(site.labels(), std::slice::from_ref(&mark));
    let planned = history.prune(&keep_one().dry_run(true), &Silent).unwrap();
    assert_eq!((told(&planned.ended), planned.dropped.len()), (vec![mark.clone()], 1));
    assert_eq!(site.labels(), std::slice::from_ref(&mark));
    let report = history.prune(&keep_one(), &Silent).unwrap();
    assert_eq!((told(&report.ended), points(&history)), (vec![mark], vec![3]));
    assert_eq!(site.labels(), []);
    assert_eq!(told(&history.prune(&keep_one(), &Silent).unwrap().ended), []);
}

#[test]
fn a_person_takes_a_mark_back_or_makes_it_last() {
    let site = Site::new();
    let history = site.backup().history;
    site.after("ALTER TABLE t ADD COLUMN y");
    site.after("DROP TABLE t");
    let marks = history.snapshots().unwrap();
    assert_eq!(marks.len(), 2);
    history.remove_snapshot(&marks[0]).unwrap();
    history.point(Seq(2)).unwrap().label("before 2.0").unwrap();
    // It is not made anew by who remembers nothing.
    let other = site.elsewhere(Arc::new(site.store.clone()), "other", 0);
    let options = BackupOptions::default().takeover(true).adopt(true);
    assert_eq!(told(&other.backup(&site.path(), &options, &Silent).unwrap().marks), []);
    site.pass(31 * DAY);
    site.app.execute_batch("CREATE TABLE w(x)").unwrap();
    site.pass(60 * MINUTE);
    let report = history.prune(&keep_one(), &Silent).unwrap();
    assert_eq!(told(&report.ended), [label(2, "before-schema-change-3")]);
    assert_eq!(site.labels(), [label(2, "before 2.0")]);
    let kept: Vec<u64> = report.kept.iter().map(|kept| kept.seq.0).collect();
    assert!(kept.contains(&2) && !kept.contains(&1), "{kept:?}");
}

/// A store that takes no labels for now.
fn without_labels(site: &Site, refuses: &Arc<AtomicBool>, lose: bool) -> Arc<dyn Store> {
    let refuses = refuses.clone();
    Arc::new(Hooked::new(Arc::new(site.store.clone()), move |op, name| {
        let is_label = matches!(op, Op::Create(_)) && name.contains("/snapshots/");
        let error = || Error::new(ErrorKind::Storage, "a fault of the test");
        match is_label && refuses.load(Ordering::SeqCst) {
            true if lose => Fate::LoseAnswer(error()),
            true => Fate::Fail(error()),
            false => Fate::PassOn,
        }
    }))
}

#[test]
fn a_backup_makes_up_for_one_that_could_not_mark() {
    for lose in [false, true] {
        for forgets in [false, true] {
            let site = Site::new();
            site.backup();
            let refuses = Arc::new(AtomicBool::new(true));
            let through = site.elsewhere(without_labels(&site, &refuses, lose), "state", 0);
            site.pass(60 * MINUTE);
            site.app.execute_batch("ALTER TABLE t ADD COLUMN y").unwrap();
            let failed = backup(&through, &site.path());
            assert_eq!((failed.seq, told(&failed.marks)), (Seq(2), vec![]));
            site.app.execute_batch("INSERT INTO t(x) VALUES(1)").unwrap();
            assert_eq!(backup(&through, &site.path()).seq, Seq(3));
            refuses.store(false, Ordering::SeqCst);
            if forgets {
                std::fs::remove_dir_all(site.dir.path().join("state")).unwrap();
            }
            // There is nothing new, and yet; and nobody was told of it.
            let made_up_for = told(&backup(&through, &site.path()).marks);
            match lose && forgets {
                // Who remembers nothing finds a mark of long ago, for all that is known.
                true => assert_eq!(made_up_for, []),
                false => assert_eq!(made_up_for, [label(1, "before-schema-change-2")]),
            }
            assert_eq!(site.labels(), [label(1, "before-schema-change-2")], "{lose} {forgets}");
            assert_eq!(told(&backup(&through, &site.path()).marks), []);
        }
    }
}

#[test]
fn copies_and_repairs_keep_marks() {
    let site = Site::new();
    let history = site.backup().history;
    site.after("ALTER TABLE t ADD COLUMN y");
    let store = MemoryStore::with_clock(clock(&site.time));
    let options = RepositoryOptions::new(site.dir.path().join("copy")).clock(clock(&site.time));
    let keys = [(&site.secret, "")];
    let copies = Repository::init(Arc::new(store), &keys, CHEAP, &options).unwrap();
    history.copy_to(&copies, &CopyOptions::default(), &Silent).unwrap();
    let copy = copies.history("app").unwrap();
    assert_eq!(copy.snapshots().unwrap(), history.snapshots().unwrap());
    // Each ends its own.
    site.pass(31 * DAY);
    assert_eq!(copy.prune(&keep_one(), &Silent).unwrap().ended.len(), 1);
    assert_eq!(copy.snapshots().unwrap(), []);
    let options = RepairOptions::default().apply(true).data(true);
    assert!(history.repair(None, &options, &Silent).unwrap().is_sound());
    assert_eq!(site.labels(), [label(1, "before-schema-change-2")]);
}
