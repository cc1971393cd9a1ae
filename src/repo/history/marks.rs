//! Marks: labels that states get by themselves, before commits that matter, and that end.
//!
//! A mark is given as every label is: its record first, and then it is made sure that the commit
//! stays. Only a prune ends it, by taking it back.
//!
//! Invariants:
//! - To mark again does nothing where a mark was given before, whether or not that was taken back.
//!   So whoever does not know whether it marked something does it once more.
//! - What a rewind labelled is not marked: that keeps it as long.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::handle::History;
use super::labels::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::CommitRecord;
use crate::format::snapshot::SnapshotKind;
use crate::policy::mark::{Cause, Shape, causes, due};
use crate::progress::{Monitor, check_cancelled};
use crate::types::{Digest, Seq, Timestamp};

/// A second, in microseconds.
const SECOND: i64 = 1_000_000;

/// Marks that there are, by their causes and the times of the commits that they were for.
pub(crate) type Earlier = Vec<(Cause, Timestamp)>;

/// A commit for which the state before it is to be marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    /// The commit before it; `None` if that has no table yet, and so nothing to keep. What follows
    /// soon belongs to it all the same.
    pub(crate) before: Option<(Seq, Digest)>,
    /// The commit.
    pub(crate) seq: Seq,
    /// When it was captured.
    pub(crate) time: Timestamp,
    /// Why; at least one.
    pub(crate) causes: Vec<Cause>,
}

impl Deed {
    /// What a commit did that calls for a mark; `None` if nothing does. `then` and `now` are the
    /// database before it and after it.
    pub(crate) fn of(
        before: (Seq, Digest),
        then: &Shape,
        commit: &CommitRecord,
        now: &Shape,
    ) -> Option<Self> {
        let causes = causes(then, now);
        let before = (!then.is_bare()).then_some(before);
        let CommitRecord { seq, time, .. } = *commit;
        (!causes.is_empty()).then_some(Self { before, seq, time, causes })
    }

    /// Whether it calls for a mark beside those that there are.
    pub(crate) fn is_due(&self, earlier: &[(Cause, Timestamp)]) -> bool {
        due(&self.causes, self.time, earlier).is_some()
    }
}

/// What marking came to.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    /// The marks that were given.
    pub(crate) given: Vec<Snapshot>,
    /// The marks that were there already.
    pub(crate) there: Vec<Snapshot>,
    /// Why states could not be marked that are no restore points any more.
    pub(crate) gone: Vec<Error>,
    /// All marks that there are.
    pub(crate) earlier: Earlier,
}

impl History {
    /// Marks the states before some commits, in their order, where that is called for. `known` are
    /// marks that need not be looked for.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Busy`] when another writer may still displace such a state;
    /// [`ErrorKind::Interrupted`]. It is to be done once more then.
    pub(crate) fn mark(
        &self,
        deeds: &[Deed],
        lasts: Duration,
        known: Earlier,
        monitor: &dyn Monitor,
    ) -> Result<Marked> {
        let mut marked = Marked { earlier: known, ..Marked::default() };
        // What can't be read may be a mark, which is given twice then.
        let (labels, _) = self.readable_labels()?;
        for mark in self.earlier(labels.iter().map(|(label, _)| label))? {
            if !marked.earlier.contains(&mark) {
                marked.earlier.push(mark);
            }
        }
        let mut taken: HashSet<String> = labels.iter().map(|(s, _)| s.label.clone()).collect();
        for deed in deeds {
            check_cancelled(monitor)?;
            let Some(before) = deed.before else {
                marked.earlier.extend(deed.causes.iter().map(|cause| (*cause, deed.time)));
                continue;
            };
            let is_of = |s: &Snapshot| (s.seq, s.digest) == (before.0, Some(before.1));
            let is_mark = |s: &Snapshot| {
                s.kind == SnapshotKind::Mark
                    && Cause::of_label(&s.label).is_some_and(|(_, seq)| seq == deed.seq)
            };
            let mut here = labels.iter().filter(|(s, _)| is_of(s));
            let known = here
                .find(|(s, gone)| is_mark(s) || (s.kind == SnapshotKind::Safety && gone.is_none()));
            if let Some((known, gone)) = known {
                // Perhaps whoever gave it came no farther than that, and told nobody.
                if gone.is_none() && is_mark(known) && self.settle(known, &mut marked.gone)? {
                    marked.there.push(known.clone());
                }
                continue;
            }
            let now = self.repository().now();
            let is_over = deed.time.after(lasts) <= now;
            let cause = due(&deed.causes, deed.time, &marked.earlier).filter(|_| !is_over);
            let Some(cause) = cause else { continue };
            marked.earlier.push((cause, deed.time));
            let label = unused(cause.label(deed.seq), &mut taken);
            let until = Some(end_of(now, lasts));
            let mark = self.record_label(before, &label, SnapshotKind::Mark, until)?;
            if self.settle(&mark, &mut marked.gone)? {
                marked.given.push(mark);
            }
        }
        Ok(marked)
    }

    /// The marks among labels, by the times of the commits that they were for.
    fn earlier<'s>(&self, labels: impl Iterator<Item = &'s Snapshot>) -> Result<Earlier> {
        let chain = self.readable_chain()?;
        let marks = labels.filter(|label| label.kind == SnapshotKind::Mark);
        let mark = |label: &Snapshot| {
            let (cause, seq) = Cause::of_label(&label.label)?;
            Some((cause, chain.commit(seq).map_or(label.time, |commit| commit.record.time)))
        };
        Ok(marks.filter_map(mark).collect())
    }

    /// Makes sure that a marked state stays. Answers `false` if it is gone already, which is noted.
    fn settle(&self, mark: &Snapshot, gone: &mut Vec<Error>) -> Result<bool> {
        match self.check_kept(mark.seq, mark.digest) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // A label on what is going away does no harm.
                let _ = self.remove_snapshot(mark);
                gone.push(e);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// The marks that are over at a moment. Each lasts as long as it says, also by the storage's
    /// clock: whoever gave it may have had a wrong one.
    ///
    /// # Errors
    /// As [`History::snapshots`].
    pub(crate) fn marks_over(&self, now: Timestamp) -> Result<Vec<Snapshot>> {
        let mut marks = self.snapshots()?;
        marks.retain(|mark| mark.until.is_some_and(|until| until <= now));
        if marks.is_empty() {
            return Ok(marks);
        }
        let names = self.names();
        let listed = self.repository().store().list(&names.snapshots())?;
        let stored: HashMap<&str, Timestamp> =
            listed.iter().map(|entry| (&*entry.name, entry.modified)).collect();
        marks.retain(|mark| {
            let lasts = mark.until.map_or(0, |until| until.0.saturating_sub(mark.time.0));
            let stored = stored.get(&*names.snapshot(mark.seq, mark.id));
            stored.is_some_and(|stored| stored.0.saturating_add(lasts.max(0)) <= now.0)
        });
        Ok(marks)
    }
}

/// When a mark ends that is given now. It is a whole second: people read it.
fn end_of(now: Timestamp, lasts: Duration) -> Timestamp {
    let until = now.after(lasts).0;
    Timestamp(until.saturating_add(SECOND - 1).div_euclid(SECOND) * SECOND)
}

/// A label that no other one equals: people give what labels they like.
fn unused(label: String, taken: &mut HashSet<String>) -> String {
    let others = (2..).map(|n: u64| format!("{label}-{n}"));
    let free = std::iter::once(label.clone()).chain(others).find(|label| !taken.contains(label));
    let free = free.unwrap_or(label);
    taken.insert(free.clone());
    free
}
