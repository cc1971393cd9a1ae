//! The moments of a cron expression on the clocks of a time zone.
//!
//! croner reads the expression and finds the next wall-clock time on a calendar without a zone. It
//! is not asked about zones: it gives up in a gap of more than two hours, and skips the day when
//! the time after a gap falls on a day that does not match.
//!
//! Three kinds, after the rule of Vixie cron, where a `*` or `*/N` in the field of the minute or
//! the hour makes a schedule repeat within the day:
//!
//! | schedule | a time that clocks show twice | a time that clocks leave out |
//! |---|---|---|
//! | neither field repeats: `30 2 * * *` | once, at the first | once, after the change |
//! | a field repeats: `*/15 2 * * *`, `0 */6 * * *` | each time | once, after the change |
//! | every hour: `*/15 * * * *`, `0 * * * *` | each time | not at all: the next hour comes anyway |
//!
//! Vixie cron drops what is left out in the second row too. A backup of every six hours would then
//! be missing on the day when midnight is.

use chrono::{NaiveDate, NaiveDateTime, TimeZone};
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronPattern};

use super::fields::{self, FORMS};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::clock::{FARTHEST, Shown, change, on_the_wall, shown};
use crate::types::Timestamp;

/// A cron expression of five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CronRule {
    cron: Cron,
    repeats: bool,
    comes_every_hour: bool,
}

impl CronRule {
    /// Reads five fields, or `@daily` and the like; in lower case. The error names no object.
    pub(super) fn parse(pattern: &str) -> Result<Self> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
        let parser = parser.build();
        if !pattern.starts_with('@') {
            fields::check(pattern, |fields| parser.parse(fields).is_ok())?;
        }
        let cron = parser.parse(pattern).map_err(|e| {
            Error::new(ErrorKind::Usage, "is no schedule").with_source(e).with_hint(FORMS)
        })?;
        let (minutes, hours) = (&cron.pattern.minutes, &cron.pattern.hours);
        let comes_every_hour = hours.values().len() == 24;
        let has_star = minutes.from_wildcard || hours.from_wildcard;
        let repeats = has_star || comes_every_hour || minutes.values().len() == 60;
        Ok(Self { cron, repeats, comes_every_hour })
    }

    pub(super) fn pattern(&self) -> &CronPattern {
        &self.cron.pattern
    }

    /// Whether any date matches. The calendar repeats itself after 400 years.
    pub(super) fn ever_comes(&self) -> bool {
        let start = NaiveDate::from_ymd_opt(2000, 1, 1).map(NaiveDateTime::from);
        start.is_some_and(|start| self.cron.find_next_occurrence(&start, true).is_ok())
    }

    /// The first moment after another.
    pub(super) fn next<Z: TimeZone>(&self, after: Timestamp, zone: &Z) -> Option<Timestamp> {
        if self.repeats { self.next_showing(after, zone) } else { self.next_time(after, zone) }
    }

    /// The next wall-clock time after another, on a calendar without a zone.
    fn next_wall(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&wall, false).ok()
    }

    /// For what comes once for each time of day.
    fn next_time<Z: TimeZone>(&self, after: Timestamp, zone: &Z) -> Option<Timestamp> {
        let (mut wall, _) = on_the_wall(after, zone)?;
        loop {
            wall = self.next_wall(wall)?;
            let (Shown::Once(time) | Shown::Twice(time, _) | Shown::Never(time)) =
                shown(wall, zone)?;
            // In an hour that comes again, the times of day had their turn.
            if time > after {
                return Some(time);
            }
        }
    }

    /// For what comes each time that clocks show it: goes from one change of clocks to the next.
    fn next_showing<Z: TimeZone>(&self, after: Timestamp, zone: &Z) -> Option<Timestamp> {
        let mut from = after;
        loop {
            let (wall, _) = on_the_wall(from, zone)?;
            let next = self.next_wall(wall)?;
            let time = from.0.checked_add((next - wall).num_microseconds()?)?;
            let near = time.min(from.0.checked_add(FARTHEST)?);
            if let Some(changed) = change(from, Timestamp(near), zone) {
                let (there, _) = on_the_wall(changed, zone)?;
                let is_left_out = next < there && !self.comes_every_hour;
                if is_left_out || self.cron.is_time_matching(&there).ok()? {
                    return Some(changed);
                }
                from = changed;
            } else if time == near {
                return Some(Timestamp(time));
            } else {
                // Farther from both ends than clocks are ever set, they show nothing that is not
                // between these wall-clock times.
                from = Timestamp(near.max(time - FARTHEST - 1));
            }
        }
    }
}
