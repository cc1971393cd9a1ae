//! Copying commits from one repository to another: a stretch of restore points becomes a segment of
//! the other one's log, packed and sealed anew under its keys.
//!
//! Page digests are keyed by the history, which both have in common; so what arrives is compared
//! page by page with what the original captured, and the commits have the same digests and numbers.
//!
//! Invariants: a stretch begins behind the other one's head and ends with a restore point. Page
//! versions only ever move to later commits, by merges; so whatever became of the original's
//! segments since the last copy, the versions behind the head are all that differs.

use std::sync::Arc;

use super::emit::Emitter;
use super::filter::Filter;
use super::liveness::Kept;
use super::window::Windows;
use super::work::{Options, inconsistent};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SPARSE;
use crate::format::names::LogName;
use crate::format::segment::{CommitRecord, Manifest, SegmentKind};
use crate::progress::Monitor;
use crate::remedy::{Remedy, advice};
use crate::repo::chain::{Chain, Segment};
use crate::repo::local::state::Head;
use crate::repo::write::segment_data::SegmentData;
use crate::repo::write::writer::Writer;
use crate::types::Seq;

/// Page versions of a stretch, about; few in tests, so that they have several.
const STRETCH: u64 = if cfg!(test) { 40 } else { 64 * 1024 };

/// The restore points that are to be copied next: behind `after` up to and with `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) after: Option<Seq>,
    pub(crate) until: Seq,
    /// Whether it begins with a base, because the pages before are of no use to it.
    pub(crate) base: bool,
    /// Bytes of page versions that are looked at, at most.
    pub(crate) bytes: u64,
}

/// The next stretch behind a commit, of commits up to `last`; `None` when there is nothing more. It
/// ends when it is large enough, and with the last commit before another base.
pub(crate) fn next_stretch(chain: &Chain, after: Option<Seq>, last: Seq) -> Option<Stretch> {
    let behind = |seq: Seq| after.is_none_or(|after| seq > after);
    let first = chain.commits().find(|commit| behind(commit.seq)).filter(|c| c.seq <= last)?;
    let lineage = chain.lineage(first.seq);
    // The base that it is built on: is it behind the head itself?
    let base = lineage.first().is_none_or(|s| behind(s.manifest.first));
    let mut stretch = Stretch { after, until: first.seq, base, bytes: 0 };
    let mut versions = 0u64;
    for segment in lineage.iter().chain(epoch_behind(chain, first.seq)) {
        for record in segment.manifest.commits.iter().filter(|c| behind(c.seq)) {
            let enough = versions >= STRETCH && stretch.until >= first.seq;
            if record.seq > last || (enough && record.seq > stretch.until) {
                return Some(stretch);
            }
            versions = versions.saturating_add(record.changed.into());
            stretch.bytes =
                stretch.bytes.saturating_add(segment.manifest.page_size.file_len(record.changed));
            if record.seq >= first.seq && chain.commit(record.seq).is_some() {
                stretch.until = record.seq;
            }
        }
    }
    Some(stretch)
}

/// The segments behind a commit's own, up to the next base.
fn epoch_behind(chain: &Chain, seq: Seq) -> &[Arc<Segment>] {
    let from = chain.segments().partition_point(|s| s.manifest.first <= seq);
    let rest = chain.segments().get(from..).unwrap_or_default();
    let base = rest.iter().position(|s| s.manifest.kind == SegmentKind::Base);
    rest.get(..base.unwrap_or(rest.len())).unwrap_or_default()
}

/// Copies a stretch, and publishes it as the next segment of the other history.
///
/// # Errors
/// [`ErrorKind::Damaged`] when the original can't be read as it was stored;
/// [`ErrorKind::Superseded`] when another writer took the copy over; store errors of both.
///
/// # Durability
/// When this returns, the stretch is durable in the other repository.
pub(crate) fn transfer(
    chain: &Chain,
    stretch: Stretch,
    writer: &mut Writer,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<()> {
    let inside = |seq: Seq| seq <= stretch.until && stretch.after.is_none_or(|after| seq > after);
    let sources: Vec<Arc<Segment>> = chain
        .lineage(stretch.until)
        .iter()
        .filter(|s| stretch.after.is_none_or(|after| s.end > after))
        .cloned()
        .collect();
    let Some(base) = sources.first() else { return Err(inconsistent()) };
    let page_size = base.manifest.page_size;
    let head = writer.head().cloned();
    if !stretch.base && head.as_ref().is_none_or(|head| head.page_size != page_size) {
        return Err(inconsistent());
    }
    let mut records: Vec<(CommitRecord, bool)> = Vec::new();
    for record in sources.iter().flat_map(|s| &s.manifest.commits).filter(|c| inside(c.seq)) {
        records.push((*record, chain.commit(record.seq).is_some()));
    }
    let mut filter = Filter::new(Kept::new(&records, &[]));
    let mut data = SegmentData::new(writer.history())?;
    if stretch.bytes > 512 * 1024 {
        data.move_to_parts()?;
    }
    let mut out = Emitter::new(data, page_size, options, monitor)?;
    let mut windows = Windows::new(&sources, &[])?;
    while let Some(window) = windows.next()? {
        let survivors = filter.keep(&window, |version| inside(version.seq))?;
        out.window(&window.sources, &survivors)?;
    }
    out.checked()?;
    let commits = filter.finish(out.versions, out.data.stored())?;
    let Some(last) = commits.last().copied().filter(|c| c.seq == stretch.until) else {
        return Err(inconsistent());
    };
    let first = head.as_ref().map(|head| head.seq.next());
    let first = first.or_else(|| commits.first().map(|c| c.seq)).unwrap_or(last.seq);
    let manifest = Manifest {
        history: writer.history().id(),
        term: writer.term(),
        token: writer.token(),
        kind: if stretch.base { SegmentKind::Base } else { SegmentKind::Delta },
        page_size,
        parent: head.as_ref().map(Head::reference),
        covers: None,
        carries: false,
        first,
        versions: out.versions,
        batches: out.batches,
        inline_len: 0,
        commits,
        parts: Vec::new(),
        origins: out.origins,
        blocks: out.blocks,
    };
    let name = writer.history().names().segment(LogName { term: writer.term(), first });
    let required = if manifest.is_sparse() { SPARSE } else { 0 };
    let (_, bytes, digest) = out.data.finish(&name, manifest, required)?;
    let head = Head {
        segment: out.data.id(),
        segment_digest: digest,
        term: writer.term(),
        first,
        seq: last.seq,
        page_size,
        pages: last.pages,
        digest: last.digest,
    };
    out.data.commit()?;
    writer.publish(&head, &bytes)?;
    writer.remember(Some(head), None, "")
}

/// Makes sure that a copy is one of this history, as far as both go.
///
/// # Errors
/// [`ErrorKind::Refused`] when it has a commit that the original has not, or another one of its
/// number.
pub(crate) fn check_common(chain: &Chain, head: &Head, copy: &str) -> Result<()> {
    let newest = chain.states().next_back().map_or(Seq(0), |commit| commit.seq);
    let there = chain.states().find(|commit| commit.seq == head.seq);
    let same = there.is_none_or(|commit| commit.record.digest == head.digest);
    if same && newest >= head.seq {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "has commit {}, which the original has not: it is no copy of it any more",
            head.seq
        ),
    )
    .with_object(copy)
    .with_hint(advice![
        "if the original was set back, or is still being filled from this copy, bring back what it lacks by copying the other way; if each has commits that the other lacks, keep this one, which stays readable, and copy to another repository, made with ",
        Remedy::CreateRepository,
        ": a mirror gets another location in the configuration for that",
    ]))
}
