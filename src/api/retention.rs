//! How long commits stay: what a prune does, holds, and labels that were taken back.

use serde::Serialize;
use utoipa::ToSchema;

use super::commit::Mark;
use crate::error::Error;
use crate::ops::prune::{DELETED, PruneReport};
use crate::policy::retention::{self, Point, Reason};
use crate::repo;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{HoldId, Seq, Timestamp};

/// A commit that stays.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kept {
    /// The name of the history.
    history: String,
    /// The commit.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    /// Why it stays: at least one reason.
    reasons: Vec<KeptFor>,
}

/// A reason for a commit to stay.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeptFor {
    /// The rule: `newest`, `last`, `window`, `window-edge`, `hourly`, `daily`, `weekly`, `monthly`,
    /// `yearly`, `pinned` for labels and holds, `future`, `undated` or `floor`.
    rule: &'static str,
    /// The reason in words.
    text: String,
}

impl From<&Reason> for KeptFor {
    fn from(reason: &Reason) -> Self {
        Self { rule: reason.name(), text: reason.to_string() }
    }
}

impl Kept {
    /// A commit of a history that stays.
    pub(crate) fn of(history: &History, kept: &retention::Kept) -> Self {
        Self {
            history: history.name().to_owned(),
            seq: kept.seq,
            time: kept.time,
            reasons: kept.reasons.iter().map(Into::into).collect(),
        }
    }
}

/// A commit that stays no longer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dropped {
    /// The name of the history.
    history: String,
    /// The commit.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
}

impl Dropped {
    /// A commit of a history that goes.
    pub(crate) fn of(history: &History, point: &Point) -> Self {
        Self { history: history.name().to_owned(), seq: point.seq, time: point.time }
    }
}

/// What the prune of a history came to: one line for each history.
#[derive(Serialize, ToSchema)]
pub(crate) struct PruneSummary {
    /// The name of the history.
    history: String,
    /// Whether only this was asked for, and nothing was changed.
    dry_run: bool,
    /// How many commits stay.
    kept: usize,
    /// How many commits stay no longer.
    dropped: usize,
    /// The marks that are over, which keep nothing any more.
    ended_marks: Vec<Mark>,
    /// What the history took before.
    before: Usage,
    /// What it takes now; of a dry run, an estimate of what it takes in the end.
    after: Usage,
    /// How many segments were written to take the place of others.
    merges: u64,
    /// How many objects were deleted.
    deleted_objects: u64,
    /// The bytes of those.
    deleted_bytes: u64,
    /// The bytes that a later prune deletes, when readers had their time.
    waiting_bytes: u64,
    /// Why the prune itself would be refused, in words; null unless this is such a dry run.
    refused: Option<String>,
}

/// What a history takes in its repository.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage {
    /// The bytes of all its objects.
    bytes: u64,
    /// How many objects those are.
    objects: u64,
    /// How many of them are segments that the history needs.
    segments: u64,
    /// How many commits can be selected.
    commits: u64,
}

impl From<crate::ops::prune::Usage> for Usage {
    fn from(usage: crate::ops::prune::Usage) -> Self {
        Self {
            bytes: usage.bytes,
            objects: usage.objects,
            segments: usage.segments,
            commits: usage.commits,
        }
    }
}

impl PruneSummary {
    /// What came of a prune, or would.
    pub(crate) fn of(history: &History, report: &PruneReport, dry_run: bool) -> Self {
        Self {
            history: history.name().to_owned(),
            dry_run,
            kept: report.kept.len(),
            dropped: report.dropped.len(),
            ended_marks: Mark::among(&report.ended),
            before: report.before.into(),
            after: report.after.into(),
            merges: report.merges,
            deleted_objects: report.deleted_objects,
            deleted_bytes: report.deleted_bytes,
            waiting_bytes: report.waiting_bytes,
            refused: report.refusal.as_deref().map(Error::to_string),
        }
    }
}

/// A hold: a commit that no policy drops.
#[derive(Serialize, ToSchema)]
pub(crate) struct Hold {
    /// The name of the history.
    history: String,
    /// The commit.
    seq: Seq,
    /// The identity of the hold.
    id: HoldId,
    /// When it was made.
    since: Timestamp,
    /// Why it was made, in somebody's words.
    reason: String,
    /// The machine that it was made on.
    host: String,
}

impl Hold {
    /// A hold of a history.
    pub(crate) fn of(history: &History, hold: &repo::history::holds::Hold) -> Self {
        Self {
            history: history.name().to_owned(),
            seq: hold.seq,
            id: hold.id,
            since: hold.time,
            reason: hold.reason.clone(),
            host: hold.host.clone(),
        }
    }
}

/// A hold that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct HoldSummary {
    /// The name of the history.
    history: String,
    /// The commit.
    seq: Seq,
    /// The identity of the hold.
    id: HoldId,
    /// Why it was made.
    reason: String,
}

impl HoldSummary {
    /// A hold of a history.
    pub(crate) fn of(history: &History, hold: &repo::history::holds::Hold) -> Self {
        Self {
            history: history.name().to_owned(),
            seq: hold.seq,
            id: hold.id,
            reason: hold.reason.clone(),
        }
    }
}

/// A hold that was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct HoldRemovedSummary {
    /// The name of the history.
    history: String,
    /// The commit.
    seq: Seq,
    /// The identity of the hold.
    id: HoldId,
    /// True.
    removed: bool,
}

impl HoldRemovedSummary {
    /// A hold of a history that is there no more.
    pub(crate) fn of(history: &History, hold: &repo::history::holds::Hold) -> Self {
        Self { history: history.name().to_owned(), seq: hold.seq, id: hold.id, removed: true }
    }
}

/// A label that was taken back and can be given back.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// The name of the history.
    history: String,
    /// The commit that had it.
    pub(crate) seq: Seq,
    /// The label.
    pub(crate) label: String,
    /// When it was taken back.
    pub(crate) removed: Timestamp,
    /// Until when that keeps the commit from being dropped.
    pub(crate) kept_until: Timestamp,
}

impl Deleted {
    /// A label of a history that was taken back at some time.
    pub(crate) fn of(history: &History, snapshot: &Snapshot, removed: Timestamp) -> Self {
        Self {
            history: history.name().to_owned(),
            seq: snapshot.seq,
            label: snapshot.label.clone(),
            removed,
            kept_until: removed.after(DELETED),
        }
    }
}
