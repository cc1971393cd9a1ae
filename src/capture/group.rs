//! A group of captured transactions on its way to one segment: every commit kept, versions of one
//! page side by side.
//!
//! ```text
//! frames -> Group (contents spooled, in order of capture) -> digests, in order of commits -> sort by page, commit
//!        -> batches, on all cores -> segment
//! ```
//!
//! Invariants:
//! - A group holds whole transactions; pages of an unfinished one are kept apart and forgotten by
//!   [`Group::abandon`].
//! - Of each transaction the newest version of each page counts, and none beyond the size that it
//!   ends with.
//! - A version that equals the one before is dropped; a page beyond the size before is always
//!   stored.
//! - Memory holds a few numbers for each version, and contents up to a limit (`spool`). So a group
//!   can outgrow memory, and a crash leaves nothing behind.
//! - A version is hashed once, and copied once, into the batch that is packed.

use std::collections::HashMap;
use std::path::Path;

use crate::capture::commit::CaptureOptions;
use crate::capture::spool::{Slabs, Spool};
use crate::codec::batch::BATCH_LEN;
use crate::codec::wave::Wave;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::{CommitKind, CommitRecord, SegmentKind};
use crate::policy::mark::Front;
use crate::repo::local::digests::HeadDigests;
use crate::repo::local::state::Head;
use crate::repo::write::segment_writer::{Entry, Outline, Prepared, SegmentWriter};
use crate::repo::write::writer::Writer;
use crate::sqlite::source::Position;
use crate::sqlite::tail::FrameSink;
use crate::types::{Clock, Digest, PageNo, PageSize, Timestamp};

/// A group is published at once when it has grown to this.
const FULL_BYTES: u64 = 16 * 1024 * 1024;
const FULL_COMMITS: usize = 50_000;
/// Batches encoded side by side before they are written.
const WAVE: usize = 64;
/// Digests of pages that are so near to each other are read at once.
const NEAR: u32 = 128;

/// A page version whose content is in the spool.
#[derive(Clone, Copy, Debug)]
struct Version {
    page: PageNo,
    commit: u32,
    /// Which page of the spool.
    at: u32,
}

#[derive(Clone, Copy, Debug)]
struct GroupCommit {
    time: Timestamp,
    pages: u32,
    /// What page 1 says, if the transaction wrote it.
    front: Option<Front>,
}

/// Transactions that were captured and not published yet.
pub(crate) struct Group {
    page_size: PageSize,
    clock: Clock,
    spool: Spool,
    commits: Vec<GroupCommit>,
    versions: Vec<Version>,
    /// The transaction under way: page, and its place in the spool.
    open: Vec<(PageNo, u32)>,
    /// What its page 1 says.
    open_front: Option<Front>,
    /// Where the last commit stands in the source.
    position: Option<Position>,
}

impl Group {
    /// An empty group, which spools to a directory when it grows.
    pub(crate) fn new(page_size: PageSize, dir: &Path, clock: Clock, slabs: Slabs) -> Self {
        Self {
            page_size,
            clock,
            spool: Spool::new(page_size, dir, slabs),
            commits: Vec::new(),
            versions: Vec::new(),
            open: Vec::new(),
            open_front: None,
            position: None,
        }
    }

    /// How many commits it holds.
    pub(crate) fn len(&self) -> usize {
        self.commits.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// Bytes of pages that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.page_size.file_len(self.spool.len())
    }

    /// Whether it has as much as one segment should have.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= FULL_BYTES || self.len() >= FULL_COMMITS
    }

    /// Whether part of it is in a file.
    pub(crate) fn is_beyond_memory(&self) -> bool {
        self.spool.is_beyond_memory()
    }

    /// When its first commit was captured.
    pub(crate) fn first_time(&self) -> Option<Timestamp> {
        self.commits.first().map(|c| c.time)
    }

    /// What page 1 says in each commit that wrote it.
    pub(crate) fn fronts(&self) -> impl Iterator<Item = Option<Front>> + '_ {
        self.commits.iter().map(|commit| commit.front)
    }

    /// Where its last commit stands in the source.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Works out every commit's digest, and makes one segment of the group. `old` are the head's
    /// page digests.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when the group does not follow on the head; store errors.
    pub(crate) fn prepare(
        &self,
        writer: &Writer,
        head: &Head,
        old: &HeadDigests,
        options: &CaptureOptions,
    ) -> Result<(Prepared, Vec<(PageNo, Digest)>)> {
        if head.page_size != self.page_size {
            return Err(Error::new(ErrorKind::Failure, "the page size changed in between"));
        }
        let mut ledger = Ledger::new(head, old);
        ledger.fetch(self.versions.iter().map(|version| version.page))?;
        let mut kept: Vec<(Version, Digest)> = Vec::with_capacity(self.versions.len());
        let mut records = Vec::with_capacity(self.commits.len());
        let hasher = writer.history().hasher();
        let mut rest = self.versions.iter().copied().peekable();
        for (number, commit) in (0u32..).zip(&self.commits) {
            let before = kept.len();
            while let Some(version) = rest.next_if(|v| v.commit == number) {
                let digest = hasher.digest(version.page, &self.spool.page(version.at)?);
                if ledger.put(version.page, digest)? {
                    kept.push((version, digest));
                }
            }
            ledger.resize(commit.pages, self.page_size)?;
            records.push(CommitRecord {
                seq: head.seq,
                time: commit.time,
                pages: commit.pages,
                changed: u32::try_from(kept.len() - before).unwrap_or(u32::MAX),
                digest: ledger.sum,
                stored: 0,
                kind: CommitKind::Transaction,
            });
        }
        kept.sort_unstable_by_key(|(v, _)| (v.page, v.commit));
        let mut segment = SegmentWriter::new(writer.history())?;
        let threads = writer.history().repository().threads();
        let encoders = Wave::new(options.compression, options.self_check, threads);
        self.encode(&mut segment, &kept, &encoders)?;
        let outline = Outline {
            kind: SegmentKind::Delta,
            page_size: self.page_size,
            parent: Some(head.reference()),
            commits: records,
        };
        let changed = ledger.into_changed();
        Ok((segment.prepare(writer, outline)?, changed))
    }

    fn encode(
        &self,
        segment: &mut SegmentWriter,
        kept: &[(Version, Digest)],
        encoders: &Wave,
    ) -> Result<()> {
        let per_batch = (BATCH_LEN / self.page_size.bytes()).max(1);
        let seal = segment.seal().clone();
        let batches: Vec<&[(Version, Digest)]> = kept.chunks(per_batch).collect();
        let fill = |batch: &[(Version, Digest)], plain: &mut Vec<u8>| -> Result<()> {
            for (version, _) in batch {
                plain.extend_from_slice(&self.spool.page(version.at)?);
            }
            Ok(())
        };
        let mut number = 0u32;
        for wave in batches.chunks(WAVE) {
            let sealed =
                encoders.encode(&seal, number, wave.iter().copied(), self.page_size, fill)?;
            number = number.saturating_add(u32::try_from(wave.len()).unwrap_or(u32::MAX));
            for (batch, entries) in sealed.into_iter().zip(wave) {
                let entry =
                    |(v, digest): &(Version, Digest)| -> Entry { (v.page, v.commit, *digest) };
                segment.push(&batch, entries.iter().map(entry))?;
            }
        }
        Ok(())
    }
}

impl FrameSink for Group {
    fn page(&mut self, page: PageNo, content: &[u8]) -> Result<()> {
        let at = self.spool.push(content)?;
        self.open.push((page, at));
        if page == PageNo(1) {
            self.open_front = Front::of(content);
        }
        Ok(())
    }

    fn commit(&mut self, pages: u32, position: Position) -> Result<()> {
        let commit = u32::try_from(self.commits.len()).unwrap_or(u32::MAX);
        let mut open = std::mem::take(&mut self.open);
        open.retain(|(page, _)| page.0 <= pages);
        // The newest of each page: the last in the spool.
        open.sort_unstable_by_key(|(page, at)| (*page, std::cmp::Reverse(*at)));
        open.dedup_by_key(|(page, _)| *page);
        self.versions.extend(open.iter().map(|(page, at)| Version {
            page: *page,
            commit,
            at: *at,
        }));
        open.clear();
        self.open = open;
        let front = self.open_front.take();
        self.commits.push(GroupCommit { time: self.clock.now(), pages, front });
        self.position = Some(position);
        Ok(())
    }

    fn abandon(&mut self) {
        if let Some((_, first)) = self.open.first() {
            self.spool.truncate(*first);
        }
        self.open.clear();
        self.open_front = None;
    }
}

/// The page digests as they are after each commit of the group.
struct Ledger<'h> {
    old: &'h HeadDigests,
    /// Digests of the head that were read ahead, by page.
    ahead: HashMap<PageNo, Option<Digest>>,
    /// Pages of the head.
    head_pages: u32,
    /// Pages that the group changed, as they are now; `None` for one that is gone.
    now: HashMap<PageNo, Option<Digest>>,
    pages: u32,
    sum: Digest,
    /// How many pages beyond the present size were put.
    added: u32,
}

impl<'h> Ledger<'h> {
    fn new(head: &Head, old: &'h HeadDigests) -> Self {
        Self {
            old,
            ahead: HashMap::new(),
            head_pages: head.pages,
            now: HashMap::new(),
            pages: head.pages,
            sum: head.digest,
            added: 0,
        }
    }

    /// Reads what the head has of some pages, neighbours together.
    fn fetch(&mut self, pages: impl Iterator<Item = PageNo>) -> Result<()> {
        let mut pages: Vec<PageNo> = pages.filter(|page| page.0 <= self.head_pages).collect();
        pages.sort_unstable();
        pages.dedup();
        let mut slab = Vec::new();
        for run in pages.chunk_by(|a, b| b.0 - a.0 < NEAR) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            slab.clear();
            slab.resize(usize::try_from(last.0 - first.0).unwrap_or(usize::MAX) + 1, None);
            self.old.read(*first, &mut slab)?;
            let digest = |page: PageNo| {
                let at = usize::try_from(page.0 - first.0).unwrap_or(usize::MAX);
                slab.get(at).copied().flatten()
            };
            self.ahead.extend(run.iter().map(|page| (*page, digest(*page))));
        }
        Ok(())
    }

    fn get(&self, page: PageNo) -> Result<Option<Digest>> {
        if let Some(digest) = self.now.get(&page).or_else(|| self.ahead.get(&page)) {
            return Ok(*digest);
        }
        if page.0 > self.head_pages {
            return Ok(None);
        }
        let mut digest = [None];
        self.old.read(page, &mut digest)?;
        Ok(digest.first().copied().flatten())
    }

    /// Sets a page; answers `false` if it is as it was.
    fn put(&mut self, page: PageNo, digest: Digest) -> Result<bool> {
        if page.0 > self.pages {
            self.added += 1;
        } else {
            let old = self.get(page)?;
            if old == Some(digest) {
                return Ok(false);
            }
            if let Some(old) = old {
                self.sum.toggle(&old);
            }
        }
        self.sum.toggle(&digest);
        self.now.insert(page, Some(digest));
        Ok(true)
    }

    /// Ends a commit with its size.
    fn resize(&mut self, pages: u32, page_size: PageSize) -> Result<()> {
        for page in (pages.saturating_add(1)..=self.pages).map(PageNo) {
            if page == page_size.lock_page() {
                continue;
            }
            if let Some(old) = self.get(page)? {
                self.sum.toggle(&old);
            }
            self.now.insert(page, None);
        }
        let lock_page = page_size.lock_page().0;
        let spans_lock = u32::from((self.pages.saturating_add(1)..=pages).contains(&lock_page));
        if self.added != pages.saturating_sub(self.pages).saturating_sub(spans_lock) {
            return Err(Error::new(
                ErrorKind::Failure,
                "a transaction let the database grow by pages that it did not write",
            ));
        }
        self.added = 0;
        self.pages = pages;
        Ok(())
    }

    /// What changed in all, for the head's new digests.
    fn into_changed(self) -> Vec<(PageNo, Digest)> {
        let pages = self.pages;
        self.now
            .into_iter()
            .filter(|(page, _)| page.0 <= pages)
            .filter_map(|(page, digest)| Some((page, digest?)))
            .collect()
    }
}
