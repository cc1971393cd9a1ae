//! What a follower leaves behind when it stops, and what the next one can tell from it: one file is the database again, and no
//! transaction is missed or passed over in silence.

use std::path::Path;

use crate::support::followed::{PATIENCE, app, at_once, start};
use crate::support::{Lab, come_back, reference};
use pagekeep::internals::capture::follow::Event;
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::types::Seq;
use rusqlite::Connection;

/// Follows a database for as long as `work` takes. Answers how often all of it had to be read.
fn followed(lab: &Lab, path: &Path, work: impl FnOnce()) -> usize {
    let (follower, ear) = start(&lab.repository, path, at_once());
    follower.wait_durable(PATIENCE).unwrap();
    work();
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    ear.count(|event| matches!(event, Event::Scan { .. }))
}

fn kinds(lab: &Lab) -> Vec<CommitKind> {
    let chain = lab.repository.history("app").unwrap().chain().unwrap();
    chain.commits().map(|commit| commit.record.kind).collect()
}

fn sum(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT sum(x) FROM t", [], |row| row.get(0)).unwrap()
}

fn is_alone(path: &Path) -> bool {
    ["-wal", "-shm"].iter().all(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        !Path::new(&name).exists()
    })
}

/// Whoever copies the file when all is closed has everything; and whoever puts an old copy back has that, and nothing of the new one.
#[test]
fn when_all_is_closed_one_file_is_the_database() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    app(&path).execute_batch("INSERT INTO t VALUES(1, 11)").unwrap();
    let old = lab.path("old.db");
    std::fs::copy(&path, &old).unwrap();
    followed(&lab, &path, || {
        for n in 2..60 {
            app(&path).execute("INSERT INTO t VALUES(?1, 22)", [n]).unwrap();
        }
    });
    assert!(is_alone(&path), "no WAL stays");
    let moved = lab.path("moved.db");
    std::fs::copy(&path, &moved).unwrap();
    assert_eq!(sum(&moved), 11 + 58 * 22);
    std::fs::copy(&old, &path).unwrap();
    assert_eq!(sum(&path), 11, "nothing of a WAL that was left lies over it");
}

/// Nobody touched the database, or only its WAL: the next follower goes on without reading all of it.
#[test]
fn a_follower_that_comes_back_goes_on_from_where_the_last_one_rested() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    app(&path).execute_batch("INSERT INTO t VALUES(1, 1)").unwrap();
    assert_eq!(
        followed(&lab, &path, || app(&path).execute_batch("INSERT INTO t VALUES(2, 2)").unwrap()),
        0
    );
    assert_eq!(followed(&lab, &path, || ()), 0, "nothing happened since");
    let mut expected = Vec::new();
    let db = app(&path);
    for n in 3..10 {
        db.execute("INSERT INTO t VALUES(?1, 3)", [n]).unwrap();
        expected.push(reference(&path));
    }
    // They are in the WAL alone.
    assert_eq!(followed(&lab, &path, || ()), 0);
    assert_eq!(kinds(&lab)[2..], [CommitKind::Transaction; 7]);
    let history = lab.repository.history("app").unwrap();
    come_back(&history, &history.chain().unwrap(), (3..).zip(&expected), lab.dir.path());
    // The application is open all the time, and checkpoints when it likes.
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert_eq!(followed(&lab, &path, || ()), 0, "what is in the file was captured before");
}

/// Two transactions that cancel each other out while nobody follows leave nothing that differs. The log must not read as if there had been
/// none.
#[test]
fn what_came_and_went_while_nobody_followed_is_marked() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    app(&path).execute_batch("INSERT INTO t VALUES(1, 5)").unwrap();
    followed(&lab, &path, || ());
    app(&path).execute_batch("UPDATE t SET x=66; UPDATE t SET x=5").unwrap();
    assert_eq!(
        followed(&lab, &path, || app(&path).execute_batch("INSERT INTO t VALUES(2, 2)").unwrap()),
        1
    );
    let scan_and_two = [CommitKind::Scan, CommitKind::Scan, CommitKind::Transaction];
    assert_eq!(kinds(&lab), scan_and_two, "the second scan marks the gap");

    // A backup in between looks at the same, and stores nothing. The next follower knows all the same.
    app(&path).execute_batch("UPDATE t SET x=66 WHERE id=1; UPDATE t SET x=5 WHERE id=1").unwrap();
    let report = lab.repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
    assert_eq!(report.seq, Seq(3));
    followed(&lab, &path, || app(&path).execute_batch("INSERT INTO t VALUES(3, 3)").unwrap());
    assert_eq!(kinds(&lab)[3..], [CommitKind::Scan, CommitKind::Transaction]);
}

/// A backup by a schedule finds the application closed, and nothing changed: it reads a sample, not all.
#[test]
fn a_backup_of_a_closed_database_that_nobody_touched_reads_little() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    app(&path).execute_batch("INSERT INTO t VALUES(1, zeroblob(9000000))").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    let run = || lab.repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
    assert!(run().read_bytes > 9_000_000);
    let again = run();
    assert_eq!((again.seq, again.read_bytes), (Seq(1), 0));
    app(&path).execute_batch("UPDATE t SET x=1").unwrap();
    assert!(run().read_bytes > 0, "somebody wrote to the file");
}
