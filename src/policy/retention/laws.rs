//! What holds for every policy, history, zone and present time, by random ones; and the rules
//! themselves, against a slow reading of their definitions that shares nothing with them but the
//! zone's clock.
//!
//! `PROPTEST_CASES` sets the number of cases.

use std::collections::BTreeSet;

use super::*;
use chrono::{DateTime, FixedOffset, Offset};
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn zones() -> impl Strategy<Value = Zone> {
    let names = [
        "utc",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "Africa/Cairo",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "+13:45",
        "-00:30",
    ];
    select(names.to_vec()).prop_map(|name| zone(Some(name)).unwrap())
}

/// A commit some time after the one before; now and then with a clock that jumped.
fn gaps() -> impl Strategy<Value = (u64, i64)> {
    let time = prop_oneof![
        6 => 0..2 * HOUR,
        4 => 0..30 * HOUR,
        1 => 0..60 * DAY,
        1 => 0..500 * DAY,
        1 => -3 * DAY..0,
        1 => Just(HOUR),
        1 => Just(DAY),
    ];
    (1u64..3, time)
}

/// A history of some years, and a present time about its end.
fn histories() -> impl Strategy<Value = (Vec<Point>, Timestamp)> {
    // From 2015 on; at a full hour every second time, so that boundaries are met.
    let begin = (400_000i64..480_000, prop_oneof![Just(0), 0..HOUR]);
    let odd = prop::option::weighted(0.2, (any::<Index>(), any::<i64>()));
    let now = prop_oneof![4 => 0..3 * DAY, 1 => Just(0), 1 => -5 * DAY..0, 1 => 0..900 * DAY];
    (begin, prop::collection::vec(gaps(), 0..70), odd, now).prop_map(|(begin, gaps, odd, now)| {
        let mut point = Point { seq: Seq(0), time: Timestamp(begin.0 * HOUR + begin.1) };
        let mut points = Vec::new();
        for (seqs, gap) in gaps {
            point = Point { seq: Seq(point.seq.0 + seqs), time: Timestamp(point.time.0 + gap) };
            points.push(point);
        }
        if let (Some((at, time)), false) = (odd, points.is_empty()) {
            let at = at.index(points.len());
            points[at].time = Timestamp(time);
        }
        (points, Timestamp(point.time.0 + now))
    })
}

fn periods(least_days: i64) -> impl Strategy<Value = Option<Periods>> {
    let span =
        (0i64..20 * 24).prop_map(move |n| TimeDelta::hours(n + least_days * 24 + n * least_days));
    prop_oneof![
        3 => Just(None),
        2 => (1u32..6).prop_map(|n| Some(Periods::Count(n))),
        1 => (1u32..60).prop_map(|n| Some(Periods::Count(n))),
        2 => span.prop_map(|d| Some(Periods::Span(d))),
    ]
}

/// Policies with at least one rule.
fn policies() -> impl Strategy<Value = Policy> {
    let window = prop::option::of((1i64..100 * 24).prop_map(TimeDelta::hours));
    let hourly = periods(0).prop_map(|p| match p {
        Some(Periods::Span(d)) => Some(Periods::Span(d + TimeDelta::hours(1))),
        other => other,
    });
    let few = prop_oneof![3 => Just(0u32), 1 => 0u32..10];
    (window, few.clone(), hourly, periods(1), periods(7), periods(28), periods(365), few).prop_map(
        |(window, last, hourly, daily, weekly, monthly, yearly, floor)| {
            let policy = Policy { window, last, hourly, daily, weekly, monthly, yearly, floor };
            if policy.is_empty() { Policy { last: 1, ..policy } } else { policy }
        },
    )
}

/// Some of the points, and a number that is none.
fn pins(points: &[Point], which: &[Index]) -> BTreeMap<Seq, Vec<String>> {
    let mut pinned = BTreeMap::from([(Seq(u64::MAX), vec!["of no commit".to_owned()])]);
    for index in which.iter().filter(|_| !points.is_empty()) {
        pinned.insert(points[index.index(points.len())].seq, vec!["a hold".to_owned()]);
    }
    pinned
}

fn seqs(plan: &Plan) -> BTreeSet<Seq> {
    plan.kept.iter().map(|k| k.seq).collect()
}

fn survivors(plan: &Plan) -> Vec<Point> {
    plan.kept.iter().map(|k| Point { seq: k.seq, time: k.time }).collect()
}

/// The last commit not after a moment, as a restore selects it.
fn as_of(points: &[Point], moment: i64) -> Option<Seq> {
    points.iter().rev().find(|p| p.time.0 <= moment).map(|p| p.seq)
}

/// A period's name as people write it; `None` beyond the calendar.
fn written(zone: &Zone, time: i64, form: &str) -> Option<String> {
    let utc = DateTime::from_timestamp_micros(time)?;
    let offset = match zone {
        Zone::Named(tz) => TimeZone::offset_from_utc_datetime(tz, &utc.naive_utc()).fix(),
        Zone::Fixed(offset) => *offset,
        _ => FixedOffset::east_opt(0).unwrap(),
    };
    utc.naive_utc().checked_add_offset(offset)?;
    Some(utc.with_timezone(&offset).format(form).to_string())
}

/// The seqs that a period rule keeps, by its definition.
fn by_definition(
    zone: &Zone,
    points: &[Point],
    now: i64,
    form: &str,
    rule: Periods,
) -> BTreeSet<Seq> {
    let dated = |p: &&Point| p.time.0 <= now && written(zone, p.time.0, form).is_some();
    let name = |p: &Point| written(zone, p.time.0, form).unwrap();
    let names: BTreeSet<String> = points.iter().filter(dated).map(name).collect();
    // No two periods overlap: the later one is the one with the latest moment.
    let mut groups: Vec<(i64, Seq, String)> = names
        .into_iter()
        .map(|n| {
            let group = || points.iter().filter(dated).filter(|p| name(p) == n);
            (group().map(|p| p.time.0).max().unwrap(), group().map(|p| p.seq).max().unwrap(), n)
        })
        .collect();
    groups.sort();
    match rule {
        Periods::Count(n) => groups.iter().rev().take(n as usize).map(|g| g.1).collect(),
        Periods::Span(span) => {
            let begin = now - span.num_microseconds().unwrap();
            let first = written(zone, begin + 1, form).unwrap();
            groups.iter().filter(|g| g.0 > begin || g.2 == first).map(|g| g.1).collect()
        }
    }
}

/// Each rule about periods, its reason, and how its periods are written; the offset tells repeated
/// hours apart.
fn forms(policy: &Policy) -> [(Option<Periods>, Reason, &'static str); 5] {
    [
        (policy.hourly, Reason::Hourly, "%Y-%m-%d %H %z"),
        (policy.daily, Reason::Daily, "%Y-%m-%d"),
        (policy.weekly, Reason::Weekly, "%G-W%V"),
        (policy.monthly, Reason::Monthly, "%Y-%m"),
        (policy.yearly, Reason::Yearly, "%Y"),
    ]
}

/// The same policy with one rule more generous.
fn more_generous(policy: &Policy, rule: usize, by: u32) -> Policy {
    let mut more = policy.clone();
    let longer = |d: TimeDelta| d + TimeDelta::hours(i64::from(by));
    let slot = match rule {
        0 => {
            more.window = Some(more.window.map_or(TimeDelta::hours(i64::from(by)), longer));
            return more;
        }
        1 => {
            more.last += by;
            return more;
        }
        2 => &mut more.hourly,
        3 => &mut more.daily,
        4 => &mut more.weekly,
        5 => &mut more.monthly,
        _ => &mut more.yearly,
    };
    *slot = Some(match *slot {
        None => Periods::Count(by),
        Some(Periods::Count(n)) => Periods::Count(n + by),
        Some(Periods::Span(d)) => Periods::Span(longer(d)),
    });
    more
}

proptest! {
    #[test]
    fn every_point_is_kept_or_dropped_and_some_always_are_kept(
        (points, now) in histories(), policy in policies(), zone in zones(),
        which in prop::collection::vec(any::<Index>(), 0..4),
    ) {
        let pinned = pins(&points, &which);
        let plan = zone.plan(&policy, &points, &pinned, now).unwrap();
        let mut all = survivors(&plan);
        all.extend(&plan.dropped);
        all.sort_by_key(|p| p.seq);
        prop_assert_eq!(&all, &points);
        prop_assert!(plan.kept.is_sorted_by(|a, b| a.seq < b.seq));
        prop_assert!(plan.dropped.is_sorted_by(|a, b| a.seq < b.seq));
        prop_assert!(plan.kept.iter().all(|k| !k.reasons.is_empty() && k.reasons.is_sorted()));

        let kept = seqs(&plan);
        prop_assert!(kept.len() >= points.len().min(policy.floor.max(1) as usize));
        prop_assert_eq!(kept.last(), points.last().map(|p| &p.seq));
        for p in &points {
            let window = policy.window.is_some_and(|w| p.time > before(now, w));
            let undated = p.time.to_utc().is_none();
            if p.time > now || window || undated || pinned.contains_key(&p.seq) {
                prop_assert!(kept.contains(&p.seq), "{:?}", p);
            }
        }
        for p in points.iter().rev().take(policy.last as usize) {
            prop_assert!(kept.contains(&p.seq));
        }
    }

    #[test]
    fn the_rules_keep_what_their_definitions_say(
        (points, now) in histories(), policy in policies(), zone in zones(),
    ) {
        let plan = zone.plan(&policy, &points, &no_pins(), now).unwrap();
        for (rule, reason, form) in forms(&policy) {
            let expected = rule.map(|r| by_definition(&zone, &points, now.0, form, r));
            let found = plan.kept.iter().filter(|k| k.reasons.contains(&reason)).map(|k| k.seq);
            prop_assert_eq!(found.collect::<BTreeSet<_>>(), expected.unwrap_or_default());
        }
        // And nothing is kept without a rule.
        let by_rule = |k: &&Kept| !k.reasons.contains(&Reason::Floor);
        for k in plan.kept.iter().filter(by_rule) {
            let future = k.time > now;
            let begin = policy.window.map(|w| before(now, w));
            for reason in &k.reasons {
                prop_assert!(match reason {
                    Reason::Newest => points.last().is_some_and(|p| p.seq == k.seq),
                    Reason::Last =>
                        points.iter().rev().take(policy.last as usize).any(|p| p.seq == k.seq),
                    Reason::Window => !future && begin.is_some_and(|b| k.time > b),
                    Reason::WindowEdge => begin.and_then(|b| as_of(&points, b.0)) == Some(k.seq),
                    Reason::Future => future,
                    Reason::Undated => WallTime::of(k.time, &Utc).is_none(),
                    Reason::Pinned(_) | Reason::Floor => false,
                    _ => !future,
                }, "{:?}", k);
            }
        }
    }

    #[test]
    fn every_moment_of_the_window_restores_to_what_it_did(
        (points, now) in histories(), policy in policies(), zone in zones(), share in 0.0..1.0f64,
    ) {
        let Some(window) = policy.window else { return Ok(()) };
        let begin = before(now, window).0;
        let plan = zone.plan(&policy, &points, &no_pins(), now).unwrap();
        let within = |t: &i64| (begin..=now.0).contains(t);
        let within_hours = window.num_hours();
        let hour = (0..=within_hours).find(|h| within_hours as f64 * share <= *h as f64);
        let moments = points.iter().flat_map(|p| [p.time.0, p.time.0.saturating_sub(1)]);
        let moments = moments.chain([begin, now.0, begin + hour.unwrap_or(0) * HOUR]);
        for moment in moments.filter(within) {
            prop_assert_eq!(as_of(&points, moment), as_of(&survivors(&plan), moment));
        }
    }

    #[test]
    fn planning_again_drops_nothing(
        (points, now) in histories(), policy in policies(), zone in zones(),
        which in prop::collection::vec(any::<Index>(), 0..4),
    ) {
        let pinned = pins(&points, &which);
        let once = zone.plan(&policy, &points, &pinned, now).unwrap();
        let again = zone.plan(&policy, &survivors(&once), &pinned, now).unwrap();
        prop_assert_eq!(again.kept, once.kept);
        prop_assert_eq!(again.dropped, vec![]);
    }

    #[test]
    fn what_others_left_of_the_dropped_changes_nothing(
        (points, now) in histories(), policy in policies(), zone in zones(), left in any::<u64>(),
    ) {
        let once = zone.plan(&policy, &points, &no_pins(), now).unwrap();
        let kept = seqs(&once);
        let some = |p: &&Point| kept.contains(&p.seq) || left >> (p.seq.0 % 64) & 1 == 1;
        let rest: Vec<Point> = points.iter().filter(some).copied().collect();
        let again = zone.plan(&policy, &rest, &no_pins(), now).unwrap();
        prop_assert_eq!(again.kept, once.kept);
    }

    #[test]
    fn a_more_generous_rule_keeps_what_was_kept(
        (points, now) in histories(), policy in policies(), zone in zones(),
        rule in 0usize..7, by in 1u32..200,
    ) {
        let less = zone.plan(&policy, &points, &no_pins(), now).unwrap();
        let more = more_generous(&policy, rule, by);
        let more = seqs(&zone.plan(&more, &points, &no_pins(), now).unwrap());
        // What only the floor keeps makes room for what a rule keeps.
        for k in less.kept.iter().filter(|k| k.reasons != [Reason::Floor]) {
            prop_assert!(more.contains(&k.seq), "{:?}", k);
        }
        let higher = Policy { floor: policy.floor + by, ..policy };
        let higher = zone.plan(&higher, &points, &no_pins(), now).unwrap();
        prop_assert!(seqs(&higher).is_superset(&seqs(&less)));
    }
}

fn no_pins() -> BTreeMap<Seq, Vec<String>> {
    BTreeMap::new()
}

proptest! {
    // Each is a year of pruning.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn pruning_every_day_leaves_what_pruning_once_would(
        policy in policies(), zone in zones(), begin in 400_000i64..480_000,
        hours in prop::collection::vec(1i64..40, 1..20), at in 0..DAY,
    ) {
        let mut all = Vec::new();
        let mut alive: Vec<Point> = Vec::new();
        let mut now = begin * HOUR + at;
        let end = now + 366 * DAY;
        let mut next = begin * HOUR;
        let mut gaps = hours.iter().cycle();
        while now <= end {
            while next <= now {
                let seq = Seq(all.len() as u64 + 1);
                all.push(Point { seq, time: Timestamp(next) });
                alive.push(Point { seq, time: Timestamp(next) });
                next += gaps.next().unwrap() * HOUR;
            }
            let there = alive.len();
            let plan = zone.plan(&policy, &alive, &no_pins(), Timestamp(now)).unwrap();
            prop_assert!(plan.kept.len() >= there.min(policy.floor.max(1) as usize));
            alive = survivors(&plan);
            now += DAY;
        }
        let last = Timestamp(now - DAY);
        // What the floor keeps depends on what else there was at the time.
        let rules = Policy { floor: 0, ..policy.clone() };
        let once = zone.plan(&rules, &all, &no_pins(), last).unwrap();
        let alive_seqs: BTreeSet<Seq> = alive.iter().map(|p| p.seq).collect();
        prop_assert!(alive_seqs.is_superset(&seqs(&once)));
        if policy.floor == 0 {
            prop_assert_eq!(alive, survivors(&once));
        }
    }
}

#[test]
fn a_million_commits_take_no_square_time() {
    let point = |n: i64| Point { seq: Seq(n.unsigned_abs() + 1), time: Timestamp(n * 60 * SECOND) };
    let points: Vec<Point> = (0..1_000_000).map(point).collect();
    let policy = Policy {
        hourly: Some(Periods::Count(u32::MAX)),
        daily: Some(Periods::Count(7)),
        window: Some(TimeDelta::days(30)),
        ..Policy::default()
    };
    let now = points.last().unwrap().time;
    let plan = policy.plan(&points, &no_pins(), now, &Tz::Europe__Berlin).unwrap();
    assert_eq!(plan.kept.len() + plan.dropped.len(), points.len());
    assert!(plan.kept.len() > 16_000 + 30 * 24 * 59);
}
