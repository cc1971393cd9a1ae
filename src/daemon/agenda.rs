//! Which jobs of a database are due. Pure: what ran and what time it is are arguments.
//!
//! Invariants: of all the times that passed while nobody was there, one is made up for. A job that
//! failed is tried again, later each time, and not beyond its next time. One that was stopped is
//! tried again at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Plan;
use super::job::Ended;
use super::kind::Kind;
use crate::policy::schedule::timetable::{Due, Timetable};
use crate::types::Timestamp;

/// How long nobody relies on it that nothing is due.
const ASKED_AGAIN: Duration = Duration::from_secs(10 * 60);

/// The jobs of one database.
#[derive(Clone, Debug)]
pub(super) struct Agenda {
    /// Since when the database is known: what was scheduled before is not missed.
    since: Timestamp,
    entries: BTreeMap<Kind, Entry>,
    /// When it was last found that nothing is due.
    quiet: Option<Quiet>,
}

/// That nothing was due when an agenda was asked, and won't be before a time, unless something else
/// becomes known.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    has_commit: bool,
    asked: Timestamp,
    until: Timestamp,
}

/// A kind of job.
#[derive(Clone, Debug)]
struct Entry {
    timetable: Timetable,
    /// The scheduled time of the last one that began.
    last: Option<Timestamp>,
    /// How often in a row it failed.
    failures: u32,
    /// When it is tried again, if it is before its next time.
    again: Option<Timestamp>,
}

/// A job that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) kind: Kind,
    /// The time that it was scheduled for.
    pub(super) scheduled: Timestamp,
    /// How many times before that were missed.
    pub(super) missed: usize,
}

impl Agenda {
    /// What a plan says of a database of this name, which is known since then and whose jobs last
    /// began for these times.
    pub(super) fn new(
        plan: &Plan,
        name: &str,
        since: Timestamp,
        last: &BTreeMap<Kind, Timestamp>,
    ) -> Self {
        let entry = |kind: Kind| {
            let schedule = plan.schedule(kind)?.clone();
            // Jobs of one database need not all come at the same part of their spans, but files
            // that are kept with each snapshot come at its time.
            let as_kind = match kind {
                Kind::Files if plan.schedule(Kind::Backup) == Some(&schedule) => Kind::Backup,
                kind => kind,
            };
            let own = format!("{name} {}", as_kind.name());
            let timetable = Timetable::new(schedule, plan.zone, &own, plan.jitter);
            let last = last.get(&kind).copied();
            Some((kind, Entry { timetable, last, failures: 0, again: None }))
        };
        Self { since, entries: Kind::ALL.into_iter().filter_map(entry).collect(), quiet: None }
    }

    /// Since when the database is known.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// As [`Agenda::turn`]; remembers until when the answer is that nothing is due. Schedules are
    /// dear to ask, and thousands of databases are asked each second.
    pub(super) fn turn_soon(&mut self, has_commit: bool, now: Timestamp) -> Option<Turn> {
        let is_quiet = |quiet: Quiet| {
            // A clock that was set back may make something due.
            quiet.has_commit == has_commit && quiet.asked <= now && now < quiet.until
        };
        if self.quiet.is_some_and(is_quiet) {
            return None;
        }
        let turn = self.turn(has_commit, now);
        let until = self.next(now).min(now.after(ASKED_AGAIN));
        self.quiet = turn.is_none().then_some(Quiet { has_commit, asked: now, until });
        turn
    }

    /// When the next job of any kind may become due, if none is.
    fn next(&self, now: Timestamp) -> Timestamp {
        let times = self.entries.values().flat_map(|entry| {
            let due = match entry.timetable.due(entry.last, self.since, now) {
                // One that is due and not possible waits for something else than a time.
                Due::Now { .. } | Due::Never => None,
                Due::Later(next) => Some(next.begin),
            };
            [due, entry.again]
        });
        times.flatten().min().unwrap_or_else(|| now.after(ASKED_AGAIN))
    }

    /// The job that is to begin now, if one is: the kinds in the order of [`Kind::ALL`]. Where
    /// there is no commit yet, nothing can be verified or pruned, and files that go with snapshots
    /// wait for the first. Else the first proof and the first files wait for no schedule.
    fn turn(&self, has_commit: bool, now: Timestamp) -> Option<Turn> {
        let with_snapshots = self.entries.contains_key(&Kind::Backup);
        let is_possible = |kind: &Kind| match kind {
            Kind::Backup => true,
            Kind::Files => has_commit || !with_snapshots,
            _ => has_commit,
        };
        let kinds = Kind::ALL.into_iter().filter(is_possible);
        kinds.into_iter().find_map(|kind| {
            let entry = self.entries.get(&kind)?;
            if matches!(kind, Kind::VerifyRestore | Kind::Files) && entry.last.is_none() {
                return Some(Turn { kind, scheduled: now, missed: 0 });
            }
            if let Due::Now { scheduled, missed, .. } =
                entry.timetable.due(entry.last, self.since, now)
            {
                return Some(Turn { kind, scheduled, missed });
            }
            let scheduled = entry.last.filter(|_| entry.again.is_some_and(|again| again <= now))?;
            Some(Turn { kind, scheduled, missed: 0 })
        })
    }

    /// Remembers that a job began.
    pub(super) fn begun(&mut self, turn: Turn) {
        self.quiet = None;
        if let Some(entry) = self.entries.get_mut(&turn.kind) {
            if entry.last != Some(turn.scheduled) {
                entry.failures = 0;
            }
            (entry.last, entry.again) = (Some(turn.scheduled), None);
        }
    }

    /// Remembers how it ended.
    pub(super) fn ended(&mut self, kind: Kind, ended: Ended, now: Timestamp) {
        self.quiet = None;
        let Some(entry) = self.entries.get_mut(&kind) else { return };
        match ended {
            // What a prune could not decide about yet is decided soon.
            Ended::Unknown if kind != Kind::Prune => entry.failures = 0,
            Ended::Failed | Ended::Unknown => {
                entry.failures = entry.failures.saturating_add(1);
                entry.again = entry.timetable.retry(entry.failures, now);
            }
            Ended::Stopped => entry.again = Some(now),
            // What somebody ended waits for its next time.
            Ended::Cancelled => {}
            Ended::Well | Ended::Found => entry.failures = 0,
        }
    }
}

#[cfg(test)]
mod tests;
