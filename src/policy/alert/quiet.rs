//! Hours at which nobody wants to hear of what can wait: `22:00-07:00`. Pure.
//!
//! Invariants: the beginning is quiet, the end is not. A range whose end is before its beginning
//! goes over midnight. What counts is what the clock on the wall shows, so of a time that clocks
//! show twice both are quiet, and one that they leave out is nothing.

use std::fmt;

use chrono::{Local, TimeZone, Timelike};

use crate::policy::calendar::Zone;
use crate::types::Timestamp;

/// A range of the day, in minutes since midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quiet {
    from: u32,
    until: u32,
}

impl Quiet {
    /// Reads `22:00-07:00`.
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "not a part of the day, such as 22:00-07:00".to_owned();
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = (minute(from).ok_or_else(wrong)?, minute(until).ok_or_else(wrong)?);
        match from == until {
            true => Err("no part of the day: it ends when it begins".to_owned()),
            false => Ok(Self { from, until }),
        }
    }

    /// Whether it is quiet at a moment.
    pub(crate) fn is_at(&self, time: Timestamp, zone: &Zone) -> bool {
        let Some(utc) = time.to_utc() else { return false };
        let minute = match zone {
            Zone::Local => shown(utc, &Local),
            Zone::Utc => shown(utc, &chrono::Utc),
            Zone::Named(zone) => shown(utc, zone),
            Zone::Fixed(offset) => shown(utc, offset),
        };
        match self.from < self.until {
            true => (self.from..self.until).contains(&minute),
            false => minute >= self.from || minute < self.until,
        }
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

const DAY: u32 = 24 * 60;

/// A time of day, in minutes; 24:00 is the end of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |part: &str, most| {
        let is_number = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u32>().ok().filter(|n| is_number && *n <= most)
    };
    let time = digits(hour, 24)? * 60 + digits(minute, 59)?;
    (time <= DAY).then_some(time)
}

/// The minute of the day that clocks of a zone show.
fn shown<Z: TimeZone>(time: chrono::DateTime<chrono::Utc>, zone: &Z) -> u32 {
    let time = time.with_timezone(zone);
    time.hour() * 60 + time.minute()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
    }

    #[test]
    fn a_night_goes_over_midnight_and_has_a_beginning_and_no_end() {
        let quiet = Quiet::parse("22:00-07:00").unwrap();
        assert_eq!(quiet.to_string(), "22:00-07:00");
        for (time, is) in [
            ("2026-03-01T21:59:59Z", false),
            ("2026-03-01T22:00:00Z", true),
            ("2026-03-02T00:00:00Z", true),
            ("2026-03-02T06:59:59Z", true),
            ("2026-03-02T07:00:00Z", false),
        ] {
            assert_eq!(quiet.is_at(at(time), &Zone::Utc), is, "{time}");
        }
        let lunch = Quiet::parse("12:00-13:30").unwrap();
        assert!(lunch.is_at(at("2026-03-01T13:29:00Z"), &Zone::Utc));
        assert!(!lunch.is_at(at("2026-03-01T13:30:00Z"), &Zone::Utc));
        let evening = Quiet::parse("20:00-24:00").unwrap();
        assert!(evening.is_at(at("2026-03-01T23:59:00Z"), &Zone::Utc));
        assert!(!evening.is_at(at("2026-03-01T00:00:00Z"), &Zone::Utc));
    }

    #[test]
    fn the_clock_on_the_wall_counts_over_its_changes() {
        let zone = Zone::Named(chrono_tz::Europe::Berlin);
        let quiet = Quiet::parse("02:00-03:00").unwrap();
        // In spring there is no such hour; in autumn it comes twice.
        let quiet_hours = |day: &str| {
            let start = at(&format!("{day}T00:00:00Z")).0;
            let minute = |n: i64| Timestamp(start + n * 60_000_000);
            (-180..1440).filter(|n| quiet.is_at(minute(*n), &zone)).count()
        };
        assert_eq!(quiet_hours("2026-03-29"), 0);
        assert_eq!(quiet_hours("2026-10-25"), 120);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "22:00", "22-07", "25:00-07:00", "24:01-07:00", "7:00-8:00", "08:00-08:00"]
        {
            assert!(Quiet::parse(bad).is_err(), "{bad}");
        }
        for bad in ["+1:00-02:00", "22:60-07:00", "22:00-07:00-08:00", "a:b-c:d"] {
            assert!(Quiet::parse(bad).is_err(), "{bad}");
        }
    }
}
