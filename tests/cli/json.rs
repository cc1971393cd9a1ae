//! What `--json` prints is what `pagekeep json-schema` says, and what `docs/json.md` tells.
//!
//! The real binary runs every command. Each line has to fit one of the line types of its command; a
//! member that the schema does not know, or one that is missing, fails. Every line type has to be
//! met, but for those of [`UNMET`]. The page is made from the schema and from the lines that were
//! met: `PAGEKEEP_WRITE_JSON=1 cargo test --test cli json::` writes it anew. What stands in its examples
//! differs with every run, and only has to fit.

mod page;
mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::cli::{Ended, Lab, flip, signal};
use schema::Lines;

/// Line types that no run here prints, and why.
const UNMET: [(&str, &str); 1] =
    [("JobStopSummaryLine", "no job lasts long enough here to be ended")];

/// The page.
const PAGE: &str = "docs/json.md";

/// One real line for each command and line type.
type Examples = BTreeMap<(String, String), String>;

/// Runs commands and checks what they print.
struct Checked {
    lab: Lab,
    lines: Lines,
    met: Examples,
}

impl Checked {
    /// Runs a command, which ends with this code and prints lines that fit.
    fn run(&mut self, args: &[&str], code: i32) -> Vec<Value> {
        let ended = Ended::of(&mut self.lab.command(&[args, &["--json"]].concat()));
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        self.check(args, &ended.stdout)
    }

    /// Lines that a command printed, which fit.
    fn check(&mut self, args: &[&str], printed: &str) -> Vec<Value> {
        let command = self.lines.command_of(args);
        let mut values = Vec::new();
        for line in printed.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            let name = self.lines.fitting(&command, &value);
            self.met.entry((command.clone(), name)).or_insert_with(|| line.to_owned());
            values.push(value);
        }
        values
    }
}

#[test]
fn every_line_of_every_command_fits_the_schema_and_the_page_tells_of_it() {
    let lab = Lab::empty();
    let lines = Lines::of(&lab.ok(&["json-schema"]).stdout);
    let mut checked = Checked { lab, lines, met: Examples::new() };
    for part in
        [commits, live, labels, keys, retention, watching, files, troubles, damage, demo, daemon]
    {
        part(&mut checked);
    }
    let Checked { lab, lines, met } = checked;
    for command in lines.commands() {
        assert!(met.keys().any(|(of, _)| of == command), "`{command}` was not run");
    }
    for name in lines.types() {
        let is_met = met.keys().any(|(_, met)| met == name);
        let why = UNMET.iter().find(|(unmet, _)| unmet == name);
        assert_eq!(is_met, why.is_none(), "{name}: {why:?}");
    }
    let page = page::of(&lines, &met, &[lab.path("").to_str().unwrap(), &host()]);
    if std::env::var_os("PAGEKEEP_WRITE_JSON").is_some_and(|value| value == "1") {
        fs::write(PAGE, &page).unwrap();
    }
    let committed = fs::read_to_string(PAGE).unwrap();
    page::examples(&committed).for_each(|(command, line)| {
        lines.fitting(command, &serde_json::from_str(line).unwrap());
    });
    let (ours, theirs) = (page::without_examples(&page), page::without_examples(&committed));
    let differs = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
    assert!(
        ours == theirs,
        "{PAGE} is not what the program says: PAGEKEEP_WRITE_JSON=1 writes it anew; {differs:#?}"
    );
}

fn host() -> String {
    format!("{:?}", rustix::system::uname().nodename().to_string_lossy())
}

/// The plain files of an application, and an archive that somebody else made.
fn files(of: &mut Checked) {
    fs::create_dir(of.lab.path("etc")).unwrap();
    fs::write(of.lab.path("etc/shop.toml"), "port = 80\n").unwrap();
    of.run(&["files", "backup", "shop", "etc"], 0);
    of.run(&["files", "backup", "shop", "etc", "gone"], 3);
    of.run(&["files", "list", "shop"], 0);
    of.run(&["files", "restore", "shop", "etc-restored"], 0);
    let strange =
        "CREATE TABLE sqlar(name TEXT PRIMARY KEY, mode INT, mtime INT, sz INT, data BLOB);
        INSERT INTO sqlar VALUES('../up', 33188, 0, 1, x'61')";
    of.lab.sql("strange.db", strange);
    of.run(&["backup", "strange.db", "--name", "strange.files"], 0);
    of.run(&["files", "restore", "strange", "strange-restored"], 3);
}

/// From `init` on: backups, what lists them, and what brings them back.
fn commits(of: &mut Checked) {
    fs::create_dir(of.lab.path("repo")).unwrap();
    fs::write(of.lab.path("repo/notes.txt"), "not of pagekeep").unwrap();
    of.run(&["init"], 0);
    of.lab.make("app.db", 400);
    of.run(&["backup", "app.db", "--label", "the first"], 0);
    of.lab.sql("app.db", "UPDATE t SET x = 'changed' WHERE id = 7");
    of.run(&["backup", "app.db"], 0);
    of.run(&["backup", "app.db"], 0);
    of.run(&["snapshots"], 0);
    let log = of.run(&["log", "app"], 0);
    for (assertion, code) in [("count(*) = 1", 4), ("count(*) = 400", 0)] {
        let assertion = format!("SELECT {assertion} FROM t");
        of.run(&["verify", "app", "--level", "restore", "--assert", &assertion], code);
    }
    of.run(&["show", "app"], 0);
    of.run(&["show", &format!("app@{}", log[1]["time"].as_str().unwrap())], 0);
    of.run(&["restore", "app@seq:1", "out.db"], 0);
    of.run(&["restore", "app", "out.db", "--if-missing"], 0);
    of.run(&["restore-all", "together", "app"], 0);
    of.run(&["restore", "app", "other.db", "--dry-run"], 0);
    of.run(&["query", "app@seq:1", "SELECT count(*) AS rows FROM sqlite_schema"], 0);
    of.run(&["find", "app", "SELECT x FROM t WHERE id = 7"], 0);
    of.lab.sql("app.db", "CREATE TABLE more(x)");
    of.run(&["diff", "app@seq:1", "--live", "app.db"], 0);
    of.run(&["changes", "app", "--to", "seq:1"], 0);
    of.lab.sql("app.db", "DROP TABLE more");
    of.run(&["trace", "app", "t", "7"], 0);
    of.run(&["coverage", "app"], 0);
    of.run(&["stats", "--keep-daily", "7", "--top", "1"], 0);
    of.run(&["status"], 0);
}

/// The live database beside its history.
fn live(of: &mut Checked) {
    of.run(&["rewind", "app.db", "--to", "seq:1", "--dry-run"], 0);
    of.run(&["rewind", "app.db", "--to", "seq:1"], 0);
    of.run(&["rewind", "app.db", "--to", "seq:1"], 0);
    of.run(&["drift", "app.db"], 0);
    of.lab.sql("app.db", "DELETE FROM t WHERE id IN (101, 102)");
    let recover = ["recover", "app.db", "--at", "seq:1", "--table", "t"];
    of.run(&[&recover[..], &["-n"]].concat(), 0);
    let lines = of.run(&recover, 0);
    let seq = format!("seq:{}", lines.last().unwrap()["now"]);
    of.lab.sql("app.db", "UPDATE t SET x = 'since' WHERE id = 101");
    of.run(&["undo", "app.db", &seq], 17);
    of.run(&["undo", "app.db", &seq, "-n", "--on-conflict", "skip"], 0);
    of.run(&["undo", "app.db", &seq, "--on-conflict", "skip"], 0);
}

fn labels(of: &mut Checked) {
    of.run(&["label", "app@seq:2", "tried"], 0);
    of.run(&["label", "app", "tried", "--remove"], 0);
    of.run(&["undelete", "app"], 0);
    of.run(&["undelete", "app", "tried"], 0);
    of.run(&["hold", "add", "app@seq:2", "audit"], 0);
    let holds = of.run(&["hold", "list"], 0);
    of.run(&["hold", "remove", "app", holds[0]["id"].as_str().unwrap()], 0);
}

fn keys(of: &mut Checked) {
    of.run(&["key", "add", "--new-key-file", "spare.key", "--label", "spare"], 0);
    of.run(&["key", "add", "--new-key-file", "spare.key"], 3);
    let keys = of.run(&["key", "list"], 0);
    let spare = keys.iter().find(|key| key["label"] == "spare").unwrap();
    of.run(&["key", "remove", spare["id"].as_str().unwrap()], 0);
    of.run(&["key", "recovery", "--replace"], 0);
    of.run(&["key", "rotate", "--new-recovery-key"], 0);
    of.run(&["key", "rotate", "--rewrite"], 0);
    of.run(&["key", "public"], 0);
    of.run(&["key", "passwd", "--new-key-file", "new.key"], 0);
    fs::rename(of.lab.path("new.key"), of.lab.path("key")).unwrap();
}

fn retention(of: &mut Checked) {
    for n in 0..3 {
        of.lab.sql("app.db", &format!("INSERT INTO t(x) VALUES({n})"));
        of.run(&["backup", "app.db"], 0);
    }
    of.run(&["prune", "--keep-last", "1", "--dry-run"], 0);
    of.run(&["prune", "--keep-last", "1"], 0);
    of.lab.ok(&["init", "-r", "offsite", "--key-file", "key2"]);
    of.run(&["copy", "repo", "offsite", "--to-key-file", "key2"], 0);
}

/// A follower that starts, publishes, can't reach its repository, and can again.
fn watching(of: &mut Checked) {
    let args = ["watch", "app.db", "--interval", "0"];
    let mut child = of.lab.command(&[&args[..], &["--json"]].concat()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    let mut until = |what: &str| loop {
        let line = lines.next().unwrap_or_else(|| panic!("never {what}: {printed}")).unwrap();
        printed.extend([&line, "\n"]);
        if line.contains(what) {
            break;
        }
    };
    let db = Connection::open(of.lab.path("app.db")).unwrap();
    until("\"activity\":\"following\"");
    db.execute("DELETE FROM t WHERE id = 1", []).unwrap();
    until("\"kind\":\"transaction\"");
    fs::rename(of.lab.path("repo"), of.lab.path("away")).unwrap();
    db.execute("DELETE FROM t WHERE id = 2", []).unwrap();
    until("\"type\":\"fault\"");
    fs::rename(of.lab.path("away"), of.lab.path("repo")).unwrap();
    until("\"type\":\"recovered\"");
    signal("-INT", &child.id().to_string());
    until("\"type\":\"summary\"");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{printed}");
    of.check(&args, &printed);
    drop(db);
    // What was written while nothing followed: the WAL that could prove it went with the close.
    of.lab.sql("app.db", "DELETE FROM t WHERE id = 3");
    let mut child = of.lab.command(&[&args[..], &["--json"]].concat()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    while !printed.contains("\"kind\":\"scan\"") {
        printed.extend([&*lines.next().unwrap().unwrap(), "\n"]);
    }
    signal("-INT", &child.id().to_string());
    for line in lines {
        printed.extend([&*line.unwrap(), "\n"]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{printed}");
    of.check(&args, &printed);
    migration(of);
}

/// A follower of another database, whose schema changes.
fn migration(of: &mut Checked) {
    of.lab.make("other.db", 1000);
    let db = Connection::open(of.lab.path("other.db")).unwrap();
    let args = ["watch", "other.db", "-r", "offsite", "--key-file", "key2", "--interval", "0"];
    let mut child = of.lab.command(&[&args[..], &["--json"]].concat()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    let mut until = |what: &str| {
        while !printed.contains(what) {
            printed.extend([&*lines.next().unwrap().unwrap(), "\n"]);
        }
    };
    until("\"type\":\"commit\"");
    db.execute_batch("ALTER TABLE t ADD COLUMN y").unwrap();
    until("\"type\":\"marked\"");
    signal("-INT", &child.id().to_string());
    until("\"type\":\"summary\"");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{printed}");
    of.check(&args, &printed);
}

/// Errors, of the parser and of commands.
fn troubles(of: &mut Checked) {
    of.run(&["log", "nobody"], 16);
    of.run(&["status", "--max-age", "1s", "--max-proof-age", "1s"], 6);
    for args in [
        &["completions", "nonsense"][..],
        &["man", "--nonsense"],
        &["json-schema", "--nonsense"],
        &["hold", "list", "a", "b"],
    ] {
        of.run(args, 2);
    }
}

/// Everything that can be wrong with what is stored.
fn damage(of: &mut Checked) {
    // What nobody wrote is passed over, and put away.
    let log = of.lab.segment_of(1).parent().unwrap().to_owned();
    fs::write(log.join("notes"), "not of pagekeep").unwrap();
    of.run(&["status"], 3);
    of.run(&["repair", "app", "--quick"], 0);
    of.run(&["repair", "app", "--quick", "--apply"], 0);
    let newest = of.lab.seqs().pop().unwrap();
    flip(&of.lab.segment_of(newest), 60);
    of.run(&["verify"], 4);
    of.run(&["status"], 4);
    of.run(&["repair"], 4);
    of.run(&["repair", "--apply"], 0);
    fs::remove_file(of.lab.path("repo/repository")).unwrap();
    of.run(&["repair"], 4);
    of.run(&["repair", "--apply"], 0);
    of.run(&["repair", "--accept-rollback"], 0);
    of.run(&["repair", "app", "--accept-rollback"], 0);
    of.run(&["backup", "app.db"], 0);
    fs::rename(of.lab.path("repo/histories"), of.lab.path("histories")).unwrap();
    fs::create_dir(of.lab.path("repo/histories")).unwrap();
    of.run(&["status"], 4);
    of.run(&["repair", "app", "--accept-rollback"], 0);
}

fn demo(of: &mut Checked) {
    let dir = of.lab.path("demo");
    of.run(&["demo", "--cleanup", "--dir", dir.to_str().unwrap()], 0);
}

/// Commands for a daemon that runs.
fn beside(checked: &mut Checked) {
    checked.run(&["job", "start", "shop", "backup"], 0);
    checked.run(&["job", "start", "shop", "verify-data", "--wait"], 0);
    checked.run(&["job", "list", "--last", "5"], 0);
    // Nothing of this number waits or runs.
    checked.run(&["job", "stop", "1000000"], 16);
    checked.run(&["pause", "shop"], 0);
    checked.run(&["resume", "shop"], 0);
    checked.run(&["token", "add", "grafana"], 0);
    checked.run(&["token", "list"], 0);
    checked.run(&["token", "remove", "grafana"], 0);
}

/// A daemon and its configuration.
fn daemon(checked: &mut Checked) {
    let lab = &checked.lab;
    fs::create_dir(lab.path("fleet")).unwrap();
    lab.make("fleet/shop.db", 10);
    checked.run(&["config", "init", "fleet/shop.db", "-o", "fleet/pagekeep.toml"], 0);
    checked.run(&["config", "check", "-c", "fleet/pagekeep.toml"], 0);
    checked.run(&["config", "show", "-c", "fleet/pagekeep.toml"], 0);
    let told = "\n[channels.ops]\nkind = \"command\"\ncommand = \"cat >/dev/null\"\n";
    let mut text = fs::read_to_string(checked.lab.path("fleet/pagekeep.toml")).unwrap();
    text.push_str(told);
    fs::write(checked.lab.path("fleet/told.toml"), text).unwrap();
    checked.run(&["notify", "list", "-c", "fleet/told.toml"], 0);
    checked.run(&["notify", "test", "ops", "-c", "fleet/told.toml"], 0);
    let lab = &checked.lab;
    let mut command = lab.command(&["run", "-c", "fleet/pagekeep.toml", "--json"]);
    command.stderr(std::process::Stdio::null());
    let child = command.spawn().unwrap();
    crate::support::cli::wait_until_caught(&child, 15);
    let (own, began) =
        (format!("pagekeep-daemon.{}", host().trim_matches('"')), std::time::Instant::now());
    while lab.run(&["show", &own]).code != Some(0) {
        assert!(began.elapsed().as_secs() < 60, "the daemon's own database is not kept");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    beside(checked);
    signal("-TERM", &child.id().to_string());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    checked.check(&["run"], &String::from_utf8(ended.stdout).unwrap());
    let evidence = "fleet/evidence.json";
    checked.run(&["evidence", "shop", "-c", "fleet/pagekeep.toml", "-o", evidence], 0);
    checked.run(&["evidence", "--check", evidence], 3);
    checked.run(&["disaster-kit", "-c", "fleet/pagekeep.toml", "-o", "fleet/kit.txt"], 0);
    fs::remove_file(checked.lab.path("fleet/shop.db")).unwrap();
    // What was damaged above is told of here, too.
    checked.run(&["adopt", "repo", "-o", "fleet/back.toml", "--state-dir", "elsewhere"], 4);
    fs::write(checked.lab.path("fleet/wrong.toml"), "[daemon]\nobs = 3\n").unwrap();
    checked.run(&["config", "check", "-c", "fleet/wrong.toml"], 2);
}
