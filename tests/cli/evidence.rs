//! `evidence`: what auditors get of a daemon whose tests went well, failed and were interrupted.

use std::fs;
use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::daemon::{Daemon, HeldClock, told, write};
use crate::support::cli::{self, Ended, Lab};

/// Asks for no end: whoever restores the database has to stop it.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

struct Stage {
    lab: Lab,
    clock: HeldClock,
    began: DateTime<Utc>,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        lab.make("app.db", 20);
        let clock = HeldClock(lab.path("clock"));
        Self { lab, clock, began: Utc::now() }
    }

    fn at(&self, minutes: i64) -> String {
        (self.began + TimeDelta::minutes(minutes)).to_rfc3339()
    }

    /// A daemon at a time, that tests restores like this.
    fn daemon(&self, minutes: i64, keys: &str) -> Daemon<'_> {
        let usual = "[[databases]]\npath = \"app.db\"\nverify.data = \"never\"\npromise.max-proof-age = \"1h\"";
        write(&self.lab, &format!("{usual}\n{keys}"));
        self.clock.set(&self.at(minutes));
        Daemon::start_at(&self.lab, Some(&self.clock))
    }

    /// How many tests of the database the ledger has with a result.
    fn results(&self, result: &str) -> i64 {
        let sql = format!(
            "SELECT count(*) FROM run WHERE database = 'main/app' AND kind = 'verify-restore' AND result = '{result}'"
        );
        self.lab.number("state/daemon.db", &sql)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let args = [&["evidence"], args].concat();
        Ended::of(self.lab.command(&args).env("PAGEKEEP_TEST_CLOCK", &self.clock.0))
    }

    fn make(&self, more: &[&str]) -> Ended {
        self.run(&[&["app", "-c", "pagekeep.toml"], more].concat())
    }

    fn read(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.lab.path(file)).unwrap()).unwrap()
    }
}

fn results(document: &Value) -> Vec<(String, String)> {
    let text = |test: &Value, member: &str| test[member].as_str().unwrap().to_owned();
    let tests = document["tests"].as_array().unwrap();
    tests.iter().map(|test| (text(test, "from"), text(test, "result"))).collect()
}

fn independent(lab: &Lab, file: &str, key: &str) -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader/evidence.py");
    let mut python = Command::new("python3");
    python.args(["-B", script]).arg(lab.path(file)).arg(key).output().unwrap().status.success()
}

#[test]
fn it_has_every_test_however_it_ended_and_nobody_changes_a_byte_of_it() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let hourly = "verify.restore = \"every 1h\"";
    let few = format!("{hourly}\nverify.assert = [\"SELECT count(*) < 30 FROM t\"]");
    let mut daemon = stage.daemon(0, &few);
    daemon.says("app", "verify-restore: seq:1 was restored and is sound");
    for n in 0..15 {
        lab.sql("app.db", &format!("INSERT INTO t(x) VALUES({n})"));
    }
    daemon.keeps("app", 2);
    stage.clock.set(&stage.at(70));
    daemon.says("app", "verify-restore found: ");
    daemon.stop();
    lab.ok(&["verify", "app", "--level", "data"]);
    // One that has no time, and one that ends with the daemon.
    let endless = format!("{hourly}\nverify.assert = [\"{ENDLESS}\"]");
    let mut daemon = stage.daemon(140, &format!("{endless}\nverify.max-time = \"1s\""));
    daemon.says("app", "verify-restore failed: ");
    daemon.stop();
    let mut daemon = stage.daemon(210, &endless);
    daemon.until("it runs", || stage.results("running") == 1);
    drop(daemon);
    assert_eq!(told(lab, "app", "was stopped"), 0);
    let mut daemon = stage.daemon(220, "verify.restore = \"never\"");
    daemon.until("it is known", || stage.results("interrupted") == 1);
    daemon.stop();

    let key = lab.ok(&["key", "public"]).stdout[..64].to_owned();
    let made = stage.make(&["-o", "all.json"]);
    made.failed(0, &["3 tests did not pass"]);
    assert!(made.stdout.contains(&key), "{made:?}");
    let all = stage.read("all.json");
    let expected = [
        ("daemon", "passed"),
        ("repository", "passed"),
        ("daemon", "failed"),
        ("daemon", "not-done"),
        ("daemon", "interrupted"),
    ];
    let expected = expected.map(|(from, result)| (from.to_owned(), result.to_owned()));
    assert_eq!(results(&all), expected, "{all:#}");
    let tests = all["tests"].as_array().unwrap();
    let method = &tests[2]["method"];
    assert_eq!(method["assertions"][0], "SELECT count(*) < 30 FROM t", "{all:#}");
    assert_eq!(method["version"], env!("CARGO_PKG_VERSION"));
    assert!(tests[2]["message"].as_str().unwrap().contains("assertion"), "{all:#}");
    for (at, seq) in [(0, 1), (2, all["commits"]["last"]["seq"].as_u64().unwrap())] {
        let proof = &tests[at]["proofs"][0];
        assert_eq!(
            (&proof["seq"], &proof["in_repository"]),
            (&seq.into(), &true.into()),
            "{all:#}"
        );
    }
    assert_eq!(tests[2]["proofs"][0]["digest"], all["commits"]["last"]["digest"]);
    // The proof of the first one goes; what the daemon wrote down stays.
    assert!(all["gaps"].as_array().unwrap().iter().any(|gap| gap["level"] == "any"), "{all:#}");
    assert_eq!(all["tally"]["tests"], 5);

    // Nothing replaces a file that is there.
    stage.make(&["-o", "all.json"]).failed(17, &["all.json: "]);
    stage
        .run(&["--check", "all.json", "--public-key", &key])
        .says(&["right, by the key that was named", "not done       1"]);
    let unnamed = stage.run(&["--check", "all.json"]);
    unnamed.failed(3, &["anybody may have signed it"]);
    let other = key.replace(|c: char| c.is_ascii_digit(), "a");
    stage
        .run(&["--check", "all.json", "--public-key", &other])
        .failed(12, &["signed by another key"]);
    stage.run(&["--check", "all.json", "--public-key", "no"]).failed(2, &["is no public key"]);
    stage.run(&["--check", "pagekeep.toml"]).failed(4, &["does not end as evidence does"]);
    stage.run(&["--check", "none"]).failed(13, &["none: cannot be read"]);
    assert!(independent(lab, "all.json", &key) && !independent(lab, "all.json", &other));

    // The matrix of every byte is a unit test; this is the program's.
    let whole = fs::read(lab.path("all.json")).unwrap();
    let places = (0..whole.len()).step_by(whole.len() / 40).chain(whole.len() - 300..whole.len());
    for at in places.filter(|at| at % 7 == 0) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(lab.path("bad.json"), bytes).unwrap();
        let checked = stage.run(&["--check", "bad.json", "--public-key", &key]);
        assert_eq!(checked.code, Some(4), "{at}: {checked:?}");
        assert!(checked.stdout.is_empty(), "{at}: {checked:?}");
    }

    // Pages for people are signed as well.
    for format in ["text", "html"] {
        let file = format!("all.{format}");
        stage.make(&["--format", format, "-o", &file]).failed(0, &["3 tests did not pass"]);
        let text = fs::read_to_string(lab.path(&file)).unwrap();
        for told in ["NOT-DONE", "INTERRUPTED", "FAILED", &key, "asserts SELECT count(*)"] {
            assert!(text.contains(told), "{told}: {text}");
        }
        stage.run(&["--check", &file, "--public-key", &key]).says(&["a page for people"]);
        assert!(independent(lab, &file, &key), "{file}");
        fs::write(lab.path(&file), text.replace("FAILED", "PASSED")).unwrap();
        let checked = stage.run(&["--check", &file, "--public-key", &key]);
        checked.failed(4, &["is not what was signed"]);
    }
    // To standard output goes the same.
    let printed = stage.make(&[]);
    fs::write(lab.path("printed.json"), &printed.stdout).unwrap();
    assert!(stage.run(&["--check", "printed.json", "--public-key", &key]).code == Some(0));
    stage.make(&["--json"]).failed(2, &["-o FILE"]);

    // A part of the time, by any clock.
    let since = (stage.began + TimeDelta::minutes(100)).format("%Y-%m-%d %H:%M+00:00").to_string();
    stage.make(&["--since", &since, "-o", "late.json"]).failed(0, &["2 tests did not pass"]);
    let late = stage.read("late.json");
    assert_eq!(results(&late), expected[3..], "{late:#}");
    let there = (stage.began + TimeDelta::minutes(100)).with_timezone(&chrono_tz::Asia::Tokyo);
    let mut tokyo = lab.command(&[
        "evidence",
        "app",
        "-c",
        "pagekeep.toml",
        "-o",
        "tokyo.json",
        "--since",
        &there.format("%Y-%m-%d %H:%M").to_string(),
    ]);
    tokyo.env("PAGEKEEP_TEST_CLOCK", &stage.clock.0).env("TZ", "Asia/Tokyo");
    assert_eq!(Ended::of(&mut tokyo).code, Some(0));
    assert_eq!(stage.read("tokyo.json")["span"]["since"], late["span"]["since"]);
    stage.make(&["--since", "soon"]).failed(2, &["is not a time"]);
    stage
        .make(&["--since", "2026-11-27", "--until", "2026-11-26"])
        .failed(2, &["before its beginning"]);

    // After a rotation another key signs; the first one is known as one that did.
    lab.ok(&["key", "rotate", "--new-recovery-key"]);
    let keys = lab.ok(&["key", "public"]).stdout;
    assert!(keys.lines().count() == 2 && !keys.starts_with(&key) && keys.contains(&key), "{keys}");
    stage.make(&["-o", "rotated.json"]).failed(0, &[]);
    stage.run(&["--check", "rotated.json", "--public-key", &key]).failed(12, &["another key"]);
    stage.run(&["--check", "rotated.json", "--public-key", &keys[..64]]).says(&["right"]);

    // Without the ledger only what the repository knows is left, and that is said.
    fs::rename(lab.path("state/daemon.db"), lab.path("state/elsewhere.db")).unwrap();
    stage
        .make(&["-o", "less.json"])
        .failed(3, &["daemon.db: cannot be read", "the evidence says so"]);
    let less = stage.read("less.json");
    assert_eq!(less["unread"].as_array().unwrap().len(), 1, "{less:#}");
    assert!(results(&less).iter().all(|(from, _)| from == "repository"), "{less:#}");
    fs::write(lab.path("state/daemon.db"), "no database at all, but some text of some length")
        .unwrap();
    stage.make(&["-o", "odd.json"]).failed(3, &["can't be read"]);
    assert!(!cli::walk(&lab.path("")).iter().any(|path| path.ends_with("none")));
}
