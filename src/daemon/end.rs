//! The end of a daemon: everything that is at work is stopped, and waited for, but not for ever.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use super::clerks::Clerks;
use super::desk::{Done, Message, Supervisor};
use super::job::{Ended, Outcome};
use super::kept::Stage;
use super::ledger::{Entry, Ledger};
use super::pool::Pool;
use super::words::in_words;
use crate::capture::follow::Follower;
use crate::count::{counted, number};
use crate::error::ErrorKind;

/// How long a daemon that ends waits for those who were told to stop. A service manager, and
/// whoever shuts a machine down, is not kept waiting by a storage that hangs; the next daemon makes
/// up for what was not stored.
const PATIENCE: Duration = Duration::from_millis(1500);

impl Supervisor {
    /// Stops everything that is at work, and waits for it. Answers the ledger, too: others still
    /// remember things in it.
    pub(super) fn end(mut self) -> (Done, Ledger) {
        let until = Instant::now() + PATIENCE;
        self.systemd.stopping();
        self.http.stop();
        self.commands.stop();
        self.stop.store(true, Ordering::Relaxed);
        let mut done = Done { databases: number(self.kept.len()), ..self.done };
        let (mut followers, mut jobs, mut copies) = (Vec::new(), 0_usize, 0_usize);
        let mut moments = self.groups.values().filter(|group| group.stop()).count();
        let (mut ears, mut unstored) = (Vec::new(), Vec::new());
        for kept in std::mem::take(&mut self.kept).into_values() {
            if let Some(job) = &kept.job {
                job.control.stop();
                jobs += 1;
            }
            copies += kept.copies.values().filter(|copying| copying.stop()).count();
            // A follower is to store what is committed; a first capture goes on another time.
            if matches!(kept.stage, Stage::Starting) {
                kept.ear.stop();
            }
            // It can't be captured, though it is there: nobody knows that all of it is stored.
            let is_waiting = matches!(kept.stage, Stage::At(_) | Stage::Starting);
            let opened = self.repositories.get(&kept.plan.repository);
            let is_closed = opened.is_some_and(|opened| opened.fault().is_some());
            // Of one that was never captured nothing is.
            let lacks = kept.fault.is_some() || is_closed || !kept.has_commit;
            if is_waiting && lacks && kept.is_followed() && kept.print.is_there() {
                unstored.push(kept.name.clone());
            }
            ears.push(kept.ear);
            if let Stage::Awake(follower) = kept.stage {
                followers.push((kept.name, follower));
            }
        }
        let n = number(followers.len());
        unstored.extend(stop_all(followers, until));
        while jobs > 0 || copies > 0 || moments > 0 {
            match self.inbox.recv_deadline(until) {
                Ok(Message::Done(_, id, Outcome { ended, message })) => {
                    jobs = jobs.saturating_sub(1);
                    let at = self.place.clock.now();
                    // What was stopped is remembered as interrupted, by the next daemon.
                    if ended != Ended::Stopped {
                        self.ledger.enter(Entry::Ended { id, at, ended, message });
                    }
                }
                Ok(Message::Found(id, found)) => self.ledger.enter(Entry::Found { id, found }),
                Ok(Message::Moment(name, id, outcome)) => {
                    moments = moments.saturating_sub(1);
                    let Outcome { ended, message } = outcome;
                    let at = self.place.clock.now();
                    if ended == Ended::Stopped {
                        tracing::info!(group = name, job = id, "group {name}: given up");
                    } else {
                        tracing::info!(group = name, job = id, "group {name}: {message}");
                        self.ledger.enter(Entry::Ended { id, at, ended, message });
                    }
                }
                Ok(Message::Copied(..)) => copies = copies.saturating_sub(1),
                Ok(_) => {}
                // It is remembered as interrupted, by the next daemon.
                Err(_) => break,
            }
        }
        let pools: Vec<Pool> = self.clerks.into_values().flat_map(Clerks::into_pools).collect();
        let hanging = pools.into_iter().map(|pool| pool.end(until)).filter(|ended| !ended).count();
        if hanging > 0 {
            tracing::warn!("did not wait for all: a repository or a database does not answer");
        }
        unstored.sort();
        if let [first, others @ ..] = unstored.as_slice() {
            let more = match others.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            tracing::warn!(
                "not all is stored of {first}{more}: it is in the database, and the next run stores it"
            );
        }
        done.unstored = number(unstored.len());
        done.commits += ears.iter().map(|ear| ear.published()).sum::<u64>();
        tracing::info!(
            "stopped: {} at work, {} stored, {} begun",
            counted(n, "follower"),
            counted(done.commits, "commit"),
            counted(done.jobs, "job")
        );
        (done, self.ledger)
    }
}

/// Stops followers, all at once, and waits for them until then at most. Answers the names of those
/// that did not store everything, as far as anybody knows.
fn stop_all(followers: Vec<(String, Follower)>, until: Instant) -> Vec<String> {
    let (tell, told) = unbounded();
    let mut left: BTreeSet<String> = followers.iter().map(|(name, _)| name.clone()).collect();
    for (name, follower) in followers {
        let tell = tell.clone();
        let stop = move || {
            let ended = follower.stop();
            drop(follower);
            // Nobody waits any more for one that is late.
            let _ = tell.send((name, ended));
        };
        let stopping = std::thread::Builder::new().name("pagekeep-stop".to_owned());
        if let Err(e) = stopping.spawn(stop) {
            tracing::warn!("a follower is not waited for: {e}");
        }
    }
    drop(tell);
    loop {
        match told.recv_deadline(until) {
            Ok((name, Ok(()))) => drop(left.remove(&name)),
            // It was stopped in its first capture.
            Ok((name, Err(e))) if e.kind() == ErrorKind::Interrupted => drop(left.remove(&name)),
            Ok((name, Err(e))) => tracing::warn!(database = name, "{}", in_words(&e)),
            Err(e) if e.is_timeout() => {
                tracing::warn!("followers did not end in time");
                break;
            }
            Err(_) => break,
        }
    }
    left.into_iter().collect()
}
