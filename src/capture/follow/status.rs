//! What a follower tells: its state at any time, and what happens to it.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::format::segment::CommitRecord;
use crate::progress::Monitor;
use crate::repo::history::labels::Snapshot;
pub use crate::sqlite::tail::TailStats;
use crate::types::{Seq, Timestamp};

/// What a follower is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Opening the database, or waiting for it.
    Starting,
    /// Reading the whole database, since nothing proves what changed.
    Scanning,
    /// Following the WAL: every transaction is kept.
    Following,
    /// Watching a database that is not in WAL mode: it is read whole whenever it changed.
    Polling,
    /// Ended.
    Stopped,
}

impl Activity {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Scanning => "scanning",
            Self::Following => "following",
            Self::Polling => "polling",
            Self::Stopped => "stopped",
        }
    }
}

/// Something that went wrong, and will be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it was noticed.
    pub time: Timestamp,
    /// What kind of error.
    pub kind: ErrorKind,
    /// What happened, causes included.
    pub message: String,
}

impl Fault {
    /// Whether it tells people nothing new beside another one: the names of objects differ with
    /// every try.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let words = |fault: &Self| fault.message.replace(|c: char| c.is_ascii_hexdigit(), "");
        self.kind == other.kind && words(self) == words(other)
    }

    pub(crate) fn of(error: &Error, time: Timestamp) -> Self {
        Self { time, kind: error.kind(), message: describe(error) }
    }
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// How a follower stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub activity: Activity,
    /// The newest published commit.
    pub seq: Option<Seq>,
    /// Transactions captured and not published yet.
    pub pending: u64,
    /// Bytes of their pages.
    pub pending_bytes: u64,
    /// How long the oldest of them has been waiting, by the follower's clock.
    pub lag: Duration,
    /// Transactions published by this follower.
    pub published: u64,
    /// Bytes stored by this follower.
    pub stored: u64,
    /// Times the whole database was read, the first time not counted where there was no commit yet.
    pub scans: u64,
    /// Bytes of the WAL's present generation.
    pub wal_bytes: u64,
    /// How long ago it last looked at the WAL, while it follows: seconds, unless it stands still.
    pub looked: Option<Duration>,
    /// What keeps it from going on, if something does.
    pub fault: Option<Fault>,
    /// What it counted in the WAL.
    pub wal: TailStats,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Commits were published and are durable.
    Published {
        /// The commits, oldest first.
        commits: Vec<CommitRecord>,
        /// From the first capture to durability.
        lag: Duration,
    },
    /// The whole database has to be read.
    Scan {
        /// Why.
        reason: String,
    },
    /// Something went wrong; it is tried again until it works.
    Fault(Fault),
    /// It works again.
    Recovered,
    /// The state before a commit that matters got a label by itself, which has an end.
    Marked(Snapshot),
    /// Something that the user should know.
    Warning(String),
}

/// Hears what happens to a follower. Called from its threads: to be quick, and not to call the
/// follower.
pub trait Listener: Monitor + Send {
    /// Something happened.
    fn event(&self, _event: &Event) {}
}

impl Listener for crate::progress::Silent {}
