//! Each rule by example; the laws that hold for all of them are in `laws`.

use super::*;
use chrono::DateTime;
use chrono_tz::{America, Asia, Europe};

fn at(rfc3339: &str) -> Timestamp {
    Timestamp(DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros())
}

/// Numbered from 1.
fn history(times: &[&str]) -> Vec<Point> {
    (1..).zip(times).map(|(seq, time)| Point { seq: Seq(seq), time: at(time) }).collect()
}

fn no_pins() -> BTreeMap<Seq, Vec<String>> {
    BTreeMap::new()
}

/// `seq: reasons` of what is kept.
fn kept(policy: &Policy, points: &[Point], now: &str, zone: &impl TimeZone) -> Vec<String> {
    let plan = policy.plan(points, &no_pins(), at(now), zone).unwrap();
    plan.kept.iter().map(line).collect()
}

fn line(kept: &Kept) -> String {
    let reasons: Vec<&str> = kept.reasons.iter().map(Reason::name).collect();
    format!("{}: {}", kept.seq, reasons.join(" "))
}

fn hours(n: i64) -> Option<Periods> {
    Some(Periods::Span(TimeDelta::hours(n)))
}

fn count(n: u32) -> Option<Periods> {
    Some(Periods::Count(n))
}

/// The policy that keeps the last so many commits and has no other rule.
fn last(n: u32) -> Policy {
    Policy { last: n, ..Policy::default() }
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    for policy in [Policy::default(), Policy { floor: 5, ..Policy::default() }] {
        assert!(policy.is_empty());
        let e = policy.plan(&[], &no_pins(), Timestamp(0), &Utc).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Refused);
        assert!(e.object().is_some());
        assert!(e.remedy() == Some(&Remedy::SayPolicy));
    }
    let day = Some(TimeDelta::days(1));
    for policy in [
        last(1),
        Policy { window: day, ..Policy::default() },
        Policy { hourly: count(1), ..Policy::default() },
        Policy { daily: count(1), ..Policy::default() },
        Policy { weekly: count(1), ..Policy::default() },
        Policy { monthly: count(1), ..Policy::default() },
        Policy { yearly: count(1), ..Policy::default() },
    ] {
        assert!(!policy.is_empty(), "{policy:?}");
        assert_eq!(policy.plan(&[], &no_pins(), Timestamp(0), &Utc).unwrap(), Plan::default());
    }
}

#[test]
fn rules_that_can_keep_nothing_are_usage_errors() {
    let days = |n| Some(Periods::Span(TimeDelta::days(n)));
    for (policy, object) in [
        (Policy { window: Some(TimeDelta::zero()), ..last(1) }, "keep-window"),
        (Policy { window: Some(TimeDelta::hours(-1)), ..last(1) }, "keep-window"),
        (Policy { window: Some(TimeDelta::MIN), ..last(1) }, "keep-window"),
        (Policy { hourly: count(0), ..Policy::default() }, "keep-hourly"),
        (Policy { hourly: hours(0), ..last(1) }, "keep-hourly"),
        (Policy { daily: count(0), ..last(1) }, "keep-daily"),
        (Policy { daily: hours(-24), ..last(1) }, "keep-daily"),
        (Policy { daily: hours(23), ..last(1) }, "keep-daily"),
        (Policy { weekly: days(6), ..last(1) }, "keep-weekly"),
        (Policy { monthly: days(27), ..last(1) }, "keep-monthly"),
        (Policy { yearly: days(364), ..last(1) }, "keep-yearly"),
        (Policy { yearly: Some(Periods::Span(TimeDelta::MIN)), ..last(1) }, "keep-yearly"),
    ] {
        let e = policy.plan(&[], &no_pins(), Timestamp(0), &Utc).unwrap_err();
        assert_eq!((e.kind(), e.object()), (ErrorKind::Usage, Some(object)), "{policy:?}");
    }
    let shortest = Policy {
        hourly: hours(1),
        daily: days(1),
        weekly: days(7),
        monthly: days(28),
        yearly: days(365),
        ..Policy::default()
    };
    assert!(shortest.plan(&[], &no_pins(), Timestamp(0), &Utc).is_ok());
}

#[test]
fn points_out_of_order_are_refused() {
    let point = |seq| Point { seq: Seq(seq), time: Timestamp(0) };
    for points in [[point(2), point(1)], [point(1), point(1)]] {
        let e = last(1).plan(&points, &no_pins(), Timestamp(0), &Utc).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Usage);
    }
}

#[test]
fn the_last_are_those_of_the_highest_numbers() {
    // The clock went back a year before the third.
    let points = history(&["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2023-01-01T00:00:00Z"]);
    let now = "2024-01-02T00:00:00Z";
    assert_eq!(kept(&last(2), &points, now, &Utc), ["2: last", "3: newest last"]);
    assert_eq!(kept(&last(u32::MAX), &points, now, &Utc).len(), 3);
}

#[test]
fn the_window_has_the_state_it_began_with() {
    let points = history(&[
        "2024-05-01T10:00:00Z",
        "2024-05-01T11:00:00Z",
        "2024-05-01T12:00:00.000001Z",
        "2024-05-02T11:00:00Z",
    ]);
    let policy = Policy { window: Some(TimeDelta::days(1)), ..Policy::default() };
    assert_eq!(
        kept(&policy, &points, "2024-05-02T12:00:00Z", &Utc),
        ["2: window-edge", "3: window", "4: newest window"]
    );
    // At its very beginning a commit is still before the window, and is what the window began with.
    assert_eq!(
        kept(&policy, &points, "2024-05-02T12:00:00.000001Z", &Utc),
        ["3: window-edge", "4: newest window"]
    );
    assert_eq!(kept(&policy, &points, "2024-06-02T12:00:00Z", &Utc), ["4: newest window-edge"]);
}

#[test]
fn the_window_began_with_the_highest_number_before_it() {
    // The clock went back an hour: a restore to 12:00 takes the second, as it is the last not after
    // 12:00.
    let points = history(&["2024-05-01T11:30:00Z", "2024-05-01T10:45:00Z", "2024-05-01T12:15:00Z"]);
    let policy = Policy { window: Some(TimeDelta::hours(1)), ..Policy::default() };
    assert_eq!(
        kept(&policy, &points, "2024-05-01T13:00:00Z", &Utc),
        ["2: window-edge", "3: newest window"]
    );
}

#[test]
fn counts_pass_over_periods_without_commits() {
    let points = history(&[
        "2021-02-01T00:00:00Z",
        "2022-03-01T08:00:00Z",
        "2022-03-01T09:00:00Z",
        "2024-05-03T10:00:00Z",
        "2024-05-03T10:30:00Z",
    ]);
    let now = "2026-01-01T00:00:00Z";
    let of = |policy: Policy| kept(&policy, &points, now, &Utc);
    let none = Policy::default;
    assert_eq!(of(Policy { hourly: count(2), ..none() }), ["3: hourly", "5: newest hourly"]);
    assert_eq!(of(Policy { daily: count(2), ..none() }), ["3: daily", "5: newest daily"]);
    assert_eq!(of(Policy { weekly: count(2), ..none() }), ["3: weekly", "5: newest weekly"]);
    assert_eq!(of(Policy { monthly: count(2), ..none() }), ["3: monthly", "5: newest monthly"]);
    assert_eq!(of(Policy { yearly: count(2), ..none() }), ["3: yearly", "5: newest yearly"]);
    assert_eq!(of(Policy { yearly: count(1), ..none() }), ["5: newest yearly"]);
    assert_eq!(of(Policy { yearly: count(9), ..none() }).len(), 3);
}

#[test]
fn spans_take_every_period_that_overlaps_them() {
    let points = history(&[
        "2024-05-01T08:00:00Z",
        "2024-05-01T09:00:00Z",
        "2024-05-02T08:00:00Z",
        "2024-05-02T09:00:00Z",
        "2024-05-03T10:00:00Z",
    ]);
    let policy = Policy { daily: hours(24), ..Policy::default() };
    // The span begins on the second, after its commits; the day overlaps it all the same.
    assert_eq!(
        kept(&policy, &points, "2024-05-03T12:00:00Z", &Utc),
        ["4: daily", "5: newest daily"]
    );
    // It begins with midnight, when the second began: no moment of the first is in it, and then one
    // is.
    let policy = Policy { daily: hours(48), ..Policy::default() };
    assert_eq!(
        kept(&policy, &points, "2024-05-04T00:00:00Z", &Utc),
        ["4: daily", "5: newest daily"]
    );
    assert_eq!(
        kept(&policy, &points, "2024-05-03T23:59:59.999999Z", &Utc),
        ["4: daily", "5: newest daily"],
    );
    assert_eq!(
        kept(&policy, &points, "2024-05-03T23:59:59.999998Z", &Utc),
        ["2: daily", "4: daily", "5: newest daily"]
    );
    // Where nothing was committed for long, a span keeps no more than the newest.
    assert_eq!(kept(&policy, &points, "2025-05-03T00:00:00Z", &Utc), ["5: newest"]);
}

#[test]
fn the_last_of_a_period_has_the_highest_number_whatever_its_time() {
    let points = history(&["2024-05-01T20:00:00Z", "2024-05-01T08:00:00Z", "2024-05-02T08:00:00Z"]);
    let policy = Policy { daily: count(2), ..Policy::default() };
    assert_eq!(
        kept(&policy, &points, "2024-05-02T09:00:00Z", &Utc),
        ["2: daily", "3: newest daily"]
    );
    // A period is new by its time, not by the numbers in it.
    let points = history(&["2024-05-03T08:00:00Z", "2024-05-02T08:00:00Z", "2024-05-01T08:00:00Z"]);
    assert_eq!(
        kept(&policy, &points, "2024-05-04T00:00:00Z", &Utc),
        ["1: daily", "2: daily", "3: newest"]
    );
}

#[test]
fn the_repeated_hour_keeps_two() {
    let berlin = history(&[
        "2024-10-27T02:15:00+02:00",
        "2024-10-27T02:45:00+02:00",
        "2024-10-27T02:15:00+01:00",
        "2024-10-27T02:45:00+01:00",
        "2024-10-27T03:15:00+01:00",
    ]);
    let policy = |n| Policy { hourly: count(n), ..Policy::default() };
    let now = "2024-10-27T04:00:00+01:00";
    assert_eq!(
        kept(&policy(3), &berlin, now, &Europe::Berlin),
        ["2: hourly", "4: hourly", "5: newest hourly"]
    );
    assert_eq!(kept(&policy(2), &berlin, now, &Europe::Berlin), ["4: hourly", "5: newest hourly"]);
    let york = history(&["2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00"]);
    assert_eq!(
        kept(&policy(9), &york, "2024-11-03T02:00:00-05:00", &America::New_York),
        ["1: hourly", "2: newest hourly"]
    );
    // All of it is one day, of 25 hours.
    let daily = Policy { daily: count(9), ..Policy::default() };
    assert_eq!(kept(&daily, &berlin, now, &Europe::Berlin), ["5: newest daily"]);
}

#[test]
fn periods_are_those_of_the_zone() {
    let points = history(&["2024-05-01T18:29:00Z", "2024-05-01T18:31:00Z"]);
    let policy = Policy { hourly: count(9), daily: count(9), ..Policy::default() };
    let now = "2024-05-02T00:00:00Z";
    assert_eq!(kept(&policy, &points, now, &Utc), ["2: newest hourly daily"]);
    let both = ["1: hourly daily", "2: newest hourly daily"];
    assert_eq!(kept(&policy, &points, now, &Asia::Kolkata), both);
    for name in ["Asia/Kolkata", "+05:30"] {
        let zone = zone(Some(name)).unwrap();
        let plan = zone.plan(&policy, &points, &no_pins(), at(now)).unwrap();
        assert_eq!(plan.kept.iter().map(line).collect::<Vec<_>>(), both);
    }
    let utc = Zone::Utc.plan(&policy, &points, &no_pins(), at(now)).unwrap();
    assert_eq!(utc.dropped, points[..1]);
    let local = Zone::Local.plan(&policy, &points, &no_pins(), at(now)).unwrap();
    assert_eq!(local, policy.plan(&points, &no_pins(), at(now), &Local).unwrap());
}

#[test]
fn what_is_dated_in_the_future_stays_and_uses_no_period_up() {
    let points = history(&[
        "2024-05-01T00:00:00Z",
        "2024-05-02T00:00:00Z",
        "2034-05-01T00:00:00Z",
        "2034-05-02T00:00:00Z",
        "2024-05-03T00:00:00Z",
    ]);
    let policy = Policy { daily: count(2), ..Policy::default() };
    assert_eq!(
        kept(&policy, &points, "2024-05-03T00:00:00Z", &Utc),
        ["2: daily", "3: future", "4: future", "5: newest daily"]
    );
    let window = Policy { window: Some(TimeDelta::days(2)), last: 2, ..Policy::default() };
    assert_eq!(
        kept(&window, &points, "2024-05-03T00:00:00Z", &Utc),
        ["1: window-edge", "2: window", "3: future", "4: last future", "5: newest last window"]
    );
}

#[test]
fn what_is_pinned_stays_with_every_text() {
    let points = history(&["2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z", "2024-05-03T00:00:00Z"]);
    let pinned = BTreeMap::from([
        (Seq(1), vec!["label \"release\"".to_owned(), "held by audit".to_owned()]),
        (Seq(2), vec![]),
        (Seq(7), vec!["of no commit".to_owned()]),
    ]);
    let plan = last(1).plan(&points, &pinned, at("2024-05-03T00:00:00Z"), &Utc).unwrap();
    let texts = plan.kept.iter().map(|k| k.reasons.iter().map(Reason::to_string).collect());
    assert_eq!(
        texts.collect::<Vec<Vec<_>>>(),
        [
            vec!["label \"release\"", "held by audit"],
            vec!["pinned"],
            vec!["the newest commit", "one of the last commits"]
        ]
    );
    assert!(plan.dropped.is_empty());
}

#[test]
fn the_floor_adds_the_newest_of_what_would_go() {
    let points = history(&["2024-05-01T00:00:00Z"; 6]);
    let pinned = BTreeMap::from([(Seq(2), vec!["a hold".to_owned()])]);
    let floor = |floor| {
        let policy = Policy { floor, ..last(1) };
        let plan = policy.plan(&points, &pinned, at("2024-05-01T00:00:00Z"), &Utc).unwrap();
        plan.kept.iter().map(line).collect::<Vec<_>>()
    };
    for low in 0..=2 {
        assert_eq!(floor(low), ["2: pinned", "6: newest last"]);
    }
    assert_eq!(floor(4), ["2: pinned", "4: floor", "5: floor", "6: newest last"]);
    assert_eq!(floor(u32::MAX).len(), 6);
}

#[test]
fn times_beyond_the_calendar_are_kept_and_nothing_panics() {
    let times = [i64::MIN, at("2024-05-01T00:00:00Z").0, at("2024-05-01T00:00:01Z").0, i64::MAX, 0];
    let points: Vec<Point> = (1..)
        .zip(times)
        .map(|(seq, time)| Point { seq: Seq(seq), time: Timestamp(time) })
        .collect();
    let plan = |policy: &Policy, now: i64, zone: &str| {
        let plan = zone_named(zone).plan(policy, &points, &no_pins(), Timestamp(now)).unwrap();
        plan.kept.iter().map(line).collect::<Vec<_>>()
    };
    let now = at("2024-05-02T00:00:00Z").0;
    let daily = Policy { daily: count(2), ..Policy::default() };
    assert_eq!(
        plan(&daily, now, "utc"),
        ["1: undated", "3: daily", "4: future undated", "5: newest daily"]
    );
    // From before the calendar on: every day there is.
    let forever = Policy { daily: Some(Periods::Span(TimeDelta::MAX)), ..Policy::default() };
    assert_eq!(plan(&forever, now, "utc"), plan(&daily, now, "utc"));
    // From after the calendar on: none.
    let day = Policy { daily: hours(24), ..Policy::default() };
    assert_eq!(plan(&day, i64::MAX, "utc"), ["1: undated", "4: undated", "5: newest"]);
    let all = Policy {
        window: Some(TimeDelta::MAX),
        last: 1,
        hourly: Some(Periods::Span(TimeDelta::MAX)),
        daily: hours(24),
        weekly: count(u32::MAX),
        monthly: count(1),
        yearly: Some(Periods::Span(TimeDelta::MAX)),
        floor: 3,
    };
    for zone in ["local", "utc", "Europe/Berlin", "Asia/Kolkata", "+23:59", "-23:59"] {
        for now in [i64::MIN, i64::MIN + 1, 0, now, i64::MAX - 1, i64::MAX] {
            let kept = plan(&all, now, zone);
            assert!(kept.len() >= 3, "{zone} {now} {kept:?}");
        }
    }
}

fn zone_named(name: &str) -> Zone {
    zone(Some(name)).unwrap()
}

#[test]
fn every_reason_has_a_name_and_a_text_and_they_come_in_order() {
    let all = [
        Reason::Newest,
        Reason::Last,
        Reason::Window,
        Reason::WindowEdge,
        Reason::Hourly,
        Reason::Daily,
        Reason::Weekly,
        Reason::Monthly,
        Reason::Yearly,
        Reason::Pinned("a hold".to_owned()),
        Reason::Future,
        Reason::Undated,
        Reason::Floor,
    ];
    assert!(all.is_sorted());
    let mut names: Vec<&str> = all.iter().map(Reason::name).collect();
    assert_eq!(
        names,
        [
            "newest",
            "last",
            "window",
            "window-edge",
            "hourly",
            "daily",
            "weekly",
            "monthly",
            "yearly",
            "pinned",
            "future",
            "undated",
            "floor"
        ]
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert_eq!(Reason::Undated.to_string(), "its time is beyond the calendar");
    assert!(all.iter().all(|r| !r.to_string().is_empty()));
}
