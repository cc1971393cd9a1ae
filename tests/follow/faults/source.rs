//! What may happen to a database while it is followed.

use std::process::Command;

use pagekeep::internals::ops::follow::WatchOptions;

use super::*;
use crate::support::integrity_check;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// A file that somebody else made, with so many rows.
fn another(path: &Path, rows: u32) {
    let db = app(path);
    for n in 0..rows {
        db.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
    }
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

/// Copies bytes in a process of its own: opening a file here would drop the locks that this process holds on it.
fn copy_in_place(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_file_that_is_removed_is_waited_for() {
    let scene = Scene::new();
    let (db, follower, _) = scene.begin();
    commit(&db, &scene.path, 5);
    follower.wait_durable(PATIENCE).unwrap();
    drop(db);
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(beside(&scene.path, suffix)).unwrap();
    }
    until("the fault shows", || {
        follower.status().fault.is_some_and(|f| f.kind == ErrorKind::Source)
    });
    let db = app(&scene.path);
    commit(&db, &scene.path, 3);
    until("it goes on", || follower.status().activity == Activity::Following);
    follower.wait_durable(PATIENCE).unwrap();
    let mut expected = vec![reference(&scene.path)];
    expected.extend(commit(&db, &scene.path, 3));
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!((follower.status().scans, follower.status().fault), (1, None));
    follower.stop().unwrap();
    let kinds = scene.kinds();
    assert_eq!(kinds[kinds.len() - 4], CommitKind::Scan);
    scene.check(kinds.len() as u64 - 3, &expected);
}

#[test]
fn another_file_that_takes_the_place_is_scanned_and_followed() {
    let scene = Scene::new();
    let (db, follower, _) = scene.begin();
    commit(&db, &scene.path, 5);
    drop(db);
    let other = scene.lab.path("other.db");
    another(&other, 40);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(&scene.path, suffix));
    }
    std::fs::rename(&other, &scene.path).unwrap();
    until("it is scanned", || follower.status().scans == 1);
    let db = app(&scene.path);
    let rows: i64 = db.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 40);
    commit(&db, &scene.path, 5);
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    let kinds = scene.kinds();
    scene.check(kinds.len() as u64, &[reference(&scene.path)]);
    assert_eq!(kinds[kinds.len() - 5..], [CommitKind::Transaction; 5]);
    assert_eq!(integrity_check(&db), "ok");
}

#[test]
fn a_file_that_is_restored_in_place_is_noticed_by_its_wal() {
    let scene = Scene::new();
    let (db, follower, _) = scene.begin();
    commit(&db, &scene.path, 5);
    follower.wait_durable(PATIENCE).unwrap();
    drop(db);
    // As one restores a backup by hand: over the file, and away with what belonged to the old one.
    let other = scene.lab.path("other.db");
    another(&other, 40);
    copy_in_place(&other, &scene.path);
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(beside(&scene.path, suffix)).unwrap();
    }
    // Elsewhere: in this process SQLite would go on with the files that are gone.
    elsewhere(&scene.path, "INSERT INTO t(x) VALUES('elsewhere')");
    until("it is scanned", || follower.status().scans == 1);
    elsewhere(&scene.path, "INSERT INTO t(x) VALUES('again')");
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    let kinds = scene.kinds();
    scene.check(kinds.len() as u64, &[reference(&scene.path)]);
    assert_eq!(kinds.iter().filter(|kind| **kind == CommitKind::Scan).count(), 2);
}

#[test]
fn a_database_that_goes_over_to_the_wal_is_followed_from_there_and_keeps_it() {
    let scene = Scene::new();
    let db = Connection::open(&scene.path).unwrap();
    db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    let (follower, ear) = scene.follow();
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(follower.status().activity, Activity::Polling);
    // It looks at no WAL.
    assert_eq!(follower.status().looked, None);
    commit(&db, &scene.path, 1);
    follower.wait_durable(PATIENCE).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL").unwrap();
    commit(&db, &scene.path, 1);
    until("it follows", || follower.status().activity == Activity::Following);
    follower.wait_durable(PATIENCE).unwrap();
    let expected = commit(&db, &scene.path, 5);
    follower.wait_durable(PATIENCE).unwrap();
    // SQLite changes the journal only for whoever has the database alone.
    db.busy_timeout(Duration::ZERO).unwrap();
    let back = db.query_row("PRAGMA journal_mode=DELETE", [], |r| r.get::<_, String>(0));
    assert!(back.is_err() || back.is_ok_and(|mode| mode == "wal"));
    follower.stop().unwrap();
    let back = db.query_row("PRAGMA journal_mode=DELETE", [], |r| r.get::<_, String>(0));
    assert_eq!(back.unwrap(), "delete");
    let kinds = scene.kinds();
    assert_eq!(kinds[kinds.len() - 5..], [CommitKind::Transaction; 5]);
    scene.check(kinds.len() as u64 - 4, &expected);
    let warned = |e: &Event| matches!(e, Event::Warning(text) if text.contains("WAL mode"));
    assert!(ear.count(warned) > 0);
}

#[test]
fn a_database_that_somebody_has_for_himself_is_a_clear_error() {
    let scene = Scene::new();
    let db = app(&scene.path);
    db.execute_batch("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(x) VALUES(1)").unwrap();
    // POSIX locks do not hold off connections of the same process, but SQLite's own book-keeping does.
    let options = WatchOptions { follow: at_once(), ..WatchOptions::default() };
    let started = scene.repository.follow(&scene.path, options, Arc::new(Ear::default()));
    let error = started.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(error.hint().unwrap().to_string().contains("EXCLUSIVE"));
    assert!(error.object().unwrap().ends_with("app.db"));
    assert!(scene.lab.repository.histories().unwrap().is_empty(), "no history is begun");
}

#[test]
fn a_wal_index_that_has_to_be_rebuilt_costs_no_scan() {
    let scene = Scene::new();
    let (db, follower, _) = scene.begin();
    let mut expected = vec![reference(&scene.path)];
    for reset_at_once in [false, true, false] {
        expected.extend(commit(&db, &scene.path, 10));
        follower.wait_durable(PATIENCE).unwrap();
        spoil_wal_index(&scene.path);
        // Any reader rebuilds it, and counts from zero.
        db.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        if reset_at_once {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        }
        expected.extend(commit(&db, &scene.path, 10));
        follower.wait_durable(PATIENCE).unwrap();
        assert_eq!(follower.status().scans, 0, "reset at once: {reset_at_once}");
    }
    assert_eq!(follower.status().wal.rebuilt, 3);
    follower.stop().unwrap();
    scene.check(1, &expected);
}

/// As if a writer had died between the two copies of the header.
fn spoil_wal_index(path: &Path) {
    spoil(&beside(path, "-shm"), 56);
}

/// Overwrites four bytes, in a process of its own, for the locks.
fn spoil(path: &Path, at: u64) {
    let script =
        "printf '\\377\\376\\375\\374' | dd of=\"$1\" bs=1 seek=\"$2\" conv=notrunc 2>/dev/null";
    let status =
        Command::new("sh").args(["-c", script, "sh"]).arg(path).arg(at.to_string()).status();
    assert!(status.unwrap().success());
}

/// SQLite 3.40 commits with wrong checksums when a savepoint is rolled back whose pages had spilled twice. Its own readers do not
/// compare them; a crash would lose such commits. Nothing proves then what the frames are.
#[test]
fn a_wal_whose_checksums_are_broken_is_never_trusted_and_scanned_once_it_is_reset() {
    let scene = Scene::new();
    let (db, follower, ear) = scene.begin();
    let mut expected = vec![reference(&scene.path)];
    expected.extend(commit(&db, &scene.path, 5));
    follower.wait_durable(PATIENCE).unwrap();
    let wal = beside(&scene.path, "-wal");
    let frames = std::fs::metadata(&wal).unwrap().len() / (4096 + 24);
    spoil(&wal, 32 + (frames - 1) * (4096 + 24) + 16);
    db.execute("INSERT INTO t(x) VALUES(1)", []).unwrap();
    until("it shows", || follower.status().fault.is_some());
    let error = follower.wait_durable(SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source, "{error:?}");
    // The application goes on; nothing of us is in its checkpoint's way.
    db.execute("INSERT INTO t(x) VALUES(2)", []).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    let mut later = vec![reference(&scene.path)];
    later.extend(commit(&db, &scene.path, 3));
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!((follower.status().scans, follower.status().fault), (1, None));
    follower.stop().unwrap();
    assert_eq!(
        scene.kinds()[6..],
        [&[CommitKind::Scan][..], &[CommitKind::Transaction; 3]].concat()
    );
    scene.check(1, &[expected, later].concat());
    let broken = |e: &Event| matches!(e, Event::Scan { reason } if reason.contains("continue"));
    assert!(ear.count(broken) > 0);
}
