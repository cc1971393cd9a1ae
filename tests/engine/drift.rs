//! Comparing a live database with its history: what changed without a transaction is found and named.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::{Lab, noise};
use pagekeep::ErrorKind;
use pagekeep::internals::ops::drift::{Drift, Since, Verdict};
use pagekeep::internals::progress::Silent;
use rusqlite::Connection;

fn compared(lab: &Lab, path: &Path) -> Drift {
    lab.repository.drift(path, None, &Silent).unwrap().1
}

/// A database of two tables and an index, backed up.
fn database(lab: &Lab, journal: &str) -> std::path::PathBuf {
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size=1024; PRAGMA journal_mode={journal}; CREATE TABLE one(x); CREATE TABLE two(x);
         CREATE INDEX two_x ON two(x);"
    ))
    .unwrap();
    for n in 0..100 {
        db.execute("INSERT INTO one VALUES(?1)", [noise(n, 300)]).unwrap();
        db.execute("INSERT INTO two VALUES(?1)", [noise(n + 1000, 300)]).unwrap();
    }
    drop(db);
    lab.backup(&path);
    path
}

/// Writes past SQLite, into the first page that a b-tree has. Nobody has the database open.
fn damage(path: &Path, tree: &str) {
    let db = Connection::open(path).unwrap();
    let page: u64 = db
        .query_row(
            "SELECT max(pageno) FROM dbstat WHERE name=?1 AND pagetype='leaf'",
            [tree],
            |row| row.get(0).map(|n: i64| n.unsigned_abs()),
        )
        .unwrap();
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"rotten", (page - 1) * 1024 + 1000).unwrap();
    // As a disk does it: the file's time tells nothing.
}

#[test]
fn damage_is_found_and_its_table_named() {
    for journal in ["DELETE", "WAL"] {
        let lab = Lab::quick();
        let path = database(&lab, journal);
        let clean = compared(&lab, &path);
        assert_eq!(clean.verdict(), Verdict::Same, "{journal}: {clean:?}");
        // An index that does not fit its table any more is no transaction's work, whatever is known of those.
        damage(&path, "two_x");
        damage(&path, "one");
        let found = compared(&lab, &path);
        assert_eq!(found.verdict(), Verdict::Drifted, "{journal}: {found:?}");
        assert_eq!((found.differing, found.elsewhere, found.sizes), (2, 0, None));
        let tables: Vec<(&str, u64)> = found.tables.iter().map(|(n, p)| (n.as_str(), *p)).collect();
        assert_eq!(tables, [("one", 1), ("two", 1)], "{journal}: an index counts for its table");
    }
}

#[test]
fn transactions_since_the_head_are_no_drift_and_damage_beside_them_is() {
    let lab = Lab::quick();
    let path = database(&lab, "WAL");
    let db = Connection::open(&path).unwrap();
    db.execute("INSERT INTO one VALUES(1)", []).unwrap();
    lab.backup(&path);
    assert_eq!(compared(&lab, &path).since, Since::Nothing);
    db.execute("UPDATE one SET x = x || 'y' WHERE rowid < 5", []).unwrap();
    let found = compared(&lab, &path);
    assert_eq!((found.verdict(), found.since), (Verdict::Same, Since::Known));
    assert!(found.explained > 0);
    lab.backup(&path);
    let found = compared(&lab, &path);
    let same = (Verdict::Same, 0, Since::Nothing);
    assert_eq!((found.verdict(), found.explained, found.since), same);
    // What nothing proves is told as what it is.
    drop(db);
    let db = Connection::open(&path).unwrap();
    db.execute("DELETE FROM two", []).unwrap();
    let found = compared(&lab, &path);
    assert_eq!((found.verdict(), found.since), (Verdict::Unknown, Since::Unknown));
    assert!(found.tables.contains_key("two") && !found.tables.contains_key("one"));
    lab.backup(&path);
    assert_eq!(compared(&lab, &path).verdict(), Verdict::Same);
}

#[test]
fn free_pages_may_hold_anything() {
    let lab = Lab::quick();
    let path = database(&lab, "DELETE");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA secure_delete=OFF; DELETE FROM one").unwrap();
    lab.backup(&path);
    let listed: i64 = db.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert!(listed > 5);
    let last: u64 = db
        .query_row("SELECT max(pageno) FROM dbstat", [], |row| {
            row.get(0).map(|n: i64| n.unsigned_abs())
        })
        .unwrap();
    drop(db);
    // Every page that no b-tree has: the leaves among them mean nothing, the trunks do.
    let db = Connection::open(&path).unwrap();
    let used: Vec<u64> = db
        .prepare("SELECT pageno FROM dbstat")
        .unwrap()
        .query_map([], |row| row.get(0).map(|n: i64| n.unsigned_abs()))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let trunk = {
        let mut header = [0; 4];
        let read = std::fs::File::open(&path).unwrap();
        read.read_exact_at(&mut header, 32).unwrap();
        u64::from(u32::from_be_bytes(header))
    };
    let leaf = (2..last).find(|n| !used.contains(n) && *n != trunk).unwrap();
    file.write_all_at(b"whatever", (leaf - 1) * 1024 + 500).unwrap();
    let found = compared(&lab, &path);
    assert_eq!((found.verdict(), found.free), (Verdict::Same, 1), "{found:?}");
    file.write_all_at(b"\xff\xff", (trunk - 1) * 1024 + 1020).unwrap();
    let found = compared(&lab, &path);
    // A rotten trunk vouches for no leaf any more.
    let drifted = (Verdict::Drifted, 2, 0);
    assert_eq!((found.verdict(), found.elsewhere, found.free), drifted, "{found:?}");
}

#[test]
fn a_database_without_a_history_is_told_so() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let error = lab.repository.drift(&path, None, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.backup(&path);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA page_size=8192; VACUUM").unwrap();
    let found = compared(&lab, &path);
    assert_eq!((found.verdict(), found.since), (Verdict::Unknown, Since::Unknown));
}

#[test]
fn a_rotten_freelist_excuses_nothing() {
    let lab = Lab::quick();
    let path = database(&lab, "DELETE");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("DELETE FROM one WHERE rowid > 20").unwrap();
    let page: u32 = db
        .query_row("SELECT max(pageno) FROM dbstat WHERE name='two'", [], |row| row.get(0))
        .unwrap();
    drop(db);
    lab.backup(&path);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut trunk = [0; 4];
    file.read_exact_at(&mut trunk, 32).unwrap();
    let at = (u64::from(u32::from_be_bytes(trunk)) - 1) * 1024;
    // The trunk lists a table's page and itself as free, and the table's page is damaged.
    file.write_all_at(&2u32.to_be_bytes(), at + 4).unwrap();
    file.write_all_at(&page.to_be_bytes(), at + 8).unwrap();
    file.write_all_at(&trunk, at + 12).unwrap();
    file.write_all_at(b"rotten", (u64::from(page) - 1) * 1024 + 1000).unwrap();
    let found = compared(&lab, &path);
    let drifted = (Verdict::Drifted, 2, 0);
    assert_eq!((found.verdict(), found.differing, found.free), drifted, "{found:?}");
}

#[test]
fn a_database_that_is_followed_and_busy_does_not_drift() {
    use pagekeep::internals::keeper::{Keeper, KeeperOptions};
    let lab = Lab::quick();
    let path = database(&lab, "WAL");
    let options = KeeperOptions::default().interval(std::time::Duration::from_millis(20));
    let keeper = Keeper::open(&path, lab.repository.clone(), options).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let db = keeper.connect().unwrap();
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                db.execute("UPDATE one SET x = x || 'y' WHERE rowid = abs(random()) % 100", [])
                    .unwrap();
                // Some thousand transactions a second are busy enough; more than that only makes
                // the history longer, and each look at it slower.
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let found: Vec<Drift> = (0..30).map(|_| compared(&lab, &path)).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        for drift in found {
            assert_eq!(drift.verdict(), Verdict::Same, "{drift:?}");
        }
    });
    keeper.close().unwrap();
}
