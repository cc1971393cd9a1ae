//! A moment of a history that can be restored, as one value.

use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::format::segment::CommitKind;
use crate::format::snapshot::SnapshotKind;
use crate::ops::select::{Chosen, choose};
use crate::policy::selector::Selector;
use crate::remedy::Advice;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::handle::History;
use crate::repo::history::holds::Hold;
use crate::repo::history::labels::Snapshot;
use crate::types::{Digest, Seq, Timestamp};

/// A moment of a history that can be restored: one commit, and the history as it was read. Clones
/// are cheap.
#[derive(Clone, Debug)]
pub struct RestorePoint {
    pub(super) history: History,
    pub(super) chain: Arc<Chain>,
    pub(super) commit: Commit,
}

impl RestorePoint {
    /// A commit of a chain that was read.
    #[doc(hidden)]
    pub fn of(history: &History, chain: &Chain, commit: &Commit) -> Self {
        let chain = Arc::new(chain.clone());
        Self { history: history.clone(), chain, commit: commit.clone() }
    }

    /// A commit of a chain that several points share.
    pub(super) fn on(history: &History, chain: &Arc<Chain>, commit: Commit) -> Self {
        Self { history: history.clone(), chain: chain.clone(), commit }
    }

    /// Whether it is of the same history as another one.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let ids = |point: &Self| (point.history.repository().id(), point.history.id());
        ids(self) == ids(other)
    }

    /// The history that it belongs to.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The commit's sequence number.
    pub fn seq(&self) -> Seq {
        self.commit.seq
    }

    /// When it was captured.
    pub fn time(&self) -> Timestamp {
        self.commit.record.time
    }

    /// Whether it is exactly one transaction, or what several came to.
    pub fn kind(&self) -> CommitKind {
        self.commit.record.kind
    }

    /// The size of the restored database in bytes.
    pub fn database_bytes(&self) -> u64 {
        self.commit.segment.manifest.page_size.file_len(self.commit.record.pages)
    }

    /// The digest of the database's content: equal content of one history has equal digests.
    pub fn digest(&self) -> Digest {
        self.commit.record.digest
    }

    /// Its labels that can be read, oldest first.
    ///
    /// # Errors
    /// Store errors.
    pub fn labels(&self) -> Result<Vec<Snapshot>> {
        let (mut found, _) = self.history.readable_snapshots()?;
        found.retain(|label| label.names(&self.commit));
        Ok(found)
    }

    /// Gives it a label, by which it can be found, and which keeps it from expiring.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when the text can't be a label; [`ErrorKind::NotFound`] when the commit
    /// is gone; store errors.
    ///
    /// # Durability
    /// When this returns, the label is durable.
    pub fn label(&self, text: &str) -> Result<Snapshot> {
        self.history.label((self.seq(), self.digest()), text, SnapshotKind::Manual)
    }

    /// Keeps it from expiring until the hold is removed.
    ///
    /// # Errors
    /// As [`RestorePoint::label`].
    ///
    /// # Durability
    /// When this returns, the hold is durable.
    pub fn hold(&self, reason: &str) -> Result<Hold> {
        self.history.hold((self.seq(), self.digest()), reason)
    }
}

/// Restore points of one chain, oldest first. Only their numbers are kept: of a long history that
/// is little, and each point is made when it is asked for.
pub(super) struct Points {
    history: History,
    chain: Arc<Chain>,
    seqs: Vec<Seq>,
}

impl Points {
    /// Those from one commit up to another, both included.
    pub(super) fn between(
        history: &History,
        chain: Arc<Chain>,
        from: Option<Seq>,
        to: Option<Seq>,
    ) -> Self {
        let is_within =
            |seq: &Seq| from.is_none_or(|from| *seq >= from) && to.is_none_or(|to| *seq <= to);
        let seqs = chain.commits().map(|commit| commit.seq).filter(is_within).collect();
        Self { history: history.clone(), chain, seqs }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    /// The number of the restore point at a place.
    pub(super) fn seq(&self, at: usize) -> Option<Seq> {
        self.seqs.get(at).copied()
    }

    /// The restore point at a place.
    pub(super) fn get(&self, at: usize) -> Option<RestorePoint> {
        let commit = self.chain.commit(self.seq(at)?)?;
        Some(RestorePoint::on(&self.history, &self.chain, commit))
    }

    /// The newest one.
    pub(super) fn last(&self) -> Option<RestorePoint> {
        self.get(self.len().checked_sub(1)?)
    }

    /// How many of them lie before a commit.
    pub(super) fn before(&self, seq: Seq) -> usize {
        self.seqs.partition_point(|other| *other < seq)
    }
}

/// A restore point that was chosen, and what is to be said about the choice.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Selection {
    /// The restore point.
    pub point: RestorePoint,
    /// What is as usual, and may be a surprise.
    pub notes: Vec<String>,
    /// What is not as it should be, and may have meant another commit.
    pub warnings: Vec<Advice>,
}

impl History {
    /// Every moment that can be restored, oldest first.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`].
    pub fn restore_points(&self) -> Result<Vec<RestorePoint>> {
        let chain = Arc::new(self.readable_chain()?);
        let point = |commit| RestorePoint { history: self.clone(), chain: chain.clone(), commit };
        Ok(chain.commits().map(point).collect())
    }

    /// The restore point that a text means: a label, `latest~2`, `seq:17`, `2h ago`, an RFC 3339
    /// time. Times without an offset are of this machine's zone.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it means nothing, [`ErrorKind::NotFound`] when there is no such
    /// point; [`ErrorKind::Damaged`] when it may be one that can't be read; store errors.
    pub fn find(&self, when: &str) -> Result<RestorePoint> {
        let selector = Selector::parse(when, &chrono::Local::now())?;
        self.select(&selector).map(|selection| selection.point)
    }

    /// The restore point that a selector means, with what is to be said about the choice.
    ///
    /// # Errors
    /// As [`History::find`].
    pub fn select(&self, selector: &Selector) -> Result<Selection> {
        let chain = Arc::new(self.readable_chain()?);
        let Chosen { commit, notes, warnings } = choose(self, &chain, selector)?;
        let point = RestorePoint { history: self.clone(), chain, commit };
        Ok(Selection { point, notes, warnings })
    }

    /// The restore point of a sequence number.
    ///
    /// # Errors
    /// As [`History::find`].
    pub fn point(&self, seq: Seq) -> Result<RestorePoint> {
        self.select(&Selector::Seq(seq)).map(|selection| selection.point)
    }

    /// The newest restore point; `None` in a history without commits.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when it can't be read.
    pub fn latest(&self) -> Result<Option<RestorePoint>> {
        match self.select(&Selector::Latest(0)) {
            Ok(selection) => Ok(Some(selection.point)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}
