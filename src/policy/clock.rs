//! What a clock on the wall shows: at which moments it showed a time, and how a moment is written
//! so that it is read as itself.
//!
//! Invariants: everything follows from the offset that a zone has at a moment; what a library makes
//! of a wall-clock time is not asked, since one of them takes the end of an hour that came twice
//! for a part of it. What [`written`] prints, [`super::selector`] reads as the same moment, to the
//! microsecond, in every zone. No moment panics.

use chrono::{FixedOffset, Local, NaiveDateTime, NaiveTime, Offset, TimeZone};

use crate::types::Timestamp;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// How far a zone can be from UTC, and the change of a clock besides.
pub(super) const FARTHEST: i64 = 26 * 60 * MINUTE;

/// No zone has changed its clocks twice within so short a time.
const STEP: i64 = 15 * MINUTE;

/// When a clock showed a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// At one moment.
    Once(Timestamp),
    /// At two or more, as clocks were set back: the first and the last.
    Twice(Timestamp, Timestamp),
    /// At none, as clocks were set forward at this moment.
    Never(Timestamp),
}

/// The moments at which the clocks of a zone showed a time; `None` beyond the calendar.
pub(super) fn shown<Z: TimeZone>(wall: NaiveDateTime, zone: &Z) -> Option<Shown> {
    let wall = wall.and_utc().timestamp_micros();
    let samples: Vec<(i64, i64)> = (-FARTHEST..=FARTHEST)
        .step_by(usize::try_from(STEP).ok()?)
        .filter_map(|away| {
            let moment = wall.checked_add(away)?;
            Some((moment, offset(moment, zone)?))
        })
        .collect();
    let mut moments: Vec<i64> = samples.iter().map(|(_, east)| wall - east).collect();
    moments.sort_unstable();
    moments.dedup();
    moments.retain(|moment| offset(*moment, zone).is_some_and(|east| moment + east == wall));
    match moments.as_slice() {
        [once] => return Some(Shown::Once(Timestamp(*once))),
        [first, .., last] => return Some(Shown::Twice(Timestamp(*first), Timestamp(*last))),
        [] => {}
    }
    // The clock went from a time before to one after, within one step.
    let over = samples.windows(2).rev().find_map(|pair| match pair {
        [(a, east_of_a), (b, east_of_b)] if a + east_of_a < wall && b + east_of_b > wall => {
            Some((*a, *b))
        }
        _ => None,
    });
    let (before, after) = over?;
    let is_over = |moment| Some(moment + offset(moment, zone)? > wall);
    Some(Shown::Never(Timestamp(first(before, after, is_over)?)))
}

/// The first moment after one and at or before another at which the clocks of a zone have another
/// offset than before.
#[cfg(feature = "cli")]
pub(super) fn change<Z: TimeZone>(
    after: Timestamp,
    until: Timestamp,
    zone: &Z,
) -> Option<Timestamp> {
    let (mut from, east) = (after.0, offset(after.0, zone)?);
    let is_changed = |moment| Some(offset(moment, zone)? != east);
    while from < until.0 {
        let to = from.saturating_add(STEP).min(until.0);
        if is_changed(to)? {
            return first(from, to, is_changed).map(Timestamp);
        }
        from = to;
    }
    None
}

/// Where something begins that is not so at one moment and is so at a later one.
fn first(mut before: i64, mut after: i64, has_begun: impl Fn(i64) -> Option<bool>) -> Option<i64> {
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if has_begun(middle)? {
            after = middle;
        } else {
            before = middle;
        }
    }
    Some(after)
}

/// How far the clocks of a zone are from UTC at a moment, in microseconds.
fn offset<Z: TimeZone>(moment: i64, zone: &Z) -> Option<i64> {
    let utc = Timestamp(moment).to_utc()?.naive_utc();
    Some(i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * SECOND)
}

/// What the clocks of a zone show at a moment, and their offset; `None` beyond the calendar.
pub(super) fn on_the_wall<Z: TimeZone>(
    time: Timestamp,
    zone: &Z,
) -> Option<(NaiveDateTime, FixedOffset)> {
    let utc = time.to_utc()?.naive_utc();
    let east = zone.offset_from_utc_datetime(&utc).fix();
    // Not `with_timezone`: reading its fields panics on the calendar's first and last day.
    Some((utc.checked_add_offset(east)?, east))
}

/// A moment by the clocks of this machine's time zone.
pub fn local(time: Timestamp) -> String {
    written(time, &Local)
}

/// The day of a moment by the clocks of this machine's time zone.
pub fn local_day(time: Timestamp) -> String {
    match on_the_wall(time, &Local) {
        Some((wall, _)) => wall.format("%Y-%m-%d").to_string(),
        None => time.to_string(),
    }
}

/// A moment by the clocks of a zone, with their offset, as exact as it is: `2026-10-25
/// 02:20:00.123456+01:00`.
pub fn written<Z: TimeZone>(time: Timestamp, zone: &Z) -> String {
    // A moment outside the calendar is a number.
    match on_the_wall(time, zone) {
        Some((wall, east)) => format!("{}{}", wall_text(wall), offset_text(east)),
        None => time.to_string(),
    }
}

fn wall_text(wall: NaiveDateTime) -> String {
    let fraction = match wall.and_utc().timestamp_subsec_micros() {
        0 => "",
        n if n % 1000 == 0 => "%.3f",
        _ => "%.6f",
    };
    wall.format(&format!("%Y-%m-%d %H:%M:%S{fraction}")).to_string()
}

fn offset_text(east: FixedOffset) -> String {
    let away = east.local_minus_utc();
    let seconds = if away % 60 == 0 { "" } else { ":%S" };
    let east = NaiveTime::from_num_seconds_from_midnight_opt(away.unsigned_abs(), 0);
    let east = east.map(|t| t.format(&format!("%H:%M{seconds}")).to_string()).unwrap_or_default();
    format!("{}{east}", if away < 0 { '-' } else { '+' })
}

/// How the times of one table are written: without their offset, which the heading has, if all have
/// the same and each is read as itself without it. Else each has its own.
#[derive(Clone, Copy, Debug)]
pub struct Listed<Z> {
    zone: Z,
    /// The offset of them all.
    east: Option<FixedOffset>,
}

impl<Z: TimeZone> Listed<Z> {
    /// For a table with these times, in a zone.
    pub fn of(times: impl IntoIterator<Item = Timestamp>, zone: Z) -> Self {
        let mut east = None;
        for time in times {
            let Some((wall, own)) = on_the_wall(time, &zone) else {
                return Self { zone, east: None };
            };
            let is_itself = shown(wall, &zone) == Some(Shown::Once(time));
            if !is_itself || east.is_some_and(|east| east != own) {
                return Self { zone, east: None };
            }
            east = Some(own);
        }
        Self { zone, east }
    }

    /// The heading of a column of times: `TIME (+01:00)`.
    pub fn heading(&self, word: &str) -> String {
        match self.east {
            Some(east) => format!("{word} ({})", offset_text(east)),
            None => word.to_owned(),
        }
    }

    /// A time in the table.
    pub fn cell(&self, time: Timestamp) -> String {
        match self.east.and(on_the_wall(time, &self.zone)) {
            Some((wall, _)) => wall_text(wall),
            None => written(time, &self.zone),
        }
    }
}

/// A time of day, and the offset behind it if there is one: `18:20`, `18:20:30.5`, `18:20+01:00`,
/// `18:20 Z`.
pub(super) fn parse_time(text: &str) -> Option<(NaiveTime, Option<FixedOffset>)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'));
    let (time, east) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let read = |form| NaiveTime::parse_from_str(time, form).ok();
    let time = ["%H:%M:%S%.f", "%H:%M"].into_iter().find_map(read)?;
    match east.trim() {
        "" => Some((time, None)),
        east => Some((time, Some(parse_offset(east)?))),
    }
}

/// `Z`, `UTC`, `+01:00`, `-0330`, `+01`, and with seconds as before there were time zones:
/// `+00:53:28`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return FixedOffset::east_opt(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let text = text.get(1..)?;
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let grouped = digits.as_bytes().chunks(2).map(<[u8]>::to_vec).collect::<Vec<_>>().join(&b':');
    let plain = text == digits || text.as_bytes() == grouped;
    if !plain || !matches!(digits.len(), 2 | 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut parts = digits
        .as_bytes()
        .chunks(2)
        .map(|two| two.iter().fold(0, |n, digit| n * 10 + i32::from(digit - b'0')));
    let (hours, minutes, seconds) =
        (parts.next()?, parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if minutes >= 60 || seconds >= 60 {
        return None;
    }
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests;
