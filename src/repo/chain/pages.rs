//! Single pages of a commit, in whatever order they are asked for: batches that were decoded last
//! are kept, and those ahead of a scan are decoded by other threads.
//!
//! Invariants:
//! - No page leaves here whose digest is not the one that its index gave, however often it is
//!   asked for ([`super::reader`]).
//! - A batch is decoded by one thread at a time; who needs it meanwhile waits for that one.
//! - What a thread ahead could not read says nothing: who asks for the page reads it again, and
//!   gets the error.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::changed::Between;
use super::known::Known;
use super::lookup::{Blocks, Lookup, Version};
use super::reader::{BatchReader, page_of};
use super::recent::Recent;
use super::{Chain, Commit};
use crate::codec::batch::BATCH_LEN;
use crate::codec::digest::PageHasher;
use crate::error::{Error, Result};
use crate::format::segment::Location;
use crate::repo::history::handle::History;
use crate::types::{Digest, PageNo, PageSize, SegmentId, Seq};

/// How much memory pages may take, and how many threads read ahead of a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of index blocks.
    pub(crate) index: usize,
    /// Bytes of decoded batches.
    pub(crate) batches: usize,
    /// Bytes of single pages.
    pub(crate) contents: usize,
    /// Bytes of pages that are read at one commit after the other.
    pub(crate) near: usize,
    /// Threads that read ahead; none if there shall be no reading ahead.
    pub(crate) threads: usize,
}

/// How many batches in a row make a scan.
const STREAK: u32 = 2;
/// How many batches each thread is ahead of a scan.
const AHEAD: usize = 2;

/// The pages of one commit.
pub(crate) struct Pages {
    shared: Arc<Shared>,
    scan: Mutex<Scan>,
    threads: usize,
    /// How many batches may be under way ahead of a scan.
    depth: usize,
    ahead: Mutex<Option<Ahead>>,
}

/// What all threads share.
struct Shared {
    history: History,
    lookup: Lookup,
    hasher: PageHasher,
    cache: Arc<Cache>,
}

/// What was read last of a history, for all commits that are looked into side by side.
pub(crate) struct Cache {
    blocks: Arc<Blocks>,
    known: Known,
    decoded: Mutex<Decoded>,
    /// Rings whenever a batch is not under way any more.
    arrived: Condvar,
    /// Pages that were compared with their digests.
    contents: Mutex<Recent<(PageNo, Digest), [u8]>>,
    /// What reads batches, and has nothing to read just now.
    readers: Mutex<Vec<BatchReader>>,
    bounds: Bounds,
}

impl Cache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Failure`] when zstd gets no memory.
    pub(crate) fn within(bounds: Bounds) -> Result<Arc<Self>> {
        let recent = Recent::within(bounds.batches);
        let decoded = Decoded { recent, spare: None, under_way: HashSet::new() };
        Ok(Arc::new(Self {
            blocks: Blocks::within(bounds.index)?,
            known: Known::new(bounds.near),
            decoded: Mutex::new(decoded),
            arrived: Condvar::new(),
            contents: Mutex::new(Recent::within(bounds.contents)),
            readers: Mutex::default(),
            bounds,
        }))
    }

    /// Forgets where pages were found: merges have moved them.
    pub(crate) fn forget_places(&self) {
        self.known.clear();
    }
}

/// A batch, wherever it is listed.
type Key = (SegmentId, Location);

/// Batches that were decoded.
struct Decoded {
    recent: Recent<Key, [u8]>,
    /// What the last one that was forgotten took: the next one takes its place.
    spare: Option<Arc<[u8]>>,
    /// Those that some thread is decoding.
    under_way: HashSet<Key>,
}

/// Whether batches are asked for in their order.
#[derive(Default)]
struct Scan {
    /// The batch that the last page was in, and that page.
    last: Option<(Key, PageNo)>,
    /// How many batches came in their order.
    streak: u32,
    /// Up to which page batches were sent for.
    upto: u32,
}

/// Threads that decode batches before they are asked for.
struct Ahead {
    wanted: Sender<Version>,
    threads: Vec<JoinHandle<()>>,
}

impl Pages {
    /// The pages of a commit of a chain of the history that the cache is of.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Failure`] when zstd gets no memory.
    pub(crate) fn new(
        history: &History,
        chain: &Arc<Chain>,
        commit: &Commit,
        cache: &Arc<Cache>,
    ) -> Result<Self> {
        let bounds = cache.bounds;
        let shared = Shared {
            history: history.clone(),
            lookup: Lookup::new(chain, commit, cache.blocks.clone()),
            hasher: history.hasher(),
            cache: cache.clone(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            scan: Mutex::new(Scan::default()),
            threads: bounds.threads,
            // Half of the room: what was asked for shall not make way for what may be asked for.
            depth: (bounds.threads * AHEAD).min(bounds.batches / BATCH_LEN / 2),
            ahead: Mutex::new(None),
        })
    }

    /// The size of each page.
    pub(crate) fn page_size(&self) -> PageSize {
        self.shared.lookup.commit().segment.manifest.page_size
    }

    /// How many pages the database has.
    pub(crate) fn count(&self) -> u32 {
        self.shared.lookup.commit().record.pages
    }

    /// Tells which pages were written behind an earlier commit that the same cache serves. All
    /// others are where they were then.
    pub(crate) fn know_written(&self, since: Seq, between: Between) -> Arc<[PageNo]> {
        let written: Arc<[PageNo]> = between.pages.into();
        let seqs = (since, self.shared.lookup.commit().seq);
        self.shared.cache.known.step(seqs, written.clone(), between.steps);
        written
    }

    /// The digest of each of these pages, which ascend; `None` for the page of the lock byte.
    ///
    /// # Errors
    /// As [`Pages::read`], of what leads to the pages.
    pub(crate) fn digests(&self, pages: &[PageNo]) -> Result<Vec<Option<Digest>>> {
        let found = self.shared.find(pages)?;
        Ok(found.into_iter().map(|version| Some(version?.digest)).collect())
    }

    /// Reads a page into a buffer of its size.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`], naming the object, when anything is not as it was
    /// stored; store errors.
    pub(crate) fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()> {
        let Some(version) = self.version(page)? else {
            // The page of the lock byte has nothing in it.
            into.fill(0);
            return Ok(());
        };
        self.go_ahead(page, &version);
        self.read_version(page, &version, &mut |content| match content.len() == into.len() {
            true => {
                into.copy_from_slice(content);
                Ok(())
            }
            false => {
                let what = "has pages of another size than its commit";
                Err(Error::damaged(version.segment.object_of(version.batch.at), what))
            }
        })
    }

    /// A page's content, which is kept for whoever asks for it next.
    ///
    /// # Errors
    /// As [`Pages::read`].
    pub(crate) fn content(&self, page: PageNo) -> Result<Arc<[u8]>> {
        let (known, seq) = (&self.shared.cache.known, self.shared.lookup.commit().seq);
        if let Some(content) = known.content(page, seq) {
            return Ok(content);
        }
        let content = self.content_of(page)?;
        known.put_content(page, seq, &content);
        Ok(content)
    }

    fn content_of(&self, page: PageNo) -> Result<Arc<[u8]>> {
        let Some(version) = self.version(page)? else {
            return Ok(vec![0; self.page_size().bytes()].into());
        };
        let key = (page, version.digest);
        if let Some(content) = lock(&self.shared.cache.contents).get(&key) {
            return Ok(content);
        }
        let mut found: Option<Arc<[u8]>> = None;
        self.read_version(page, &version, &mut |content| {
            found = Some(content.into());
            Ok(())
        })?;
        let content = found.unwrap_or_default();
        if content.len() != self.page_size().bytes() {
            let what = "has pages of another size than its commit";
            return Err(Error::damaged(version.segment.object_of(version.batch.at), what));
        }
        lock(&self.shared.cache.contents).put(key, content.clone(), content.len());
        Ok(content)
    }

    fn version(&self, page: PageNo) -> Result<Option<Version>> {
        // Most pages are where they were.
        if let Some(known) = self.shared.known(page) {
            return Ok(known);
        }
        Ok(self.shared.find(&[page])?.into_iter().next().flatten())
    }

    fn read_version(
        &self,
        page: PageNo,
        version: &Version,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let plain = self.shared.batch(version)?;
        let of = (&*version.segment, &version.batch);
        let wanted = (version.slot, page, &version.digest);
        take(page_of(&self.shared.hasher, of, &plain, wanted)?)
    }

    /// Sends for the batches behind a page, if those before it were asked for in their order.
    fn go_ahead(&self, page: PageNo, version: &Version) {
        if self.depth == 0 {
            return;
        }
        let mut scan = lock(&self.scan);
        if !scan.enters(page, key_of(version), self.page_size()) {
            return;
        }
        let per_batch = u32::from(version.batch.pages);
        let depth = u32::try_from(self.depth).unwrap_or(u32::MAX);
        let end = page.0.saturating_add(per_batch.saturating_mul(depth)).min(self.count());
        let begin = page.0.max(scan.upto).saturating_add(1);
        if begin > end {
            return;
        }
        scan.upto = end;
        drop(scan);
        let pages: Vec<PageNo> = (begin..=end).map(PageNo).collect();
        // Who asks for one of these pages gets the error.
        let Ok(found) = self.shared.lookup.find(&pages) else { return };
        let mut ahead = lock(&self.ahead);
        let ahead = ahead.get_or_insert_with(|| Ahead::begin(&self.shared, self.threads));
        let mut sent = HashSet::from([key_of(version)]);
        for version in found.into_iter().flatten() {
            let key = key_of(&version);
            if sent.insert(key) && !self.shared.has(&key) && ahead.wanted.try_send(version).is_err()
            {
                // The threads are behind already.
                return;
            }
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(Ahead { wanted, threads }) = lock(&self.ahead).take() {
            // Without a sender they end, after the batch that they are at.
            drop(wanted);
            for thread in threads {
                // One that panicked let go of its batch.
                let _ = thread.join();
            }
        }
    }
}

impl Scan {
    /// Takes note of the next page. Returns whether a scan comes to its next batch with it.
    fn enters(&mut self, page: PageNo, key: Key, page_size: PageSize) -> bool {
        let Some((last, before)) = self.last.replace((key, page)) else { return false };
        if last == key {
            return false;
        }
        let per_batch = u32::try_from(BATCH_LEN / page_size.bytes()).unwrap_or(u32::MAX);
        let step = page.0.checked_sub(before.0);
        // A table's pages may have those of another one in between.
        if step.is_some_and(|step| step <= per_batch.saturating_mul(2)) {
            self.streak = self.streak.saturating_add(1);
        } else {
            (self.streak, self.upto) = (0, 0);
        }
        self.streak >= STREAK
    }
}

impl Ahead {
    fn begin(shared: &Arc<Shared>, threads: usize) -> Self {
        let (wanted, queue) = crossbeam_channel::bounded(threads * AHEAD);
        let begin = || {
            let (shared, queue) = (shared.clone(), queue.clone());
            std::thread::spawn(move || shared.decode_all(&queue))
        };
        let threads = (0..threads).map(|_| begin()).collect();
        Self { wanted, threads }
    }
}

impl Shared {
    /// The version of a page, if it is known.
    fn known(&self, page: PageNo) -> Option<Option<Version>> {
        self.cache.known.get(page, self.lookup.commit().seq)
    }

    /// The version of each of these pages, which ascend.
    fn find(&self, pages: &[PageNo]) -> Result<Vec<Option<Version>>> {
        let (known, seq) = (&self.cache.known, self.lookup.commit().seq);
        let mut found: Vec<Option<Option<Version>>> =
            pages.iter().map(|page| self.known(*page)).collect();
        let open = pages.iter().zip(&found).filter(|(_, found)| found.is_none());
        let open: Vec<PageNo> = open.map(|(page, _)| *page).collect();
        if !open.is_empty() {
            let mut missing = self.lookup.find(&open)?.into_iter();
            for (page, place) in pages.iter().zip(&mut found).filter(|(_, place)| place.is_none()) {
                let version = missing.next().flatten();
                known.put(*page, seq, version.clone());
                *place = Some(version);
            }
        }
        Ok(found.into_iter().map(Option::flatten).collect())
    }

    fn decode_all(&self, queue: &Receiver<Version>) {
        for version in queue {
            // Who asks for it gets the error.
            let _ = self.batch(&version);
        }
    }

    fn has(&self, key: &Key) -> bool {
        let decoded = lock(&self.cache.decoded);
        decoded.recent.has(key) || decoded.under_way.contains(key)
    }

    /// The plain bytes of the batch that a version is in. Nothing was compared with a digest yet.
    fn batch(&self, version: &Version) -> Result<Arc<[u8]>> {
        let key = key_of(version);
        let mut decoded = lock(&self.cache.decoded);
        loop {
            if let Some(plain) = decoded.recent.get(&key) {
                return Ok(plain);
            }
            if decoded.under_way.insert(key) {
                break;
            }
            decoded = self.cache.arrived.wait(decoded).unwrap_or_else(PoisonError::into_inner);
        }
        let spare = decoded.spare.take();
        drop(decoded);
        let _under_way = UnderWay { shared: self, key };
        let reader = lock(&self.cache.readers).pop();
        let mut reader = reader.map_or_else(|| BatchReader::new(&self.history), Ok)?;
        let plain = moved_to(spare, reader.plain(&version.segment, &version.batch)?);
        lock(&self.cache.readers).push(reader);
        let mut decoded = lock(&self.cache.decoded);
        let forgotten = decoded.recent.put(key, plain.clone(), plain.len());
        decoded.spare = forgotten.or(decoded.spare.take());
        Ok(plain)
    }
}

/// A batch that a thread is decoding; dropped, whatever becomes of that.
struct UnderWay<'s> {
    shared: &'s Shared,
    key: Key,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.shared.cache.decoded).under_way.remove(&self.key);
        self.shared.cache.arrived.notify_all();
    }
}

/// Some bytes in what is spare, if they fit and nobody reads that any more.
fn moved_to(spare: Option<Arc<[u8]>>, bytes: &[u8]) -> Arc<[u8]> {
    if let Some(mut spare) = spare.filter(|spare| spare.len() == bytes.len())
        && let Some(room) = Arc::get_mut(&mut spare)
    {
        room.copy_from_slice(bytes);
        return spare;
    }
    bytes.into()
}

fn key_of(version: &Version) -> Key {
    (version.segment.reference.id, version.batch.at)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
