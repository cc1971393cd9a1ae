//! `run` and `config`, through the real binary: many databases by one file.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::cli::{self, Ended, Lab};

/// A daemon at work in a lab. Its log goes to `run.log`.
pub struct Daemon<'a> {
    lab: &'a Lab,
    child: Child,
}

impl<'a> Daemon<'a> {
    pub fn start(lab: &'a Lab) -> Self {
        Self::start_at(lab, None)
    }

    /// Starts it with the clock that a test holds.
    pub fn start_at(lab: &'a Lab, clock: Option<&HeldClock>) -> Self {
        Self::start_with(lab, |command| {
            if let Some(clock) = clock {
                command.env("PAGEKEEP_TEST_CLOCK", &clock.0);
            }
        })
    }

    /// Starts it with something else about the command.
    pub fn start_with(lab: &'a Lab, change: impl FnOnce(&mut Command)) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(lab.path("run.log"));
        let mut command = lab.command(&["-v", "run", "-c", "pagekeep.toml", "--json"]);
        change(&mut command);
        let child = command.stderr(Stdio::from(log.unwrap())).spawn().unwrap();
        cli::wait_until_caught(&child, 15);
        Self { lab, child }
    }

    /// Asks until the answer is yes, for up to a minute.
    pub fn until(&mut self, what: &str, mut yes: impl FnMut() -> bool) {
        let began = Instant::now();
        while !yes() {
            let log = || fs::read_to_string(self.lab.path("run.log")).unwrap();
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {}", log());
            assert!(self.child.try_wait().unwrap().is_none(), "ended: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log has a line for a database with these words.
    pub fn says(&mut self, database: &str, words: &str) {
        let lab = self.lab;
        self.until(&format!("{database}: {words}"), || told(lab, database, words) > 0);
    }

    /// Waits until a history has so many commits.
    pub fn keeps(&mut self, name: &str, commits: usize) {
        let lab = self.lab;
        self.until(&format!("{name}: {commits} commits"), || commits_of(lab, name) >= commits);
    }

    pub fn signal(&self, signal: &str) {
        cli::signal(signal, &self.child.id().to_string());
    }

    /// Ends it as a service manager does; answers its summary.
    pub fn stop(mut self) -> Value {
        self.signal("-TERM");
        let mut told = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        let code = self.child.wait().unwrap().code();
        let summary: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        // What could not be stored is no failure, and is told.
        let expected = if summary["unstored"] == 0 { 0 } else { 3 };
        assert_eq!(code, Some(expected), "{told}");
        summary
    }
}

/// A clock that a test sets.
pub struct HeldClock(pub PathBuf);

impl HeldClock {
    pub fn set(&self, time: &str) {
        let time = chrono::DateTime::parse_from_rfc3339(time).unwrap();
        let next = self.0.with_extension("next");
        fs::write(&next, time.timestamp_micros().to_string()).unwrap();
        fs::rename(next, &self.0).unwrap();
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many lines of the log are about a database and have these words.
pub fn told(lab: &Lab, database: &str, words: &str) -> usize {
    let log = fs::read_to_string(lab.path("run.log")).unwrap_or_default();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_it = |line: &Value| {
        let of = line["database"].as_str().or(line["repository"].as_str()).unwrap_or_default();
        of == database && line["message"].as_str().is_some_and(|text| text.contains(words))
    };
    lines.filter(is_it).count()
}

pub fn commits_of(lab: &Lab, name: &str) -> usize {
    let ended = lab.run(&["log", name, "--json"]);
    if ended.code == Some(0) { ended.objects().len() } else { 0 }
}

/// Makes a repository of the configuration.
pub fn init(lab: &Lab, name: &str) {
    let mut command = lab.command(&["init", "-c", "pagekeep.toml", "-r", name]);
    let made = Ended::of(command.env_remove("PAGEKEEP_KEY_FILE"));
    assert_eq!(made.code, Some(0), "{made:?}");
}

pub fn write(lab: &Lab, more: &str) {
    let text = format!("[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"\n{more}");
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
}

#[test]
fn databases_are_followed_found_put_to_sleep_woken_and_left() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    fs::create_dir(lab.path("tenants")).unwrap();
    lab.make("tenants/one.db", 20);
    write(
        &lab,
        "[defaults]\nsleep-after = \"1s\"\nverify.data = \"never\"\nverify.restore = \"never\"
         [[databases]]\npath = \"app.db\"\nsleep-after = \"0s\"
         [[databases]]\npath = \"tenants/*.db\"\nname = \"tenant-{stem}\"",
    );
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    daemon.keeps("tenant-one", 1);
    // Each transaction, with an application that stays connected.
    let app = Connection::open(lab.path("app.db")).unwrap();
    for _ in 0..3 {
        app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
    }
    daemon.keeps("app", 4);
    // A file that comes.
    lab.make("tenants/two.db", 20);
    daemon.keeps("tenant-two", 1);
    // One that rests is closed, and wakes with the next change.
    daemon.says("tenant-one", "sleeps");
    let one = Connection::open(lab.path("tenants/one.db")).unwrap();
    one.execute_batch("INSERT INTO t(x) VALUES('woken')").unwrap();
    daemon.keeps("tenant-one", 2);
    // A second one of this state folder would undo what the first one does.
    let second = lab.run(&["run", "-c", "pagekeep.toml"]);
    second.failed(11, &["state", "has a daemon at work already"]);
    // A wrong configuration changes nothing, another one is obeyed.
    write(&lab, "[[databases]]\npth = \"app.db\"");
    daemon.signal("-HUP");
    daemon.says("", "the configuration stays as it was");
    write(&lab, "[[databases]]\npath = \"app.db\"\n[[databases]]\npath = \"new.db\"");
    lab.make("new.db", 20);
    daemon.signal("-HUP");
    daemon.keeps("new", 1);

    daemon.says("tenant-two", "in the configuration no longer");
    let before = commits_of(&lab, "tenant-one");
    one.execute_batch("INSERT INTO t(x) VALUES('on its own')").unwrap();
    app.execute_batch("INSERT INTO t(x) VALUES('the last')").unwrap();
    daemon.keeps("app", 5);
    let began = Instant::now();
    let summary = daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(20), "{summary}");
    // These two and the daemon's own.
    assert_eq!(summary["databases"], 3, "{summary}");
    assert_eq!(commits_of(&lab, "tenant-one"), before);
    for (name, rows) in [("app", 24), ("tenant-one", 21)] {
        lab.ok(&["restore", name, "restored.db", "--force"]);
        assert_eq!(lab.number("restored.db", "SELECT count(*) FROM t"), rows, "{name}");
    }
    lab.ok(&["verify", "app", "--level", "restore"]);
}

#[test]
fn trouble_with_one_disturbs_no_other_and_ends_by_itself() {
    let lab = Lab::new();
    lab.make("good.db", 20);
    fs::write(lab.path("corrupt.db"), "this is no database, and never was".repeat(100)).unwrap();
    write(
        &lab,
        "[repositories.gone]\nlocation = \"elsewhere\"\nkey-file = \"key\"
         [[databases]]\npath = \"good.db\"\nrepository = \"main\"
         [[databases]]\npath = \"corrupt.db\"\nrepository = \"main\"
         [[databases]]\npath = \"absent.db\"\nrepository = \"main\"
         [[databases]]\npath = \"homeless.db\"\nrepository = \"gone\"",
    );
    lab.make("homeless.db", 20);
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("good", 1);
    daemon.says("corrupt", "it is tried again");
    daemon.says("absent", "cannot be found");
    daemon.says("gone", "it is tried again");
    lab.sql("good.db", "INSERT INTO t(x) VALUES('more')");
    daemon.keeps("good", 2);
    // What was missing comes.
    lab.make("absent.db", 20);
    daemon.keeps("absent", 1);
    let mut init = lab.command(&["init", "-r", "elsewhere", "--key-file", "key"]);
    assert_eq!(Ended::of(&mut init).code, Some(0));
    daemon.says("gone", "is open");
    daemon.says("homeless", "is kept from now on");
    daemon.until("homeless is kept", || {
        let ended = lab.run(&["log", "homeless", "-r", "elsewhere", "--json"]);
        ended.code == Some(0) && !ended.objects().is_empty()
    });
    daemon.stop();
}

#[test]
fn what_the_daemon_remembers_is_kept_and_its_loss_stops_nothing() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"\n");
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let own = format!("pagekeep-daemon.{host}");
    daemon.keeps(&own, 1);
    daemon.stop();
    lab.ok(&["restore", &own, "own.db"]);
    let text = "SELECT count(*) FROM configuration WHERE text LIKE '%path = \"app.db\"%'";
    assert_eq!(lab.number("own.db", text), 1);
    assert_eq!(lab.number("own.db", "SELECT count(*) FROM known WHERE database = 'main/app'"), 1);
    // Whatever becomes of it, databases are kept.
    fs::write(lab.path("state/daemon.db"), "nothing that SQLite reads".repeat(1000)).unwrap();
    let mut daemon = Daemon::start(&lab);
    daemon.says("", "no job counts as run");
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    daemon.keeps("app", 2);
    daemon.stop();
}

#[test]
fn a_configuration_is_written_checked_and_shown() {
    let lab = Lab::new();
    lab.make("app.db", 5);
    let made = lab.ok(&["config", "init", "app.db", "-o", "pagekeep.toml"]);
    assert!(made.stdout.contains("wrote pagekeep.toml"), "{made:?}");
    lab.run(&["config", "init", "app.db", "-o", "pagekeep.toml"]).failed(1, &["stays as it is"]);
    let checked = lab.ok(&["config", "check", "-c", "pagekeep.toml"]);
    for part in ["app", "every transaction", "verify-restore", "can be used: 1 database"] {
        assert!(checked.stdout.contains(part), "{part}: {checked:?}");
    }
    // What is shown says the same.
    let shown = lab.ok(&["config", "show", "-c", "pagekeep.toml"]).stdout;
    fs::write(lab.path("shown.toml"), &shown).unwrap();
    assert_eq!(lab.ok(&["config", "show", "-c", "shown.toml"]).stdout, shown);
    // Every mistake is told with its place.
    write(&lab, "[defaults]\nmdoe = \"follow\"\n");
    let wrong = lab.run(&["config", "check", "-c", "pagekeep.toml"]);
    wrong.failed(2, &["pagekeep.toml:5", "mdoe", "^^^^", "did you mean `mode`?"]);
    write(&lab, "[[databases]]\npath = \"app.db\"\nschedule = \"sometimes\"\nmode = \"snapshots\"");
    let wrong = lab.run(&["config", "check", "-c", "pagekeep.toml", "--json"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    let mistake: Value = serde_json::from_str(wrong.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&mistake["type"], &mistake["line"]), (&"mistake".into(), &6.into()));
    lab.run(&["run", "-c", "absent.toml"]).failed(2, &["absent.toml: cannot be read"]);
}

/// `ticks` has a snapshot each minute, and so tells that the daemon looked at a time; `nightly` has
/// one at half past two in Berlin, which is left out in spring and comes twice in autumn.
#[test]
fn schedules_keep_to_the_clock_over_its_changes_and_over_downtime() {
    let lab = Lab::new();
    lab.make("nightly.db", 5);
    lab.make("ticks.db", 5);
    write(
        &lab,
        "[defaults]\nmode = \"snapshots\"\nverify.data = \"never\"\nverify.restore = \"never\"
         [[databases]]\npath = \"nightly.db\"\nschedule = \"daily at 02:30\"\ntime-zone = \"Europe/Berlin\"
         [[databases]]\npath = \"ticks.db\"\nschedule = \"every 1m\"",
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-28T00:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("main", "is open");
    let mut looks = 0;
    let mut at = |daemon: &mut Daemon<'_>, time: &str, nightly: usize| {
        clock.set(time);
        // A run that was due before it is done by then, since `nightly` comes first.
        looks += 1;
        daemon.until(&format!("looks at {time}"), || told(&lab, "ticks", "backup: ") >= looks);
        daemon.until(&format!("{nightly} runs at {time}"), || {
            told(&lab, "nightly", "backup: ") >= nightly
        });
        assert_eq!(told(&lab, "nightly", "backup begins"), nightly, "{time}");
    };
    for (time, nightly) in [
        ("2026-03-28T01:29:00Z", 0),
        ("2026-03-28T01:31:00Z", 1),
        // There is no half past two in this night: it comes at three o'clock of summer time.
        ("2026-03-29T00:59:00Z", 1),
        ("2026-03-29T01:01:00Z", 2),
        ("2026-03-30T00:29:00Z", 2),
        ("2026-03-30T00:31:00Z", 3),
    ] {
        at(&mut daemon, time, nightly);
    }
    daemon.stop();
    // Nobody is there for five nights: one run makes up for them.
    clock.set("2026-04-04T12:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    at(&mut daemon, "2026-04-04T12:02:00Z", 4);
    assert_eq!(told(&lab, "nightly", "also for 4 times that were missed"), 1);
    // The machine sleeps until the night in which half past two comes twice: once for the sleep,
    // and once for the first of the two.
    for (time, nightly) in [
        ("2026-10-24T12:00:00Z", 5),
        ("2026-10-25T00:29:00Z", 5),
        ("2026-10-25T00:31:00Z", 6),
        ("2026-10-25T01:31:00Z", 6),
        ("2026-10-26T01:29:00Z", 6),
        ("2026-10-26T01:31:00Z", 7),
    ] {
        at(&mut daemon, time, nightly);
    }
    daemon.stop();
}

#[test]
fn a_renamed_file_and_a_second_name_of_one_file_cost_no_transaction() {
    let lab = Lab::new();
    fs::create_dir(lab.path("d")).unwrap();
    lab.make("d/before.db", 5);
    lab.make("d/twice.db", 5);
    fs::hard_link(lab.path("d/twice.db"), lab.path("d/other.db")).unwrap();
    write(&lab, "[defaults]\nsleep-after = \"0s\"\n[[databases]]\npath = \"d/*.db\"");
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("before", 1);
    // The first in the order of names counts.
    daemon.keeps("other", 1);
    daemon.says("", "twice.db is the same file as");
    fs::rename(lab.path("d/before.db"), lab.path("d/after.db")).unwrap();
    let app = Connection::open(lab.path("d/after.db")).unwrap();
    for _ in 0..5 {
        app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
        // The application takes its time, and the daemon meets the file under its new name.
        std::thread::sleep(Duration::from_millis(200));
    }
    daemon.keeps("after", 1);
    app.execute_batch("INSERT INTO t(x) VALUES('the last')").unwrap();
    drop(app);
    daemon.until("all is stored", || {
        lab.run(&["restore", "after", "after.db", "--force"]).code == Some(0)
            && lab.number("after.db", "SELECT count(*) FROM t") == 11
    });
    assert_eq!(lab.number("d/after.db", "SELECT count(*) FROM t"), 11);
    daemon.stop();
    lab.ok(&["verify", "after", "--level", "restore"]);
}

#[test]
fn a_copy_beside_a_database_does_not_take_its_place_after_a_restart() {
    let lab = Lab::new();
    fs::create_dir(lab.path("d")).unwrap();
    lab.make("d/shop.db", 5);
    write(&lab, "[[databases]]\npath = \"d/*\"");
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("shop", 1);
    fs::copy(lab.path("d/shop.db"), lab.path("d/shop.bak")).unwrap();
    daemon.says("", "shop.bak has the name \"shop\" of");
    daemon.stop();
    let checked = lab.run(&["config", "check", "-c", "pagekeep.toml"]);
    assert_eq!(checked.code, Some(3), "{checked:?}");
    assert!(checked.stderr.contains("one of the two is not kept"), "{checked:?}");
    fs::remove_file(lab.path("run.log")).unwrap();
    let mut daemon = Daemon::start(&lab);
    daemon.says("", "shop.bak has the name \"shop\" of");
    lab.sql("d/shop.db", "INSERT INTO t(x) VALUES('more')");
    daemon.keeps("shop", 2);
    daemon.stop();
}

/// A repository that is gone is no proof of anything, however quiet its databases are.
#[test]
fn a_database_whose_repository_is_gone_is_not_called_proven() {
    let lab = Lab::new();
    lab.make("app.db", 5);
    write(
        &lab,
        "[[databases]]\npath = \"app.db\"\nsleep-after = \"1s\"\nverify.data = \"every 1m\"",
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-28T00:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("app", "is kept and proven");
    daemon.says("app", "sleeps");
    fs::rename(lab.path("repo"), lab.path("away")).unwrap();
    clock.set("2026-03-28T00:10:00Z");
    daemon.says("app", "needs a look");
    fs::rename(lab.path("away"), lab.path("repo")).unwrap();
    clock.set("2026-03-28T02:10:00Z");
    daemon.until("proven again", || told(&lab, "app", "is kept and proven") > 1);
    daemon.stop();
}

/// What an earlier daemon knew for long is not at risk because this one has not looked yet.
#[test]
fn a_database_that_is_known_for_long_is_at_risk_at_no_start() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"\npromise.max-age = \"1m\"");
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    for hours in 0..3 {
        clock.set(&(now + chrono::TimeDelta::hours(hours)).to_rfc3339());
        let before = told(&lab, "app", "proven");
        let mut daemon = Daemon::start_at(&lab, Some(&clock));
        daemon.until("it is kept", || told(&lab, "app", "proven") > before);
        daemon.stop();
    }
    assert_eq!(told(&lab, "app", "is at risk"), 0);
}

/// It is no wish to end, as early as it may come.
#[test]
fn a_hangup_at_the_very_beginning_ends_no_daemon() {
    let lab = Lab::new();
    lab.make("app.db", 2);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    for _ in 0..5 {
        let log = fs::OpenOptions::new().create(true).append(true).open(lab.path("run.log"));
        let mut command = lab.command(&["-v", "run", "-c", "pagekeep.toml", "--json"]);
        let child = command.stderr(Stdio::from(log.unwrap())).spawn().unwrap();
        cli::wait_until_caught(&child, 1);
        let mut daemon = Daemon { lab: &lab, child };
        daemon.signal("-HUP");
        let before = commits_of(&lab, "app");
        lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
        daemon.keeps("app", before + 1);
        daemon.stop();
    }
}

/// A daemon that ends says of what it does not know that all is stored, and the next one stores it.
#[test]
fn what_is_not_stored_at_the_end_is_told() {
    let lab = Lab::new();
    lab.make("app.db", 2);
    lab.make("other.db", 2);
    let text = "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
         [repositories.z]\nlocation = \"z\"\nkey-file = \"z.key\"
         [[databases]]\npath = \"app.db\"\nrepository = \"z\"
         [[databases]]\npath = \"other.db\"\nrepository = \"main\"";
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    init(&lab, "z");
    let commits = || {
        let ended = lab.run(&["log", "app", "-r", "z", "-c", "pagekeep.toml", "--json"]);
        if ended.code == Some(0) { ended.objects().len() } else { 0 }
    };
    let mut daemon = Daemon::start(&lab);
    daemon.until("both are kept", || commits() == 1 && commits_of(&lab, "other") == 1);
    assert_eq!(daemon.stop()["unstored"], 0);
    fs::rename(lab.path("z"), lab.path("away")).unwrap();
    let mut daemon = Daemon::start(&lab);
    daemon.says("z", "it is tried again");
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    lab.sql("other.db", "INSERT INTO t(x) VALUES('more')");
    daemon.keeps("other", 2);
    let summary = daemon.stop();
    assert_eq!(summary["unstored"], 1, "{summary}");
    let log = fs::read_to_string(lab.path("run.log")).unwrap();
    assert!(log.contains("not all is stored of app:"), "{log}");
    fs::rename(lab.path("away"), lab.path("z")).unwrap();
    let mut daemon = Daemon::start(&lab);
    daemon.until("it is stored", || commits() == 2);
    daemon.stop();
}
