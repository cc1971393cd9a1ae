//! Marks beside a follower, on a thread of its own: neither capture nor publication waits for them.
//!
//! Invariants: one at a time, and only for what is published. A mark that can't be given is told
//! once, and tried again until it is there. When the follower is told to stop, what is left is
//! tried once more, as long as a stop may take; after that, and when it is killed, the next one
//! makes up for it ([`crate::capture::marks`]).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::priority::Priority;
use super::shared::Shared;
use super::status::{Event, Listener, describe};
use crate::capture::marks::{Done, gone, note, settle, work_off};
use crate::codec::pool::panicked;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, Silent, Stoppable};
use crate::repo::history::marks::Marked;
use crate::repo::write::noticed::Chore;
use crate::repo::write::writer::Writer;

/// How long to wait before marks are tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// How often a stop looks whether marking ended.
const TICK: Duration = Duration::from_millis(20);

/// Marking under way.
struct Work {
    thread: JoinHandle<Done>,
    chore: Chore,
    stop: Arc<Stoppable>,
}

/// Stops when a stop has taken long enough.
struct UntilOverdue<'s>(&'s Shared);

impl Monitor for UntilOverdue<'_> {
    fn cancelled(&self) -> bool {
        self.0.lock().is_overdue()
    }
}

/// Gives the marks of a follower.
pub(super) struct Marker {
    /// How long marks last; `None` if there are to be none.
    lasts: Option<Duration>,
    work: Option<Work>,
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
            let _ = settle(writer, None, &Silent);
            return;
        };
        if !has_ended && self.work.as_ref().is_some_and(|work| !work.thread.is_finished()) {
            return;
        }
        self.join(writer, listener);
        if self.again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        // Nothing is to be tried again while it is tried.
        self.again = None;
        let Some(chore) = writer.noticed.take() else { return };
        // The end that is told next is that of the thread which begins now.
        shared.update(|state| state.has_marked = false);
        let (history, theirs, shared) = (writer.history().clone(), chore.clone(), shared.clone());
        let stop = Arc::new(Stoppable::default());
        let monitor = stop.clone();
        let work = move || {
            priority.apply();
            let done = work_off(&history, &theirs, lasts, &*monitor);
            shared.update(|state| state.has_marked = true);
            done
        };
        match std::thread::Builder::new().name("pagekeep-mark".to_owned()).spawn(work) {
            Ok(thread) => self.work = Some(Work { thread, chore, stop }),
            Err(e) => {
                let e = Error::new(ErrorKind::Failure, "a thread cannot be started").with_source(e);
                self.end(writer, Err(e), chore, listener);
            }
        }
    }

    /// Looks how it ended, and waits for that.
    fn join(&mut self, writer: &mut Writer, listener: &dyn Listener) {
        if let Some(Work { thread, chore, .. }) = self.work.take() {
            let done = thread.join().unwrap_or_else(|_| Err(panicked()));
            self.end(writer, done, chore, listener);
        }
    }

    fn end(&mut self, writer: &mut Writer, done: Done, chore: Chore, listener: &dyn Listener) {
        let done = note(writer, chore, done);
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
            // The next follower does it.
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
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

    /// The follower ends in good order: what is left is tried once more, as long as its stop may
    /// take.
    pub(super) fn finish(&mut self, writer: &mut Writer, shared: &Shared, listener: &dyn Listener) {
        while self.work.as_ref().is_some_and(|work| !work.thread.is_finished()) {
            if shared.lock().is_overdue() {
                return;
            }
            drop(shared.wait_for(TICK, |state| state.has_marked));
        }
        self.join(writer, listener);
        let done = settle(writer, self.lasts, &UntilOverdue(shared));
        self.tell(done, listener);
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if let Some(Work { thread, stop, .. }) = self.work.take() {
            stop.stop();
            // What it was at is done by the next one.
            let _ = thread.join();
        }
    }
}
