//! A window of pages: the versions that the segments of a merge have of them, and the batches that
//! those are in.
//!
//! Index blocks are read window by window, so that memory is bounded whatever the size of the
//! database: a window ends when its blocks list [`ENTRIES`] versions.

use std::collections::HashMap;
use std::sync::Arc;

use super::liveness::Life;
use crate::codec::batch::Decoder;
use crate::error::Result;
use crate::format::index::BatchRef;
use crate::format::segment::BlockRef;
use crate::repo::chain::Segment;
use crate::types::{Digest, Seq};

/// How many versions a window lists, about.
const ENTRIES: u64 = 1 << 20;

/// A version of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) page: u32,
    pub(super) seq: Seq,
    /// Which of the window's batches.
    pub(super) batch: u32,
    pub(super) slot: u16,
    pub(super) digest: Digest,
}

/// A batch, and the segment that lists it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Which of the segments it is of.
    pub(super) which: usize,
    pub(super) segment: Arc<Segment>,
    pub(super) batch: BatchRef,
}

/// The versions of a window's pages, by page and then by commit.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) versions: Vec<Version>,
    pub(super) sources: Vec<Source>,
    /// For pages that have one: the commit of the first version behind the merge.
    pub(super) later: HashMap<u32, Seq>,
}

/// Walks the pages of a merge window by window.
pub(super) struct Windows<'a> {
    segments: &'a [Arc<Segment>],
    later: &'a [Arc<Segment>],
    /// The last page of each window.
    ends: std::vec::IntoIter<u32>,
    next: u32,
    decoder: Decoder,
}

impl Window {
    /// What became of each version: until when it is the page's content.
    pub(super) fn lives(&self) -> impl Iterator<Item = (&Version, Life)> {
        self.versions.iter().enumerate().map(|(at, version)| {
            let next = self.versions.get(at + 1).filter(|next| next.page == version.page);
            let behind = || self.later.get(&version.page).copied();
            let until = next.map(|next| next.seq).or_else(behind);
            (version, Life { page: version.page, from: version.seq, until })
        })
    }
}

impl<'a> Windows<'a> {
    /// The pages of `segments`; `later` are those behind them that are built on them.
    pub(super) fn new(segments: &'a [Arc<Segment>], later: &'a [Arc<Segment>]) -> Result<Self> {
        let mut blocks: Vec<&BlockRef> = segments.iter().flat_map(|s| &s.manifest.blocks).collect();
        blocks.sort_unstable_by_key(|b| b.last_page);
        let mut ends = Vec::new();
        let mut entries = 0u64;
        for (i, block) in blocks.iter().enumerate() {
            entries += u64::from(block.entries);
            let next = blocks.get(i + 1).map(|b| b.last_page);
            if next.is_none() || (entries >= ENTRIES && next != Some(block.last_page)) {
                ends.push(block.last_page);
                entries = 0;
            }
        }
        Ok(Self { segments, later, ends: ends.into_iter(), next: 1, decoder: Decoder::new()? })
    }

    /// The next window; `None` after the last.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors.
    pub(super) fn next(&mut self) -> Result<Option<Window>> {
        let Some(last) = self.ends.next() else { return Ok(None) };
        let pages = self.next..=last;
        self.next = last.saturating_add(1);
        let mut window = Window::default();
        let mut known = HashMap::new();
        for (which, segment) in self.segments.iter().enumerate() {
            for (number, block) in segment.blocks_within(pages.clone()) {
                let index = segment.block(number, block, &mut self.decoder)?;
                let mut places = vec![None; index.batches.len()];
                for entry in index.entries.iter().filter(|e| pages.contains(&e.page.0)) {
                    let listed = index.batches.get(usize::from(entry.batch));
                    let place = places.get_mut(usize::from(entry.batch));
                    let record = usize::try_from(entry.commit)
                        .ok()
                        .and_then(|i| segment.manifest.commits.get(i));
                    let (Some(batch), Some(place), Some(record)) = (listed, place, record) else {
                        continue;
                    };
                    let sources = &mut window.sources;
                    let place = *place.get_or_insert_with(|| {
                        // A batch that a merge copied may be listed by several blocks.
                        *known.entry((which, batch.origin, batch.number)).or_insert_with(|| {
                            let segment = segment.clone();
                            sources.push(Source { which, segment, batch: *batch });
                            u32::try_from(sources.len() - 1).unwrap_or(u32::MAX)
                        })
                    });
                    window.versions.push(Version {
                        page: entry.page.0,
                        seq: record.seq,
                        batch: place,
                        slot: entry.slot,
                        digest: entry.digest,
                    });
                }
            }
        }
        window.versions.sort_unstable_by_key(|v| (v.page, v.seq));
        self.look_ahead(&pages, &mut window)?;
        Ok(Some(window))
    }

    /// Finds the first version behind the merge of each page of the window.
    fn look_ahead(
        &mut self,
        pages: &std::ops::RangeInclusive<u32>,
        window: &mut Window,
    ) -> Result<()> {
        if self.later.is_empty() {
            return Ok(());
        }
        let known = |page: u32| window.versions.binary_search_by_key(&page, |v| v.page).is_ok();
        for segment in self.later {
            for (number, block) in segment.blocks_within(pages.clone()) {
                let index = segment.block(number, block, &mut self.decoder)?;
                for entry in index.entries.iter().filter(|e| pages.contains(&e.page.0)) {
                    let record = usize::try_from(entry.commit)
                        .ok()
                        .and_then(|i| segment.manifest.commits.get(i));
                    if let Some(record) = record
                        && known(entry.page.0)
                    {
                        window.later.entry(entry.page.0).or_insert(record.seq);
                    }
                }
            }
        }
        Ok(())
    }
}
