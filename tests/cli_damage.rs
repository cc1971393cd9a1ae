//! Damaged histories through the real binary: what is there is there, what is not ends with 4, and every command says the same.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/cli.rs"]
mod lab;

use std::fs;

use lab::{Lab, flip, walk};

/// Eight commits, none of which but the first stores all pages.
fn eight() -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 400);
    for n in 0..8 {
        lab.sql("app.db", &format!("INSERT INTO t(x) VALUES('commit {n}')"));
        lab.ok(&["backup", "app.db", "--label", &format!("L{}", n + 1)]);
    }
    lab
}

#[test]
fn a_missing_segment_takes_only_what_needs_it() {
    let lab = eight();
    fs::remove_file(lab.segment_of(4)).unwrap();
    let warned = |args: &[&str]| {
        let ended = lab.run(args);
        ended.failed(3, &["is missing", "between seq:3 and seq:5", "pagekeep repair app"]);
        ended
    };
    warned(&["restore", "app@seq:2", "two.db"]);
    assert_eq!(lab.number("two.db", "SELECT count(*) FROM t"), 402);
    warned(&["show", "app@L3"]).says(&["app@seq:3"]);
    warned(&["label", "app@seq:1", "begin"]);
    for (args, says) in [
        (&["log", "app"][..], "seq:8"),
        (&["snapshots", "app"], "L5"),
        (&["status"], "can't be restored"),
        (&["verify", "app", "--level", "chain"], "is missing"),
    ] {
        let ended = lab.run(args);
        assert_eq!(ended.code, Some(4), "{args:?}: {ended:?}");
        ended.says(&[says]);
    }
    for when in ["app", "app@seq:4", "app@L4", "app@seq:6"] {
        let ended = lab.run(&["restore", when, "none.db"]);
        ended.failed(4, &["is missing", "pagekeep repair app"]);
    }
    assert!(!lab.path("none.db").exists());
    // Also when nothing changed: never green on what can't be restored.
    for _ in 0..2 {
        let ended = lab.run(&["backup", "app.db"]);
        ended.failed(4, &["the newest commit can't be restored", "repair app --apply --database"]);
        lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    }
    lab.run(&["watch", "app.db"]).failed(4, &["the newest commit can't be restored"]);
    lab.run(&["prune", "app", "--keep-last", "1"]).failed(4, &["is missing"]);
    let dry = lab.run(&["repair", "app"]);
    dry.failed(4, &[]);
    dry.says(&["keeps 3 commits: seq:1 to seq:3", "lost 5 numbers: seq:4 to seq:8"]);
    let done = lab.ok(&["repair", "app", "--apply", "--database", "app.db"]);
    done.says(&["keeps 3 commits: seq:1 to seq:3", "the live database is app@seq:9"]);
    assert_eq!(lab.seqs(), [1, 2, 3, 9]);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["status"]);
    lab.fails(&["restore", "app@L5", "none.db"], 16, &["seq:5", "\"L5\""]);
}

#[test]
fn damaged_newest_segments_are_no_reason_to_get_an_older_commit() {
    let lab = eight();
    for segment in [6, 7, 8].map(|seq| lab.segment_of(seq)) {
        flip(&segment, 60);
    }
    lab.run(&["restore", "app", "none.db"]).failed(4, &["newest commits", "app@seq:5"]);
    lab.run(&["restore", "app@seq:5", "five.db"]).failed(3, &["after seq:5"]);
    lab.run(&["backup", "app.db"]).failed(4, &["can't be restored"]);
    lab.ok(&["repair", "app", "--apply"]).says(&["keeps 5 commits", "seq:6 to seq:"]);
    lab.ok(&["backup", "app.db"]);
    let newest = *lab.seqs().last().unwrap();
    assert!(newest > 8, "{newest}");
    lab.fails(&["restore", "app@L7", "none.db"], 16, &["\"L7\""]);
    lab.ok(&["verify", "app", "--level", "restore"]);
}

#[test]
fn what_harms_nobody_is_a_remark_to_every_command() {
    let lab = eight();
    let history = walk(&lab.path("repo/histories")).into_iter().find(|p| p.ends_with("about"));
    let history = history.unwrap().parent().unwrap().to_owned();
    let third = lab.segment_of(3);
    fs::write(history.join("log/ffffffffffffffff-ffffffffffffffff"), [0x5a; 300]).unwrap();
    fs::write(history.join("writers/ffffffffffffffff"), [0x5a; 300]).unwrap();
    let mut bytes = fs::read(&third).unwrap();
    bytes.push(0);
    fs::write(&third, bytes).unwrap();
    for args in [
        &["restore", "app", "new.db"][..],
        &["backup", "app.db"],
        &["status"],
        &["verify", "app"],
        &["prune", "app", "--keep-last", "99", "--grace", "0"],
        &["repair", "app"],
    ] {
        lab.run(args).failed(3, &["ffffffffffffffff"]);
    }
    lab.run(&["repair", "app", "--apply"]).failed(3, &["quarantine"]);
    for args in [&["verify", "app"][..], &["status"], &["repair", "app"], &["backup", "app.db"]] {
        lab.ok(args);
    }
    let moved = walk(&lab.path("repo/quarantine"));
    assert_eq!(moved.iter().filter(|path| path.is_file()).count(), 2, "{moved:?}");
}
