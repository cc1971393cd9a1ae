use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::daemon::config::Config;

const HOUR: Duration = Duration::from_secs(3600);

fn plan(more: &str) -> Arc<Plan> {
    let text = format!(
        "[repositories.main]\nlocation = \"r\"\nkey-file = \"k\"\n[[databases]]\npath = \"a.db\"\ntime-zone = \"UTC\"\n{more}"
    );
    let config = Config::parse(Path::new("/x.toml"), &text).unwrap();
    config.targets[0].plan.clone()
}

/// Midnight of some day.
const DAY: Timestamp = Timestamp(20_000 * 86_400 * 1_000_000);

fn at(hours: u32) -> Timestamp {
    DAY.after(HOUR * hours)
}

fn snapshots() -> Arc<Plan> {
    plan(
        "mode = \"snapshots\"\nschedule = \"daily at 03:00\"\nverify.data = \"never\"\nverify.restore = \"never\"",
    )
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut agenda = Agenda::new(&snapshots(), "a", at(0), &BTreeMap::new());
    assert_eq!(agenda.turn(true, at(2)), None);
    // Four days later.
    let turn = agenda.turn(true, at(4 * 24 + 12)).unwrap();
    assert_eq!((turn.kind, turn.scheduled, turn.missed), (Kind::Backup, at(4 * 24 + 3), 4));
    agenda.begun(turn);
    agenda.ended(turn.kind, Ended::Well, at(4 * 24 + 13));
    assert_eq!(agenda.turn(true, at(5 * 24 + 2)), None);
    assert_eq!(agenda.turn(true, at(5 * 24 + 3)).unwrap().missed, 0);
    // The next daemon knows.
    let last = BTreeMap::from([(Kind::Backup, at(4 * 24 + 3))]);
    let agenda = Agenda::new(&snapshots(), "a", at(0), &last);
    assert_eq!(agenda.turn(true, at(5 * 24 + 2)), None);
}

#[test]
fn what_is_remembered_of_a_quiet_agenda_changes_no_answer() {
    let plans = [
        snapshots(),
        plan("mode = \"snapshots\"\nschedule = \"every 15m\"\njitter = \"10m\"\nfiles = [\"f\"]"),
        plan("drift = \"daily at 02:00\"\nfiles = [\"f\"]\npolicy = { keep-daily = 3 }"),
        plan("verify.data = \"every 40m\"\nverify.restore = \"daily at 11:00\""),
    ];
    let mut dice = 7_u64;
    let mut roll = |n: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % n
    };
    let (mut quiet, mut turns) = (0, 0);
    for plan in &plans {
        for _ in 0..20 {
            let mut agenda = Agenda::new(plan, "a", at(100), &BTreeMap::new());
            let (mut now, mut has_commit) = (at(100), false);
            for _ in 0..400 {
                now = match roll(40) {
                    // Clocks are set back, too: by little, and by much.
                    0 => now.before(Duration::from_secs(roll(3600))),
                    1 => now.before(Duration::from_secs(roll(10 * 86_400))),
                    2 => now.after(Duration::from_secs(roll(86_400))),
                    _ => now.after(Duration::from_secs(roll(400))),
                };
                has_commit ^= roll(50) == 0;
                let told = agenda.turn(has_commit, now);
                assert_eq!(agenda.turn_soon(has_commit, now), told, "{now:?}");
                let Some(turn) = told else {
                    quiet += 1;
                    continue;
                };
                turns += 1;
                if roll(3) > 0 {
                    agenda.begun(turn);
                    let ended = [Ended::Well, Ended::Failed, Ended::Found, Ended::Stopped];
                    agenda.ended(turn.kind, ended[usize::try_from(roll(4)).unwrap()], now);
                }
            }
        }
    }
    assert!(quiet > 500 && turns > 500, "{quiet} {turns}");
}

#[test]
fn what_failed_is_tried_again_later_each_time_until_its_next_time() {
    let mut agenda = Agenda::new(&snapshots(), "a", at(0), &BTreeMap::new());
    let mut now = at(3);
    let mut waits = Vec::new();
    for _ in 0..40 {
        let turn = agenda.turn(true, now).unwrap();
        if turn.scheduled > at(3) {
            assert_eq!(turn.scheduled, at(27));
            break;
        }
        agenda.begun(turn);
        agenda.ended(turn.kind, Ended::Failed, now);
        let failed = now;
        while agenda.turn(true, now).is_none() {
            now = now.after(Duration::from_secs(1));
        }
        waits.push(now.0 - failed.0);
    }
    assert!(waits.len() > 5 && waits[..4].is_sorted(), "{waits:?}");
    assert!(now == at(27), "{now:?}");
    // What was stopped goes on at once, and what did well waits.
    let turn = agenda.turn(true, now).unwrap();
    agenda.begun(turn);
    agenda.ended(turn.kind, Ended::Stopped, now);
    assert_eq!(agenda.turn(true, now), Some(turn));
    agenda.begun(turn);
    agenda.ended(turn.kind, Ended::Found, now);
    assert_eq!(agenda.turn(true, now.after(HOUR)), None);
}

#[test]
fn each_kind_has_its_own_schedule_and_none_is_forgotten() {
    let plan = plan(
        "verify.data = \"daily at 01:00\"\nverify.restore = \"sun at 01:00\"\npolicy = { keep-last = 3 }\nprune = \"daily at 01:00\"",
    );
    let mut agenda = Agenda::new(&plan, "a", at(0), &BTreeMap::new());
    assert_eq!(agenda.turn(false, at(13 * 24)), None);
    let mut ran: BTreeMap<Kind, u32> = BTreeMap::new();
    for hour in 0..14 * 24 {
        while let Some(turn) = agenda.turn(true, at(hour)) {
            agenda.begun(turn);
            agenda.ended(turn.kind, Ended::Well, at(hour));
            *ran.entry(turn.kind).or_default() += 1;
        }
    }
    // The first restore waits for nothing.
    let expected =
        BTreeMap::from([(Kind::VerifyData, 14), (Kind::VerifyRestore, 3), (Kind::Prune, 14)]);
    assert_eq!(ran, expected);
}

#[test]
fn files_come_right_after_the_snapshot_that_they_belong_to() {
    // Spans and jitter would put each job of a database at a moment of its own.
    for (schedule, jitter) in [("every 1h", "0s"), ("daily at 03:00", "2h"), ("@hourly", "20m")] {
        let plan = plan(&format!(
            "mode = \"snapshots\"\nschedule = \"{schedule}\"\njitter = \"{jitter}\"\nfiles = [\"x\"]\n\
             verify.data = \"never\"\nverify.restore = \"never\""
        ));
        let mut agenda = Agenda::new(&plan, "a", at(0), &BTreeMap::new());
        // Without a commit there is nothing that they belong to.
        let first = (0..60 * 48).map(|m| at(0).after(Duration::from_secs(60) * m));
        let first = first.into_iter().find_map(|now| Some((now, agenda.turn(false, now)?)));
        let (mut now, turn) = first.unwrap();
        assert_eq!(turn.kind, Kind::Backup, "{schedule}");
        agenda.begun(turn);
        assert_eq!(agenda.turn(false, now), None, "{schedule}");
        agenda.ended(Kind::Backup, Ended::Well, now);
        let files = agenda.turn(true, now).unwrap();
        assert_eq!(files.kind, Kind::Files, "{schedule}");
        agenda.begun(files);
        agenda.ended(Kind::Files, Ended::Well, now);
        let mut order = Vec::new();
        for _ in 0..60 * 48 {
            now = now.after(Duration::from_secs(60));
            while let Some(turn) = agenda.turn(true, now) {
                order.push((turn.kind, now));
                agenda.begun(turn);
                agenda.ended(turn.kind, Ended::Well, now);
            }
        }
        assert!(order.len() >= 2, "{schedule}");
        for pair in order.chunks(2) {
            let [(Kind::Backup, snapshot), (Kind::Files, files)] = pair else {
                panic!("{schedule}: {pair:?}")
            };
            assert_eq!(snapshot, files, "{schedule}");
        }
    }
}

#[test]
fn files_with_a_schedule_of_their_own_keep_to_it() {
    let plan = plan(
        "mode = \"snapshots\"\nschedule = \"daily at 03:00\"\nfiles = [\"x\"]\n\
         files-schedule = \"daily at 15:00\"\nverify.data = \"never\"\nverify.restore = \"never\"",
    );
    let last = BTreeMap::from([(Kind::Backup, at(3)), (Kind::Files, at(0))]);
    let agenda = Agenda::new(&plan, "a", at(0), &last);
    assert_eq!(agenda.turn(true, at(14)), None);
    assert_eq!(agenda.turn(true, at(15)).map(|turn| turn.kind), Some(Kind::Files));
}

#[test]
fn a_prune_that_could_not_decide_is_tried_again_before_its_next_time() {
    let mut agenda = Agenda::new(
        &plan(
            "policy = { keep-last = 2 }\nprune = \"daily at 03:00\"\nverify.data = \"never\"\nverify.restore = \"never\"",
        ),
        "a",
        at(0),
        &BTreeMap::new(),
    );
    let turn = agenda.turn(true, at(3)).unwrap();
    assert_eq!(turn.kind, Kind::Prune);
    agenda.begun(turn);
    agenda.ended(Kind::Prune, Ended::Unknown, at(3));
    assert_eq!(agenda.turn(true, at(3)), None);
    let again = agenda.turn(true, at(4)).unwrap();
    assert_eq!((again.kind, again.scheduled), (Kind::Prune, at(3)));
    agenda.begun(again);
    agenda.ended(Kind::Prune, Ended::Well, at(4));
    assert_eq!(agenda.turn(true, at(5)), None);
}
