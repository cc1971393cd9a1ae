//! The state before something is written over: captured, and labelled once that is certain.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::SnapshotKind;
use crate::ops::backup::BackupOptions;
use crate::progress::Monitor;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::sqlite::install::{Safety, UNDER_LOCK};
use crate::types::Seq;

/// How long to wait for a follower to catch up, while nobody waits for us.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often to let go of the lock and begin again, when a follower did not catch up under it.
pub(crate) const TRIES: usize = 5;

/// Makes sure that everything committed to a database so far is in its history, and answers the
/// newest commit of it. It waits for a follower no longer than it is told.
pub type Capture<'c> = &'c mut dyn FnMut(Duration) -> Result<Seq>;

/// Makes sure that what is in a database is in its history, and returns its newest commit.
pub(crate) fn capture(
    history: &History,
    database: &Path,
    takeover: bool,
    patience: Duration,
    monitor: &dyn Monitor,
) -> Result<Seq> {
    let name = Some(history.name().to_owned());
    let options = BackupOptions { name, patience, takeover, ..BackupOptions::default() };
    history.repository().backup(database, &options, monitor).map(|report| report.seq)
}

/// The state before is captured, and labelled as soon as it is certain that it is written over.
pub(crate) struct Labelled<'a> {
    history: &'a History,
    label: &'a str,
    capture: Capture<'a>,
    captured: Option<Seq>,
    /// Whether it could not be captured under the lock.
    in_vain: bool,
    before: Option<Snapshot>,
}

impl<'a> Labelled<'a> {
    pub(crate) fn new(history: &'a History, label: &'a str, capture: Capture<'a>) -> Self {
        Self { history, label, capture, captured: None, in_vain: false, before: None }
    }

    /// Captures while no lock is held.
    ///
    /// # Errors
    /// What the capture answers.
    pub(crate) fn capture_unlocked(&mut self) -> Result<Seq> {
        (self.capture)(PATIENCE)
    }

    /// Forgets how the capture under the lock ended.
    pub(crate) fn begin_again(&mut self) {
        self.in_vain = false;
    }

    /// Whether a capture under the lock came to nothing as a follower did not catch up: it gets its
    /// time without the lock.
    pub(crate) fn was_in_vain(&self, e: &Error) -> bool {
        e.kind() == ErrorKind::Busy && self.in_vain
    }

    /// The newest commit when it was captured under the lock.
    pub(crate) const fn captured(&self) -> Option<Seq> {
        self.captured
    }

    /// The label of the state before.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when there is none.
    pub(crate) fn before(&self) -> Result<Snapshot> {
        let missing = || Error::new(ErrorKind::Failure, "the state before was not captured");
        self.before.clone().ok_or_else(missing)
    }

    /// Takes the label back, where nothing was written over. One that can't be taken back does no
    /// harm.
    pub(crate) fn take_back(&self) {
        if let Some(before) = &self.before {
            let _ = self.history.remove_snapshot(before);
        }
    }
}

impl Safety for Labelled<'_> {
    fn capture(&mut self) -> Result<()> {
        let captured = (self.capture)(UNDER_LOCK);
        self.in_vain = captured.is_err();
        self.captured = Some(captured?);
        Ok(())
    }

    fn keep(&mut self) -> Result<()> {
        let seq =
            self.captured.ok_or_else(|| Error::new(ErrorKind::Failure, "nothing was captured"))?;
        self.before = Some(self.history.add_snapshot(seq, self.label, SnapshotKind::Safety)?);
        Ok(())
    }
}
