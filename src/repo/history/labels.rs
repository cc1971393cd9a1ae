//! Labels: names that people give to commits, which keep them.

use std::collections::HashMap;

use super::handle::{History, Readable, all_read, check_label, padded, records_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{SnapshotKind, SnapshotRecord};
use crate::policy::mark::Cause;
use crate::policy::selector::{check_reachable, trimmed};
use crate::repo::chain::Commit;
use crate::repo::history::expired;
use crate::repo::write::standing::Standing;
use crate::types::{Digest, Seq, SnapshotId, Timestamp};

/// A label on a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its identity.
    pub id: SnapshotId,
    /// The commit.
    pub seq: Seq,
    /// When the label was given.
    pub time: Timestamp,
    /// Why.
    pub kind: SnapshotKind,
    /// The label.
    pub label: String,
    /// The database digest of the commit that it was given to; `None` in a record of an earlier
    /// version.
    pub digest: Option<Digest>,
    /// When a mark is over: the next prune takes it back then. `None` of other kinds.
    pub until: Option<Timestamp>,
}

impl Snapshot {
    /// Whether it was given to this commit, and not to another one of its number that was lost.
    #[doc(hidden)]
    pub fn names(&self, commit: &Commit) -> bool {
        self.seq == commit.seq && self.digest.is_none_or(|digest| digest == commit.record.digest)
    }
}

impl History {
    /// The labels that count, by commit and then by age.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when a record can't be opened.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        Ok(self
            .all_snapshots()?
            .into_iter()
            .filter_map(|(s, gone)| gone.is_none().then_some(s))
            .collect())
    }

    /// The labels that were taken back, and when; by commit and then by age.
    ///
    /// # Errors
    /// As [`History::snapshots`].
    pub fn deleted_snapshots(&self) -> Result<Vec<(Snapshot, Timestamp)>> {
        Ok(self.all_snapshots()?.into_iter().filter_map(|(s, gone)| Some((s, gone?))).collect())
    }

    /// All labels, with when they were taken back if they were.
    pub(crate) fn all_snapshots(&self) -> Result<Vec<Given>> {
        let (found, unread) = self.readable_labels()?;
        all_read(self, unread).map(|()| found)
    }

    /// The labels that count, as far as records can be read, and errors of those that can't be.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_snapshots(&self) -> Result<Readable<Snapshot>> {
        let (found, unread) = self.readable_labels()?;
        let counts = found.into_iter().filter_map(|(s, gone)| gone.is_none().then_some(s));
        Ok((counts.collect(), unread))
    }

    /// All labels that can be read, with when they were taken back if they were, and errors of the
    /// others.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_labels(&self) -> Result<Readable<Given>> {
        let mut found = Vec::new();
        let mut taken_back = HashMap::new();
        let names = self.names();
        let (records, unread) = records_of::<SnapshotRecord, (Seq, SnapshotId)>(
            self,
            &names.snapshots(),
            |name| names.parse_snapshot(name),
            |(seq, id), prefix, record| record.seq == *seq && prefix.object == padded(id.0),
        )?;
        for ((seq, id), record) in records {
            match record.takes_back {
                Some(other) => {
                    taken_back.insert(other, record.time);
                }
                None => found.push(Snapshot {
                    id,
                    seq,
                    time: record.time,
                    kind: record.kind,
                    label: record.label,
                    digest: record.digest,
                    until: record.until,
                }),
            }
        }
        found.sort_by_key(|s| (s.seq, s.time));
        let gone = |s: &Snapshot| taken_back.get(&s.id).copied();
        Ok((found.into_iter().map(|s| (gone(&s), s)).map(|(gone, s)| (s, gone)).collect(), unread))
    }

    /// Labels the commit of a number, whichever that is now.
    ///
    /// # Errors
    /// As [`History::label`]; [`ErrorKind::NotFound`] when there is none.
    pub fn add_snapshot(&self, seq: Seq, label: &str, kind: SnapshotKind) -> Result<Snapshot> {
        self.label((seq, self.digest_of(seq)?), label, kind)
    }

    /// Gives a commit the label back that was taken back, a mark with its end.
    ///
    /// # Errors
    /// As [`History::label`].
    pub fn give_back(&self, label: &Snapshot) -> Result<Snapshot> {
        let digest = label.digest.map_or_else(|| self.digest_of(label.seq), Ok)?;
        match label.until {
            None => self.label((label.seq, digest), &label.label, SnapshotKind::Manual),
            until => {
                self.keep_by_label((label.seq, digest), &label.label, SnapshotKind::Mark, until)
            }
        }
    }

    /// The database digest of a commit, restore point or not.
    pub(crate) fn digest_of(&self, seq: Seq) -> Result<Digest> {
        let chain = self.readable_chain()?;
        let found = chain.states().find(|commit| commit.seq == seq);
        found.map(|commit| commit.record.digest).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("has no commit seq:{seq}"))
                .with_object(format!("history {:?}", self.name()))
        })
    }

    /// Labels a commit, given by its number and its database digest.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a label that can't be selected later, and for a
    /// [`SnapshotKind::Mark`]; [`ErrorKind::NotFound`] when a prune dropped the commit meanwhile;
    /// store errors.
    pub fn label(
        &self,
        (seq, digest): (Seq, Digest),
        label: &str,
        kind: SnapshotKind,
    ) -> Result<Snapshot> {
        let label = sound_label(label)?;
        if kind == SnapshotKind::Mark {
            let what = "a mark is given by what captures, since it has an end";
            return Err(Error::new(ErrorKind::Usage, what).with_object(format!("label {label:?}")));
        }
        self.keep_by_label((seq, digest), label, kind, None)
    }

    /// As [`History::label`], with a label that ends at a time if there is one.
    ///
    /// # Errors
    /// As [`History::label`].
    #[cfg(feature = "cli")]
    pub(crate) fn label_until(
        &self,
        commit: (Seq, Digest),
        label: &str,
        until: Option<Timestamp>,
    ) -> Result<Snapshot> {
        let kind = if until.is_some() { SnapshotKind::Mark } else { SnapshotKind::Manual };
        self.keep_by_label(commit, sound_label(label)?, kind, until)
    }

    /// Labels a commit, and makes sure that it stays.
    ///
    /// # Errors
    /// As [`History::label`].
    fn keep_by_label(
        &self,
        commit: (Seq, Digest),
        label: &str,
        kind: SnapshotKind,
        until: Option<Timestamp>,
    ) -> Result<Snapshot> {
        let snapshot = self.record_label(commit, label, kind, until)?;
        self.check_kept(snapshot.seq, snapshot.digest).inspect_err(|_| {
            // A label on what is going away means nothing; if it can't be taken back it does no
            // harm.
            let _ = self.remove_snapshot(&snapshot);
        })?;
        Ok(snapshot)
    }

    /// Writes the record of a label, and no more. Always a record of its own, also of a label that
    /// is given already: whoever gave that may be about to take it back.
    ///
    /// # Errors
    /// Store errors.
    pub(super) fn record_label(
        &self,
        (seq, digest): (Seq, Digest),
        label: &str,
        kind: SnapshotKind,
        until: Option<Timestamp>,
    ) -> Result<Snapshot> {
        let (time, digest, label) = (self.repository().now(), Some(digest), label.to_owned());
        let record = SnapshotRecord { seq, time, kind, takes_back: None, label, digest, until };
        let id = self.put_snapshot(&record)?;
        Ok(Snapshot { id, seq, time, kind, label: record.label, digest, until })
    }

    /// Makes sure that a commit stays, now that a record was written that is to keep it: that no
    /// other writer takes its place, and that no prune drops it. What prunes announced is
    /// withdrawn; what they announce later, they decide on when they have seen the record.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is no restore point any more; [`ErrorKind::Busy`] when
    /// another writer may still displace it; [`ErrorKind::Damaged`] when it can't be told on what
    /// another writer builds; store errors.
    pub(crate) fn check_kept(&self, seq: Seq, digest: Option<Digest>) -> Result<()> {
        // What can't be read may concern any commit.
        expired::withdraw(self, |_, announced| {
            announced.is_none_or(|announced| {
                announced.ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq))
            })
        })?;
        let chain = self.readable_chain()?;
        let gone = match chain.commit(seq) {
            None => "a prune dropped it",
            Some(now) if digest.is_some_and(|digest| digest != now.record.digest) => {
                "another writer displaced it"
            }
            Some(_) => "",
        };
        if !gone.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("commit {seq} is no restore point any more: {gone}"),
            )
            .with_object(format!("history {:?}", self.name())));
        }
        let standing = Standing::of(self, &chain)?;
        standing.check(self)?;
        if standing.settled().is_none_or(|settled| settled < seq) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("another writer is taking over, and may still displace commit {seq}"),
            )
            .with_object(format!("history {:?}", self.name()))
            .with_hint("run it again once something newer is stored"));
        }
        Ok(())
    }

    /// Takes a label back.
    ///
    /// # Errors
    /// Store errors.
    pub fn remove_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        self.put_snapshot(&SnapshotRecord {
            seq: snapshot.seq,
            time: self.repository().now(),
            // Every version of the program reads it.
            kind: match snapshot.kind {
                SnapshotKind::Mark => SnapshotKind::Manual,
                kind => kind,
            },
            takes_back: Some(snapshot.id),
            label: snapshot.label.clone(),
            digest: None,
            until: None,
        })
        .map(|_| ())
    }

    pub(super) fn put_snapshot(&self, record: &SnapshotRecord) -> Result<SnapshotId> {
        let id = SnapshotId::random()?;
        let name = self.names().snapshot(record.seq, id);
        self.repository().create_record(&name, padded(id.0), record)?;
        Ok(id)
    }
}

/// A label, and when it was taken back if it was.
type Given = (Snapshot, Option<Timestamp>);

/// A label as it is given: without white space around it, which nobody sees.
///
/// # Errors
/// [`ErrorKind::Usage`] for one that nobody could select a commit by.
pub(crate) fn sound_label(label: &str) -> Result<&str> {
    let label = trimmed(label);
    check_label("a label", label)?;
    if Cause::of_label(label).is_some() {
        let what = "is the name of a mark, which states get by themselves";
        return Err(Error::new(ErrorKind::Usage, what).with_object(format!("label {label:?}")));
    }
    check_reachable(label).map(|()| label)
}
