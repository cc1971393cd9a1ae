//! What a merge is about: which segments it replaces, and which commits stay.

use std::ops::Range;
use std::sync::Arc;

use super::liveness::Kept;
use crate::codec::batch::Compression;
use crate::error::{Error, ErrorKind};
use crate::format::segment::{CommitRecord, SegmentKind, SegmentRef};
use crate::repo::chain::{Chain, Segment};
use crate::types::Seq;

/// Which commits a merge keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All that the segments have, restore points or not.
    All,
    /// Restore points.
    Points,
}

/// How to merge.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) keep: Keep,
    /// How hard to compress what is packed anew.
    pub(crate) compression: Compression,
    /// Pack everything anew.
    pub(crate) repack: bool,
}

impl Options {
    /// The usual way to merge.
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, compression: Compression::default(), repack: false }
    }
}

/// The parts of a chain that a merge is about.
pub(super) struct Work<'c> {
    /// What is replaced.
    pub(super) covered: &'c [Arc<Segment>],
    /// What its pages are in: what is covered, from its last base on.
    pub(super) sources: &'c [Arc<Segment>],
    /// What is built on them.
    pub(super) later: &'c [Arc<Segment>],
    /// How the segment behind them names the last of them.
    pub(super) named: Option<SegmentRef>,
}

impl<'c> Work<'c> {
    pub(super) fn new(chain: &'c Chain, range: Range<usize>) -> Option<Self> {
        let segments = chain.segments();
        let is_base = |s: &Arc<Segment>| s.manifest.kind == SegmentKind::Base;
        let covered = segments.get(range.clone())?;
        let from = covered.iter().rposition(is_base).unwrap_or(0);
        let sources = covered.get(from..).filter(|s| !s.is_empty())?;
        let behind = segments.get(range.end..)?;
        let later = behind.iter().position(is_base).unwrap_or(behind.len());
        let named = behind.first().and_then(|s| s.manifest.parent);
        Some(Self { covered, sources, later: behind.get(..later)?, named })
    }

    /// Which commits stay.
    pub(super) fn kept(&self, chain: &Chain, keep: Keep) -> Kept {
        let stays = |seq: Seq| keep == Keep::All || !chain.expired().contains(seq);
        let mut records: Vec<(CommitRecord, bool)> = Vec::new();
        for segment in self.sources {
            let states = segment.manifest.states().len();
            let commits = segment.manifest.commits.iter().enumerate();
            records.extend(commits.map(|(i, c)| (*c, i < states && stays(c.seq))));
        }
        let later: Vec<(Seq, u32)> = match keep {
            Keep::Points => self
                .later
                .iter()
                .flat_map(|s| s.manifest.states())
                .filter(|c| stays(c.seq))
                .map(|c| (c.seq, c.pages))
                .collect(),
            // Whatever the state at the end has may be needed by what is built on it.
            Keep::All => {
                records.last().map(|(c, _)| (Seq(u64::MAX), c.pages)).into_iter().collect()
            }
        };
        Kept::new(&records, &later)
    }
}

/// The ranges of a chain's segments that are built on one base each.
pub(super) fn epochs(chain: &Chain) -> Vec<Range<usize>> {
    let segments = chain.segments();
    let is_base =
        |at: &usize| segments.get(*at).is_some_and(|s| s.manifest.kind == SegmentKind::Base);
    let bases: Vec<usize> = (0..segments.len()).filter(is_base).collect();
    let ends = bases.iter().skip(1).copied().chain([segments.len()]);
    bases.iter().copied().zip(ends).map(|(from, until)| from..until).collect()
}

pub(super) fn inconsistent() -> Error {
    Error::new(ErrorKind::Failure, "a merge would not have kept every commit as it was").with_hint(
        "nothing was published; this is a defect of pagekeep, or of this machine's memory",
    )
}
