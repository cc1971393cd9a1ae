//! The examples that need no arguments: each runs to its end, and prints what it is there to show.
//! `example_ledger.rs` has the ledger.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::example;

/// Runs an example, which must succeed and must not complain, and returns the lines that it prints.
fn run(name: &str) -> Vec<String> {
    let ran = Command::new(example::binary(name)).output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    let complaints = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && complaints.is_empty(), "{}\n{text}\n{complaints}", ran.status);
    text.lines().map(str::to_owned).collect()
}

/// Whether a line has all these parts, in this order.
fn has(line: &str, parts: &[&str]) -> bool {
    let mut rest = Some(line);
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

#[test]
fn backup_once_stores_what_changed_and_nothing_when_nothing_did() {
    let lines = run("backup_once");
    assert!(has(&lines[0], &["app@seq:1: 2 of 2 pages changed, ", " bytes stored"]), "{lines:#?}");
    assert_eq!(lines[1..3], ["seq:1 has the label \"first note\"", "app@seq:1: nothing changed"]);
    assert!(has(&lines[3], &["app@seq:2: 1 of 2 pages changed, "]), "{lines:#?}");
    assert_eq!(lines.len(), 4);
}

#[test]
fn async_wait_answers_two_requests_on_one_thread_and_tells_of_the_end() {
    let lines = run("async_wait");
    assert!(
        has(&lines[0], &["the first is in seq:", " or before, the second in seq:"]),
        "{lines:#?}"
    );
    assert_eq!(lines[1..], ["afterwards: following was stopped"]);
}

#[test]
fn restore_at_brings_back_the_moment_and_the_label() {
    let lines = run("restore_at");
    assert_eq!(lines[0], "the time chose seq:2, orders: 2");
    assert_eq!(lines[1], "the label chose seq:1, orders: 1");
    assert!(has(&lines[2], &["once more: refused (", "one-order.db"]), "{lines:#?}");
    assert_eq!(lines[3..], ["in the live database, orders: 0"]);
}

#[test]
fn lost_rows_brings_back_what_is_missing_and_the_sale_stays() {
    let lines = run("lost_rows");
    assert_eq!(
        lines[..2],
        ["before the mistake: 4 orders", "after the mistake and a sale: 3 orders"]
    );
    assert!(has(&lines[2], &["seq:", " is the last commit that has order 1; "]), "{lines:#?}");
    let rest = [
        "order 1 was for 1000 cents",
        "after recover: 5 orders",
        "after the undo of that: 3 orders",
    ];
    assert_eq!(lines[3..], rest);
}

#[test]
fn verify_with_assertion_tells_what_holds_from_what_does_not() {
    let lines = run("verify_with_assertion");
    assert_eq!(
        lines[..3],
        [
            "SELECT min(cents) > 0 FROM orders",
            "  holds, seq:1 restored",
            "SELECT count(*) >= 1000 FROM orders"
        ]
    );
    assert!(has(&lines[3], &["  does not hold: shop@seq:1: ", "answers 0"]), "{lines:#?}");
    assert_eq!(lines[4], "a proof of seq:1 at level restore: passed");
    assert!(has(&lines[5], &["a proof of seq:1 at level restore: ", "answers 0"]), "{lines:#?}");
    assert_eq!(lines.len(), 6);
}

#[test]
fn custom_store_counts_the_calls_of_a_store_that_conforms() {
    let lines = run("custom_store");
    assert_eq!(lines[0], "the store keeps its promises");
    assert!(has(&lines[1], &["init: ", " create"]), "{lines:#?}");
    assert!(has(&lines[2], &["backup to seq:1: ", " create", " get"]), "{lines:#?}");
    assert!(has(&lines[3], &["backup to seq:2: ", " create", " get"]), "{lines:#?}");
}

#[test]
fn follow_events_tells_of_commits_of_a_fault_and_of_its_end() {
    let lines = run("follow_events");
    let next = |from: usize, parts: &[&str]| {
        let found = lines.iter().skip(from).position(|line| has(line, parts));
        from + found.unwrap_or_else(|| panic!("{parts:?} is missing from {from} on: {lines:#?}"))
    };
    let mut at = 0;
    for parts in [
        &["durable up to seq:"][..],
        &["the repository is moved away"],
        &["  fault (storage): "],
        &["the repository is put back"],
        &["  it works again"],
        &["durable up to seq:"],
    ] {
        at = next(at, parts) + 1;
    }
    // Every commit is told of once, in its order.
    let seqs: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("  published "))
        .flat_map(|seqs| seqs.split(", "))
        .collect();
    let durable = lines.iter().rev().find_map(|line| line.strip_prefix("durable up to "));
    assert_eq!(seqs.last().copied(), durable, "{lines:#?}");
    let expected: Vec<String> = (1..=seqs.len()).map(|n| format!("seq:{n}")).collect();
    assert_eq!(seqs, expected);
}

#[test]
fn every_example_is_in_the_table_of_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/embedding.md")).unwrap();
    let linked: BTreeSet<String> = document
        .split("](../examples/")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(name, _)| name.to_owned()))
        .collect();
    let there: BTreeSet<String> = fs::read_dir(root.join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(linked, there);
}
