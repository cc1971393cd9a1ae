//! What service managers, cron jobs and monitoring see: exit codes, standard error and ages, through the real binary.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{self, Lab, flip};
use serde_json::Value;

/// Asks until the answer is yes, for up to half a minute.
fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let began = Instant::now();
    while !yes() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        cli::signal(signal, &self.0.id().to_string());
    }

    /// The exit code, and what standard error had.
    fn end(mut self) -> (Option<i32>, String) {
        let mut stderr = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.0.wait().unwrap().code(), stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_warning_at_the_start_does_not_colour_a_clean_stop_of_watch() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    // Last written by SQLite 3.46.1.
    let file = fs::OpenOptions::new().write(true).open(lab.path("app.db")).unwrap();
    file.write_all_at(&3_046_001u32.to_be_bytes(), 96).unwrap();
    fs::set_permissions(lab.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut watch = Running::start(&mut lab.command(&["watch", "app.db", "--json"]));
        let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
        let object = |line: String| serde_json::from_str::<Value>(&line).unwrap();
        let mut seen = lines
            .by_ref()
            .map(|line| object(line.unwrap()))
            .take_while(|object| object["type"] != "follower" || object["activity"] != "following");
        assert!(seen.any(|object| object["type"] == "warning"));
        seen.for_each(drop);
        watch.signal(signal);
        assert_eq!(object(lines.last().unwrap().unwrap())["type"], "summary");
        let (code, stderr) = watch.end();
        assert!(stderr.contains("chmod 600") && stderr.contains("3.46.1"), "{stderr}");
        assert_eq!(code, Some(0), "{stderr}");
    }
}

#[test]
fn a_quiet_watch_tells_of_faults_and_that_they_are_over() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    let mut watch = Running::start(
        lab.command(&["watch", "app.db", "-q", "--interval", "0"]).stdout(Stdio::piped()),
    );
    until("it begins", || lab.run(&["log", "app", "--json"]).stdout.contains("\"seq\":1"));
    fs::rename(lab.path("repo"), lab.path("away")).unwrap();
    lab.sql("app.db", "DELETE FROM t WHERE id = 1");
    let mut lines = BufReader::new(watch.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.find(|line| line.starts_with("trouble, trying again: ")).unwrap();
    assert!(told.contains("No such file"), "{told}");
    fs::rename(lab.path("away"), lab.path("repo")).unwrap();
    lines.find(|line| line == "it works again").unwrap();
    watch.signal("-TERM");
    assert_eq!(watch.0.wait().unwrap().code(), Some(0));
    let mut stdout = String::new();
    watch.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(stdout, "");
}

#[test]
fn status_answers_whether_backups_are_fresh_and_proven() {
    let lab = Lab::new();
    let fresh = ["status", "--max-age", "26h"];
    lab.run(&fresh).failed(6, &["has no histories", "pagekeep backup"]);
    lab.make("app.db", 50);
    lab.ok(&["backup", "app.db"]);
    lab.ok(&fresh);
    let proven = ["status", "app", "--max-age", "26h", "--max-proof-age", "8d"];
    lab.run(&proven).failed(
        6,
        &["app: ", "never", "--max-proof-age is 8 d", "pagekeep verify app --level data"],
    );
    lab.ok(&["verify", "app", "--level", "chain"]);
    lab.run(&proven).failed(6, &["never"]);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&proven);
    let told = lab.json(&proven).pop().unwrap();
    assert!(
        told["age_seconds"].as_u64() < Some(60) && told["proof_age_seconds"].as_u64() < Some(60)
    );

    let late = |args: &[&str]| lab.run(&[&["status"], args].concat()).code == Some(6);
    until("its age grows", || late(&["--max-age", "1s"]));
    until("its proof's, too", || late(&["--max-proof-age", "1s"]));
    let ended = lab.run(&["status", "--max-age", "1s", "--json"]);
    assert_eq!(ended.code, Some(6));
    let finding = ended.objects().into_iter().find(|o| o["type"] == "finding").unwrap();
    assert_eq!((&finding["history"], &finding["late"]), (&"app".into(), &"age".into()));
    assert!(finding["age_seconds"].as_u64() > Some(0) && finding["max_seconds"] == 1);

    // Damage is the more important answer; an assertion that does not hold is none.
    lab.run(&["verify", "app", "--level", "restore", "--assert", "SELECT 0"]);
    assert_eq!(lab.run(&["status"]).code, Some(3));
    assert_eq!(lab.run(&["status", "--max-age", "1s"]).code, Some(6));
    let segment = lab.segment_of(1);
    flip(&segment, fs::metadata(&segment).unwrap().len() / 2);
    assert_eq!(lab.run(&["verify", "app", "--level", "data"]).code, Some(4));
    assert_eq!(lab.run(&["status", "--max-age", "1s"]).code, Some(4));
    assert_eq!(lab.run(&["status", "--max-age", "0s"]).code, Some(2));
}

#[test]
fn a_backup_that_finds_nothing_new_and_a_watch_keep_a_history_fresh() {
    let lab = Lab::new();
    lab.make("app.db", 50);
    let age = |state: &str| {
        let told = lab.json(&["status", "--state-dir", state]).pop().unwrap();
        told["age_seconds"].as_u64().unwrap()
    };
    lab.ok(&["backup", "app.db"]);
    until("it gets older", || age("state") >= 2);
    lab.ok(&["backup", "app.db"]);
    assert!(age("state") < 2);
    // What another machine sees: a follower shows when it begins anew after one that said goodbye.
    let follow = || Running::start(&mut lab.command(&["watch", "app.db"]));
    let stop = |mut watch: Running| {
        let mut line = String::new();
        BufReader::new(watch.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("watching "), "{line}");
        watch.signal("-TERM");
        let (code, stderr) = watch.end();
        assert_eq!(code, Some(0), "{stderr}");
    };
    stop(follow());
    until("it gets older, since that one is gone", || age("elsewhere") >= 2);
    let watch = follow();
    until("it shows", || age("elsewhere") < 2);
    stop(watch);
}
