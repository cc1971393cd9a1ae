//! A follower marks the states before commits that matter: beside its work, whatever the store does, and after a death.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::followed::{Ear, PATIENCE, app, at_once};
use crate::support::hooked::{Fate, Hooked, Op};
use crate::support::{Lab, restored};
use pagekeep::internals::capture::follow::{Event, FollowOptions, Follower};
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::store::{Fault, FaultStore, Store};
use pagekeep::{Error, ErrorKind, History, Keeper, KeeperOptions};
use rusqlite::Connection;

const FAULTS: [Fault; 4] = [Fault::Error, Fault::LostResponse, Fault::Torn, Fault::Dead];

struct Scene {
    lab: Lab,
    path: PathBuf,
    db: Connection,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let db = app(&path);
        fill(&db);
        Self { lab, path, db }
    }

    fn follow(&self, store: Arc<dyn Store>, options: FollowOptions) -> (Follower, Arc<Ear>) {
        self.try_follow(store, options).unwrap()
    }

    fn try_follow(
        &self,
        store: Arc<dyn Store>,
        follow: FollowOptions,
    ) -> Result<(Follower, Arc<Ear>), Error> {
        let ear = Arc::new(Ear::default());
        let options = WatchOptions { follow, ..WatchOptions::default() };
        let (_, follower) = self.lab.through(store)?.follow(&self.path, options, ear.clone())?;
        Ok((follower, ear))
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.lab.store.clone())
    }

    /// One commit, which is durable when this returns.
    fn does(&self, follower: &Follower, sql: &str) -> u64 {
        self.db.execute_batch(sql).unwrap();
        follower.wait_durable(PATIENCE).unwrap().0
    }

    fn history(&self) -> History {
        self.lab.repository.history("app").unwrap()
    }

    fn labels(&self) -> BTreeSet<(u64, String)> {
        let labels = self.history().snapshots().unwrap();
        assert!(labels.iter().all(|label| label.until.is_some()), "{labels:?}");
        labels.into_iter().map(|label| (label.seq.0, label.label)).collect()
    }
}

fn fill(db: &Connection) {
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400)
         INSERT INTO t(x) SELECT randomblob(900) FROM n",
    )
    .unwrap();
}

fn expected<const N: usize>(labels: [(u64, &str); N]) -> BTreeSet<(u64, String)> {
    labels.map(|(seq, label)| (seq, label.to_owned())).into()
}

/// Waits until something is so, and fails if it does not come to be.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_follower_marks_the_state_before_a_migration_once() {
    let scene = Scene::new();
    let (follower, ear) = scene.follow(scene.store(), at_once());
    follower.wait_durable(PATIENCE).unwrap();
    for n in 0..20 {
        scene.does(&follower, &format!("INSERT INTO t(x) VALUES(randomblob(3000)), ({n})"));
    }
    scene.does(&follower, "UPDATE t SET x=1 WHERE id<9; DELETE FROM t WHERE id<9");
    assert_eq!(scene.labels(), expected([]));
    let before = follower.status().seq.unwrap().0;
    for n in 0..100 {
        scene.db.execute_batch(&format!("ALTER TABLE t ADD COLUMN c{n}")).unwrap();
    }
    let last = scene.does(&follower, "DELETE FROM t");
    let schema = (before, format!("before-schema-change-{}", before + 1));
    let delete = (last - 1, format!("before-large-delete-{last}"));
    let marks: BTreeSet<_> = [schema.clone(), delete].into();
    until("both are marked at once", || scene.labels() == marks);
    scene.does(&follower, "DROP TABLE t");
    follower.stop().unwrap();
    assert_eq!(scene.labels(), marks, "they belong to the same migration");
    assert_eq!(ear.count(|event| matches!(event, Event::Marked(_))), 2);
    // The state before has none of it.
    let bytes = restored(&scene.history(), before, scene.lab.dir.path()).unwrap();
    let out = scene.lab.path("before.db");
    std::fs::write(&out, bytes).unwrap();
    let columns = "SELECT count(*) FROM pragma_table_info('t')";
    let columns = Connection::open(out).unwrap().query_row(columns, [], |row| row.get::<_, i64>(0));
    assert_eq!(columns, Ok(2));
    // Whoever goes on makes none of them again.
    let (follower, ear) = scene.follow(scene.store(), at_once());
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    assert_eq!(scene.labels(), marks);
    assert_eq!(ear.count(|event| matches!(event, Event::Marked(_))), 0);
}

#[test]
fn a_keeper_marks_nothing_of_how_a_database_begins_and_what_comes_later() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    for (marks, expected) in [(None, 0), (KeeperOptions::default().marks, 1)] {
        let name = format!("app{expected}");
        let options = KeeperOptions::default().name(&*name).interval(Duration::ZERO).marks(marks);
        let _ = std::fs::remove_file(&path);
        let keeper = Keeper::open(&path, lab.repository.clone(), options).unwrap();
        let db = keeper.connect().unwrap();
        for sql in ["CREATE TABLE t(id INTEGER PRIMARY KEY, x)", "CREATE INDEX t_x ON t(x)"] {
            db.execute_batch(sql).unwrap();
            keeper.wait_durable(PATIENCE).unwrap();
        }
        fill(&db);
        db.execute_batch("DELETE FROM t").unwrap();
        drop(db);
        keeper.close().unwrap();
        let labels = lab.repository.history(&name).unwrap().snapshots().unwrap();
        assert_eq!(labels.len(), expected, "{labels:?}");
        assert!(labels.iter().all(|l| l.label.starts_with("before-large-delete-")), "{labels:?}");
    }
}

/// A database that is not in WAL mode is captured whole.
#[test]
fn a_database_in_rollback_mode_is_marked_as_well() {
    let scene = Scene::new();
    scene.db.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).unwrap();
    let (follower, _) = scene.follow(scene.store(), at_once());
    follower.wait_durable(PATIENCE).unwrap();
    scene.does(&follower, "INSERT INTO t(x) VALUES(1)");
    let seq = scene.does(&follower, "DELETE FROM t WHERE id>50");
    follower.stop().unwrap();
    let mark = format!("before-large-delete-{seq}");
    assert_eq!(scene.labels(), expected([(seq - 1, &*mark)]));
}

/// A store whose labels wait until they may go on.
#[test]
fn a_mark_delays_no_acknowledgement() {
    let scene = Scene::new();
    let (waits, came) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (theirs, arrived) = (waits.clone(), came.clone());
    let store = Hooked::with_event(scene.store(), move |op, name| {
        if matches!(op, Op::Create(_)) && name.contains("/snapshots/") {
            arrived.store(true, Ordering::SeqCst);
            until("it goes on", || !theirs.load(Ordering::SeqCst));
        }
    });
    let (follower, _) = scene.follow(Arc::new(store), at_once());
    follower.wait_durable(PATIENCE).unwrap();
    scene.does(&follower, "ALTER TABLE t ADD COLUMN y");
    until("it is being marked", || came.load(Ordering::SeqCst));
    for _ in 0..20 {
        scene.does(&follower, "INSERT INTO t(x) VALUES(1)");
    }
    assert_eq!(scene.labels(), expected([]));
    waits.store(false, Ordering::SeqCst);
    follower.stop().unwrap();
    assert_eq!(scene.labels(), expected([(1, "before-schema-change-2")]));
}

/// A store that takes no label for so many tries.
fn refusing(store: Arc<dyn Store>, tries: usize) -> Arc<dyn Store> {
    let left = AtomicUsize::new(tries);
    Arc::new(Hooked::new(store, move |op, name| {
        let is_label = matches!(op, Op::Create(_)) && name.contains("/snapshots/");
        let take = |n: usize| n.checked_sub(1);
        match is_label && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            true => Fate::Fail(Error::new(ErrorKind::Storage, "a fault of the test")),
            false => Fate::PassOn,
        }
    }))
}

#[test]
fn a_mark_that_fails_is_told_once_and_tried_again() {
    let scene = Scene::new();
    let (follower, ear) = scene.follow(refusing(scene.store(), 2), at_once());
    follower.wait_durable(PATIENCE).unwrap();
    scene.does(&follower, "ALTER TABLE t ADD COLUMN y");
    let marks = expected([(1, "before-schema-change-2")]);
    // Nothing else happens that could wake it.
    until("it is tried until it is there", || scene.labels() == marks);
    follower.stop().unwrap();
    let told = |event: &Event| matches!(event, Event::Warning(text) if text.contains("could not be marked"));
    assert_eq!(ear.count(told), 1, "{:?}", ear.heard());
    assert_eq!(ear.count(|event| matches!(event, Event::Fault(_))), 0);
}

#[test]
fn the_next_follower_makes_up_for_one_that_died_before_its_mark() {
    for forgets in [false, true] {
        let scene = Scene::new();
        let (follower, _) = scene.follow(refusing(scene.store(), usize::MAX), at_once());
        follower.wait_durable(PATIENCE).unwrap();
        scene.does(&follower, "INSERT INTO t(x) VALUES(1)");
        scene.does(&follower, "ALTER TABLE t ADD COLUMN y");
        follower.stop().unwrap();
        assert_eq!(scene.labels(), expected([]));
        if forgets {
            scene.lab.forget_state();
        }
        let (follower, ear) = scene.follow(scene.store(), at_once());
        follower.wait_durable(PATIENCE).unwrap();
        follower.stop().unwrap();
        assert_eq!(scene.labels(), expected([(2, "before-schema-change-3")]), "{forgets}");
        assert_eq!(ear.count(|event| matches!(event, Event::Marked(_))), 1);
    }
}

/// Whichever operation fails, and however: in the end the state before is marked, and is there.
#[test]
fn a_mark_survives_every_fault_at_every_operation() {
    let all = std::env::var_os("PAGEKEEP_ALL_FAULTS").is_some();
    let quick = || FollowOptions { stop_patience: Duration::ZERO, ..at_once() };
    // Answers whether the store outlived it.
    let work = |scene: &Scene, store: Arc<dyn Store>, mortal: bool| {
        let patience = if mortal { Duration::from_millis(5) } else { PATIENCE };
        let Ok((follower, _)) = scene.try_follow(store.clone(), quick()) else {
            scene.db.execute_batch("ALTER TABLE t ADD COLUMN y").unwrap();
            return;
        };
        for sql in [
            "INSERT INTO t(x) VALUES(1)",
            "ALTER TABLE t ADD COLUMN y",
            "INSERT INTO t(x) VALUES(2)",
        ] {
            scene.db.execute_batch(sql).unwrap();
            while follower.wait_durable(patience).is_err() {
                assert!(mortal);
                if follower.status().fault.is_some() {
                    break;
                }
            }
        }
        if !mortal {
            until("it is marked", || !scene.labels().is_empty());
        }
        let _ = follower.stop();
    };
    let begun = || {
        let scene = Scene::new();
        let (follower, _) = scene.follow(scene.store(), at_once());
        follower.wait_durable(PATIENCE).unwrap();
        follower.stop().unwrap();
        scene
    };
    let scene = begun();
    let counting = Arc::new(FaultStore::counting(Arc::new(scene.lab.store.clone())));
    work(&scene, counting.clone(), false);
    let operations = counting.operations();
    assert!(operations > 30, "{operations}");
    for k in 0..operations {
        for (way, fault) in (0..).zip(FAULTS) {
            if !all && k % 4 != way {
                continue;
            }
            println!("{fault:?} at {k} of {operations}");
            let scene = begun();
            let store = FaultStore::new(Arc::new(scene.lab.store.clone()), k, fault);
            work(&scene, Arc::new(store), fault == Fault::Dead);
            let (follower, _) = scene.follow(scene.store(), at_once());
            follower.wait_durable(PATIENCE).unwrap();
            follower.stop().unwrap();
            let labels = scene.labels();
            assert_eq!(labels.len(), 1, "{labels:?}");
            let (seq, label) = labels.first().unwrap();
            assert!(label.starts_with("before-schema-change-"), "{label}");
            restored(&scene.history(), *seq, scene.lab.dir.path()).unwrap();
        }
    }
}
