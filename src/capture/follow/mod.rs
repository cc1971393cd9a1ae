//! Follow a live database: every transaction that anybody commits becomes a commit of its history.
//!
//! ```text
//! application -> WAL -> watcher thread: Tail -> Group -> publisher thread: segment -> store
//! ```
//!
//! The watcher (`watcher`) captures within milliseconds and never waits for the store; the
//! publisher (`publisher`) puts what was captured into one segment per interval. When the store
//! fails, the group grows and the application goes on.
//!
//! Invariants:
//! - A fault of ours never fails the application's commit: nothing here runs inside it but a
//!   wake-up.
//! - Every commit is either captured as a transaction of its own, or a scan is published that is
//!   marked as one.
//! - Capture resumes by itself after every fault, but for another writer that took over the
//!   history.

mod compaction;
#[cfg(feature = "cli")]
mod cut;
mod doubt;
mod marker;
mod options;
mod pack;
mod priority;
mod publisher;
mod shared;
mod status;
mod stopping;
mod watcher;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::codec::pool::panicked;
#[cfg(any(doc, feature = "cli"))]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::repo::write::writer::Writer;
use crate::sqlite::library;
use crate::sqlite::notify::Notice;
use crate::sqlite::source::Source;
use crate::types::Seq;

#[cfg(feature = "cli")]
pub(crate) use cut::Cutter;
#[cfg(feature = "cli")]
pub(crate) use doubt::UNCOUNTED;
pub use options::FollowOptions;
pub use priority::Priority;
use publisher::Publisher;
use shared::Shared;
#[cfg(feature = "cli")]
pub(crate) use status::describe;
pub use status::{Activity, Event, Fault, Listener, Status, TailStats};

/// A follower at work. Dropping it stops it, as [`Follower::stop`] does, without telling how that
/// went.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    patience: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Begins to follow the database at a path as the history of a writer.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the SQLite library has a bug that can corrupt a WAL;
    /// [`ErrorKind::Source`] when the file is no readable database, [`ErrorKind::Busy`] when it is
    /// locked for good.
    #[doc(hidden)]
    pub fn start(
        writer: Writer,
        path: &Path,
        place: &str,
        options: FollowOptions,
        listener: Arc<dyn Listener + Sync>,
    ) -> Result<Self> {
        library::check_library(rusqlite::version_number())?;
        // What can't be opened at all is told at once, not tried for ever.
        let mut database = Source::open(path)?;
        drop(database.pin()?);
        drop(database);
        let mut notice = Notice::new()?;
        let shared = Arc::new(Shared::new(
            notice.waker(),
            writer.history().repository().options().clock.clone(),
        ));
        shared.update(|state| {
            state.tip = writer.head().map(|head| (head.seq, head.digest)).into_iter().collect();
        });
        let (path, place, theirs) = (path.to_owned(), place.to_owned(), shared.clone());
        let patience = options.stop_patience;
        let work = move || {
            let publisher = Publisher {
                writer,
                path: &path,
                place: &place,
                options: &options,
                shared: &theirs,
                listener: &*listener,
                digests: None,
                compactor: compaction::Compactor::default(),
                marker: marker::Marker::new(options.marks),
                signs: None,
                gap: None,
                told_scan: None,
                doubt: "",
                backoff: Duration::from_millis(100),
                warned_of: None,
            };
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                publisher.run(&mut notice)
            }))
            .unwrap_or_else(|_| Err(panicked()));
            theirs.update(|state| {
                state.activity = Activity::Stopped;
                state.error = ended.err();
                state.gone = true;
            });
        };
        let thread = std::thread::Builder::new()
            .name("pagekeep-follow".to_owned())
            .spawn(work)
            .map_err(|e| Error::io(e, "cannot be started", "the following thread"))?;
        Ok(Self { shared, patience, thread: Mutex::new(Some(thread)) })
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// How long the database's write lock was held by handoffs, each time; the newest hundred
    /// thousand.
    pub fn lock_times(&self) -> Vec<Duration> {
        self.shared.lock().locks.iter().copied().collect()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().gone
    }

    /// Waits until everything that was committed before the call is durable in the repository.
    /// Answers the newest of those commits.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] after `at_most`, or the kind of what keeps it from being stored;
    /// [`ErrorKind::Interrupted`] when the follower was stopped.
    pub fn wait_durable(&self, at_most: Duration) -> Result<Seq> {
        self.shared.barrier(at_most)
    }

    /// Calls `done` once everything that was committed before the call is durable in the
    /// repository, with the newest of those commits; with an error when the follower ended before.
    /// It is called once, from a thread of its own.
    pub fn on_durable(&self, done: impl FnOnce(Result<Seq>) + Send + 'static) {
        self.shared.call_at_barrier(Box::new(done));
    }

    /// What asks for cuts, also while somebody else stops this follower.
    #[cfg(feature = "cli")]
    pub(crate) fn cutter(&self) -> Cutter {
        Cutter::new(self.shared.clone())
    }

    /// A wake-up for a commit hook.
    pub(crate) fn waker(&self) -> crate::sqlite::notify::Waker {
        self.shared.waker.clone()
    }

    /// Captures and publishes what is committed, and stops.
    ///
    /// # Errors
    /// What kept the last commits from being published; the error that it ended with before.
    pub fn stop(&self) -> Result<()> {
        self.end();
        match &self.shared.lock().error {
            // Everybody who ends it hears why.
            Some(e) => Err(e.again()),
            None => Ok(()),
        }
    }

    /// As [`Follower::stop`]; waits so much longer than its patience at most, and then leaves it to
    /// itself: it captures nothing more, lets go of the database, and ends when its repository
    /// answers.
    ///
    /// # Errors
    /// As [`Follower::stop`]; [`ErrorKind::Busy`] when it was left to itself.
    #[cfg(feature = "cli")]
    pub(crate) fn stop_within(&self, longer: Duration) -> Result<()> {
        self.ask_to_stop();
        let at_most = self.patience.saturating_add(longer);
        if self.shared.wait_for(at_most, |state| state.gone).gone {
            return self.stop();
        }
        self.shared.update(|state| state.abandoned = true);
        self.shared.waker.wake();
        // Nobody joins it any more.
        drop(self.thread.lock().unwrap_or_else(PoisonError::into_inner).take());
        Err(Error::new(ErrorKind::Busy, "does not stop: its repository does not answer")
            .with_hint("the next run stores what was not stored, from the WAL or by a scan"))
    }

    fn ask_to_stop(&self) {
        let patience = self.patience;
        self.shared.update(|state| {
            if !std::mem::replace(&mut state.stop, true) {
                state.deadline = Instant::now().checked_add(patience);
            }
        });
        self.shared.waker.wake();
    }

    fn end(&self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            self.shared.update(|state| {
                state.error.get_or_insert_with(panicked);
                state.gone = true;
            });
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared(..)")
    }
}
