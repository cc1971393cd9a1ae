//! The end: everything rests, and all that was promised is there, in the original and in the copy;
//! and after a prune nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use pagekeep::internals::format::names::HistoryNames;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};

use super::Party;
use super::application;
use super::follower::Database;
use super::ledger::{Mark, Standing};
use super::site::{Place, Site, Step, files};
use crate::support::dice::Dice;

/// Longer than anything that nobody names is kept.
const LONG_AGO: Duration = Duration::from_secs(8 * 24 * 3600);
/// How long commits of a history are restored at the end of a short run; a long one restores all
/// that labels and holds keep, besides.
const RESTORING: Duration = Duration::from_millis(400);
/// From so many seconds on a run is a long one.
pub const LONG: u64 = 120;
/// How many labels a short run looks at, of each history.
const LABELS: usize = 15;

impl Party<'_> {
    /// Nobody is at work any more.
    pub fn rest(&self, mut dice: Dice) -> Step {
        self.site.note("everything rests");
        for database in &self.databases {
            application::write_once(&database.path, dice.below(1000));
            self.catch_up(database, &mut dice)?;
        }
        if self.has_copy() {
            self.copy_to_the_end(&mut dice)?;
        }
        for place in self.places().iter().copied() {
            self.all_there(place, &mut dice)?;
            let done = self.site.run(place, "state-repair", &["repair"], None, &[])?;
            self.found_nothing(&done)?;
            self.prune_at_rest(place, &mut dice)?;
            self.all_there(place, &mut dice)?;
        }
        Ok(())
    }

    fn places(&self) -> &'static [Place] {
        match self.has_copy() {
            true => &[Place::Original, Place::Copy],
            false => &[Place::Original],
        }
    }

    fn has_copy(&self) -> bool {
        !self.plan.prunes_only && !self.plan.leaves_out("copy")
    }

    /// The newest commit is the live database, while nobody writes to it.
    pub fn catch_up(&self, database: &Database, dice: &mut Dice) -> Step {
        let live = application::last(&database.path);
        let done = loop {
            // One that is killed on purpose is begun again.
            if let Some(done) = self.backup(database.state(), database, dice)? {
                break done;
            }
        };
        let seq = done.summary()["seq"].as_u64().unwrap();
        self.restore_for_certain(Place::Original, database, seq, dice)?;
        let n = database.ledger.lock().unwrap().commits.get(&seq).and_then(|c| c.n);
        if n != Some(live) {
            let what = format!("the newest commit is transaction {n:?}, the database has {live}");
            return self.site.fail(what, Some(&done));
        }
        Ok(())
    }

    fn copy_to_the_end(&self, dice: &mut Dice) -> Step {
        loop {
            self.copy(None, dice)?;
            let behind =
                |d: &Database| d.copy.lock().unwrap().newest() != d.ledger.lock().unwrap().newest();
            if !self.databases.iter().any(behind) {
                return Ok(());
            }
        }
    }

    /// Restores a commit that nothing may hinder.
    fn restore_for_certain(
        &self,
        place: Place,
        database: &Database,
        seq: u64,
        dice: &mut Dice,
    ) -> Step {
        loop {
            self.restore(place, database, seq, dice)?;
            // One that was killed looked at nothing.
            let ledger = database.ledger_of(place).lock().unwrap();
            if ledger.commits.get(&seq).is_none_or(|c| c.n.is_some()) {
                return Ok(());
            }
        }
    }

    /// Every commit that must be there is, and is what it was; so is every label.
    fn all_there(&self, place: Place, dice: &mut Dice) -> Step {
        self.run(place, &["verify", "--level", "data"], None, &[])?;
        self.run(place, &["verify", "--level", "restore"], None, &[])?;
        for database in &self.databases {
            self.log(place, database)?;
            let (firm, pinned, labels) = {
                let ledger = database.ledger_of(place).lock().unwrap();
                let firm = ledger.firm();
                let pinned: Vec<u64> =
                    firm.iter().copied().filter(|seq| ledger.is_pinned(*seq)).collect();
                (firm, pinned, ledger.labels.clone())
            };
            if self.is_long {
                for seq in &pinned {
                    self.restore_for_certain(place, database, *seq, dice)?;
                }
            }
            let until = Instant::now() + RESTORING;
            while Instant::now() < until && !firm.is_empty() {
                let from = if dice.one_in(2) && !pinned.is_empty() { &pinned } else { &firm };
                self.restore(place, database, *dice.pick(from), dice)?;
            }
            let there = |mark: &&Mark| mark.standing == Standing::There && !mark.busy;
            let mut labels: Vec<&Mark> = labels.iter().filter(there).collect();
            while !self.is_long && labels.len() > LABELS {
                labels.swap_remove(usize::try_from(dice.below(labels.len() as u64)).unwrap());
            }
            for mark in labels {
                self.check_label(place, database, &mark.text, mark.seq, false)?;
            }
        }
        Ok(())
    }

    /// After a prune at rest there is nothing that nobody names, and another prune finds nothing to
    /// do.
    fn prune_at_rest(&self, place: Place, dice: &mut Dice) -> Step {
        let root = self.site.path(place.repo());
        // What nobody names is kept for a week, since it may be of somebody who is at work still.
        for file in files(&root) {
            let long_ago = SystemTime::now() - LONG_AGO;
            File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
        }
        let last = *dice.pick(&[1, 5, 50]);
        for database in &self.databases {
            for round in 0..3 {
                let id = self.site.number();
                database.ledger_of(place).lock().unwrap().begin_prune(id);
                let text = last.to_string();
                let args = ["prune", &*database.name, "--keep-last", &*text, "--grace", "0"];
                let done = self.run(place, &args, None, &[])?;
                self.account(place, database, &done, id, last)?;
                let summary = done.summary();
                let idle = summary["merges"] == 0 && summary["dropped"] == 0;
                if round == 2 && !idle {
                    return self.site.fail("a third prune at rest still finds work", Some(&done));
                }
            }
            let nameless = nameless(self.site, place, &database.name);
            if !nameless.is_empty() {
                let what = format!("a prune at rest leaves what nobody names: {nameless:#?}");
                return self.site.fail(what, None);
            }
        }
        self.site.count(format!("prunes at rest of the {}", place.repo()));
        self.tired.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// The history, by the library.
fn history(site: &Site, place: Place, name: &str) -> History {
    let store =
        pagekeep::internals::store::open_store(site.path(place.repo()).to_str().unwrap()).unwrap();
    let secret = Secret::read_key_file(&site.path(place.key())).unwrap();
    let repository =
        Repository::open(store, &secret, &RepositoryOptions::new(site.path("state-looks")))
            .unwrap();
    repository.history(name).unwrap()
}

/// The history's objects that neither its chain names nor a commit of the chain needs.
fn nameless(site: &Site, place: Place, name: &str) -> Vec<String> {
    let history = history(site, place, name);
    let (chain, names) = (history.chain().unwrap(), HistoryNames(history.id()));
    let mut named: BTreeSet<String> = BTreeSet::new();
    for segment in chain.segments() {
        named.insert(segment.name().to_owned());
        let parts = (0..).zip(&segment.manifest.parts);
        named.extend(parts.map(|(part, _)| names.part(segment.reference.id, part)));
    }
    let root = site.path(place.repo());
    let below = names.all();
    let mut nameless = Vec::new();
    let mut claims = 0;
    for file in files(&root.join(&below)) {
        let object = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let kind = object.strip_prefix(&below).unwrap().split('/').next().unwrap().to_owned();
        claims += usize::from(kind == "writers" || kind == "signs");
        let is_data = matches!(&*kind, "log" | "merged" | "data");
        let unfinished = file.file_name().unwrap().to_str().unwrap().starts_with('.');
        if (is_data && !named.remove(&object)) || unfinished {
            nameless.push(object);
        }
    }
    // What is named and not there the verification tells; here for completeness.
    nameless.extend(named.into_iter().map(|object| format!("missing: {object}")));
    // The claim in which the newest segment was published, and those of what came after it.
    if claims > 10 {
        nameless.push(format!("{claims} claims and signs"));
    }
    nameless
}
