//! A chain that was read: its segments and commits.

use std::collections::HashMap;
use std::sync::Arc;

use super::finding::{Hole, Problem};
use super::segment::Segment;
use crate::format::segment::{CommitRecord, SegmentKind};
use crate::repo::history::expired::Expired;
use crate::repo::local::state::Head;
use crate::store::Entry;
use crate::types::{Seq, Timestamp};

/// A commit, and the segment that holds it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its sequence number.
    pub seq: Seq,
    /// What its segment says of it.
    pub record: CommitRecord,
    /// Its segment.
    pub segment: Arc<Segment>,
}

/// The segments of a history, oldest first, and which of their commits expired.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) expired: Expired,
    /// Segments that were listed and are not on the chain.
    pub(super) strays: Vec<Entry>,
    /// When it was listed, by this machine's clock.
    pub(super) listed: Timestamp,
    /// Whether something was merged that is newer than all of the log. The newest segment is never
    /// merged, so the one that followed may be missing; unless what was merged is on no chain any
    /// more.
    pub(super) doubtful: bool,
    /// The segment objects that were listed, by name.
    pub(super) entries: HashMap<String, Entry>,
    /// Names of segments that can't be read; none of them is needed.
    pub(super) unreadable: Vec<String>,
    /// What is wrong with those.
    pub(super) unread: Vec<Problem>,
    /// Names in the log that nobody can have published.
    pub(super) junk: Vec<String>,
    /// Where segments are missing; ascending. Only a tolerant chain has any.
    pub(super) holes: Vec<Hole>,
    /// Whether it was read the tolerant way.
    pub(super) tolerant: bool,
    /// Expiries that can't be read. Only a tolerant chain does without.
    pub(super) bad_expiries: Vec<Problem>,
}

impl Chain {
    /// The segments, oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// How many segments are not on the chain.
    pub fn strays(&self) -> usize {
        self.strays.len()
    }

    /// The segment objects that are not on the chain.
    pub(crate) fn off_chain(&self) -> &[Entry] {
        &self.strays
    }

    /// Segments off the chain that can't be read.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// What is wrong with segments off the chain that can't be read.
    pub fn unread(&self) -> &[Problem] {
        &self.unread
    }

    /// Objects among the segments of the log that nobody can have published: they are passed over.
    pub fn junk(&self) -> &[String] {
        &self.junk
    }

    /// Where segments are missing or can't be read, oldest first. A chain that was not read the
    /// tolerant way has none.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Expiries that a tolerant chain was read without: commits that expired may show again.
    pub fn bad_expiries(&self) -> &[Problem] {
        &self.bad_expiries
    }

    /// Whether it was read the tolerant way.
    pub(crate) fn is_tolerant(&self) -> bool {
        self.tolerant
    }

    /// The segments that are there: all but those that only stand in for a hole.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter().filter(|s| !s.is_bridge())
    }

    /// The hole that a commit's pages may have been in: its lineage begins right above it.
    pub fn hole_below(&self, seq: Seq) -> Option<&Hole> {
        let first = self.lineage(seq).first().filter(|s| s.is_bridge())?;
        self.holes.iter().find(|hole| hole.above == Some(first.end.next()))
    }

    /// When the segments were listed, by this machine's clock.
    pub(crate) fn listed(&self) -> Timestamp {
        self.listed
    }

    /// What was listed of a segment's object.
    pub(crate) fn listed_as(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The commits that expired.
    pub(crate) fn expired(&self) -> &Expired {
        &self.expired
    }

    /// Whether an expiry lists a number.
    pub fn has_expired(&self, seq: Seq) -> bool {
        self.expired.contains(seq)
    }

    /// The same segments, of whose commits some more expired.
    pub(crate) fn without(&self, seqs: impl Iterator<Item = Seq>) -> Self {
        Self { expired: self.expired.with(seqs), ..self.clone() }
    }

    /// The same segments, of whose commits only those expired that did so elsewhere, too.
    pub(crate) fn agreeing(&self, expired: &Expired) -> Self {
        Self { expired: self.expired.agreeing(expired), ..self.clone() }
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<&Arc<Segment>> {
        self.segments.last()
    }

    /// All restore points, oldest first.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = Commit> + '_ {
        self.states().filter(|commit| !self.expired.contains(commit.seq))
    }

    /// The restore points behind a number, oldest first.
    pub(crate) fn commits_behind(&self, seq: Seq) -> impl Iterator<Item = Commit> + '_ {
        let first = self.segments.partition_point(|segment| segment.end <= seq);
        let segments = self.segments.get(first..).unwrap_or_default();
        let commits = segments.iter().flat_map(|segment| {
            let commit = |record: &CommitRecord| Commit {
                seq: record.seq,
                record: *record,
                segment: segment.clone(),
            };
            segment.manifest.states().iter().map(commit)
        });
        commits.filter(move |commit| commit.seq > seq && !self.expired.contains(commit.seq))
    }

    /// All commits that the segments still have, restore points or not.
    pub(crate) fn states(&self) -> impl DoubleEndedIterator<Item = Commit> + '_ {
        self.segments.iter().flat_map(|segment| {
            let commit = |record: &CommitRecord| Commit {
                seq: record.seq,
                record: *record,
                segment: segment.clone(),
            };
            segment.manifest.states().iter().map(commit)
        })
    }

    /// The newest commit.
    pub fn latest(&self) -> Option<Commit> {
        self.commits().next_back()
    }

    /// The restore point with that number.
    pub fn commit(&self, seq: Seq) -> Option<Commit> {
        let at = self.segments.partition_point(|s| s.end < seq);
        let segment = self.segments.get(at)?;
        let record = *segment.manifest.commit(seq)?;
        (!self.expired.contains(seq)).then(|| Commit { seq, record, segment: segment.clone() })
    }

    /// Whether all segments of an earlier chain are on this one still.
    pub(crate) fn extends(&self, then: &Self) -> bool {
        let names = |chain: &Self| -> Vec<String> {
            chain.segments.iter().map(|s| s.name().to_owned()).collect()
        };
        names(self).starts_with(&names(then))
    }

    /// The segments that a commit's pages are in: from the nearest base up to the commit's own.
    pub(crate) fn lineage(&self, seq: Seq) -> &[Arc<Segment>] {
        let end = self.segments.partition_point(|s| s.manifest.first <= seq);
        let upto = self.segments.get(..end).unwrap_or_default();
        let base = upto.iter().rposition(|s| s.manifest.kind == SegmentKind::Base).unwrap_or(0);
        upto.get(base..).unwrap_or_default()
    }

    /// The segments of a commit's lineage that have what was written behind an earlier one.
    pub(super) fn written_between(&self, from: Seq, to: Seq) -> &[Arc<Segment>] {
        let first = self.segments.partition_point(|segment| segment.end <= from);
        let end = self.segments.partition_point(|s| s.manifest.first <= to).max(first);
        let between = self.segments.get(first..end).unwrap_or_default();
        // A base lists every page again.
        let base = between.iter().rposition(|s| s.manifest.kind == SegmentKind::Base);
        between.get(base.unwrap_or(0)..).unwrap_or_default()
    }
}

impl Head {
    /// The newest commit of a chain, whatever expired.
    pub(crate) fn of(chain: &Chain) -> Option<Self> {
        // The newest commit is there whatever expired.
        let commit = chain.states().next_back()?;
        Some(Self {
            segment: commit.segment.reference.id,
            segment_digest: commit.segment.reference.digest,
            term: commit.segment.manifest.term,
            first: commit.segment.manifest.first,
            seq: commit.seq,
            page_size: commit.segment.manifest.page_size,
            pages: commit.record.pages,
            digest: commit.record.digest,
        })
    }
}
