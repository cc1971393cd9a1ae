//! Which page versions a commit consists of, and in which batches they are.
//!
//! The lineage of a commit is walked from its base to its own segment; of each page the last
//! version not above the commit wins. This is done for a window of pages at a time, so that memory
//! is bounded whatever the size of the database and the length of the chain: index blocks are read
//! one by one and forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use super::reader::BatchRequest;
use super::{Commit, Segment};
use crate::codec::batch::Decoder;
use crate::error::{Error, Result};
use crate::format::index::BatchRef;
use crate::types::{Digest, PageNo};

/// Pages of a window.
const WINDOW: u32 = 128 * 1024;

/// The newest version of a page so far.
#[derive(Clone, Copy)]
struct Version {
    /// Index into the window's batches.
    batch: u32,
    slot: u16,
    digest: Digest,
}

/// Walks a commit's pages, window by window.
pub(crate) struct PageMap<'a> {
    commit: &'a Commit,
    lineage: &'a [Arc<Segment>],
    decoder: Decoder,
    next: u32,
}

impl<'a> PageMap<'a> {
    /// The pages of `commit`, whose lineage this is.
    pub(crate) fn new(commit: &'a Commit, lineage: &'a [Arc<Segment>]) -> Result<Self> {
        Ok(Self { commit, lineage, decoder: Decoder::new()?, next: 1 })
    }

    /// The batches for the next window of pages, in the order of their first wanted page; `None`
    /// after the last.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened or a page has no
    /// version.
    pub(crate) fn next_window(&mut self) -> Result<Option<Vec<BatchRequest>>> {
        match self.window()? {
            Some(Err(page)) => Err(Error::damaged(
                self.commit.segment.name(),
                format!("commit {} has no version of page {page}", self.commit.seq),
            )),
            Some(Ok(wanted)) => Ok(Some(wanted)),
            None => Ok(None),
        }
    }

    /// The next window, or the first of its pages that has no version.
    fn window(&mut self) -> Result<Option<Result<Vec<BatchRequest>, PageNo>>> {
        let pages = self.commit.record.pages;
        if self.next > pages {
            return Ok(None);
        }
        let first = self.next;
        let last = pages.min(first.saturating_add(WINDOW - 1));
        self.next = last.saturating_add(1);
        let mut window = Window::new(first, last);
        for segment in self.lineage {
            self.read_segment(segment, &mut window)?;
        }
        Ok(Some(window.into_wanted(self.commit)))
    }

    fn read_segment(&mut self, segment: &Arc<Segment>, window: &mut Window) -> Result<()> {
        // Commits of the segment above the one that is asked for do not count.
        let upto = segment.manifest.commits.partition_point(|c| c.seq <= self.commit.seq);
        for (number, block) in segment.blocks_within(window.first..=window.last) {
            let index = segment.block(number, block, &mut self.decoder)?;
            let mut batches = vec![None; index.batches.len()];
            for entry in &index.entries {
                if usize::try_from(entry.commit).is_ok_and(|c| c >= upto) {
                    continue;
                }
                let Some(place) = window.place(entry.page) else { continue };
                let known = batches.get_mut(usize::from(entry.batch));
                let listed = index.batches.get(usize::from(entry.batch));
                let (Some(known), Some(listed)) = (known, listed) else { continue };
                let batch = *known.get_or_insert_with(|| window.batches.add(segment, listed));
                if let Some(version) = window.versions.get_mut(place) {
                    *version = Some(Version { batch, slot: entry.slot, digest: entry.digest });
                }
            }
        }
        Ok(())
    }
}

/// Whether the segments of a lineage have a version of each of a commit's pages, and those add up
/// to its digest, as the indexes tell.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors.
pub(crate) fn adds_up(commit: &Commit, lineage: &[Arc<Segment>]) -> Result<bool> {
    let mut map = PageMap::new(commit, lineage)?;
    let mut sum = Digest::default();
    while let Some(window) = map.window()? {
        let Ok(wanted) = window else { return Ok(false) };
        for (_, _, digest) in wanted.iter().flat_map(|w| &w.pages) {
            sum.toggle(digest);
        }
    }
    Ok(sum == commit.record.digest)
}

struct Window {
    first: u32,
    last: u32,
    versions: Vec<Option<Version>>,
    batches: Batches,
}

/// The batches that the window's versions are in.
#[derive(Default)]
struct Batches(Vec<(Arc<Segment>, BatchRef)>);

impl Batches {
    fn add(&mut self, segment: &Arc<Segment>, batch: &BatchRef) -> u32 {
        let index = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push((segment.clone(), *batch));
        index
    }
}

impl Window {
    fn new(first: u32, last: u32) -> Self {
        let len = usize::try_from(last - first).unwrap_or(0) + 1;
        Self { first, last, versions: vec![None; len], batches: Batches::default() }
    }

    fn place(&self, page: PageNo) -> Option<usize> {
        if page.0 > self.last {
            return None;
        }
        usize::try_from(page.0.checked_sub(self.first)?).ok()
    }

    fn into_wanted(self, commit: &Commit) -> Result<Vec<BatchRequest>, PageNo> {
        let lock_page = commit.segment.manifest.page_size.lock_page();
        let mut order: HashMap<u32, usize> = HashMap::new();
        let mut wanted: Vec<BatchRequest> = Vec::new();
        for (page, version) in (self.first..).map(PageNo).zip(&self.versions) {
            let Some(version) = version else {
                if page == lock_page {
                    continue;
                }
                return Err(page);
            };
            let batches = &self.batches.0;
            let place = *order.entry(version.batch).or_insert_with(|| {
                let listed = usize::try_from(version.batch).ok().and_then(|i| batches.get(i));
                if let Some((segment, batch)) = listed {
                    wanted.push(BatchRequest {
                        segment: segment.clone(),
                        batch: *batch,
                        pages: Vec::new(),
                    });
                }
                wanted.len().saturating_sub(1)
            });
            if let Some(entry) = wanted.get_mut(place) {
                entry.pages.push((version.slot, page, version.digest));
            }
        }
        Ok(wanted)
    }
}
