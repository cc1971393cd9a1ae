//! A group of databases, as the supervisor keeps it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Group;
use super::ear::Ear;
use super::job::Control;
use super::kind::Kind;
use super::ledger::{Memory, key};
use super::overview::{GroupView, LastRun};
use crate::policy::schedule::timetable::{Due, Timetable};
use crate::types::Timestamp;

/// Under which name groups stand in the ledger beside the repositories, which have none like it.
pub(super) const GROUP: &str = "(group)";

/// A group.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) group: Arc<Group>,
    pub(super) timetable: Timetable,
    /// Since when it is known, and the scheduled time of the last moment that was tried.
    pub(super) since: Timestamp,
    pub(super) last: Option<Timestamp>,
    /// When it is tried again after it failed.
    pub(super) again: Option<Timestamp>,
    /// The job that makes one, and since when its databases are waited for.
    pub(super) job: Option<(u64, Arc<Control>)>,
    pub(super) waiting: Option<Instant>,
    pub(super) run: Option<LastRun>,
    /// The job of which somebody wanted the end.
    pub(super) cancelled: Option<u64>,
    /// When one moment of it was last labelled.
    pub(super) made: Option<Timestamp>,
    /// Hears of what happens to it.
    pub(super) ear: Arc<Ear>,
}

impl Keeping {
    pub(super) fn new(name: &str, group: &Group, memory: &Memory, now: Timestamp) -> Self {
        let schedule = group.schedule.clone();
        let timetable = Timetable::new(schedule, group.zone, name, Duration::ZERO);
        let of = |name: &str| key(GROUP, name);
        let last = memory.last.get(&of(name)).and_then(|last| last.get(&Kind::Group)).copied();
        let run = memory.runs.get(&of(name)).and_then(|runs| runs.get(&Kind::Group)).cloned();
        Self {
            group: Arc::new(group.clone()),
            timetable,
            since: memory.since.get(&of(name)).copied().unwrap_or(now),
            last,
            again: None,
            job: None,
            waiting: None,
            run,
            cancelled: None,
            made: memory.made.get(&of(name)).copied(),
            ear: Arc::new(Ear::of(name)),
        }
    }

    /// The time that the next moment is due for, if it is due, and how many before it were missed.
    pub(super) fn due(&self, now: Timestamp) -> Option<(Timestamp, usize)> {
        if self.job.is_some() {
            return None;
        }
        match self.timetable.due(self.last, self.since, now) {
            Due::Now { scheduled, missed, .. } => Some((scheduled, missed)),
            _ => {
                let is_due = self.again.is_some_and(|again| again <= now);
                self.last.filter(|_| is_due).map(|last| (last, 0))
            }
        }
    }

    /// Asks for a stop. Answers whether there is something to be stopped.
    pub(super) fn stop(&self) -> bool {
        self.job.iter().for_each(|(_, control)| control.stop());
        self.job.is_some()
    }

    pub(super) fn view(&self, name: &str) -> GroupView {
        GroupView {
            name: name.to_owned(),
            made: self.made,
            run: self.run.clone(),
            is_running: self.job.is_some(),
            happened: self.ear.happened(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::config::Config;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn times_that_passed_without_a_moment_are_counted() {
        let text = "[repositories.main]\nlocation = \"r\"\nkey-file = \"k\"
[[databases]]\npath = \"a.db\"\n[groups.g]\ndatabases = [\"a\"]\nschedule = \"every 1h\"";
        let config = Config::parse(std::path::Path::new("/etc/pagekeep.toml"), text).unwrap();
        let group = &config.groups["g"];
        let now = Timestamp(1_000_000_000_000_000);
        let mut keeping = Keeping::new("g", group, &Memory::default(), now);
        let (first, missed) = keeping.due(now.after(HOUR)).unwrap();
        assert_eq!(missed, 0);
        keeping.last = Some(first);
        assert_eq!(keeping.due(first.after(HOUR / 2)), None);
        // The daemon was off for five hours.
        let (_, missed) = keeping.due(first.after(HOUR * 5)).unwrap();
        assert_eq!(missed, 4);
    }
}
