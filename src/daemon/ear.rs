//! What is heard of a follower: kept where the supervisor looks, and told in the log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::happened::Happened;
use super::words::said;
use crate::capture::follow::{Event, Listener, UNCOUNTED};
use crate::count::counted;
use crate::machine::CLOCK;
use crate::policy::alert::Kind;
use crate::policy::mark::Cause;
use crate::progress::Monitor;
use crate::remedy::Advice;
use crate::repo::history::labels::Snapshot;
use crate::sqlite::witness::OVERWRITTEN;
use crate::types::Timestamp;

/// Hears one database's follower. Called from its threads, so nothing here waits.
#[derive(Debug)]
pub(super) struct Ear {
    database: String,
    /// Commits that were published, ever.
    published: AtomicU64,
    /// When the newest of them was captured; the least that there is if there is none.
    newest: AtomicI64,
    /// Whether whatever takes long is to stop.
    stopped: AtomicBool,
    /// Warnings that were told already.
    told: Mutex<Vec<String>>,
    /// What happened lately.
    happened: Mutex<VecDeque<Happened>>,
}

/// The number of what happens next.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How many warnings are remembered as told.
const MOST: usize = 100;
/// How much of what happened is remembered: whoever is told of it looks each second.
const LATELY: usize = 20;

impl Ear {
    pub(super) fn of(name: &str) -> Self {
        Self {
            database: name.to_owned(),
            published: AtomicU64::new(0),
            newest: AtomicI64::new(i64::MIN),
            stopped: AtomicBool::new(false),
            told: Mutex::default(),
            happened: Mutex::default(),
        }
    }

    /// Remembers something that happened.
    pub(super) fn happens(&self, kind: Kind, why: impl Into<String>) {
        let mut happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        if happened.len() >= LATELY {
            happened.pop_front();
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        happened.push_back(Happened { number, kind, why: why.into() });
    }

    /// Remembers that a state was marked, if that tells of something that happened.
    pub(super) fn marked(&self, mark: &Snapshot) {
        if let Some((Cause::LargeDelete, _)) = Cause::of_label(&mark.label) {
            let why = format!("the state before it is seq:{}, labelled {:?}", mark.seq, mark.label);
            self.happens(Kind::LargeDeletion, why);
        }
    }

    /// Remembers what is said if it is about a clock, or about a file that changed without a
    /// transaction.
    pub(super) fn said(&self, text: &str) {
        if is_of_others(text) {
            self.happens(Kind::Overwritten, text);
        }
        if text.contains(CLOCK) {
            self.happens(Kind::WrongClock, text);
        }
    }

    /// What happened lately, oldest first.
    pub(super) fn happened(&self) -> Vec<Happened> {
        let happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        happened.iter().cloned().collect()
    }

    /// Asks whatever takes long to stop.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Lets what takes long go on again.
    pub(super) fn go_on(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }

    /// How many commits were published.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// When the newest commit that was published was captured.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        let newest = self.newest.load(Ordering::Relaxed);
        (newest > i64::MIN).then_some(Timestamp(newest))
    }
}

/// Whether this tells that something that is no SQLite wrote to the database's file.
fn is_of_others(text: &str) -> bool {
    text.contains(OVERWRITTEN) || text.contains(UNCOUNTED)
}

impl Monitor for Ear {
    fn warn(&self, message: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Each time that somebody writes to the file is another one, though the words are the same.
        if !is_of_others(message) && told.iter().any(|known| known == message) {
            return;
        }
        if told.len() >= MOST {
            told.remove(0);
        }
        told.push(message.to_owned());
        drop(told);
        self.said(message);
        tracing::warn!(database = self.database, "{message}");
    }

    fn advise(&self, advice: &Advice) {
        self.warn(&said(advice));
    }

    fn cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Listener for Ear {
    fn event(&self, event: &Event) {
        let database = &*self.database;
        match event {
            Event::Published { commits, lag } => {
                let n = u64::try_from(commits.len()).unwrap_or(u64::MAX);
                self.published.fetch_add(n, Ordering::Relaxed);
                if let Some(commit) = commits.last() {
                    self.newest.store(commit.time.0, Ordering::Relaxed);
                }
                let last = commits.last().map(|commit| commit.seq.0).unwrap_or_default();
                let lag = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(
                    database,
                    seq = last,
                    lag_ms = lag,
                    "stored {}",
                    counted(n, "commit")
                );
            }
            Event::Scan { reason } => {
                // A commit stores what somebody else wrote: nothing that compares the file with it
                // later finds that any more.
                let kind = if is_of_others(reason) { Kind::Overwritten } else { Kind::Gap };
                self.happens(kind, format!("the whole database was read, since {reason}"));
                tracing::warn!(
                    database,
                    "what changed since the last commit becomes one: reads the whole database, since {reason}"
                );
            }
            Event::Fault(fault) => {
                self.said(&fault.message);
                tracing::warn!(database, "{}; it is tried again", fault.message);
            }
            Event::Recovered => tracing::info!(database, "works again"),
            Event::Marked(mark) => {
                self.marked(mark);
                tracing::info!(database, seq = mark.seq.0, "marked {:?}", mark.label)
            }
            Event::Warning(text) => self.warn(text),
        }
    }
}
