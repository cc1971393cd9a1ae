//! Every change of clocks of every zone, compared with a walk from minute to minute that knows
//! neither [`super::cron`] nor how a wall-clock time becomes a moment. `PROPTEST_CASES` sets the
//! number of random changes since 1970.

use super::*;
use crate::policy::clock::on_the_wall;
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use std::collections::BTreeSet;

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What the document promises of a kind of schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Each time of day once.
    Once,
    /// Each showing, and once after the change what was left out.
    Each,
    /// Each showing.
    Hourly,
}

/// A schedule, and which minutes of clocks it means, told without croner.
#[derive(Debug)]
struct Sample {
    schedule: Schedule,
    kind: Kind,
    minutes: Vec<u32>,
    hours: Vec<u32>,
    days: Days,
}

#[derive(Clone, Copy, Debug)]
enum Days {
    All,
    /// Of the month.
    Date(u32),
    LastOfMonth,
    /// From Sunday.
    Weekday(u32),
}

impl Sample {
    fn new(minute: &str, hour: &str, days: Days) -> Self {
        let (date, weekday) = match days {
            Days::All => ("*".to_owned(), "*".to_owned()),
            Days::Date(date) => (date.to_string(), "*".to_owned()),
            Days::LastOfMonth => ("L".to_owned(), "*".to_owned()),
            Days::Weekday(day) => ("*".to_owned(), day.to_string()),
        };
        let kind = match (minute, hour) {
            (_, "*") => Kind::Hourly,
            _ if minute.starts_with('*') || hour.starts_with('*') => Kind::Each,
            _ => Kind::Once,
        };
        let schedule = Schedule::parse(&format!("{minute} {hour} {date} * {weekday}")).unwrap();
        Self { schedule, kind, minutes: values(minute, 60), hours: values(hour, 24), days }
    }

    fn means(&self, wall: NaiveDateTime) -> bool {
        let day = wall.date();
        self.minutes.contains(&wall.minute())
            && self.hours.contains(&wall.hour())
            && match self.days {
                Days::All => true,
                Days::Date(date) => day.day() == date,
                Days::LastOfMonth => (day + TimeDelta::days(1)).day() == 1,
                Days::Weekday(n) => day.weekday().num_days_from_sunday() == n,
            }
    }

    /// Whether a minute from one wall-clock time, included, to another, not included, is meant.
    fn means_between(&self, from: NaiveDateTime, to: NaiveDateTime) -> bool {
        let minutes = (to - from).num_minutes();
        (0..minutes).any(|n| self.means(from + TimeDelta::minutes(n)))
    }

    /// The moments of a stretch by walking through it. The walk begins a day before: what clocks
    /// showed before that they show no more.
    fn walked(&self, from: i64, to: i64, zone: Tz) -> Vec<Timestamp> {
        let minute = TimeDelta::minutes(1);
        let mut before = show(from - 26 * HOUR, zone);
        let mut farthest = before;
        let mut found = Vec::new();
        for moment in (from - 26 * HOUR..=to).step_by(usize::try_from(MINUTE).unwrap()).skip(1) {
            let wall = show(moment, zone);
            let comes = match self.kind {
                // The clock never showed so much before.
                Kind::Once => self.means_between(farthest + minute, wall + minute),
                Kind::Each => self.means(wall) || self.means_between(before + minute, wall),
                Kind::Hourly => self.means(wall),
            };
            if comes && moment > from {
                found.push(Timestamp(moment));
            }
            farthest = farthest.max(wall);
            before = wall;
        }
        found
    }

    fn check(&self, around: i64, zone: Tz) {
        let (from, to) = (around - 27 * HOUR, around + 27 * HOUR);
        let named = Zone::Named(zone);
        let mut asked = Vec::new();
        let mut last = Timestamp(from);
        while let Some(next) = self.schedule.next(last, &named).filter(|next| next.0 <= to) {
            assert!(next > last, "{} {zone}", self.schedule);
            asked.push(next);
            last = next;
        }
        let walked = self.walked(from, to, zone);
        assert_eq!(asked, walked, "{} {zone} around {}", self.schedule, Timestamp(around));
        // From anywhere between, the next is the same.
        for two in walked.windows(2) {
            let middle = Timestamp(two[0].0 + (two[1].0 - two[0].0) / 2);
            assert_eq!(self.schedule.next(middle, &named), Some(two[1]), "{}", self.schedule);
        }
    }
}

/// `*`, `*/15`, `5,10`, `8-12`, `7`.
fn values(field: &str, all: u32) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap();
    match field.strip_prefix("*/") {
        Some(step) => (0..all).step_by(number(step) as usize).collect(),
        None if field == "*" => (0..all).collect(),
        None => match field.split_once('-') {
            Some((from, to)) => (number(from)..=number(to)).collect(),
            None => field.split(',').map(number).collect(),
        },
    }
}

fn show(moment: i64, zone: Tz) -> NaiveDateTime {
    on_the_wall(Timestamp(moment), &zone).unwrap().0
}

fn east(moment: i64, zone: Tz) -> i64 {
    i64::from(on_the_wall(Timestamp(moment), &zone).unwrap().1.local_minus_utc()) * 1_000_000
}

/// The changes of the clocks of a zone within some days since 1970, with the offsets around them.
fn changes(zone: Tz, days: std::ops::Range<i64>) -> Vec<(i64, i64, i64)> {
    let mut found = Vec::new();
    for day in days {
        let (mut from, end) = (day * DAY, (day + 1) * DAY);
        while east(from, zone) != east(end, zone) {
            let (mut before, mut after) = (from, end);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if east(middle, zone) == east(from, zone) {
                    before = middle;
                } else {
                    after = middle;
                }
            }
            found.push((after, east(from, zone), east(after, zone)));
            from = after;
        }
    }
    found
}

fn day(year: i32, month: u32, day: u32) -> i64 {
    let date = NaiveDate::from_ymd_opt(year, month, day).unwrap();
    date.signed_duration_since(NaiveDate::default()).num_days()
}

/// A few schedules of each kind, and times of day within what this change leaves out or repeats.
fn samples(change: (i64, i64, i64)) -> Vec<Sample> {
    let (moment, before, after) = change;
    let utc = |micros: i64| Timestamp(micros).to_utc().unwrap().naive_utc();
    let (a, b) = (utc(moment + before), utc(moment + after));
    let (from, to) = (a.min(b), a.max(b));
    let date = Days::Date(from.day());
    let weekday = Days::Weekday(to.weekday().num_days_from_sunday());
    let mut samples: Vec<Sample> = [
        ("*", "*", Days::All),
        ("*/15", "*", Days::All),
        ("0", "*", Days::All),
        ("30", "*", weekday),
        ("0", "*/6", Days::All),
        ("*/20", "0-3", Days::All),
        ("0", "0", Days::All),
        ("0", "0", weekday),
        ("0", "0", Days::LastOfMonth),
        ("0,30", "0-4", Days::All),
        ("30", "2", date),
        ("59", "23", Days::All),
    ]
    .map(|(minute, hour, days)| Sample::new(minute, hour, days))
    .into();
    // The ends of what is left out or repeated, and minutes within.
    let length = (to - from).num_minutes();
    for minutes in [-1, 0, 1, length / 3, length / 2, length - 1, length, length + 1] {
        let wall = from + TimeDelta::minutes(minutes);
        let (minute, hour) = (wall.minute().to_string(), wall.hour().to_string());
        samples.push(Sample::new(&minute, &hour, Days::All));
        samples.push(Sample::new(&minute, &hour, date));
        samples.push(Sample::new("*/10", &hour, Days::All));
        samples.push(Sample::new(&minute, "*/3", Days::All));
    }
    samples
}

/// Changes that are alike in all that a schedule can see.
fn distinct(zones: &[Tz], days: std::ops::Range<i64>) -> Vec<(Tz, (i64, i64, i64))> {
    let mut seen = BTreeSet::new();
    let all = zones.iter().flat_map(|zone| {
        let changes = changes(*zone, days.clone());
        changes.into_iter().map(|change| (*zone, change))
    });
    all.filter(|(_, change)| seen.insert(*change)).collect()
}

#[test]
fn around_every_change_of_clocks_of_every_zone_the_moments_are_those_of_the_document() {
    let found = distinct(&TZ_VARIANTS, day(2025, 1, 1)..day(2027, 1, 1));
    assert!(found.len() > 60, "{}", found.len());
    for (zone, change) in found {
        for sample in samples(change) {
            sample.check(change.0, zone);
        }
    }
}

#[test]
fn the_oddest_changes_there_were_leave_nothing_undecided() {
    for (zone, date) in [
        // A day that was not, and one that was twice.
        (Tz::Pacific__Apia, day(2011, 12, 30)),
        (Tz::Pacific__Kwajalein, day(1993, 8, 21)),
        (Tz::Pacific__Kwajalein, day(1969, 9, 30)),
        (Tz::Pacific__Fakaofo, day(2011, 12, 30)),
        // Half an hour, two hours, and a quarter of an hour.
        (Tz::Australia__Lord_Howe, day(2019, 4, 6)),
        (Tz::Antarctica__Troll, day(2019, 3, 31)),
        (Tz::Asia__Kathmandu, day(1986, 1, 1)),
        // Over midnight, and at it.
        (Tz::America__St_Johns, day(2006, 10, 29)),
        (Tz::America__Sao_Paulo, day(2018, 11, 4)),
        (Tz::America__Havana, day(2019, 11, 3)),
        (Tz::Asia__Beirut, day(2023, 3, 26)),
        (Tz::Asia__Gaza, day(2011, 8, 1)),
        (Tz::Africa__Cairo, day(2010, 8, 10)),
        // Back for a month, and against the sun.
        (Tz::Africa__Casablanca, day(2023, 3, 19)),
        (Tz::Europe__Dublin, day(2019, 10, 27)),
        (Tz::Asia__Pyongyang, day(2015, 8, 14)),
        (Tz::America__Caracas, day(2016, 5, 1)),
    ] {
        let found = distinct(&[zone], date - 2..date + 3);
        assert!(!found.is_empty(), "{zone}");
        for (zone, change) in found {
            for sample in samples(change) {
                sample.check(change.0, zone);
            }
        }
    }
}

#[test]
fn in_every_zone_a_daily_schedule_comes_once_on_each_date_for_two_years() {
    let mut seen = BTreeSet::new();
    let (from, to) = (day(2025, 1, 1), day(2027, 1, 1));
    for zone in TZ_VARIANTS {
        if !seen.insert((east(from * DAY, zone), changes(zone, from..to))) {
            continue;
        }
        for text in ["0 0 * * *", "30 0 * * *", "30 1 * * *", "30 2 * * *", "59 23 * * *"] {
            let schedule = Schedule::parse(text).unwrap();
            let times = schedule.upcoming(Timestamp(from * DAY), &Zone::Named(zone), 729);
            let first = show(times[0].0, zone).date();
            let mut date = first;
            for time in times {
                let dates = [time.0 - 1, time.0].map(|moment| show(moment, zone).date());
                // Clocks that leave out the end of a day go on at the beginning of the next.
                let is_made_up = east(time.0 - 1, zone) != east(time.0, zone);
                let is_right = dates[1] == date || (is_made_up && dates[0] == date);
                assert!(is_right, "{text} {zone} {time}, for {date}");
                date += TimeDelta::days(1);
            }
            assert_eq!(date - first, TimeDelta::days(729));
        }
        // Whole hours of difference: one run in each elapsed hour. The others are half an hour off.
        let halves = [Tz::Australia__Lord_Howe, Tz::Australia__LHI];
        if !halves.contains(&zone) {
            let hourly = Schedule::parse("@hourly").unwrap();
            let times = hourly.upcoming(Timestamp(from * DAY), &Zone::Named(zone), 2 * 8700);
            assert!(times.windows(2).all(|two| two[1].0 - two[0].0 == HOUR), "{zone}");
        }
    }
}

fn field(all: u32) -> impl Strategy<Value = String> {
    let one = 0..all;
    prop_oneof![
        2 => Just("*".to_owned()),
        2 => (2..all / 2).prop_map(|step| format!("*/{step}")),
        4 => one.clone().prop_map(|n| n.to_string()),
        2 => (one.clone(), one.clone()).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        1 => (one.clone(), one).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ]
}

fn some_days() -> impl Strategy<Value = Days> {
    prop_oneof![
        4 => Just(Days::All),
        1 => (1..=31u32).prop_map(Days::Date),
        1 => Just(Days::LastOfMonth),
        1 => (0..7u32).prop_map(Days::Weekday),
    ]
}

proptest! {
    #[test]
    fn around_a_change_since_1970_any_schedule_is_as_its_document_says(
        zone in 0..TZ_VARIANTS.len(),
        start in 0..day(2037, 1, 1),
        (minute, hour, days) in (field(60), field(24), some_days()),
        pick in any::<prop::sample::Index>(),
    ) {
        let zone = TZ_VARIANTS[zone];
        let whole = |change: &(i64, i64, i64)| change.1 % MINUTE == 0 && change.2 % MINUTE == 0;
        let change = (start..day(2037, 1, 1)).find_map(|day| {
            changes(zone, day..day + 1).into_iter().find(whole)
        });
        let around = change.map_or(start * DAY, |change| change.0);
        Sample::new(&minute, &hour, days).check(around, zone);
        if let Some(change) = change {
            let samples = samples(change);
            samples[pick.index(samples.len())].check(around, zone);
        }
    }

    /// Whatever is typed is a schedule or a refusal that quotes it, and a schedule goes forward.
    #[test]
    fn no_text_panics(text in typed(), now in 0..4_000_000_000_000_000i64) {
        match Schedule::parse(&text) {
            Err(e) => prop_assert!(e.object().is_some() && e.hint().is_some()),
            Ok(schedule) => {
                prop_assert!(!schedule.describe().is_empty());
                let zone = Zone::Named(Tz::Europe__Berlin);
                let times = schedule.upcoming(Timestamp(now), &zone, 3);
                prop_assert!(times.len() == 3 && times.is_sorted_by(|a, b| a < b), "{}", text);
                prop_assert_eq!(schedule.last(times[1], &zone), Some(times[1]));
            }
        }
    }
}

/// Schedules, what is nearly one, and anything.
fn typed() -> impl Strategy<Value = String> {
    let part = |names: &'static [&'static str], modifiers: &'static [&'static str]| {
        prop_oneof![
            6 => Just("*".to_owned()),
            6 => (1..32u32).prop_map(|n| n.to_string()),
            2 => (0..30u32, 0..62u32).prop_map(|(a, b)| format!("{a}-{b}")),
            2 => (0..62u32).prop_map(|n| format!("*/{n}")),
            2 => prop::sample::select(names).prop_map(str::to_owned),
            1 => (0..8u32, prop::sample::select(modifiers)).prop_map(|(n, m)| format!("{n}{m}")),
            1 => "[0-9*/,lwa-z#+?-]{0,8}",
        ]
    };
    let field = |names, modifiers| prop::collection::vec(part(names, modifiers), 1..3);
    let fields = (
        field(&["0", "30", "*/5"], &["", "/2", "-"]),
        field(&["2", "*/6", "0-3"], &["", "/2", "l"]),
        field(&["l", "lw", "?", "1-7"], &["w", "l", ""]),
        field(&["jan", "feb", "oct-dec"], &["", "jan"]),
        field(&["mon-fri", "sat", "sunl", "tue#2", "+mon"], &["l", "#1", "#5"]),
    );
    prop_oneof![
        6 => fields.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].map(|f| f.join(",")).join(" ")),
        1 => "every [0-9]{1,20} ?(s|m|min|h|d|w|mo|y)?",
        1 => "[a-z, -]{1,12} at [0-9]{0,2}:?[0-9]{0,2}",
        1 => "@?[a-z0-9*/,#+?:. -]{0,30}",
        1 => ".{0,80}",
    ]
}
