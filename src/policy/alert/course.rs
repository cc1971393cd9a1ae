//! The course of each alert: it holds, is told, reminded of, is over, and that is told. For each
//! channel by itself, since one may be out of order while another works. Pure: the time and what
//! was delivered are arguments.
//!
//! Invariants, for each channel:
//! - Nothing is told of what did not hold, or came and went, within [`Manner::after`].
//! - Nobody hears that something is over who did not hear of it; one message says both where it was
//!   over before it could be told.
//! - What was told changes by [`Book::delivered`] alone: what did not arrive is due again.
//! - What happens again and again is told once in [`PAUSE`], with how often it happened.
//! - A clock that is set back delays nothing by more than the spans of [`Manner`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quiet::Quiet;
use super::{Key, Kind, Known, Severity, Subject};
use crate::policy::calendar::Zone;
use crate::policy::schedule::Schedule;
use crate::types::Timestamp;

/// How long after it was told something that happens again is told again.
const PAUSE: Duration = Duration::from_secs(3600);

/// When what is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manner {
    /// How long something has to hold, or to be over, before it is told.
    pub(crate) after: Duration,
    /// How long after it was told it is told again, if ever.
    pub(crate) remind: Option<Duration>,
    /// When nothing is told.
    pub(crate) quiet: Option<Quiet>,
    /// Whether what is critical is told all the same.
    pub(crate) critical_breaks_quiet: bool,
    /// When notices are told, if not at once.
    pub(crate) digest: Option<Schedule>,
    /// Whose clock that is.
    pub(crate) zone: Zone,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(60),
            remind: Some(Duration::from_secs(24 * 3600)),
            quiet: None,
            critical_breaks_quiet: false,
            digest: None,
            zone: Zone::Local,
        }
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    /// Since when it holds, or when it first happened.
    pub(crate) since: Timestamp,
    /// Why, as was last known.
    pub(crate) why: String,
    /// Since when it is over.
    pub(crate) over: Option<Timestamp>,
    /// How often it happened.
    pub(crate) count: u64,
    /// What each channel was told.
    told: BTreeMap<String, Told>,
}

/// What a channel was told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// When it was last told anything.
    at: i64,
    /// How often it had happened.
    count: u64,
    /// Whether it was told that it is over.
    is_over: bool,
}

/// An alert as it is remembered.
#[derive(Serialize, Deserialize)]
struct Stored {
    key: Key,
    since: i64,
    why: String,
    over: Option<i64>,
    count: u64,
    told: BTreeMap<String, Told>,
}

/// What is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It holds.
    Raised,
    /// It still does.
    Reminder,
    /// It is over.
    Over,
    /// It held, and is over: nobody could be told before.
    Passed,
    /// It happened.
    Happened,
}

impl What {
    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Reminder => "reminder",
            Self::Over => "over",
            Self::Passed => "passed",
            Self::Happened => "happened",
        }
    }
}

/// Something that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) key: Key,
    pub(crate) what: What,
    pub(crate) alert: Alert,
}

/// All alerts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    alerts: BTreeMap<Key, Alert>,
    /// Those that are not remembered as they are now.
    changed: BTreeSet<Key>,
}

impl Book {
    /// The alerts that were remembered, and how many of them make no sense any more.
    pub(crate) fn of(stored: impl IntoIterator<Item = String>) -> (Self, usize) {
        let (mut book, mut lost) = (Self::default(), 0);
        for text in stored {
            match serde_json::from_str::<Stored>(&text) {
                Ok(Stored { key, since, why, over, count, told }) => {
                    let (since, over) = (Timestamp(since), over.map(Timestamp));
                    book.alerts.insert(key, Alert { since, why, over, count, told });
                }
                Err(_) => lost += 1,
            }
        }
        (book, lost)
    }

    /// Whether there is no alert.
    pub(crate) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// What there are alerts of.
    pub(crate) fn subjects(&self) -> BTreeSet<&Subject> {
        self.alerts.keys().map(|key| &key.subject).collect()
    }

    /// What changed since this was last asked: a name for each alert, and what is to be remembered
    /// of it, or nothing of one that is done with.
    pub(crate) fn take_changes(&mut self) -> Vec<(String, Option<String>)> {
        let changed = std::mem::take(&mut self.changed);
        let stored = |key: &Key| {
            let Alert { since, why, over, count, told } = self.alerts.get(key)?.clone();
            let over = over.map(|over| over.0);
            let stored = Stored { key: key.clone(), since: since.0, why, over, count, told };
            serde_json::to_string(&stored).ok()
        };
        // The name of a key is its JSON, which never fails for it.
        let name = |key: &Key| serde_json::to_string(key).unwrap_or_default();
        changed.iter().map(|key| (name(key), stored(key))).collect()
    }

    /// Takes what is known now. What is not in it is of nobody's concern any more, and forgotten.
    pub(crate) fn look(&mut self, seen: BTreeMap<Key, Known>, manner: &Manner, now: Timestamp) {
        self.keep_to(now);
        let known = |key: &Key| key.kind.is_event() || seen.contains_key(key);
        let gone: Vec<Key> = self.alerts.keys().filter(|key| !known(key)).cloned().collect();
        for key in gone {
            self.alerts.remove(&key);
            self.changed.insert(key);
        }
        for (key, known) in seen {
            match known {
                Known::Holds(why) => self.holds(key, why, manner, now),
                Known::Over => {
                    if let Some(alert) = self.alerts.get_mut(&key).filter(|a| a.over.is_none()) {
                        alert.over = Some(now);
                        self.changed.insert(key);
                    }
                }
                Known::Unknown => {}
            }
        }
    }

    fn holds(&mut self, key: Key, why: String, manner: &Manner, now: Timestamp) {
        let Some(alert) = self.alerts.get_mut(&key) else {
            let alert = Alert { since: now, why, over: None, count: 1, told: BTreeMap::new() };
            self.alerts.insert(key.clone(), alert);
            self.changed.insert(key);
            return;
        };
        alert.why = why;
        if let Some(over) = alert.over.take() {
            // What comes back soon was never over.
            if over.after(manner.after) <= now {
                alert.since = now;
                // Whoever was told that it is over is told that it is back.
                alert.told.retain(|_, told| !told.is_over);
            }
            self.changed.insert(key);
        }
    }

    /// Takes something that happened.
    pub(crate) fn happened(&mut self, key: Key, why: String, now: Timestamp) {
        let alert = self.alerts.entry(key.clone()).or_insert_with(|| Alert {
            since: now,
            why: String::new(),
            over: None,
            count: 0,
            told: BTreeMap::new(),
        });
        (alert.why, alert.over) = (why, Some(now));
        alert.count = alert.count.saturating_add(1);
        self.changed.insert(key);
    }

    /// What a channel is to be told now of those subjects that it is for.
    pub(crate) fn due(
        &self,
        channel: &str,
        is_for: impl Fn(&Subject) -> bool,
        manner: &Manner,
        now: Timestamp,
    ) -> Vec<Telling> {
        let is_quiet = manner.quiet.is_some_and(|quiet| quiet.is_at(now, &manner.zone));
        let mut digest = None;
        let mut due = Vec::new();
        for (key, alert) in self.alerts.iter().filter(|(key, _)| is_for(&key.subject)) {
            let severity = key.kind.severity();
            if is_quiet && !(manner.critical_breaks_quiet && severity == Severity::Critical) {
                continue;
            }
            let Some((what, at)) = alert.next(key.kind, channel, manner) else { continue };
            // What is to be collected waits for the next time of the digest after it was due.
            let until = match (&manner.digest, severity) {
                (Some(schedule), Severity::Notice) => {
                    *digest.get_or_insert_with(|| schedule.last(now, &manner.zone))
                }
                _ => Some(now),
            };
            if until.is_some_and(|until| at <= until) {
                due.push(Telling { key: key.clone(), what, alert: alert.clone() });
            }
        }
        due
    }

    /// Remembers that a channel was told these.
    pub(crate) fn delivered(&mut self, channel: &str, tellings: &[Telling], now: Timestamp) {
        for Telling { key, what, alert: then } in tellings {
            let Some(alert) = self.alerts.get_mut(key) else { continue };
            // It may have come back, or happened again, while it was told.
            let is_over = matches!(what, What::Over | What::Passed | What::Happened);
            let is_same = alert.since == then.since && alert.over == then.over;
            if is_over && alert.over.is_none() && !is_same {
                alert.told.remove(channel);
            } else {
                let told = Told { at: now.0, count: then.count, is_over };
                alert.told.insert(channel.to_owned(), told);
            }
            self.changed.insert(key.clone());
        }
    }

    /// Forgets alerts of which every channel knows that they are over. `is_for` tells whether a
    /// channel is for a subject, `channels` which there are.
    pub(crate) fn settle<'a>(
        &mut self,
        channels: impl Iterator<Item = &'a str> + Clone,
        is_for: impl Fn(&str, &Subject) -> bool,
        manner: &Manner,
        now: Timestamp,
    ) {
        let is_done = |(key, alert): &(&Key, &Alert)| {
            let Some(over) = alert.over else { return false };
            let knows = |channel| {
                !is_for(channel, &key.subject) || alert.next(key.kind, channel, manner).is_none()
            };
            let rests = if key.kind.is_event() { PAUSE } else { manner.after };
            over.after(rests) <= now && channels.clone().all(knows)
        };
        let done: Vec<Key> =
            self.alerts.iter().filter(is_done).map(|(key, _)| key.clone()).collect();
        for key in done {
            self.alerts.remove(&key);
            self.changed.insert(key);
        }
    }

    /// Makes sure that nothing lies ahead, as after a clock was set back.
    fn keep_to(&mut self, now: Timestamp) {
        for (key, alert) in &mut self.alerts {
            let ahead = |time: Timestamp| time > now;
            let told = alert.told.values().any(|told| ahead(Timestamp(told.at)));
            if ahead(alert.since) || alert.over.is_some_and(ahead) || told {
                alert.since = alert.since.min(now);
                alert.over = alert.over.map(|over| over.min(now));
                alert.told.values_mut().for_each(|told| told.at = told.at.min(now.0));
                self.changed.insert(key.clone());
            }
        }
    }

    /// The alerts.
    #[cfg(test)]
    pub(crate) fn alerts(&self) -> &BTreeMap<Key, Alert> {
        &self.alerts
    }
}

impl Alert {
    /// What a channel is to be told next, if nothing changes, and when.
    fn next(&self, kind: Kind, channel: &str, manner: &Manner) -> Option<(What, Timestamp)> {
        let told = self.told.get(channel);
        if kind.is_event() {
            let is_news = told.is_none_or(|told| told.count < self.count);
            let happened = self.over.unwrap_or(self.since);
            let pause = told.map_or(happened, |told| Timestamp(told.at).after(PAUSE));
            return is_news.then_some((What::Happened, happened.max(pause)));
        }
        match (told, self.over) {
            (None, None) => Some((What::Raised, self.since.after(manner.after))),
            (Some(told), None) => {
                manner.remind.map(|span| (What::Reminder, Timestamp(told.at).after(span)))
            }
            (None, Some(over)) => (self.since.after(manner.after) <= over)
                .then_some((What::Passed, over.after(manner.after))),
            (Some(told), Some(over)) => {
                (!told.is_over).then_some((What::Over, over.after(manner.after)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
