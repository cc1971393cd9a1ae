//! Which databases there are: what the configuration names, and what patterns match. It is looked
//! at again and again, since files come and go, and the configuration changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::agenda::Agenda;
use super::clerks::hire_all;
use super::config::{Config, Plan};
use super::copying::Copying;
use super::desk::{Departing, Message, Rest, Supervisor};
use super::kept::{Kept, LEAVE, Stage, Whose};
use super::ledger::{Entry, Memory, key};
use super::opened::{Opened, Place};
use super::overview::Paused;
use super::pool::guarded;
use super::print::Print;
use super::promise::{Promise, undone};
use super::words::{in_words, said};
use crate::capture::follow::Follower;
use crate::error::{ErrorKind, Result};
use crate::remedy::{Remedy, advice};

impl Supervisor {
    /// Finds out which databases there are now.
    pub(super) fn find_databases(&mut self) {
        let targets = self.config.targets.clone();
        let mut named: BTreeMap<PathBuf, (String, Arc<Plan>)> = BTreeMap::new();
        for target in &targets {
            target.folder().into_iter().for_each(|folder| self.files.watch_folder(&folder));
            for path in target.found() {
                // The first entry that means a file counts.
                let name = target.name_of(&path);
                named.entry(path).or_insert_with(|| (name, target.plan.clone()));
            }
        }
        // Of two files of one name, and of two names of one file, the one that is kept already
        // counts, or the one that was kept before the daemon began, or else the first.
        let mut names: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
        let mut files: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
        let rank = |path: &PathBuf, (name, plan): &(String, Arc<Plan>)| {
            let before = self.memory.paths.get(&key(&plan.repository, name));
            (!self.kept.contains_key(path), before != Some(path))
        };
        let mut in_order: Vec<_> = named.iter().collect();
        in_order.sort_by_key(|(path, named)| rank(path, named));
        for (path, (name, plan)) in in_order {
            let of_name = (plan.repository.clone(), name.clone());
            let file = Print::identity_at(path);
            let told = match (names.get(&of_name), file.and_then(|file| files.get(&file))) {
                (_, Some(other)) => {
                    format!("{} is the same file as {}", path.display(), other.display())
                }
                (Some(other), None) => {
                    format!("{} has the name {name:?} of {}", path.display(), other.display())
                }
                (None, None) => {
                    files.extend(file.map(|file| (file, path.clone())));
                    names.insert(of_name, path.clone());
                    continue;
                }
            };
            if self.told.insert(told.clone()) {
                tracing::error!(
                    "{told}, and is not kept: its entry in the configuration has to change"
                );
            }
        }
        let (now, at) = (Instant::now(), self.place.clock.now());
        let not_found: Vec<PathBuf> =
            self.kept.keys().filter(|path| !named.contains_key(*path)).cloned().collect();
        for ((repository, name), path) in names {
            let Some((_, plan)) = named.remove(&path) else { continue };
            if let Some(kept) = self.kept.get(&path)
                && kept.name == name
                && (Arc::ptr_eq(&kept.plan, &plan) || kept.plan == plan)
            {
                continue;
            }
            // One with another plan is left first, and then taken up by the new one.
            let is_leaving = self.leave(&path);
            let database = key(&repository, &name);
            let since = self.memory.since.get(&database).copied().unwrap_or(at);
            let is_new = !self.memory.since.contains_key(&database);
            // Whoever brings it back on another machine goes by where it was last.
            if self.memory.paths.get(&database) != Some(&path) {
                self.memory.since.insert(database.clone(), since);
                self.memory.paths.insert(database.clone(), path.clone());
                let (database, path) = (database.clone(), path.clone());
                self.ledger.enter(Entry::Known { database, path, since });
            }
            if is_new {
                tracing::info!(database = name, "is kept from now on: {}", self.described(&plan));
            }
            let last = self.memory.last.get(&database).cloned().unwrap_or_default();
            let agenda = Agenda::new(&plan, &name, since, &last);
            self.next += 1;
            let runs = self.memory.runs.get(&database).cloned().unwrap_or_default();
            let mut kept = Kept::new(self.next, path.clone(), name, plan, agenda, runs, (now, at));
            if let Some(repository) = self.config.repositories.get(&kept.plan.repository) {
                let mirrors = repository.mirrors.iter().cloned();
                kept.copies = mirrors.map(|mirror| (mirror, Copying::new(at, now))).collect();
            }
            let paused = self.memory.paused.get(&database).cloned();
            kept.halted = paused.map(|(by, since)| Paused { by, since: Some(since) });
            kept.stage = match is_leaving {
                true => Stage::Waiting,
                false if kept.is_followed() => Stage::At(now),
                false => Stage::Idle,
            };
            self.kept.insert(path, kept);
        }
        // What is in the configuration no longer is left. A file that is gone is not: it may come
        // back, and its history stays whatever happens.
        let is_named = |path: &Path| targets.iter().any(|target| target.means(path));
        for path in not_found.into_iter().filter(|path| !is_named(path)) {
            if let Some(kept) = self.kept.get(&path) {
                tracing::info!(
                    database = kept.name,
                    "is in the configuration no longer: it is left, and its history stays"
                );
            }
            self.leave(&path);
        }
    }

    /// Stops whatever is done with a database, and forgets it. Answers whether it takes a while
    /// until nobody follows it any more, which a message tells.
    pub(super) fn leave(&mut self, path: &Path) -> bool {
        let Some(mut kept) = self.kept.remove(path) else { return false };
        self.give_up(
            std::mem::take(&mut kept.wanted),
            "its entry in the configuration is another one",
        );
        self.done.commits += kept.ear.published();
        self.files.leave_database(path);
        let mut at_work = 0;
        if let Some(job) = &kept.job {
            job.control.stop();
            // What was stopped did not run.
            let database = key(&kept.plan.repository, &kept.name);
            self.memory.last.entry(database).or_default().remove(&job.kind);
            at_work += 1;
        }
        for copying in kept.copies.values() {
            copying.stop();
        }
        if matches!(kept.stage, Stage::Starting) {
            kept.ear.stop();
        }
        let whose = kept.whose();
        match kept.stage {
            Stage::Awake(follower) => {
                at_work += 1;
                self.let_go(whose, follower);
            }
            // They tell by themselves.
            Stage::Starting | Stage::Stopping => at_work += 1,
            _ => {}
        }
        let left = at_work + self.departing.remove(path).map_or(0, |departing| departing.left);
        if left == 0 {
            return false;
        }
        let now = Instant::now();
        let until = now.checked_add(2 * LEAVE).unwrap_or(now);
        self.departing.insert(path.to_owned(), Departing { left, until });
        true
    }

    /// Has somebody stop a follower whose database is left. A thread of its own does that: the
    /// threads of a repository that hangs would never come to it.
    pub(super) fn let_go(&self, whose: Whose, follower: Follower) {
        let left = |rest| Message::Left(whose.clone(), Print::default(), rest);
        let promise = Promise::new(&self.mailbox, left(undone()));
        // The message is the same whatever came of it: nobody keeps the database by that plan.
        let message = left(Ok(Rest::default()));
        let stop = move || {
            if let Err(e) = guarded(|| follower.stop_within(LEAVE)) {
                tracing::warn!("what was left had not stored everything: {}", in_words(&e));
            }
            promise.keep(message);
        };
        let thread = std::thread::Builder::new().name("pagekeep-leave".to_owned()).spawn(stop);
        if let Err(e) = thread {
            tracing::warn!("a follower is not waited for: {e}");
        }
    }

    /// Reads the configuration again; one that is wrong changes nothing, and is told in the log.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn reload(&mut self) -> Result<()> {
        let file = self.config.file.clone();
        let config = match Config::load(&file) {
            Ok(Ok((config, text))) => {
                let (path, at) = (file, self.place.clock.now());
                self.ledger.enter(Entry::Configured { path, text, at });
                with_ledger(config, &self.place, &self.memory)
            }
            Ok(Err(mistaken)) => {
                let all = match mistaken.mistakes() {
                    [_] => String::new(),
                    _ => {
                        let file = file.display().to_string();
                        let check = Remedy::CheckConfiguration { file };
                        said(&advice!["; all of them: ", check])
                    }
                };
                let error = mistaken.error();
                tracing::error!("the configuration stays as it was: {}{all}", in_words(&error));
                return Err(error);
            }
            Err(e) => {
                tracing::error!("the configuration stays as it was: {}", in_words(&e));
                return Err(e);
            }
        };
        if config.state_dir != self.config.state_dir {
            tracing::warn!("another state-dir counts when the daemon is started again");
        }
        // Databases of a repository that is another one now are taken up anew.
        let is_same = |name: &String| {
            self.repositories.get(name).map(|r| &r.config) == config.repositories.get(name)
        };
        let moved: BTreeSet<String> =
            self.repositories.keys().filter(|name| !is_same(name)).cloned().collect();
        let left: Vec<PathBuf> = self
            .kept
            .values()
            .filter(|k| moved.contains(&k.plan.repository))
            .map(|k| k.path.clone())
            .collect();
        for path in &left {
            if let Some(kept) = self.kept.get(path) {
                tracing::info!(database = kept.name, "is left: its repository is another one now");
            }
            self.leave(path);
        }
        self.repositories.retain(|name, _| !moved.contains(name));
        // Who is asked at the old place may never answer.
        self.clerks.retain(|name, _| !moved.contains(name));
        // A mirror that is another one now has nothing yet, as far as anybody knows.
        let (now, at) = (Instant::now(), self.place.clock.now());
        for kept in self.kept.values_mut() {
            for (mirror, copying) in &mut kept.copies {
                if moved.contains(mirror) {
                    copying.stop();
                    *copying = Copying::new(at, now);
                }
            }
        }
        for (name, repository) in &config.repositories {
            self.repositories
                .entry(name.clone())
                .or_insert_with(|| Opened::new(repository.clone()));
        }
        self.config = config;
        self.turns.retain(|name, _| self.config.repositories.contains_key(name));
        hire_all(&mut self.clerks, &self.config);
        self.find_groups();
        self.http.serve(self.config.http.clone());
        self.told.clear();
        // A key that is another one by now is no trouble before the next start: it is told today.
        for (name, opened) in self.repositories.iter_mut().filter(|(_, opened)| opened.is_open()) {
            let Some(clerks) = self.clerks.get(name) else { continue };
            let opening = opened.opening(&self.place, self.config.threads, &self.stop);
            let name = name.clone();
            clerks.asks.give(move || {
                if let Err(e) = guarded(|| opening.open())
                    && e.kind() != ErrorKind::Interrupted
                {
                    tracing::error!(
                        repository = name,
                        "stays open as it is, and could not be opened now: {}",
                        in_words(&e)
                    );
                }
            });
        }
        tracing::info!("read {} again", self.config.file.display());
        self.find_databases();
        self.look();
        Ok(())
    }

    fn described(&self, plan: &Plan) -> String {
        let place = self.config.repositories.get(&plan.repository);
        let place = place.map_or_else(String::new, |repository| repository.location.clone());
        format!("{} into {place}", plan.described())
    }
}

/// A configuration with the daemon's own database, in the repository where it was last.
pub(super) fn with_ledger(config: Config, place: &Place, memory: &Memory) -> Config {
    let own = place.own_name();
    let since = |repository: &str| memory.since.get(&key(repository, &own)).copied();
    config.with_ledger(place.ledger(), own.clone(), since)
}
