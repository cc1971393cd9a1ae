//! `find`, `coverage` and `trace` through the real binary, as a user runs them.

use crate::support::cli::{Lab, last};
use serde_json::json;

/// Five commits: a table comes, fills, and loses a row in the fourth.
fn shop() -> Lab {
    let lab = Lab::new();
    for sql in [
        "CREATE TABLE first(x)",
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, who TEXT); INSERT INTO orders VALUES(1, 'Ada'), (2, 'Al\x1b[31man')",
        "INSERT INTO orders VALUES(3, 'Grace')",
        "DELETE FROM orders WHERE id = 2",
        "UPDATE orders SET who = 'Ada L.' WHERE id = 1",
    ] {
        lab.sql("app.db", sql);
        lab.ok(&["backup", "app.db"]);
    }
    lab
}

#[test]
fn find_says_each_step_and_the_two_commits() {
    let lab = shop();
    let ended = lab.run(&["find", "app", "SELECT who FROM orders WHERE id = 2", "--from", "seq:2"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.says(&["app@seq:4", "seq:3", "no rows", "Al\\u{1b}[31man"]);
    assert!(!ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'), "{ended:?}");
    for part in ["seq:2 of ", "seq:5 of ", "asked 4 of 4", "pagekeep query app@seq:3"] {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    let lines = lab.run(&["find", "app", "SELECT count(*) FROM orders", "--json"]).objects();
    let found = last(&lines);
    assert_eq!(
        (&found["before"]["nothing"], &found["after"]["first"], &found["after"]["seq"]),
        (&json!("no such table: orders"), &json!([2]), &json!(2))
    );
    let steps: Vec<_> = lines.iter().filter(|line| line["type"] == "reply").collect();
    assert_eq!(steps.len() as u64, found["asked"].as_u64().unwrap());
    assert!(steps.iter().all(|step| step["seq"].is_u64() && step["time"].is_string()));
    let of = |args: &[&str]| {
        let lines = lab.run(&[&["find", "app"], args, &["--json"]].concat()).objects();
        last(&lines)["after"]["seq"].clone()
    };
    assert_eq!(of(&["SELECT who FROM orders WHERE id = 1", "--last"]), 5);
    assert_eq!(of(&["SELECT count(*) = 3 FROM orders", "--when-true", "--to", "seq:3"]), 3);
    assert_eq!(of(&["SELECT 1", "--when-true"]), 1);
}

/// The command ends with this code and these words, after steps that it told.
fn fails(lab: &Lab, args: &[&str], code: i32, fragments: &[&str]) {
    lab.run(args).failed(code, fragments);
    let ended = lab.run(&[args, &["--json"]].concat());
    let error = ended.objects().pop().unwrap();
    assert_eq!((&error["type"], &error["exit_code"]), (&json!("error"), &json!(code)), "{error}");
}

#[test]
fn find_refuses_what_leads_nowhere() {
    let lab = shop();
    // There is no change between the ends, or nothing becomes true.
    fails(&lab, &["find", "app", "SELECT 1"], 16, &["seq:1", "seq:5", "the same"]);
    fails(&lab, &["find", "app", "SELECT 0", "--when-true"], 16, &["not true at seq:5"]);
    fails(&lab, &["find", "app", "SELECT * FROM none"], 2, &["no such table: none"]);
    lab.fails(&["find", "app", "SELEC 1"], 2, &["SQL", "syntax error"]);
    lab.fails(&["find", "app", "DELETE FROM orders"], 17, &["SQL"]);
    lab.fails(&["find", "none", "SELECT 1"], 16, &["none"]);
    lab.fails(&["find", "app", "SELECT 1", "--from", "seq:77"], 16, &["seq:77"]);
    lab.fails(&["find", "app", "SELECT 1", "--from", "seq:4", "--to", "seq:2"], 2, &["seq:4"]);
    lab.misused(&["find", "app", "SELECT 1", "--last", "--when-true"], &["--when-true"]);
}

#[test]
fn coverage_shows_stretches_what_may_be_lost_and_proofs() {
    let lab = shop();
    let ended = lab.ok(&["coverage", "app"]);
    ended.says(&["app", "5 restore points", "KEPT", "backups", "seq:1", "seq:5", "may be lost"]);
    ended.says(&["chain proof", "data proof    never"]);
    lab.ok(&["verify", "app", "--level", "data", "-q"]);
    lab.sql("app.db", "DELETE FROM orders");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["coverage", "app"]).says(&["up to seq:5; 1 restore point is newer"]);
    let lines = lab.json(&["coverage", "app"]);
    let summary = last(&lines);
    assert_eq!(summary["restore_points"], json!(lab.seqs().len()));
    assert_eq!(summary["newest"]["seq"], 6);
    assert!(summary["age_seconds"].is_u64() && summary["stored"].is_string(), "{summary}");
    assert_eq!(summary["proofs"][0]["level"], "data");
}

#[test]
fn coverage_names_what_is_lost_and_ends_as_damage_does() {
    let lab = shop();
    std::fs::remove_file(lab.segment_of(3)).unwrap();
    let ended = lab.run(&["coverage", "app"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    ended.says(&["WHY", "LOST", "seq:2", "the end", "that is missing"]);
    let ended = lab.run(&["coverage", "app", "--json"]);
    let lost: Vec<_> = ended.objects().into_iter().filter(|line| line["kind"] == "lost").collect();
    assert_eq!((lost.len(), &lost[0]["from"]["seq"]), (1, &json!(2)), "{ended:?}");
    assert!(lost[0]["loss"]["object"].is_string(), "{lost:?}");
    lab.fails(&["coverage", "none"], 16, &["none"]);
    lab.misused(&["coverage"], &["<NAME>"]);
}
