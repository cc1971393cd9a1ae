//! Which hour, day, week, month and year a moment belongs to, on the clocks of a time zone.
//!
//! Invariants: only moments become wall-clock times, never the other way round (that is
//! [`super::clock`]), so clocks that skip or repeat a time of day, midnight included, leave nothing
//! undecided; no moment panics, and one that chrono cannot write as a date belongs to no period; of
//! two periods of one length the later one is greater.
//!
//! Deliberately absent: the beginnings and ends of periods. Where clocks were set back over
//! midnight (Newfoundland did so until 2011) a day comes in two parts with a minute of the next day
//! between them: it is one day here, before that next day.

use std::fmt;

use chrono::{Datelike, FixedOffset, Local, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::clock::on_the_wall;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Timestamp;

/// The length of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    /// An ISO week, from Monday to Sunday.
    Week,
    Month,
    Year,
}

impl Unit {
    /// Its name, and the name of the rule that keeps one commit of each.
    pub(super) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Hour => ("hour", "hourly"),
            Self::Day => ("day", "daily"),
            Self::Week => ("week", "weekly"),
            Self::Month => ("month", "monthly"),
            Self::Year => ("year", "yearly"),
        }
    }

    /// How long it is at the least, but for changes of the clock.
    pub(super) fn shortest(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(28),
            Self::Year => TimeDelta::days(365),
        }
    }

    /// The period of this length that a wall-clock time belongs to.
    pub(super) fn period(self, wall: WallTime) -> Period {
        let day = i64::from(wall.local.num_days_from_ce());
        match self {
            Self::Hour => {
                // The hour that is repeated when clocks are set back reads the same twice; its
                // offset tells which it is. The moment at which it would begin comes first, so that
                // periods are in the order of time.
                let local = wall.local.and_utc().timestamp().div_euclid(3600) * 3600;
                Period(local - i64::from(wall.offset.local_minus_utc()), local)
            }
            Self::Day => Period(day, 0),
            // Day 1, the first of January of the year 1, was a Monday.
            Self::Week => Period((day - 1).div_euclid(7), 0),
            Self::Month => Period(i64::from(wall.local.year()), i64::from(wall.local.month())),
            Self::Year => Period(i64::from(wall.local.year()), 0),
        }
    }
}

/// One hour, day, week, month or year. Comparable with those of the same length only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Period(i64, i64);

impl Period {
    /// Before every period there is.
    pub(super) const BEFORE_ALL: Self = Self(i64::MIN, i64::MIN);
}

/// What a clock on the wall shows, and how far it is from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WallTime {
    local: NaiveDateTime,
    offset: FixedOffset,
}

impl WallTime {
    /// The wall-clock time of a moment; `None` beyond the calendar.
    pub(super) fn of<Z: TimeZone>(time: Timestamp, zone: &Z) -> Option<Self> {
        on_the_wall(time, zone).map(|(local, offset)| Self { local, offset })
    }
}

/// A time zone by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    /// The zone that the system is set to.
    Local,
    /// Coordinated universal time.
    Utc,
    /// A zone of the IANA database, such as `Europe/Berlin`.
    Named(Tz),
    /// Always the same distance from UTC.
    Fixed(FixedOffset),
}

impl Zone {
    /// The day on which a moment falls by the clocks of this zone; `None` beyond the calendar.
    pub fn day(&self, time: Timestamp) -> Option<NaiveDate> {
        let wall = match self {
            Self::Local => WallTime::of(time, &Local),
            Self::Utc => WallTime::of(time, &Utc),
            Self::Named(tz) => WallTime::of(time, tz),
            Self::Fixed(offset) => WallTime::of(time, offset),
        };
        wall.map(|wall| wall.local.date())
    }
}

/// Reads the name of a time zone: `local`, `utc`, `Europe/Berlin` or `+05:30`; without a name it is
/// the local one.
///
/// # Errors
/// [`ErrorKind::Usage`] when there is no such zone.
pub fn zone(name: Option<&str>) -> Result<Zone> {
    let Some(name) = name else { return Ok(Zone::Local) };
    let trimmed = name.trim();
    if trimmed.eq_ignore_ascii_case("local") {
        return Ok(Zone::Local);
    }
    if trimmed.eq_ignore_ascii_case("utc") || trimmed.eq_ignore_ascii_case("z") {
        return Ok(Zone::Utc);
    }
    if let Ok(tz) = trimmed.parse() {
        return Ok(Zone::Named(tz));
    }
    // chrono overlooks what follows an offset; printed again it has to be the same.
    let fixed = trimmed.parse::<FixedOffset>().ok();
    fixed.filter(|offset| offset.to_string() == trimmed).map(Zone::Fixed).ok_or_else(|| {
        Error::new(ErrorKind::Usage, "is not a time zone")
            .with_object(format!("{name:?}"))
            .with_hint("use local, utc, a name such as Europe/Berlin, or an offset such as +05:30")
    })
}

impl fmt::Display for Zone {
    /// As [`zone`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Utc => f.write_str("utc"),
            Self::Named(tz) => f.write_str(tz.name()),
            Self::Fixed(offset) => offset.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Offset, Weekday};
    use chrono_tz::{Africa, America, Asia, Australia, Europe, Pacific};

    const UNITS: [Unit; 5] = [Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year];

    fn period(unit: Unit, zone: &impl TimeZone, rfc3339: &str) -> Period {
        let time = DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros();
        unit.period(WallTime::of(Timestamp(time), zone).unwrap())
    }

    /// Holds that a period goes from one moment to just before another.
    fn spans(unit: Unit, zone: &impl TimeZone, from: &str, to: &str) {
        let at = |text: &str, micros: i64| {
            let time = DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros() + micros;
            unit.period(WallTime::of(Timestamp(time), zone).unwrap())
        };
        assert!(at(from, -1) < at(from, 0), "{unit:?} begins at {from}");
        assert_eq!(at(from, 0), at(to, -1), "{unit:?} from {from} to {to}");
        assert!(at(to, -1) < at(to, 0), "{unit:?} ends at {to}");
    }

    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        let berlin = &Europe::Berlin;
        spans(Unit::Day, berlin, "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"); // 23 hours
        spans(Unit::Day, berlin, "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z"); // 25 hours
        let york = &America::New_York;
        spans(Unit::Day, york, "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z");
        spans(Unit::Day, york, "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z");
    }

    #[test]
    fn a_day_without_midnight_begins_with_its_first_moment() {
        // Clocks went from 23:59:59 to 01:00:00.
        spans(Unit::Day, &Africa::Cairo, "2023-04-27T22:00:00Z", "2023-04-28T21:00:00Z");
        spans(Unit::Day, &America::Sao_Paulo, "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
        // From 23:59:59 back to 23:00:00, on the same day.
        spans(Unit::Day, &America::Sao_Paulo, "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z");
        // Samoa crossed the date line: there was no 30 December.
        spans(Unit::Day, &Pacific::Apia, "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
        spans(Unit::Day, &Pacific::Apia, "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    }

    #[test]
    fn a_repeated_hour_is_two_and_a_skipped_one_none() {
        let berlin = &Europe::Berlin;
        spans(Unit::Hour, berlin, "2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z"); // 02 in summer
        spans(Unit::Hour, berlin, "2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z"); // 02 in winter
        spans(Unit::Hour, berlin, "2024-10-27T02:00:00Z", "2024-10-27T03:00:00Z"); // 03
        spans(Unit::Hour, berlin, "2024-03-31T00:00:00Z", "2024-03-31T01:00:00Z"); // 01
        spans(Unit::Hour, berlin, "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z"); // 03
        let york = &America::New_York;
        spans(Unit::Hour, york, "2024-11-03T05:00:00Z", "2024-11-03T06:00:00Z");
        spans(Unit::Hour, york, "2024-11-03T06:00:00Z", "2024-11-03T07:00:00Z");
        // Clocks go back by half an hour, from 02:00 to 01:30: the second 01 has half an hour.
        let howe = &Australia::Lord_Howe;
        spans(Unit::Hour, howe, "2024-04-06T14:00:00Z", "2024-04-06T15:00:00Z");
        spans(Unit::Hour, howe, "2024-04-06T15:00:00Z", "2024-04-06T15:30:00Z");
        // And forward, from 02:00 to 02:30.
        spans(Unit::Hour, howe, "2024-10-05T15:30:00Z", "2024-10-05T16:00:00Z");
    }

    #[test]
    fn offsets_of_half_hours_shift_hours_and_days() {
        let kolkata = &Asia::Kolkata;
        spans(Unit::Hour, kolkata, "2024-05-01T10:30:00Z", "2024-05-01T11:30:00Z");
        spans(Unit::Day, kolkata, "2024-05-01T18:30:00Z", "2024-05-02T18:30:00Z");
        spans(Unit::Hour, &Asia::Kathmandu, "2024-05-01T10:15:00Z", "2024-05-01T11:15:00Z");
    }

    #[test]
    fn weeks_are_iso_weeks_across_the_new_year() {
        spans(Unit::Week, &Utc, "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"); // 2025-W01
        spans(Unit::Week, &Utc, "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"); // 2026-W53
        spans(Unit::Week, &Europe::Berlin, "2024-03-24T23:00:00Z", "2024-03-31T22:00:00Z");
        let mut date = NaiveDate::from_ymd_opt(-3, 12, 20).unwrap();
        for _ in 0..3000 {
            let next = date.succ_opt().unwrap();
            let of = |d: NaiveDate| {
                let local = d.and_hms_opt(12, 0, 0).unwrap();
                Unit::Week.period(WallTime { local, offset: Utc.fix() })
            };
            assert_eq!(of(date) < of(next), next.weekday() == Weekday::Mon, "{next}");
            assert_eq!(of(date) == of(next), date.iso_week() == next.iso_week(), "{next}");
            date = next;
        }
    }

    #[test]
    fn months_and_years_are_those_of_the_local_calendar() {
        spans(Unit::Month, &Utc, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
        spans(Unit::Month, &Utc, "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z");
        spans(Unit::Month, &Europe::Berlin, "2024-09-30T22:00:00Z", "2024-10-31T23:00:00Z");
        spans(Unit::Year, &Europe::Berlin, "2023-12-31T23:00:00Z", "2024-12-31T23:00:00Z");
        let march = |year| period(Unit::Month, &Utc, &format!("{year}-03-05T00:00:00Z"));
        assert!(march(2023) < march(2024));
    }

    #[test]
    fn the_ends_of_the_calendar_do_not_panic() {
        let days = [NaiveDateTime::MIN, NaiveDateTime::MAX].map(|t| t.and_utc().timestamp_micros());
        let ends = [days[0], days[1], i64::MIN, i64::MAX];
        for time in ends.iter().flat_map(|t| [t.saturating_sub(1), *t, t.saturating_add(1)]) {
            let time = Timestamp(time);
            let east = FixedOffset::east_opt(86_399).unwrap();
            let west = FixedOffset::west_opt(86_399).unwrap();
            let walls = [
                WallTime::of(time, &Utc),
                WallTime::of(time, &Local),
                WallTime::of(time, &Europe::Berlin),
                WallTime::of(time, &Asia::Kolkata),
                WallTime::of(time, &east),
                WallTime::of(time, &west),
            ];
            for wall in walls.into_iter().flatten() {
                for unit in UNITS {
                    assert!(unit.period(wall) > Period::BEFORE_ALL);
                }
            }
        }
        assert_eq!(WallTime::of(Timestamp(i64::MIN), &Utc), None);
        assert_eq!(WallTime::of(Timestamp(days[1]), &FixedOffset::east_opt(1).unwrap()), None);
        assert_eq!(WallTime::of(Timestamp(days[0]), &FixedOffset::west_opt(1).unwrap()), None);
    }

    #[test]
    fn a_moment_falls_on_the_day_of_its_zone() {
        let time = DateTime::parse_from_rfc3339("2024-12-31T23:30:00Z").unwrap();
        let day = |name| {
            let day = zone(Some(name)).unwrap().day(Timestamp(time.timestamp_micros()));
            day.unwrap().to_string()
        };
        assert_eq!((day("utc"), day("Europe/Berlin")), ("2024-12-31".into(), "2025-01-01".into()));
        assert_eq!(day("-03:00"), "2024-12-31");
        assert_eq!(Zone::Utc.day(Timestamp(i64::MAX)), None);
    }

    #[test]
    fn zones_are_read_as_they_are_printed() {
        for name in ["local", "utc", "Europe/Berlin", "America/New_York", "+05:30", "-03:00"] {
            assert_eq!(zone(Some(name)).unwrap().to_string(), name);
        }
        assert_eq!(zone(None).unwrap(), Zone::Local);
        assert_eq!(zone(Some(" UTC ")).unwrap(), Zone::Utc);
        assert_eq!(zone(Some("Z")).unwrap(), Zone::Utc);
        for bad in ["", "Mars/Olympus", "+5", "+25:00", "+05:30x", "05:30"] {
            let e = zone(Some(bad)).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Usage, "{bad:?}");
            assert_eq!(e.object().unwrap(), format!("{bad:?}"));
        }
    }
}
