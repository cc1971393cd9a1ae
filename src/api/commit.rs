//! A commit, as listings and reports have it, and the labels on it.

use serde::Serialize;
use utoipa::ToSchema;

use super::rows::TableDiff;
use super::status::Proof;
use crate::format;
use crate::format::segment::{CommitKind, CommitRecord};
use crate::ops::diff::change;
use crate::repo::chain;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{Digest, PageSize, Seq, SnapshotId, Timestamp};

/// A commit: one captured state of a database.
#[derive(Serialize, ToSchema)]
pub(crate) struct Commit {
    /// The name of its history.
    history: String,
    /// Its number in its history.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    /// The size of the database in pages.
    pages: u32,
    /// How many pages it changed.
    changed_pages: u32,
    /// The bytes that its pages took when they were stored, compressed and sealed.
    stored_bytes: u64,
    /// The digest of the database.
    digest: Digest,
    /// The last one of `labels`; null if there is none.
    label: Option<String>,
    /// Its labels, the oldest first, each of them once.
    labels: Vec<String>,
    /// Those of its labels that it got by itself, and that end.
    marks: Vec<Mark>,
    /// How it was captured.
    kind: CommitKind,
    /// The tables that differ from those of the commit before, or could not be compared; null if
    /// that was not asked for, and for the oldest commit.
    tables: Option<Vec<TableDiff>>,
}

impl Commit {
    /// A commit of a history, with its labels.
    pub(crate) fn of<'l>(
        history: &str,
        seq: Seq,
        record: &CommitRecord,
        labels: impl IntoIterator<Item = &'l Snapshot>,
    ) -> Self {
        let given: Vec<&Snapshot> = labels.into_iter().collect();
        let labels = distinct(given.iter().map(|given| given.label.as_str()));
        Self {
            history: history.to_owned(),
            seq,
            time: record.time,
            pages: record.pages,
            changed_pages: record.changed,
            stored_bytes: record.stored,
            digest: record.digest,
            label: labels.last().cloned(),
            labels,
            marks: Mark::among(given),
            kind: record.kind,
            tables: None,
        }
    }

    /// The same commit, with the tables that it touched.
    pub(crate) fn with_tables(self, tables: Option<&[change::TableDiff]>) -> Self {
        Self { tables: tables.map(|tables| tables.iter().map(TableDiff::of).collect()), ..self }
    }
}

/// A label that a state got by itself, before a commit that changed the schema or freed much of the
/// database at once.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Mark {
    /// The commit that has it.
    pub(crate) seq: Seq,
    /// The label.
    pub(crate) label: String,
    /// Until when it keeps the commit; the next prune takes it back then.
    pub(crate) until: Timestamp,
}

impl Mark {
    /// The marks among labels.
    pub(crate) fn among<'l>(labels: impl IntoIterator<Item = &'l Snapshot>) -> Vec<Self> {
        let mark = |label: &Snapshot| {
            Some(Self { seq: label.seq, label: label.label.clone(), until: label.until? })
        };
        labels.into_iter().filter_map(mark).collect()
    }
}

/// Each label once, however often it was given.
fn distinct<'l>(labels: impl IntoIterator<Item = &'l str>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for label in labels {
        if !distinct.iter().any(|known| known == label) {
            distinct.push(label.to_owned());
        }
    }
    distinct
}

/// A commit with all that is known of it, as `show` prints it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommitDetails {
    #[serde(flatten)]
    pub(crate) commit: Commit,
    /// The moment that the commit was asked for by; null if it was asked for otherwise.
    pub(crate) asked_time: Option<Timestamp>,
    /// The size of a page in bytes.
    page_size: PageSize,
    /// The name of the object in the repository that publishes it.
    segment: String,
    /// The stored results of its verifications, in no order.
    pub(crate) proofs: Vec<Proof>,
}

impl CommitDetails {
    /// A commit, the moment that it was asked for by, and what was proven of it.
    pub(crate) fn of<'l>(
        history: &History,
        commit: &chain::Commit,
        labels: impl IntoIterator<Item = &'l Snapshot>,
        asked_time: Option<Timestamp>,
        proofs: &[format::proof::Proof],
    ) -> Self {
        let of_commit = proofs.iter().filter(|proof| proof.seq == commit.seq);
        Self {
            commit: Commit::of(history.name(), commit.seq, &commit.record, labels),
            asked_time,
            page_size: commit.segment.manifest.page_size,
            segment: commit.segment.name().to_owned(),
            proofs: of_commit.map(|proof| Proof::of(history, proof)).collect(),
        }
    }
}

/// A commit by its number and time.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommitTime {
    /// Its number in its history.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
}

impl From<chain::Commit> for CommitTime {
    fn from(commit: chain::Commit) -> Self {
        Self { seq: commit.seq, time: commit.record.time }
    }
}

/// A label that was given to a commit, or given back.
#[derive(Serialize, ToSchema)]
pub(crate) struct LabelSummary {
    /// The name of the history.
    history: String,
    /// The commit.
    pub(crate) seq: Seq,
    /// The label.
    pub(crate) label: String,
    /// The identity of the label's record.
    id: SnapshotId,
}

impl LabelSummary {
    /// A label of a history.
    pub(crate) fn of(history: &History, snapshot: &Snapshot) -> Self {
        Self {
            history: history.name().to_owned(),
            seq: snapshot.seq,
            label: snapshot.label.clone(),
            id: snapshot.id,
        }
    }
}

/// A label that was taken back.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnlabelSummary {
    /// The name of the history.
    pub(crate) history: String,
    /// The label.
    pub(crate) label: String,
    /// The commits that had it.
    pub(crate) removed_from: Vec<Seq>,
}
