//! A segment's manifest: the commit table, the parts, the directory of index blocks, and the link
//! to the parent. Publishing a segment is creating the object that holds it.
//!
//! ```text
//! segment object:  sealed prefix (44), sealed manifest, then the inline data, if there is any
//! part object:     header (16), key id (8), segment id (16), part number (4), reserved (4), data
//!
//! manifest, before sealing
//!   0 16  history id
//!  16  8  term of the writer
//!  24 16  token of the writer
//!  40  1  kind: 1 base, 2 delta
//!  41  1  1 if a last covered segment follows (only in merged segments), else 0
//!  42  1  1 if the last commit is carried: there only for page versions that later commits need; else 0
//!  43  1  reserved, zero
//!  44  4  page size
//!  48 16  parent's segment id, zero for none
//!  64 32  parent's digest: BLAKE3 of its sealed prefix and sealed manifest; zero for none
//!  96 16  last covered segment's id, or zero
//! 112 32  last covered segment's digest, or zero
//! 144  8  seq of the first commit
//! 152  8  number of page versions
//! 160  8  number of batches
//! 168  8  bytes of inline data; zero when there are parts
//!   .  4  number of commits n, then n times 48 bytes
//!           0  8  capture time, microseconds UTC, signed
//!           8  4  size of the database in pages
//!          12  4  page versions that the commit wrote
//!          16 16  database digest
//!          32  8  bytes stored for the commit
//!          40  1  kind: 1 scan, 2 WAL, 3 transaction
//!          41  3  reserved, zero
//!          44  4  seq, minus the first commit's
//!   .  4  number of parts p, then p times: 8 bytes length of the part object
//!   .  4  number of origins o, then o times: key id 8, segment id 16
//!   .  4  number of index blocks b, then b times 32 bytes
//!           0  4  first page number   4  4  last page number
//!           8  4  entries            12  4  batches
//!          16  4  part               20  8  offset    28  4  length
//! ```
//!
//! A *location* is a part, an offset and a length. A segment without parts has its data inline:
//! part 0 is then the bytes behind the manifest, and offsets count from its first byte. With
//! parts, offsets count from the first byte of the part object.
//!
//! Entries are sorted by page number, then commit, across the index blocks. Seqs ascend; those of a
//! captured segment are consecutive, while a merge drops commits. Origins are the other segments
//! whose sealed batches a merge copied here. A carried commit is no restore point: a merge may have
//! dropped versions that only it needed.

use super::limits;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{
    Digest, HistoryId, KeyId, PageSize, SegmentId, Seq, Term, Timestamp, WriterToken,
};

/// Bytes in front of a part's data.
pub const PART_HEADER_LEN: u64 = 48;

const COMMIT_LEN: usize = 48;
const BLOCK_LEN: usize = 32;
const ORIGIN_LEN: usize = 24;

/// Whether a segment stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SegmentKind {
    /// Holds every page of its commits.
    Base = 1,
    /// Holds what changed since its parent.
    Delta = 2,
}

/// How a commit was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CommitKind {
    /// The whole database was read; transactions before it may not be kept one by one.
    Scan = 1,
    /// The WAL's new frames were read, up to some transaction.
    Wal = 2,
    /// Exactly one transaction.
    Transaction = 3,
}

impl CommitKind {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Wal => "wal",
            Self::Transaction => "transaction",
        }
    }
}

/// One captured state of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// Its sequence number.
    pub seq: Seq,
    /// When it was captured.
    pub time: Timestamp,
    /// The size of the database in pages, the lock-byte page included.
    pub pages: u32,
    /// Page versions that it wrote.
    pub changed: u32,
    /// XOR of the digests of all pages.
    pub digest: Digest,
    /// Sealed bytes of its batches and of the index blocks written for it.
    pub stored: u64,
    /// How it was captured.
    pub kind: CommitKind,
}

/// A segment as another one refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentRef {
    /// Its identity.
    pub id: SegmentId,
    /// BLAKE3 of its sealed prefix and sealed manifest.
    pub digest: [u8; 32],
}

/// Where sealed bytes lie within a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The part.
    pub part: u32,
    /// The offset of the first byte.
    pub offset: u64,
    /// The number of bytes.
    pub len: u32,
}

/// A directory entry: one index block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// The smallest page number that it lists.
    pub first_page: u32,
    /// The largest one.
    pub last_page: u32,
    /// How many page versions it lists.
    pub entries: u32,
    /// How many batches it names.
    pub batches: u32,
    /// Where it lies.
    pub at: Location,
}

/// A segment whose sealed batches were copied into a merged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The master key that it was sealed under.
    pub key: KeyId,
    /// Its identity.
    pub segment: SegmentId,
}

/// A segment's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The history.
    pub history: HistoryId,
    /// The term in which it was written.
    pub term: Term,
    /// Who wrote it.
    pub token: WriterToken,
    /// Base or delta.
    pub kind: SegmentKind,
    /// The page size of all its commits.
    pub page_size: PageSize,
    /// The segment before it; `None` for the first of a history.
    pub parent: Option<SegmentRef>,
    /// The last of the segments that a merge put together.
    pub covers: Option<SegmentRef>,
    /// Whether the last commit is there only for the page versions that later commits need.
    pub carries: bool,
    /// The seq of the first commit.
    pub first: Seq,
    /// Page versions in all.
    pub versions: u64,
    /// Batches in all.
    pub batches: u64,
    /// Bytes of inline data.
    pub inline_len: u64,
    /// The commits, oldest first; at least one.
    pub commits: Vec<CommitRecord>,
    /// Lengths of the part objects.
    pub parts: Vec<u64>,
    /// Where copied batches come from.
    pub origins: Vec<Origin>,
    /// The directory of index blocks.
    pub blocks: Vec<BlockRef>,
}

impl Manifest {
    /// The seq of the last commit.
    pub fn last(&self) -> Seq {
        self.commits.last().map_or(self.first, |c| c.seq)
    }

    /// The commits that stand for a state of the database: all but a carried one.
    pub fn states(&self) -> &[CommitRecord] {
        let carried = usize::from(self.carries);
        self.commits.get(..self.commits.len().saturating_sub(carried)).unwrap_or_default()
    }

    /// The record of a commit, if it is one of this segment's.
    pub fn commit(&self, seq: Seq) -> Option<&CommitRecord> {
        let states = self.states();
        states.get(states.binary_search_by_key(&seq, |c| c.seq).ok()?)
    }

    /// Whether only a reader that knows the feature [`super::header::SPARSE`] understands it.
    pub fn is_sparse(&self) -> bool {
        let span = self.last().0.saturating_sub(self.first.0);
        let commits = u64::try_from(self.commits.len()).unwrap_or(u64::MAX);
        self.carries || (self.covers.is_none() && span.saturating_add(1) != commits)
    }

    /// The manifest's bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes(&self.history.0)
            .u64(self.term.0)
            .bytes(&self.token.0)
            .u8(self.kind as u8)
            .u8(self.covers.is_some().into())
            .u8(self.carries.into())
            .zeros(1)
            .u32(self.page_size.get());
        for reference in [self.parent, self.covers] {
            let reference =
                reference.unwrap_or(SegmentRef { id: SegmentId::default(), digest: [0; 32] });
            w.bytes(&reference.id.0).bytes(&reference.digest);
        }
        w.u64(self.first.0).u64(self.versions).u64(self.batches).u64(self.inline_len);
        w.count(self.commits.len());
        for c in &self.commits {
            w.timestamp(c.time)
                .u32(c.pages)
                .u32(c.changed)
                .bytes(&c.digest.0)
                .u64(c.stored)
                .u8(c.kind as u8)
                .zeros(3)
                .u32(u32::try_from(c.seq.0.wrapping_sub(self.first.0)).unwrap_or(u32::MAX));
        }
        w.count(self.parts.len());
        for len in &self.parts {
            w.u64(*len);
        }
        w.count(self.origins.len());
        for o in &self.origins {
            w.bytes(&o.key.0).bytes(&o.segment.0);
        }
        w.count(self.blocks.len());
        for b in &self.blocks {
            w.u32(b.first_page).u32(b.last_page).u32(b.entries).u32(b.batches);
            w.u32(b.at.part).u64(b.at.offset).u32(b.at.len);
        }
        w.0
    }

    /// Reads a manifest that was opened.
    ///
    /// # Errors
    /// When the bytes are not a manifest, or one that contradicts itself: every location must lie
    /// within its part, blocks must be in order, and every count within its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let history = HistoryId(r.array("history id")?);
        let term = Term(r.u64("term")?);
        let token = WriterToken(r.array("writer token")?);
        let bad_kind = r.invalid("segment kind");
        let kind = match r.u8("segment kind")? {
            1 => SegmentKind::Base,
            2 => SegmentKind::Delta,
            _ => return Err(bad_kind),
        };
        let bad_covers = r.invalid("covered segment");
        let merged = r.u8("merge flag")?;
        let bad_carries = r.invalid("carried commit");
        let carries = match r.u8("carried commit")? {
            0 => false,
            1 => true,
            _ => return Err(bad_carries),
        };
        r.zeros(1, "reserved byte of the manifest")?;
        let bad_page_size = r.invalid("page size");
        let page_size = PageSize::new(r.u32("page size")?).ok_or(bad_page_size)?;
        let parent = segment_ref(&mut r, "parent")?;
        let covers = segment_ref(&mut r, "covered segment")?;
        if merged != u8::from(covers.is_some()) {
            return Err(bad_covers);
        }
        let bad_first = r.invalid("first seq");
        let first = Seq(r.u64("first seq")?);
        let versions = r.u64("number of page versions")?;
        let batches = r.u64("number of batches")?;
        let bad_inline = r.invalid("inline length");
        let inline_len = r.u64("inline length")?;
        let commits = commits(&mut r, first)?;
        if commits.is_empty() || first.0 == 0 {
            return Err(bad_first);
        }
        if kind == SegmentKind::Delta && parent.is_none() {
            return Err(bad_kind);
        }
        let parts = parts(&mut r)?;
        if inline_len > limits::INLINE_DATA || (inline_len > 0 && !parts.is_empty()) {
            return Err(bad_inline);
        }
        let n = r.count(limits::ORIGINS, ORIGIN_LEN, "number of origins")?;
        let mut origins = Vec::with_capacity(n);
        for _ in 0..n {
            let key = KeyId(r.array("origin's key")?);
            origins.push(Origin { key, segment: SegmentId(r.array("origin")?) });
        }
        let blocks = blocks(&mut r, |at| location_fits(at, inline_len, &parts))?;
        let listed = blocks.iter().map(|b| u64::from(b.entries)).sum::<u64>();
        if listed != versions {
            return Err(r.invalid("number of page versions"));
        }
        r.finish()?;
        Ok(Self {
            history,
            term,
            token,
            kind,
            page_size,
            parent,
            covers,
            carries,
            first,
            versions,
            batches,
            inline_len,
            commits,
            parts,
            origins,
            blocks,
        })
    }

    /// Whether a location lies within this segment's data.
    pub fn contains(&self, at: Location) -> bool {
        location_fits(at, self.inline_len, &self.parts)
    }
}

fn location_fits(at: Location, inline_len: u64, parts: &[u64]) -> bool {
    let (start, end) = match usize::try_from(at.part).ok().map(|i| parts.get(i)) {
        Some(Some(len)) => (PART_HEADER_LEN, *len),
        _ if parts.is_empty() && at.part == 0 => (0, inline_len),
        _ => return false,
    };
    at.offset >= start && at.offset.checked_add(at.len.into()).is_some_and(|e| e <= end)
}

fn segment_ref(r: &mut Reader<'_>, field: &'static str) -> Result<Option<SegmentRef>, DecodeError> {
    let invalid = r.invalid(field);
    let id = SegmentId(r.array(field)?);
    let digest = r.array(field)?;
    match (id.is_zero(), digest == [0; 32]) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(SegmentRef { id, digest })),
        _ => Err(invalid),
    }
}

fn commits(r: &mut Reader<'_>, first: Seq) -> Result<Vec<CommitRecord>, DecodeError> {
    let n = r.count(limits::MANIFEST_BODY, COMMIT_LEN, "number of commits")?;
    let mut commits: Vec<CommitRecord> = Vec::with_capacity(n);
    for _ in 0..n {
        let time = r.timestamp("commit's time")?;
        let pages = r.u32("commit's size")?;
        let changed = r.u32("commit's page versions")?;
        let digest = Digest(r.array("commit's digest")?);
        let stored = r.u64("commit's stored bytes")?;
        let bad_kind = r.invalid("commit kind");
        let kind = match r.u8("commit kind")? {
            1 => CommitKind::Scan,
            2 => CommitKind::Wal,
            3 => CommitKind::Transaction,
            _ => return Err(bad_kind),
        };
        r.zeros(3, "reserved bytes of the commit")?;
        let bad_seq = r.invalid("commit's seq");
        let seq = first.0.checked_add(r.u32("commit's seq")?.into()).map(Seq).ok_or(bad_seq)?;
        if commits.last().is_some_and(|before| before.seq >= seq) {
            return Err(bad_seq);
        }
        commits.push(CommitRecord { seq, time, pages, changed, digest, stored, kind });
    }
    Ok(commits)
}

fn parts(r: &mut Reader<'_>) -> Result<Vec<u64>, DecodeError> {
    let n = r.count(limits::MANIFEST_BODY, 8, "number of parts")?;
    let mut parts = Vec::with_capacity(n);
    for _ in 0..n {
        let invalid = r.invalid("length of a part");
        let len = r.u64("length of a part")?;
        if !(PART_HEADER_LEN..=limits::PART).contains(&len) {
            return Err(invalid);
        }
        parts.push(len);
    }
    Ok(parts)
}

fn blocks(
    r: &mut Reader<'_>,
    fits: impl Fn(Location) -> bool,
) -> Result<Vec<BlockRef>, DecodeError> {
    let n = r.count(limits::MANIFEST_BODY, BLOCK_LEN, "number of index blocks")?;
    let mut blocks = Vec::with_capacity(n);
    let mut last = 0;
    for _ in 0..n {
        let invalid = r.invalid("index block");
        let first_page = r.u32("index block")?;
        let last_page = r.u32("index block")?;
        let entries = r.u32("index block")?;
        let batches = r.u32("index block")?;
        let part = r.u32("index block")?;
        let offset = r.u64("index block")?;
        let len = r.u32("index block")?;
        let at = Location { part, offset, len };
        let within = |n: u32, limit: usize| n >= 1 && usize::try_from(n).is_ok_and(|n| n <= limit);
        let sound = first_page >= 1
            && first_page >= last
            && last_page >= first_page
            && within(entries, limits::INDEX_ENTRIES)
            && within(batches, limits::INDEX_BATCHES)
            && fits(at);
        if !sound {
            return Err(invalid);
        }
        last = last_page;
        blocks.push(BlockRef { first_page, last_page, entries, batches, at });
    }
    Ok(blocks)
}

/// The bytes in front of a part's data. They only help people and `verify`: the seals of batches
/// and index blocks bind the segment by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHeader {
    /// The master key of the segment.
    pub key: KeyId,
    /// The segment.
    pub segment: SegmentId,
    /// The number of the part, from 0.
    pub part: u32,
}

impl PartHeader {
    /// The header's bytes, [`PART_HEADER_LEN`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        super::Header::new(super::ObjectKind::Part).encode(&mut w);
        w.bytes(&self.key.0).bytes(&self.segment.0).u32(self.part).zeros(4);
        w.0
    }

    /// Reads a part's header.
    ///
    /// # Errors
    /// When the bytes are not exactly such a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        super::Header::decode(&mut r, super::ObjectKind::Part)?;
        let key = KeyId(r.array("key id")?);
        let segment = SegmentId(r.array("segment id")?);
        let part = r.u32("part number")?;
        r.zeros(4, "reserved bytes of the part")?;
        r.finish()?;
        Ok(Self { key, segment, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        let commit = |n: u8| CommitRecord {
            seq: Seq(u64::from(n) - 1),
            time: Timestamp(n.into()),
            pages: 10,
            changed: 10,
            digest: Digest([n; 16]),
            stored: 1234,
            kind: CommitKind::Scan,
        };
        Manifest {
            history: HistoryId([1; 16]),
            term: Term(2),
            token: WriterToken([3; 16]),
            kind: SegmentKind::Delta,
            page_size: PageSize::new(4096).unwrap(),
            parent: Some(SegmentRef { id: SegmentId([4; 16]), digest: [5; 32] }),
            covers: None,
            carries: false,
            first: Seq(6),
            versions: 20,
            batches: 1,
            inline_len: 0,
            commits: vec![commit(7), commit(8)],
            parts: vec![1000, 2000],
            origins: vec![Origin { key: KeyId([9; 8]), segment: SegmentId([9; 16]) }],
            blocks: vec![BlockRef {
                first_page: 1,
                last_page: 10,
                entries: 20,
                batches: 1,
                at: Location { part: 1, offset: 48, len: 1952 },
            }],
        }
    }

    #[test]
    fn a_manifest_comes_back_and_no_other_length_is_one() {
        let mut m = manifest();
        m.carries = true;
        assert_eq!(Manifest::decode(&m.encode()), Ok(m.clone()));
        assert!(m.is_sparse() && m.commit(Seq(6)).is_some() && m.commit(Seq(7)).is_none());
        m.carries = false;
        let bytes = m.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(m.clone()));
        assert_eq!((m.last(), m.is_sparse()), (Seq(7), false));
        assert_eq!(m.commit(Seq(7)).unwrap().digest, Digest([8; 16]));
        assert!(m.commit(Seq(5)).is_none() && m.commit(Seq(8)).is_none());
        for i in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..i]).is_err(), "cut at {i}");
        }
        assert!(Manifest::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        type Spoil = fn(&mut Manifest);
        let spoils: [(&str, Spoil); 12] = [
            ("commits out of order", |m| m.commits.swap(0, 1)),
            ("no commits", |m| m.commits.clear()),
            ("more versions than entries", |m| m.versions += 1),
            ("seq 0", |m| m.first = Seq(0)),
            ("a seq before the first", |m| m.first = Seq(7)),
            ("a delta without parent", |m| m.parent = None),
            ("inline and parts", |m| m.inline_len = 5),
            ("a location past its part", |m| m.blocks[0].at.len += 1),
            ("a location in the header", |m| m.blocks[0].at.offset = 47),
            ("a location in no part", |m| m.blocks[0].at.part = 2),
            ("an empty block", |m| m.blocks[0].entries = 0),
            ("a huge part", |m| m.parts[0] = limits::PART + 1),
        ];
        for (what, spoil) in spoils {
            let mut m = manifest();
            spoil(&mut m);
            assert!(Manifest::decode(&m.encode()).is_err(), "{what}");
        }
    }

    #[test]
    fn part_headers_come_back() {
        let header = PartHeader { key: KeyId([1; 8]), segment: SegmentId([2; 16]), part: 3 };
        let bytes = header.encode();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), PART_HEADER_LEN);
        assert_eq!(PartHeader::decode(&bytes), Ok(header));
    }
}
