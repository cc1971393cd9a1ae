//! SQLite's write-ahead log, parsed: header, frames, chained checksums, and the wal-index header.
//! Pure; the source is section 4 of SQLite's file format document and the comments of `wal.c`.
//!
//! ```text
//! WAL header, big-endian                 frame header, big-endian
//!  0 magic 0x377f0682 or ..83             0 page number
//!  4 format 3007000                       4 size of the database in pages after a commit, else 0
//!  8 page size                            8 salts, equal to the header's
//! 12 checkpoint number                   16 checksum over the frames up to here
//! 16 salts                               24 the page
//! 24 checksum of the bytes before
//! ```
//!
//! The checksum words are little-endian with magic ..82 and big-endian with ..83. Every frame's
//! checksum continues the one before, so a run of frames that ends in a known checksum is known
//! whole.

use serde::{Deserialize, Serialize};

use crate::types::PageSize;

/// Bytes of the WAL's header.
pub(crate) const HEADER_LEN: usize = 32;
/// Bytes in front of each page in the WAL.
pub(crate) const FRAME_HEADER_LEN: usize = 24;

/// A running checksum.
pub(crate) type Checksum = [u32; 2];

/// How the checksum reads its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordOrder {
    Little,
    Big,
}

/// What the first 32 bytes of a WAL say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalHeader {
    pub(crate) order: WordOrder,
    pub(crate) page_size: PageSize,
    pub(crate) salts: [u8; 8],
    pub(crate) checksum: Checksum,
}

impl WalHeader {
    /// Parses a header; `None` when it is not a sound one.
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let order = match be32(bytes, 0)? {
            0x377f_0682 => WordOrder::Little,
            0x377f_0683 => WordOrder::Big,
            _ => return None,
        };
        let page_size = PageSize::new(be32(bytes, 8)?)?;
        let checksum = [be32(bytes, 24)?, be32(bytes, 28)?];
        let salts = bytes.get(16..24)?.try_into().ok()?;
        let sound =
            be32(bytes, 4)? == 3_007_000 && checksum == extend([0, 0], order, bytes.get(..24)?);
        sound.then_some(Self { order, page_size, salts, checksum })
    }

    /// Where frame `n`, counted from 1, begins in the file.
    pub(crate) fn frame_offset(page_size: PageSize, n: u32) -> u64 {
        let frame = page_size.get() as u64 + FRAME_HEADER_LEN as u64;
        HEADER_LEN as u64 + u64::from(n.saturating_sub(1)) * frame
    }
}

/// What stands in front of a page in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) page: u32,
    /// The size of the database after the commit that this frame ends; 0 for other frames.
    pub(crate) commit_size: u32,
    pub(crate) salts: [u8; 8],
    pub(crate) checksum: Checksum,
}

impl FrameHeader {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            page: be32(bytes, 0)?,
            commit_size: be32(bytes, 4)?,
            salts: bytes.get(8..16)?.try_into().ok()?,
            checksum: [be32(bytes, 16)?, be32(bytes, 20)?],
        })
    }

    /// The checksum that a whole frame should carry, given the one before.
    pub(crate) fn expected(before: Checksum, order: WordOrder, frame: &[u8]) -> Option<Checksum> {
        let head = extend(before, order, frame.get(..8)?);
        Some(extend(head, order, frame.get(FRAME_HEADER_LEN..)?))
    }
}

/// SQLite's checksum of pairs of words, continued from `sum`.
fn extend(sum: Checksum, order: WordOrder, bytes: &[u8]) -> Checksum {
    let [mut a, mut b] = sum;
    for [first, second] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
        let (x, y) = match order {
            WordOrder::Little => (u32::from_le_bytes(*first), u32::from_le_bytes(*second)),
            WordOrder::Big => (u32::from_be_bytes(*first), u32::from_be_bytes(*second)),
        };
        a = a.wrapping_add(x).wrapping_add(b);
        b = b.wrapping_add(y).wrapping_add(a);
    }
    [a, b]
}

/// The parts of the wal-index header that matter here. Its integers are in the machine's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalIndex {
    /// Grows by one with every commit, and survives resets of the WAL.
    pub(crate) changes: u32,
    /// The last valid frame.
    pub(crate) frames: u32,
    /// The size of the database in pages.
    pub(crate) pages: u32,
    /// The checksum of the last valid frame.
    pub(crate) checksum: Checksum,
    pub(crate) salts: [u8; 8],
    /// How many frames are in the database file already.
    pub(crate) backfilled: u32,
    /// How many a checkpoint began to copy there; it says so before its first write.
    pub(crate) attempted: u32,
}

impl WalIndex {
    /// Parses the first bytes of the wal-index; `None` while a writer is changing them.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let first = bytes.get(..48)?;
        let initialised = *first.get(12)? != 0;
        if !initialised || first != bytes.get(48..96)? {
            return None;
        }
        Some(Self {
            changes: ne32(bytes, 8)?,
            frames: ne32(bytes, 16)?,
            pages: ne32(bytes, 20)?,
            checksum: [ne32(bytes, 24)?, ne32(bytes, 28)?],
            salts: bytes.get(32..40)?.try_into().ok()?,
            backfilled: ne32(bytes, 96)?,
            attempted: ne32(bytes, 128)?,
        })
    }

    /// The same but for what a checkpoint changes.
    pub(crate) fn same_snapshot(&self, other: &Self) -> bool {
        let bare = |index: &Self| Self { backfilled: 0, attempted: 0, ..*index };
        bare(self) == bare(other)
    }
}

/// A place in a WAL: everything up to here was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalPosition {
    pub(crate) salts: [u8; 8],
    pub(crate) frame: u32,
    pub(crate) checksum: Checksum,
    pub(crate) changes: u32,
}

impl WalPosition {
    /// The place behind the last frame that a header counts.
    pub(crate) fn of(index: &WalIndex) -> Self {
        Self {
            salts: index.salts,
            frame: index.frames,
            checksum: if index.frames > 0 { index.checksum } else { [0; 2] },
            changes: index.changes,
        }
    }

    /// The place before the first frame of a generation, as far as that matters for reading it: how
    /// many commits came before is not known.
    pub(crate) fn before_all(index: &WalIndex) -> Self {
        Self { salts: index.salts, frame: 0, checksum: [0; 2], changes: index.changes }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ne32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Makes the first frame one of page 1 with rubbish in it, and all checksums right again.
#[cfg(test)]
pub(crate) fn forge_first_page(wal: &mut [u8]) {
    let header = WalHeader::parse(wal[..HEADER_LEN].try_into().unwrap()).unwrap();
    let len = header.page_size.bytes() + FRAME_HEADER_LEN;
    wal[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&1u32.to_be_bytes());
    wal[HEADER_LEN + FRAME_HEADER_LEN..HEADER_LEN + len].fill(0x5a);
    let mut sum = header.checksum;
    for frame in wal[HEADER_LEN..].chunks_exact_mut(len) {
        sum = FrameHeader::expected(sum, header.order, frame).unwrap();
        frame[16..20].copy_from_slice(&sum[0].to_be_bytes());
        frame[20..24].copy_from_slice(&sum[1].to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAL that SQLite wrote: header, then frames, read back with our checksums.
    #[test]
    fn checksums_agree_with_a_wal_that_sqlite_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(3000)); INSERT INTO t VALUES(1);",
        )
        .unwrap();
        let wal = std::fs::read(dir.path().join("a.db-wal")).unwrap();
        let header = WalHeader::parse(wal[..HEADER_LEN].try_into().unwrap()).unwrap();
        assert_eq!(header.page_size.get(), 1024);
        let (mut sum, mut commits) = (header.checksum, 0);
        let frames: Vec<&[u8]> = wal[HEADER_LEN..].chunks_exact(1024 + FRAME_HEADER_LEN).collect();
        for (i, frame) in frames.iter().enumerate() {
            let parsed = FrameHeader::parse(frame).unwrap();
            sum = FrameHeader::expected(sum, header.order, frame).unwrap();
            assert_eq!(parsed.checksum, sum, "frame {i}");
            assert_eq!(parsed.salts, header.salts);
            commits += u32::from(parsed.commit_size > 0);
            let at = WalHeader::frame_offset(header.page_size, u32::try_from(i + 1).unwrap());
            let at = usize::try_from(at).unwrap();
            assert_eq!(&wal[at..at + frame.len()], *frame);
        }
        assert_eq!(commits, 3);
        let mut bad = wal[..HEADER_LEN].to_vec();
        for i in 0..HEADER_LEN {
            bad[i] ^= 1;
            let parsed = WalHeader::parse(bad[..].try_into().unwrap());
            assert!(parsed.is_none(), "byte {i}");
            bad[i] ^= 1;
        }
    }

    #[test]
    fn a_torn_wal_index_is_none() {
        let mut bytes = [1; 136];
        assert!(WalIndex::parse(&bytes).is_some());
        bytes[50] ^= 1;
        assert!(WalIndex::parse(&bytes).is_none());
        assert!(WalIndex::parse(&[0; 136]).is_none());
        assert!(WalIndex::parse(&[1; 131]).is_none());
    }
}
