//! The words within a schedule: what a field of cron may hold, and how people name days.
//!
//! croner puts numbers in the place of names before it looks at fields: to it `0 mon * * *` is one
//! o'clock and `janfeb` December. What it would misread is refused here; all else is its own.

use crate::error::{Error, ErrorKind, Result};

/// How a schedule is written.
pub const FORMS: &str = "write \"daily at 03:00\", \"mon-fri at 22:30\", \"every 15m\", @daily, or \
     the five fields of cron (minute, hour, day of month, month, day of week), as in \
     \"30 3 * * sun\"";

/// A field of cron.
struct Field {
    name: &'static str,
    /// The words that it may hold besides numbers.
    words: &'static [&'static str],
    /// A step beyond it would never be taken.
    most: u32,
    /// What it may be.
    range: &'static str,
}

const DAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", words: &[], most: 59, range: "0 to 59" },
    Field { name: "hour", words: &[], most: 23, range: "0 to 23" },
    Field {
        name: "day of the month",
        words: &["l", "w", "lw"],
        most: 31,
        range: "1 to 31, or L for the last",
    },
    Field {
        name: "month",
        words: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
        most: 12,
        range: "1 to 12, or jan to dec",
    },
    Field {
        name: "day of the week",
        words: &["l", "sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        most: 7,
        range: "0 to 7 from Sunday to Sunday, or sun to sat",
    },
];

/// Whether a word may be a field at all: other words have to be told apart from cron.
pub(super) fn is_field(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit() || c == '*')
}

/// Refuses the first field that is not one. `parses` tells whether croner takes five fields.
pub(super) fn check(pattern: &str, parses: impl Fn(&str) -> bool) -> Result<()> {
    for (at, (field, text)) in FIELDS.iter().zip(pattern.split_whitespace()).enumerate() {
        let alone: Vec<&str> =
            (0..FIELDS.len()).map(|i| if i == at { text } else { "*" }).collect();
        let why = match field.misread(text) {
            None if parses(&alone.join(" ")) => continue,
            None => format!("is {text:?}, and can be {}", field.range),
            Some(why) => why,
        };
        let error = Error::new(ErrorKind::Usage, format!("its {} {why}", field.name));
        return Err(match field.too_long(text).filter(|_| at < 2) {
            Some(step) => {
                let unit = if at == 0 { "m" } else { "h" };
                error.with_hint(format!("for elapsed time write \"every {step}{unit}\""))
            }
            None => error.with_hint(FORMS),
        });
    }
    Ok(())
}

impl Field {
    /// What croner would not notice.
    fn misread(&self, text: &str) -> Option<String> {
        if text.split(',').any(str::is_empty) {
            return Some(format!("is {text:?}, a list with nothing between its commas"));
        }
        if let Some(step) = self.too_long(text) {
            return Some(format!("is {text:?}, whose step of {step} is never taken"));
        }
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
            let (before, tail) = rest.split_at_checked(at)?;
            let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (word, behind) = tail.split_at_checked(end)?;
            let is_modifier = |word: &str| word.len() < 3 && self.words.contains(&word);
            let name = if self.words.contains(&"l") && word.len() > 3 {
                word.strip_suffix('l').unwrap_or(word)
            } else {
                word
            };
            let touches = before.ends_with(|c: char| c.is_ascii_digit())
                || behind.starts_with(|c: char| c.is_ascii_digit());
            if !is_modifier(word) && (touches || !self.words.contains(&name)) {
                return Some(format!("is {text:?}, and can be {}", self.range));
            }
            rest = behind;
        }
        None
    }

    /// The first step in a field that is longer than the field.
    fn too_long<'t>(&self, text: &'t str) -> Option<&'t str> {
        let steps = text.split(',').filter_map(|part| Some(part.split_once('/')?.1));
        let mut long = steps.filter(|step| {
            step.bytes().all(|b| b.is_ascii_digit())
                && step.parse::<u32>().map_or(!step.is_empty(), |step| step > self.most)
        });
        long.next()
    }
}

/// The days of the week that people name, as the field of cron: `daily`, `weekdays`, `mon,thu`,
/// `mondays and thursdays`, `mon-fri`, `Monday to Friday`.
pub(super) fn days_of_the_week(text: &str) -> Option<String> {
    match text.trim() {
        "daily" | "day" => return Some("*".to_owned()),
        "weekdays" | "weekday" => return Some("mon-fri".to_owned()),
        "weekends" | "weekend" => return Some("sat,sun".to_owned()),
        _ => {}
    }
    let list = text.replace(" and ", ",").replace(" to ", "-");
    let ranges: Option<Vec<String>> = list
        .split(',')
        .map(|range| {
            let days: Option<Vec<&str>> = range.split('-').map(day_of_the_week).collect();
            days.filter(|days| days.len() <= 2).map(|days| days.join("-"))
        })
        .collect();
    ranges.map(|ranges| ranges.join(","))
}

fn day_of_the_week(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let is_meant = |day: &&&str| {
        text.len() >= 3 && (day.starts_with(text) || text.strip_suffix('s') == Some(**day))
    };
    DAYS.iter().find(is_meant).and_then(|day| day.get(..3))
}
