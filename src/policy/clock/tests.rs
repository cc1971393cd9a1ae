//! Every zone of the database, on both sides of its changes of clocks. `PROPTEST_CASES` sets the
//! number of cases.

use super::*;
use crate::policy::selector::{Edge, Moment, Reading, Selector};
use chrono::{DateTime, MappedLocalTime};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

const DAY: i64 = 24 * 60 * MINUTE;

/// From 1900, when many zones still had odd seconds, to 2036.
const YEARS: std::ops::Range<i64> = -25_567..24_100;

/// Nearly all the moments that have a date.
const CALENDAR: std::ops::Range<i64> =
    -8_300_000_000 * 1_000_000_000..8_200_000_000 * 1_000_000_000;

/// The first change of the clocks of a zone behind a day, and before the end of the years.
fn next_change(zone: Tz, day: i64) -> Option<i64> {
    let east = |moment| offset(moment, &zone).unwrap();
    let begin = (day..YEARS.end).find(|day| east(day * DAY) != east((day + 1) * DAY))?;
    let (mut before, mut after) = (begin * DAY, (begin + 1) * DAY);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if east(middle) == east(before) { before = middle } else { after = middle }
    }
    Some(after)
}

/// What somebody types is the wall-clock time alone.
fn typed(wall: NaiveDateTime) -> String {
    wall.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

fn parse(text: &str, zone: Tz, edge: Edge) -> Moment {
    let now = DateTime::from_timestamp(4_000_000_000, 0).unwrap().with_timezone(&zone);
    let parsed = Moment::parse(text, &now, edge).unwrap_or_else(|e| panic!("{text} {zone}: {e}"));
    parsed.unwrap_or_else(|| panic!("{text} {zone}: is no time"))
}

/// The moments at which a zone's clocks showed a time, looked for minute by minute.
fn all_moments(wall: i64, zone: Tz) -> Vec<i64> {
    let mut easts: Vec<i64> =
        (-25 * 60..25 * 60).map(|minute| offset(wall + minute * MINUTE, &zone).unwrap()).collect();
    easts.sort_unstable_by_key(|east| std::cmp::Reverse(*east));
    easts.dedup();
    let moments = easts.into_iter().map(|east| (wall - east, east));
    moments.filter(|(at, east)| offset(*at, &zone) == Some(*east)).map(|(at, _)| at).collect()
}

fn check(zone: Tz, moment: i64) {
    let time = Timestamp(moment);
    let what = written(time, &zone);
    for edge in [Edge::Begin, Edge::End] {
        // What we print is that moment again.
        for text in [what.clone(), what.replace(' ', "T"), time.to_string()] {
            let read = parse(&text, zone, edge);
            assert_eq!((read.time, read.reading), (time, Reading::Once), "{text} in {zone}");
        }
    }
    // What the clock showed, without its offset.
    let (wall, _) = on_the_wall(time, &zone).unwrap();
    let all = all_moments(wall.and_utc().timestamp_micros(), zone);
    let (first, last) = (Timestamp(all[0]), Timestamp(*all.last().unwrap()));
    assert!(all.is_sorted() && all.contains(&moment), "{what} in {zone}: {all:?}");
    let (begin, end) =
        (parse(&typed(wall), zone, Edge::Begin), parse(&typed(wall), zone, Edge::End));
    assert_eq!((begin.time, end.time), (first, last), "{what} in {zone}");
    let (early, late) = match all.len() {
        1 => (Reading::Once, Reading::Once),
        _ => (Reading::Twice(last), Reading::Twice(first)),
    };
    assert_eq!((begin.reading, end.reading), (early, late), "{what} in {zone}");
    // The zone database itself says so, too.
    let theirs: Vec<i64> = match zone.from_local_datetime(&wall) {
        MappedLocalTime::None => vec![],
        MappedLocalTime::Single(one) => vec![one.timestamp_micros()],
        MappedLocalTime::Ambiguous(a, b) => vec![a.timestamp_micros(), b.timestamp_micros()],
    };
    assert_eq!(theirs, all, "{what} in {zone}");
}

/// Clocks were set forward at this moment: what they left out means the moment before, or this one.
fn check_left_out(zone: Tz, change: i64, part: i64) {
    let (before, after) = (offset(change - 1, &zone).unwrap(), offset(change, &zone).unwrap());
    if after <= before {
        return;
    }
    let wall = change + before + (after - before) * part / 1000;
    let wall = Timestamp(wall).to_utc().unwrap().naive_utc();
    let read = |edge| {
        let moment = parse(&typed(wall), zone, edge);
        (moment.time.0, moment.reading)
    };
    assert_eq!(read(Edge::End), (change - 1, Reading::Never), "{wall} in {zone}");
    assert_eq!(read(Edge::Begin), (change, Reading::Never), "{wall} in {zone}");
}

proptest! {
    #[test]
    fn in_every_zone_on_both_sides_of_every_change_a_time_means_what_its_document_says(
        zone in 0..TZ_VARIANTS.len(),
        day in YEARS,
        away in prop_oneof![-3 * 60 * MINUTE..3 * 60 * MINUTE, -2 * SECOND..2 * SECOND, -DAY..DAY],
        part in 0..1000i64,
    ) {
        let zone = TZ_VARIANTS[zone];
        check(zone, day * DAY + away);
        if let Some(change) = next_change(zone, day) {
            let (before, after) =
                (offset(change - 1, &zone).unwrap(), offset(change, &zone).unwrap());
            let by = (after - before).abs();
            // Around the change, and around the ends of what came twice.
            for near in [change, change - by, change + by] {
                for moment in [near + away, near - 1, near, near + 1, near + away / 1000] {
                    check(zone, moment);
                }
            }
            check_left_out(zone, change, part);
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same_moment(
        moment in prop_oneof![CALENDAR, 0..4_000_000_000 * SECOND],
        east in -86_399..86_400i32,
    ) {
        let zone = FixedOffset::east_opt(east).unwrap();
        let time = Timestamp(moment);
        let now = DateTime::UNIX_EPOCH.with_timezone(&zone);
        let text = written(time, &zone);
        let Selector::Moment(read) = Selector::parse(&text, &now).unwrap() else {
            panic!("{text} is a label")
        };
        prop_assert_eq!(read.time, time, "{}", text);
    }
}

#[test]
fn times_are_printed_with_their_offset_and_no_more_digits_than_they_have() {
    let print = |micros, east| written(Timestamp(micros), &FixedOffset::east_opt(east).unwrap());
    assert_eq!(print(1_500_000_000_123_456, 3600), "2017-07-14 03:40:00.123456+01:00");
    assert_eq!(print(1_500_000_000_120_000, -12_600), "2017-07-13 23:10:00.120-03:30");
    assert_eq!(print(1_500_000_000_000_000, 0), "2017-07-14 02:40:00+00:00");
    assert_eq!(print(0, -2670), "1969-12-31 23:15:30-00:44:30");
    assert_eq!(print(i64::MAX, 0), "9223372036854775807us");
}

#[test]
fn a_column_of_times_leaves_the_offset_to_its_heading_only_where_each_is_read_as_itself() {
    let zone = Tz::Europe__Zurich;
    let now = zone.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    let at = |text: &str| {
        let utc = DateTime::parse_from_rfc3339(text).unwrap();
        Timestamp(utc.timestamp_micros())
    };
    let summer = ["2025-10-25T20:00:00.000001Z", "2025-10-25T23:59:59.999Z"].map(at);
    let twice = ["2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z"].map(at);
    let winter = ["2025-10-26T02:00:00Z", "2025-10-26T20:00:00Z"].map(at);
    for (times, heading) in [
        (&summer[..], "TIME (+02:00)"),
        (&winter[..], "TIME (+01:00)"),
        (&[summer[0], winter[0]], "TIME"),
        // Typed without its offset it would be the other one.
        (&twice[..1], "TIME"),
        (&twice[1..], "TIME"),
        (&[], "TIME"),
        (&[Timestamp(i64::MAX), winter[0]], "TIME"),
    ] {
        let listed = Listed::of(times.iter().copied(), zone);
        assert_eq!(listed.heading("TIME"), heading);
        for time in times.iter().filter(|time| time.to_utc().is_some()) {
            let cell = listed.cell(*time);
            assert_eq!(cell.len() <= 26, heading != "TIME" || cell.len() == 25, "{cell}");
            let read = Moment::parse(&cell, &now, Edge::End).unwrap().unwrap();
            assert_eq!((read.time, read.reading), (*time, Reading::Once), "{cell}");
        }
    }
}
