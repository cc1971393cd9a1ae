//! Taking databases up and leaving them: who is followed, who sleeps, who is tried again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::desk::{Message, Rest, Supervisor, Taken};
use super::ear::Ear;
use super::job::in_words;
use super::kept::{Judging, Stage};
use super::opened::Opened;
use super::print::Print;
use crate::capture::follow::FollowOptions;
use crate::error::Result;
use crate::ops::backup::BackupOptions;
use crate::ops::follow::WatchOptions;
use crate::ops::standing::standing;
use crate::policy::verdict::Standing;
use crate::repo::Repository;
use crate::repo::history::handle::History;

impl Supervisor {
    pub(super) fn open_repositories(&mut self) {
        for (name, opened) in &mut self.repositories {
            let Some(opening) = opened.next(&self.place, self.config.threads) else { continue };
            let (name, mailbox) = (name.clone(), self.mailbox.clone());
            self.attendants.give(move || {
                let _ = mailbox.send(Message::Opened(name, opening.open()));
            });
        }
    }

    /// Does what a database needs now.
    pub(super) fn attend(&mut self, path: &Path) {
        let now = Instant::now();
        let Some(kept) = self.kept.get_mut(path) else { return };
        let changed = kept.look(now);
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
            // A file that came is worth a try at once.
            Stage::At(_) if changed && kept.print.is_there() => kept.stage = Stage::At(now),
            Stage::Awake(follower) if follower.has_ended() => {
                let ended = follower.stop();
                let why =
                    ended.as_ref().map_or_else(in_words, |()| "the follower ended".to_owned());
                kept.fails(why);
                kept.try_again(now);
            }
            Stage::Awake(follower) if kept.may_sleep(&follower.status(), now) => {
                let stage = std::mem::replace(&mut kept.stage, Stage::Stopping);
                if let (Some(history), Stage::Awake(follower)) = (kept.history.clone(), stage) {
                    let (path, before) = (path.to_owned(), kept.print);
                    let mailbox = self.mailbox.clone();
                    self.attendants.give(move || {
                        let rest = follower.stop().and_then(|()| rest_of(&history, &path));
                        let _ = mailbox.send(Message::Left(path, before, rest));
                    });
                }
            }
            _ => {}
        }
        let Some(kept) = self.kept.get_mut(path) else { return };
        if let Some(repository) = repository.clone().filter(|_| kept.judging == Judging::Wanted) {
            kept.judging = Judging::Running;
            let (path, name, mailbox) = (path.to_owned(), kept.name.clone(), self.mailbox.clone());
            let history = kept.history.clone();
            self.attendants.give(move || {
                let found = history.map_or_else(|| repository.history(&name), Ok);
                let _ = mailbox.send(Message::Judged(path, found.and_then(|h| judge(&h))));
            });
        }
        let Stage::At(due) = kept.stage else { return };
        let Some(repository) = repository.filter(|_| due <= now) else { return };
        kept.stage = Stage::Starting;
        let taking = Taking {
            repository,
            path: path.to_owned(),
            name: kept.name.clone(),
            history: kept.history.clone(),
            at_rest: kept.seems_at_rest(self.place.clock.now()),
            options: kept.options(),
            ear: kept.ear.clone(),
        };
        let mailbox = self.mailbox.clone();
        self.attendants.give(move || {
            let taken = taking.take_up();
            let _ = mailbox.send(Message::Began(taking.path, taken));
        });
    }
}

/// What is needed to take a database up.
struct Taking {
    repository: Repository,
    path: PathBuf,
    name: String,
    /// Its history, if it was found before.
    history: Option<History>,
    /// Whether nobody seems to be at work on it.
    at_rest: bool,
    options: FollowOptions,
    ear: Arc<Ear>,
}

impl Taking {
    /// Takes it up: it is followed, unless it rests and all of it is captured. One that rests and
    /// is not captured is captured without a follower, so that a thousand of them take neither a
    /// thousand threads nor much memory.
    fn take_up(&self) -> Result<Taken> {
        let print = Print::of(&self.path);
        let known = self.history.clone().or_else(|| self.repository.history(&self.name).ok());
        if let Some(history) = known
            && history.is_at_rest(&self.path)?
        {
            // A repository that was set back or emptied meanwhile is noticed here.
            history.chain()?;
            return Ok(Taken::Rests(history, print));
        }
        if self.at_rest {
            let mut options = BackupOptions::default().name(&self.name).marks(self.options.marks);
            options.compression = self.options.capture.compression;
            let report = self.repository.backup(&self.path, &options, &*self.ear)?;
            tracing::debug!(database = self.name, seq = report.seq.0, "captured at rest");
            // Looked at first: whoever writes after that is noticed by a later look.
            let print = Print::of(&self.path);
            if report.history.is_at_rest(&self.path)? {
                return Ok(Taken::Rests(report.history, print));
            }
        }
        let options = WatchOptions {
            name: Some(self.name.clone()),
            follow: self.options.clone(),
            ..WatchOptions::default()
        };
        let (history, follower) = self.repository.follow(&self.path, options, self.ear.clone())?;
        Ok(Taken::Followed(history, follower))
    }
}

/// How a history stands, as its repository tells.
fn judge(history: &History) -> Result<Standing> {
    standing(history, &history.readable_chain()?, history.repository().now())
}

/// How a database was left that a follower was told to leave.
fn rest_of(history: &History, path: &Path) -> Result<Rest> {
    let print = Print::of(path);
    Ok(Rest { print, is_proven: history.is_at_rest(path)? })
}
