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
fn trace_shows_every_version_of_a_row_the_newest_last() {
    let lab = shop();
    let ended = lab.run(&["trace", "app", "orders", "1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{ended:?}");
    for (line, parts) in lines.iter().zip([
        &["COMMIT", "TIME", "ROW", "VALUES"][..],
        &["seq:2", "inserted", "id: 1, who: 'Ada'"],
        &["seq:5", "changed", "who: 'Ada' -> 'Ada L.'"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {ended:?}");
    }
    assert!(ended.stderr.contains(" of 5 restore points"), "{ended:?}");
    // A value may have what a terminal would obey.
    let ended = lab.run(&["trace", "app", "ORDERS", "2"]);
    ended.says(&["seq:2", "Al\\u{1b}[31man", "seq:4", "deleted"]);
    assert!(!ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'), "{ended:?}");
    let ended = lab.run(&["trace", "app", "orders", "1", "--limit", "1"]);
    assert!(!ended.stdout.contains("seq:2") && ended.stderr.contains("--limit 0"), "{ended:?}");
    let ended = lab.run(&["trace", "app", "orders", "1", "--from", "seq:3", "-n", "0"]);
    ended.says(&["seq:3", "there", "seq:5"]);
    assert!(ended.stderr.contains("app@seq:3, the first"), "{ended:?}");
}

#[test]
fn trace_tells_programs_the_whole_row_before_and_after() {
    let lab = shop();
    let lines = lab.run(&["trace", "app", "orders", "1", "--json"]).objects();
    let [inserted, changed, summary] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(inserted["before"], json!(null));
    assert_eq!(
        (&inserted["type"], &inserted["operation"], &inserted["seq"], &inserted["after"]),
        (&json!("version"), &json!("insert"), &json!(2), &json!({"id": 1, "who": "Ada"}))
    );
    assert_eq!(
        (&changed["operation"], &changed["changed"], &changed["key"]),
        (&json!("update"), &json!(["who"]), &json!({"id": 1}))
    );
    assert_eq!(
        (&summary["versions"], &summary["more"], &summary["restore_points"]),
        (&json!(2), &json!(false), &json!(5))
    );
    let lines = lab.run(&["trace", "app", "orders", "1", "--from", "seq:3", "--json"]).objects();
    assert_eq!(lines[0]["operation"], "present");
}

#[test]
fn trace_takes_keys_of_several_columns_blobs_and_numbers_that_are_texts() {
    let lab = Lab::new();
    lab.sql(
        "app.db",
        "CREATE TABLE stock(town TEXT COLLATE NOCASE, item INT, n, PRIMARY KEY(town, item)) WITHOUT ROWID;
         INSERT INTO stock VALUES('Ulm', -7, 1); CREATE TABLE b(k BLOB PRIMARY KEY, x) WITHOUT ROWID;
         INSERT INTO b VALUES(x'00ff', 1), ('007', 2); CREATE TABLE s(k TEXT PRIMARY KEY, x) WITHOUT ROWID;
         INSERT INTO s VALUES('007', 1), ('it''s', 2)",
    );
    lab.ok(&["backup", "app.db"]);
    for args in [
        &["stock", "ULM", "-7"][..],
        &["b", "x'00ff'"],
        &["b", "'007'"],
        &["s", "007"],
        &["s", "it's"],
        &["s", "'it''s'"],
    ] {
        let ended = lab.run(&[&["trace", "app"], args].concat());
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.says(&["seq:1", "there"]);
    }
    fails(&lab, &["trace", "app", "b", "007"], 16, &["no row of \"b\"", "1 restore point"]);
}

#[test]
fn trace_refuses_what_leads_nowhere() {
    let lab = shop();
    lab.sql("app.db", "CREATE VIRTUAL TABLE f USING fts5(x); CREATE TABLE h(rowid, _rowid_, oid)");
    lab.run(&["backup", "app.db"]);
    fails(
        &lab,
        &["trace", "app", "orders", "77"],
        16,
        &["no row of \"orders\"", "6 restore points"],
    );
    fails(&lab, &["trace", "app", "none", "1"], 16, &["table \"none\""]);
    fails(&lab, &["trace", "app", "orders", "Ada"], 2, &["table \"orders\"", "id, an integer"]);
    fails(&lab, &["trace", "app", "orders", "1", "2"], 2, &["(id)", "1 value"]);
    fails(&lab, &["trace", "app", "f", "1"], 17, &["table \"f\"", "virtual"]);
    fails(&lab, &["trace", "app", "h", "1"], 17, &["table \"h\"", "hide the rowid"]);
    lab.fails(&["trace", "none", "t", "1"], 16, &["none"]);
    lab.fails(&["trace", "app", "t", "1", "--from", "seq:77"], 16, &["seq:77"]);
    lab.fails(&["trace", "app", "t", "1", "--from", "seq:4", "--to", "seq:2"], 2, &["seq:4"]);
    lab.misused(&["trace", "app", "orders"], &["<KEY>"]);
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
