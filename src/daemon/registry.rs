//! Which databases there are: what the configuration names, and what patterns match. It is looked
//! at again and again, since files come and go, and the configuration changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::agenda::Agenda;
use super::config::{Config, Plan};
use super::desk::{Message, Rest, Supervisor};
use super::job::in_words;
use super::kept::{Kept, Stage};
use super::ledger::{Entry, key};
use super::opened::Opened;
use super::pool::Pool;
use super::print::Print;

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
        // Of two files of one name the one that is kept already counts, or else the first.
        let mut names: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
        let is_new = |path: &PathBuf| !self.kept.contains_key(path);
        let mut in_order: Vec<_> = named.iter().collect();
        in_order.sort_by_key(|(path, _)| is_new(path));
        for (path, (name, plan)) in in_order {
            let key = (plan.repository.clone(), name.clone());
            if let Some(other) = names.get(&key) {
                let told =
                    format!("{} has the name {name:?} of {}", path.display(), other.display());
                if self.told.insert(told.clone()) {
                    tracing::error!(
                        "{told}, and is not kept: its entry in the configuration needs another `name`"
                    );
                }
                continue;
            }
            names.insert(key, path.clone());
        }
        let (now, at) = (Instant::now(), self.place.clock.now());
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
            if !self.memory.since.contains_key(&database) {
                self.memory.since.insert(database.clone(), since);
                let (database, path) = (database.clone(), path.clone());
                self.ledger.enter(Entry::Known { database, path, since });
                tracing::info!(database = name, "is kept from now on: {}", self.described(&plan));
            }
            let last = self.memory.last.get(&database).cloned().unwrap_or_default();
            let agenda = Agenda::new(&plan, &name, since, &last);
            let mut kept = Kept::new(path.clone(), name, plan, agenda, now);
            kept.stage = match is_leaving {
                true => Stage::Stopping,
                false if kept.is_followed() => Stage::At(now),
                false => Stage::Idle,
            };
            self.kept.insert(path, kept);
        }
        // What is in the configuration no longer is left. A file that is gone is not: it may come
        // back, and its history stays whatever happens.
        let is_named = |path: &Path| targets.iter().any(|target| target.means(path));
        let gone: Vec<PathBuf> = self.kept.keys().filter(|path| !is_named(path)).cloned().collect();
        for path in gone {
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
        let Some(kept) = self.kept.remove(path) else { return false };
        self.done.commits += kept.ear.published();
        self.files.leave_database(path);
        if let Some(job) = &kept.job {
            job.control.stop();
        }
        let Stage::Awake(follower) = kept.stage else { return false };
        let (path, mailbox) = (path.to_owned(), self.mailbox.clone());
        self.attendants.give(move || {
            let rest = follower.stop().map(|()| Rest::default());
            let _ = mailbox.send(Message::Left(path, Print::default(), rest));
        });
        true
    }

    /// Reads the configuration again; one that is wrong changes nothing.
    pub(super) fn reload(&mut self) {
        let file = self.config.file.clone();
        let config = match Config::load(&file) {
            Ok(Ok((config, text))) => {
                let (path, at) = (file, self.place.clock.now());
                self.ledger.enter(Entry::Configured { path, text, at });
                config.with_ledger(self.place.ledger(), self.place.own_name())
            }
            Ok(Err(mistaken)) => {
                return tracing::error!(
                    "the configuration stays as it was: {}",
                    in_words(&mistaken.error())
                );
            }
            Err(e) => {
                return tracing::error!("the configuration stays as it was: {}", in_words(&e));
            }
        };
        if config.state_dir != self.config.state_dir {
            tracing::warn!("another state-dir counts when the daemon is started again");
        }
        let jobs =
            (config.jobs != self.config.jobs).then(|| Pool::start("pagekeep-job", config.jobs));
        match jobs {
            // The old threads end when their jobs do.
            Some(Ok(pool)) => {
                let old = std::mem::replace(&mut self.workers, pool);
                self.attendants.give(move || drop(old));
            }
            Some(Err(e)) => tracing::warn!("as many jobs at once as before: {e}"),
            None => {}
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
        left.iter().for_each(|path| {
            self.leave(path);
        });
        self.repositories.retain(|name, _| !moved.contains(name));
        for (name, repository) in &config.repositories {
            self.repositories
                .entry(name.clone())
                .or_insert_with(|| Opened::new(repository.clone()));
        }
        self.config = config;
        self.told.clear();
        tracing::info!("read {} again", self.config.file.display());
        self.look();
    }

    fn described(&self, plan: &Plan) -> String {
        let place = self.config.repositories.get(&plan.repository);
        let place = place.map_or_else(String::new, |repository| repository.location.clone());
        format!("{} into {place}", plan.described())
    }
}
