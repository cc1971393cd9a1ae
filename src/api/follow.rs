//! What happens to a follower, and how it stands. Commits that it publishes are
//! [`Commit`](super::commit::Commit)s.

use serde::Serialize;
use utoipa::ToSchema;

use super::commit::Mark;
use crate::capture::follow::{self, Activity, Status};
use crate::error::ErrorKind;
use crate::types::{Seq, Timestamp};

/// The whole database has to be read; what differs becomes one commit.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scan {
    /// The name of the history.
    pub(crate) history: String,
    /// Why, in words.
    pub(crate) reason: String,
}

/// The state before a commit that matters got a label by itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct Marked {
    /// The name of the history.
    pub(crate) history: String,
    #[serde(flatten)]
    pub(crate) mark: Mark,
}

/// Something keeps the follower from going on; it tries again until that works.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fault {
    /// The name of the history.
    history: String,
    /// When it was noticed.
    time: Timestamp,
    /// What kind of error it is.
    kind: ErrorKind,
    /// What happened, with its causes, in words.
    message: String,
}

impl Fault {
    /// A fault of the follower of a history.
    pub(crate) fn of(history: &str, fault: &follow::Fault) -> Self {
        Self {
            history: history.to_owned(),
            time: fault.time,
            kind: fault.kind,
            message: fault.message.clone(),
        }
    }
}

/// The follower goes on after a fault.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recovered {
    /// The name of the history.
    pub(crate) history: String,
}

/// How a follower stands: one line every five seconds.
#[derive(Serialize, ToSchema)]
pub(crate) struct Follower {
    /// The name of the history.
    history: String,
    /// What it is doing.
    activity: Activity,
    /// The newest commit that is stored; null if there is none yet.
    seq: Option<Seq>,
    /// How many transactions are captured and not stored yet.
    pending: u64,
    /// Bytes of the pages of those.
    pending_bytes: u64,
    /// How long the oldest of them has been waiting, in seconds.
    lag_seconds: f64,
    /// How many transactions this follower has stored.
    published: u64,
    /// The bytes that it has stored, compressed and sealed.
    stored_bytes: u64,
    /// How often it read the whole database; the first time counts only if there were commits.
    scans: u64,
    /// Bytes of the WAL that belong to its present generation.
    wal_bytes: u64,
    /// How often SQLite was let restart the WAL.
    handoffs: u64,
    /// How often the follower made way for a checkpoint of the application.
    yields: u64,
    /// How many generations of the WAL began.
    generations: u64,
    /// What keeps it from going on, in words; null if nothing does.
    fault: Option<String>,
}

impl Follower {
    /// How the follower of a history stands.
    pub(crate) fn of(history: &str, status: &Status) -> Self {
        Self {
            history: history.to_owned(),
            activity: status.activity,
            seq: status.seq,
            pending: status.pending,
            pending_bytes: status.pending_bytes,
            lag_seconds: status.lag.as_secs_f64(),
            published: status.published,
            stored_bytes: status.stored,
            scans: status.scans,
            wal_bytes: status.wal_bytes,
            handoffs: status.wal.handoffs,
            yields: status.wal.yields,
            generations: status.wal.generations,
            fault: status.fault.as_ref().map(|fault| fault.message.clone()),
        }
    }
}

/// What a follower came to that was stopped, or ended.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct WatchSummary {
    /// The name of the history.
    pub(crate) history: String,
    /// How many commits it stored.
    pub(crate) commits: u64,
    /// How many of those are exactly one transaction.
    pub(crate) transactions: u64,
    /// The bytes that it stored, compressed and sealed.
    pub(crate) stored_bytes: u64,
    /// How often it read the whole database; the first time counts only if there were commits.
    pub(crate) scans: u64,
    /// How long it ran, in seconds.
    pub(crate) seconds: f64,
}

impl WatchSummary {
    /// Nothing stored yet.
    pub(crate) fn new(history: &str) -> Self {
        Self {
            history: history.to_owned(),
            commits: 0,
            transactions: 0,
            stored_bytes: 0,
            scans: 0,
            seconds: 0.0,
        }
    }
}
