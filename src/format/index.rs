//! An index block: which page versions a stretch of a segment holds, and in which batches.
//!
//! ```text
//! before compression and sealing, for b batches and n entries
//!   b times 28 bytes: part 4, offset 8, length 4, batch number 4, pages 2, origin 2,
//!                     codec 1 (0 stored, 1 zstd), reserved 3
//!   n times 4  page number, minus the one before (the first minus 0)
//!   n times 4  commit, as an index into the manifest's commits
//!   n times 2  batch, as an index into this block's batches
//!   n times 2  slot: which page of the batch
//!   n times 16 page digest
//! ```
//!
//! Columns rather than rows, because all but the digests compress to almost nothing. Both counts
//! stand in the manifest's directory, so the plain length is known before anything is opened.
//! Entries are sorted by page number, then commit, and no two are equal in both.

use super::limits;
use super::segment::Location;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{Digest, PageNo};

const BATCH_LEN: usize = 28;
const ENTRY_LEN: usize = 28;

/// How a batch's pages were packed before sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BatchCodec {
    /// As they are.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// A batch, as an index block names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchRef {
    /// Where the sealed bytes lie.
    pub at: Location,
    /// Its number within the segment that sealed it.
    pub number: u32,
    /// How many pages it holds.
    pub pages: u16,
    /// 0 for a batch that this segment sealed, otherwise 1 + an index into the manifest's origins.
    pub origin: u16,
    /// How its pages were packed.
    pub codec: BatchCodec,
}

/// One page version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The page.
    pub page: PageNo,
    /// The commit, as an index into the manifest's commit table.
    pub commit: u32,
    /// The batch, as an index into the block's batches.
    pub batch: u16,
    /// Which page of the batch.
    pub slot: u16,
    /// The page digest.
    pub digest: Digest,
}

/// An index block.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct IndexBlock {
    /// The batches that entries refer to.
    pub batches: Vec<BatchRef>,
    /// The page versions.
    pub entries: Vec<IndexEntry>,
}

impl IndexBlock {
    /// The plain length of a block with these counts, or `None` when they are beyond the limits.
    pub fn plain_len(batches: u32, entries: u32) -> Option<usize> {
        let batches = usize::try_from(batches).ok().filter(|n| *n <= limits::INDEX_BATCHES)?;
        let entries = usize::try_from(entries).ok().filter(|n| *n <= limits::INDEX_ENTRIES)?;
        Some(batches * BATCH_LEN + entries * ENTRY_LEN)
    }

    /// How many bytes [`IndexBlock::encode`] makes.
    pub fn encoded_len(&self) -> usize {
        self.batches.len() * BATCH_LEN + self.entries.len() * ENTRY_LEN
    }

    /// The block's bytes, before compression.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(self.encoded_len()));
        for b in &self.batches {
            w.u32(b.at.part).u64(b.at.offset).u32(b.at.len).u32(b.number);
            w.u16(b.pages).u16(b.origin).u8(b.codec as u8).zeros(3);
        }
        let mut before = 0;
        for e in &self.entries {
            w.u32(e.page.0.wrapping_sub(before));
            before = e.page.0;
        }
        for e in &self.entries {
            w.u32(e.commit);
        }
        for e in &self.entries {
            w.u16(e.batch);
        }
        for e in &self.entries {
            w.u16(e.slot);
        }
        for e in &self.entries {
            w.bytes(&e.digest.0);
        }
        w.0
    }

    /// Reads a block that was opened and decompressed, with the counts of its directory entry.
    ///
    /// # Errors
    /// When the bytes are not such a block, refer to a batch, slot or commit that does not exist,
    /// or are not in order.
    pub fn decode(
        bytes: &[u8],
        batches: u32,
        entries: u32,
        commits: usize,
    ) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let truncated = r.invalid("length of the index block");
        if Self::plain_len(batches, entries) != Some(bytes.len()) {
            return Err(truncated);
        }
        let mut block = Self::default();
        for _ in 0..batches {
            block.batches.push(batch(&mut r)?);
        }
        let n = usize::try_from(entries).map_err(|_| truncated)?;
        let columns = Columns {
            pages: r.take(n * 4, "page numbers")?.as_chunks().0,
            commits: r.take(n * 4, "commits")?.as_chunks().0,
            batches: r.take(n * 2, "batches")?.as_chunks().0,
            slots: r.take(n * 2, "slots")?.as_chunks().0,
            digests: r.take(n * 16, "page digests")?.as_chunks().0,
        };
        let invalid = r.invalid("index entry");
        r.finish()?;
        block.entries = columns.zip(&block.batches, commits).ok_or(invalid)?;
        Ok(block)
    }
}

fn batch(r: &mut Reader<'_>) -> Result<BatchRef, DecodeError> {
    let at = Location {
        part: r.u32("part of a batch")?,
        offset: r.u64("offset of a batch")?,
        len: r.u32("length of a batch")?,
    };
    let number = r.u32("number of a batch")?;
    let empty = r.invalid("pages of a batch");
    let pages = r.u16("pages of a batch")?;
    if pages == 0 {
        return Err(empty);
    }
    let origin = r.u16("origin of a batch")?;
    let bad_codec = r.invalid("codec of a batch");
    let codec = match r.u8("codec of a batch")? {
        0 => BatchCodec::Stored,
        1 => BatchCodec::Zstd,
        _ => return Err(bad_codec),
    };
    r.zeros(3, "reserved bytes of a batch")?;
    Ok(BatchRef { at, number, pages, origin, codec })
}

/// The columns of a block, side by side.
struct Columns<'a> {
    pages: &'a [[u8; 4]],
    commits: &'a [[u8; 4]],
    batches: &'a [[u8; 2]],
    slots: &'a [[u8; 2]],
    digests: &'a [[u8; 16]],
}

impl Columns<'_> {
    /// The entries, or `None` when one of them is out of order or refers to nothing.
    fn zip(&self, batches: &[BatchRef], commits: usize) -> Option<Vec<IndexEntry>> {
        let mut entries = Vec::with_capacity(self.pages.len());
        let mut last: Option<(PageNo, u32)> = None;
        let rows = self.pages.iter().zip(self.commits).zip(self.batches.iter().zip(self.slots));
        for (((step, commit), (batch, slot)), digest) in rows.zip(self.digests) {
            let before = last.map_or(0, |(page, _)| page.0);
            let page = PageNo(before.checked_add(u32::from_le_bytes(*step))?);
            let commit = u32::from_le_bytes(*commit);
            let batch = u16::from_le_bytes(*batch);
            let slot = u16::from_le_bytes(*slot);
            let sound = page.0 >= 1
                && last.is_none_or(|l| l < (page, commit))
                && usize::try_from(commit).is_ok_and(|c| c < commits)
                && batches.get(usize::from(batch)).is_some_and(|b| slot < b.pages);
            if !sound {
                return None;
            }
            last = Some((page, commit));
            entries.push(IndexEntry { page, commit, batch, slot, digest: Digest(*digest) });
        }
        Some(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> IndexBlock {
        let entry = |page, commit, batch, slot| IndexEntry {
            page: PageNo(page),
            commit,
            batch,
            slot,
            digest: Digest([u8::try_from(page % 251).unwrap(); 16]),
        };
        let batch = |number, pages| BatchRef {
            at: Location { part: 0, offset: 48, len: 100 },
            number,
            pages,
            origin: 0,
            codec: BatchCodec::Zstd,
        };
        IndexBlock {
            batches: vec![batch(0, 3), batch(1, 1)],
            entries: vec![
                entry(1, 0, 0, 0),
                entry(1, 1, 0, 1),
                entry(9, 0, 0, 2),
                entry(70_000, 1, 1, 0),
            ],
        }
    }

    fn decode(b: &IndexBlock) -> Result<IndexBlock, DecodeError> {
        IndexBlock::decode(&b.encode(), 2, 4, 2)
    }

    #[test]
    fn a_block_comes_back_and_no_other_length_is_one() {
        let b = block();
        let bytes = b.encode();
        assert_eq!(decode(&b), Ok(b));
        for i in 0..bytes.len() {
            assert!(IndexBlock::decode(&bytes[..i], 2, 4, 2).is_err(), "cut at {i}");
        }
        assert!(IndexBlock::decode(&bytes, 2, 5, 2).is_err());
        assert!(IndexBlock::plain_len(1, u32::MAX).is_none());
    }

    #[test]
    fn entries_that_refer_to_nothing_or_stand_in_no_order_are_refused() {
        type Spoil = fn(&mut IndexBlock);
        let spoils: [(&str, Spoil); 6] = [
            ("page 0", |b| b.entries[0].page = PageNo(0)),
            ("twice the same", |b| b.entries[1].commit = 0),
            ("page numbers going down", |b| b.entries[2].page = PageNo(u32::MAX)),
            ("a commit that is not there", |b| b.entries[3].commit = 2),
            ("a batch that is not there", |b| b.entries[3].batch = 2),
            ("a slot that is not there", |b| b.entries[3].slot = 1),
        ];
        for (what, spoil) in spoils {
            let mut b = block();
            spoil(&mut b);
            assert!(decode(&b).is_err(), "{what}");
        }
    }
}
