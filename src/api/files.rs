//! The files of an application beside its database: kept, listed and restored.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::commit::Commit;
use crate::ops::files::{Entry, FilesReport, PassedOver, Refused, Restored};
use crate::repo::chain;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{Seq, Timestamp};

/// A file that is not kept as it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilePassedOver {
    /// Its path. Bytes that are no text are replaced in it.
    path: String,
    /// Why: `unread`, `changing`, `too-large`, `database`, `missing` or `special`, which is a pipe,
    /// a socket, a device, or a part of a repository or of the state folder that was named.
    reason: &'static str,
    /// The reason in words.
    message: String,
    /// Whether the commit has what was kept of it before.
    kept_before: bool,
}

impl From<&PassedOver> for FilePassedOver {
    fn from(over: &PassedOver) -> Self {
        Self {
            path: over.path.to_string_lossy().into_owned(),
            reason: over.why.name(),
            message: over.why.to_string(),
            kept_before: over.is_held,
        }
    }
}

/// What keeping files came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilesSummary {
    /// The name of the history that has the files.
    history: String,
    /// The newest commit: the new one, or the one that has everything already.
    seq: Seq,
    /// Whether there is a new commit.
    changed: bool,
    /// The new commit; null if nothing had changed.
    commit: Option<Commit>,
    /// How many files are in it, but for those that could not be read now.
    files: u64,
    /// How many folders.
    folders: u64,
    /// How many links.
    links: u64,
    /// Bytes of the files.
    file_bytes: u64,
    /// How many files were read.
    files_read: u64,
    /// How many names are new or changed.
    names_changed: u64,
    /// How many names are gone.
    names_removed: u64,
    /// How many names stay as they were kept before, since they could not be read now.
    names_kept_before: u64,
    /// How long it took, in seconds.
    seconds: f64,
}

impl FilesSummary {
    /// A run that took so long.
    pub(crate) fn of(report: &FilesReport, took: Duration) -> Self {
        let (backup, tally) = (&report.backup, &report.tally);
        let name = backup.history.name();
        let none: [&Snapshot; 0] = [];
        Self {
            history: name.to_owned(),
            seq: backup.seq,
            changed: backup.commit.is_some(),
            commit: backup.commit.map(|commit| Commit::of(name, backup.seq, &commit, none)),
            files: tally.files,
            folders: tally.folders,
            links: tally.links,
            file_bytes: tally.bytes,
            files_read: tally.read,
            names_changed: tally.changed,
            names_removed: tally.removed,
            names_kept_before: tally.held,
            seconds: took.as_secs_f64(),
        }
    }
}

/// A file, a folder or a link of a commit.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeptFile {
    /// Its path, without the slash in front. Bytes that are no text are replaced in it.
    name: String,
    /// `file`, `folder`, `link`, or `unknown`.
    kind: &'static str,
    /// Its permissions.
    mode: u32,
    /// The user that owned it, by number; null if that is not known.
    uid: Option<u32>,
    /// Its group, by number; null if that is not known.
    gid: Option<u32>,
    /// The size of its content in bytes.
    bytes: u64,
    /// When it was changed.
    modified: Timestamp,
    /// Where a link leads; null for everything else.
    target: Option<String>,
    /// Why a restore refuses it, in words; null if it does not.
    refused: Option<&'static str>,
}

impl From<&Entry> for KeptFile {
    fn from(entry: &Entry) -> Self {
        Self {
            name: entry.shown(),
            kind: entry.kind(),
            mode: entry.mode(),
            uid: entry.owner().map(|(uid, _)| uid),
            gid: entry.owner().map(|(_, gid)| gid),
            bytes: entry.size(),
            modified: Timestamp(entry.modified().div_euclid(1000)),
            target: entry.target(),
            refused: entry.refused(),
        }
    }
}

/// A name that a restore refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct FileRefused {
    /// The name. Bytes that are no text are replaced in it.
    name: String,
    /// Why, in words.
    message: String,
}

impl From<&Refused> for FileRefused {
    fn from(refused: &Refused) -> Self {
        Self { name: refused.name.clone(), message: refused.why.clone() }
    }
}

/// What a restore of files came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilesRestoreSummary {
    /// The name of the history that has the files.
    history: String,
    /// The commit.
    commit: Commit,
    /// The path of the folder. Bytes that are no text are replaced in it.
    target: String,
    /// How many files were restored.
    files: u64,
    /// How many folders.
    folders: u64,
    /// How many links.
    links: u64,
    /// Bytes of the files.
    file_bytes: u64,
    /// How many names were refused.
    refused: usize,
    /// How many have not the owner or the time that they had.
    changed_owner_or_time: u64,
    /// How long it took, in seconds.
    seconds: f64,
}

impl FilesRestoreSummary {
    /// A restore that took so long.
    pub(crate) fn of<'l>(
        (history, commit): (&History, &chain::Commit),
        labels: impl IntoIterator<Item = &'l Snapshot>,
        (restored, target): (&Restored, &Path),
        took: Duration,
    ) -> Self {
        Self {
            history: history.name().to_owned(),
            commit: Commit::of(history.name(), commit.seq, &commit.record, labels),
            target: target.to_string_lossy().into_owned(),
            files: restored.files,
            folders: restored.folders,
            links: restored.links,
            file_bytes: restored.bytes,
            refused: restored.refused.len(),
            changed_owner_or_time: restored.undressed,
            seconds: took.as_secs_f64(),
        }
    }
}
