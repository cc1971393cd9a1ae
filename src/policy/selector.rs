//! How people name a commit: `latest`, `latest~2`, `seq:17`, a label, a time, `2h ago`, `yesterday 18:00`.
//!
//! Pure: the present time and the time zone are arguments.

use chrono::{
    DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike, Utc,
};

use crate::error::{Error, ErrorKind, Result};
use crate::types::{Seq, Timestamp};

/// A commit, as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// So many commits before the newest.
    Latest(u64),
    /// The commit of that number.
    Seq(Seq),
    /// The last commit not after a moment.
    Moment(Timestamp),
    /// The newest commit of that label, or of the one snapshot whose id begins so.
    Label(String),
}

/// Splits `NAME@WHEN`; without `@` the newest commit is meant.
pub fn split_target(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, "latest"))
}

impl Selector {
    /// Reads a selector. `now` is the present time and its offset the time zone of times without one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is empty or begins like a form that it then is not.
    pub fn parse<Z: TimeZone>(text: &str, now: &DateTime<Z>) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(bad(text, "is empty"));
        }
        if let Some(rest) = text.strip_prefix("latest") {
            return match rest.strip_prefix('~') {
                None if rest.is_empty() => Ok(Self::Latest(0)),
                Some(n) => n.parse().map(Self::Latest).map_err(|_| bad(text, "is not latest~N")),
                None => Ok(Self::Label(text.to_owned())),
            };
        }
        if let Some(n) = text.strip_prefix("seq:") {
            return match n.parse() {
                Ok(n) if n > 0 => Ok(Self::Seq(Seq(n))),
                _ => Err(bad(text, "is not seq:N with N from 1")),
            };
        }
        if let Some(label) = text.strip_prefix("label:") {
            return Ok(Self::Label(label.to_owned()));
        }
        if let Some(ago) = text.strip_suffix("ago") {
            let span = parse_span(ago.trim()).ok_or_else(|| bad(text, "is not like `2h ago`"))?;
            return now
                .clone()
                .checked_sub_signed(span)
                .map(|t| Self::Moment(timestamp(&t)))
                .ok_or_else(|| bad(text, "is too long ago"));
        }
        match parse_moment(text, now)? {
            Some(moment) => Ok(Self::Moment(moment)),
            None => Ok(Self::Label(text.to_owned())),
        }
    }
}

fn bad(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{why}, and so names no commit"))
        .with_object(format!("{text:?}"))
        .with_hint(
            "use latest, latest~2, seq:17, a label, 2026-05-01T12:00:00Z, \"2h ago\" or \"yesterday 18:00\"",
        )
}

fn timestamp<Z: TimeZone>(t: &DateTime<Z>) -> Timestamp {
    Timestamp(t.timestamp_micros())
}

/// `90s`, `15 min`, `2h`, `3 days`, `1w`, or several in a row such as `1h30m`.
pub fn parse_span(text: &str) -> Option<TimeDelta> {
    let mut rest = text.trim();
    let mut all = TimeDelta::zero();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(digits)?;
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let n: i64 = number.parse().ok()?;
        let one = match unit.to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => TimeDelta::try_seconds(n)?,
            "m" | "min" | "mins" | "minute" | "minutes" => TimeDelta::try_minutes(n)?,
            "h" | "hr" | "hrs" | "hour" | "hours" => TimeDelta::try_hours(n)?,
            "d" | "day" | "days" => TimeDelta::try_days(n)?,
            "w" | "week" | "weeks" => TimeDelta::try_weeks(n)?,
            _ => return None,
        };
        all = all.checked_add(&one)?;
        rest = tail.trim_start();
    }
    Some(all)
}

/// A moment, `None` when the text does not look like one, an error when it does and is none.
fn parse_moment<Z: TimeZone>(text: &str, now: &DateTime<Z>) -> Result<Option<Timestamp>> {
    if text == "now" {
        return Ok(Some(timestamp(now)));
    }
    if let Ok(t) = DateTime::parse_from_rfc3339(text) {
        return Ok(Some(timestamp(&t)));
    }
    let (day, time) = text.split_once([' ', 'T']).map_or((text, None), |(d, t)| (d, Some(t)));
    let today = now.date_naive();
    let date = match day {
        "today" => today,
        "yesterday" => today.checked_sub_days(Days::new(1)).unwrap_or(today),
        _ => match NaiveDate::parse_from_str(day, "%Y-%m-%d") {
            Ok(date) => date,
            Err(_) if looks_like_a_date(day) => return Err(bad(text, "is not a date")),
            Err(_) => return Ok(None),
        },
    };
    // A day without a time means its end: the last commit of that day.
    let time = match time {
        None => NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999),
        Some(time) => parse_time(time.trim()),
    };
    let time = time.ok_or_else(|| bad(text, "has a time of day that is none"))?;
    local(NaiveDateTime::new(date, time), &now.timezone())
        .map(Some)
        .ok_or_else(|| bad(text, "never was, in this time zone"))
}

fn looks_like_a_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let year = parts.next().is_some_and(|y| y.len() == 4 && y.bytes().all(|b| b.is_ascii_digit()));
    let rest: Vec<&str> = parts.collect();
    year && rest.len() == 2
        && rest.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn parse_time(text: &str) -> Option<NaiveTime> {
    ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())
}

/// A wall-clock time as a moment. Where clocks were set back it happened twice: the later one is meant. Where
/// they were set forward it never was: the moment of the change is meant.
fn local<Z: TimeZone>(time: NaiveDateTime, zone: &Z) -> Option<Timestamp> {
    let moment = |time: NaiveDateTime| zone.from_local_datetime(&time).latest();
    let minute = TimeDelta::try_minutes(1)?;
    let found = moment(time).or_else(|| {
        // Clocks change at whole minutes, and never by more than a day.
        let mut before = time.with_second(0)?.with_nanosecond(0)?;
        (0..24 * 60).find_map(|_| {
            before = before.checked_sub_signed(minute)?;
            moment(before)?.checked_add_signed(minute)
        })
    })?;
    Some(Timestamp(found.with_timezone(&Utc).timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::FixedOffset;

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339("2026-05-03T10:30:00+02:00").unwrap()
    }

    fn moment(text: &str) -> Selector {
        Selector::Moment(timestamp(&DateTime::parse_from_rfc3339(text).unwrap()))
    }

    #[test]
    fn every_form_is_read() {
        let parse = |t| Selector::parse(t, &now()).unwrap();
        assert_eq!(parse("latest"), Selector::Latest(0));
        assert_eq!(parse("latest~3"), Selector::Latest(3));
        assert_eq!(parse("seq:12"), Selector::Seq(Seq(12)));
        assert_eq!(parse("before migration"), Selector::Label("before migration".into()));
        assert_eq!(parse("latest-stable"), Selector::Label("latest-stable".into()));
        assert_eq!(parse("label:seq:1"), Selector::Label("seq:1".into()));
        assert_eq!(parse("2026-05-01T12:00:00Z"), moment("2026-05-01T12:00:00Z"));
        assert_eq!(parse("2026-05-01 12:00"), moment("2026-05-01T12:00:00+02:00"));
        assert_eq!(parse("2026-05-01"), moment("2026-05-01T23:59:59.999999+02:00"));
        assert_eq!(parse("2h ago"), moment("2026-05-03T08:30:00+02:00"));
        assert_eq!(parse("1h30m ago"), moment("2026-05-03T09:00:00+02:00"));
        assert_eq!(parse("1 day 2 hours ago"), moment("2026-05-02T08:30:00+02:00"));
        assert_eq!(parse("yesterday 18:00"), moment("2026-05-02T18:00:00+02:00"));
        assert_eq!(parse("today 09:15:30"), moment("2026-05-03T09:15:30+02:00"));
        assert_eq!(parse("now"), moment("2026-05-03T10:30:00+02:00"));
    }

    #[test]
    fn what_begins_like_a_form_and_is_none_is_an_error() {
        for bad in [
            "",
            "  ",
            "latest~",
            "latest~x",
            "seq:",
            "seq:0",
            "seq:-1",
            "soon ago",
            "5 ago",
            "2026-13-01",
            "2026-02-30",
            "yesterday 25:00",
            "99999999999999999999d ago",
        ] {
            assert!(Selector::parse(bad, &now()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn targets_split_at_the_first_at() {
        assert_eq!(split_target("app"), ("app", "latest"));
        assert_eq!(split_target("app@seq:3"), ("app", "seq:3"));
        assert_eq!(split_target("app@a@b"), ("app", "a@b"));
    }
}
