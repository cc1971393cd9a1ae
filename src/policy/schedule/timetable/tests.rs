use super::super::tests::at;
use super::*;
use chrono_tz::Tz;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn table(text: &str, jitter: Duration) -> Timetable {
    let schedule = Schedule::parse(text).unwrap();
    Timetable::new(schedule, Zone::Named(Tz::Europe__Berlin), "app", jitter)
}

fn plain(text: &str) -> Timetable {
    table(text, Duration::ZERO)
}

fn now(scheduled: &str, missed: usize) -> Due {
    Due::Now { scheduled: at(scheduled), missed, is_clock_back: false }
}

#[test]
fn what_was_missed_is_made_up_for_by_one_run() {
    let daily = plain("0 3 * * *");
    let known = at("2026-11-20T12:00:00Z");
    let last = Some(at("2026-11-22T02:00:00Z"));
    // Asleep over the 23rd and the 24th, and just before the 25th.
    assert_eq!(daily.due(last, known, at("2026-11-25T01:59:59Z")), now("2026-11-24T02:00:00Z", 1));
    assert_eq!(daily.due(last, known, at("2026-11-25T02:00:00Z")), now("2026-11-25T02:00:00Z", 2));
    let caught_up = daily.due(Some(at("2026-11-24T02:00:00Z")), known, at("2026-11-25T01:59:59Z"));
    let next = at("2026-11-25T02:00:00Z");
    assert_eq!(caught_up, Due::Later(Occurrence { scheduled: next, begin: next }));
    // What was before a database was known is not made up for.
    let first = at("2026-11-21T02:00:00Z");
    let new = daily.due(None, known, at("2026-11-20T12:00:01Z"));
    assert_eq!(new, Due::Later(Occurrence { scheduled: first, begin: first }));
    assert_eq!(daily.due(None, known, first), now("2026-11-21T02:00:00Z", 0));
    // Counting ends.
    let minutes = plain("* * * * *").due(last, known, at("2027-11-25T02:00:30Z"));
    assert_eq!(minutes, now("2027-11-25T02:00:00Z", MOST_MISSED));
    assert_eq!(plain("0 0 29 2 *").due(None, known, at("2027-01-01T00:00:00Z")), {
        let leap = at("2028-02-28T23:00:00Z");
        Due::Later(Occurrence { scheduled: leap, begin: leap })
    });
    assert_eq!(daily.due(None, Timestamp(i64::MAX), Timestamp(i64::MAX)), Due::Never);
}

#[test]
fn a_clock_set_back_neither_repeats_a_run_nor_silences_the_schedule() {
    let quarter = plain("*/15 * * * *");
    let known = at("2026-01-01T00:00:00Z");
    let last = Some(at("2026-11-25T12:00:00Z"));
    // By seconds, or by less than a quarter of an hour: the run of noon is not repeated.
    for back in ["2026-11-25T11:59:58Z", "2026-11-25T11:46:00Z", "2026-11-25T12:00:00Z"] {
        let next = at("2026-11-25T12:15:00Z");
        let later = Due::Later(Occurrence { scheduled: next, begin: next });
        assert_eq!(quarter.due(last, known, at(back)), later, "{back}");
    }
    // By years: it was the wrong clock that made noon.
    let far = Due::Now { scheduled: at("2024-11-25T11:00:00Z"), missed: 0, is_clock_back: true };
    let back = at("2024-11-25T11:07:00Z");
    assert_eq!(quarter.due(last, known, back), far);
    // And of a database that was seen first by that clock.
    assert_eq!(quarter.due(None, known, back), far);
    let next = at("2024-11-25T11:15:00Z");
    let after_it = quarter.due(Some(at("2024-11-25T11:00:00Z")), known, back);
    assert_eq!(after_it, Due::Later(Occurrence { scheduled: next, begin: next }));
}

#[test]
fn retries_wait_longer_and_longer_and_leave_the_next_run_alone() {
    let minute = Duration::from_secs(60);
    for (failures, wait) in [(0, 1), (1, 1), (2, 5), (3, 15), (4, 30), (5, 60), (u32::MAX, 60)] {
        let delay = backoff(failures, "app");
        assert!(delay >= wait * minute && delay < wait * minute * 5 / 4, "{failures}: {delay:?}");
    }
    assert_ne!(backoff(1, "app"), backoff(1, "shop"));
    let daily = plain("0 3 * * *");
    let failed = at("2026-11-25T02:00:10Z");
    assert_eq!(daily.retry(1, failed), Some(failed.after(backoff(1, "app"))));
    // The run of 03:00 is the next try.
    assert_eq!(daily.retry(7, at("2026-11-26T01:30:00Z")), None);
    assert_eq!(plain("every 1m").retry(1, failed), None);
    assert_eq!(daily.retry(1, Timestamp(i64::MAX)), Some(Timestamp(i64::MAX)));
}

const TEXTS: [&str; 9] = [
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "0,1 3 * * *",
    "30 2 * * *",
    "0 0 * * mon-fri",
    "every 1m",
    "every 45m",
    "every 1d",
];

/// The longest from one run to the next.
fn longest(table: &Timetable, from: Timestamp) -> i64 {
    let times = table.schedule.upcoming(from, &table.zone, 400);
    times.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap()
}

/// What the machine does before the timetable is asked the next time.
#[derive(Clone, Debug)]
enum Step {
    /// Looks again soon.
    Wait(i64),
    /// Sleeps, or is off; either way the program remembers only what it stored.
    Sleep(i64),
    /// The clock is set back, and forward.
    Back(i64),
    Forward(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (1..90 * SECOND).prop_map(Step::Wait),
        8 => (1..40 * MINUTE).prop_map(Step::Wait),
        3 => (1..9 * DAY).prop_map(Step::Sleep),
        1 => (1..10 * MINUTE).prop_map(Step::Back),
        1 => (1..400 * DAY).prop_map(Step::Back),
        1 => (1..400 * DAY).prop_map(Step::Forward),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #[test]
    fn jitter_keeps_the_order_of_runs_and_each_before_the_next(
        text in prop::sample::select(&TEXTS[..]),
        jitter in 0..3 * 86_400u64,
        name in "[a-z]{1,8}",
        from in 1_700_000_000..1_900_000_000i64,
    ) {
        let schedule = Schedule::parse(text).unwrap();
        let jitter = Duration::from_secs(jitter);
        let zone = Zone::Named(Tz::Europe__Berlin);
        let table = Timetable::new(schedule, zone, &name, jitter);
        let from = Timestamp(from * SECOND);
        let coming = table.upcoming(from, 50);
        prop_assert_eq!(coming.len(), 50);
        prop_assert!(coming[0].begin > from);
        for two in coming.windows(2) {
            prop_assert!(two[0].begin >= two[0].scheduled && two[0].begin < two[1].scheduled);
            prop_assert!(jitter.is_zero() || two[0].begin < two[0].scheduled.after(jitter));
            prop_assert_eq!(table.next(two[0].begin), Some(two[1]));
            prop_assert_eq!(table.next(Timestamp(two[1].begin.0 - 1)), Some(two[1]));
        }
    }

    /// A machine that sleeps, is off, and has a clock that people set.
    #[test]
    fn no_time_is_run_twice_and_no_schedule_falls_silent(
        text in prop::sample::select(&TEXTS[..]),
        jitter in prop_oneof![Just(0), 1..7200u64],
        start in 1_760_000_000..1_780_000_000i64,
        steps in steps(),
    ) {
        let table = table(text, Duration::from_secs(jitter));
        let known = Timestamp(start * SECOND);
        let longest = longest(&table, Timestamp(known.0 - 40 * DAY));
        // Real time passes; the clock shows something else.
        let (mut real, mut clock) = (known.0, known.0);
        let mut last = None;
        let (mut heard, mut set_back) = (real, 0);
        let mut done = BTreeSet::new();
        for step in steps {
            match step {
                Step::Wait(time) | Step::Sleep(time) => { real += time; clock += time }
                Step::Back(time) => { clock -= time; set_back += time.min(3 * longest) }
                Step::Forward(time) => clock += time,
            }
            let now = Timestamp(clock);
            let base = last.unwrap_or(known);
            match table.due(last, known, now) {
                Due::Never => prop_assert!(false, "never"),
                Due::Now { scheduled, missed, is_clock_back } => {
                    prop_assert!(scheduled <= now);
                    prop_assert!(table.occurrence(scheduled).begin <= now);
                    if is_clock_back {
                        // Times come again; the program was told so.
                        prop_assert!(set_back > 0 && base > now && missed == 0);
                        done.clear();
                    } else {
                        prop_assert!(scheduled > base);
                        prop_assert_eq!(missed, table.count(base, scheduled));
                    }
                    prop_assert!(done.insert(scheduled), "{} twice", scheduled);
                    last = Some(scheduled);
                    (heard, set_back) = (real, 0);
                    // One run makes up for all.
                    let again = table.due(last, known, now);
                    prop_assert!(matches!(again, Due::Later(_)), "{:?}", again);
                }
                Due::Later(next) => {
                    prop_assert!(next.begin > now && next.scheduled > base);
                    // Silent no longer than from one run to the next, the jitter, and what a clock
                    // that was set back repeats: much of that at once would be due.
                    let silent = real - heard;
                    prop_assert!(silent <= longest + longest / 2 + set_back,
                        "silent for {} s", silent / SECOND);
                }
            }
        }
    }
}
