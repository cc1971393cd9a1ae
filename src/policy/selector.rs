//! How people name a commit: `latest`, `latest~2`, `seq:17`, a label, a time, `2h ago`, `yesterday
//! 18:00`.
//!
//! Pure: the present time and the time zone are arguments. What people type that is none of these
//! is a label, and [`super::guess`] says what they may have meant.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};

use super::clock::{Shown, on_the_wall, parse_time, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Seq, Timestamp};

/// How a commit can be named, for whoever named none.
pub const FORMS: &str = "name a commit by latest, latest~2, seq:17, a label (label:TEXT if it looks like something else), \
     \"2h ago\", \"today 18:20\", \"yesterday 18:00\", \"2026-05-01 12:00\", 2026-05-01T12:00:00Z, or 2026-05-01 for the end of \
     that day";

/// How a time can be named.
pub const TIMES: &str = "write \"2h ago\", \"today 18:20\", \"yesterday 18:00\", 2026-05-01, \"2026-05-01 12:00\" or \
     2026-05-01T12:00:00Z";

/// A commit, as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// So many commits before the newest.
    Latest(u64),
    /// The commit of that number.
    Seq(Seq),
    /// The last commit at or before a moment.
    Moment(Moment),
    /// The newest commit of that label, or of the one label whose id begins so.
    Label(String),
}

/// A moment, as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// As it was typed.
    pub text: String,
    /// The moment.
    pub time: Timestamp,
    /// How the clocks of the time zone showed it.
    pub reading: Reading,
    /// Whether it is not over yet: then nobody can tell what will be the last commit before it.
    pub future: bool,
}

/// How the clocks of a time zone showed what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// At that moment, and at no other.
    Once,
    /// At two, as clocks were set back. This is the other one.
    Twice(Timestamp),
    /// Never, as clocks were set forward.
    Never,
}

/// Which end of what was typed is meant: of a day, of an hour that came twice, of one that never
/// was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The first moment, for what is to follow it.
    Begin,
    /// The last one, for what is to be before it or at it.
    End,
}

/// Splits `NAME@WHEN`; without `@` the newest commit is meant.
pub fn split_target(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, "latest"))
}

impl Selector {
    /// Reads a selector. `now` is the present time and its offset the time zone of times without
    /// one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is empty or begins like a form that it then is not.
    pub fn parse<Z: TimeZone>(text: &str, now: &DateTime<Z>) -> Result<Self> {
        let text = trimmed(text);
        if text.is_empty() {
            return Err(bad(text, "is empty"));
        }
        if let Some(rest) = after(text, "latest") {
            return match rest.strip_prefix('~') {
                None if rest.is_empty() => Ok(Self::Latest(0)),
                Some(n) => n.parse().map(Self::Latest).map_err(|_| bad(text, "is not latest~N")),
                None => Ok(Self::Label(text.to_owned())),
            };
        }
        if let Some(n) = after(text, "seq:") {
            return match n.trim_start().parse() {
                Ok(n) if n > 0 => Ok(Self::Seq(Seq(n))),
                _ => Err(bad(text, "is not seq:N with N from 1")),
            };
        }
        if let Some(label) = after(text, "label:") {
            return match trimmed(label) {
                "" => Err(bad(text, "has no label behind the colon")),
                label => Ok(Self::Label(label.to_owned())),
            };
        }
        match Moment::parse(text, now, Edge::End)? {
            Some(moment) => Ok(Self::Moment(moment)),
            None => Ok(Self::Label(text.to_owned())),
        }
    }

    /// The last commit at or before a moment that nobody typed.
    pub fn at(time: Timestamp) -> Self {
        Self::Moment(Moment { text: time.to_string(), time, reading: Reading::Once, future: false })
    }
}

/// Refuses a label that [`Selector::parse`] reads as something else, so that nobody could select by
/// it.
///
/// # Errors
/// [`ErrorKind::Usage`].
pub fn check_reachable(label: &str) -> Result<()> {
    // Neither the zone nor the present time decides what a text is.
    let means = match Selector::parse(label, &DateTime::UNIX_EPOCH) {
        Ok(Selector::Label(read)) if read == label => return Ok(()),
        Ok(Selector::Label(_)) => "is how a label is selected",
        Ok(Selector::Latest(_)) => "means a commit by its distance from the newest",
        Ok(Selector::Seq(_)) => "means a commit by its number",
        Ok(Selector::Moment(_)) => "means the last commit of a time",
        Err(_) => "begins like something else than a label",
    };
    Err(Error::new(ErrorKind::Usage, format!("can't be a label: it {means}"))
        .with_object(format!("{label:?}"))
        .with_hint("put a word in front of it, as in \"release seq:5\" or \"nightly 2026-05-01\""))
}

/// Without white space around it, of any script, nor signs that take no room.
pub fn trimmed(text: &str) -> &str {
    let unseen = |c| matches!(c, '\u{180e}' | '\u{200b}' | '\u{2060}' | '\u{feff}');
    text.trim_matches(|c: char| c.is_whitespace() || unseen(c))
}

/// What follows a word, in whichever case that is written.
fn after<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (front, rest) = text.split_at_checked(word.len())?;
    front.eq_ignore_ascii_case(word).then_some(rest)
}

fn bad(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{why}, and so names no commit"))
        .with_object(format!("{text:?}"))
        .with_hint(FORMS)
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
            // Months elsewhere, which would be minutes here.
            _ if unit == "M" => return None,
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

impl Moment {
    /// Reads a time; `None` when the text does not look like one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it looks like a time and is none.
    pub fn parse<Z: TimeZone>(text: &str, now: &DateTime<Z>, edge: Edge) -> Result<Option<Self>> {
        let text = trimmed(text);
        let present = Timestamp(now.timestamp_micros());
        let plain = |time| Self {
            text: text.to_owned(),
            time,
            reading: Reading::Once,
            future: time > present,
        };
        if text.eq_ignore_ascii_case("now") {
            return Ok(Some(plain(present)));
        }
        if let Some((ago, word)) = text.rsplit_once(char::is_whitespace)
            && word.eq_ignore_ascii_case("ago")
        {
            let span = parse_span(ago).ok_or_else(|| bad(text, "is not like `2h ago`"))?;
            let then = now.clone().checked_sub_signed(span);
            let then = then.ok_or_else(|| bad(text, "is too long ago"))?;
            return Ok(Some(plain(Timestamp(then.timestamp_micros()))));
        }
        let Some((day, time)) = split_day(text) else { return Ok(None) };
        let time = match time {
            None => None,
            Some(time) => match parse_time(time) {
                Some(time) => Some(time),
                None if time.starts_with(|c: char| c.is_ascii_digit()) || time.is_empty() => {
                    return Err(bad(text, "has a time of day that is none"));
                }
                // A label that begins with a date, say.
                None => return Ok(None),
            },
        };
        let date = |today: NaiveDate| match day {
            Day::Before(days) => today.checked_sub_days(Days::new(days)).unwrap_or(today),
            Day::Date(date) => date,
            Day::None => today,
        };
        if matches!(day, Day::None) {
            return Err(bad(text, "is not a date"));
        }
        let never = || bad(text, "is beyond the calendar");
        let Some((time, east)) = time else {
            let today = now.date_naive();
            return whole_day(text, date(today), edge, today, &now.timezone())
                .map(Some)
                .ok_or_else(never);
        };
        let Some(east) = east else {
            let wall = NaiveDateTime::new(date(now.date_naive()), time);
            let (time, reading) = moment_of(wall, edge, &now.timezone()).ok_or_else(never)?;
            return Ok(Some(Self { reading, ..plain(time) }));
        };
        let today = now.with_timezone(&east).date_naive();
        let utc = NaiveDateTime::new(date(today), time).checked_sub_offset(east);
        let utc = utc.ok_or_else(never)?.and_utc();
        Ok(Some(plain(Timestamp(utc.timestamp_micros()))))
    }
}

/// The day that somebody named.
#[derive(Clone, Copy)]
enum Day {
    /// So many days before today.
    Before(u64),
    Date(NaiveDate),
    /// It has the form of a date.
    None,
}

/// The day, and what follows it; `None` when the text does not begin with a day.
fn split_day(text: &str) -> Option<(Day, Option<&str>)> {
    let (day, time) = match text.split_once(char::is_whitespace) {
        Some((day, time)) => (day, Some(time.trim_start())),
        None => (text, None),
    };
    if day.eq_ignore_ascii_case("today") {
        return Some((Day::Before(0), time));
    }
    if day.eq_ignore_ascii_case("yesterday") {
        return Some((Day::Before(1), time));
    }
    let (day, time) = text
        .split_once(|c: char| c.is_whitespace() || c == 'T' || c == 't')
        .map_or((text, None), |(day, time)| (day, Some(time.trim_start())));
    match NaiveDate::parse_from_str(day, "%Y-%m-%d") {
        Ok(date) => Some((Day::Date(date), time)),
        Err(_) => looks_like_a_date(day).then_some((Day::None, time)),
    }
}

fn looks_like_a_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let year = parts.next().is_some_and(|y| y.len() == 4 && y.bytes().all(|b| b.is_ascii_digit()));
    let rest: Vec<&str> = parts.collect();
    year && rest.len() == 2
        && rest.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// A wall-clock time as a moment. Where clocks were set back it happened twice: of what is to be
/// before it, the later one is meant. Where they were set forward it never was: the moment of the
/// change is meant, or what is before that.
fn moment_of<Z: TimeZone>(
    wall: NaiveDateTime,
    edge: Edge,
    zone: &Z,
) -> Option<(Timestamp, Reading)> {
    Some(match (shown(wall, zone)?, edge) {
        (Shown::Once(time), _) => (time, Reading::Once),
        (Shown::Twice(first, last), Edge::Begin) => (first, Reading::Twice(last)),
        (Shown::Twice(first, last), Edge::End) => (last, Reading::Twice(first)),
        (Shown::Never(change), Edge::Begin) => (change, Reading::Never),
        (Shown::Never(change), Edge::End) => (Timestamp(change.0.checked_sub(1)?), Reading::Never),
    })
}

/// The first or the last moment of a day: a day without a time means all of it.
fn whole_day<Z: TimeZone>(
    text: &str,
    date: NaiveDate,
    edge: Edge,
    today: NaiveDate,
    zone: &Z,
) -> Option<Moment> {
    let time = match edge {
        Edge::Begin => NaiveTime::MIN,
        Edge::End => NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999)?,
    };
    let (time, _) = moment_of(NaiveDateTime::new(date, time), edge, zone)?;
    // Its midnight may have come twice, or been left out; but a day that zones leap over has no
    // moment at all.
    let (found, _) = on_the_wall(time, zone)?;
    let reading = if found.date() == date { Reading::Once } else { Reading::Never };
    Some(Moment { text: text.to_owned(), time, reading, future: date > today })
}

#[cfg(test)]
mod tests;
