//! One moment of several databases, by schedule: [`crate::ops::group`] makes it, here is decided
//! when, and seen to it that all of them are followed then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::config::Group;
use super::desk::{Message, Supervisor};
use super::grouped::{GROUP, Keeping};
use super::job::{Control, Ended, Outcome};
use super::kept::Stage;
use super::kind::Kind;
use super::ledger::{Entry, key};
use super::overview::LastRun;
use super::pool::guarded;
use crate::count::{counted, number};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::group::{Member, snapshot};
use crate::policy::alert;
use crate::types::Timestamp;

/// How long to wait until all databases of a group are followed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Takes up the groups of the configuration.
    pub(super) fn find_groups(&mut self) {
        let at = self.place.clock.now();
        let config = &self.config.groups;
        self.groups.retain(|name, keeping| {
            let stays = config.get(name).is_some_and(|group| *group == *keeping.group);
            if !stays {
                keeping.stop();
            }
            stays
        });
        for (name, group) in config {
            if self.groups.contains_key(name) {
                continue;
            }
            let keeping = Keeping::new(name, group, &self.memory, at);
            let database = key(GROUP, name);
            if !self.memory.since.contains_key(&database) {
                self.memory.since.insert(database.clone(), at);
                let path = PathBuf::new();
                self.ledger.enter(Entry::Known { database, path, since: at });
            }
            self.groups.insert(name.clone(), keeping);
        }
    }

    /// Has moments made of the groups that are due.
    pub(super) fn tend_groups(&mut self) {
        let at = self.place.clock.now();
        let due: Vec<(String, (Timestamp, usize))> = self
            .groups
            .iter()
            .filter_map(|(name, keeping)| Some((name.clone(), keeping.due(at)?)))
            .collect();
        for (name, scheduled) in due {
            self.begin_moment(&name, scheduled, at);
        }
    }

    fn begin_moment(&mut self, name: &str, (scheduled, missed): (Timestamp, usize), at: Timestamp) {
        let now = Instant::now();
        let Some(group) = self.groups.get(name).map(|keeping| keeping.group.clone()) else {
            return;
        };
        let members = self.members(&group);
        let Some(keeping) = self.groups.get_mut(name) else { return };
        let since = *keeping.waiting.get_or_insert(now);
        let why = match &members {
            Ok((_, missing)) if missing.is_empty() => None,
            Ok((_, missing)) => {
                let names: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
                Some(format!("not all of its databases are followed: not {}", names.join(", ")))
            }
            Err(e) => Some(e.to_string()),
        };
        // Who is not there, or not followed, does not come by itself.
        if why.is_some() && members.is_ok() && now.duration_since(since) < PATIENCE {
            return;
        }
        keeping.waiting = None;
        self.memory.newest += 1;
        let (id, control) =
            (self.memory.newest, Control::of(name, Some(self.memory.newest), keeping.ear.clone()));
        (keeping.last, keeping.again) = (Some(scheduled), None);
        keeping.job = Some((id, control.clone()));
        if missed > 0 {
            let times = counted(number(missed), "time");
            let why = format!("group {name}: {times} passed without a moment");
            keeping.ear.happens(alert::Kind::MissedRun, why);
        }
        let database = key(GROUP, name);
        let last = self.memory.last.entry(database.clone()).or_default();
        last.insert(Kind::Group, scheduled);
        let (kind, scheduled) = (Kind::Group, Some(scheduled));
        self.ledger.enter(Entry::Began { id, database, kind, scheduled, at });
        self.done.jobs += 1;
        if let Some(message) = why {
            return self.moment_made(name, id, Outcome { ended: Ended::Failed, message });
        }
        let members = members.unwrap_or_default().0;
        tracing::info!(group = name, job = id, "group {name}: one moment of it is labelled");
        let keep = group.keep;
        let (name, mailbox) = (name.to_owned(), self.mailbox.clone());
        let (theirs, asked) = (name.clone(), mailbox.clone());
        let work = move || {
            let made = guarded(|| make(members, &name, keep, &control));
            let _ = mailbox.send(Message::Moment(name, id, Outcome::of(made)));
        };
        // Not by those who do jobs: a moment waits for no verification, and nothing for its locks.
        let thread = std::thread::Builder::new().name("pagekeep-moment".to_owned()).spawn(work);
        if let Err(e) = thread {
            let failed = Error::io(e, "cannot be started", "a thread of the daemon");
            let _ = asked.send(Message::Moment(theirs, id, Outcome::of(Err(failed))));
        }
    }

    /// The databases of a group that are followed, and the names of those that are not, of which
    /// those that sleep are woken.
    fn members(&mut self, group: &Group) -> Result<(Vec<Member>, Vec<String>)> {
        let names: Vec<&str> = self.kept.values().map(|kept| &*kept.name).collect();
        if let [first, ..] = group.missing(&names).as_slice() {
            let what = format!("no database {first:?} is kept");
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        let mut of_group = self.kept.values().filter(|kept| group.has(&kept.name));
        if let Some(other) = of_group.find(|kept| !kept.is_followed()) {
            let what =
                format!("{:?} is not followed: its mode is another, or it is paused", other.name);
            return Err(Error::new(ErrorKind::Refused, what));
        }
        let found = self.kept.values().map(|kept| (&*kept.name, &*kept.plan.repository));
        if let Some(what) = group.divided(found) {
            return Err(Error::new(ErrorKind::Refused, what));
        }
        let now = Instant::now();
        let (mut members, mut missing, mut woken) = (Vec::new(), Vec::new(), Vec::new());
        for kept in self.kept.values_mut().filter(|kept| group.has(&kept.name)) {
            let follower = match &kept.stage {
                Stage::Awake(follower) => Some(follower),
                Stage::Asleep(_) => {
                    kept.stage = Stage::At(now);
                    kept.wanted_until = now.checked_add(2 * PATIENCE);
                    woken.push(kept.path.clone());
                    None
                }
                _ => None,
            };
            let member = follower.zip(kept.history.clone()).map(|(follower, history)| Member {
                path: kept.path.clone(),
                history,
                cutter: follower.cutter(),
            });
            match member {
                Some(member) => members.push(member),
                None => missing.push(kept.name.clone()),
            }
        }
        for path in woken {
            self.files.leave_database(&path);
            self.attend(&path);
        }
        Ok((members, missing))
    }

    /// Takes note of what came of a moment.
    pub(super) fn moment_made(&mut self, name: &str, id: u64, outcome: Outcome) {
        let at = self.place.clock.now();
        let Outcome { mut ended, message } = outcome;
        let cancelled = self.groups.get(name).and_then(|keeping| keeping.cancelled);
        if ended == Ended::Stopped && cancelled == Some(id) {
            ended = Ended::Cancelled;
        }
        self.ledger.enter(Entry::Ended { id, at, ended, message: message.clone() });
        if ended == Ended::Well
            && let Some(keeping) = self.groups.get(name)
        {
            // Labels are something to be copied.
            let group = keeping.group.clone();
            let members = self.kept.values_mut().filter(|kept| group.has(&kept.name));
            members.for_each(|kept| kept.labelled += 1);
        }
        let Some(keeping) = self.groups.get_mut(name) else { return };
        if keeping.job.take_if(|(job, _)| *job == id).is_none() {
            return;
        }
        *self.jobs_ended.entry((Kind::Group, ended)).or_default() += 1;
        if ended == Ended::Well {
            keeping.made = Some(at);
            self.memory.made.insert(key(GROUP, name), at);
        }
        let before = keeping.run.as_ref().map_or(0, |run| run.failures);
        let failures = match ended {
            Ended::Well => 0,
            _ => before.saturating_add(1),
        };
        match ended {
            Ended::Well => tracing::info!(group = name, job = id, "group {name}: {message}"),
            Ended::Stopped => {
                tracing::info!(group = name, job = id, "group {name}: the moment was given up");
                keeping.again = Some(at);
            }
            Ended::Cancelled => {
                tracing::info!(group = name, job = id, "group {name}: somebody ended the moment");
            }
            Ended::Failed | Ended::Found | Ended::Unknown => {
                tracing::warn!(
                    group = name,
                    job = id,
                    "group {name}: no moment was labelled: {message}"
                );
                keeping.again = keeping.timetable.retry(failures, at);
            }
        }
        if !matches!(ended, Ended::Stopped | Ended::Cancelled) {
            let run = LastRun { at, ended, message, failures };
            let runs = self.memory.runs.entry(key(GROUP, name)).or_default();
            runs.insert(Kind::Group, run.clone());
            keeping.run = Some(run);
        }
    }
}

fn make(
    mut members: Vec<Member>,
    group: &str,
    keep: Option<Duration>,
    control: &Control,
) -> Result<Outcome> {
    let moment = snapshot(&mut members, group, keep, control)?;
    let millis = moment.held.as_secs_f64() * 1000.0;
    let message = format!(
        "{} at one moment, labelled {:?}; writers waited {millis:.1} ms",
        counted(number(moment.labels.len()), "database"),
        moment.label
    );
    Ok(Outcome { ended: Ended::Well, message })
}
