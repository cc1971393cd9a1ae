//! Merging: consecutive segments of a chain become one that stands in for them, without the page versions that no staying
//! commit needs. This is how histories stay short, and all that retention does to stored data.
//!
//! ```text
//! index blocks -> window of pages -> which versions live -> copy whole batches, pack the rest -> index -> merged object
//!    (window)                            (kept)                        (emit)
//! ```
//!
//! Invariants:
//! - A merged segment is published like any other: parts first, then the one object, under a name that nobody else
//!   has. Until then the chain is the old one; from then on everybody finds the new one first, and both answer the
//!   same. What it covers stays until [`super::collect`] finds that nobody needs it any more.
//! - Before it is published, what each staying commit sees is compared: the sums of page digests with and without the dropped
//!   versions are equal.
//! - Merging never reads past what it was given: any part of a chain may be merged, in any order, by anyone who holds a term.
//! - The newest segment of the log is never merged: its object is what a late writer's is compared with.

mod emit;
mod kept;
pub(crate) mod loss;
mod measure;
pub(crate) mod plan;
mod sift;
pub(crate) mod transfer;
mod uses;
mod window;

use std::ops::Range;
use std::sync::Arc;

use crate::codec::batch::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SPARSE;
use crate::format::segment::{CommitRecord, Manifest, SegmentKind, SegmentRef};
use crate::progress::Monitor;
use crate::repo::chain::{Chain, Segment, without_pages};
use crate::repo::data::{SegmentData, missing_part};
use crate::repo::history::History;
use crate::repo::term::Claim;
use crate::store::Created;
use crate::types::{SegmentId, Seq};

use emit::Emitter;
use kept::Kept;
pub(crate) use measure::{needed, newest_bytes, pieces};
use sift::Sifter;
pub(crate) use uses::{Use, each_version};
use window::Windows;

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
    pub(crate) threads: usize,
    /// Pack everything anew.
    pub(crate) repack: bool,
}

impl Options {
    /// The usual way to merge.
    pub(crate) fn new(keep: Keep, threads: usize) -> Self {
        Self { keep, compression: Compression::default(), threads, repack: false }
    }
}

/// What a merge came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Merged {
    /// Bytes of sealed batches that were copied as they were.
    pub(crate) copied: u64,
}

/// The parts of a chain that a merge is about.
struct Work<'c> {
    /// What is replaced.
    covered: &'c [Arc<Segment>],
    /// What its pages are in: what is covered, from its last base on.
    sources: &'c [Arc<Segment>],
    /// What is built on them.
    later: &'c [Arc<Segment>],
    /// How the segment behind them names the last of them.
    named: Option<SegmentRef>,
}

impl<'c> Work<'c> {
    fn new(chain: &'c Chain, range: Range<usize>) -> Option<Self> {
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
    fn kept(&self, chain: &Chain, keep: Keep) -> Kept {
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

/// Merges the segments of a range of the chain, and publishes the result in a claimed term.
///
/// # Errors
/// [`ErrorKind::Damaged`] when what is merged can't be read as it was stored; store errors. Nothing is published then.
///
/// # Durability
/// When this returns, the merged segment is durable.
pub(crate) fn merge(
    history: &History,
    chain: &Chain,
    range: Range<usize>,
    claim: &Claim,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Merged> {
    let nothing = || Error::new(ErrorKind::Failure, "there is nothing to merge");
    let work = Work::new(chain, range).ok_or_else(nothing)?;
    let (Some(first), Some(last), Some(base)) =
        (work.covered.first(), work.covered.last(), work.sources.first())
    else {
        return Err(nothing());
    };
    let kept = work.kept(chain, options.keep);
    let page_size = base.manifest.page_size;
    let mut data = SegmentData::new(history)?;
    let stored: u64 = work.sources.iter().map(|s| s.stored_len()).sum();
    // What is small stays so: packing pages together never makes more of them.
    if !data.has_room(usize::try_from(stored).unwrap_or(usize::MAX)) {
        data.move_to_parts()?;
    }
    let mut out = Emitter::new(data, page_size, options, monitor)?;
    let later = if options.keep == Keep::All { &[] } else { work.later };
    let mut windows = Windows::new(work.sources, later)?;
    let mut sifter = Sifter::new(kept);
    while let Some(window) = windows.next()? {
        let survivors = sifter.sift(&window, |_| true)?;
        out.window(&window.sources, &survivors)?;
    }
    out.checked()?;
    let id = out.data.id();
    let carries = sifter.carries();
    let commits = sifter.finish(out.versions, out.data.stored())?;
    let lossy = options.keep != Keep::All
        || work.sources.len() != work.covered.len()
        || work.covered.iter().any(|s| s.sparse);
    let manifest = Manifest {
        history: history.id(),
        term: claim.term,
        token: claim.token,
        kind: base.manifest.kind,
        page_size,
        parent: first.manifest.parent,
        covers: Some(work.named.unwrap_or_else(|| last.as_parent())),
        carries,
        first: first.manifest.first,
        versions: out.versions,
        batches: out.batches,
        inline_len: 0,
        commits,
        parts: Vec::new(),
        origins: out.origins,
        blocks: out.blocks,
    };
    let name = history.names().merged_segment(first.manifest.first, last.end, id);
    let required = if lossy || manifest.is_sparse() { SPARSE } else { 0 };
    let (manifest, bytes, _) = out.data.finish(&name, manifest, required)?;
    out.data.commit()?;
    if history.repository().store().create(&name, &bytes)? == Created::Exists {
        return Err(Error::new(ErrorKind::Failure, "exists already").with_object(name));
    }
    check_parts(history, &name, id, &manifest.parts)?;
    Ok(Merged { copied: out.copied })
}

/// Parts that no segment names go after a while. If that was so long ago that these went, what was just published must not stay:
/// the chain would lead through it.
fn check_parts(history: &History, name: &str, id: SegmentId, parts: &[u64]) -> Result<()> {
    let Some(part) = missing_part(history, id, parts)? else { return Ok(()) };
    history.repository().store().delete(name)?;
    Err(Error::new(ErrorKind::Busy, "was cleaned away before it was published")
        .with_object(part)
        .with_hint("run it again"))
}

/// Puts a segment without page versions in the place of segments that can't be read, none of whose commits is a restore point.
///
/// # Errors
/// Store errors.
pub(crate) fn bury(
    history: &History,
    chain: &Chain,
    range: Range<usize>,
    claim: &Claim,
) -> Result<()> {
    let behind = chain.segments().get(range.end);
    let covered = chain.segments().get(range).unwrap_or_default();
    let (Some(first), Some(last)) = (covered.first(), covered.last()) else { return Ok(()) };
    let named = behind.and_then(|s| s.manifest.parent);
    let points = covered.iter().flat_map(|s| s.manifest.states());
    let Some(record) = last.manifest.commits.last().copied() else { return Ok(()) };
    if points.clone().any(|c| chain.commit(c.seq).is_some()) {
        return Err(inconsistent());
    }
    let mut data = SegmentData::new(history)?;
    let (by, page_size) = ((claim.term, claim.token), last.manifest.page_size);
    let record = CommitRecord { changed: 0, stored: 0, ..record };
    let manifest = Manifest {
        kind: first.manifest.kind,
        parent: first.manifest.parent,
        covers: Some(named.unwrap_or_else(|| last.as_parent())),
        first: first.manifest.first,
        ..without_pages(history, by, page_size, record)
    };
    let name = history.names().merged_segment(first.manifest.first, last.end, data.id());
    let (_, bytes, _) = data.finish(&name, manifest, SPARSE)?;
    history.repository().store().create(&name, &bytes)?;
    Ok(())
}

/// The ranges of a chain's segments that are built on one base each.
fn epochs(chain: &Chain) -> Vec<Range<usize>> {
    let segments = chain.segments();
    let is_base =
        |at: &usize| segments.get(*at).is_some_and(|s| s.manifest.kind == SegmentKind::Base);
    let bases: Vec<usize> = (0..segments.len()).filter(is_base).collect();
    let ends = bases.iter().skip(1).copied().chain([segments.len()]);
    bases.iter().copied().zip(ends).map(|(from, until)| from..until).collect()
}

fn inconsistent() -> Error {
    Error::new(ErrorKind::Failure, "a merge would not have kept every commit as it was").with_hint(
        "nothing was published; this is a defect of pagekeep, or of this machine's memory",
    )
}
