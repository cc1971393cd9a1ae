//! The data of a segment under way: sealed bytes appended one after the other, inline or in parts,
//! and at the end the one object whose publication makes them a segment.
//!
//! Invariants:
//! - Parts are durable before the segment object is made; nothing refers to them earlier. Until it
//!   may exist, an error deletes them.
//! - Parts that waited for a day are not published any more. Between that look and the publication
//!   is one request, and parts that no segment names go after a week; so a request must not take
//!   six days.
//! - Index blocks hold offsets: data moves from inline to parts only before the first block was
//!   sealed.
//! - Finishing a part, with its fsync, happens on a thread of its own while the next one fills.

use std::thread::JoinHandle;
use std::time::Duration;

use crate::codec::batch::{DataSeal, encode_index};
use crate::codec::pool::panicked;
use crate::codec::seal::SealKey;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::IndexBlock;
use crate::format::segment::{BlockRef, Location, Manifest, PART_HEADER_LEN, PartHeader};
use crate::format::{ObjectKind, SealedPrefix, limits};
use crate::repo::history::handle::History;
use crate::store::Upload;
use crate::types::{KeyId, SegmentId, Timestamp};

/// How many bytes of data a segment object may carry inside.
const INLINE_MAX: usize = 1024 * 1024;
/// How long parts may wait for the object that names them; a prune takes them for left over after
/// seven times as long.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How many page versions an index block lists before the next one begins.
pub(crate) const BLOCK_ENTRIES: usize = 4096;

/// The data of a segment under way.
pub(crate) struct SegmentData {
    history: History,
    id: SegmentId,
    key: KeyId,
    seal: DataSeal,
    data: Data,
    stored: u64,
    /// When the last part was finished.
    finished: Timestamp,
    /// Set once the segment object may exist: from then on its parts must stay.
    committed: bool,
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

impl SegmentData {
    /// The data of a new segment, sealed under the newest key.
    pub(crate) fn new(history: &History) -> Result<Self> {
        let repository = history.repository();
        let id = SegmentId::random()?;
        let master = repository.newest_key()?;
        let ids = (repository.id(), history.id(), id);
        let key = SealKey::for_data(&master, ids.0, ids.1, ids.2);
        Ok(Self {
            history: history.clone(),
            id,
            key: master.id,
            seal: DataSeal { key, ids },
            data: Data::Inline(Vec::new()),
            stored: 0,
            finished: repository.now(),
            committed: false,
        })
    }

    /// The key that everything in it is sealed under.
    pub(crate) fn key(&self) -> KeyId {
        self.key
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// The segment's identity.
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// What batches and index blocks are sealed with.
    pub(crate) fn seal(&self) -> &DataSeal {
        &self.seal
    }

    /// Bytes appended so far.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// From here on the segment object may exist.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when the parts have waited for so long that a prune may take them for
    /// left over.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let now = self.history.repository().now();
        let in_time = now <= self.finished.after(PATIENCE) && now >= self.finished.before(PATIENCE);
        if matches!(self.data, Data::Parts(_)) && !in_time {
            return Err(Error::new(
                ErrorKind::Busy,
                "waited for more than a day, and its parts may be cleaned away",
            )
            .with_object(format!("segment {}", self.id))
            .with_hint("run it again"));
        }
        self.committed = true;
        Ok(())
    }

    /// Whether so many more bytes may be appended without moving what is inline to a part.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        match &self.data {
            Data::Inline(buffer) => buffer.len() + bytes <= inline_max(),
            Data::Parts(_) => true,
        }
    }

    /// Appends bytes, and answers where they are.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<Location> {
        let len = u32::try_from(bytes.len()).map_err(|_| too_many())?;
        self.stored += u64::from(len);
        match &mut self.data {
            Data::Inline(buffer) => {
                let offset = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
                buffer.extend_from_slice(bytes);
                Ok(Location { part: 0, offset, len })
            }
            Data::Parts(parts) => {
                if parts.len() + u64::from(len) > limits::PART {
                    parts.next(&self.history, self.id, self.key)?;
                }
                let offset = parts.len();
                parts.write(bytes)?;
                let part = parts.lens.len().saturating_sub(1);
                Ok(Location { part: u32::try_from(part).map_err(|_| too_many())?, offset, len })
            }
        }
    }

    /// Seals and appends an index block, which has entries, as the segment's block of that number.
    pub(crate) fn append_block(&mut self, number: usize, block: &IndexBlock) -> Result<BlockRef> {
        let number = u32::try_from(number).map_err(|_| too_many())?;
        let bytes = encode_index(&self.seal, number, block)?;
        let at = self.append(&bytes)?;
        let page = |entry: Option<&crate::format::index::IndexEntry>| entry.map_or(0, |e| e.page.0);
        Ok(BlockRef {
            first_page: page(block.entries.first()),
            last_page: page(block.entries.last()),
            entries: u32::try_from(block.entries.len()).map_err(|_| too_many())?,
            batches: u32::try_from(block.batches.len()).map_err(|_| too_many())?,
            at,
        })
    }

    /// Writes what is inline to a first part, where every offset is larger by [`PART_HEADER_LEN`].
    /// Answers whether there was anything to do.
    pub(crate) fn move_to_parts(&mut self) -> Result<bool> {
        let Data::Inline(buffer) = &mut self.data else { return Ok(false) };
        let buffer = std::mem::take(buffer);
        let mut parts = Parts::begin(&self.history, self.id, self.key)?;
        parts.write(&buffer)?;
        self.data = Data::Parts(parts);
        Ok(true)
    }

    /// Makes the parts durable and the segment's object: its manifest with what the data adds to
    /// it, the object's bytes, and the segment's digest.
    pub(crate) fn finish(
        &mut self,
        name: &str,
        mut manifest: Manifest,
        required: u16,
    ) -> Result<(Manifest, Vec<u8>, [u8; 32])> {
        // Parts stay where they are: until the segment names them, an error has to delete them.
        let inline = match &mut self.data {
            Data::Inline(buffer) => std::mem::take(buffer),
            Data::Parts(parts) => {
                manifest.parts = parts.finish()?;
                self.finished = self.history.repository().now();
                Vec::new()
            }
        };
        manifest.inline_len = u64::try_from(inline.len()).unwrap_or(u64::MAX);
        if manifest.inline_len > limits::INLINE_DATA {
            return Err(too_many());
        }
        // The key that sealed the data: a newer one may have come since.
        let repository = self.history.repository();
        let (kind, body) = ((ObjectKind::Segment, required), manifest.encode());
        let master = repository.master(self.key, name)?;
        let mut bytes = repository.seal_object(name, kind, self.id.0, &body, &master)?;
        let digest = *blake3::hash(&bytes).as_bytes();
        if bytes.len() - SealedPrefix::LEN > limits::MANIFEST_BODY {
            return Err(too_many());
        }
        bytes.extend_from_slice(&inline);
        Ok((manifest, bytes, digest))
    }
}

impl Drop for SegmentData {
    fn drop(&mut self) {
        // Parts that no segment will ever name. What can't be deleted now is garbage for a later
        // prune.
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

fn inline_max() -> usize {
    #[cfg(test)]
    if let Some(world) = crate::simulated::world() {
        return world.inline();
    }
    INLINE_MAX
}

/// The first part of a segment that is not there with its length.
///
/// # Errors
/// Store errors.
pub(crate) fn missing_part(
    history: &History,
    segment: SegmentId,
    parts: &[u64],
) -> Result<Option<String>> {
    for (part, len) in (0..).zip(parts) {
        let name = history.names().part(segment, part);
        if history.repository().store().head(&name)? != Some(*len) {
            return Ok(Some(name));
        }
    }
    Ok(None)
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

pub(crate) fn too_many() -> Error {
    Error::new(ErrorKind::Failure, "the segment would be larger than the format allows")
}
