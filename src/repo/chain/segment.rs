//! A published segment: its manifest opened, its index blocks and batches within reach.
//!
//! Invariant: a manifest is believed only if its seal opened under its own name, and it says of
//! itself what the name says.

use std::ops::RangeInclusive;

use crate::codec::batch::{DataSeal, Decoder};
use crate::codec::seal::SealKey;
use crate::error::{Error, Result};
use crate::format::header::SPARSE;
use crate::format::index::IndexBlock;
use crate::format::names::LogName;
use crate::format::segment::{
    BlockRef, CommitKind, CommitRecord, Location, Manifest, Origin, SegmentKind, SegmentRef,
};
use crate::format::{ObjectKind, SealedPrefix, limits};
use crate::repo::history::handle::History;
use crate::repo::repository::Repository;
use crate::types::{Digest, KeyId, PageSize, SegmentId, Seq, Term, WriterToken};

/// First and last commit and id of a merged segment, as its name tells.
pub(crate) type MergedName = (Seq, Seq, SegmentId);

/// How many bytes of a segment object to ask for at first: enough for all but large manifests.
const FIRST_READ: usize = 16 * 1024;

/// How many bytes of an index block are kept if they came with the manifest: those of a small
/// delta, and no more than what its manifest takes.
const NEAR: usize = 2 * 1024;

/// A published segment, its manifest opened.
#[derive(Debug)]
pub struct Segment {
    repository: Repository,
    name: String,
    key: KeyId,
    /// How others refer to it.
    pub reference: SegmentRef,
    /// Its manifest.
    pub manifest: Manifest,
    /// Where the inline data begins in the object.
    data_at: u64,
    /// The last seq that it stands for, which a merge may have dropped.
    pub(crate) end: Seq,
    /// Whether it has the feature of that name.
    pub(crate) sparse: bool,
    /// Whether it only stands in for a hole, and is nowhere stored.
    bridge: bool,
    /// Its one index block, sealed, if that is small and came with the manifest.
    near: Option<Box<[u8]>>,
}

impl Segment {
    /// Reads and opens a segment object, if it is there.
    fn read(history: &History, name: &str) -> Result<Option<Self>> {
        Self::read_at(history, name, name)
    }

    /// How long an object says that its manifest is, or how long it is itself if that makes no
    /// sense.
    pub(crate) fn manifest_len(history: &History, at: &str) -> Result<u64> {
        let store = history.repository().store();
        let Some(len) = store.head(at)? else { return Ok(0) };
        let front = store.get_range(at, 0, SealedPrefix::LEN)?.unwrap_or_default();
        let said = SealedPrefix::decode(&front, ObjectKind::Segment, limits::MANIFEST_BODY);
        Ok(said.map_or(len, |prefix| u64::from(prefix.body_len).min(len)))
    }

    /// As the others, of a segment that was sealed under another name than it lies under: in the
    /// quarantine. Its data can't be read there.
    pub(crate) fn read_at(history: &History, at: &str, name: &str) -> Result<Option<Self>> {
        let repository = history.repository();
        let Some(mut bytes) = repository.store().get_range(at, 0, FIRST_READ)? else {
            return Ok(None);
        };
        let as_what = (ObjectKind::Segment, limits::MANIFEST_BODY);
        let read = |len| Ok(repository.store().get_range(at, 0, len)?.unwrap_or_default());
        let prefix = repository.prefix_of(name, as_what, &bytes, read)?;
        let body_len = usize::try_from(prefix.body_len).unwrap_or(usize::MAX);
        let front_len = SealedPrefix::LEN.saturating_add(body_len);
        if bytes.len() < front_len {
            bytes = read(front_len)?;
        }
        let body = repository.open_object(name, &prefix, &bytes)?;
        let manifest = Manifest::decode(&body).map_err(|e| e.of(name))?;
        if manifest.history != history.id() {
            return Err(Error::damaged(name, "belongs to another history"));
        }
        let sparse = prefix.header.required & SPARSE != 0;
        if manifest.is_sparse() && !sparse {
            return Err(Error::damaged(name, "leaves out commits without saying so"));
        }
        let front = bytes.get(..front_len).unwrap_or_default();
        let digest = *blake3::hash(front).as_bytes();
        let reference = SegmentRef { id: SegmentId(prefix.object), digest };
        let end = manifest.last();
        let near = near(&manifest, bytes.get(front_len..).unwrap_or_default());
        Ok(Some(Self {
            repository: repository.clone(),
            name: name.to_owned(),
            key: prefix.key,
            reference,
            manifest,
            data_at: u64::try_from(front_len).unwrap_or(u64::MAX),
            end,
            sparse,
            bridge: false,
            near,
        }))
    }

    /// What stands in the place of a hole between two segments, for whoever reads around it; `None`
    /// if no number lies between them.
    pub(crate) fn bridge(history: &History, below: Option<&Self>, above: &Self) -> Option<Self> {
        let nobody = (Term(0), WriterToken::default());
        let manifest = bridge(history, below, above, nobody)?;
        let end = Seq(above.manifest.first.0.saturating_sub(1));
        let id = SegmentId::default();
        Some(Self {
            repository: history.repository().clone(),
            name: history.names().merged_segment(manifest.first, end, id),
            key: KeyId::default(),
            reference: SegmentRef { id, digest: [0; 32] },
            manifest,
            data_at: 0,
            end,
            sparse: true,
            bridge: true,
            near: None,
        })
    }

    /// Whether it only stands in for a hole.
    pub(crate) fn is_bridge(&self) -> bool {
        self.bridge
    }

    /// Reads a segment of the log.
    pub(crate) fn read_log(history: &History, at: LogName) -> Result<Option<Self>> {
        let name = history.names().segment(at);
        let Some(segment) = Self::read(history, &name)? else { return Ok(None) };
        let manifest = &segment.manifest;
        if manifest.term == at.term && manifest.first == at.first && manifest.covers.is_none() {
            return Ok(Some(segment));
        }
        Err(Error::damaged(name, "is another segment under this one's name"))
    }

    /// Reads a merged segment.
    pub(crate) fn read_merged(
        history: &History,
        (first, last, id): MergedName,
    ) -> Result<Option<Self>> {
        let name = history.names().merged_segment(first, last, id);
        let Some(mut segment) = Self::read(history, &name)? else { return Ok(None) };
        segment.end = last;
        let manifest = &segment.manifest;
        let named =
            manifest.first == first && manifest.last() <= last && segment.reference.id == id;
        if named && manifest.covers.is_some() {
            return Ok(Some(segment));
        }
        Err(Error::damaged(name, "is another segment under this one's name"))
    }

    /// Whether anything of it is sealed under another key than this one.
    pub(crate) fn has_other_keys(&self, key: KeyId) -> bool {
        self.key != key || self.manifest.origins.iter().any(|origin| origin.key != key)
    }

    /// What its name tells, if it is one of the log.
    pub(crate) fn log_name(&self) -> LogName {
        LogName { term: self.manifest.term, first: self.manifest.first }
    }

    /// Whether a merge made it.
    pub fn is_merged(&self) -> bool {
        self.manifest.covers.is_some()
    }

    /// How its child names it: a merged segment goes by the last one that it covers.
    pub(crate) fn as_parent(&self) -> SegmentRef {
        self.manifest.covers.unwrap_or(self.reference)
    }

    /// The name of its object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the object that holds a location.
    pub(crate) fn object_of(&self, at: Location) -> String {
        if self.manifest.parts.is_empty() {
            return self.name.clone();
        }
        crate::format::names::HistoryNames(self.manifest.history).part(self.reference.id, at.part)
    }

    /// Where a location ends in its object.
    pub(crate) fn end_of(&self, at: Location) -> u64 {
        let base = if self.manifest.parts.is_empty() { self.data_at } else { 0 };
        base.saturating_add(at.offset).saturating_add(at.len.into())
    }

    /// The sealed bytes at a location.
    pub(crate) fn fetch(&self, at: Location) -> Result<Vec<u8>> {
        let name = self.object_of(at);
        if !self.manifest.contains(at) {
            return Err(Error::damaged(&*self.name, "refers to bytes outside of its data"));
        }
        let base = if self.manifest.parts.is_empty() { self.data_at } else { 0 };
        let len = usize::try_from(at.len).unwrap_or(usize::MAX);
        let bytes = self
            .repository
            .store()
            .get_range(&name, base.saturating_add(at.offset), len)?
            .ok_or_else(|| Error::damaged(&*name, "is missing"))?;
        if bytes.len() != len {
            return Err(Error::damaged(name, "ends too early"));
        }
        Ok(bytes)
    }

    /// The index blocks that have entries of some of these pages, with their numbers.
    pub(crate) fn blocks_within(
        &self,
        pages: RangeInclusive<u32>,
    ) -> impl Iterator<Item = (usize, &BlockRef)> {
        // Blocks ascend by their pages.
        let blocks = &self.manifest.blocks;
        let first = blocks.partition_point(|b| b.last_page < *pages.start());
        let blocks = blocks.iter().enumerate().skip(first);
        blocks.take_while(move |(_, b)| b.first_page <= *pages.end())
    }

    /// Reads and opens an index block.
    pub(crate) fn block(
        &self,
        number: usize,
        block: &BlockRef,
        decoder: &mut Decoder,
    ) -> Result<IndexBlock> {
        self.open_block(number, block, self.fetch(block.at)?, decoder)
    }

    /// As [`Segment::block`], from what came with the manifest if that has it. It was read when the
    /// chain was: for whoever asks whether the object is there still it is the wrong answer.
    pub(crate) fn near_block(
        &self,
        number: usize,
        block: &BlockRef,
        decoder: &mut Decoder,
    ) -> Result<IndexBlock> {
        match &self.near {
            Some(sealed) => self.open_block(number, block, sealed.to_vec(), decoder),
            None => self.block(number, block, decoder),
        }
    }

    fn open_block(
        &self,
        number: usize,
        block: &BlockRef,
        mut sealed: Vec<u8>,
        decoder: &mut Decoder,
    ) -> Result<IndexBlock> {
        let name = self.object_of(block.at);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let plain = decoder
            .decode_index(&self.seal(0)?, number, block.entries, block.batches, &mut sealed)
            .map_err(|e| e.of(&name))?;
        let commits = self.manifest.commits.len();
        let index = IndexBlock::decode(plain, block.batches, block.entries, commits)
            .map_err(|e| e.of(&name))?;
        let (first, last) = (index.entries.first(), index.entries.last());
        let as_listed = first.is_some_and(|e| e.page.0 == block.first_page)
            && last.is_some_and(|e| e.page.0 == block.last_page);
        if !as_listed {
            return Err(Error::damaged(
                name,
                "has an index block that its manifest lists differently",
            ));
        }
        Ok(index)
    }

    /// Who sealed the batches of an origin: 0 for the segment itself.
    pub(crate) fn origin(&self, origin: u16) -> Result<Origin> {
        match usize::from(origin).checked_sub(1) {
            None => Ok(Origin { key: self.key, segment: self.reference.id }),
            Some(i) => self.manifest.origins.get(i).copied().ok_or_else(|| {
                Error::damaged(&*self.name, "refers to an origin that it does not list")
            }),
        }
    }

    /// What opens the batches of an origin.
    pub(crate) fn seal(&self, origin: u16) -> Result<DataSeal> {
        let Origin { key, segment } = self.origin(origin)?;
        let ids = (self.repository.id(), self.manifest.history, segment);
        let master = self.repository.master(key, &self.name)?;
        Ok(DataSeal { key: SealKey::for_data(&master, ids.0, ids.1, ids.2), ids })
    }

    /// The length that the segment's object must have.
    pub(crate) fn object_len(&self) -> u64 {
        self.data_at.saturating_add(self.manifest.inline_len)
    }

    /// Bytes that the segment takes in the store, manifest included.
    pub fn stored_len(&self) -> u64 {
        self.manifest.parts.iter().fold(self.object_len(), |sum, len| sum.saturating_add(*len))
    }
}

/// The one index block of a segment, if it is small and in what was read of the inline data.
fn near(manifest: &Manifest, data: &[u8]) -> Option<Box<[u8]>> {
    let [block] = &*manifest.blocks else { return None };
    let len = usize::try_from(block.at.len).ok().filter(|len| *len <= NEAR)?;
    if !manifest.parts.is_empty() || !manifest.contains(block.at) {
        return None;
    }
    let begin = usize::try_from(block.at.offset).ok()?;
    data.get(begin..begin.checked_add(len)?).map(Box::from)
}

/// The manifest of a segment that stands in place of missing ones, between two that are there: a
/// base without pages, and without a commit that could be restored. `None` if there is no number
/// between them.
pub(crate) fn bridge(
    history: &History,
    below: Option<&Segment>,
    above: &Segment,
    (term, token): (Term, WriterToken),
) -> Option<Manifest> {
    let first = below.map_or(Seq(1), |s| s.end.next());
    let last = Seq(above.manifest.first.0.checked_sub(1).filter(|last| *last >= first.0)?);
    let time = above.manifest.commits.first().map(|c| c.time).unwrap_or_default();
    let record = CommitRecord {
        seq: first,
        time,
        pages: 0,
        changed: 0,
        digest: Digest::default(),
        stored: 0,
        kind: CommitKind::Scan,
    };
    debug_assert!(first <= last);
    Some(Manifest {
        parent: below.map(Segment::as_parent),
        covers: above.manifest.parent,
        ..without_pages(history, (term, token), above.manifest.page_size, record)
    })
}

/// The manifest of a base that has nothing but a carried commit.
pub(crate) fn without_pages(
    history: &History,
    (term, token): (Term, WriterToken),
    page_size: PageSize,
    record: CommitRecord,
) -> Manifest {
    Manifest {
        history: history.id(),
        term,
        token,
        kind: SegmentKind::Base,
        page_size,
        parent: None,
        covers: None,
        carries: true,
        first: record.seq,
        versions: 0,
        batches: 0,
        inline_len: 0,
        commits: vec![record],
        parts: Vec::new(),
        origins: Vec::new(),
        blocks: Vec::new(),
    }
}
