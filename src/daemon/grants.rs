//! What becomes of what somebody asks of the daemon while it runs. The supervisor decides at once,
//! and what takes long is a job.

use std::collections::VecDeque;
use std::time::Instant;

use super::desk::Supervisor;
use super::job::Ended;
use super::kept::{Kept, Stage, WantedJob};
use super::kind::Kind;
use super::ledger::{Entry, key};
use super::overview::Paused;
use super::wanted::{Given, Named, Wanted, Wish};
use crate::error::{Error, ErrorKind, Result};

/// How many jobs of one database may wait because somebody asked for them.
const MOST: usize = 8;

impl Supervisor {
    /// Does what somebody wants, and tells everybody how it stands then.
    pub(super) fn grant(&mut self, wish: Wish) {
        let Wish { wanted, answer } = wish;
        let given = self.granted(wanted);
        // Whoever asks next is to see it.
        if given.is_ok() {
            self.tell();
        }
        // Nobody may wait any more.
        let _ = answer.send(given);
    }

    fn granted(&mut self, wanted: Wanted) -> Result<Given> {
        match wanted {
            Wanted::Run(named, kind, label) => self.want_job(&named, kind, label),
            Wanted::Labelled(named) => {
                // They are copied to the mirrors.
                self.named(&named)?.labelled += 1;
                Ok(Given::Done)
            }
            Wanted::Cancel(id) => self.cancel_job(id),
            Wanted::Pause(named, by) => self.pause(&named, by),
            Wanted::Resume(named) => self.resume(&named),
            Wanted::Reload => self.reload().map(|()| Given::Done),
        }
    }

    fn named(&mut self, named: &Named) -> Result<&mut Kept> {
        let is_it =
            |kept: &&mut Kept| kept.plan.repository == named.repository && kept.name == named.name;
        self.kept.values_mut().find(is_it).ok_or_else(|| unknown(named))
    }

    fn want_job(&mut self, named: &Named, kind: Kind, label: Option<String>) -> Result<Given> {
        let (id, at) = (self.memory.newest + 1, self.place.clock.now());
        let kept = self.named(named)?;
        if let Some(paused) = kept.paused() {
            let what = format!("is paused by {}", paused.by);
            return Err(Error::new(ErrorKind::Refused, what)
                .with_object(key(&named.repository, &named.name))
                .with_hint("resume it first"));
        }
        // It may have one since it was last looked at.
        kept.has_commit |= kept.ear.published() > 0;
        let can = match kind {
            Kind::Group => Err(("is no group", "its group has a schedule of its own")),
            Kind::Files if kept.plan.files.is_none() => {
                Err(("has no files in the configuration", "name them in its entry there"))
            }
            Kind::Prune if kept.plan.retention.is_none() => {
                Err(("has no policy in the configuration", "add one to its entry there"))
            }
            _ if !kept.has_commit && kind != Kind::Backup => {
                Err(("has no commit yet", "wait for its first one"))
            }
            _ => Ok(()),
        };
        can.map_err(|(what, hint)| {
            Error::new(ErrorKind::Refused, format!("{what}, so no {} can begin", kind.name()))
                .with_object(key(&named.repository, &named.name))
                .with_hint(hint)
        })?;
        // Who asks twice waits for the same one.
        let same = |waiting: &&WantedJob| waiting.kind == kind && waiting.label == label;
        if let Some(waiting) = kept.wanted.iter().find(same) {
            return Ok(Given::Job(waiting.id));
        }
        if kept.wanted.len() >= MOST {
            return Err(Error::new(ErrorKind::Busy, "has too many jobs that wait")
                .with_object(key(&named.repository, &named.name)));
        }
        kept.wanted.push_back(WantedJob { id, kind, label });
        self.memory.newest = id;
        let database = key(&named.repository, &named.name);
        self.ledger.enter(Entry::Accepted { id, database, kind, at });
        self.begin_jobs();
        Ok(Given::Job(id))
    }

    fn cancel_job(&mut self, id: u64) -> Result<Given> {
        let at = self.place.clock.now();
        for kept in self.kept.values_mut() {
            if let Some(job) = kept.job.as_mut().filter(|job| job.id == id) {
                job.is_cancelled = true;
                job.control.stop();
                return Ok(Given::Job(id));
            }
            let before = kept.wanted.len();
            kept.wanted.retain(|waiting| waiting.id != id);
            if kept.wanted.len() < before {
                let message = "it had not begun".to_owned();
                self.ledger.enter(Entry::Ended { id, at, ended: Ended::Cancelled, message });
                return Ok(Given::Job(id));
            }
        }
        let is_moment = |job: &(u64, _)| job.0 == id;
        let mut groups = self.groups.values_mut();
        if let Some(group) = groups.find(|group| group.job.as_ref().is_some_and(is_moment)) {
            group.cancelled = Some(id);
            group.stop();
            return Ok(Given::Job(id));
        }
        Err(Error::new(ErrorKind::NotFound, "neither waits nor runs")
            .with_object(format!("job {id}")))
    }

    /// Ends jobs that somebody asked for, and that do not begin any more.
    pub(super) fn give_up(&self, wanted: VecDeque<WantedJob>, why: &str) {
        let at = self.place.clock.now();
        for WantedJob { id, .. } in wanted {
            let message = format!("it had not begun: {why}");
            self.ledger.enter(Entry::Ended { id, at, ended: Ended::Stopped, message });
        }
    }

    fn pause(&mut self, named: &Named, by: String) -> Result<Given> {
        let since = self.place.clock.now();
        let kept = self.named(named)?;
        if kept.halted.is_some() {
            return Ok(Given::Done);
        }
        kept.halted = Some(Paused { by: by.clone(), since: Some(since) });
        let wanted = std::mem::take(&mut kept.wanted);
        let mut stopped = None;
        if let Some(job) = &kept.job {
            job.control.stop();
            stopped = Some(job.kind);
        }
        // A first capture goes on another time.
        if matches!(kept.stage, Stage::Starting) {
            kept.ear.stop();
        }
        tracing::warn!(database = kept.name, "is paused by {by}: nothing is captured");
        let path = kept.path.clone();
        let database = key(&named.repository, &named.name);
        self.give_up(wanted, "the database was paused");
        if let Some(kind) = stopped {
            // What was stopped did not run.
            self.memory.last.entry(database.clone()).or_default().remove(&kind);
        }
        self.memory.paused.insert(database.clone(), (by.clone(), since));
        self.ledger.enter(Entry::Paused { database, by: Some(by), since });
        self.attend(&path);
        Ok(Given::Done)
    }

    fn resume(&mut self, named: &Named) -> Result<Given> {
        let since = self.place.clock.now();
        let kept = self.named(named)?;
        let was_halted = kept.halted.take().is_some();
        let by_plan = kept.plan.paused;
        if !was_halted && !by_plan {
            return Ok(Given::Done);
        }
        kept.ear.go_on();
        if kept.is_followed() && matches!(kept.stage, Stage::Idle) {
            kept.stage = Stage::At(Instant::now());
        }
        if !by_plan {
            tracing::info!(database = kept.name, "goes on");
        }
        let path = kept.path.clone();
        let database = key(&named.repository, &named.name);
        self.memory.paused.remove(&database);
        self.ledger.enter(Entry::Paused { database, by: None, since });
        self.attend(&path);
        if by_plan {
            return Err(Error::new(ErrorKind::Refused, "is paused by the configuration")
                .with_object(key(&named.repository, &named.name))
                .with_hint("take `paused` out of its entry there"));
        }
        Ok(Given::Done)
    }
}

fn unknown(named: &Named) -> Error {
    Error::new(ErrorKind::NotFound, "is no database of this daemon")
        .with_object(key(&named.repository, &named.name))
}
