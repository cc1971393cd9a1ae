//! How long work tells its caller how far it is, and how the caller stops it.
//!
//! Every operation takes a [`Monitor`]. Operations call it from one thread or several, never while
//! they hold a lock of their own, and look at [`Monitor::cancelled`] often enough that a stop takes
//! well under a second. A cancelled operation leaves everything as consistent as a finished one.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::remedy::Advice;

/// What an operation is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the source database and storing what changed.
    Capture,
    /// Rebuilding the local page digests from the repository.
    Digests,
    /// Publishing the new segment.
    Publish,
    /// Working out which page versions are wanted.
    Plan,
    /// Finding out which table each page belongs to.
    Layout,
    /// Fetching, decoding and writing pages.
    Restore,
    /// Waiting for the disk.
    Sync,
    /// SQLite's own check of a restored database.
    Check,
    /// Opening stored batches and comparing digests.
    Verify,
    /// Copying a restored image into a live database.
    Install,
    /// Comparing two states of a database.
    Compare,
    /// Putting segments together.
    Merge,
    /// Copying commits to another repository.
    Copy,
}

impl Phase {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Digests => "digests",
            Self::Publish => "publish",
            Self::Plan => "plan",
            Self::Layout => "layout",
            Self::Restore => "restore",
            Self::Sync => "sync",
            Self::Check => "check",
            Self::Verify => "verify",
            Self::Install => "install",
            Self::Compare => "compare",
            Self::Merge => "merge",
            Self::Copy => "copy",
        }
    }
}

/// Receives progress and can ask for a stop. Every method has a default that does nothing.
pub trait Monitor: Sync {
    /// A phase begins; `total` is its size in bytes of database pages, where it is known.
    fn phase(&self, _phase: Phase, _total: Option<u64>) {}

    /// This many more bytes of database pages are done.
    fn advance(&self, _bytes: u64) {}

    /// Something that the user should know, though the work goes on.
    fn warn(&self, _message: &str) {}

    /// As [`Monitor::warn`], with what helps: a front that has words of its own for a
    /// [`Remedy`](crate::Remedy) puts it into those.
    fn advise(&self, advice: &Advice) {
        self.warn(&advice.to_string());
    }

    /// Whether the work should stop.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A monitor that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// A monitor that ignores progress and stops when told to.
#[derive(Debug, Default)]
pub struct Stoppable(AtomicBool);

impl Stoppable {
    /// Asks for a stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Monitor for Stoppable {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An error when the monitor asks for a stop.
///
/// # Errors
/// [`ErrorKind::Interrupted`].
pub fn check_cancelled(monitor: &dyn Monitor) -> Result<()> {
    if monitor.cancelled() {
        return Err(stopped());
    }
    Ok(())
}

/// The error of whoever was asked to stop.
pub fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped on request")
}
