//! What a restore came to.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::commit::{Commit, CommitTime};
use crate::ops::restore::Check;
use crate::repo::chain::{self, Chain};
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{Seq, Timestamp};

/// What a restore came to, or would come to.
#[derive(Serialize, ToSchema)]
pub(crate) struct RestoreSummary {
    /// The name of the history.
    history: String,
    /// The commit.
    commit: Commit,
    /// The moment that the commit was asked for by; null if it was asked for otherwise.
    asked_time: Option<Timestamp>,
    /// The commit of the number before; null if there is none any more.
    before: Option<CommitTime>,
    /// The commit of the number behind; null if there is none.
    after: Option<CommitTime>,
    /// The mirror that it was read from, as the configuration names it; null if it was read from
    /// the repository itself.
    mirror: Option<String>,
    /// The path of the file. Bytes that are no text are replaced in it.
    target: String,
    /// The size of the file in bytes.
    pub(crate) database_bytes: u64,
    /// What SQLite was asked about it.
    check: Check,
    /// Whether only this was asked for, and nothing was written.
    dry_run: bool,
    /// Whether the file was written.
    restored: bool,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}

/// How a restore was asked for.
pub(crate) struct Asked<'a> {
    pub(crate) target: &'a Path,
    pub(crate) check: Check,
    pub(crate) time: Option<Timestamp>,
    pub(crate) dry_run: bool,
    pub(crate) mirror: Option<&'a str>,
}

impl RestoreSummary {
    /// A commit that was restored, or would be, in so long.
    pub(crate) fn of<'l>(
        (history, chain, commit): (&History, &Chain, &chain::Commit),
        labels: impl IntoIterator<Item = &'l Snapshot>,
        asked: &Asked<'_>,
        took: Duration,
    ) -> Self {
        Self {
            history: history.name().to_owned(),
            commit: Commit::of(history.name(), commit.seq, &commit.record, labels),
            asked_time: asked.time,
            before: chain.commit(Seq(commit.seq.0.saturating_sub(1))).map(Into::into),
            after: chain.commit(commit.seq.next()).map(Into::into),
            mirror: asked.mirror.map(str::to_owned),
            target: asked.target.to_string_lossy().into_owned(),
            database_bytes: commit.segment.manifest.page_size.file_len(commit.record.pages),
            check: asked.check,
            dry_run: asked.dry_run,
            restored: !asked.dry_run,
            seconds: took.as_secs_f64(),
        }
    }
}

/// What `restore --if-missing` says when the file is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct PresentSummary {
    /// The path of the file.
    target: String,
    /// False: nothing was restored.
    restored: bool,
}

impl PresentSummary {
    /// The file at this path is there.
    pub(crate) fn of(target: &Path) -> Self {
        Self { target: target.to_string_lossy().into_owned(), restored: false }
    }
}

/// A database that `restore-all` restored, or would.
#[derive(Serialize, ToSchema)]
pub(crate) struct Restored {
    /// The name of the history.
    history: String,
    /// The number of the commit.
    seq: u64,
    /// When it was captured.
    time: Timestamp,
    /// The path of the file. Bytes that are no text are replaced in it.
    target: String,
    /// The size of the file in bytes.
    pub(crate) database_bytes: u64,
}

impl Restored {
    /// A commit, and the file that it becomes.
    pub(crate) fn of(history: &History, commit: &chain::Commit, target: &Path) -> Self {
        Self {
            history: history.name().to_owned(),
            seq: commit.seq.0,
            time: commit.record.time,
            target: target.to_string_lossy().into_owned(),
            database_bytes: commit.segment.manifest.page_size.file_len(commit.record.pages),
        }
    }
}

/// What `restore-all` came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct RestoreAllSummary {
    /// The folder. Bytes that are no text are replaced in it.
    pub(crate) folder: String,
    /// How many databases are in it.
    pub(crate) databases: u64,
    /// The sizes of all files, in bytes.
    pub(crate) database_bytes: u64,
    /// Whether only this was asked for, and nothing was written.
    pub(crate) dry_run: bool,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}
