//! Finds, in what is stored, the commits that call for a mark: those that a writer published right
//! before it died, or whose answer was lost.
//!
//! It reads the index of the newest segments, and page 1 where that was written. How far it goes
//! back is bounded, and nothing is lost by that but marks of long ago.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handle::History;
use super::marks::Deed;
use crate::codec::batch::Decoder;
use crate::error::Result;
use crate::policy::mark::{Front, Shape};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::reader::{BatchReader, page_of};
use crate::repo::chain::{Chain, Commit, Segment, retry_on_merge};
use crate::types::{Digest, PageNo, Seq};

/// So many segments are looked at, if it is known where to begin.
const MOST: usize = 64;
/// If it is not known: whoever died left one or two behind, and perhaps there is an anchor behind
/// those.
const NEWEST: usize = 4;
/// So many segments before those are looked at for what page 1 was.
const BEFORE: usize = 256;

/// Commits that were not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unseen {
    /// The last commit that was, if that is known.
    pub(crate) after: Option<(Seq, Digest)>,
    /// The newest that was not.
    pub(crate) until: Seq,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The commits that call for a mark.
    pub(crate) deeds: Vec<Deed>,
    /// Commits that call for one, where the state before them was let go meanwhile.
    pub(crate) late: Vec<Seq>,
    /// The newest commit that was looked at, and the database then.
    pub(crate) shape: Option<(Seq, Shape)>,
}

/// Looks at commits that were not looked at.
///
/// # Errors
/// [`crate::ErrorKind::Damaged`] when a page 1 can't be read; [`crate::ErrorKind::Interrupted`];
/// store errors.
pub(crate) fn look(history: &History, unseen: &Unseen, monitor: &dyn Monitor) -> Result<Found> {
    let chain = history.readable_chain()?;
    retry_on_merge(history, &chain, |chain| look_at(history, chain, unseen, monitor))
}

fn look_at(
    history: &History,
    chain: &Chain,
    unseen: &Unseen,
    monitor: &dyn Monitor,
) -> Result<Found> {
    let segments = chain.segments();
    let end = segments.partition_point(|segment| segment.manifest.first <= unseen.until);
    let segments = segments.get(..end).unwrap_or_default();
    // One that a prune dropped tells as well where to begin; another one of its number does not.
    let is_of_it = |(seq, digest): &(Seq, Digest)| {
        chain.commit(*seq).is_none_or(|commit| commit.record.digest == *digest)
    };
    let after = unseen.after.filter(is_of_it).map(|(seq, _)| seq);
    let first = match after {
        Some(after) => segments.partition_point(|s| s.end <= after).max(end.saturating_sub(MOST)),
        None => end.saturating_sub(NEWEST),
    };
    let mut reader = Reader::new(history)?;
    let mut fronts = BTreeMap::new();
    for segment in segments.get(first..).unwrap_or_default() {
        check_cancelled(monitor)?;
        reader.fronts(segment, &mut fronts)?;
    }
    // What page 1 was before.
    for segment in segments.get(..first).unwrap_or_default().iter().rev().take(BEFORE) {
        let newest = segments.get(first).map(|s| s.manifest.first);
        if fronts.keys().next().is_some_and(|seq| newest.is_none_or(|newest| *seq < newest)) {
            break;
        }
        check_cancelled(monitor)?;
        reader.fronts(segment, &mut fronts)?;
    }
    let is_known = after.is_some();
    let from =
        after.or_else(|| segments.get(first).map(|s| Seq(s.manifest.first.0.saturating_sub(1))));
    let mut found = compare(chain, &fronts, from.unwrap_or_default(), unseen.until);
    if !is_known {
        // Whoever was here before may have marked them, and a prune ended that.
        found.late.clear();
    }
    Ok(found)
}

/// Compares each commit behind one with the commit before it.
fn compare(chain: &Chain, fronts: &BTreeMap<Seq, Front>, after: Seq, until: Seq) -> Found {
    let mut found = Found::default();
    let mut before: Option<(Commit, Option<Shape>)> = None;
    let from = fronts.keys().next().copied().unwrap_or(after).min(after);
    for commit in chain.states().filter(|commit| (from..=until).contains(&commit.seq)) {
        let size = commit.segment.manifest.page_size;
        let last = before.as_ref().and_then(|(_, shape)| *shape);
        // Of commits that were let go since the one before, what they wrote is in this one.
        let written = match &before {
            Some((parent, _)) => fronts.range(parent.seq.next()..=commit.seq),
            None => fronts.range(..=commit.seq),
        };
        let shape = match written.last().map(|(_, front)| front) {
            Some(front) => Some(front.shape(commit.record.pages, size)),
            None if commit.record.pages == 0 => Some(Shape::empty(size)),
            None => last.map(|shape| shape.resized(commit.record.pages)),
        };
        if let (Some((parent, Some(then))), Some(now)) = (&before, &shape)
            && commit.seq > after
            && let Some(deed) =
                Deed::of((parent.seq, parent.record.digest), then, &commit.record, now)
        {
            // An earlier state is not the one before it.
            match parent.seq.next() == commit.seq && chain.commit(parent.seq).is_some() {
                true => found.deeds.push(deed),
                false => found.late.push(commit.seq),
            }
        }
        found.shape = shape.map(|shape| (commit.seq, shape));
        before = Some((commit, shape));
    }
    found
}

/// Reads page 1.
struct Reader<'h> {
    history: &'h History,
    decoder: Decoder,
    batches: BatchReader,
}

impl<'h> Reader<'h> {
    fn new(history: &'h History) -> Result<Self> {
        let batches = BatchReader::new(history)?;
        Ok(Self { history, decoder: Decoder::new()?, batches })
    }

    /// What page 1 says in each commit of a segment that wrote it.
    fn fronts(&mut self, segment: &Arc<Segment>, fronts: &mut BTreeMap<Seq, Front>) -> Result<()> {
        let hasher = self.history.hasher();
        for (number, block) in segment.blocks_within(1..=1) {
            let index = segment.near_block(number, block, &mut self.decoder)?;
            let mut entries: Vec<_> =
                index.entries.iter().filter(|e| e.page == PageNo(1)).collect();
            entries.sort_by_key(|entry| entry.batch);
            for of_batch in entries.chunk_by(|a, b| a.batch == b.batch) {
                let batch = of_batch.first().and_then(|e| index.batches.get(usize::from(e.batch)));
                let Some(batch) = batch else { continue };
                let plain = self.batches.plain(segment, batch)?;
                for entry in of_batch {
                    let page = (entry.slot, entry.page, &entry.digest);
                    let page = page_of(&hasher, (segment, batch), plain, page)?;
                    let commit = usize::try_from(entry.commit).unwrap_or(usize::MAX);
                    let commit = segment.manifest.commits.get(commit);
                    fronts.extend(commit.map(|c| c.seq).zip(Front::of(page)));
                }
            }
        }
        Ok(())
    }
}
