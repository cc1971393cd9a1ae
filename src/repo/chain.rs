//! The chain of a history: its segments from the first to the newest, each checked against its parent.
//!
//! Invariants:
//! - The newest segment is the one with the highest term and in it the highest first commit. Whatever is not
//!   among its ancestors is garbage: a late write of a superseded writer.
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
use crate::types::{KeyId, SegmentId, Seq, Term};

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
    /// Reads and opens the segment of that name, if it is there.
    pub(crate) fn read(history: &History, at: LogName) -> Result<Option<Self>> {
        let repository = history.repository();
        let name = history.names().segment(at);
        let Some(mut bytes) = repository.store().get_range(&name, 0, FIRST_READ)? else {
            return Ok(None);
        };
        let prefix = SealedPrefix::decode(&bytes, ObjectKind::Segment, limits::MANIFEST_BODY)
            .map_err(|e| e.of(&name))?;
        let body_len = usize::try_from(prefix.body_len).unwrap_or(usize::MAX);
        let front_len = SealedPrefix::LEN.saturating_add(body_len);
        if bytes.len() < front_len {
            bytes = repository.store().get_range(&name, 0, front_len)?.unwrap_or_default();
        }
        let body = repository.open_object(&name, &prefix, &bytes)?;
        let manifest = Manifest::decode(&body).map_err(|e| e.of(&name))?;
        let belongs = manifest.history == history.id()
            && manifest.term == at.term
            && manifest.first == at.first;
        if !belongs {
            return Err(Error::damaged(name, "is another segment under this one's name"));
        }
        let front = bytes.get(..front_len).unwrap_or_default();
        let digest = *blake3::hash(front).as_bytes();
        let reference = SegmentRef { id: SegmentId(prefix.object), digest };
        Ok(Some(Self {
            repository: repository.clone(),
            name,
            key: prefix.key,
            reference,
            manifest,
            data_at: u64::try_from(front_len).unwrap_or(u64::MAX),
        }))
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
    /// Lists and reads the log, and walks it from its newest segment.
    pub(crate) fn load(history: &History) -> Result<Self> {
        let mut log = Vec::new();
        for entry in history.repository().store().list(&history.names().log())? {
            log.extend(history.names().parse_segment(&entry.name));
        }
        log.sort();
        let Some(newest) = log.pop() else { return Ok(Self::default()) };
        let gone = |at| Error::damaged(history.names().segment(at), "is missing");
        let newest = Arc::new(Segment::read(history, newest)?.ok_or_else(|| gone(newest))?);

        // Ancestors are found by id, which only their own objects tell. One that can't be read may be a
        // stray; it is an error only if the walk needs it.
        let mut by_id = HashMap::new();
        let mut unreadable = None;
        for at in log.iter().rev() {
            match Segment::read(history, *at) {
                Ok(Some(segment)) => {
                    by_id.insert(segment.reference.id, Arc::new(segment));
                }
                Ok(None) => {}
                Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                    unreadable.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        let mut segments = vec![newest.clone()];
        let mut child = newest;
        while let Some(parent) = child.manifest.parent {
            let Some(segment) = by_id.remove(&parent.id) else {
                return Err(unreadable.unwrap_or_else(|| {
                    Error::damaged(
                        child.name(),
                        format!(
                            "has a parent, segment {}, that is missing from the log",
                            parent.id
                        ),
                    )
                }));
            };
            check_link(&segment, &child)?;
            segments.push(segment.clone());
            child = segment;
        }
        segments.reverse();
        if segments.first().is_some_and(|s| s.manifest.kind != SegmentKind::Base) {
            return Err(Error::damaged(child.name(), "begins the history and is no base"));
        }
        Ok(Self { segments, strays: by_id.len() })
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

    /// The highest term on the chain.
    pub fn term(&self) -> Term {
        self.newest().map_or(Term(0), |s| s.manifest.term)
    }

    /// All commits, oldest first.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = Commit> + '_ {
        self.segments.iter().flat_map(|segment| {
            let first = segment.manifest.first.0;
            segment
                .manifest
                .commits
                .iter()
                .zip(first..)
                .map(|(record, seq)| (seq, *record))
                .map(|(seq, record)| Commit { seq: Seq(seq), record, segment: segment.clone() })
                .collect::<Vec<_>>()
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

fn check_link(parent: &Segment, child: &Segment) -> Result<()> {
    let named = child.manifest.parent.is_some_and(|p| p.digest == parent.reference.digest);
    let problem = if !named {
        "differs from what its child says of it"
    } else if parent.manifest.term > child.manifest.term {
        "has a higher term than its child"
    } else if parent.manifest.last().next() != child.manifest.first {
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
