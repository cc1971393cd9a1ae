//! How commits are named, by times and labels, through the real binary: what is chosen is what the documents say, and is said.

use crate::support::cli::{self, Ended, Lab, walk};
use chrono::DateTime;
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::open_store;
use pagekeep::internals::types::{Clock, Timestamp};
use serde_json::Value;

/// Central Europe and the east of North America, whatever zones the machine knows.
const ZURICH: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";

/// Around both changes of clocks of 2025 in central Europe.
const CHANGES: [&str; 7] = [
    "2025-03-30T00:59:59Z",
    "2025-03-30T01:00:00Z",
    "2025-10-26T00:15:00Z",
    "2025-10-26T00:45:00Z",
    "2025-10-26T01:15:00.250Z",
    "2025-10-26T01:45:00.123456Z",
    "2025-10-26T02:10:00Z",
];

/// A folder with a history of commits of these times.
fn dated(times: &[&str]) -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 20);
    let store = open_store(lab.path("repo").to_str().unwrap()).unwrap();
    let secret = Secret::read_key_file(&lab.path("key")).unwrap();
    for time in times {
        let time = Timestamp(DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros());
        lab.sql("app.db", "INSERT INTO t(x) VALUES('another')");
        let opening = RepositoryOptions::new(lab.path("state")).clock(Clock::new(move || time));
        let repository = Repository::open(store.clone(), &secret, &opening).unwrap();
        repository.backup(&lab.path("app.db"), &BackupOptions::default(), &Silent).unwrap();
    }
    lab
}

fn there(lab: &Lab, zone: &str, args: &[&str]) -> Ended {
    Ended::of(lab.command(args).env("TZ", zone))
}

/// The commit that a text chooses in a zone, with all that is said.
fn shown(lab: &Lab, zone: &str, when: &str) -> (u64, Ended) {
    let ended = there(lab, zone, &["show", &format!("app@{when}"), "--json"]);
    assert!(matches!(ended.code, Some(0 | 3)), "{when}: {ended:?}");
    let commit = ended.objects().into_iter().find(|o| o["type"] == "commit").unwrap();
    (commit["seq"].as_u64().unwrap(), ended)
}

#[test]
fn after_clocks_were_set_back_the_later_hour_is_meant_and_that_is_said() {
    let lab = dated(&CHANGES);
    for (when, seq, note) in [
        ("2025-10-26 02:00", 4, "came twice"),
        ("2025-10-26 02:20", 5, "came twice"),
        ("2025-10-26 02:50", 6, "came twice"),
        // Not ambiguous: the end of the hour is no part of it.
        ("2025-10-26 03:00", 6, ""),
        ("2025-10-26 03:10", 7, ""),
        ("2025-10-26 02:20+02:00", 3, ""),
        ("2025-10-26 02:20 +01:00", 5, ""),
        ("2025-10-26T00:45:00Z", 4, ""),
        ("2025-10-26", 7, ""),
        ("2025-10-25", 2, ""),
        ("2025-03-30 01:59:59", 1, ""),
        ("2025-03-30 02:00", 1, "never was"),
        ("2025-03-30 02:30", 1, "never was"),
        ("2025-03-30 03:00", 2, ""),
    ] {
        let (chosen, ended) = shown(&lab, ZURICH, when);
        assert_eq!((chosen, ended.code), (seq, Some(0)), "{when}: {ended:?}");
        let notes: Vec<Value> =
            ended.objects().into_iter().filter(|o| o["type"] == "note").collect();
        assert_eq!(notes.len(), usize::from(!note.is_empty()), "{when}: {ended:?}");
        assert!(ended.stderr.contains(note), "{when}: {ended:?}");
    }
    // The same texts where clocks were not changed.
    assert_eq!(shown(&lab, "UTC0", "2025-10-26 01:20").0, 5);
    assert_eq!(shown(&lab, NEW_YORK, "2025-10-25 20:20").0, 3);

    let dry = there(&lab, ZURICH, &["restore", "app@2025-10-26 02:20", "out.db", "-n"]);
    dry.says(&["at or before 2025-10-26 02:20:00+01:00", "captured 2025-10-26 02:15:00.250+01:00"]);
    dry.says(&["before it: seq:4, 2025-10-26 02:45:00+02:00"]);
    assert!(dry.stderr.contains("\"2025-10-26 02:20:00+02:00\""), "the other hour: {dry:?}");
    let dry = there(&lab, ZURICH, &["rewind", "app.db", "--to", "2025-03-30 02:30", "-n"]);
    dry.says(&["rewind to app@seq:1,", "at or before 2025-03-30 01:59:59.999999+01:00"]);
    assert!(dry.stderr.contains("never was"), "{dry:?}");
}

#[test]
fn every_time_that_a_table_shows_selects_its_commit() {
    let lab = dated(&CHANGES);
    for zone in [ZURICH, NEW_YORK, "UTC0", "XXX-5:45", "YYY12"] {
        let table = there(&lab, zone, &["log", "app"]).stdout;
        let mut seen = 0;
        // Of the zone, unless each time has its own.
        let (_, heading) = table.lines().next().unwrap().split_once("TIME").unwrap();
        let east = heading.trim_start().strip_prefix('(').and_then(|rest| rest.split(')').next());
        assert_eq!(east.is_none(), [ZURICH].contains(&zone), "{table}");
        for line in table.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let time = format!("{} {}", words[1], words[2]);
            let full = format!("{time}{}", east.unwrap_or_default());
            for (elsewhere, time) in
                [(zone, &time), (zone, &full), ("UTC0", &full), (ZURICH, &full)]
            {
                let (seq, ended) = shown(&lab, elsewhere, time);
                assert_eq!(format!("seq:{seq}"), words[0], "{time}: {ended:?}");
                assert_eq!(ended.stderr, "", "{time}");
            }
            seen += 1;
        }
        assert_eq!(seen, CHANGES.len(), "{table}");
    }
    // Tables, hints and errors are in one zone, and say which.
    let table = there(&lab, NEW_YORK, &["log", "app"]);
    table.says(&["TIME (-04:00)", "2025-03-29 20:59:59  ", "2025-10-25 22:10:00  "]);
    let first = "2025-03-29 20:59:59-04:00";
    let hint = there(&lab, NEW_YORK, &["show", "app@seq:99"]);
    hint.failed(16, &[first, "2025-10-25 22:10:00-04:00"]);
    there(&lab, NEW_YORK, &["show", "app@2001-01-01"])
        .failed(16, &["2001-01-01 23:59:59.999999-05:00"]);
}

#[test]
fn a_day_is_listed_from_its_beginning_to_its_end() {
    let lab = dated(&CHANGES);
    let listed = |options: &[&str]| {
        let args = [&["log", "app", "--json"], options].concat();
        let of = |o: Value| o["seq"].as_u64().unwrap();
        there(&lab, ZURICH, &args).objects().into_iter().map(of).collect::<Vec<u64>>()
    };
    assert_eq!(listed(&["--since", "2025-10-26"]), [3, 4, 5, 6, 7]);
    assert_eq!(listed(&["--until", "2025-03-30"]), [1, 2]);
    assert_eq!(listed(&["--since", "2025-10-26 02:30", "--until", "2025-10-26 02:30"]), [4, 5]);
    assert_eq!(listed(&["--since", "2025-03-30 02:30", "--until", "2025-03-30 02:30"]), [0; 0]);
}

#[test]
fn a_time_in_the_future_names_no_commit() {
    let lab = dated(&CHANGES);
    let newest = ["is in the future", "latest names the newest commit, seq:7 of 2025-10-26"];
    lab.fails(&["restore", "app@2999-01-01", "out.db"], 2, &newest);
    lab.fails(&["show", "app@2999-01-01T00:00:00Z"], 2, &newest);
    lab.fails(&["rewind", "app.db", "--to", "2999-01-01 12:00"], 2, &newest);
    lab.ok(&["show", "app@today"]);
    lab.ok(&["show", "app@now"]);
    // Where clocks were ahead there are commits of then, and each is chosen by its time.
    let ahead = dated(&["2999-01-01T00:00:00Z", "2999-01-01T00:00:02Z"]);
    assert_eq!(shown(&ahead, "UTC0", "2999-01-01 00:00:01").0, 1);
    assert_eq!(shown(&ahead, "UTC0", "2999-01-01 00:00:02").0, 2);
    ahead.fails(&["show", "app@2999-01-01T00:00:03Z"], 2, &["is in the future"]);
}

#[test]
fn what_people_type_at_night_is_told_how_it_is_written() {
    let lab = Lab::with_history();
    for (typed, told) in [
        ("18:20", "\"today 18:20\" or \"yesterday 18:20\""),
        ("2h", "\"2h ago\""),
        ("17", "seq:17"),
        ("monday", "a day of the week"),
        ("noon", "\"today 12:00\""),
        ("latest-1", "latest~1"),
        ("#3", "seq:3"),
        ("25:99", "from 00 to 23"),
        ("25.11.2026", "2026-11-25"),
        ("no such", "\"today 18:20\""),
    ] {
        let label = format!("has no label {typed:?}");
        let forms = ["latest~2", "seq:17", "label:TEXT", "\"2h ago\"", "end of that day"];
        let all = [&[&*label, told], &forms[..]].concat();
        lab.fails(&["show", &format!("app@{typed}")], 16, &all);
    }
    for command in ["help", "restore", "show", "rewind", "label", "verify"] {
        let args = if command == "help" { vec!["help"] } else { vec![command, "--help"] };
        lab.ok(&args).says(&["WHEN names a commit", "label:", "today 18:20:30", "of that day"]);
    }
    lab.fails(&["log", "app", "--since", "2h"], 2, &["is not a time", "\"2h ago\""]);
}

#[test]
fn a_label_that_means_something_else_is_refused_before_anything_is_stored() {
    let lab = Lab::with_history();
    lab.sql("app.db", "DELETE FROM t WHERE id = 1");
    for label in ["latest", "Latest~1", "seq:1", "today", "2h ago", "2026-05-01", "label:x", "now"]
    {
        let told = [label, "can't be a label"];
        lab.fails(&["label", "app@seq:1", label], 2, &told);
        lab.fails(&["backup", "app.db", "--label", label], 2, &told);
        lab.fails(&["rewind", "app.db", "--to", "seq:1", "--label", label], 2, &told);
    }
    for label in ["", " \u{3000} ", "\u{200b}"] {
        lab.fails(&["backup", "app.db", "--label", label], 2, &["a label has 1 to 255 bytes"]);
    }
    assert_eq!(lab.seqs(), [1, 2], "nothing was captured");
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM t WHERE id = 1"), 0);
    lab.ok(&["label", "app@seq:1", "17"]);
    assert_eq!(lab.json(&["show", "app@17"])[0]["seq"], 1);
}

#[test]
fn a_label_is_found_whatever_space_is_around_it() {
    let lab = Lab::with_history();
    let given = lab.ok(&["label", "app@seq:1", "\u{3000}wide\u{a0}"]);
    given.says(&["labelled \"wide\""]);
    for typed in ["wide", " wide", "\u{2003}wide\u{3000}", "label: wide", "\u{feff}wide"] {
        assert_eq!(lab.json(&["show", &format!("app@{typed}")])[0]["seq"], 1, "{typed:?}");
    }
    assert_eq!(lab.json(&["log", "app", "--label", " wide "]).len(), 1);
    lab.ok(&["label", "app", " wide ", "--remove"]);
    lab.ok(&["undelete", "app", "wide\u{a0}"]);
    lab.ok(&["show", "app@wide"]);
}

#[test]
fn json_has_all_labels_wherever_a_commit_is_shown() {
    let lab = Lab::with_history();
    lab.ok(&["label", "app@seq:2", "another"]);
    let both = serde_json::json!(["the second", "another"]);
    for args in [&["log", "app", "-n", "1"][..], &["show", "app"], &["snapshots", "app"]] {
        assert_eq!(lab.json(args)[0]["labels"], both, "{args:?}");
    }
    let restored = lab.summary(&["restore", "app", "out.db"]);
    assert_eq!(restored["commit"]["labels"], both);
    let backup = lab.summary(&["backup", "app.db", "--label", "a third"]);
    assert_eq!(backup["label"], "a third");
}

#[test]
fn a_clock_that_was_wrong_for_a_second_chooses_no_new_commit_for_an_old_one() {
    let lab = dated(&[
        "2025-05-01T12:00:00Z",
        "2025-05-02T12:00:00Z",
        "2025-05-05T12:00:00Z",
        "2025-05-01T18:00:00Z", // Captured after the one before, whatever its clock said.
        "2025-05-05T12:00:02Z",
    ]);
    let (seq, ended) = shown(&lab, "UTC0", "2025-05-03");
    assert_eq!((seq, ended.code), (2, Some(3)), "{ended:?}");
    ended.failed(3, &["seq:4 is dated 2025-05-01 18:00:00+00:00", "a clock was wrong"]);
    let (seq, ended) = shown(&lab, "UTC0", "2025-05-05 12:00:01");
    assert_eq!((seq, ended.code), (3, Some(3)), "{ended:?}");
    // Far from it nothing is doubtful.
    assert_eq!(shown(&lab, "UTC0", "2025-05-01 13:00").1.code, Some(0));
    // It is said as soon as it happens.
    let ahead = dated(&["2999-01-01T00:00:00Z"]);
    ahead.sql("app.db", "DELETE FROM t");
    let told = ["this machine's clock shows 20", "before seq:1 of 2999-01-01 00:00:00"];
    ahead.run(&["backup", "app.db"]).failed(3, &told);
    ahead.ok(&["backup", "app.db"]);
    let log = lab.run(&["log", "app"]);
    log.failed(0, &["seq:4 is dated earlier than the commit before it", "a clock was wrong"]);
}

#[test]
fn a_commit_that_expired_is_said_to_have_expired_with_its_neighbours() {
    let lab = dated(&CHANGES);
    lab.ok(&["label", "app@seq:2", "kept"]);
    lab.ok(&["prune", "app", "--keep-last", "1"]);
    let told =
        ["commit seq:4: it expired", "before it is seq:2 of 2025-03-30", "after it seq:7 of"];
    lab.fails(&["show", "app@seq:4"], 16, &told);
    lab.fails(&["restore", "app@seq:1", "out.db"], 16, &["commit seq:1: it expired", "seq:2"]);
    let unused = lab.run(&["show", "app@seq:8"]);
    unused.failed(16, &["has no commit seq:8"]);
    assert!(!unused.stderr.contains("expired"), "{unused:?}");
}

#[test]
fn a_heading_means_one_thing_in_all_tables() {
    let lab = Lab::with_history();
    lab.ok(&["rewind", "app.db", "--to", "seq:1"]);
    lab.ok(&["label", "app@seq:1", "the first"]);
    let log = lab.ok(&["log", "app"]).stdout;
    let snapshots = lab.ok(&["snapshots", "app"]).stdout;
    assert!(log.contains("CAPTURED BY") && log.contains("scan"), "{log}");
    assert!(snapshots.contains("WHY") && !snapshots.contains("manual"), "{snapshots}");
    for why in ["  label  ", "  label, safety  ", "  newest"] {
        assert!(snapshots.contains(why), "{snapshots}");
    }
    assert!(!log.contains("KIND") && !snapshots.contains("KIND"));
}

/// Damages the record of a label that was given to a commit.
fn damage_label(lab: &Lab, seq: u64) {
    let name = format!("/snapshots/{seq:016x}-");
    let found =
        walk(&lab.path("repo")).into_iter().find(|p| p.display().to_string().contains(&name));
    cli::flip(&found.unwrap(), 60);
}

#[test]
fn a_label_is_found_beside_one_that_is_damaged() {
    let lab = Lab::with_history();
    lab.ok(&["label", "app@seq:1", "damaged"]);
    lab.sql("app.db", "DELETE FROM t WHERE id = 1");
    lab.ok(&["backup", "app.db", "--label", "gone"]);
    lab.ok(&["label", "app", "gone", "--remove"]);
    damage_label(&lab, 1);
    let warned = |args: &[&str], says: &str| {
        let ended = lab.run(args);
        ended.failed(3, &["snapshots/0000000000000001-", "of commit 1", "pagekeep repair app"]);
        assert_eq!(ended.stderr.matches("warning").count(), 1, "{ended:?}");
        ended.says(&[says]);
    };
    warned(&["restore", "app@the second", "out.db"], "restored app@seq:2");
    warned(&["show", "app@the second"], "app@seq:2");
    warned(&["show", "app@seq:2"], "the second");
    warned(&["label", "app@the second", "again"], "now labelled \"again\"");
    warned(&["rewind", "app.db", "--to", "the second", "-n"], "would rewind to app@seq:2");
    warned(&["label", "app@the second", "again", "--remove"], "took \"again\" back");
    warned(&["undelete", "app"], "gone");
    warned(&["undelete", "app", "gone"], "has its label \"gone\" back");
    warned(&["label", "app", "gone", "--remove"], "took \"gone\" back");
    // Only what is not among those that can be read may be the one that can't.
    for args in [
        &["restore", "app@damaged", "no.db"][..],
        &["label", "app", "damaged", "--remove"],
        &["undelete", "app", "damaged"],
    ] {
        let told = ["snapshots/0000000000000001-", "\"damaged\" is not among", "repair app"];
        lab.run(args).failed(4, &told);
    }
    assert!(!lab.path("no.db").exists());
}
