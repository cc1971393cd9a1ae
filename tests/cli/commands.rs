//! Every command through the real binary, as people and as programs use it.

use std::collections::BTreeSet;
use std::fs;

use crate::support::cli::{Ended, Lab, last, mode, walk};
use serde_json::Value;

/// Commands whose help needs no example.
const PLAIN: [&str; 7] = ["snapshots", "key", "config", "notify", "demo", "man", "files"];

/// Every command that the help lists below this one, and those below them: `key`, `key rotate`.
fn commands(lab: &Lab, of: &str) -> Vec<String> {
    let words: Vec<&str> = of.split_whitespace().chain(["--help"]).collect();
    let help = lab.ok(&words).stdout;
    let listed = help.split_once("Commands:\n").map_or("", |(_, listed)| listed);
    let entries = listed.lines().take_while(|line| line.starts_with("  "));
    let names = entries.filter_map(|line| line[2..].split(' ').next().filter(|n| !n.is_empty()));
    let mut found = Vec::new();
    for name in names.filter(|name| *name != "help") {
        let command = format!("{of} {name}").trim_start().to_owned();
        let below = commands(lab, &command);
        found.push(command);
        found.extend(below);
    }
    found
}

fn fields(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn init_makes_a_private_repository_and_tells_the_recovery_key_once() {
    let lab = Lab::empty();
    let ended = lab.ok(&["init", "-r", "deep/repo", "--key-file", "my.key"]);
    assert!(ended.stdout.contains("created repository") && ended.stdout.contains("Recovery key"));
    let objects = lab.json(&["init"]);
    let recovery = last(&objects)["recovery_key"].as_str().unwrap();
    assert_eq!((objects.len(), recovery.len()), (2, 63));
    assert_eq!(
        (&objects[0]["type"], &objects[0]["recovery_key"]),
        (&"recovery-key".into(), &recovery.into())
    );
    assert!(!lab.ok(&["init", "-r", "bare", "--no-recovery-key"]).stdout.contains("Recovery"));

    lab.secret("recovery", recovery.to_lowercase().replace('-', " "));
    lab.ok(&["status", "--recovery-key-file", "recovery"]);
    lab.make("app.db", 10);
    lab.ok(&["backup", "app.db"]);
    for path in ["key", "my.key"] {
        assert_eq!(mode(&lab.path(path)), 0o600, "{path}");
    }
    for root in ["repo", "deep", "bare", "state"].map(|name| lab.path(name)) {
        for path in walk(&root).into_iter().chain([root]) {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}

#[test]
fn backups_tell_what_they_stored_and_quiet_ones_nothing() {
    let lab = Lab::new();
    lab.make("app.db", 200);
    let first = lab.ok(&["backup", "app.db"]).stdout;
    assert!(first.starts_with("app@seq:1 ") && first.contains("stored"), "{first}");
    let same = lab.ok(&["backup", "app.db"]).stdout;
    assert!(same.starts_with("app@seq:1 ") && same.contains("nothing stored"), "{same}");
    let summary = lab.summary(&["backup", "app.db", "--label", "kept"]);
    assert_eq!((&summary["changed"], &summary["label"]), (&false.into(), &"kept".into()));
    lab.sql("app.db", "DELETE FROM t WHERE id > 100");
    let summary = lab.summary(&["backup", "app.db"]);
    assert_eq!((&summary["seq"], &summary["changed"]), (&2.into(), &true.into()));
    assert_eq!(summary["commit"]["history"], "app");
    lab.sql("app.db", "DELETE FROM t WHERE id > 50");
    assert_eq!(lab.ok(&["backup", "app.db", "-q", "--label", "quiet"]).stdout, "");
    lab.sql("app.db", "DELETE FROM t WHERE id > 40");
    let verbose = lab.run(&["backup", "app.db", "-v"]);
    assert!(verbose.stderr.contains("capture: ") && verbose.code == Some(0), "{verbose:?}");
    // Every option that says how.
    for (n, options) in [
        &["--compression", "max", "--self-check"][..],
        &["--compression", "off", "--reader", "backup"],
        &["--compression", "default", "--reader", "raw", "--threads", "1"],
    ]
    .iter()
    .enumerate()
    {
        let name = format!("other{n}");
        lab.ok(&[&["backup", "app.db", "--name", &name], *options].concat());
        lab.ok(&["restore", &name, &format!("{name}.db"), "--check", "full"]);
        assert_eq!(lab.number(&format!("{name}.db"), "SELECT count(*) FROM t"), 40);
    }
}

#[test]
fn the_log_has_exactly_the_fields_that_are_promised() {
    let lab = Lab::with_history();
    let objects = lab.json(&["log", "app"]);
    let promised = [
        "type",
        "history",
        "seq",
        "time",
        "pages",
        "changed_pages",
        "stored_bytes",
        "digest",
        "label",
        "labels",
        "marks",
        "kind",
        "tables",
    ];
    assert_eq!(objects.len(), 2);
    for object in &objects {
        assert_eq!(fields(object), BTreeSet::from(promised));
        assert_eq!(object["type"], "commit");
    }
    assert_eq!((&objects[0]["seq"], &objects[0]["label"]), (&1.into(), &Value::Null));
    assert_eq!((&objects[1]["seq"], &objects[1]["label"]), (&2.into(), &"the second".into()));

    let table = lab.ok(&["log", "app"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("COMMIT "), "{table}");
    assert!(lines[2].starts_with("seq:2 ") && lines[2].ends_with("the second"), "{table}");
    for (options, expected) in [
        (&["-n", "1"][..], 1),
        (&["--last", "5"], 2),
        (&["--label", "the second"], 1),
        (&["--since", "1h ago"], 2),
        (&["--until", "1h ago"], 0),
        (&["--since", "2001-02-03", "--until", "now"], 2),
    ] {
        assert_eq!(lab.json(&[&["log", "app"], options].concat()).len(), expected, "{options:?}");
    }
}

#[test]
fn snapshots_labels_and_show_tell_what_there_is() {
    let lab = Lab::with_history();
    let ended = lab.ok(&["label", "app@seq:1", "the first"]);
    assert!(ended.stdout.contains("app@seq:1 of "), "{ended:?}");
    let table = lab.ok(&["snapshots"]).stdout;
    assert!(table.contains("the first") && table.contains("the second"), "{table}");
    assert_eq!(lab.json(&["snapshots", "app"]).len(), 2);
    assert_eq!(lab.json(&["snapshots", "--label", "the first"]).len(), 1);

    let shown = lab.ok(&["show", "app@the first"]);
    shown.says(&["app@seq:1", "digest ", "the first", "after it: seq:2", "none yet"]);
    let shown = lab.json(&["show", "app"]);
    assert_eq!((shown.len(), &shown[0]["seq"]), (1, &2.into()));
    assert!(shown[0]["proofs"].as_array().unwrap().is_empty());

    let removed = lab.summary(&["label", "app@latest", "the second", "--remove"]);
    assert_eq!(removed["removed_from"][0], 2);
    let removed = lab.summary(&["label", "app", "the first", "--remove"]);
    assert_eq!(removed["removed_from"][0], 1);
    assert_eq!(lab.json(&["snapshots"]).len(), 1, "the newest commit is always there");
}

#[test]
fn restore_brings_back_what_was_chosen() {
    let lab = Lab::with_history();
    let dry = lab.ok(&["restore", "app", "out.db", "--dry-run"]).stdout;
    assert!(dry.contains("would restore app@seq:2") && !lab.path("out.db").exists(), "{dry}");
    for (target, changed) in [("app", 1), ("app@latest~1", 0), ("app@the second", 1)] {
        let told = lab.ok(&["restore", target, "out.db", "--force"]).stdout;
        assert!(told.contains("every digest compared, quick_check passed"), "{told}");
        let sql = "SELECT count(*) FROM t WHERE x = 'changed'";
        assert_eq!(lab.number("out.db", sql), changed, "{target}");
        fs::remove_file(lab.path("out.db")).unwrap();
    }
    let summary = lab.summary(&["restore", "app@seq:1", "out.db", "--check", "full"]);
    assert_eq!((&summary["commit"]["seq"], &summary["check"]), (&1.into(), &"full".into()));
    assert_eq!((&summary["before"], &summary["after"]["seq"]), (&Value::Null, &2.into()));
    assert_eq!(
        fs::metadata(lab.path("out.db")).unwrap().len(),
        summary["database_bytes"].as_u64().unwrap()
    );
    assert_eq!(mode(&lab.path("out.db")), 0o600);
    lab.tidy();
}

#[test]
fn verify_proves_at_every_level_and_status_remembers() {
    let lab = Lab::with_history();
    let status = lab.ok(&["status"]).stdout;
    assert!(status.contains("data proof") && status.contains("never"), "{status}");
    for (level, part) in
        [("chain", "2 commits in 2 segments"), ("data", "batches opened"), ("restore", "(seq:2)")]
    {
        let told = lab.ok(&["verify", "app", "--level", level]).stdout;
        assert!(told.contains(&format!("{level} passed")) && told.contains(part), "{told}");
        let objects = lab.json(&["verify", "--level", level]);
        assert_eq!(objects.iter().filter(|o| o["type"] == "verified").count(), 1);
        assert_eq!(last(&objects)["passed"], true);
    }
    let objects = lab.json(&[
        "verify",
        "app@seq:1",
        "--level",
        "restore",
        "--scratch",
        ".",
        "--assert",
        "SELECT count(*) = 200 FROM t",
        "--assert",
        "SELECT 'x' IS NOT NULL",
    ]);
    assert_eq!(objects.iter().find(|o| o["type"] == "verified").unwrap()["restored"][0], 1);
    lab.json(&["verify", "--level", "data", "--sample", "50%", "--max-time", "1m"]);
    let status = lab.json(&["status", "app"]);
    let proofs = status[0]["proofs"].as_array().unwrap();
    assert_eq!(proofs.len(), 3);
    assert!(proofs.iter().all(|p| p["passed"] == true), "{proofs:?}");
    assert!(lab.ok(&["show", "app@seq:1"]).stdout.contains("restore passed"));
    lab.tidy();
}

#[test]
fn keys_are_added_listed_replaced_and_removed() {
    let lab = Lab::with_history();
    lab.secret("words", "correct horse\nsecond line\n");
    lab.ok(&["key", "add", "--new-password-file", "words", "--label", "spare"]);
    let keys = lab.json(&["key", "list"]);
    let kinds: BTreeSet<_> = keys.iter().map(|k| k["kind"].as_str().unwrap()).collect();
    assert_eq!((keys.len(), kinds.len()), (3, 3), "{keys:?}");
    let listed = lab.ok(&["key", "list"]).stdout;
    assert!(listed.contains("spare") && listed.contains("in use"), "{listed}");
    lab.ok(&["status", "--password-file", "words"]);
    lab.ok(&["status", "--password-command", "echo correct horse"]);
    let mut with_words = lab.command(&["status"]);
    with_words.env_remove("PAGEKEEP_KEY_FILE").env("PAGEKEEP_PASSWORD", "correct horse");
    assert_eq!(Ended::of(&mut with_words).code, Some(0));

    lab.ok(&["key", "passwd", "--new-key-file", "new.key"]);
    assert_eq!(mode(&lab.path("new.key")), 0o600);
    lab.fails(&["status"], 12, &["no key"]);
    let new = ["--key-file", "new.key"];
    let recovery = lab.summary(&[&["key", "recovery", "--replace"], &new[..]].concat());
    assert_eq!(recovery["removed"].as_array().unwrap().len(), 1);
    let spare = lab.json(&[&["key", "list"], &new[..]].concat());
    let spare = spare.iter().find(|k| k["label"] == "spare").unwrap()["id"].as_str().unwrap();
    lab.ok(&[&["key", "remove", &spare[..8]], &new[..]].concat());
    lab.fails(&["status", "--password-file", "words"], 12, &["no key"]);
    lab.ok(&["status", "--key-file", "new.key"]);
}

#[test]
fn keys_are_rotated() {
    let lab = Lab::new();
    lab.make("app.db", 50);
    let recovery = lab.summary(&["key", "recovery", "--replace"]);
    lab.secret("paper", recovery["recovery_key"].as_str().unwrap());
    lab.secret("words", "correct horse\n");
    lab.ok(&["key", "add", "--new-password-file", "words", "--label", "spare"]);
    lab.ok(&["backup", "app.db"]);
    let ids = |lab: &Lab| -> BTreeSet<String> {
        let keys = lab.json(&["key", "list"]);
        keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = ids(&lab);

    let with = ["--with-password-file", "words", "--with-recovery-key-file", "paper"];
    let summary = lab.summary(&[&["key", "rotate"], &with[..]].concat());
    let members = ["added", "key", "recovery_key", "removed", "replaced", "type"];
    assert_eq!(fields(&summary), BTreeSet::from(members));
    let listed = |field: &str| -> BTreeSet<String> {
        let ids = summary[field].as_array().unwrap().iter();
        ids.map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((listed("replaced"), listed("added")), (before, ids(&lab)));
    assert!(listed("removed").is_empty() && summary["recovery_key"].is_null());
    assert!(lab.ok(&["key", "list"]).stdout.contains("spare"));
    lab.sql("app.db", "DELETE FROM t WHERE id > 9");
    lab.ok(&["backup", "app.db"]);
    let segment = fs::read(lab.segment_of(2)).unwrap();
    let id: String = segment[16..24].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(summary["key"], id.as_str());
    for key in
        [["--key-file", "key"], ["--password-file", "words"], ["--recovery-key-file", "paper"]]
    {
        lab.ok(&[&["verify", "app", "--level", "data"], &key[..]].concat());
    }

    // A new recovery key is shown once, also to who wants no summary.
    let rotate = ["key", "rotate", "--with-password-file", "words", "--new-recovery-key"];
    let told = lab.ok(&[&rotate[..], &["--quiet"]].concat()).stdout;
    assert!(told.contains("Recovery key") && !told.contains("master key"), "{told}");
    lab.fails(&["status", "--recovery-key-file", "paper"], 12, &["no key"]);
    let objects = lab.json(&rotate);
    let shown = &objects[0];
    assert_eq!(shown["type"], "recovery-key");
    assert_eq!(shown["recovery_key"], last(&objects)["recovery_key"]);
    lab.secret("paper", shown["recovery_key"].as_str().unwrap());
    lab.ok(&["restore", "app", "out.db", "--recovery-key-file", "paper"]);

    let told = lab.ok(&["key", "rotate", "--remove-others", "--recovery-key-file", "paper"]).stdout;
    assert!(told.contains("new master key") && told.contains("removed: 2"), "{told}");
    assert!(told.contains("stays under the old keys") && told.contains("watch"), "{told}");
    lab.fails(&["status"], 12, &["no key"]);
    lab.fails(&["status", "--password-file", "words"], 12, &["no key"]);
    lab.ok(&["restore", "app@seq:1", "old.db", "--recovery-key-file", "paper"]);
    let help = lab.ok(&["key", "rotate", "--help"]).stdout;
    assert!(help.contains("\n  pagekeep key rotate --with-recovery-key-file"), "{help}");
}

/// An interrupted rotation leaves several slots for one key: when that is replaced, none of them goes on opening.
#[test]
fn a_replaced_key_is_out_though_a_rotation_was_interrupted() {
    let lab = Lab::new();
    let keys = lab.path("repo/keys");
    let old: Vec<_> = walk(&keys).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
    lab.ok(&["key", "rotate", "--new-recovery-key"]);
    for (bytes, path) in old {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(lab.json(&["key", "list"]).len(), 4);
    lab.ok(&["key", "passwd", "--new-key-file", "new.key"]);
    lab.fails(&["status"], 12, &["no key"]);
    lab.ok(&["status", "--key-file", "new.key"]);
    assert_eq!(lab.json(&["key", "list", "--key-file", "new.key"]).len(), 3);
}

#[test]
fn global_options_go_before_and_after_the_command() {
    let lab = Lab::with_history();
    let options = ["--repo", "repo", "--key-file", "key", "--state-dir", "state", "--json"];
    let run = |args: &[&str]| {
        let mut command = lab.command(args);
        command.env_remove("PAGEKEEP_REPO").env_remove("PAGEKEEP_KEY_FILE");
        let ended = Ended::of(command.env_remove("PAGEKEEP_STATE_DIR"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    let before = run(&[&options, &["log", "app"][..]].concat());
    let after = run(&[&["log", "app"], &options[..]].concat());
    assert_eq!(before, after);
    assert_eq!(before.lines().count(), 2);
}

#[test]
fn help_completions_and_the_manual_are_there() {
    let lab = Lab::empty();
    let help = lab.ok(&["--help"]).stdout;
    assert!(help.contains("Exit codes:") && help.contains("pagekeep demo"), "{help}");
    assert!(!help.contains("demo-writer"));
    let commands = commands(&lab, "");
    assert!(["backup", "key rotate"].iter().all(|c| commands.iter().any(|found| found == c)));
    for command in &commands {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let own = lab.ok(&words).stdout;
        assert!(own.contains(&format!("Usage: pagekeep {command}")), "{own}");
        let example = format!("\n  pagekeep {command} ");
        let has_example = own.contains("\nExample") && own.contains(&example);
        // Of a command below a group the line of usage says enough.
        assert!(has_example || command.contains(' ') || PLAIN.contains(&&**command), "{own}");
    }
    assert!(lab.ok(&["--version"]).stdout.starts_with("pagekeep "));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.ok(&["completions", shell]).stdout;
        assert!(script.contains("PAGEKEEP_COMPLETE") && script.contains("pagekeep"), "{shell}");
    }
    let page = lab.ok(&["man"]).stdout;
    let parts = [".TH pagekeep", ".SH ENVIRONMENT", "PAGEKEEP_STATE_DIR", ".SH \"EXIT STATUS\""];
    assert!(parts.iter().all(|part| page.contains(part)), "{page}");
    lab.ok(&["man", "--dir", "pages"]);
    let pages: BTreeSet<_> = walk(&lab.path("pages")).into_iter().collect();
    let page = |name: &str| lab.path("pages").join(format!("{name}.1"));
    let of_command = |c: &String| page(&format!("pagekeep-{}", c.replace(' ', "-")));
    let wanted = commands.iter().map(of_command).chain([page("pagekeep")]);
    assert_eq!(pages, wanted.collect(), "a page for each command, and no others");
    for page in pages {
        let text = fs::read_to_string(page).unwrap();
        assert!(text.len() > 100 && !text.contains("SH EXTRA"), "{text}");
    }
}

#[test]
fn secrets_are_printed_nowhere_and_stored_nowhere() {
    const PASSPHRASE: &str = "plover egg magic word xyzzy";
    let lab = Lab::empty();
    lab.make("app.db", 50);
    lab.sql("app.db", "CREATE TABLE treasure(x); INSERT INTO treasure VALUES('troll bridge')");
    let mut said = String::new();
    let mut run = |args: &[&str], passphrase: &str| {
        let mut command = lab.command(args);
        command.env_remove("PAGEKEEP_KEY_FILE").env("PAGEKEEP_PASSWORD", passphrase);
        let ended = Ended::of(&mut command);
        said += &ended.stdout;
        said += &ended.stderr;
        ended.code
    };
    for args in [
        &["init", "--no-recovery-key", "-v"][..],
        &["backup", "app.db", "-v"],
        &["key", "add", "--new-key-file", "key", "-v"],
        &["key", "list", "--json"],
        &["status", "-v"],
    ] {
        assert_eq!(run(args, PASSPHRASE), Some(0), "{args:?}");
    }
    assert_eq!(run(&["status", "-v", "--json"], &PASSPHRASE.replace("egg", "nest")), Some(12));
    assert_eq!(run(&["log", "nothing", "-v"], PASSPHRASE), Some(16));
    let key = fs::read_to_string(lab.path("key")).unwrap();
    let key = key.lines().find(|l| !l.starts_with('#')).unwrap();
    assert_eq!(key.len(), 64);
    for secret in [key, "plover", "xyzzy"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    for path in ["repo", "state"].iter().flat_map(|dir| walk(&lab.path(dir))) {
        if path.is_dir() {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for secret in [key, "plover", "xyzzy", "treasure", "troll"] {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
}

#[test]
fn stats_tell_what_a_history_costs() {
    let lab = Lab::new();
    assert!(lab.ok(&["stats"]).stdout.contains("no histories yet"));
    assert_eq!(lab.summary(&["stats"])["histories"], 0);
    lab.make("app.db", 200);
    lab.ok(&["backup", "app.db"]);
    let one = lab.ok(&["stats"]).stdout;
    assert!(one.contains("1 commit, of 2") && one.contains("none since the first commit"), "{one}");
    lab.sql("app.db", "UPDATE t SET x = 'changed' WHERE id = 7");
    lab.ok(&["backup", "app.db"]);

    let told = lab.ok(&["stats", "app"]);
    told.says(&["Growth by day", "under 1 day", "times smaller", "--keep-daily 7", "t ", "█"]);
    assert!(!lab.ok(&["stats", "--no-tables"]).stdout.contains("Tables and indexes"));
    let text = lab.ok(&["stats", "app", "--keep-last", "1", "--keep-hourly", "9"]).stdout;
    assert!(text.contains("hourly ") && text.contains("a prune would drop 1 commit"), "{text}");

    let objects = lab.json(&["stats", "app", "--by", "month", "--keep-last", "2"]);
    let of = |name: &str| -> Vec<&Value> {
        objects.iter().filter(|object| object["type"] == name).collect()
    };
    let changed: u64 =
        lab.json(&["log", "app"]).iter().map(|c| c["changed_pages"].as_u64().unwrap()).sum();
    let (periods, whole) = (of("period"), of("stats"));
    assert_eq!((periods.len(), whole.len(), of("age").len()), (1, 1, 6));
    assert_eq!((&periods[0]["versions"], &periods[0]["by"]), (&changed.into(), &"month".into()));
    assert_eq!((&whole[0]["versions"], &whole[0]["history"]), (&changed.into(), &"app".into()));
    assert_eq!((&of("rule")[0]["rule"], &of("policy")[0]["kept"]), (&"last".into(), &2.into()));
    assert_eq!(of("table")[0]["name"], "t");
    assert_eq!(of("elsewhere")[0]["gone"], 0);
    assert_eq!(last(&objects)["stored_bytes"], whole[0]["stored_bytes"]);

    lab.fails(&["stats", "none"], 16, &["none"]);
    lab.fails(&["stats", "app", "--keep-floor", "3"], 17, &["policy"]);
    lab.fails(&["stats", "app", "--scratch", "nowhere"], 2, &["nowhere"]);
    lab.misused(&["stats", "--scratch", ".", "--no-tables"], &["--no-tables"]);
    lab.tidy();
}
