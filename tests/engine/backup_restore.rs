//! Backups of live databases, and what they restore to, through the library.

use crate::support::{Lab, reference, restored};
use pagekeep::ErrorKind;
use pagekeep::internals::format::segment::{CommitKind, SegmentKind};
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::ops::point::RestorePoint;
use pagekeep::internals::ops::restore::{Check, RestoreOptions};
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use rusqlite::Connection;

fn fill(db: &Connection, rows: u32) {
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
         INSERT INTO t(x) SELECT hex(randomblob(abs(random())%600)) FROM n;"
    ))
    .unwrap();
}

#[test]
fn every_commit_comes_back_byte_for_byte_by_every_way_of_reading() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").unwrap();
    let mut references = Vec::new();
    let mut kinds = Vec::new();
    for step in 0..8 {
        match step {
            0 => fill(&app, 3000),
            1 => app.execute_batch("UPDATE t SET x='one' WHERE id=77").unwrap(),
            2 => app.execute_batch("UPDATE t SET x=hex(randomblob(400)) WHERE id%9=0").unwrap(),
            3 => app
                .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); DELETE FROM t WHERE id%3=0")
                .unwrap(),
            4 => app.execute_batch("VACUUM").unwrap(),
            5 => fill(&app, 500),
            6 => lab.forget_state(),
            _ => {
                std::fs::remove_file(glob_digests(&lab)).unwrap();
                app.execute_batch("INSERT INTO t(x) VALUES('last')").unwrap();
            }
        }
        let report = lab.backup(&path);
        match report.commit {
            Some(commit) => {
                references.push(reference(&path));
                kinds.push(commit.kind);
                assert_eq!(report.seq.0, references.len() as u64);
            }
            None => assert_eq!(step, 6, "only forgetting the state changes nothing"),
        }
    }
    use CommitKind::{Scan, Wal};
    assert_eq!(kinds, [Scan, Wal, Wal, Scan, Wal, Wal, Wal]);
    let history = lab.repository.history("app").unwrap();
    let chain = history.chain().unwrap();
    assert_eq!(chain.strays(), 0);
    let bases = chain.segments().iter().filter(|s| s.manifest.kind == SegmentKind::Base).count();
    assert_eq!(bases, 1);
    for (seq, expected) in (1..).zip(&references) {
        assert!(restored(&history, seq, lab.dir.path()).unwrap() == *expected, "commit {seq}");
    }
}

fn glob_digests(lab: &Lab) -> std::path::PathBuf {
    let state = lab.path("state").join(lab.repository.id().to_string());
    let history = lab.repository.history("app").unwrap();
    state.join(history.id().to_string()).join("digests")
}

#[test]
fn nothing_is_published_when_nothing_changed() {
    let lab = Lab::new();
    for mode in ["WAL", "DELETE"] {
        let path = lab.path(&format!("{mode}.db"));
        let app = Connection::open(&path).unwrap();
        app.execute_batch(&format!("PRAGMA journal_mode={mode}")).unwrap();
        fill(&app, 100);
        assert!(lab.backup(&path).commit.is_some());
        let objects = pagekeep::internals::store::Store::list(&lab.store, "histories/").unwrap();
        let again = lab.backup(&path);
        assert!(again.commit.is_none() && again.read_bytes == 0, "{mode}");
        // Rewriting a page with what it had is no change either, but it has to be read to know.
        app.execute_batch("PRAGMA user_version=0").unwrap();
        if mode == "WAL" {
            let again = lab.backup(&path);
            assert!(again.commit.is_none() && again.read_bytes > 0, "{mode}");
        }
        assert_eq!(
            objects,
            pagekeep::internals::store::Store::list(&lab.store, "histories/").unwrap()
        );
    }
}

#[test]
fn a_changed_page_size_begins_a_new_base_in_the_same_history() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = Connection::open(&path).unwrap();
    fill(&app, 300);
    lab.backup(&path);
    let first = reference(&path);
    app.execute_batch("PRAGMA page_size=1024; VACUUM").unwrap();
    lab.backup(&path);
    app.execute_batch("DELETE FROM t WHERE id>10").unwrap();
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let kinds: Vec<_> =
        history.chain().unwrap().segments().iter().map(|s| s.manifest.kind).collect();
    assert_eq!(kinds, [SegmentKind::Base, SegmentKind::Base, SegmentKind::Delta]);
    assert!(restored(&history, 1, lab.dir.path()).unwrap() == first);
    assert!(restored(&history, 3, lab.dir.path()).unwrap() == reference(&path));
}

#[test]
fn empty_databases_and_databases_in_memory_have_histories_too() {
    let lab = Lab::new();
    let path = lab.path("empty.db");
    std::fs::write(&path, "").unwrap();
    lab.backup(&path);
    let history = lab.repository.history("empty").unwrap();
    assert!(restored(&history, 1, lab.dir.path()).unwrap().is_empty());
    let app = Connection::open(&path).unwrap();
    fill(&app, 10);
    lab.backup(&path);
    assert!(restored(&history, 2, lab.dir.path()).unwrap() == reference(&path));

    let mut memory = Connection::open_in_memory().unwrap();
    fill(&memory, 500);
    let options = BackupOptions::default().name("mem");
    let run = |db: &mut Connection| {
        lab.repository.backup_connection(db, ":memory:", &options, &Silent).unwrap()
    };
    assert!(run(&mut memory).commit.is_some());
    assert!(run(&mut memory).commit.is_none());
    memory.execute_batch("DELETE FROM t WHERE id=3").unwrap();
    assert!(run(&mut memory).commit.unwrap().changed < 5);
    let history = lab.repository.history("mem").unwrap();
    let bytes = restored(&history, 2, lab.dir.path()).unwrap();
    let copy = lab.path("copy.db");
    std::fs::write(&copy, bytes).unwrap();
    let count: u32 = Connection::open(&copy)
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
        .unwrap();
    assert_eq!(count, 499);
}

#[test]
fn two_databases_of_one_name_do_not_mix() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("x")).unwrap();
    let (a, b) = (lab.path("app.db"), lab.path("x/app.db"));
    for path in [&a, &b] {
        fill(&Connection::open(path).unwrap(), 5);
    }
    lab.backup(&a);
    let refused = lab.repository.backup(&b, &BackupOptions::default(), &Silent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let adopt = BackupOptions::default().adopt(true);
    lab.repository.backup(&b, &adopt, &Silent).unwrap();
    lab.backup(&b);
    let refused = lab.repository.backup(&a, &BackupOptions::default(), &Silent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
}

#[test]
fn a_target_is_replaced_only_by_force_and_never_with_an_old_wal() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = Connection::open(&path).unwrap();
    fill(&app, 50);
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let chain = history.chain().unwrap();
    let commit = chain.latest().unwrap();
    let target = lab.path("target.db");
    let run = |force| {
        let options = RestoreOptions::default().force(force).check(Check::Full);
        RestorePoint::of(&history, &chain, &commit).restore(&target, &options, &Silent)
    };
    let old = Connection::open(&target).unwrap();
    old.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE old(x); INSERT INTO old VALUES(1)")
        .unwrap();
    assert_eq!(run(false).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(run(true).unwrap_err().kind(), ErrorKind::Busy, "an application has it open");
    old.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    drop(old);
    assert!(lab.path("target.db-wal").exists());
    run(true).unwrap();
    assert!(!lab.path("target.db-wal").exists());
    assert!(std::fs::read(&target).unwrap() == reference(&path));
    assert_eq!(run(false).unwrap_err().kind(), ErrorKind::Refused);
    let left: Vec<_> = std::fs::read_dir(lab.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.contains("tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_repository_set_back_to_an_earlier_state_is_reported_until_somebody_accepts_it() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = Connection::open(&path).unwrap();
    fill(&app, 50);
    lab.backup(&path);
    let first = reference(&path);
    app.execute_batch("DELETE FROM t WHERE id<10").unwrap();
    lab.backup(&path);
    let history = lab.repository.history("app").unwrap();
    let newest = history.chain().unwrap().newest().unwrap().name().to_owned();
    pagekeep::internals::store::Store::delete(&lab.store, &newest).unwrap();
    app.execute_batch("INSERT INTO t(x) VALUES('after')").unwrap();
    // Neither read nor written to; but another machine knows nothing of it.
    for _ in 0..2 {
        let error = history.chain().unwrap_err();
        assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Damaged, 4));
        assert!(error.to_string().contains("went backwards"), "{error}");
        let options = BackupOptions::default();
        let error = lab.repository.backup(&path, &options, &Silent).unwrap_err();
        assert!(error.to_string().contains("went backwards"), "{error}");
    }
    let store = std::sync::Arc::new(lab.store.clone());
    let elsewhere =
        Repository::open(store, &lab.secret, &RepositoryOptions::new(lab.path("elsewhere")))
            .unwrap();
    assert_eq!(elsewhere.history("app").unwrap().chain().unwrap().commits().count(), 1);
    pagekeep::internals::repo::accept_rollback(&history).unwrap();
    let report = lab.backup(&path);
    // Somebody may have been told of commit 2: no other one gets its number.
    assert_eq!(report.seq.0, 3);
    assert!(restored(&history, 1, lab.dir.path()).unwrap() == first);
    assert!(restored(&history, 3, lab.dir.path()).unwrap() == reference(&path));
}

#[test]
fn segments_about_as_large_as_fits_into_one_object_come_back() {
    // Uncompressed, 254 pages and their index fit; of 255 the pages fit and the index does not; 257 pages do not fit themselves.
    for pages in 252..=258u32 {
        let lab = Lab::new();
        let path = lab.path("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch("CREATE TABLE t(x)").unwrap();
        while app.query_row("PRAGMA page_count", [], |r| r.get::<_, u32>(0)).unwrap() < pages {
            // Each row fills a page of its own.
            app.execute_batch("INSERT INTO t VALUES(randomblob(4000))").unwrap();
        }
        let options = BackupOptions::default()
            .compression(pagekeep::internals::codec::batch::Compression::Off);
        lab.repository.backup(&path, &options, &Silent).unwrap();
        let history = lab.repository.history("app").unwrap();
        let found =
            restored(&history, 1, lab.dir.path()).unwrap_or_else(|e| panic!("{pages}: {e:?}"));
        assert!(found == reference(&path), "{pages} pages");
    }
}
