//! The chain of a history: its segments from the first to the newest, each checked against its parent.
//!
//! Invariants:
//! - The newest segment is the one with the highest term and in it the highest first commit. Whatever is not
//!   among its ancestors is garbage: a late write of a superseded writer, or what a merge replaced.
//! - A merged segment stands in for its last covered segment, and all before it that it covers, once those are gone.
//! - A segment is on the chain only if its seal opened under its own name, its child names its digest, terms do
//!   not go down, and commits follow without a gap. A chain that is broken anywhere is an error that names the
//!   object, never a shorter chain.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::batch::{DataSeal, Decoder};
use crate::codec::seal::SealKey;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::IndexBlock;
use crate::format::names::LogName;
use crate::format::segment::{BlockRef, CommitRecord, Location, Manifest, SegmentKind, SegmentRef};
use crate::format::{ObjectKind, SealedPrefix, limits};
use crate::repo::Repository;
use crate::repo::history::History;
use crate::types::{KeyId, SegmentId, Seq};

/// First and last commit and id of a merged segment, as its name tells.
type MergedName = (Seq, Seq, SegmentId);

/// How many bytes of a segment object to ask for at first: enough for all but large manifests.
const FIRST_READ: usize = 16 * 1024;

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
}

impl Segment {
    /// Reads and opens a segment object, if it is there.
    fn read(history: &History, name: &str) -> Result<Option<Self>> {
        let repository = history.repository();
        let Some(mut bytes) = repository.store().get_range(name, 0, FIRST_READ)? else {
            return Ok(None);
        };
        let prefix = SealedPrefix::decode(&bytes, ObjectKind::Segment, limits::MANIFEST_BODY)
            .map_err(|e| e.of(name))?;
        let body_len = usize::try_from(prefix.body_len).unwrap_or(usize::MAX);
        let front_len = SealedPrefix::LEN.saturating_add(body_len);
        if bytes.len() < front_len {
            bytes = repository.store().get_range(name, 0, front_len)?.unwrap_or_default();
        }
        let body = repository.open_object(name, &prefix, &bytes)?;
        let manifest = Manifest::decode(&body).map_err(|e| e.of(name))?;
        if manifest.history != history.id() {
            return Err(Error::damaged(name, "belongs to another history"));
        }
        let front = bytes.get(..front_len).unwrap_or_default();
        let digest = *blake3::hash(front).as_bytes();
        let reference = SegmentRef { id: SegmentId(prefix.object), digest };
        Ok(Some(Self {
            repository: repository.clone(),
            name: name.to_owned(),
            key: prefix.key,
            reference,
            manifest,
            data_at: u64::try_from(front_len).unwrap_or(u64::MAX),
        }))
    }

    /// Reads a segment of the log.
    fn read_log(history: &History, at: LogName) -> Result<Option<Self>> {
        let name = history.names().segment(at);
        let Some(segment) = Self::read(history, &name)? else { return Ok(None) };
        let manifest = &segment.manifest;
        if manifest.term == at.term && manifest.first == at.first && manifest.covers.is_none() {
            return Ok(Some(segment));
        }
        Err(Error::damaged(name, "is another segment under this one's name"))
    }

    /// Reads a merged segment.
    fn read_merged(history: &History, (first, last, id): MergedName) -> Result<Option<Self>> {
        let name = history.names().merged_segment(first, last, id);
        let Some(segment) = Self::read(history, &name)? else { return Ok(None) };
        let manifest = &segment.manifest;
        let named =
            manifest.first == first && manifest.last() <= last && segment.reference.id == id;
        if named && manifest.covers.is_some() {
            return Ok(Some(segment));
        }
        Err(Error::damaged(name, "is another segment under this one's name"))
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

    /// Reads and opens an index block.
    pub(crate) fn block(
        &self,
        number: usize,
        block: &BlockRef,
        decoder: &mut Decoder,
    ) -> Result<IndexBlock> {
        let name = self.object_of(block.at);
        let mut sealed = self.fetch(block.at)?;
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

    /// What opens the batches of an origin: 0 for the segment's own.
    pub(crate) fn seal(&self, origin: u16) -> Result<DataSeal> {
        let (key, segment) = match usize::from(origin).checked_sub(1) {
            None => (self.key, self.reference.id),
            Some(i) => {
                self.manifest.origins.get(i).map(|o| (o.key, o.segment)).ok_or_else(|| {
                    Error::damaged(&*self.name, "refers to an origin that it does not list")
                })?
            }
        };
        let ids = (self.repository.id(), self.manifest.history, segment);
        let master = self.repository.master(key, &self.name)?;
        Ok(DataSeal { key: SealKey::for_data(master, ids.0, ids.1, ids.2), ids })
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

/// A commit, and the segment that holds it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its sequence number.
    pub seq: Seq,
    /// What its segment says of it.
    pub record: CommitRecord,
    /// Its segment.
    pub segment: Arc<Segment>,
}

/// The segments of a history, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    segments: Vec<Arc<Segment>>,
    /// Segments in the log that are not on the chain.
    strays: usize,
}

impl Chain {
    /// Lists and reads all segments, and walks them from the newest.
    pub(crate) fn load(history: &History) -> Result<Self> {
        let (store, names) = (history.repository().store(), history.names());
        let mut log: Vec<LogName> =
            store.list(&names.log())?.iter().filter_map(|e| names.parse_segment(&e.name)).collect();
        let mut merged: Vec<MergedName> = store
            .list(&names.merged())?
            .iter()
            .filter_map(|e| names.parse_merged(&e.name))
            .collect();
        log.sort();
        merged.sort_by_key(|(_, last, id)| (*last, *id));
        // The newest segment has to be readable; a merged one only where the log is empty.
        let newest = match log.pop() {
            Some(at) => Segment::read_log(history, at)?
                .ok_or_else(|| Error::damaged(names.segment(at), "is missing"))?,
            None => match merged.pop() {
                Some(at) => Segment::read_merged(history, at)?.ok_or_else(|| {
                    Error::damaged(names.merged_segment(at.0, at.1, at.2), "is missing")
                })?,
                None => return Ok(Self::default()),
            },
        };
        let mut pool = Pool::default();
        for at in log {
            pool.add(Segment::read_log(history, at))?;
        }
        for at in merged {
            pool.add(Segment::read_merged(history, at))?;
        }
        let mut segments = vec![Arc::new(newest)];
        while let Some((child, parent)) =
            segments.last().and_then(|s| Some((s, s.manifest.parent?)))
        {
            let segment = pool.take(child, parent)?;
            check_link(&segment, child)?;
            segments.push(segment);
        }
        segments.reverse();
        if let Some(first) = segments.first().filter(|s| s.manifest.kind != SegmentKind::Base) {
            return Err(Error::damaged(first.name(), "begins the history and is no base"));
        }
        Ok(Self { segments, strays: pool.by_id.len() })
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// How many segments of the log are not on the chain.
    pub fn strays(&self) -> usize {
        self.strays
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<&Arc<Segment>> {
        self.segments.last()
    }

    /// All commits, oldest first.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = Commit> + '_ {
        self.segments.iter().flat_map(|segment| {
            let commit = |record: &CommitRecord| Commit {
                seq: record.seq,
                record: *record,
                segment: segment.clone(),
            };
            segment.manifest.commits.iter().map(commit)
        })
    }

    /// The newest commit.
    pub fn latest(&self) -> Option<Commit> {
        self.commits().next_back()
    }

    /// The commit with that number.
    pub fn commit(&self, seq: Seq) -> Option<Commit> {
        let at = self.segments.partition_point(|s| s.manifest.last() < seq);
        let segment = self.segments.get(at)?;
        let record = *segment.manifest.commit(seq)?;
        Some(Commit { seq, record, segment: segment.clone() })
    }

    /// The segments that a commit's pages are in: from the nearest base up to the commit's own.
    pub(crate) fn lineage(&self, seq: Seq) -> &[Arc<Segment>] {
        let end = self.segments.partition_point(|s| s.manifest.first <= seq);
        let upto = self.segments.get(..end).unwrap_or_default();
        let base = upto.iter().rposition(|s| s.manifest.kind == SegmentKind::Base).unwrap_or(0);
        upto.get(base..).unwrap_or_default()
    }
}

/// The segments that may be on the chain, found by the id that a child names.
#[derive(Default)]
struct Pool {
    by_id: HashMap<SegmentId, Arc<Segment>>,
    /// For each segment that a merge covered last, the merged one that stands in for it.
    covered: HashMap<SegmentId, SegmentId>,
    /// The first that could not be read. It may be a stray: it is an error only if the walk needs it.
    unreadable: Option<Error>,
}

impl Pool {
    fn add(&mut self, segment: Result<Option<Segment>>) -> Result<()> {
        match segment {
            Ok(Some(segment)) => {
                if let Some(covers) = segment.manifest.covers {
                    self.covered.insert(covers.id, segment.reference.id);
                }
                self.by_id.insert(segment.reference.id, Arc::new(segment));
            }
            Ok(None) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::Damaged | ErrorKind::TooNew | ErrorKind::WrongKey
                ) =>
            {
                self.unreadable.get_or_insert(e);
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// The segment that a child names, or else the merged one that covers it.
    fn take(&mut self, child: &Segment, parent: SegmentRef) -> Result<Arc<Segment>> {
        let merged = self.covered.get(&parent.id).copied();
        let found =
            self.by_id.remove(&parent.id).or_else(|| merged.and_then(|id| self.by_id.remove(&id)));
        found.ok_or_else(|| {
            self.unreadable.take().unwrap_or_else(|| {
                Error::damaged(
                    child.name(),
                    format!("has a parent, segment {}, that is missing", parent.id),
                )
            })
        })
    }
}

fn check_link(parent: &Segment, child: &Segment) -> Result<()> {
    let named = child.manifest.parent;
    let (merged, last) = (parent.manifest.covers.is_some(), parent.manifest.last());
    let problem = if named != Some(parent.reference) && named != parent.manifest.covers {
        "differs from what its child says of it"
    } else if !merged && parent.manifest.term > child.manifest.term {
        "has a higher term than its child"
    } else if last >= child.manifest.first || (!merged && last.next() != child.manifest.first) {
        "does not end where its child begins"
    } else if child.manifest.kind == SegmentKind::Delta
        && parent.manifest.page_size != child.manifest.page_size
    {
        "has another page size than its delta"
    } else {
        return Ok(());
    };
    Err(Error::damaged(parent.name(), problem))
}
