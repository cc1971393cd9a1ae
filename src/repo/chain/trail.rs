//! Versions of few pages at one commit after the other, each older than the one before: for whoever
//! follows something back through a history.
//!
//! [`super::lookup`] finds the pages of one commit, and begins anew for another one. A trail goes
//! on from where it is: of each page it knows which commit wrote the version that it found, and
//! that version counts for all commits down to that one. So each page walks through the segments
//! once, however many commits are asked.
//!
//! Invariants:
//! - A version is the newest one that is not above the commit, in the lineage of the commit. Tests
//!   of `ops::trace` compare it with [`super::lookup`]'s.
//! - No page leaves here whose digest is not the one that its index gave.
//! - Memory is bounded: by what was used last of blocks and batches, and by what is forgotten at
//!   once of everything else.

use std::collections::HashMap;
use std::sync::Arc;

use super::lookup::newest;
use super::reader::{BatchReader, page_of};
use super::recent::Recent;
use super::{Chain, Commit, Segment};
use crate::codec::batch::Decoder;
use crate::codec::digest::PageHasher;
use crate::error::{Error, Result};
use crate::format::index::{BatchRef, IndexBlock};
use crate::format::segment::{BlockRef, Location, SegmentKind};
use crate::repo::history::handle::History;
use crate::types::{Digest, PageNo, SegmentId, Seq};

/// Bytes of index blocks that are kept.
const BLOCKS: usize = 4 * 1024 * 1024;
/// Bytes of decoded batches that are kept.
const BATCHES: usize = 8 * 1024 * 1024;
/// Bytes of lists of pages that are kept: with those a block need not be opened again to learn that
/// it does not list a page.
const LISTS: usize = 16 * 1024 * 1024;
/// Bytes of pages that are kept, before all are forgotten; with one row more, those that it is on.
const CONTENTS: usize = 16 * 1024 * 1024;
/// Of how many pages it is known where they are, before all is forgotten.
const KNOWN: usize = 65_536;

/// The version of a page.
#[derive(Clone, Debug)]
struct Known {
    /// The commit that wrote it.
    written: Seq,
    /// Where its segment is in the chain.
    place: usize,
    batch: BatchRef,
    slot: u16,
    digest: Digest,
    content: Option<Arc<[u8]>>,
}

/// Pages of a commit, and then of older ones.
pub(crate) struct Trail {
    chain: Arc<Chain>,
    commit: Commit,
    /// The lineage of the commit, as places in the chain: from its base on, and before this.
    base: usize,
    end: usize,
    known: HashMap<PageNo, Known>,
    /// Bytes of the contents of pages that are kept.
    kept: usize,
    /// The pages that a block lists, by the place of its segment and its number.
    lists: HashMap<(usize, usize), Box<[PageNo]>>,
    listed: usize,
    blocks: Recent<(usize, usize), IndexBlock>,
    batches: Recent<(SegmentId, Location), [u8]>,
    decoder: Decoder,
    reader: BatchReader,
    hasher: PageHasher,
}

impl Trail {
    /// The pages of a commit of a chain.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Failure`] when zstd gets no memory.
    pub(crate) fn new(history: &History, chain: Arc<Chain>, commit: &Commit) -> Result<Self> {
        let mut trail = Self {
            chain,
            commit: commit.clone(),
            base: usize::MAX,
            end: 0,
            known: HashMap::new(),
            kept: 0,
            lists: HashMap::new(),
            listed: 0,
            blocks: Recent::within(BLOCKS),
            batches: Recent::within(BATCHES),
            decoder: Decoder::new()?,
            reader: BatchReader::new(history)?,
            hasher: history.hasher(),
        };
        trail.go_back(commit);
        Ok(trail)
    }

    pub(crate) fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    pub(crate) fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Goes to a commit of the chain that is not newer.
    pub(crate) fn go_back(&mut self, commit: &Commit) {
        let segments = self.chain.segments();
        self.end = segments.partition_point(|s| s.manifest.first <= commit.seq);
        if self.base >= self.end {
            let upto = segments.get(..self.end).unwrap_or_default();
            let is_base = |s: &Arc<Segment>| s.manifest.kind == SegmentKind::Base;
            self.base = upto.iter().rposition(is_base).unwrap_or(0);
        }
        if self.known.len() > KNOWN {
            self.known.clear();
        }
        if self.kept > CONTENTS {
            self.known.values_mut().for_each(|known| known.content = None);
            self.kept = 0;
        }
        self.commit = commit.clone();
    }

    /// Which commit wrote the version of each of these pages, and its digest; `None` for one that
    /// has no version, as the page of the lock byte.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`], naming the object, when an index block can't be
    /// opened; store errors.
    pub(crate) fn find(&mut self, pages: &[PageNo]) -> Result<Vec<Option<(Seq, Digest)>>> {
        self.learn(pages)?;
        let found = |page: &PageNo| self.valid(*page).map(|known| (known.written, known.digest));
        Ok(pages.iter().map(found).collect())
    }

    /// The content of a page; `None` for the page of the lock byte, which has none.
    ///
    /// # Errors
    /// As [`Trail::find`], and when a page has no version, or is not as it was stored.
    pub(crate) fn content(&mut self, page: PageNo) -> Result<Option<Arc<[u8]>>> {
        if page == self.commit.segment.manifest.page_size.lock_page() {
            return Ok(None);
        }
        self.learn(&[page])?;
        let Some(known) = self.valid(page).cloned() else {
            let what = format!("commit {} has no version of page {page}", self.commit.seq);
            return Err(Error::damaged(self.commit.segment.name(), what));
        };
        if known.content.is_some() {
            return Ok(known.content);
        }
        let content = self.read(page, &known)?;
        if let Some(known) = self.known.get_mut(&page) {
            known.content = Some(content.clone());
            self.kept = self.kept.saturating_add(content.len());
        }
        Ok(Some(content))
    }

    fn read(&mut self, page: PageNo, known: &Known) -> Result<Arc<[u8]>> {
        let segment = self.segment(known.place)?;
        let key = (segment.reference.id, known.batch.at);
        let plain = match self.batches.get(&key) {
            Some(plain) => plain,
            None => {
                let plain: Arc<[u8]> = self.reader.plain(&segment, &known.batch)?.into();
                self.batches.put(key, plain.clone(), plain.len());
                plain
            }
        };
        let wanted = (known.slot, page, &known.digest);
        page_of(&self.hasher, (&segment, &known.batch), &plain, wanted).map(Arc::from)
    }

    fn segment(&self, place: usize) -> Result<Arc<Segment>> {
        let missing = || Error::damaged(self.commit.segment.name(), "is on another chain");
        self.chain.segments().get(place).cloned().ok_or_else(missing)
    }

    /// What is known of a page, if it is of the commit.
    fn valid(&self, page: PageNo) -> Option<&Known> {
        let counts = |known: &&Known| known.written <= self.commit.seq && known.place >= self.base;
        self.known.get(&page).filter(counts)
    }

    /// Finds the versions of those pages that are not known yet, in one walk.
    fn learn(&mut self, pages: &[PageNo]) -> Result<()> {
        // Each page, and the segment below which its version is.
        let mut open: Vec<(PageNo, usize)> = Vec::new();
        for page in pages {
            if self.valid(*page).is_none() && !open.iter().any(|(other, _)| other == page) {
                let newer = self.known.get(page).map_or(usize::MAX, |k| k.place.saturating_add(1));
                open.push((*page, newer.min(self.end)));
            }
        }
        let mut place = open.iter().map(|(_, below)| *below).max().unwrap_or(0);
        while place > self.base && !open.is_empty() {
            place -= 1;
            let segment = self.segment(place)?;
            let mut left = Vec::with_capacity(open.len());
            for (page, below) in open {
                let found = match below > place {
                    true => self.find_within(&segment, place, page)?,
                    false => None,
                };
                match found {
                    Some(found) => self.keep(page, found),
                    None => left.push((page, below)),
                }
            }
            open = left;
        }
        for (page, _) in open {
            self.known.remove(&page);
        }
        Ok(())
    }

    fn keep(&mut self, page: PageNo, mut found: Known) {
        // The same content once more, as the first commit of a base has it.
        let before = self.known.get(&page).filter(|before| before.digest == found.digest);
        found.content = before.and_then(|before| before.content.clone());
        self.known.insert(page, found);
    }

    /// The newest version of a page in a segment that is not above the commit.
    fn find_within(
        &mut self,
        segment: &Arc<Segment>,
        place: usize,
        page: PageNo,
    ) -> Result<Option<Known>> {
        let commits = &segment.manifest.commits;
        let upto = commits.partition_point(|c| c.seq <= self.commit.seq);
        let blocks: Vec<(usize, &BlockRef)> = segment.blocks_within(page.0..=page.0).collect();
        // A page may go on in the next block, and then that one has its newer versions.
        for (number, block) in blocks.into_iter().rev() {
            let lists_it = |list: &[PageNo]| list.binary_search(&page).is_ok();
            if self.lists.get(&(place, number)).is_some_and(|list| !lists_it(list)) {
                continue;
            }
            let index = self.block(segment, (place, number), block)?;
            let Some((batch, entry)) = newest(&index, page, upto) else { continue };
            let at = usize::try_from(entry.commit).ok();
            let Some(commit) = at.and_then(|at| commits.get(at)) else { continue };
            return Ok(Some(Known {
                written: commit.seq,
                place,
                batch,
                slot: entry.slot,
                digest: entry.digest,
                content: None,
            }));
        }
        Ok(None)
    }

    fn block(
        &mut self,
        segment: &Segment,
        key: (usize, usize),
        block: &BlockRef,
    ) -> Result<Arc<IndexBlock>> {
        if let Some(index) = self.blocks.get(&key) {
            return Ok(index);
        }
        let index = Arc::new(segment.near_block(key.1, block, &mut self.decoder)?);
        let bytes = size_of_val(&*index.entries) + size_of_val(&*index.batches);
        self.blocks.put(key, index.clone(), bytes);
        if self.listed < LISTS && !self.lists.contains_key(&key) {
            let mut list: Vec<PageNo> = index.entries.iter().map(|entry| entry.page).collect();
            list.dedup();
            self.listed = self.listed.saturating_add(size_of_val(&*list) + LIST);
            self.lists.insert(key, list.into());
        }
        Ok(index)
    }
}

/// What a list takes beside its pages.
const LIST: usize = 48;
