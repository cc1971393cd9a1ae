//! Taking databases up and leaving them: who is followed, who sleeps, who is tried again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::beginning::Mirrored;
use super::desk::{Message, Rest, Supervisor, Taken};
use super::ear::Ear;
use super::kept::{Judging, LEAVE, Stage};
use super::lineage::goes_on;
use super::mirror::mirrored;
use super::opened::Opened;
use super::pool::guarded;
use super::print::Print;
use super::promise::{Promise, undone};
use super::words::in_words;
use crate::capture::follow::FollowOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::backup::BackupOptions;
use crate::ops::files::history_of;
use crate::ops::follow::WatchOptions;
use crate::ops::freshness::freshness;
use crate::ops::locate::Known;
use crate::ops::standing::standing;
use crate::policy::verdict::Standing;
use crate::repo::Repository;
use crate::repo::catalog::Descriptions;
use crate::repo::history::doubt::doubt;
use crate::repo::history::handle::History;

impl Supervisor {
    pub(super) fn open_repositories(&mut self) {
        for (name, opened) in &mut self.repositories {
            let Some(clerks) = self.clerks.get(name) else { continue };
            let Some(opening) = opened.next(&self.place, self.config.threads, &self.stop) else {
                continue;
            };
            let (name, config) = (name.clone(), opened.config.clone());
            let otherwise = Message::Opened(name.clone(), config.clone(), undone());
            let promise = Promise::new(&self.mailbox, otherwise);
            clerks.asks.give(move || {
                promise.keep(Message::Opened(name, config, guarded(|| opening.open())));
            });
        }
    }

    /// Does what a database needs now.
    pub(super) fn attend(&mut self, path: &Path) {
        let now = Instant::now();
        let Some(kept) = self.kept.get_mut(path) else { return };
        let was_there = kept.print.is_there();
        kept.look(now);
        kept.has_commit |= match &kept.stage {
            Stage::Awake(follower) => follower.status().seq.is_some(),
            Stage::Asleep(_) => true,
            _ => false,
        };
        let opened = self.repositories.get(&kept.plan.repository);
        let repository = opened.and_then(Opened::repository);
        if kept.history.is_none() {
            kept.history = opened.and_then(|opened| opened.history(&kept.name));
        }
        match &kept.stage {
            Stage::Asleep(print) if *print != kept.print => {
                tracing::debug!(database = kept.name, "wakes");
                self.files.leave_database(path);
                kept.stage = Stage::At(now);
            }
            // Somebody paused it meanwhile.
            Stage::Asleep(_) | Stage::At(_) if !kept.is_followed() => {
                self.files.leave_database(path);
                kept.stage = Stage::Idle;
            }
            Stage::Awake(_) if !kept.is_followed() => self.stop_following(path),
            // A file that came is worth a try at once.
            Stage::At(_) if !was_there && kept.print.is_there() => kept.stage = Stage::At(now),
            // The file is another one, or gone: whoever has the old one open lets go of it, before
            // it is met again under another name.
            Stage::Awake(_) if kept.identity != kept.print.identity() => self.stop_following(path),
            Stage::Awake(follower) if follower.has_ended() => {
                let ended = follower.stop();
                let ended = ended
                    .err()
                    .unwrap_or_else(|| Error::new(ErrorKind::Failure, "the follower ended"));
                kept.fails(&ended);
                kept.try_again(now);
            }
            Stage::Awake(follower) if kept.may_sleep(&follower.status(), now) => {
                self.stop_following(path);
            }
            // Who is at work on it by an earlier configuration may hang for ever, in a repository
            // that does not answer.
            Stage::Waiting if self.departing.get(path).is_none_or(|gone| gone.until <= now) => {
                let database = &*kept.name;
                tracing::warn!(database, "whoever had it before does not end: it is taken up anew");
                self.departing.remove(path);
                kept.stage = Stage::At(now);
            }
            _ => {}
        }
        let Some(kept) = self.kept.get_mut(path) else { return };
        // Of a history that is about to be begun there is nothing to be asked: there was none of
        // its name when the repository was opened.
        let begins = kept.history.is_none() && kept.is_followed() && kept.failures == 0;
        kept.standing.looked |= begins && repository.is_some();
        let is_due = !begins && matches!(kept.judging, Judging::At(at) if at <= now);
        let clerks = self.clerks.get(&kept.plan.repository);
        if let Some((repository, clerks)) = repository.clone().filter(|_| is_due).zip(clerks) {
            kept.judging = Judging::Running;
            let (whose, name) = (kept.whose(), kept.name.clone());
            let promise = Promise::new(&self.mailbox, Message::Judged(whose.clone(), undone()));
            let (history, has_files) = (kept.history.clone(), kept.plan.files.is_some());
            clerks.asks.give(move || {
                let judged = guarded(|| {
                    let history = history.map_or_else(|| repository.history(&name), Ok)?;
                    let standing = judge(&history, has_files)?;
                    Ok((history, standing))
                });
                promise.keep(Message::Judged(whose, judged));
            });
        }
        let Stage::At(due) = kept.stage else { return };
        let opened = self.repositories.get(&kept.plan.repository);
        let described = opened.map(Opened::described).unwrap_or_default();
        let Some(repository) = repository.filter(|_| due <= now) else { return };
        if !kept.is_followed() {
            kept.stage = Stage::Idle;
            return;
        }
        let whose = (&*kept.plan.repository, &*kept.name);
        let mirrored = mirrored(&self.repositories, &self.clerks, whose, kept.history.as_ref());
        // It is asked again at the next look.
        let keepers =
            self.clerks.get(&kept.plan.repository).and_then(|clerks| clerks.keeps.as_ref());
        let Some((mirrored, keepers)) = mirrored.zip(keepers) else { return };
        kept.stage = Stage::Starting;
        kept.identity = kept.print.identity();
        let taking = Taking {
            repository,
            mirrored,
            is_own: *path == self.place.ledger(),
            path: path.to_owned(),
            name: kept.name.clone(),
            history: kept.history.clone(),
            described,
            at_rest: kept.seems_at_rest(self.place.clock.now()),
            sleeps: kept.sleeps(),
            options: kept.options(),
            ear: kept.ear.clone(),
        };
        let whose = kept.whose();
        let promise = Promise::new(&self.mailbox, Message::Began(whose.clone(), undone()));
        keepers.attends.give(move || {
            promise.keep(Message::Began(whose, guarded(|| taking.take_up())));
        });
    }

    /// Has somebody stop following a database, which sleeps then or is taken up anew.
    fn stop_following(&mut self, path: &Path) {
        let Some(kept) = self.kept.get_mut(path) else { return };
        let keepers =
            self.clerks.get(&kept.plan.repository).and_then(|clerks| clerks.keeps.as_ref());
        let Some(keepers) = keepers else { return };
        let stage = std::mem::replace(&mut kept.stage, Stage::Stopping);
        let (Some(history), Stage::Awake(follower)) = (kept.history.clone(), stage) else { return };
        let (whose, before) = (kept.whose(), kept.print);
        let promise = Promise::new(&self.mailbox, Message::Left(whose.clone(), before, undone()));
        keepers.attends.give(move || {
            let rest = guarded(|| {
                follower.stop_within(LEAVE)?;
                drop(follower);
                rest_of(&history, &whose.path)
            });
            promise.keep(Message::Left(whose, before, rest));
        });
    }

    /// Takes note that somebody who was at work on a file by an earlier configuration has ended.
    pub(super) fn departed(&mut self, path: &Path) {
        let Some(departing) = self.departing.get_mut(path) else { return };
        departing.left = departing.left.saturating_sub(1);
        if departing.left > 0 {
            return;
        }
        self.departing.remove(path);
        if let Some(kept) = self.kept.get_mut(path)
            && matches!(kept.stage, Stage::Waiting)
        {
            kept.stage = Stage::At(Instant::now());
        }
    }
}

/// What is needed to take a database up.
struct Taking {
    repository: Repository,
    /// What its mirrors have.
    mirrored: Mirrored,
    /// Whether it is the daemon's own.
    is_own: bool,
    path: PathBuf,
    name: String,
    /// Its history, if it was found before, and what was read of others.
    history: Option<History>,
    described: Arc<Descriptions>,
    /// Whether nobody seems to be at work on it.
    at_rest: bool,
    /// Whether it ever sleeps.
    sleeps: bool,
    options: FollowOptions,
    ear: Arc<Ear>,
}

impl Taking {
    /// Takes it up: it is followed, unless it rests and all of it is captured. One that rests and
    /// is not captured is captured without a follower, so that a thousand of them take neither a
    /// thousand threads nor much memory.
    fn take_up(&self) -> Result<Taken> {
        let print = Print::of(&self.path);
        self.mirrored.check(&self.repository, &self.name, self.history.as_ref(), &*self.ear)?;
        // Whoever looks for it by its name looks at all that there are: where it was not found yet,
        // what comes below does that once.
        if let Some(history) = &self.history
            && self.sleeps
            && history.is_at_rest(&self.path)?
        {
            // A repository that was set back or emptied meanwhile is noticed here.
            history.chain()?;
            return Ok(Taken::Rests(history.clone(), print));
        }
        let known = Known { history: self.history.as_ref(), described: Some(&*self.described) };
        if self.at_rest {
            let mut options = BackupOptions::default().name(&self.name).marks(self.options.marks);
            options.compression = self.options.capture.compression;
            let report = self.repository.backup_known(&self.path, known, &options, &*self.ear)?;
            tracing::debug!(database = self.name, seq = report.seq.0, "captured at rest");
            // Looked at first: whoever writes after that is noticed by a later look.
            let print = Print::of(&self.path);
            if report.history.is_at_rest(&self.path)? {
                return Ok(Taken::Rests(report.history, print));
            }
        }
        let follow = |adopt| {
            let options = WatchOptions {
                name: Some(self.name.clone()),
                follow: self.options.clone(),
                adopt,
                ..WatchOptions::default()
            };
            self.repository.follow_known(&self.path, known, options, self.ear.clone())
        };
        let (history, follower) = match follow(false) {
            // The daemon's own goes on in another state folder, if it is the same.
            Err(e) if self.is_own && e.kind() == ErrorKind::Refused => {
                let Ok(history) = self.repository.history(&self.name) else { return Err(e) };
                if !goes_on(&history, &self.path)? {
                    return Err(e);
                }
                let file = self.path.display();
                tracing::info!(database = self.name, "goes on in another state folder, as {file}");
                follow(true)?
            }
            followed => followed?,
        };
        Ok(Taken::Followed(history, follower))
    }
}

/// How a history stands, as its repository tells; what is damaged of the files that are kept beside
/// the database is damage of it.
fn judge(history: &History, has_files: bool) -> Result<Standing> {
    let chain = history.readable_chain()?;
    let fresh = freshness(history, &chain, history.repository().now())?;
    let newest = chain.commits().next_back().map(|commit| commit.record.time);
    let known = standing(&fresh, doubt(history)?.as_ref());
    if known.damage.is_some() || !has_files {
        return Ok(Standing { newest, ..known });
    }
    let damage = match history.repository().history(&history_of(history.name())) {
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) if e.kind() == ErrorKind::Damaged => Some(in_words(&e)),
        files => doubt(&files?)?.map(|doubt| doubt.failure),
    };
    let damage = damage.map(|why| format!("its files: {why}"));
    Ok(Standing { newest, damage, ..known })
}

/// How a database was left that a follower was told to leave.
fn rest_of(history: &History, path: &Path) -> Result<Rest> {
    let print = Print::of(path);
    Ok(Rest { print, is_proven: history.is_at_rest(path)? })
}
