//! The daemon's job `drift`: what changed without a transaction raises an alert, and what nobody
//! can tell neither raises nor ends one.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::daemon::{Daemon, HeldClock, told, write};
use crate::support::cli::{Lab, flip};

const TOLD: &str = "[channels.script]\nkind = \"command\"\ncommand = \"cat >> told; echo >> told\"\n\
    [alerts]\nlow-space = \"1\"\n\
    [defaults]\nnotify = [\"script\"]\nverify.data = \"never\"\nverify.restore = \"never\"\n\
    drift = \"every 1h\"\n[[databases]]\npath = \"app.db\"\n";

/// How many alerts of drift are remembered, that hold or are over.
fn alerts(lab: &Lab, is_over: bool) -> i64 {
    let sql = "SELECT count(*) FROM alert WHERE state ->> '$.key.kind' = 'drift'
               AND (state ->> '$.over' IS NOT NULL) = ?1";
    asked(lab, sql, is_over)
}

fn asked(lab: &Lab, sql: &str, parameter: impl rusqlite::ToSql) -> i64 {
    let Ok(db) = rusqlite::Connection::open(lab.path("state/daemon.db")) else { return 0 };
    db.query_row(sql, [parameter], |row| row.get(0)).unwrap_or_default()
}

/// What the channel was told of drift.
fn heard(lab: &Lab) -> Vec<String> {
    let told = std::fs::read_to_string(lab.path("told")).unwrap_or_default();
    let mut heard = Vec::new();
    for message in told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let alerts = message["alerts"].as_array().unwrap().clone();
        let of_drift = alerts.iter().filter(|alert| alert["kind"] == "drift");
        heard.extend(of_drift.map(|alert| alert["state"].as_str().unwrap().to_owned()));
    }
    heard
}

struct Time<'a> {
    clock: &'a HeldClock,
    now: DateTime<Utc>,
}

impl Time<'_> {
    fn later(&mut self, minutes: i64) {
        self.now += TimeDelta::minutes(minutes);
        self.clock.set(&self.now.to_rfc3339());
    }
}

/// A database that was captured, and no follower looks at: that would notice by itself, and capture
/// what it finds. Without a WAL each transaction changes page 1, so what changes another one alone
/// was none.
fn captured(lab: &Lab) {
    lab.make("app.db", 300);
    lab.sql("app.db", "PRAGMA journal_mode = DELETE");
    lab.ok(&["backup", "app.db"]);
    write(lab, &format!("{TOLD}mode = \"snapshots\"\nschedule = \"every 300d\""));
}

#[test]
fn what_changed_without_a_transaction_is_told_until_it_is_gone() {
    let lab = Lab::new();
    captured(&lab);
    let clock = HeldClock(lab.path("clock"));
    let mut time = Time { clock: &clock, now: Utc::now() };
    time.later(0);
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("app", "is kept");
    time.later(70);
    daemon.says("app", "drift: ");
    assert_eq!((told(&lab, "app", ": no drift"), alerts(&lab, false)), (1, 0));
    // In the middle of a page of the table, where SQLite finds nothing wrong.
    flip(&lab.path("app.db"), 4096 * 4 + 3000);
    time.later(70);
    daemon.says("app", "drift found: ");
    assert_eq!(told(&lab, "app", "1 page differs, of t, and no transaction explains it"), 1);
    daemon.until("what holds", || alerts(&lab, false) == 1);
    // It is told once it held for a minute.
    time.later(2);
    daemon.until("the alert", || alerts(&lab, false) == 1 && heard(&lab) == ["raised"]);
    // A restart forgets nothing, and says nothing anew.
    daemon.stop();
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.until("it has looked", || told(&lab, "app", "is kept, and not proven") == 2);
    flip(&lab.path("app.db"), 4096 * 4 + 3000);
    time.later(70);
    daemon.until("no drift", || told(&lab, "app", ": no drift") == 2);
    daemon.until("what is over", || alerts(&lab, true) == 1);
    time.later(2);
    daemon.until("its end", || alerts(&lab, false) == 0 && heard(&lab).contains(&"over".into()));
    daemon.stop();
    assert_eq!(heard(&lab), ["raised", "over"]);
}

#[test]
fn what_nobody_can_tell_raises_no_alert_and_ends_none() {
    let lab = Lab::new();
    captured(&lab);
    let clock = HeldClock(lab.path("clock"));
    let mut time = Time { clock: &clock, now: Utc::now() };
    time.later(0);
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("app", "is kept");
    time.later(70);
    daemon.says("app", "drift: ");
    assert_eq!(told(&lab, "app", ": no drift"), 1);
    flip(&lab.path("app.db"), 4096 * 4 + 3000);
    time.later(70);
    daemon.says("app", "drift found: ");
    daemon.until("the alert", || alerts(&lab, false) == 1);
    // An ordinary transaction, which nobody followed: now it may have been that.
    lab.sql("app.db", "UPDATE t SET x = 'other' WHERE id = 1");
    time.later(70);
    daemon.says("app", "nobody can tell whether a transaction made that");
    daemon.says("app", "nobody can tell");
    daemon.stop();
    let sql = "SELECT group_concat(result) FROM (SELECT result FROM run WHERE kind = 'drift'
               AND database = 'main/app' ORDER BY id)";
    let db = rusqlite::Connection::open(lab.path("state/daemon.db")).unwrap();
    let results: String = db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!((&*results, alerts(&lab, false)), ("well,found,unknown", 1));
    // The next daemon knows what was known.
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.until("it is up", || told(&lab, "app", "is kept, and not proven") == 2);
    daemon.stop();
    assert_eq!((alerts(&lab, false), alerts(&lab, true)), (1, 0));
}

/// A follower stores what somebody else wrote to the file as a commit, so that nothing differs any
/// more: the alert is its own.
#[test]
fn what_a_follower_finds_to_be_overwritten_is_told() {
    let lab = Lab::new();
    lab.make("app.db", 300);
    lab.sql("app.db", "PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)");
    write(&lab, &format!("{TOLD}sleep-after = \"0s\""));
    let told_of = |lab: &Lab| {
        let sql = "SELECT count(*) FROM alert WHERE state ->> '$.key.kind' = ?1";
        asked(lab, sql, "overwritten")
    };
    let mut daemon = Daemon::start(&lab);
    daemon.says("app", "is kept");
    daemon.says("app", "is kept, and not proven");
    assert_eq!(told_of(&lab), 0);
    flip(&lab.path("app.db"), 4096 * 4 + 3000);
    daemon.says("app", "overwritten by something that is no SQLite");
    daemon.until("the alert", || told_of(&lab) == 1);
    daemon.stop();
}
