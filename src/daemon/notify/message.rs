//! What people are told: a subject, a text, and the same as JSON.
//!
//! Invariants: no control character and no mark that turns text around is in it, whatever a
//! database or a file is called. It is bounded, however much is wrong. It says which machine it is
//! from.

use serde::Serialize;

use crate::count::{counted, number, span};
use crate::policy::alert::course::{Telling, What};
use crate::policy::alert::{Severity, Subject};
use crate::types::Timestamp;

/// How many alerts a text has; how many there are in JSON.
const IN_TEXT: usize = 20;
const IN_JSON: usize = 100;
/// The longest reason, and the longest subject, in characters.
const WHY: usize = 500;
const TITLE: usize = 120;

/// A message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    /// `alert`, `recovery` or `test`.
    pub(crate) event: &'static str,
    /// The worst of what is told.
    pub(crate) severity: &'static str,
    /// The machine.
    pub(crate) host: String,
    /// When it was written.
    pub(crate) time: Timestamp,
    /// One line.
    pub(crate) subject: String,
    /// All of it, in lines.
    pub(crate) text: String,
    /// Each alert.
    pub(crate) alerts: Vec<Item>,
}

/// One alert of a message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    /// `raised`, `reminder`, `over`, `passed` or `happened`.
    state: &'static str,
    /// What is wrong, or happened.
    kind: &'static str,
    severity: &'static str,
    /// The history's name, if it is about a database.
    database: Option<String>,
    /// The repository's name, if it is about one, or about a database in it.
    repository: Option<String>,
    /// Which of several.
    detail: String,
    why: String,
    since: Timestamp,
    over: Option<Timestamp>,
    /// How often it happened.
    count: u64,
}

impl Message {
    /// What tells these; there is at least one.
    pub(crate) fn of(tellings: &[Telling], host: &str, now: Timestamp) -> Self {
        let is_good = |telling: &Telling| matches!(telling.what, What::Over | What::Passed);
        let worst = tellings.iter().map(|telling| telling.key.kind.severity()).max();
        let mut sorted: Vec<&Telling> = tellings.iter().collect();
        sorted.sort_by_key(|t| (is_good(t), std::cmp::Reverse(t.key.kind.severity())));
        let mut parts: Vec<String> =
            sorted.iter().take(IN_TEXT).map(|telling| part(telling, now)).collect();
        if let more @ 1.. = tellings.len().saturating_sub(IN_TEXT) {
            parts.push(format!("And {more} more."));
        }
        parts.push(format!("{host}, {}", shown(now)));
        Self {
            event: if tellings.iter().all(is_good) { "recovery" } else { "alert" },
            severity: worst.unwrap_or(Severity::Notice).name(),
            host: cleaned(host, TITLE),
            time: now,
            subject: cleaned(&title(&sorted), TITLE),
            text: parts.join("\n\n"),
            alerts: sorted.iter().take(IN_JSON).map(|telling| Item::of(telling)).collect(),
        }
    }

    /// What shows that a channel works.
    pub(crate) fn test(channel: &str, host: &str, now: Timestamp) -> Self {
        let (channel, host) = (cleaned(channel, TITLE), cleaned(host, TITLE));
        Self {
            event: "test",
            severity: Severity::Notice.name(),
            time: now,
            subject: format!("[pagekeep] test of channel {channel}"),
            text: format!(
                "This is a test: alerts of {host} arrive by channel {channel}.\n\n{host}, {}",
                shown(now)
            ),
            host,
            alerts: Vec::new(),
        }
    }

    /// Whether it has something that is wrong, and is no test.
    pub(crate) fn is_alert(&self) -> bool {
        self.event == "alert"
    }

    /// The same as JSON.
    pub(crate) fn json(&self) -> String {
        // Texts and numbers: there is nothing that could not be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Item {
    fn of(Telling { key, what, alert }: &Telling) -> Self {
        let (repository, database) = match &key.subject {
            Subject::Daemon => (None, None),
            Subject::Repository(name) => (Some(cleaned(name, TITLE)), None),
            Subject::Database(repository, name) => {
                (Some(cleaned(repository, TITLE)), Some(cleaned(name, TITLE)))
            }
        };
        Self {
            state: what.name(),
            kind: key.kind.name(),
            severity: key.kind.severity().name(),
            database,
            repository,
            detail: cleaned(&key.detail, WHY),
            why: cleaned(&alert.why, WHY),
            since: alert.since,
            over: alert.over,
            count: alert.count,
        }
    }
}

/// The subject: what it is about if that is one thing, else how much it is.
fn title(tellings: &[&Telling]) -> String {
    match tellings {
        [telling] => {
            let (subject, title) = (&telling.key.subject, telling.key.kind.title());
            match telling.what {
                What::Raised | What::Happened => format!("[pagekeep] {subject}: {title}"),
                What::Reminder => format!("[pagekeep] {subject}: still: {title}"),
                What::Over => format!("[pagekeep] {subject}: over: {title}"),
                What::Passed => format!("[pagekeep] {subject}: was, and is over: {title}"),
            }
        }
        tellings => {
            let is_bad = |t: &&&Telling| !matches!(t.what, What::Over | What::Passed);
            let bad = tellings.iter().filter(is_bad).count();
            let (bad, good) = (number(bad), number(tellings.len() - bad));
            let what = match (bad, good) {
                (bad, 0) => counted(bad, "alert"),
                (0, good) => format!("{good} are over"),
                (bad, good) => format!("{}, {good} over", counted(bad, "alert")),
            };
            let mut names: Vec<String> = Vec::new();
            for telling in tellings {
                let name = telling.key.subject.to_string();
                if names.len() < 3 && !names.contains(&name) {
                    names.push(name);
                }
            }
            format!("[pagekeep] {what}: {}", names.join(", "))
        }
    }
}

/// What a text says of an alert.
fn part(Telling { key, what, alert }: &Telling, now: Timestamp) -> String {
    let subject = match &key.subject {
        Subject::Database(repository, name) => {
            format!("Database {} (in {})", cleaned(name, TITLE), cleaned(repository, TITLE))
        }
        subject => cleaned(&capital(&subject.to_string()), TITLE),
    };
    let (title, why) = (key.kind.title(), cleaned(&alert.why, WHY));
    let lasted = |until: Timestamp| {
        span(u64::try_from(until.0.saturating_sub(alert.since.0) / 1_000_000).unwrap_or(0))
    };
    let since = shown(alert.since);
    let advice = key.kind.advice();
    match what {
        What::Raised => format!("{subject}: {title}, since {since}.\n{why}\n{advice}"),
        What::Reminder => {
            format!("{subject}: still {title}, for {} by now.\n{why}\n{advice}", lasted(now))
        }
        What::Over => {
            let lasted = lasted(alert.over.unwrap_or(now));
            format!("{subject}: is over after {lasted}: {title}.")
        }
        What::Passed => {
            let lasted = lasted(alert.over.unwrap_or(now));
            format!("{subject}: {title}, from {since} on, for {lasted}; it is over.\n{why}")
        }
        What::Happened => {
            let times = match alert.count {
                0 | 1 => String::new(),
                n => format!(" ({n} times since {since}; the last one is told here)"),
            };
            let at = shown(alert.over.unwrap_or(alert.since));
            format!("{subject}: {title}, at {at}{times}.\n{why}\n{advice}")
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// A time, as this machine's clock shows it, with its offset.
fn shown(time: Timestamp) -> String {
    crate::policy::clock::local(Timestamp(time.0.saturating_sub(time.0.rem_euclid(1_000_000))))
}

/// A text of at most so many characters, without what is no text to a reader: characters that
/// control terminals, end lines or turn the direction around.
pub(crate) fn cleaned(text: &str, most: usize) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let clean = text.chars().map(|c| match c {
        '\n' | '\t' | '\r' => ' ',
        c if is_odd(c) => '\u{fffd}',
        c => c,
    });
    let mut short: String = clean.clone().take(most).collect();
    if clean.count() > most {
        short.pop();
        short.push('…');
    }
    short
}

/// The first so many bytes of a text, at a whole character, with a sign that there is more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::alert::course::{Book, Manner};
    use crate::policy::alert::{Key, Kind, Known};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn tellings(names: &[&str], why: &str) -> Vec<Telling> {
        let mut book = Book::default();
        let manner = Manner { after: Duration::ZERO, ..Manner::default() };
        let key = |name: &&str| Key {
            subject: Subject::Database("main".to_owned(), (*name).to_owned()),
            kind: Kind::NotCaptured,
            detail: String::new(),
        };
        let seen: BTreeMap<Key, Known> =
            names.iter().map(|name| (key(name), Known::Holds(why.to_owned()))).collect();
        book.look(seen, &manner, NOW);
        book.due("a", |_| true, &manner, NOW)
    }

    #[test]
    fn a_message_says_what_and_since_when_and_what_to_do() {
        let told = Message::of(&tellings(&["shop"], "no such file"), "box", NOW);
        assert_eq!(told.subject, "[pagekeep] shop: can't be captured");
        for part in ["Database shop (in main)", "no such file", "Check that", "box, 2027-01-15"] {
            assert!(told.text.contains(part), "{part}: {}", told.text);
        }
        let mut over = tellings(&["shop"], "no such file");
        over[0].what = What::Over;
        over[0].alert.over = Some(NOW.after(Duration::from_secs(7200)));
        let told = Message::of(&over, "box", NOW);
        assert_eq!((told.event, told.text.contains("after 2 h")), ("recovery", true));
    }

    #[test]
    fn however_much_is_wrong_and_whatever_it_is_called_a_message_is_bounded_and_plain() {
        let names: Vec<String> = (0..5000).map(|n| format!("db\u{1b}[31m\u{202e}\n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let why = "x\u{7}\r\n".repeat(100_000);
        let told = Message::of(&tellings(&names, &why), "box\n", NOW);
        assert!(told.subject.starts_with("[pagekeep] 5,000 alerts: db"), "{}", told.subject);
        assert!(told.text.contains("And 4980 more."));
        assert!(told.text.len() < 30_000 && told.json().len() < 250_000);
        let plain =
            |text: &str| !text.chars().any(|c| c != '\n' && c.is_control() || c == '\u{202e}');
        assert!(plain(&told.text) && plain(&told.subject) && !told.subject.contains('\n'));
    }

    #[test]
    fn what_is_cut_is_cut_at_a_whole_character() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöü€", 8), "äö…");
        assert_eq!(cleaned("abc", 2), "a…");
    }
}
