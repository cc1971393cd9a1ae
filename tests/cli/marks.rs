//! Moments that mark themselves, through the real binary: `watch` and `backup` label the state before a schema change or a large
//! deletion.

use crate::support::cli::Lab;
use crate::watch::Watch;
use rusqlite::Connection;
use serde_json::Value;

/// A database of some two hundred pages.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 6000);
    lab
}

fn open(lab: &Lab) -> Connection {
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    db
}

/// The labelled commits, with their marks.
fn marks(lab: &Lab) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for commit in lab.json(&["log", "app"]) {
        for mark in commit["marks"].as_array().unwrap() {
            let label = mark["label"].as_str().unwrap().to_owned();
            assert!(commit["labels"].as_array().unwrap().contains(&Value::from(label.clone())));
            assert!(mark["until"].as_str().unwrap() > commit["time"].as_str().unwrap());
            found.push((commit["seq"].as_u64().unwrap(), label));
        }
    }
    found
}

#[test]
fn watch_marks_the_state_before_each_kind_of_upheaval() {
    for (sql, reason) in [
        ("ALTER TABLE t ADD COLUMN y", "schema-change"),
        ("DROP TABLE t", "schema-change"),
        ("DELETE FROM t WHERE id > 1000", "large-delete"),
        ("VACUUM", "schema-change"),
    ] {
        let lab = lab();
        let db = open(&lab);
        let mut watch = Watch::start(&lab, &["--interval", "0"]);
        watch.commit(1);
        db.execute_batch("INSERT INTO t(x) VALUES('more'); UPDATE t SET x='' WHERE id=7").unwrap();
        db.execute_batch("DELETE FROM t WHERE id=7").unwrap();
        db.execute_batch(sql).unwrap();
        let mark = watch.next(|line| line["type"] == "marked");
        let label = format!("before-{reason}-5");
        assert_eq!(
            (mark["seq"].as_u64(), mark["label"].as_str()),
            (Some(4), Some(&*label)),
            "{sql}"
        );
        assert_eq!(watch.end("-TERM").0, Some(0));
        assert_eq!(marks(&lab), [(4, label.clone())], "{sql}");
        lab.ok(&["restore", &format!("app@{label}"), "out.db"]);
        assert_eq!(lab.number("out.db", "SELECT count(*) FROM t"), 6000, "{sql}");
    }
}

#[test]
fn a_hundred_alterations_are_one_migration_and_inserts_are_none() {
    let lab = lab();
    let db = open(&lab);
    let mut watch = Watch::start(&lab, &["--interval", "0"]);
    watch.commit(1);
    for n in 0..50 {
        db.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
    }
    for n in 0..100 {
        db.execute_batch(&format!("ALTER TABLE t ADD COLUMN c{n}")).unwrap();
    }
    watch.commit(151);
    assert_eq!(watch.end("-INT").0, Some(0));
    assert_eq!(marks(&lab), [(51, "before-schema-change-52".to_owned())]);
}

#[test]
fn a_watch_that_is_killed_behind_a_commit_is_made_up_for() {
    for _ in 0..5 {
        let lab = lab();
        let db = open(&lab);
        let mut watch = Watch::start(&lab, &["--interval", "0"]);
        watch.commit(1);
        db.execute_batch("ALTER TABLE t ADD COLUMN y").unwrap();
        watch.commit(2);
        // Before the mark, in it, or behind it.
        assert_eq!(watch.end("-KILL").0, None);
        let mut watch = Watch::start(&lab, &["--interval", "0"]);
        db.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
        watch.commit(3);
        assert_eq!(watch.end("-TERM").0, Some(0));
        assert_eq!(marks(&lab), [(1, "before-schema-change-2".to_owned())]);
    }
}

#[test]
fn backup_marks_and_says_so_unless_it_is_told_not_to() {
    let lab = lab();
    lab.ok(&["backup", "app.db"]);
    lab.sql("app.db", "ALTER TABLE t ADD COLUMN y");
    let told = lab.ok(&["backup", "app.db"]);
    told.says(&["marked app@seq:1 as before-schema-change-2, kept until 20"]);
    lab.sql("app.db", "DELETE FROM t WHERE id > 1000");
    let summary = lab.summary(&["backup", "app.db", "--no-marks"]);
    assert_eq!(summary["marks"], serde_json::json!([]));
    assert_eq!(marks(&lab), [(1, "before-schema-change-2".to_owned())]);
    // People see what it is, and until when.
    let listed = lab.ok(&["snapshots", "app"]);
    listed.says(&["mark", "before-schema-change-2 (kept until 20"]);
    lab.ok(&["log", "app"]).says(&["before-schema-change-2 (kept until 20"]);
    lab.ok(&["show", "app@before-schema-change-2"])
        .says(&["before-schema-change-2 (kept until 20"]);
    let dry = lab.ok(&["prune", "app", "--keep-last", "1", "-n"]);
    dry.says(&["marked \"before-schema-change-2\", until 20"]);
    // It lasts once it has a label of a person, and goes when a person says so.
    lab.ok(&["label", "app@before-schema-change-2", "before 2.0"]);
    lab.ok(&["label", "app", "before-schema-change-2", "--remove"]);
    assert_eq!(marks(&lab), []);
    lab.ok(&["undelete", "app", "before-schema-change-2"]).says(&["back, until 20"]);
    assert_eq!(marks(&lab), [(1, "before-schema-change-2".to_owned())]);
    // It names the state before the commit that somebody may want to undo.
    let undo = ["undo", "app.db", "before-schema-change-2"];
    lab.fails(&undo, 2, &["the state before seq:2", "seq:2"]);
    let labels = &lab.json(&["log", "app"])[0]["labels"];
    assert_eq!(labels, &serde_json::json!(["before 2.0", "before-schema-change-2"]));
    let pruned = lab.summary(&["prune", "app", "--keep-last", "1"]);
    assert_eq!(pruned["ended_marks"], serde_json::json!([]));
    assert_eq!(lab.seqs(), [1, 3]);
}

#[test]
fn a_watch_without_marks_gives_none() {
    let lab = lab();
    let db = open(&lab);
    let mut watch = Watch::start(&lab, &["--interval", "0", "--no-marks"]);
    watch.commit(1);
    db.execute_batch("ALTER TABLE t ADD COLUMN y; DELETE FROM t").unwrap();
    watch.commit(3);
    assert_eq!(watch.end("-TERM").0, Some(0));
    // A later one marks nothing of what came before it.
    let mut watch = Watch::start(&lab, &["--interval", "0"]);
    db.execute_batch("INSERT INTO t(y) VALUES(1)").unwrap();
    watch.commit(4);
    assert_eq!(watch.end("-TERM").0, Some(0));
    assert_eq!(marks(&lab), []);
}
