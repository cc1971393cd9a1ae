//! What reaches terminals, pipes and full disks, through the real binary.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/cli.rs"]
mod lab;

use std::fs;

use lab::{Ended, Lab};

/// What an enemy writes: an escape sequence, a line of its own, C1's introducer, a mark that turns the direction of writing.
const EVIL: &str = "x\u{1b}[31m\nerror: no\u{9b}2J\u{202e}y";
/// The styles that are ours.
const STYLES: [&str; 4] = ["\u{1b}[1m", "\u{1b}[33m", "\u{1b}[1;31m", "\u{1b}[0m"];

/// Nothing that a terminal obeys, but for our own styles and ends of lines.
fn assert_tame(ended: &Ended, args: &[&str]) {
    let mut text = format!("{}{}", ended.stdout, ended.stderr);
    for style in STYLES {
        text = text.replace(style, "");
    }
    let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(bad), "{args:?}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("error: no")), "{args:?}: {text:?}");
}

#[test]
fn nothing_that_a_terminal_obeys_reaches_it_from_names_and_paths() {
    let lab = Lab::new();
    fs::create_dir(lab.path(EVIL)).unwrap();
    let path = format!("{EVIL}/app.db");
    lab.sql(
        &path,
        &format!("CREATE TABLE \"{EVIL}\"(id INTEGER PRIMARY KEY, v); INSERT INTO \"{EVIL}\" VALUES(1, zeroblob(9000))"),
    );
    let run = |args: &[&str]| {
        let mut shown = Vec::new();
        for more in [&["--color", "always"][..], &["--color", "always", "-v"], &["--json"]] {
            let ended = lab.run(&[args, more].concat());
            assert!(!ended.stderr.contains("panicked"), "{ended:?}");
            assert_tame(&ended, args);
            shown.push(ended);
        }
        shown.remove(0)
    };
    run(&["backup", &path]);
    lab.sql(&path, &format!("DELETE FROM \"{EVIL}\""));
    run(&["backup", &path, "--label", EVIL]);
    lab.sql(&path, &format!("INSERT INTO \"{EVIL}\" VALUES(2, zeroblob(5000))"));
    let shown = r"x\u{1b}[31m\nerror: no\u{9b}2J\u{202e}y";
    for args in [
        &["status"][..],
        &["snapshots"],
        &["show", "app"],
        &["stats"],
        &["drift", &path],
        &["rewind", &path, "--to", "seq:1", "-n"],
    ] {
        run(args).says(&[shown]);
    }
    for args in [
        &["log", "app"][..],
        &["log", EVIL],
        &["show", &format!("app@{EVIL}")],
        &["backup", EVIL],
        &["backup", "app.db", "-r", EVIL],
        &["restore", "app", &format!("{EVIL}/out.db")],
        &["restore", "app", &path],
        &["restore", "app", &format!("{EVIL}/none/out.db")],
        &["rewind", &path, "--to", EVIL],
        &["verify", "app", "--level", "restore", "--assert", EVIL],
        &["verify", EVIL],
        &["label", "app", EVIL],
        &["label", "app", EVIL, "--remove"],
        &["hold", "add", "app", EVIL],
        &["hold", "list"],
        &["hold", "remove", "app", EVIL],
        &["undelete", "app", EVIL],
        &["prune", "app", "--keep-last", "1", "-n"],
        &["prune", "--policy", EVIL],
        &["repair"],
        &["copy", "repo", EVIL],
        &["key", "remove", EVIL],
        &["key", "add", "--new-key-file", &format!("{EVIL}/none/key")],
        &["init", "-r", &format!("{EVIL}/repo"), "--key-file", &format!("{EVIL}/none/key")],
        &["status", "--key-file", EVIL],
        &["watch", EVIL],
        // What the parser repeats.
        &[EVIL],
        &["status", "--threads", EVIL],
        &["watch", &path, "--interval", EVIL],
        &["prune", "--keep-daily", EVIL],
    ] {
        run(args);
    }
    lab.run(&["repair", EVIL]).failed(16, &[shown]);
}

/// The command, with standard output led to `/dev/full`.
fn into_a_full_disk(lab: &Lab, args: &[&str]) -> Ended {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = lab.command(args);
    Ended::of(command.stdout(full))
}

#[test]
fn who_can_not_be_told_is_no_success() {
    let lab = Lab::with_history();
    for args in [
        &["status"][..],
        &["log", "app"],
        &["snapshots"],
        &["show", "app"],
        &["stats", "app"],
        &["drift", "app.db"],
        &["verify", "app"],
        &["backup", "app.db"],
        &["restore", "app", "out.db"],
        &["label", "app", "x"],
        &["hold", "add", "app", "y"],
        &["hold", "list"],
        &["undelete", "app"],
        &["prune", "app", "--keep-last", "9"],
        &["repair"],
        &["key", "list"],
        &["rewind", "app.db", "--to", "seq:1", "-n"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
    ] {
        let ended = into_a_full_disk(&lab, args);
        ended.failed(14, &["standard output: cannot be written", "No space left"]);
        assert_eq!(ended.stderr.matches("cannot be written").count(), 1, "told once: {ended:?}");
        // None of these prints JSON.
        if !["completions", "man", "undelete", "--help", "--version"].contains(&args[0]) {
            into_a_full_disk(&lab, &[args, &["--json"]].concat()).failed(
                match args[0] {
                    // It is there already.
                    "restore" => 17,
                    _ => 14,
                },
                &["standard output: cannot be written"],
            );
        }
    }
    assert!(lab.path("out.db").exists(), "what was to be done is done");
    // Damage is the more important answer.
    let segment = lab.segment_of(2);
    fs::remove_file(segment).unwrap();
    into_a_full_disk(&lab, &["status"]).failed(4, &["standard output: cannot be written"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let lab = Lab::with_history();
    for command in
        ["log app", "status", "log app --json", "verify app", "completions bash", "--help"]
    {
        let line = format!("{{ {} {command}; echo \"$?\" >&2; }} | true", lab::BIN);
        let ended = Ended::of(lab.other("sh").args(["-c", &format!("sleep 0.1; {line}")]));
        assert_eq!(ended.stderr, "0\n", "{command}");
    }
}
