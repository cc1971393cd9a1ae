//! How people write a policy: on the command line and in a configuration file.
//!
//! Invariants: an absent rule and a rule of nothing are not the same: whoever writes `keep-daily =
//! 0` has made a mistake and is told so; every error names the rule or the text.
//!
//! Deliberately absent: the file itself and its syntax. A policy without a rule passes here and is
//! refused when something would be planned by it.

use std::fmt;

use chrono::TimeDelta;
use serde::de::{Deserializer, Unexpected, Visitor};
use serde::{Deserialize, de};

use crate::error::{Error, ErrorKind, Result};
use crate::policy::retention::{Periods, Policy, Zone, zone};
use crate::policy::selector::parse_span;

/// A policy as a configuration file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PolicyText {
    /// A span.
    pub keep_window: Option<String>,
    /// A count.
    pub keep_last: Option<u32>,
    /// A count or a span.
    pub keep_hourly: Option<PeriodsText>,
    /// A count or a span.
    pub keep_daily: Option<PeriodsText>,
    /// A count or a span.
    pub keep_weekly: Option<PeriodsText>,
    /// A count or a span.
    pub keep_monthly: Option<PeriodsText>,
    /// A count or a span.
    pub keep_yearly: Option<PeriodsText>,
    /// A count.
    pub keep_floor: Option<u32>,
    /// Whose days and hours are meant; no part of the [`Policy`], see [`PolicyText::zone`].
    pub time_zone: Option<String>,
}

/// A number or a text: `7`, `"7"` or `"30d"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeriodsText {
    /// A number.
    Count(u32),
    /// For [`Policy::parse_periods`].
    Text(String),
}

impl PolicyText {
    /// The time zone that is named, or the local one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when there is no such zone.
    pub fn zone(&self) -> Result<Zone> {
        zone(self.time_zone.as_deref())
    }
}

impl TryFrom<PolicyText> for Policy {
    type Error = Error;

    fn try_from(text: PolicyText) -> Result<Self> {
        let count = |rule: &str, n: Option<u32>| match n {
            Some(0) => {
                Err(Error::new(ErrorKind::Usage, "counts from 1; leave it out to keep none")
                    .with_object(rule))
            }
            n => Ok(n.unwrap_or(0)),
        };
        let periods = |rule: &str, text: Option<PeriodsText>| match text {
            None => Ok(None),
            Some(PeriodsText::Count(n)) => Ok(Some(Periods::Count(n))),
            Some(PeriodsText::Text(text)) => {
                Self::parse_periods(&text).map(Some).map_err(|e| named(e, rule))
            }
        };
        let window = text.keep_window.as_deref().map(Self::parse_window).transpose();
        let policy = Self {
            window: window.map_err(|e| named(e, "keep-window"))?,
            last: count("keep-last", text.keep_last)?,
            hourly: periods("keep-hourly", text.keep_hourly)?,
            daily: periods("keep-daily", text.keep_daily)?,
            weekly: periods("keep-weekly", text.keep_weekly)?,
            monthly: periods("keep-monthly", text.keep_monthly)?,
            yearly: periods("keep-yearly", text.keep_yearly)?,
            floor: count("keep-floor", text.keep_floor)?,
        };
        policy.check()?;
        Ok(policy)
    }
}

impl Policy {
    /// Reads how many periods to keep: `7` is a count, `30d`, `2w` or `1y6mo` a span. A month is 30
    /// and a half days, rounded up to whole ones, so that `6mo` is 183 days; a year is 366 days.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is neither, or is nothing.
    pub fn parse_periods(text: &str) -> Result<Periods> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.bytes().any(|b| !b.is_ascii_digit()) {
            return span(trimmed)
                .map(Periods::Span)
                .ok_or_else(|| bad(text, "is neither a count from 1 nor a span of time"));
        }
        match trimmed.parse() {
            Ok(n) if n > 0 => Ok(Periods::Count(n)),
            _ => Err(bad(text, "is not a count from 1")),
        }
    }

    /// Reads the length of the point-in-time window, a span as in [`Policy::parse_periods`].
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is none, or is nothing.
    pub fn parse_window(text: &str) -> Result<TimeDelta> {
        span(text.trim()).ok_or_else(|| bad(text, "is not a span of time"))
    }
}

fn bad(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, why)
        .with_object(format!("{text:?}"))
        .with_hint("spans are written 12h, 30d, 8w, 6mo or 2y; m is minutes")
}

/// Says in which rule a text was wrong.
fn named(error: Error, rule: &str) -> Error {
    let object = error.object().map_or_else(|| rule.to_owned(), |o| format!("{rule} = {o}"));
    error.with_object(object)
}

/// A span that is longer than nothing. [`parse_span`] knows the units of fixed length; months and
/// years are added here, since to whoever asks for what was `6mo ago` they would have to be those
/// of the calendar.
fn span(text: &str) -> Option<TimeDelta> {
    let mut all = TimeDelta::zero();
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != ' ')?;
        let (number, tail) = rest.split_at_checked(unit_at)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        let part = match unit.to_ascii_lowercase().as_str() {
            "mo" | "month" | "months" => {
                let n: i64 = number.trim().parse().ok()?;
                TimeDelta::try_days(n.checked_mul(61)?.checked_add(1)? / 2)?
            }
            "y" | "yr" | "yrs" | "year" | "years" => {
                let n: i64 = number.trim().parse().ok()?;
                TimeDelta::try_days(n.checked_mul(366)?)?
            }
            _ => parse_span(&format!("{number}{unit}"))?,
        };
        all = all.checked_add(&part)?;
        rest = tail.trim_start();
    }
    (all > TimeDelta::zero()).then_some(all)
}

impl<'de> Deserialize<'de> for PeriodsText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        d.deserialize_any(NumberOrText)
    }
}

/// By hand, since of an untagged enum serde says no more than that no variant matches.
struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = PeriodsText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count from 1 or a span such as \"30d\"")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> std::result::Result<PeriodsText, E> {
        let count = u32::try_from(n).map(PeriodsText::Count);
        count.map_err(|_| E::invalid_value(Unexpected::Unsigned(n), &self))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> std::result::Result<PeriodsText, E> {
        let count = u32::try_from(n).map(PeriodsText::Count);
        count.map_err(|_| E::invalid_value(Unexpected::Signed(n), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<PeriodsText, E> {
        Ok(PeriodsText::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(n: i64) -> Periods {
        Periods::Span(TimeDelta::days(n))
    }

    #[test]
    fn counts_and_spans_are_read() {
        for (text, expected) in [
            ("7", Periods::Count(7)),
            (" 1 ", Periods::Count(1)),
            ("4294967295", Periods::Count(u32::MAX)),
            ("30d", days(30)),
            ("2w", days(14)),
            ("12h", Periods::Span(TimeDelta::hours(12))),
            ("6m", Periods::Span(TimeDelta::minutes(6))),
            ("1h30m", Periods::Span(TimeDelta::minutes(90))),
            ("1mo", days(31)),
            ("6mo", days(183)),
            ("12 months", days(366)),
            ("1y", days(366)),
            ("2 Years 6 mo 1 day", days(2 * 366 + 183 + 1)),
            ("1d1y", days(367)),
        ] {
            assert_eq!(Policy::parse_periods(text).unwrap(), expected, "{text:?}");
        }
        assert_eq!(Policy::parse_window("1mo 12h").unwrap(), TimeDelta::hours(31 * 24 + 12));
    }

    #[test]
    fn what_is_neither_is_named_in_the_error() {
        for text in [
            "",
            " ",
            "0",
            "-1",
            "+1",
            "1.5d",
            "4294967296",
            "0d",
            "0mo",
            "d",
            "mo",
            "1 2mo",
            "3 4",
            "7x",
            "7mö",
            "5d 6",
            "-5d",
            "9223372036854775807mo",
            "9223372036854775807y",
            "9223372036854775807d",
            "99999999999999999999y",
        ] {
            let e = Policy::parse_periods(text).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Usage, "{text:?}");
            assert_eq!(e.object().unwrap(), format!("{text:?}"));
            assert!(e.hint().is_some());
        }
        for text in ["", "7", "0s", "soon"] {
            assert_eq!(
                Policy::parse_window(text).unwrap_err().kind(),
                ErrorKind::Usage,
                "{text:?}"
            );
        }
    }

    fn read(json: &str) -> Result<Policy> {
        serde_json::from_str::<PolicyText>(json).unwrap().try_into()
    }

    #[test]
    fn a_configuration_is_read() {
        let all = r#"{"keep-window": "24h", "keep-last": 3, "keep-hourly": "48h", "keep-daily": 7,
            "keep-weekly": "4", "keep-monthly": "6mo", "keep-yearly": 5, "keep-floor": 2,
            "time-zone": "Asia/Kolkata"}"#;
        let policy = Policy {
            window: Some(TimeDelta::hours(24)),
            last: 3,
            hourly: Some(Periods::Span(TimeDelta::hours(48))),
            daily: Some(Periods::Count(7)),
            weekly: Some(Periods::Count(4)),
            monthly: Some(days(183)),
            yearly: Some(Periods::Count(5)),
            floor: 2,
        };
        assert_eq!(read(all).unwrap(), policy);
        assert_eq!(read("{}").unwrap(), Policy::default());
        let text: PolicyText = serde_json::from_str(all).unwrap();
        assert_eq!(text.zone().unwrap(), Zone::Named(chrono_tz::Asia::Kolkata));
        assert_eq!(PolicyText::default().zone().unwrap(), Zone::Local);
    }

    #[test]
    fn a_configuration_that_makes_no_sense_names_the_rule() {
        for (json, object) in [
            (r#"{"keep-window": "0s"}"#, "keep-window = \"0s\""),
            (r#"{"keep-window": "24"}"#, "keep-window = \"24\""),
            (r#"{"keep-last": 0}"#, "keep-last"),
            (r#"{"keep-floor": 0}"#, "keep-floor"),
            (r#"{"keep-hourly": "0"}"#, "keep-hourly = \"0\""),
            (r#"{"keep-daily": 0}"#, "keep-daily"),
            (r#"{"keep-daily": "often"}"#, "keep-daily = \"often\""),
            (r#"{"keep-weekly": "6d"}"#, "keep-weekly"),
            (r#"{"keep-monthly": "6m"}"#, "keep-monthly"),
            (r#"{"keep-monthly": "x"}"#, "keep-monthly = \"x\""),
            (r#"{"keep-yearly": "x"}"#, "keep-yearly = \"x\""),
        ] {
            let e = read(json).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Usage, "{json}");
            assert_eq!(e.object(), Some(object), "{json}");
        }
    }

    #[test]
    fn what_is_no_configuration_says_what_would_be_one() {
        let refused = |json| serde_json::from_str::<PolicyText>(json).unwrap_err().to_string();
        for json in [
            r#"{"keep-daily": -1}"#,
            r#"{"keep-daily": 4294967296}"#,
            r#"{"keep-daily": 1.5}"#,
            r#"{"keep-daily": true}"#,
        ] {
            assert!(refused(json).contains("a count from 1 or a span such as \"30d\""), "{json}");
        }
        assert!(refused(r#"{"keep-dayly": 1}"#).contains("keep-daily"));
        assert!(refused(r#"{"keep_daily": 1}"#).contains("keep-daily"));
    }
}
