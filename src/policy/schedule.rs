//! When something is to be done again and again: `daily at 03:00`, `30 3 * * sun`, `every 15m`.
//!
//! Pure: moments and the time zone are arguments. The syntax of cron and the calendar are croner's;
//! which moments its wall-clock times are is decided here, by [`super::clock`].
//!
//! Invariants:
//! - The next moment of a schedule is later than the one that was asked about, in every zone, on
//!   both sides of every change of clocks.
//! - A schedule that was read has a next moment until the year 5000.
//! - A time of day that clocks leave out comes once, at the first moment after the change. A time
//!   of day that they show twice comes once, at the first of the two. Only what repeats within the
//!   day goes by each showing: `cron` says exactly what.
//! - `every` counts elapsed time from 1970, whatever clocks show and whenever a program began.
//!
//! Deliberately absent: what was done already. `timetable` decides from that what is due.

use std::fmt;
use std::str::FromStr;

use chrono::{Local, Timelike, Utc};

use self::cron::CronRule;
use super::calendar::Zone;
use super::clock::parse_time;
use super::selector::{parse_span, trimmed};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Timestamp;

mod cron;
mod describe;
mod fields;
pub mod timetable;

pub use self::fields::FORMS;

/// The most bytes of a schedule. A list of all sixty minutes has 169.
const MAX_TEXT: usize = 256;

/// The shortest and the longest `every`. A backup each few seconds is what following is for.
const MINUTE: i64 = 60_000_000;
const LONGEST: i64 = 366 * 24 * 60 * MINUTE;

/// How far back the last moment of a schedule is looked for. The rarest one, a 29 February on a
/// day of the week, comes within 40 years.
const OLDEST: i64 = 500 * LONGEST;

/// A schedule, as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// By what clocks on the wall show.
    Cron(Box<CronRule>),
    /// By elapsed microseconds: so many from one to the next, and the first so long after 1970
    /// began.
    Every { span: i64, phase: i64 },
}

impl Schedule {
    /// Reads a schedule: five fields of cron, `@daily` and the like, `daily at 03:00`, `mon-fri at
    /// 22:30`, or `every 15m` with units from `s` to `w`. [`FORMS`] is for whoever wrote none.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is none of these, comes more often than once a minute, or never
    /// comes.
    pub fn parse(text: &str) -> Result<Self> {
        let text = trimmed(text);
        if text.len() > MAX_TEXT {
            let start: String = text.chars().take(40).collect();
            return Err(bad(&format!("{start}..."), format!("is longer than {MAX_TEXT} bytes")));
        }
        let rule = Rule::parse(text).map_err(|e| e.with_object(format!("{text:?}")))?;
        Ok(Self { text: text.to_owned(), rule })
    }

    /// The first moment of this schedule after another; `None` when there is none before the year
    /// 5000.
    pub fn next(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(cron) => match zone {
                Zone::Local => cron.next(after, &Local),
                Zone::Utc => cron.next(after, &Utc),
                Zone::Named(tz) => cron.next(after, tz),
                Zone::Fixed(offset) => cron.next(after, offset),
            },
            Rule::Every { span, phase } => {
                let passed = after.0.checked_sub(*phase)?.div_euclid(*span);
                let next = passed.checked_add(1)?.checked_mul(*span)?.checked_add(*phase)?;
                Timestamp(next).to_utc().map(|_| Timestamp(next))
            }
        }
    }

    /// The last moment of this schedule at or before another.
    pub fn last(&self, until: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let not_later = |from| self.next(from, zone).filter(|time| *time <= until);
        let mut back = MINUTE;
        let mut found = loop {
            match not_later(Timestamp(until.0.checked_sub(back)?)) {
                Some(time) => break time,
                None if back > OLDEST => return None,
                None => back *= 2,
            }
        };
        // Nothing comes after `end` and until then. Asking in the middle halves what is between.
        let mut end = until;
        while not_later(found).is_some() {
            let middle = Timestamp(found.0 + (end.0 - found.0) / 2);
            match not_later(middle) {
                Some(time) => found = time,
                None => end = middle,
            }
        }
        Some(found)
    }

    /// The next so many moments after one.
    pub fn upcoming(&self, after: Timestamp, zone: &Zone, n: usize) -> Vec<Timestamp> {
        let first = self.next(after, zone);
        std::iter::successors(first, |time| self.next(*time, zone)).take(n).collect()
    }

    /// The same, with the moments of an `every` moved by a part of its span that follows from a
    /// name: many of them need not begin at once, and each keeps its own time over restarts.
    #[must_use]
    pub fn anchored(mut self, name: &str) -> Self {
        if let Rule::Every { span, phase } = &mut self.rule {
            let second = 1_000_000;
            *phase = share(&format!("anchor {name}"), *span) / second * second;
        }
        self
    }

    /// Whether it counts elapsed time, and not what clocks show.
    pub const fn is_elapsed(&self) -> bool {
        matches!(self.rule, Rule::Every { .. })
    }

    /// What it means, in plain language: `every day at 03:00`.
    pub fn describe(&self) -> String {
        match &self.rule {
            Rule::Cron(rule) => describe::cron(rule.pattern()),
            Rule::Every { span, .. } => describe::every(*span / 1_000_000),
        }
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        if let Some((days, time)) = lower.split_once(" at ") {
            return Self::parse_days(text, days, time);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [] => Err(bad(text, "is empty")),
            [every, rest @ ..] if every.eq_ignore_ascii_case("every") => {
                Self::parse_every(text, &rest.join(" "))
            }
            [name] if name.starts_with('@') => Self::cron(text, name),
            [_, _, _, _, _] => Self::cron(text, text),
            // The trap of other crons: their first or last field is not ours.
            [first, _, _, _, _, _] | [first, _, _, _, _, _, _] if fields::is_field(first) => {
                let count = words.len();
                Err(bad(text, format!("has {count} fields; seconds and years are not written")))
            }
            _ if parse_span(text).is_some() => {
                Err(bad(text, "is a span of time alone")
                    .with_hint(format!("write \"every {text}\"")))
            }
            _ => Err(bad(text, "is no schedule")),
        }
    }

    fn cron(text: &str, pattern: &str) -> Result<Self> {
        let rule = CronRule::parse(&pattern.to_lowercase())?;
        if rule.ever_comes() {
            Ok(Self::Cron(Box::new(rule)))
        } else {
            Err(bad(text, "never comes: no month has such a day"))
        }
    }

    fn parse_every(text: &str, span: &str) -> Result<Self> {
        let Some(span) = parse_span(span).and_then(|span| span.num_microseconds()) else {
            return Err(bad(text, "has no span of time behind \"every\""));
        };
        if span < MINUTE {
            return Err(bad(text, "comes more often than once a minute"));
        }
        if span > LONGEST {
            return Err(bad(text, "comes less often than once in 366 days"));
        }
        Ok(Self::Every { span, phase: 0 })
    }

    /// `daily at 03:00`, `mon,thu at 22:30`, `every friday at 8:00`.
    fn parse_days(text: &str, days: &str, time: &str) -> Result<Self> {
        let minute = parse_time(time.trim()).and_then(|(time, offset)| {
            let is_whole = time.second() == 0 && time.nanosecond() == 0 && offset.is_none();
            is_whole.then(|| format!("{} {}", time.minute(), time.hour()))
        });
        let Some(minute) = minute else {
            return Err(bad(text, "has no time of day such as 03:00 behind \"at\""));
        };
        let Some(days) = fields::days_of_the_week(days.trim_start_matches("every ")) else {
            return Err(bad(text, "names no days in front of \"at\", such as daily or mon-fri"));
        };
        Self::cron(text, &format!("{minute} * * {days}"))
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Schedule {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn bad(text: &str, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, why).with_object(format!("{text:?}")).with_hint(FORMS)
}

/// A part of something, at least nothing and less than all, that follows from a name alone.
fn share(name: &str, of: i64) -> i64 {
    let hash = blake3::hash(name.as_bytes());
    let first = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let part = (u128::from(first) * u128::from(of.unsigned_abs())) >> 64;
    i64::try_from(part).unwrap_or(0)
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
