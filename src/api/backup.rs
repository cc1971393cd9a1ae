//! What a backup and a copy came to.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::commit::{Commit, Mark};
use crate::ops;
use crate::ops::copy::CopyReport;
use crate::repo::history::handle::History;
use crate::types::Seq;

/// What a backup came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackupSummary {
    /// The name of the history.
    history: String,
    /// The newest commit: the new one, or the one that has everything already.
    seq: Seq,
    /// Whether there is a new commit.
    changed: bool,
    /// The new commit; null if nothing had changed.
    commit: Option<Commit>,
    /// The label that was asked for; null if none was.
    label: Option<String>,
    /// The labels that states got by themselves before commits that matter, mostly the state before
    /// this commit.
    marks: Vec<Mark>,
    /// Bytes of pages that were read to find out.
    read_bytes: u64,
    /// Whether a `watch` of this machine did the work.
    followed: bool,
    /// How long it took, in seconds.
    seconds: f64,
}

impl BackupSummary {
    /// A backup that took so long.
    pub(crate) fn of(report: &ops::backup::BackupReport, took: Duration) -> Self {
        let name = report.history.name();
        Self {
            history: name.to_owned(),
            seq: report.seq,
            changed: report.commit.is_some(),
            commit: report
                .commit
                .map(|commit| Commit::of(name, report.seq, &commit, &report.snapshot)),
            label: report.snapshot.as_ref().map(|label| label.label.clone()),
            marks: Mark::among(&report.marks),
            read_bytes: report.read_bytes,
            followed: report.followed,
            seconds: took.as_secs_f64(),
        }
    }
}

/// What the copy of a history came to: one line for each history that was copied.
#[derive(Serialize, ToSchema)]
pub(crate) struct CopySummary {
    /// The name of the history.
    history: String,
    /// How many commits were copied.
    commits: u64,
    /// The newest commit that the copy has; null if it has none.
    newest: Option<Seq>,
    /// How many labels and holds were copied.
    labels_and_holds: u64,
    /// How long it took, in seconds.
    seconds: f64,
}

impl CopySummary {
    /// A copy that took so long.
    pub(crate) fn of(history: &History, report: &CopyReport, took: Duration) -> Self {
        Self {
            history: history.name().to_owned(),
            commits: report.commits,
            newest: report.newest,
            labels_and_holds: report.marks,
            seconds: took.as_secs_f64(),
        }
    }
}
