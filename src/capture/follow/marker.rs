//! Marks beside a follower, on a thread of its own: neither capture nor publication waits for them.
//!
//! Invariants: one at a time, and only for what is published. A mark that can't be given is told
//! once, and tried again until it is there. When the follower is told to stop, what is left is
//! tried once more; after that, and when it is killed, the next one makes up for it
//! ([`crate::capture::marks`]).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::priority::Priority;
use super::shared::Shared;
use super::status::{Event, Listener, describe};
use crate::capture::marks::{gone, settle, work_off};
use crate::codec::pool::panicked;
use crate::error::Result;
use crate::repo::history::marks::Marked;
use crate::repo::history::unseen::Found;
use crate::repo::write::noticed::Chore;
use crate::repo::write::writer::Writer;

/// How long to wait before marks are tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// How marking ended.
type Done = Result<(Option<Found>, Marked)>;

/// Gives the marks of a follower.
pub(super) struct Marker {
    /// How long marks last; `None` if there are to be none.
    lasts: Option<Duration>,
    work: Option<(JoinHandle<Done>, Chore)>,
    /// When to try again what failed, and how long to wait after that.
    again: Option<Instant>,
    backoff: Duration,
    /// What was told last.
    told: Option<String>,
}

impl Marker {
    pub(super) fn new(lasts: Option<Duration>) -> Self {
        Self { lasts, work: None, again: None, backoff: RETRY.0, told: None }
    }

    /// How long may pass before there is something to do.
    pub(super) fn rests(&self) -> Option<Duration> {
        self.again.map(|again| again.saturating_duration_since(Instant::now()))
    }

    /// Begins to mark what is to be marked, and looks how the last time ended. `has_ended` tells
    /// that it did.
    pub(super) fn tend(
        &mut self,
        writer: &mut Writer,
        has_ended: bool,
        priority: Priority,
        shared: &Arc<Shared>,
        listener: &dyn Listener,
    ) {
        let Some(lasts) = self.lasts else {
            // That none are wanted can't fail.
            let _ = settle(writer, None);
            return;
        };
        if !has_ended && self.work.as_ref().is_some_and(|(thread, _)| !thread.is_finished()) {
            return;
        }
        if let Some((thread, chore)) = self.work.take() {
            let done = thread.join().unwrap_or_else(|_| Err(panicked()));
            self.end(writer, done, chore, listener);
        }
        if self.again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        let Some(chore) = writer.noticed.take() else { return };
        let (history, theirs, shared) = (writer.history().clone(), chore.clone(), shared.clone());
        let work = move || {
            priority.apply();
            let done = work_off(&history, &theirs, lasts);
            shared.update(|state| state.has_marked = true);
            done
        };
        match std::thread::Builder::new().name("pagekeep-mark".to_owned()).spawn(work) {
            Ok(thread) => self.work = Some((thread, chore)),
            // The next look does it.
            Err(_) => writer.noticed.put_back(chore),
        }
    }

    fn end(&mut self, writer: &mut Writer, done: Done, chore: Chore, listener: &dyn Listener) {
        let done = match done {
            Ok((found, marked)) => {
                writer.noticed.done(found.as_ref(), marked.earlier.clone());
                // A state that can't be written costs the next run a look.
                let _ = writer.remember_looked();
                Ok(marked)
            }
            Err(e) => {
                writer.noticed.put_back(chore);
                Err(e)
            }
        };
        self.tell(done, listener);
    }

    /// Tells of marks, and of what keeps them from being given.
    fn tell(&mut self, done: Result<Marked>, listener: &dyn Listener) {
        match done {
            Ok(marked) => {
                (self.again, self.backoff, self.told) = (None, RETRY.0, None);
                for mark in marked.given {
                    listener.event(&Event::Marked(mark));
                }
                for e in &marked.gone {
                    listener.event(&Event::Warning(gone(e)));
                }
            }
            Err(e) => {
                self.again = Instant::now().checked_add(self.backoff);
                self.backoff = (self.backoff * 2).min(RETRY.1);
                let text = describe(&e);
                if self.told.as_ref() != Some(&text) {
                    listener.event(&Event::Warning(format!(
                        "a state that is worth a restore point could not be marked, which is tried again: {text}"
                    )));
                }
                self.told = Some(text);
            }
        }
    }

    /// The follower ends in good order: what is left is tried once more.
    pub(super) fn finish(&mut self, writer: &mut Writer, listener: &dyn Listener) {
        if let Some((thread, chore)) = self.work.take() {
            let done = thread.join().unwrap_or_else(|_| Err(panicked()));
            self.end(writer, done, chore, listener);
        }
        let done = settle(writer, self.lasts);
        self.tell(done, listener);
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if let Some((thread, _)) = self.work.take() {
            // What it was at is done by the next one.
            let _ = thread.join();
        }
    }
}
