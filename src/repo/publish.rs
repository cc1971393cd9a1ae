//! A segment under way: collects sealed batches in page order, puts them inline or into parts, and makes the one
//! object whose publication makes them a segment.
//!
//! Invariants:
//! - A segment is published under the name and with the bytes that [`Prepared`] holds, however often that is tried.
//! - Parts are durable before the segment object is created; nothing refers to them earlier.
//! - Small segments are one object: one index block and at most [`INLINE_MAX`] bytes of data. The first that does not
//!   fit moves all to parts, before any index block was sealed, since index blocks hold offsets.
//! - At most one index block, one inline buffer and the store's own buffers are in memory.
//! - Finishing a part, with its fsync, happens on a thread of its own while the next one fills.

use std::thread::JoinHandle;

use crate::codec::batch::{DataSeal, SealedBatch, encode_index, index_bound};
use crate::codec::pool::panicked;
use crate::codec::seal::SealKey;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::{BatchRef, IndexBlock, IndexEntry};
use crate::format::names::LogName;
use crate::format::segment::{
    BlockRef, CommitRecord, Location, Manifest, PART_HEADER_LEN, PartHeader, SegmentKind,
    SegmentRef,
};
use crate::format::{ObjectKind, SealedPrefix, limits};
use crate::repo::Repository;
use crate::repo::history::History;
use crate::repo::state::Head;
use crate::repo::writer::Writer;
use crate::store::Upload;
use crate::types::{Digest, KeyId, PageNo, PageSize, SegmentId, Seq};

/// How many bytes of data a segment object may carry inside.
const INLINE_MAX: usize = 1024 * 1024;
/// How many page versions an index block lists before the next one begins.
const BLOCK_ENTRIES: usize = 4096;

/// A segment under way.
pub(crate) struct SegmentWriter {
    history: History,
    id: SegmentId,
    key: KeyId,
    seal: DataSeal,
    data: Data,
    block: IndexBlock,
    blocks: Vec<BlockRef>,
    versions: u64,
    batches: u64,
    stored: u64,
    /// Set once the segment object may exist: from then on its parts must stay.
    committed: bool,
}

/// A page version on its way into a segment: the page, the commit as an index into the segment's, the digest.
pub(crate) type Entry = (PageNo, u32, Digest);

/// A segment whose parts are durable and whose object is made: all that is left is to publish it.
pub(crate) struct Prepared {
    segment: SegmentWriter,
    bytes: Vec<u8>,
    head: Head,
    commits: Vec<CommitRecord>,
}

/// Where the data goes.
enum Data {
    Inline(Vec<u8>),
    Parts(Parts),
}

struct Parts {
    lens: Vec<u64>,
    /// The last part, until it is finished.
    upload: Option<Box<dyn Upload>>,
    finishing: Option<JoinHandle<Result<()>>>,
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
        let repository = history.repository();
        let id = SegmentId::random()?;
        let master = repository.newest_key()?;
        let ids = (repository.id(), history.id(), id);
        let key = SealKey::for_data(master, ids.0, ids.1, ids.2);
        Ok(Self {
            history: history.clone(),
            id,
            key: master.id,
            seal: DataSeal { key, ids },
            data: Data::Inline(Vec::new()),
            block: IndexBlock::default(),
            blocks: Vec::new(),
            versions: 0,
            batches: 0,
            stored: 0,
            committed: false,
        })
    }

    /// What batches are sealed with.
    pub(crate) fn seal(&self) -> &DataSeal {
        &self.seal
    }

    /// Adds a batch. Batches come in the order of pages and then commits; `entries` are its versions, in the order of
    /// its slots.
    pub(crate) fn push(
        &mut self,
        batch: &SealedBatch,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<()> {
        if self.block.entries.len() >= BLOCK_ENTRIES {
            self.end_block()?;
        }
        self.make_room(batch.bytes.len())?;
        let at = self.append(&batch.bytes)?;
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

    /// Seals and appends the index block under way. Sealing fixes the offsets in it, so whether the data stays inline is
    /// decided before.
    fn end_block(&mut self) -> Result<()> {
        let (Some(first), Some(last)) = (self.block.entries.first(), self.block.entries.last())
        else {
            return Ok(());
        };
        let (first_page, last_page) = (first.page.0, last.page.0);
        if self.block.entries.len() >= BLOCK_ENTRIES {
            self.move_to_parts()?;
        } else {
            self.make_room(index_bound(&self.block))?;
        }
        let number = u32::try_from(self.blocks.len()).map_err(|_| too_many())?;
        let bytes = encode_index(&self.seal, number, &self.block)?;
        let at = self.append(&bytes)?;
        let block = std::mem::take(&mut self.block);
        self.blocks.push(BlockRef {
            first_page,
            last_page,
            entries: u32::try_from(block.entries.len()).map_err(|_| too_many())?,
            batches: u32::try_from(block.batches.len()).map_err(|_| too_many())?,
            at,
        });
        Ok(())
    }

    /// Moves the data to parts unless so many more bytes fit inline.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        match &self.data {
            Data::Inline(buffer) if buffer.len() + bytes > INLINE_MAX => self.move_to_parts(),
            _ => Ok(()),
        }
    }

    /// Appends bytes that there is room for, and answers where they are.
    fn append(&mut self, bytes: &[u8]) -> Result<Location> {
        let len = u32::try_from(bytes.len()).map_err(|_| too_many())?;
        self.stored += u64::from(len);
        let (history, id, key) = (&self.history, self.id, self.key);
        match &mut self.data {
            Data::Inline(buffer) => {
                let offset = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
                buffer.extend_from_slice(bytes);
                Ok(Location { part: 0, offset, len })
            }
            Data::Parts(parts) => {
                if parts.len() + u64::from(len) > limits::PART {
                    parts.next(history, id, key)?;
                }
                let offset = parts.len();
                parts.write(bytes)?;
                let part = parts.lens.len().saturating_sub(1);
                Ok(Location { part: u32::try_from(part).map_err(|_| too_many())?, offset, len })
            }
        }
    }

    /// Writes what was inline to the first part. The offsets noted so far, none of them in a sealed index block yet,
    /// move behind the part's header.
    fn move_to_parts(&mut self) -> Result<()> {
        let Data::Inline(buffer) = &mut self.data else { return Ok(()) };
        let buffer = std::mem::take(buffer);
        let mut parts = Parts::begin(&self.history, self.id, self.key)?;
        parts.write(&buffer)?;
        self.data = Data::Parts(parts);
        for batch in &mut self.block.batches {
            batch.at.offset += PART_HEADER_LEN;
        }
        Ok(())
    }

    /// Makes the parts durable and the segment's object.
    pub(crate) fn prepare(mut self, writer: &Writer, outline: Outline) -> Result<Prepared> {
        self.end_block()?;
        // Parts stay where they are: until the segment names them, an error has to delete them.
        let (inline, parts) = match &mut self.data {
            Data::Inline(buffer) => (std::mem::take(buffer), Vec::new()),
            Data::Parts(parts) => (Vec::new(), parts.finish()?),
        };
        let first = writer.next_seq();
        let commits = self.number(first, outline.commits);
        let Some(last) = commits.last().copied() else {
            return Err(Error::new(ErrorKind::Failure, "a segment without commits"));
        };
        let manifest = Manifest {
            history: self.history.id(),
            term: writer.term(),
            token: writer.token(),
            kind: outline.kind,
            page_size: outline.page_size,
            parent: outline.parent,
            covers: None,
            first,
            versions: self.versions,
            batches: self.batches,
            inline_len: u64::try_from(inline.len()).unwrap_or(u64::MAX),
            commits,
            parts,
            origins: Vec::new(),
            blocks: std::mem::take(&mut self.blocks),
        };
        let name = self.history.names().segment(LogName { term: writer.term(), first });
        let mut bytes = self.repository().seal_object(
            &name,
            ObjectKind::Segment,
            self.id.0,
            &manifest.encode(),
        )?;
        let digest = *blake3::hash(&bytes).as_bytes();
        if bytes.len() - SealedPrefix::LEN > limits::MANIFEST_BODY {
            return Err(too_many());
        }
        bytes.extend_from_slice(&inline);
        let head = Head {
            segment: self.id,
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

    /// Gives the commits their seqs, and each its share of the stored bytes, by the versions that it wrote.
    fn number(&self, first: Seq, mut commits: Vec<CommitRecord>) -> Vec<CommitRecord> {
        let mut seq = first;
        let (mut versions, mut stored) = (self.versions, self.stored);
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

    fn repository(&self) -> &Repository {
        self.history.repository()
    }
}

impl Prepared {
    /// Publishes the segment and acknowledges it. After an error it may be tried again: the same bytes count as the same
    /// try.
    ///
    /// # Errors
    /// As [`Writer::publish`].
    pub(crate) fn publish(&mut self, writer: &Writer) -> Result<()> {
        self.segment.committed = true;
        writer.publish(self.head.first, &self.bytes)
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

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        // Parts that no segment will ever name. What can't be deleted now is garbage for a later prune.
        if let (Data::Parts(parts), false) = (&mut self.data, self.committed) {
            if let Some(thread) = parts.finishing.take() {
                let _ = thread.join();
            }
            for part in 0..parts.lens.len() {
                let part = u32::try_from(part).unwrap_or(u32::MAX);
                let name = self.history.names().part(self.id, part);
                let _ = self.history.repository().store().delete(&name);
            }
        }
    }
}

impl Parts {
    fn begin(history: &History, id: SegmentId, key: KeyId) -> Result<Self> {
        let upload = open_part(history, id, key, 0)?;
        Ok(Self { lens: vec![PART_HEADER_LEN], upload: Some(upload), finishing: None })
    }

    fn len(&self) -> u64 {
        self.lens.last().copied().unwrap_or_default()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let (Some(upload), Some(len)) = (&mut self.upload, self.lens.last_mut()) {
            upload.write(bytes)?;
            *len += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn next(&mut self, history: &History, id: SegmentId, key: KeyId) -> Result<()> {
        let number = u32::try_from(self.lens.len()).map_err(|_| too_many())?;
        let upload = open_part(history, id, key, number)?;
        let full = self.upload.replace(upload);
        self.wait()?;
        self.finishing = full.map(|full| std::thread::spawn(move || full.finish()));
        self.lens.push(PART_HEADER_LEN);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        match self.finishing.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(panicked())),
            None => Ok(()),
        }
    }

    /// Makes all parts durable, and answers their lengths.
    fn finish(&mut self) -> Result<Vec<u64>> {
        self.wait()?;
        self.upload.take().map_or(Ok(()), |upload| upload.finish())?;
        Ok(self.lens.clone())
    }
}

fn open_part(
    history: &History,
    segment: SegmentId,
    key: KeyId,
    part: u32,
) -> Result<Box<dyn Upload>> {
    let mut upload = history.repository().store().upload(&history.names().part(segment, part))?;
    upload.write(&PartHeader { key, segment, part }.encode())?;
    Ok(upload)
}

fn too_many() -> Error {
    Error::new(ErrorKind::Failure, "the segment would be larger than the format allows")
}
