//! A view of a moment answers as the restored file does, whatever the store, whatever happens to
//! the objects meanwhile; and where it can't, it says which object is damaged and gives no other
//! row.
//!
//! `PAGEKEEP_QUERY_ROUNDS` sets how much random work there is; `PAGEKEEP_FULL_MATRIX=1` damages
//! every byte of every object.
#![allow(clippy::cast_precision_loss)]

mod stores;
mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::dice::{Dice, number};
use crate::support::{Lab, noise, objects, quick_dir, store_of, ways_to_damage};
use pagekeep::internals::policy::retention::{Policy, Zone};
use pagekeep::{
    BackupOptions, DatabaseView, ErrorKind, History, KdfParams, PruneOptions, Repository,
    RepositoryOptions, RestoreOptions, RestorePoint, RotateOptions, Secret, Seq, Silent,
    ViewOptions, create_store,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use stores::Observed;
use work::{QUESTIONS, answer, answers};

/// What the questions come to at each commit, as restored files tell.
type Known = BTreeMap<Seq, Vec<Vec<Vec<Value>>>>;

/// Restores each commit and asks it.
fn restored(history: &History, dir: &Path) -> Known {
    let points = history.restore_points().unwrap();
    points.iter().map(|point| (point.seq(), of_file(point, dir))).collect()
}

fn of_file(point: &RestorePoint, dir: &Path) -> Vec<Vec<Vec<Value>>> {
    let target = dir.join("restored.db");
    point.restore(&target, &RestoreOptions::default().force(true), &Silent).unwrap();
    let uri = format!("file:{}?immutable=1", target.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    answers(&Connection::open_with_flags(uri, flags).unwrap())
}

/// Every commit of a history answers as its restored file does.
fn compare(history: &History, known: &Known, options: &ViewOptions) {
    let points = history.restore_points().unwrap();
    assert_eq!(points.len(), known.len());
    for point in points {
        let view = point.open(options).unwrap();
        assert!(answers(&view) == known[&point.seq()], "commit {}", point.seq());
        assert!(view.take_cause().is_none());
    }
}

fn backup(repository: &Repository, path: &Path) -> Seq {
    repository.backup(path, &BackupOptions::default(), &Silent).unwrap().seq
}

fn prune(history: &History, last: u32) {
    let policy = Policy { last, ..Policy::default() };
    let options = PruneOptions::new(policy, Zone::Utc).grace(Duration::ZERO);
    history.prune(&options, &Silent).unwrap();
}

/// Random work in a repository: backups, and a prune now and then.
fn history(repository: &Repository, dir: &Path, dice: &mut Dice, commits: u64) -> History {
    let path = dir.join("app.db");
    let db = Connection::open(&path).unwrap();
    work::begin(&db, dice);
    for i in 0..commits {
        work::change(&db, dice);
        backup(repository, &path);
        if i % 5 == 4 && dice.one_in(2) {
            prune(&repository.history("app").unwrap(), 6);
        }
    }
    repository.history("app").unwrap()
}

#[test]
fn every_commit_answers_as_its_restored_file_does() {
    for seed in 0..number("PAGEKEEP_QUERY_ROUNDS", 6) {
        let lab = Lab::quick();
        let mut dice = Dice::new(seed);
        let of_memory = history(&lab.repository, lab.dir.path(), &mut dice, 9);
        let known = restored(&of_memory, lab.dir.path());
        for (threads, cache) in [(0, 0), (2, 32 << 20)] {
            let options = ViewOptions::default().read_ahead(threads > 0).cache_bytes(cache);
            compare(&of_memory, &known, &options);
        }
        // A store that takes its time changes nothing but that.
        let slow = Observed::new(Arc::new(lab.store.clone()), Duration::from_millis(1));
        let slow = lab.through(Arc::new(slow)).unwrap().history("app").unwrap();
        compare(&slow, &known, &ViewOptions::default());
    }
}

#[test]
fn a_local_repository_answers_as_its_restored_files_do() {
    let dir = quick_dir();
    let secret = Secret::new_recovery().unwrap();
    let store = create_store(&dir.path().join("repo").display().to_string()).unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let state = dir.path().join("state");
    let repository =
        Repository::init(store, &[(&secret, "test")], kdf, &RepositoryOptions::new(state)).unwrap();
    let local = history(&repository, dir.path(), &mut Dice::new(77), 12);
    let known = restored(&local, dir.path());
    compare(&local, &known, &ViewOptions::default());
}

#[test]
fn moments_of_several_repositories_answer_one_question() {
    let (here, there) = (Lab::quick(), Lab::quick());
    let point = |lab: &Lab, n: i64| {
        let path = lab.path("app.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES({n})"))
            .unwrap();
        let seq = backup(&lab.repository, &path);
        lab.repository.history("app").unwrap().point(seq).unwrap()
    };
    let (one, two, three) = (point(&here, 1), point(&here, 2), point(&there, 3));
    let mut view = one.open(&ViewOptions::default()).unwrap();
    view.attach("later", &two).unwrap();
    view.attach("elsewhere", &three).unwrap();
    let sql = "SELECT (SELECT group_concat(x) FROM main.t), (SELECT group_concat(x) FROM later.t),
               (SELECT group_concat(x) FROM elsewhere.t)";
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(answer(&view, sql).unwrap(), [[text("1"), text("1,2"), text("3")]]);
    let e = view.attach("later", &two).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Usage);
}

/// A database of some thousand rows and pages, and a few deltas.
fn orders(lab: &Lab, deltas: u32) -> History {
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; CREATE TABLE orders(id INTEGER PRIMARY KEY, x TEXT, n);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO orders SELECT i, hex(randomblob(60)), i FROM n",
    )
    .unwrap();
    backup(&lab.repository, &path);
    for i in 0..deltas {
        db.execute("UPDATE orders SET n = -n WHERE id = ?1", [i * 500 + 1]).unwrap();
        backup(&lab.repository, &path);
    }
    lab.repository.history("app").unwrap()
}

#[test]
fn a_point_query_reads_eight_objects_at_most_and_no_listing_after_the_chain() {
    let lab = Lab::quick();
    orders(&lab, 3);
    let observed = Observed::new(Arc::new(lab.store.clone()), Duration::ZERO);
    let repository = lab.through(Arc::new(observed.clone())).unwrap();
    let history = repository.history("app").unwrap();
    observed.take();
    let point = history.latest().unwrap().unwrap();
    let (chain, lists) = observed.take();
    let view = point.open(&ViewOptions::default()).unwrap();
    let n = answer(&view, "SELECT n FROM orders WHERE id = 31234").unwrap();
    let (pages, more) = observed.take();
    assert_eq!(n, [[Value::Integer(31234)]]);
    println!("{chain} reads and {lists} listings for the chain, {pages} reads for the row");
    assert!(chain + pages <= 8 && more == 0, "{chain} and {pages} reads, {more} listings");
    // What was read once is kept.
    answer(&view, "SELECT n FROM orders WHERE id = 31235").unwrap();
    assert_eq!(observed.take(), (0, 0));
}

#[test]
fn a_scan_fetches_each_batch_once() {
    let lab = Lab::quick();
    orders(&lab, 2);
    let observed = Observed::new(Arc::new(lab.store.clone()), Duration::ZERO);
    let history = lab.through(Arc::new(observed.clone())).unwrap().history("app").unwrap();
    let point = history.latest().unwrap().unwrap();
    observed.take();
    let view = point.open(&ViewOptions::default()).unwrap();
    let sum = answer(&view, "SELECT count(*), sum(id) FROM orders").unwrap();
    assert_eq!(sum, [[Value::Integer(60_000), Value::Integer(1_800_030_000)]]);
    let (reads, _) = observed.take();
    let batches = point.database_bytes() / (256 * 1024) + 1;
    assert!(reads <= batches + 12, "{reads} reads for {batches} batches");
}

#[test]
fn damage_is_an_error_that_names_the_object_or_does_no_harm() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    let mut dice = Dice::new(5);
    work::begin(&db, &mut dice);
    // Of those, too, that a prune drops: where its record can't be read they show again.
    let mut known = Known::new();
    for i in 0..6 {
        work::change(&db, &mut dice);
        let seq = backup(&lab.repository, &path);
        let history = lab.repository.history("app").unwrap();
        known.insert(seq, of_file(&history.point(seq).unwrap(), lab.dir.path()));
        if i == 3 {
            prune(&history, 3);
        }
    }
    let whole = objects(&lab.store);
    let all = number("PAGEKEEP_FULL_MATRIX", 0) == 1;
    let (mut named, mut harmless) = (0, 0);
    for (name, bytes) in &whole {
        for bad in ways_to_damage(bytes, all) {
            let mut objects = whole.clone();
            match bad {
                Some(bad) => objects.insert(name.clone(), bad),
                None => objects.remove(name),
            };
            let store = Arc::new(store_of(&objects));
            // Another machine, which remembers nothing.
            let state = lab.path("elsewhere");
            let _ = std::fs::remove_dir_all(&state);
            let opened = Repository::open(store, &lab.secret, &RepositoryOptions::new(state));
            let Ok(found) = opened.and_then(|r| r.history("app")?.restore_points()) else {
                named += 1;
                continue;
            };
            for point in found {
                let expected = &known[&point.seq()];
                match ask(&point, expected) {
                    Ok(()) => harmless += 1,
                    Err(e) => {
                        assert!(e.object().is_some(), "{name}: {e:?}");
                        let kinds = [ErrorKind::Damaged, ErrorKind::TooNew, ErrorKind::WrongKey];
                        assert!(kinds.contains(&e.kind()), "{name}: {e:?}");
                        named += 1;
                    }
                }
            }
        }
    }
    assert!(named > 50 && harmless > 50, "{named} named, {harmless} harmless");
}

/// The rows, if every page could be read. `PRAGMA integrity_check` tells what can't be read in
/// rows, and so is no error of SQLite's.
fn asked_of(view: &DatabaseView, question: &str) -> pagekeep::Result<Vec<Vec<Value>>> {
    let rows = answer(view, question).map_err(|e| view.explain(e))?;
    view.take_cause().map_or(Ok(rows), Err)
}

/// Asks all questions: each has its answer, or none and an error.
fn ask(point: &RestorePoint, expected: &[Vec<Vec<Value>>]) -> pagekeep::Result<()> {
    let view = point.open(&ViewOptions::default().read_ahead(true))?;
    for (question, expected) in QUESTIONS.iter().zip(expected) {
        let rows = asked_of(&view, question)?;
        assert!(rows == *expected, "{question} gives other rows at commit {}", point.seq());
    }
    Ok(())
}

#[test]
fn views_stay_right_beside_backups_prunes_and_a_rotation() {
    let lab = Lab::quick();
    let mut dice = Dice::new(11);
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    work::begin(&db, &mut dice);
    // More than a view keeps.
    db.execute("INSERT INTO plain(a, b) VALUES('text 7', ?1)", [noise(1, 4 << 20)]).unwrap();
    for _ in 0..8 {
        work::change(&db, &mut dice);
        backup(&lab.repository, &path);
    }
    let history = lab.repository.history("app").unwrap();
    let known = restored(&history, lab.dir.path());
    let over = AtomicBool::new(false);
    let (mut asked, mut pruned) = (0, 0);
    std::thread::scope(|scope| {
        let elsewhere = lab.through(Arc::new(lab.store.clone())).unwrap();
        let over = &over;
        scope.spawn(move || {
            let mut dice = Dice::new(12);
            for i in 0..12 {
                work::change(&db, &mut dice);
                backup(&elsewhere, &path);
                prune(&elsewhere.history("app").unwrap(), 12 - i);
            }
            over.store(true, Ordering::SeqCst);
        });
        let views: Vec<_> = history
            .restore_points()
            .unwrap()
            .into_iter()
            .map(|point| {
                // So small that everything is read again and again.
                let options = ViewOptions::default().cache_bytes(0).read_ahead(true);
                (point.seq(), point.open(&options).unwrap())
            })
            .collect();
        loop {
            let last = over.load(Ordering::SeqCst);
            for (seq, view) in &views {
                for (question, expected) in QUESTIONS.iter().zip(&known[seq]) {
                    match asked_of(view, question) {
                        Ok(rows) => {
                            assert!(rows == *expected, "{question} at {seq}");
                            asked += 1;
                        }
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::NotFound, "{e:?}");
                            assert!(e.hint().unwrap().to_string().contains("begin again"), "{e:?}");
                            pruned += 1;
                        }
                    }
                }
            }
            if last {
                break;
            }
        }
    });
    assert!(asked > 100 && pruned > 0, "{asked} answers, {pruned} moments gone");
}

#[test]
fn a_rotation_with_rewriting_beside_a_view_disturbs_it_not() {
    let lab = Lab::quick();
    let mut dice = Dice::new(21);
    let history = history(&lab.repository, lab.dir.path(), &mut dice, 4);
    let known = restored(&history, lab.dir.path());
    let point = history.latest().unwrap().unwrap();
    let view = point.open(&ViewOptions::default().cache_bytes(0).read_ahead(false)).unwrap();
    let elsewhere = lab.through(Arc::new(lab.store.clone())).unwrap();
    let secrets = [(&lab.secret, "test")];
    let options = RotateOptions { secrets: &secrets, ..RotateOptions::default() };
    elsewhere.rotate(&options).unwrap().complete().unwrap();
    let anew = elsewhere.history("app").unwrap();
    anew.rewrite(&Silent).unwrap();
    prune(&anew, 1);
    assert!(answers(&view) == known[&point.seq()]);
}
