//! Whose turn for a job it is.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::clerks::open_mirrors;
use super::desk::{Message, Supervisor};
use super::job::{Control, Ended, Order, Outcome, scratch_of};
use super::kept::{Job, Judging, Kept, Whose};
use super::kind::Kind;
use super::ledger::{Entry, key};
use super::mirror::mirrored;
use super::opened::Opened;
use super::promise::{Promise, undone};
use super::tested::Method;
use crate::count::{counted, number};
use crate::ops::files::history_of;
use crate::policy::alert;

impl Supervisor {
    /// Gives those jobs away that are due, fairly: a database whose turn came waits for all that
    /// came before it, and for nothing else.
    pub(super) fn begin_jobs(&mut self) {
        let at = self.place.clock.now();
        for (path, kept) in &mut self.kept {
            if !kept.is_in_line && kept.turn(at).is_some() {
                kept.is_in_line = true;
                let line = self.turns.entry(kept.plan.repository.clone()).or_default();
                line.push_back(path.clone());
            }
        }
        let names: Vec<String> = self.turns.keys().cloned().collect();
        for name in names {
            self.hand_out(&name);
        }
    }

    /// Gives jobs to those who wait in the line of a repository, as many as may run: one that does
    /// not answer keeps no other one's jobs waiting.
    fn hand_out(&mut self, of: &str) {
        let at = self.place.clock.now();
        let Some(repository) = self.repositories.get(of).and_then(Opened::repository) else {
            return;
        };
        let mut line = self.turns.remove(of).unwrap_or_default();
        let is_at_work = |kept: &&Kept| kept.job.is_some() && kept.plan.repository == of;
        let running = self.kept.values().filter(is_at_work).count();
        let mut free = self.config.jobs.saturating_sub(running);
        let mut still: VecDeque<PathBuf> = VecDeque::new();
        // Thousands may stand in line: behind the last that gets a job nobody is looked at.
        while free > 0
            && let Some(path) = line.pop_front()
        {
            let is_of_line = |kept: &&mut Kept| kept.is_in_line && kept.plan.repository == of;
            let Some(kept) = self.kept.get_mut(&path).filter(is_of_line) else { continue };
            let Some(turn) = kept.turn(at) else {
                kept.is_in_line = false;
                continue;
            };
            let keepers = self.clerks.get(of).and_then(|clerks| clerks.keeps.as_ref());
            let asked = |name: &str| {
                let whose = (&*kept.plan.repository, name);
                mirrored(&self.repositories, &self.clerks, whose, None)
            };
            let mirrored = match turn.kind {
                Kind::Backup | Kind::Files => {
                    asked(&kept.name).and_then(|own| Some([own, asked(&history_of(&kept.name))?]))
                }
                _ => Some(Default::default()),
            };
            let Some((keepers, mirrored)) = keepers.zip(mirrored) else {
                still.push_back(path);
                continue;
            };
            kept.is_in_line = false;
            free -= 1;
            self.done.jobs += 1;
            // Somebody may wait for it already, by its number.
            let waiting = kept.wanted.iter().position(|wanted| wanted.kind == turn.kind);
            let (id, label) = match waiting.and_then(|at| kept.wanted.remove(at)) {
                Some(wanted) => (wanted.id, wanted.label),
                None => {
                    self.memory.newest += 1;
                    (self.memory.newest, None)
                }
            };
            let control = Control::of(&kept.name, Some(id), kept.ear.clone());
            let database = key(&kept.plan.repository, &kept.name);
            kept.agenda.begun(turn);
            let last = self.memory.last.entry(database.clone()).or_default();
            last.insert(turn.kind, turn.scheduled);
            let scheduled = Some(turn.scheduled);
            self.ledger.enter(Entry::Began { id, database, kind: turn.kind, scheduled, at });
            if let Some(method) = Method::of(turn.kind, &kept.plan) {
                self.ledger.enter(Entry::Tested { id, method });
            }
            let missed = match turn.missed {
                0 => String::new(),
                n => {
                    let times = counted(number(n), "time");
                    let why = format!("{}: {times} passed without a run", turn.kind.name());
                    kept.ear.happens(alert::Kind::MissedRun, why);
                    format!(", also for {times} that were missed")
                }
            };
            tracing::info!(database = kept.name, job = id, "{} begins{missed}", turn.kind.name());
            let (kind, began, is_cancelled) = (turn.kind, Instant::now(), false);
            kept.job = Some(Job { id, kind, control: control.clone(), began, at, is_cancelled });
            let order = Order {
                kind: turn.kind,
                repository: repository.clone(),
                mirrored,
                path: kept.path.clone(),
                known: kept.history.clone(),
                name: kept.name.clone(),
                plan: kept.plan.clone(),
                mirrors: open_mirrors(&self.repositories, &self.clerks, kept),
                scratch: scratch_of(self.config.scratch.as_deref()),
                ear: kept.ear.clone(),
                label,
                found: Arc::default(),
            };
            let (whose, mailbox) = (kept.whose(), self.mailbox.clone());
            let undone = Message::Done(whose.clone(), id, Outcome::of(undone()));
            let promise = Promise::new(&mailbox, undone);
            keepers.works.give(move || {
                let outcome = order.carry_out_whatever_happens(&*control);
                let found = order.take_found();
                if !found.is_empty() {
                    let _ = mailbox.send(Message::Found(id, found));
                }
                promise.keep(Message::Done(whose, id, outcome));
            });
        }
        still.append(&mut line);
        if !still.is_empty() {
            self.turns.insert(of.to_owned(), still);
        }
    }

    pub(super) fn job_ended(&mut self, whose: &Whose, id: u64, outcome: Outcome) {
        let at = self.place.clock.now();
        let Outcome { mut ended, message } = outcome;
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let job = kept.and_then(|kept| kept.job.take_if(|job| job.id == id));
        if ended == Ended::Stopped && job.as_ref().is_some_and(|job| job.is_cancelled) {
            ended = Ended::Cancelled;
        }
        self.ledger.enter(Entry::Ended { id, at, ended, message: message.clone() });
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let Some(kept) = kept else { return self.departed(&whose.path) };
        let Some(job) = job else { return };
        *self.jobs_ended.entry((job.kind, ended)).or_default() += 1;
        kept.has_commit |= job.kind == Kind::Backup && ended == Ended::Well;
        kept.judging = Judging::At(Instant::now());
        kept.agenda.ended(job.kind, ended, at);
        kept.ear.said(&message);
        kept.ran(job.kind, at, ended, message.clone());
        let database = key(&kept.plan.repository, &kept.name);
        self.memory.runs.insert(database, kept.runs.clone());
        let seconds = job.began.elapsed().as_secs_f64();
        let (database, kind) = (&*kept.name, job.kind.name());
        match ended {
            Ended::Well | Ended::Unknown => {
                tracing::info!(database, job = id, seconds, "{kind}: {message}");
            }
            Ended::Stopped => tracing::info!(database, job = id, seconds, "{kind} was stopped"),
            Ended::Cancelled => {
                tracing::info!(database, job = id, seconds, "{kind}: somebody ended it")
            }
            Ended::Found => tracing::error!(database, job = id, seconds, "{kind} found: {message}"),
            Ended::Failed => {
                tracing::warn!(database, job = id, seconds, "{kind} failed: {message}")
            }
        }
        // Another one of its jobs may be due; whose turn came by the clock a look will tell.
        let of = kept.plan.repository.clone();
        if kept.turn(at).is_some() && !kept.is_in_line {
            kept.is_in_line = true;
            self.turns.entry(of.clone()).or_default().push_back(whose.path.clone());
        }
        self.hand_out(&of);
    }
}
