//! What reaches terminals, pipes and full disks, through the real binary.

use std::fs;
use std::process::Stdio;

use crate::support::cli::{self, Ended, Lab};
use crate::support::terminal;

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
        let line = format!("{{ {} {command}; echo \"$?\" >&2; }} | true", cli::BIN);
        let ended = Ended::of(lab.other("sh").args(["-c", &format!("sleep 0.1; {line}")]));
        assert_eq!(ended.stderr, "0\n", "{command}");
    }
}

/// What a command shows on a terminal so wide; `None` where there is no `script` to make one.
fn on_a_terminal(lab: &Lab, columns: u32, line: &str) -> Option<Vec<String>> {
    let line = format!("stty cols {columns}; {} {line}", cli::BIN);
    let mut script = terminal::command(lab, &line);
    script.env("TERM", "dumb").env("NO_COLOR", "1");
    script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(ended) = script.output() else {
        println!("skipped: there is no `script`");
        return None;
    };
    let ended = Ended::from(ended);
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    Some(ended.stdout.lines().map(|line| line.trim_end().to_owned()).collect())
}

#[test]
fn tables_fit_terminals_of_60_80_and_120_columns() {
    let lab = Lab::with_history();
    for n in 0..4 {
        lab.sql("app.db", &format!("UPDATE t SET x = 'again' WHERE id = {n}"));
        lab.ok(&["backup", "app.db"]);
    }
    lab.ok(&["label", "app@seq:3", "before the great migration of all customers"]);
    lab.ok(&["label", "app@seq:3", "a second label"]);
    lab.ok(&["hold", "add", "app@seq:1", "for the audit of the year 2026"]);
    lab.ok(&["label", "app@seq:4", "not for long"]);
    lab.ok(&["label", "app", "not for long", "--remove"]);
    for columns in [60, 80, 120] {
        for line in [
            "log app",
            "snapshots app",
            "prune app --keep-last 2 -n",
            "prune app --keep-last 2 --keep-daily 9 --list -n",
            "hold list",
            "undelete app",
            "key list",
        ] {
            let Some(shown) = on_a_terminal(&lab, columns, line) else { return };
            // The heading of a history has its path.
            for shown in shown.iter().filter(|shown| !shown.starts_with("app  /")) {
                let wide = shown.chars().count();
                assert!(wide <= columns.try_into().unwrap(), "{line} at {columns}: {shown:?}");
            }
            let seen = shown.join("\n");
            assert!(seen.contains("(+00:00)"), "{line} at {columns}: {seen}");
        }
        // And what was left out is typed as it stands there.
        let log = on_a_terminal(&lab, columns, "log app").unwrap();
        let rows: Vec<&String> = log.iter().filter(|line| line.starts_with("seq:")).collect();
        assert_eq!(rows.len(), 5, "{log:?}");
        for row in rows {
            let words: Vec<&str> = row.split_whitespace().collect();
            let show = lab.json(&["show", &format!("app@{} {}", words[1], words[2])]);
            assert_eq!(format!("seq:{}", show[0]["seq"]), words[0], "{row}");
        }
    }
}
