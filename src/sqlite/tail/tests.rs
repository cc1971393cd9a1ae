//! What is no overwriting is not taken for one.

use std::path::{Path, PathBuf};

use super::*;
use crate::sqlite::source::Source;

/// Takes everything and keeps nothing.
struct Nowhere;

impl FrameSink for Nowhere {
    fn page(&mut self, _: PageNo, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: u32, _: Position) -> Result<()> {
        Ok(())
    }

    fn abandon(&mut self) {}
}

struct Scene {
    _dir: tempfile::TempDir,
    path: PathBuf,
    app: Connection,
}

impl Scene {
    /// A database of some 2000 pages, all of them in the file.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)
             INSERT INTO t SELECT i, randomblob(3500) FROM n; PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
        Self { _dir: dir, path, app }
    }

    fn run(&self, sql: &str) {
        self.app.execute_batch(sql).unwrap();
    }

    /// Cuts off whatever is free at the end.
    fn vacuum(&self) {
        let mut statement = self.app.prepare("PRAGMA incremental_vacuum").unwrap();
        let mut rows = statement.query([]).unwrap();
        // Each step cuts off one page.
        while rows.next().unwrap().is_some() {}
    }

    /// Looks at what was committed, and at what checkpoints did, until there is nothing new.
    fn follows(&self, tail: &mut Tail) {
        for _ in 0..3 {
            let step = tail.capture(&mut Nowhere).unwrap();
            assert!(matches!(step, Step::Moved | Step::Still), "{step:?}");
        }
    }

    fn overwrite(&self, page: u32) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(b"something else", u64::from(page - 1) * 4096 + 2000).unwrap();
        // Closing it would drop the locks that SQLite has in this process.
        std::mem::forget(file);
    }
}

fn stat(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// The place that is taken up is of the generation before: the present one may be checkpointed
/// before anything of it was captured.
#[test]
fn a_checkpoint_before_the_first_look_is_explained() {
    for overwritten in [false, true] {
        let scene = Scene::new();
        // Wholly in the file: the pin is at mark zero, and the WAL is reset under it.
        scene.run("INSERT INTO t VALUES(4000, randomblob(9000)); PRAGMA wal_checkpoint(FULL)");
        let mut source = Source::open(&scene.path).unwrap();
        let pin = source.pin().unwrap();
        scene.run("INSERT INTO t VALUES(4001, randomblob(9000))");
        let mut tail = Tail::open(&scene.path).unwrap();
        tail.start_at(pin.wal_place().unwrap(), pin.pages());
        assert_ne!(tail.at.salts, tail.pinned_at.0);
        drop(pin);
        scene.run("PRAGMA wal_checkpoint(PASSIVE)");
        if overwritten {
            let watched = tail.sentinels.watched_page();
            scene.overwrite(watched.0);
            let step = tail.capture(&mut Nowhere).unwrap();
            assert_eq!(step, Step::Lost(OVERWRITTEN));
            continue;
        }
        scene.follows(&mut tail);
        scene.run("INSERT INTO t VALUES(4002, randomblob(9000)); PRAGMA wal_checkpoint(PASSIVE)");
        scene.follows(&mut tail);
    }
}

/// A database that shrinks loses most of what is watched of it, and a checkpoint comes at once.
#[test]
fn a_checkpoint_of_a_database_that_shrank_is_explained() {
    let scene = Scene::new();
    scene.run("DELETE FROM t WHERE id > 400; PRAGMA wal_checkpoint(TRUNCATE)");
    let mut tail = Tail::open(&scene.path).unwrap();
    scene.vacuum();
    assert_eq!(tail.capture(&mut Nowhere).unwrap(), Step::Moved);
    let before = stat(&scene.path);
    tail.exchange().unwrap();
    scene.run("PRAGMA wal_checkpoint(PASSIVE)");
    assert!(stat(&scene.path) < before / 4);
    scene.follows(&mut tail);
}

/// The WAL has pages that lie beyond the end by now, when it is opened.
#[test]
fn what_was_cut_off_before_it_was_watched_is_explained() {
    let scene = Scene::new();
    let reader = Connection::open(&scene.path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    scene.run("UPDATE t SET x = randomblob(3500) WHERE id > 1900; DELETE FROM t WHERE id > 200");
    scene.vacuum();
    let mut tail = Tail::open(&scene.path).unwrap();
    scene.follows(&mut tail);
    reader.execute_batch("COMMIT").unwrap();
    scene.run("PRAGMA wal_checkpoint(PASSIVE)");
    scene.follows(&mut tail);
}

/// Most of what was watched lies behind the new end, and the pages before it are in the WAL, of
/// which nobody remembers what they came to be. Then the WAL is reset, and a checkpoint of the next
/// generation comes before the next look.
#[test]
fn a_generation_after_one_that_shrank_begins_with_enough_that_is_watched() {
    for overwritten in [false, true] {
        let scene = Scene::new();
        scene.run("DELETE FROM t WHERE id > 400");
        scene.vacuum();
        scene.run("PRAGMA wal_checkpoint(TRUNCATE)");
        let mut tail = Tail::open(&scene.path).unwrap();
        // New pages at the end are written first, and then those before them, which stay.
        scene.run(
            "WITH RECURSIVE n(i) AS (SELECT 401 UNION ALL SELECT i+1 FROM n WHERE i<1200)
             INSERT INTO t SELECT i, randomblob(3500) FROM n",
        );
        scene.follows(&mut tail);
        scene.run("UPDATE t SET x=randomblob(3500) WHERE id <= 400; DELETE FROM t WHERE id > 400");
        scene.vacuum();
        scene.follows(&mut tail);
        tail.exchange().unwrap();
        scene.run("PRAGMA wal_checkpoint(PASSIVE)");
        scene.follows(&mut tail);
        // At mark zero the next writer resets the WAL.
        tail.exchange().unwrap();
        let generations = tail.stats.generations;
        scene.run("UPDATE t SET x=randomblob(3500) WHERE id=7");
        assert_eq!(tail.capture(&mut Nowhere).unwrap(), Step::Moved);
        assert_eq!(tail.stats.generations, generations + 1);
        tail.exchange().unwrap();
        scene.run("PRAGMA wal_checkpoint(PASSIVE)");
        if overwritten {
            scene.overwrite(tail.sentinels.watched_page().0);
            assert_eq!(tail.capture(&mut Nowhere).unwrap(), Step::Lost(OVERWRITTEN));
            continue;
        }
        scene.follows(&mut tail);
    }
}

/// A checkpoint that saw the database small cuts its file off last of all, and meanwhile it grew by
/// pages that nobody wrote: those of a freelist.
#[test]
fn what_a_checkpoint_under_way_cuts_off_is_not_watched() {
    let scene = Scene::new();
    scene.run("PRAGMA wal_checkpoint(TRUNCATE)");
    let mut tail = Tail::open(&scene.path).unwrap();
    scene.run("DELETE FROM t WHERE id > 20");
    scene.vacuum();
    scene.follows(&mut tail);
    tail.exchange().unwrap();
    let small = tail.pages;
    scene.run(
        "BEGIN; INSERT INTO t VALUES(-1, zeroblob(300000)); DELETE FROM t WHERE id=-1; COMMIT",
    );
    scene.follows(&mut tail);
    assert!(tail.pages > small + 50, "{} and {small} pages", tail.pages);
    let file = std::fs::OpenOptions::new().write(true).open(&scene.path).unwrap();
    file.set_len(u64::from(small) * 4096).unwrap();
    // Closing it would drop the locks that SQLite has in this process.
    std::mem::forget(file);
    let handle = FileRef::database(tail.gate.as_ref().unwrap()).unwrap().unwrap();
    assert!(tail.sentinels.stand(&handle, tail.page_size, false, false).unwrap());
}
