//! `watch`, `rewind` and `drift` through the real binary, as a user runs them.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{self, Lab};
use crate::support::heavy;
use crate::support::terminal::Terminal;
use rusqlite::Connection;
use serde_json::Value;

/// `pagekeep watch` at work.
pub struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    pub fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut child =
            lab.command(&[&["watch", "app.db", "--json"], args].concat()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        cli::wait_until_caught(&child, 15);
        Self { child, lines }
    }

    /// Reads objects up to the first that is wanted, and answers that one.
    pub fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended too early");
            let object: Value = serde_json::from_str(&line).unwrap();
            if wanted(&object) {
                return object;
            }
        }
    }

    pub fn commit(&mut self, seq: u64) -> Value {
        self.next(|o| o["type"] == "commit" && o["seq"] == seq)
    }

    /// Sends a signal, and answers the exit code and the last object.
    pub fn end(mut self, signal: &str) -> (Option<i32>, Value) {
        cli::signal(signal, &self.child.id().to_string());
        let mut last = Value::Null;
        for line in self.lines.by_ref().lines() {
            last = serde_json::from_str(&line.unwrap()).unwrap();
        }
        (self.child.wait().unwrap().code(), last)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn open(lab: &Lab) -> Connection {
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db
}

#[test]
fn watch_keeps_every_transaction_and_stops_cleanly_at_a_signal() {
    let lab = Lab::new();
    lab.make("app.db", 200);
    // Stays open: the last connection that closes takes the WAL with it, and with the WAL the proof.
    let db = open(&lab);
    let mut seq = 1;
    for signal in ["-INT", "-TERM"] {
        let mut watch = Watch::start(&lab, &["--interval", "0"]);
        if seq == 1 {
            let first = watch.commit(1);
            assert_eq!(
                (first["kind"].as_str(), first["history"].as_str()),
                (Some("scan"), Some("app"))
            );
        }
        for n in 0..5 {
            db.execute("UPDATE t SET x = ?1 WHERE id = 7", [n]).unwrap();
            seq += 1;
        }
        // The last ones are stored because it is told to stop, whether or not they were before.
        let (code, last) = watch.end(signal);
        assert_eq!((code, last["type"].as_str()), (Some(0), Some("summary")), "{last}");
        assert_eq!(last["scans"], 0);
        let log = lab.json(&["log", "app"]);
        assert_eq!(log.last().unwrap()["seq"], seq);
        assert!(log[1..].iter().all(|c| c["kind"] == "transaction"), "{signal}");
    }
    lab.ok(&["restore", "app@seq:4", "out.db"]);
    assert_eq!(lab.number("out.db", "SELECT CAST(x AS INT) FROM t WHERE id = 7"), 2);
    lab.ok(&["verify", "app", "--level", "data"]);
}

#[test]
fn a_killed_watch_is_gone_on_from() {
    let lab = Lab::new();
    lab.make("app.db", 200);
    let db = open(&lab);
    let mut watch = Watch::start(&lab, &["--interval", "0"]);
    watch.commit(1);
    db.execute("DELETE FROM t WHERE id = 1", []).unwrap();
    watch.commit(2);
    assert_eq!(watch.end("-KILL").0, None);
    db.execute("DELETE FROM t WHERE id = 2", []).unwrap();
    db.execute("DELETE FROM t WHERE id = 3", []).unwrap();
    let mut watch = Watch::start(&lab, &["--interval", "0"]);
    watch.commit(4);
    assert_eq!(watch.end("-INT").0, Some(0));
    let kinds: Vec<String> =
        lab.json(&["log", "app"]).iter().map(|c| c["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["scan", "transaction", "transaction", "transaction"]);
}

#[test]
fn watch_refuses_what_it_can_not_follow() {
    let lab = Lab::new();
    lab.make("app.db", 10);
    lab.fails(&["watch", "none.db"], 5, &["none.db"]);
    for (option, value, why) in
        [("--interval", "often", "not a time"), ("--wal-limit", "10K", "at least 1MiB")]
    {
        let ended = lab.run(&["watch", "app.db", option, value]);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
    let mut watch = Watch::start(&lab, &[]);
    watch.commit(1);
    lab.fails(&["watch", "app.db"], 11, &["history \"app\"", "another process", "wait"]);
    lab.ok(&["backup", "app.db"]);
    assert_eq!(watch.end("-INT").0, Some(0));
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn a_wrong_turn_is_previewed_rewound_and_undone() {
    let lab = Lab::new();
    lab.make("app.db", 300);
    let mut watch = Watch::start(&lab, &["--interval", "0"]);
    watch.commit(1);
    let db = open(&lab);
    let count = || db.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap();
    db.execute("DELETE FROM t WHERE id > 100", []).unwrap();
    watch.commit(2);

    let dry = lab.ok(&["rewind", "app.db", "--to", "latest~1", "-n"]);
    dry.says(&[
        "would rewind to app@seq:1",
        "TABLE  INSERTED  UPDATED  DELETED",
        "t           200        0        0",
        "nothing was changed",
    ]);
    assert_eq!(count(), 100);
    let told = lab.summary(&["rewind", "app.db", "--to", "latest~1", "-n"]);
    let tables = &told["tables"];
    assert_eq!(
        (tables[0]["table"].as_str(), tables[0]["inserted"].as_u64()),
        (Some("t"), Some(200))
    );

    // While `watch` runs, and the application stays connected.
    let done = lab.ok(&["rewind", "app.db", "--to", "latest~1"]);
    assert_eq!(count(), 300);
    let undo = done.stdout.lines().find_map(|l| l.trim().strip_prefix("undo: pagekeep ")).unwrap();
    assert_eq!(undo, "rewind app.db --to seq:2");
    assert_eq!(watch.end("-INT").0, Some(0));
    let log = lab.ok(&["log", "app"]).stdout;
    assert!(log.contains("before rewind to seq:1"), "{log}");

    // And without it.
    lab.ok(&undo.split(' ').collect::<Vec<_>>());
    assert_eq!(count(), 100);
    lab.ok(&["rewind", "app.db", "--to", "seq:3", "--label", "a look back", "-q"]);
    assert_eq!(count(), 300);
    lab.ok(&["rewind", "app.db", "--to", "a look back", "--check", "full"]);
    assert_eq!(count(), 100);
    lab.fails(&["rewind", "app.db", "--to", "seq:99"], 16, &["seq:99", "pagekeep log"]);
    lab.fails(&["rewind", "app.db", "--to", "nonsense"], 16, &["nonsense"]);
    lab.fails(&["rewind", "none.db", "--to", "latest"], 5, &["none.db"]);
    assert_eq!(lab.run(&["rewind", "app.db"]).code, Some(2));
}

#[test]
fn drift_names_the_table_and_exits_with_4() {
    let lab = Lab::new();
    lab.sql("app.db", "CREATE TABLE orders(x); CREATE TABLE people(x)");
    lab.sql(
        "app.db",
        "INSERT INTO people VALUES(zeroblob(20000)); INSERT INTO orders VALUES(zeroblob(20000))",
    );
    lab.fails(&["drift", "app.db"], 16, &["no history of this name", "pagekeep backup"]);
    lab.ok(&["backup", "app.db"]);
    assert!(lab.ok(&["drift", "app.db"]).stdout.contains("no drift"));
    let page = lab.number("app.db", "SELECT max(pageno) FROM dbstat WHERE name = 'orders'");
    let file = std::fs::OpenOptions::new().write(true).open(lab.path("app.db")).unwrap();
    file.write_all_at(b"rotten", u64::try_from(page - 1).unwrap() * 4096 + 100).unwrap();
    let found = lab.run(&["drift", "app.db"]);
    assert_eq!(found.code, Some(4));
    assert!(
        found.stdout.contains("1 page differs") && found.stdout.contains("orders"),
        "{found:?}"
    );
    assert!(!found.stdout.contains("people"));
    let told = lab.run(&["drift", "app.db", "--json"]);
    assert_eq!(told.code, Some(4));
    let last = told.objects().pop().unwrap();
    assert_eq!((last["differing"].as_u64(), last["tables"]["orders"].as_u64()), (Some(1), Some(1)));
    assert_eq!(last["drifted"], true);
}

#[test]
fn a_terminal_shows_how_it_stands() {
    let lab = Lab::new();
    lab.make("app.db", 50);
    let line = format!("{} watch app.db --interval 0", cli::BIN);
    let Some(mut terminal) = Terminal::start(&lab, &line) else { return };
    terminal.wait_for("following · seq:1 · all stored · WAL", 1);
    terminal.wait_for("app@seq:1", 1);
    // Ctrl-C, as a terminal sends it.
    assert!(terminal.types("\u{3}"));
    let seen = terminal.end();
    assert!(seen.contains("stopped after"), "{seen}");
    // What was drawn and is wiped is no line. Neither is a sign that turns.
    let lines =
        seen.split(['\n', '\r']).map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or(line));
    for line in lines {
        let alone = line.trim().chars().all(|c| ('\u{2800}'..='\u{28ff}').contains(&c));
        assert!(line.trim().is_empty() || !alone, "{line:?} in {seen:?}");
    }
    let last = seen.split("stopped after").next().unwrap();
    let last = last.rsplit(['\n', '\u{1b}']).next().unwrap_or(last);
    assert!(
        last.starts_with("[2K") && !last.contains("following"),
        "the line of before stays: {seen:?}"
    );
}

#[test]
fn watch_waits_for_a_file_that_is_not_there_yet_if_it_is_told_to() {
    let lab = Lab::new();
    lab.fails(
        &["watch", "app.db"],
        5,
        &["app.db: cannot be found", "`pagekeep watch app.db --wait`"],
    );
    let waiting = || {
        let mut child = lab.command(&["watch", "app.db", "--wait"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains("app.db is not there yet"), "{line}");
        (child, lines)
    };
    let (mut child, _lines) = waiting();
    cli::signal("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let (mut child, lines) = waiting();
    lab.make("app.db", 3);
    assert!(lines.lines().any(|line| line.unwrap().starts_with("app@seq:1 ")));
    cli::signal("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Why the whole database is read tells whoever has to find out what happened.
#[test]
fn a_scan_says_why_nothing_else_tells_what_was_committed() {
    let lab = Lab::new();
    lab.make("app.db", 3);
    lab.sql("app.db", "PRAGMA journal_mode=DELETE");
    lab.ok(&["backup", "app.db"]);
    lab.sql("app.db", "PRAGMA journal_mode=WAL");
    let db = open(&lab);
    let reason_of = |args: &[&str]| {
        db.execute("INSERT INTO t(x) VALUES(zeroblob(50))", []).unwrap();
        let mut watch = Watch::start(&lab, args);
        let scan = watch.next(|o| o["type"] == "scan");
        watch.next(|o| o["type"] == "commit");
        watch.end("-TERM");
        scan["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason_of(&[]).starts_with("the database is in WAL mode now"));
    let other = reason_of(&["--state-dir", "other", "--takeover"]);
    assert!(other.contains("another machine or another state folder"), "{other}");
    let gone = reason_of(&["--takeover"]);
    assert!(gone.contains("another machine or another state folder"), "{gone}");
    // Whoever closes last takes the WAL along.
    drop(db);
    lab.sql("app.db", "INSERT INTO t(x) VALUES(1); INSERT INTO t(x) VALUES(2)");
    let db = open(&lab);
    db.execute("INSERT INTO t(x) VALUES(zeroblob(50))", []).unwrap();
    let mut watch = Watch::start(&lab, &[]);
    let scan = watch.next(|o| o["type"] == "scan");
    assert_eq!(scan["reason"], "the place in the WAL where the last run left off is gone");
}

/// With a rollback journal no version of SQLite has the bug of the WAL: one warning would contradict the other.
#[test]
fn a_version_that_corrupts_a_wal_is_told_of_only_where_there_is_one() {
    let lab = Lab::new();
    for (mode, told) in [("DELETE", false), ("WAL", true)] {
        lab.make("app.db", 3);
        lab.sql("app.db", &format!("PRAGMA journal_mode={mode}"));
        // As SQLite 3.40.1 leaves it.
        let file = std::fs::OpenOptions::new().write(true).open(lab.path("app.db")).unwrap();
        file.write_all_at(&3_040_001u32.to_be_bytes(), 96).unwrap();
        let mut child = lab.command(&["watch", "app.db", "--name", mode]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("seq:1 ")));
        cli::signal("-TERM", &child.id().to_string());
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(stderr.contains("can corrupt a database in WAL mode"), told, "{stderr}");
        assert_eq!(stderr.contains("is not in WAL mode"), !told, "{stderr}");
        std::fs::remove_file(lab.path("app.db")).unwrap();
    }
}

#[test]
fn a_rewind_to_what_is_there_already_does_nothing() {
    let lab = Lab::with_history();
    let log = lab.ok(&["log", "app"]).stdout;
    for when in ["latest", "seq:2", "the second"] {
        let told = lab.ok(&["rewind", "app.db", "--to", when]).stdout;
        assert!(
            told.contains("content of app@seq:2") && told.contains("nothing was done"),
            "{told}"
        );
        let told = lab.summary(&["rewind", "app.db", "--to", when]);
        assert_eq!((&told["to"], &told["now"]), (&2.into(), &2.into()));
        assert!(told["undo"].is_null() && told["before"].is_null(), "{told}");
    }
    assert_eq!(lab.ok(&["log", "app"]).stdout, log);
    // What is in no commit yet is captured, and the newest commit is another one then.
    lab.sql("app.db", "DELETE FROM t");
    lab.ok(&["rewind", "app.db", "--to", "the second"]).says(&["rewound", "undo:"]);
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM t"), 200);
    lab.ok(&["rewind", "app.db", "--to", "latest"]).says(&["app@seq:4", "nothing was done"]);
}

/// The most memory that a process had so far, in KiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A `watch` runs for months: what it takes after a while of load is what it takes, and there is a
/// bound to it. How much of that a load of seconds needs depends on what else the machine does: of
/// two groups each may have 24 MiB in memory, beside what is packed and merged at that moment.
/// `PAGEKEEP_MEMORY_SECONDS` says how long the load lasts (6); from 60 on its first third has to
/// show how much it is.
#[test]
fn the_memory_of_a_watch_flattens() {
    let _heavy = heavy();
    let seconds = std::env::var("PAGEKEEP_MEMORY_SECONDS").map_or(6, |n| n.parse().unwrap());
    let lab = Lab::new();
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        .unwrap();
    let child = lab.command(&["watch", "app.db", "-q"]).stdout(Stdio::null()).spawn().unwrap();
    cli::wait_until_caught(&child, 15);
    let mut watch = Ending(child);
    let load = |until: Instant| {
        let mut id = 0;
        while Instant::now() < until {
            // Pages that are new, pages that are written again, and large transactions.
            id = (id + 1) % 20_000;
            db.execute("INSERT OR REPLACE INTO t VALUES(?1, randomblob(300))", [id]).unwrap();
            if id % 5_000 == 0 {
                db.execute("UPDATE t SET x = randomblob(400) WHERE id % 7 = 0", []).unwrap();
            }
        }
    };
    let began = Instant::now();
    load(began + Duration::from_secs(seconds) / 3);
    let early = peak(&watch.0);
    load(began + Duration::from_secs(seconds));
    let late = peak(&watch.0);
    println!("{early} KiB after a third, {late} KiB in the end");
    assert!(late < 384 * 1024, "{late} KiB");
    assert!(seconds < 60 || late < early + early / 2, "{early} KiB, then {late} KiB");
    cli::signal("-TERM", &watch.0.id().to_string());
    assert_eq!(watch.0.wait().unwrap().code(), Some(0));
}

/// A process that does not outlive its test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
