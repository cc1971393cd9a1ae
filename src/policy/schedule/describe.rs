//! A schedule in plain language: `every day at 03:00`, `Mondays to Fridays at 22:30`.
//!
//! croner describes patterns, too, but says `At minute 0 past every hour.` and lists five weekdays.
//! Its words are used for days that only it knows to tell: `L`, `W` and `#`.

use croner::{Cron, CronPattern};
use std::str::FromStr;

/// So many times of day are listed; more are said another way.
const MOST_TIMES: usize = 6;

const DAYS: [&str; 7] =
    ["Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What so many elapsed seconds are, in the longest unit without a rest: `every 15 minutes`.
pub(super) fn every(seconds: i64) -> String {
    let units = [("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60)];
    let whole = units.iter().find(|(_, long)| seconds % long == 0);
    let (unit, long) = whole.copied().unwrap_or(("second", 1));
    match seconds / long {
        1 => format!("every {unit}"),
        n => format!("every {n} {unit}s"),
    }
}

/// What a pattern of five fields means.
pub(super) fn cron(pattern: &CronPattern) -> String {
    let times = Times::of(pattern);
    match (times, days(pattern)) {
        (Times::Listed(times), None) => format!("every day at {times}"),
        (Times::Listed(times), Some(days)) => format!("{days} at {times}"),
        (Times::Repeated(times), None) => times,
        (Times::Repeated(times), Some(days)) => format!("{times}, {days}"),
    }
}

/// The times of a day.
enum Times {
    /// `03:00 and 15:00`.
    Listed(String),
    /// `every 15 minutes`.
    Repeated(String),
}

impl Times {
    fn of(pattern: &CronPattern) -> Self {
        let (minutes, hours) = (pattern.minutes.values(), pattern.hours.values());
        let all_day = hours.len() == 24;
        if !all_day && minutes.len() * hours.len() <= MOST_TIMES {
            let times = hours.iter().flat_map(|h| minutes.iter().map(move |m| clock(*h, *m)));
            return Self::Listed(list(&times.collect::<Vec<_>>()));
        }
        let within = match (hours.as_slice(), minutes.as_slice()) {
            _ if all_day => String::new(),
            ([first, .., last], [from, .., to]) if even(&hours) == Some(1) => {
                format!(" from {} to {}", clock(*first, *from), clock(*last, *to))
            }
            ([first, .., last], [at]) if even(&hours) == Some(1) => {
                format!(" from {} to {}", clock(*first, *at), clock(*last, *at))
            }
            ([hour], [from, .., to]) => {
                format!(" from {} to {}", clock(*hour, *from), clock(*hour, *to))
            }
            _ => {
                let hours: Vec<String> = hours.iter().map(|h| format!("{h:02}")).collect();
                format!(" in the hours {}", list(&hours))
            }
        };
        let all_hours = if all_day { " of every hour" } else { "" };
        Self::Repeated(match minutes.as_slice() {
            [0] if all_day || even(&hours) == Some(1) => format!("every hour{within}"),
            [minute] if even(&hours).is_some_and(|step| 24 % step == 0 && step > 1) => {
                let step = even(&hours).unwrap_or(1);
                let first = hours.first().copied().unwrap_or(0);
                match usize::from(24 / step) == hours.len() {
                    true => format!("every {step} hours from {} on", clock(first, *minute)),
                    false => format!("at minute {minute}{within}"),
                }
            }
            [minute] => format!("at minute {minute}{all_hours}{within}"),
            _ if minutes.len() == 60 => format!("every minute{within}"),
            [0, ..] if whole(&minutes, 60) => {
                format!("every {} minutes{within}", even(&minutes).unwrap_or(1))
            }
            _ => {
                let minutes: Vec<String> = minutes.iter().map(ToString::to_string).collect();
                format!("at the minutes {}{all_hours}{within}", list(&minutes))
            }
        })
    }
}

/// On which days; `None` for all.
fn days(pattern: &CronPattern) -> Option<String> {
    let months: Vec<&str> = pattern.months.values().iter().filter_map(|m| month(*m)).collect();
    let every_month = months.len() == MONTHS.len();
    let (days, weekdays) = (&pattern.days, &pattern.days_of_week);
    if days.has_modifiers() || weekdays.has_modifiers() {
        return by_croner(pattern);
    }
    let of_months = if every_month { "every month".to_owned() } else { list(&months) };
    let dates: Vec<String> = days.values().iter().map(|day| ordinal(*day)).collect();
    let dates = format!("on the {} of {of_months}", list(&dates));
    let weekdays = weekday_list(&weekdays.values());
    let in_months = if every_month { String::new() } else { format!(" in {}", list(&months)) };
    match (pattern.is_dom_wildcard(), pattern.is_dow_wildcard()) {
        (true, true) if every_month => None,
        (true, true) => Some(format!("every day{in_months}")),
        (true, false) => Some(format!("{weekdays}{in_months}")),
        (false, true) => Some(dates),
        (false, false) if pattern.matches_dom_and_dow() => {
            Some(format!("{dates}, if that is one of the {weekdays},"))
        }
        // Which surprises many: either is enough.
        (false, false) => Some(format!("{dates} and also {weekdays}{in_months}")),
    }
}

/// croner's words for the days: `on the last day of the month`.
fn by_croner(pattern: &CronPattern) -> Option<String> {
    let mut fields = pattern.as_str().split_whitespace().skip(2);
    let mut next = || fields.next().unwrap_or("*");
    let (days, months, weekdays) = (next(), next(), next());
    // Only the days are asked about; the rest of its sentence is known.
    let midnight = Cron::from_str(&format!("0 0 {days} {months} {weekdays}")).ok()?;
    let said = midnight.describe();
    let words = said.strip_prefix("At 00:00, ").unwrap_or(&said);
    Some(words.trim_end_matches('.').to_owned())
}

/// The step of values that all have the same distance.
fn even(values: &[u16]) -> Option<u16> {
    let mut steps = values.windows(2).filter_map(|two| match two {
        [a, b] => Some(b - a),
        _ => None,
    });
    let step = steps.next()?;
    steps.all(|other| other == step).then_some(step)
}

/// Whether values from 0 with one step fill something without a rest.
fn whole(values: &[u16], all: usize) -> bool {
    even(values).is_some_and(|step| usize::from(step) * values.len() == all)
}

fn clock(hour: u16, minute: u16) -> String {
    format!("{hour:02}:{minute:02}")
}

fn month(number: u16) -> Option<&'static str> {
    MONTHS.get(usize::from(number).checked_sub(1)?).copied()
}

/// `Mondays to Fridays`, `Sundays and Wednesdays`.
fn weekday_list(days: &[u16]) -> String {
    let mut names: Vec<&str> =
        days.iter().filter_map(|day| DAYS.get(usize::from(*day)).copied()).collect();
    if let ([first, .., last], [_, _, _, ..], Some(1)) = (&*names, days, even(days)) {
        return format!("{first} to {last}");
    }
    // A list of days reads from Monday on.
    if days.first() == Some(&0) {
        names.rotate_left(1);
    }
    list(&names)
}

fn ordinal(n: u16) -> String {
    let ending = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
fn list<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}
