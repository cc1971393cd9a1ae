//! Taking databases up and leaving them: who is followed, who sleeps, who is tried again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::desk::{Message, Rest, Supervisor, Taken};
use super::ear::Ear;
use super::job::in_words;
use super::kept::{Judging, Stage};
use super::opened::Opened;
use super::print::Print;
use crate::capture::follow::FollowOptions;
use crate::error::{ErrorKind, Result};
use crate::ops::follow::WatchOptions;
use crate::ops::standing::standing;
use crate::policy::verdict::Standing;
use crate::repo::Repository;

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
        let repository = self.repositories.get(&kept.plan.repository).and_then(Opened::repository);
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
                if let (Some(repository), Stage::Awake(follower)) =
                    (repository.clone(), std::mem::replace(&mut kept.stage, Stage::Stopping))
                {
                    let (path, name, before) = (path.to_owned(), kept.name.clone(), kept.print);
                    let mailbox = self.mailbox.clone();
                    self.attendants.give(move || {
                        let rest =
                            follower.stop().and_then(|()| rest_of(&repository, &name, &path));
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
            self.attendants.give(move || {
                let _ = mailbox.send(Message::Judged(path, judge(&repository, &name)));
            });
        }
        let Stage::At(due) = kept.stage else { return };
        let Some(repository) = repository.filter(|_| due <= now) else { return };
        kept.stage = Stage::Starting;
        let (path, name, ear) = (path.to_owned(), kept.name.clone(), kept.ear.clone());
        let (options, mailbox) = (kept.options(), self.mailbox.clone());
        self.attendants.give(move || {
            let taken = take_up(&repository, &path, &name, options, ear);
            let _ = mailbox.send(Message::Began(path, taken));
        });
    }
}

/// Takes a database up: it is followed, unless nothing changed since it was last followed.
fn take_up(
    repository: &Repository,
    path: &Path,
    name: &str,
    options: FollowOptions,
    ear: Arc<Ear>,
) -> Result<Taken> {
    let print = Print::of(path);
    if let Ok(history) = repository.history(name)
        && history.is_at_rest(path)?
    {
        // A repository that was set back or emptied meanwhile is noticed here.
        history.chain()?;
        return Ok(Taken::Rests(print));
    }
    let options =
        WatchOptions { name: Some(name.to_owned()), follow: options, ..WatchOptions::default() };
    let (_, follower) = repository.follow(path, options, ear)?;
    Ok(Taken::Followed(follower))
}

/// How a history stands, as its repository tells. One that nobody began has nothing.
fn judge(repository: &Repository, name: &str) -> Result<Standing> {
    let history = match repository.history(name) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Ok(Standing { looked: true, ..Standing::default() });
        }
        found => found?,
    };
    standing(&history, &history.readable_chain()?, repository.now())
}

/// How a database was left that a follower was told to leave.
fn rest_of(repository: &Repository, name: &str, path: &Path) -> Result<Rest> {
    let print = Print::of(path);
    let is_proven = repository.history(name)?.is_at_rest(path)?;
    Ok(Rest { print, is_proven })
}
