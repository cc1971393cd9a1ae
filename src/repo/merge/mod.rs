//! Merging: consecutive segments of a chain become one that stands in for them, without the page
//! versions that no staying commit needs. This is how histories stay short, and all that retention
//! does to stored data.
//!
//! ```text
//! index blocks -> window of pages -> which versions live -> copy whole batches, pack the rest -> index -> merged object
//!    (window)                            (kept)                        (emit)
//! ```
//!
//! Invariants:
//! - A merged segment is published like any other: parts first, then the one object, under a name
//!   that nobody else has. Until then the chain is the old one; from then on everybody finds the
//!   new one first, and both answer the same. What it covers stays until [`super::merge::gc`] finds
//!   that nobody needs it any more.
//! - Before it is published, what each staying commit sees is compared: the sums of page digests
//!   with and without the dropped versions are equal.
//! - Merging never reads past what it was given: any part of a chain may be merged, in any order,
//!   by anyone who holds a term.
//! - The newest segment of the log is never merged: its object is what a late writer's is compared
//!   with.

pub(crate) mod compaction;
mod emit;
mod filter;
pub(crate) mod gc;
mod liveness;
pub(crate) mod loss;
mod measure;
pub(crate) mod plan;
pub(crate) mod transfer;
mod uses;
mod window;
mod work;

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SPARSE;
use crate::format::segment::{CommitRecord, Manifest};
use crate::progress::Monitor;
use crate::repo::chain::{Chain, without_pages};
use crate::repo::history::handle::History;
use crate::repo::write::segment_data::{SegmentData, missing_part};
use crate::repo::write::term::Claim;
use crate::store::Created;
use crate::types::SegmentId;

use emit::Emitter;
use filter::Filter;
pub(crate) use measure::{needed, newest_bytes, pieces};
pub(crate) use uses::{Use, each_version};
use window::Windows;
pub(crate) use work::{Keep, Options};
use work::{Work, inconsistent};

/// What a merge came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Merged {
    /// Bytes of sealed batches that were copied as they were.
    pub(crate) copied: u64,
}

/// Merges the segments of a range of the chain, and publishes the result in a claimed term.
///
/// # Errors
/// [`ErrorKind::Damaged`] when what is merged can't be read as it was stored; store errors. Nothing
/// is published then.
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
    let mut filter = Filter::new(kept);
    while let Some(window) = windows.next()? {
        let survivors = filter.keep(&window, |_| true)?;
        out.window(&window.sources, &survivors)?;
    }
    out.checked()?;
    let id = out.data.id();
    let carries = filter.carries();
    let commits = filter.finish(out.versions, out.data.stored())?;
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

/// Parts that no segment names go after a while. If that was so long ago that these went, what was
/// just published must not stay: the chain would lead through it.
fn check_parts(history: &History, name: &str, id: SegmentId, parts: &[u64]) -> Result<()> {
    let Some(part) = missing_part(history, id, parts)? else { return Ok(()) };
    history.repository().store().delete(name)?;
    Err(Error::new(ErrorKind::Busy, "was cleaned away before it was published")
        .with_object(part)
        .with_hint("run it again"))
}

/// Puts a segment without page versions in the place of segments that can't be read, none of whose
/// commits is a restore point.
///
/// # Errors
/// Store errors.
pub(crate) fn tombstone(
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
