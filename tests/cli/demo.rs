//! `demo`: it runs to its end, what it printed can be repeated, and nothing of it goes on when it ends, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{self, Ended, Lab, mode};
use rusqlite::Connection;

#[test]
fn the_demo_tells_its_story_and_its_commands_work_again() {
    let lab = Lab::empty();
    let told = lab.ok(&["demo", "--dir", "demo"]).stdout;
    let dir = lab.path("demo").canonicalize().unwrap();
    assert_eq!(mode(&dir), 0o700);
    assert!(told.matches(dir.to_str().unwrap()).count() >= 2, "{told}");
    assert!(lab.number("demo/rescued.db", "SELECT count(*) FROM orders") > 1000);
    // What was deleted is back, and so is what was sold after that.
    let gaps = "SELECT max(id) - count(*) FROM orders";
    assert_eq!(lab.number("demo/shop.db", gaps), 0);
    assert!(lab.number("demo/shop.db", "SELECT count(*) FROM orders") > 3300);
    let outside: Vec<_> =
        fs::read_dir(lab.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside, ["demo"], "nothing outside the folder");

    let commands: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let (ours, around): (Vec<&str>, Vec<&str>) =
        commands.iter().partition(|c| c.starts_with("pagekeep "));
    let verbs: Vec<&str> = ours.iter().filter_map(|c| c.split(' ').nth(1)).collect();
    for verb in [
        "init", "backup", "log", "restore", "verify", "rewind", "watch", "find", "diff", "recover",
        "query",
    ] {
        assert!(verbs.contains(&verb), "{verb}: {commands:?}");
    }
    let around: Vec<&str> = around
        .into_iter()
        .filter(|c| ["cd ", "alias "].iter().any(|word| c.starts_with(word)))
        .collect();
    assert!(around.iter().any(|c| c.starts_with("cd ")), "{commands:?}");
    // A label that is given again names the newer commit, and after another rewind the newest
    // commit has the orders that `find` misses. What is begun beside the others goes on for ever.
    let again = |c: &&str| !c.contains("--label") && !c.contains(" rewind ") && !c.ends_with('&');
    for command in ours.into_iter().filter(again) {
        let again = by_hand(&format!("{}\n{command}", around.join("\n")));
        let expected = match command.split(' ').nth(1) {
            // They overwrite nothing.
            Some("init" | "restore") => 17,
            _ => 0,
        };
        assert_eq!(again.code, Some(expected), "{command}: {again:?}");
    }
}

/// As somebody would who copies the commands into a shell.
fn by_hand(script: &str) -> Ended {
    let bin = Path::new(cli::BIN).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::null()).env("PATH", format!("{bin}:{path}"));
    Ended::of(&mut shell)
}

#[test]
fn programs_get_a_line_for_each_step() {
    let lab = Lab::empty();
    let objects = lab.json(&["demo", "--dir", "demo", "--cleanup"]);
    let (summary, steps) = objects.split_last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert!(steps.len() >= 15, "{steps:?}");
    let number = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(number("orders_rescued"), number("orders_before"));
    assert_eq!((number("orders_lost"), number("orders_recovered")), (1000, 1000));
    assert!(number("orders_sold_since") >= 100, "{summary}");
    for step in steps {
        assert_eq!((&step["type"], &step["exit_code"]), (&"step".into(), &0.into()), "{step}");
        assert!(step["command"].is_string(), "{step}");
    }
    assert!(!lab.path("demo").exists());
    assert_eq!(lab.ok(&["demo", "--cleanup", "--quiet"]).stdout, "");
    lab.fails(&["demo", "--dir", "."], 17, &["does not exist"]);
    assert_eq!(fs::read_dir(lab.path("")).unwrap().count(), 0);
}

#[test]
fn settings_of_the_user_lead_the_demo_nowhere() {
    let lab = Lab::with_history();
    let mut command = lab.command(&["demo", "--dir", "demo"]);
    command.env("PAGEKEEP_PASSWORD", "not of the demo").env("NO_COLOR", "1");
    assert_eq!(Ended::of(&mut command).code, Some(0));
    assert_eq!(lab.json(&["snapshots"]).len(), 1, "only what was there");
}

#[test]
fn nothing_goes_on_when_the_demo_ends_early() {
    // To the demo alone, or to all its processes, as a terminal sends it.
    // The application runs at the first backup; beside `recover` a `watch` does, too.
    for (signal, group, step, code) in [
        ("-INT", "", " backup ", Some(130)),
        ("-INT", "-", " find ", Some(130)),
        ("-KILL", "", " backup ", None),
        ("-KILL", "", " find ", None),
    ] {
        let lab = Lab::empty();
        let mut demo = lab.command(&["demo", "--dir", "demo", "--json"]);
        let mut demo = demo.process_group(0).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let reached = lines.find(|line| line.as_ref().unwrap().contains(step));
        assert!(reached.is_some(), "it came to{step}");
        let whom = format!("{group}{}", demo.id());
        cli::signal(signal, &whom);
        assert_eq!(demo.wait().unwrap().code(), code, "{signal} {whom}");
        await_quiet(&lab.path("demo"), &demo);
    }
}

/// Waits until no process is at work in a folder.
fn await_quiet(dir: &Path, demo: &Child) {
    let dir = dir.canonicalize().unwrap();
    let began = Instant::now();
    loop {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let here =
            processes.filter(|p| fs::read_link(p.path().join("cwd")).is_ok_and(|d| d == dir));
        let here: Vec<_> = here.map(|p| p.file_name()).collect();
        if here.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{here:?} outlive {}", demo.id());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_application_keeps_its_rules_until_its_input_ends() {
    let lab = Lab::empty();
    lab.ok(&["demo", "--dir", "demo"]);
    // In the rescued database the application can go on.
    let database = lab.path("demo/rescued.db");
    let orders = || lab.number("demo/rescued.db", "SELECT count(*) FROM orders");
    let before = orders();
    let mut writer = lab.command(&["demo-writer", database.to_str().unwrap()]);
    let mut writer = writer.stdin(Stdio::piped()).spawn().unwrap();
    let db = Connection::open(&database).unwrap();
    let began = Instant::now();
    loop {
        let now: i64 = db.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
        if now >= before + 20 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it sells nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(writer.stdin.take());
    assert_eq!(writer.wait().unwrap().code(), Some(0));
}
