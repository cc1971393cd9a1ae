//! `prune`, `hold`, `undelete`, `copy` and `repair` through the real binary, as a user runs them.

use std::fs;

use crate::support::cli::{Ended, Lab, flip, last};
use serde_json::{Value, json};

/// Ten commits, the third labelled.
fn ten() -> Lab {
    let lab = Lab::new();
    for n in 0..10 {
        lab.sql("app.db", &format!("CREATE TABLE IF NOT EXISTS n(x); INSERT INTO n VALUES({n})"));
        let label: &[&str] = if n == 2 { &["--label", "third"] } else { &[] };
        lab.ok(&[&["backup", "app.db"], label].concat());
    }
    lab
}

#[test]
fn prune_keeps_what_was_promised_and_says_why() {
    let lab = ten();
    lab.fails(&["prune", "app"], 17, &["keep"]);
    lab.fails(&["prune", "app", "--keep-daily", "0"], 2, &["keep-daily"]);
    lab.misused(&["prune", "app", "--keep-hourly", "soon"], &["soon"]);
    lab.fails(&["prune", "app", "--keep-last", "3", "--time-zone", "Mars/Base"], 2, &["Mars/Base"]);
    lab.fails(&["prune", "none", "--keep-last", "3"], 16, &["none"]);
    lab.ok(&["hold", "add", "app@seq:5", "audit"]);

    let dry = lab.ok(&["prune", "app", "--keep-last", "2", "-n"]);
    dry.says(&[
        "would keep 4 commits of 10",
        "labelled \"third\"",
        "held: audit",
        "the newest commit",
    ]);
    assert_eq!(lab.seqs(), (1..=10).collect::<Vec<_>>());
    let lines = lab.json(&["prune", "app", "--keep-last", "2", "--grace", "0"]);
    let of = |kind: &str| -> Vec<u64> {
        let wanted = lines.iter().filter(|l| l["type"] == kind);
        wanted.map(|l| l["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!((of("kept"), of("dropped")), (vec![3, 5, 9, 10], vec![1, 2, 4, 6, 7, 8]));
    last(&lines);
    assert_eq!(lab.seqs(), [3, 5, 9, 10]);
    lab.fails(&["restore", "app@seq:4", "out.db"], 16, &["seq:4"]);
    lab.ok(&["restore", "app@third", "out.db"]);
    assert_eq!(lab.number("out.db", "SELECT count(*) FROM n"), 3);
    lab.fails(&["hold", "add", "app@seq:4", "late"], 16, &["seq:4"]);

    // The same from a file, with an option that wins; a name that is none is refused.
    fs::write(lab.path("policy.toml"), "keep-last = 3\ntime-zone = \"UTC\"\n").unwrap();
    lab.ok(&["prune", "--policy", "policy.toml", "--keep-last", "1"]);
    assert_eq!(lab.seqs(), [3, 5, 10]);
    fs::write(lab.path("policy.toml"), "keep-lots = 3\n").unwrap();
    lab.fails(&["prune", "--policy", "policy.toml"], 2, &["policy.toml"]);
    lab.ok(&["verify", "app", "--level", "data"]);
}

#[test]
fn holds_and_labels_keep_commits_until_they_are_removed() {
    let lab = ten();
    lab.ok(&["hold", "add", "app@seq:5", "audit"]);
    let holds = lab.json(&["hold", "list"]);
    assert_eq!((&holds[0]["seq"], &holds[0]["reason"]), (&json!(5), &json!("audit")));
    let id = holds[0]["id"].as_str().unwrap();
    lab.fails(&["hold", "remove", "app", "nothing"], 16, &["nothing"]);
    lab.ok(&["hold", "remove", "app", &id[..6]]);
    assert_eq!(lab.json(&["hold", "list"]), Vec::<Value>::new());
    // A label that was removed keeps its commit for a while, and can be given back.
    lab.ok(&["label", "app", "third", "--remove"]);
    lab.ok(&["prune", "app", "--keep-last", "1"]);
    assert_eq!(lab.seqs(), [3, 10]);
    assert_eq!(lab.json(&["undelete", "app"])[0]["label"], "third");
    lab.fails(&["undelete", "app", "fourth"], 16, &["fourth"]);
    lab.ok(&["undelete", "app", "third"]);
    lab.fails(&["undelete", "app", "third"], 16, &["third"]);
    lab.ok(&["restore", "app@third", "out.db"]);
}

#[test]
fn a_copy_has_keys_of_its_own() {
    let lab = ten();
    lab.fails(&["copy", "repo", "offsite", "--to-key-file", "key2"], 10, &["offsite", "init"]);
    lab.ok(&["init", "-r", "offsite", "--key-file", "key2"]);
    lab.fails(&["copy", "repo", "offsite", "--to-key-file", "nokey"], 12, &["nokey"]);
    let copied = lab.summary(&["copy", "repo", "offsite", "--to-key-file", "key2"]);
    assert_eq!(copied["commits"], 10);
    lab.sql("app.db", "INSERT INTO n VALUES(77)");
    lab.ok(&["backup", "app.db"]);
    let copied = lab.summary(&["copy", "repo", "offsite", "--to-key-file", "key2"]);
    assert_eq!((&copied["commits"], &copied["newest"]), (&json!(1), &json!(11)));
    let offsite = |args: &[&'static str]| -> Vec<&'static str> {
        [args, &["-r", "offsite", "--key-file", "key2"]].concat()
    };
    lab.ok(&offsite(&["restore", "app@third", "out.db"]));
    assert_eq!(lab.number("out.db", "SELECT count(*) FROM n"), 3);
    lab.ok(&offsite(&["verify", "app", "--level", "data"]));
    lab.fails(&["copy", "repo", "repo", "--to-key-file", "key"], 2, &["same repository"]);
}

#[test]
fn repair_says_what_it_would_do_and_does_it() {
    let lab = ten();
    let sound = lab.ok(&["repair"]);
    assert!(sound.stdout.contains("app: sound, 10 commits"), "{}", sound.stdout);
    flip(&lab.segment_of(4), 60);
    let dry = lab.run(&["repair", "app"]);
    assert_eq!(dry.code, Some(4), "{}", dry.stdout);
    dry.says(&[
        "keeps 9 commits: seq:1 to seq:3, seq:5 to seq:10",
        "lost 1 number: seq:4",
        "nothing was changed",
    ]);
    lab.misused(&["repair", "app", "--database", "app.db"], &["--apply"]);
    let done = lab.summary(&["repair", "app", "--apply", "--database", "app.db"]);
    assert_eq!(done["healed"], 11);
    assert!(lab.path("repo/quarantine").exists());
    assert_eq!(lab.seqs(), [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
    lab.ok(&["restore", "app", "out.db"]);
    assert_eq!(lab.number("out.db", "SELECT count(*) FROM n"), 10);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&["repair"]);
    lab.sql("app.db", "INSERT INTO n VALUES(77)");
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn a_repository_that_was_set_back_is_reported_until_that_is_accepted() {
    let lab = ten();
    lab.ok(&["log", "app"]);
    fs::remove_file(lab.segment_of(10)).unwrap();
    for args in [&["log", "app"][..], &["restore", "app", "out.db"], &["backup", "app.db"]] {
        lab.fails(args, 4, &["went backwards", "--accept-rollback"]);
    }
    lab.ok(&["repair", "app", "--accept-rollback"]);
    lab.ok(&["backup", "app.db"]);
    assert_eq!(lab.seqs().len(), 10);
}

#[test]
fn rotating_and_rewriting_leaves_nothing_under_the_old_key() {
    let lab = ten();
    lab.ok(&["key", "rotate", "--new-recovery-key"]);
    lab.misused(&["key", "rotate", "--rewrite", "--remove-others"], &["--rewrite"]);
    lab.sql("app.db", "INSERT INTO n VALUES(77)");
    lab.ok(&["backup", "app.db"]);
    let done = lab.summary(&["key", "rotate", "--rewrite"]);
    assert_eq!((&done["segments"], &done["newest_left"]), (&json!(10), &json!(false)));
    assert_eq!(lab.summary(&["key", "rotate", "--rewrite"])["segments"], 0);
    assert_eq!(lab.seqs().len(), 11);
    lab.ok(&["verify", "app", "--level", "data"]);
}

/// Whoever is not the last to claim the copy is told that another one does the work. The last one may
/// find all of it done by one that it took over: it can't vouch for that until there is a new commit,
/// and says so.
#[test]
fn several_copies_at_once_do_the_work_once() {
    let lab = ten();
    lab.ok(&["init", "-r", "offsite", "--key-file", "key2"]);
    let copy = ["copy", "repo", "offsite", "--to-key-file", "key2"];
    let copies: Vec<_> = (0..3)
        .map(|n| {
            let state = format!("state{n}");
            lab.command(&[&copy[..], &["--state-dir", &state]].concat()).spawn().unwrap()
        })
        .collect();
    let ended: Vec<Ended> =
        copies.into_iter().map(|copy| copy.wait_with_output().unwrap().into()).collect();
    let last = ended.iter().filter(|ended| ended.code != Some(11)).count();
    assert!(last > 0, "{ended:?}");
    for ended in &ended {
        match ended.code {
            Some(0) => {}
            Some(3) => {
                assert!(ended.stdout.contains("the copy is at seq:10"), "{ended:?}");
                assert!(ended.stderr.contains("another copy of app was begun"), "{ended:?}");
            }
            _ => {
                ended.failed(11, &[]);
                let told = ["other one", "was taken over by `copy`"];
                assert!(told.iter().any(|told| ended.stderr.contains(told)), "{ended:?}");
            }
        }
    }
    lab.sql("app.db", "INSERT INTO n VALUES(77)");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&copy);
    let offsite = ["-r", "offsite", "--key-file", "key2"];
    assert_eq!(lab.json(&[&["log", "app"], &offsite[..]].concat()).len(), 11);
    lab.ok(&[&["verify", "app", "--level", "data"], &offsite[..]].concat());
}
