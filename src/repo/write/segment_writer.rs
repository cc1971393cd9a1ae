//! A segment under way: collects sealed batches in page order, puts them inline or into parts, and
//! makes the one object whose publication makes them a segment.
//!
//! Invariants:
//! - A segment is published under the name and with the bytes that [`Prepared`] holds, however
//!   often that is tried.
//! - Small segments are one object with one index block. The first block that is full moves all to
//!   parts, before any index block was sealed, since index blocks hold offsets.
//! - At most one index block, one inline buffer and the store's own buffers are in memory.

use crate::codec::batch::{DataSeal, SealedBatch, index_bound};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SPARSE;
use crate::format::index::{BatchRef, IndexBlock, IndexEntry};
use crate::format::names::LogName;
use crate::format::segment::{
    BlockRef, CommitRecord, Manifest, PART_HEADER_LEN, SegmentKind, SegmentRef,
};
use crate::repo::history::handle::History;
use crate::repo::local::state::Head;
use crate::repo::write::segment_data::{BLOCK_ENTRIES, SegmentData, too_many};
use crate::repo::write::writer::Writer;
use crate::types::{Digest, PageNo, PageSize, Seq};

/// A segment under way.
pub(crate) struct SegmentWriter {
    data: SegmentData,
    block: IndexBlock,
    blocks: Vec<BlockRef>,
    versions: u64,
    batches: u64,
}

/// A page version on its way into a segment: the page, the commit as an index into the segment's,
/// the digest.
pub(crate) type Entry = (PageNo, u32, Digest);

/// A segment whose parts are durable and whose object is made: all that is left is to publish it.
pub(crate) struct Prepared {
    segment: SegmentWriter,
    bytes: Vec<u8>,
    head: Head,
    commits: Vec<CommitRecord>,
}

/// What a finished segment is: the facts that its manifest needs besides the pages.
pub(crate) struct Outline {
    pub(crate) kind: SegmentKind,
    pub(crate) page_size: PageSize,
    pub(crate) parent: Option<SegmentRef>,
    /// Oldest first; their seqs and stored bytes are filled in.
    pub(crate) commits: Vec<CommitRecord>,
}

impl SegmentWriter {
    /// Begins a segment.
    pub(crate) fn new(history: &History) -> Result<Self> {
        Ok(Self {
            data: SegmentData::new(history)?,
            block: IndexBlock::default(),
            blocks: Vec::new(),
            versions: 0,
            batches: 0,
        })
    }

    /// What batches are sealed with.
    pub(crate) fn seal(&self) -> &DataSeal {
        self.data.seal()
    }

    /// Adds a batch. Batches come in the order of pages and then commits; `entries` are its
    /// versions, in the order of its slots.
    pub(crate) fn push(
        &mut self,
        batch: &SealedBatch,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<()> {
        if self.block.entries.len() >= BLOCK_ENTRIES {
            self.end_block()?;
        }
        self.make_room(batch.bytes.len())?;
        let at = self.data.append(&batch.bytes)?;
        let in_block = u16::try_from(self.block.batches.len()).map_err(|_| too_many())?;
        self.block.batches.push(BatchRef {
            at,
            number: batch.number,
            pages: batch.pages,
            origin: 0,
            codec: batch.codec,
        });
        for (slot, (page, commit, digest)) in (0..).zip(entries) {
            self.block.entries.push(IndexEntry { page, commit, batch: in_block, slot, digest });
            self.versions += 1;
        }
        self.batches += 1;
        Ok(())
    }

    /// Seals and appends the index block under way. Sealing fixes the offsets in it, so whether the
    /// data stays inline is decided before.
    fn end_block(&mut self) -> Result<()> {
        if self.block.entries.is_empty() {
            return Ok(());
        }
        if self.block.entries.len() >= BLOCK_ENTRIES {
            self.move_to_parts()?;
        } else {
            self.make_room(index_bound(&self.block))?;
        }
        let number = self.blocks.len();
        let block = std::mem::take(&mut self.block);
        self.blocks.push(self.data.append_block(number, &block)?);
        Ok(())
    }

    /// Moves the data to parts unless so many more bytes fit inline.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        if self.data.has_room(bytes) { Ok(()) } else { self.move_to_parts() }
    }

    /// Moves the data to parts. The offsets noted so far, none of them in a sealed index block yet,
    /// move behind the part's header.
    fn move_to_parts(&mut self) -> Result<()> {
        if self.data.move_to_parts()? {
            for batch in &mut self.block.batches {
                batch.at.offset += PART_HEADER_LEN;
            }
        }
        Ok(())
    }

    /// Makes the parts durable and the segment's object.
    pub(crate) fn prepare(mut self, writer: &Writer, outline: Outline) -> Result<Prepared> {
        self.end_block()?;
        let first = writer.next_seq();
        let commits = self.number(first, outline.commits);
        let Some(last) = commits.last().copied() else {
            return Err(Error::new(ErrorKind::Failure, "a segment without commits"));
        };
        let manifest = Manifest {
            history: self.data.history().id(),
            term: writer.term(),
            token: writer.token(),
            kind: outline.kind,
            page_size: outline.page_size,
            parent: outline.parent,
            covers: None,
            carries: false,
            first,
            versions: self.versions,
            batches: self.batches,
            inline_len: 0,
            commits,
            parts: Vec::new(),
            origins: Vec::new(),
            blocks: std::mem::take(&mut self.blocks),
        };
        let name = self.data.history().names().segment(LogName { term: writer.term(), first });
        let required = if writer.leaves_gap() { SPARSE } else { 0 };
        let (manifest, bytes, digest) = self.data.finish(&name, manifest, required)?;
        let head = Head {
            segment: self.data.id(),
            segment_digest: digest,
            term: writer.term(),
            first,
            seq: last.seq,
            page_size: outline.page_size,
            pages: last.pages,
            digest: last.digest,
        };
        Ok(Prepared { segment: self, bytes, head, commits: manifest.commits })
    }

    /// Gives the commits their seqs, and each its share of the stored bytes, by the versions that
    /// it wrote.
    fn number(&self, first: Seq, mut commits: Vec<CommitRecord>) -> Vec<CommitRecord> {
        let mut seq = first;
        let (mut versions, mut stored) = (self.versions, self.data.stored());
        for commit in &mut commits {
            commit.seq = seq;
            seq = seq.next();
            let changed = u64::from(commit.changed);
            let share = u128::from(stored) * u128::from(changed) / u128::from(versions.max(1));
            commit.stored = u64::try_from(share).unwrap_or(stored);
            stored = stored.saturating_sub(commit.stored);
            versions = versions.saturating_sub(changed);
        }
        commits
    }
}

impl Prepared {
    /// Publishes the segment and acknowledges it. After an error it may be tried again: the same
    /// bytes count as the same try.
    ///
    /// # Errors
    /// As [`Writer::publish`].
    pub(crate) fn publish(&mut self, writer: &mut Writer) -> Result<()> {
        self.segment.data.commit()?;
        writer.publish(&self.head, &self.bytes)
    }

    /// What the history's head is once it is published.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The commits, numbered.
    pub(crate) fn commits(&self) -> &[CommitRecord] {
        &self.commits
    }
}
