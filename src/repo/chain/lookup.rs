//! From page numbers to the versions that a commit consists of, for whoever wants few pages.
//!
//! [`crate::repo::chain::page_map`] answers for all pages of a commit, from the base upwards, and
//! forgets each index block at once. A lookup goes the other way: from the commit's segment
//! downwards, into those blocks alone that may list a wanted page, until each page has its newest
//! version. It keeps the blocks that were used last, within a bound of bytes.
//!
//! Both give the same versions: tests of `ops::view` compare them.

use std::sync::{Arc, Mutex, PoisonError};

use super::recent::Recent;
use super::segment::Segment;
use super::view::{Chain, Commit};
use crate::codec::batch::Decoder;
use crate::error::{Error, Result};
use crate::format::index::{BatchRef, IndexBlock, IndexEntry};
use crate::format::segment::BlockRef;
use crate::types::{Digest, PageNo, SegmentId};

/// Where the content of a page is, as of a commit.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// The segment that lists it.
    pub(crate) segment: Arc<Segment>,
    /// The batch that it is in.
    pub(crate) batch: BatchRef,
    /// Which page of the batch.
    pub(crate) slot: u16,
    /// Its digest.
    pub(crate) digest: Digest,
}

/// Finds page versions of one commit.
pub(crate) struct Lookup {
    commit: Commit,
    chain: Arc<Chain>,
    blocks: Arc<Blocks>,
}

/// The index blocks of a history that were used last, by whatever commit.
pub(crate) struct Blocks(Mutex<Used>);

struct Used {
    recent: Recent<(SegmentId, usize), IndexBlock>,
    decoder: Decoder,
}

impl Blocks {
    /// Room for index blocks of so many bytes, or for the largest one of them.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Failure`] when zstd gets no memory.
    pub(crate) fn within(bound: usize) -> Result<Arc<Self>> {
        let used = Used { recent: Recent::within(bound), decoder: Decoder::new()? };
        Ok(Arc::new(Self(Mutex::new(used))))
    }
}

impl Lookup {
    /// The pages of a commit of a chain. Index blocks are kept in `blocks`.
    pub(crate) fn new(chain: &Arc<Chain>, commit: &Commit, blocks: Arc<Blocks>) -> Self {
        Self { commit: commit.clone(), chain: chain.clone(), blocks }
    }

    /// The commit.
    pub(crate) fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The version of each of these pages, which ascend; `None` for the page of the lock byte,
    /// which has none.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`], naming the object, when an index block can't be opened
    /// or a page has no version; store errors.
    pub(crate) fn find(&self, pages: &[PageNo]) -> Result<Vec<Option<Version>>> {
        let lock_page = self.commit.segment.manifest.page_size.lock_page();
        let mut found = vec![None; pages.len()];
        // Where in `found` the pages are that have no version yet.
        let mut open: Vec<usize> =
            pages.iter().enumerate().filter(|(_, p)| **p != lock_page).map(|(at, _)| at).collect();
        for segment in self.chain.lineage(self.commit.seq).iter().rev() {
            if open.is_empty() {
                return Ok(found);
            }
            self.find_within(segment, pages, &mut found, &open)?;
            open.retain(|at| found.get(*at).is_some_and(Option::is_none));
        }
        match open.first().and_then(|at| pages.get(*at)) {
            None => Ok(found),
            Some(page) => Err(Error::damaged(
                self.commit.segment.name(),
                format!("commit {} has no version of page {page}", self.commit.seq),
            )),
        }
    }

    /// Looks into one segment for those pages that are open.
    fn find_within(
        &self,
        segment: &Arc<Segment>,
        pages: &[PageNo],
        found: &mut [Option<Version>],
        open: &[usize],
    ) -> Result<()> {
        let wanted = |at: &usize| pages.get(*at).copied();
        let (Some(first), Some(last)) =
            (open.first().and_then(wanted), open.last().and_then(wanted))
        else {
            return Ok(());
        };
        // Commits of the segment above the one that is asked for do not count.
        let upto = segment.manifest.commits.partition_point(|c| c.seq <= self.commit.seq);
        for (number, block) in segment.blocks_within(first.0..=last.0) {
            let within = |page: PageNo| (block.first_page..=block.last_page).contains(&page.0);
            let mut index = None;
            for at in open {
                let Some(page) = wanted(at).filter(|page| within(*page)) else { continue };
                // Read only if a page that is asked for may be in it.
                let index = match &index {
                    Some(index) => index,
                    None => index.insert(self.block(segment, number, block)?),
                };
                // Of a page that goes on in the next block the later one wins.
                if let (Some(place), Some((batch, entry))) =
                    (found.get_mut(*at), newest(index, page, upto))
                {
                    let (slot, digest) = (entry.slot, entry.digest);
                    *place = Some(Version { segment: segment.clone(), batch, slot, digest });
                }
            }
        }
        Ok(())
    }

    fn block(&self, segment: &Segment, number: usize, block: &BlockRef) -> Result<Arc<IndexBlock>> {
        let mut used = self.blocks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { recent, decoder } = &mut *used;
        let key = (segment.reference.id, number);
        if let Some(index) = recent.get(&key) {
            return Ok(index);
        }
        let index = Arc::new(segment.near_block(number, block, decoder)?);
        let bytes = size_of_val(&*index.entries) + size_of_val(&*index.batches);
        recent.put(key, index.clone(), bytes);
        Ok(index)
    }
}

/// The last version of a page in a block, of those that the first `upto` commits wrote.
pub(super) fn newest(
    index: &IndexBlock,
    page: PageNo,
    upto: usize,
) -> Option<(BatchRef, &IndexEntry)> {
    let end = index.entries.partition_point(|e| {
        e.page < page || (e.page == page && usize::try_from(e.commit).is_ok_and(|c| c < upto))
    });
    let entry = index.entries.get(end.checked_sub(1)?).filter(|e| e.page == page)?;
    Some((*index.batches.get(usize::from(entry.batch))?, entry))
}
