//! The output of a merge: batches whose pages all survive are copied sealed, the others' pages are
//! packed anew.
//!
//! What the newest commit consists of goes into batches of its own, so that restoring it reads
//! little else; a batch in which both kinds of pages stand is packed anew once more than one page
//! in [`MIXED`] is of the other kind.
//!
//! Invariants: entries come out by page and then commit; every page that is packed anew has the
//! digest that its index gave; decoded batches are kept up to [`CACHE`] bytes, and what is packed
//! at once is [`WAVE`] batches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use super::window::{Source, Version};
use super::work::Options;
use crate::codec::batch::{BATCH_LEN, DataSeal, SelfCheck};
use crate::codec::digest::PageHasher;
use crate::codec::pool::panicked;
use crate::codec::wave;
use crate::error::{Error, Result};
use crate::format::index::{BatchRef, IndexBlock, IndexEntry};
use crate::format::limits;
use crate::format::segment::{BlockRef, Origin};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::reader::{BatchReader, page_of};
use crate::repo::write::segment_data::{BLOCK_ENTRIES, SegmentData, too_many};
use crate::types::{PageNo, PageSize};

/// Bytes of decoded batches that are kept.
const CACHE: usize = 64 * 1024 * 1024;
/// How many batches are packed side by side.
const WAVE: usize = 16;
/// One page in how many of a batch that the newest commit needs may be of an older one.
const MIXED: u32 = 10;

/// A version that survives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survivor {
    pub(super) version: Version,
    /// Its commit in the merge's table.
    pub(super) commit: u32,
    /// Whether it is the page's content in the newest commit.
    pub(super) current: bool,
}

/// A segment under way, made of others.
pub(super) struct Emitter<'a> {
    pub(super) data: SegmentData,
    hasher: PageHasher,
    options: &'a Options,
    monitor: &'a dyn Monitor,
    reader: BatchReader,
    page_size: PageSize,
    per_batch: usize,
    pub(super) origins: Vec<Origin>,
    pub(super) blocks: Vec<BlockRef>,
    pub(super) versions: u64,
    pub(super) batches: u64,
    /// Bytes of sealed batches that were copied.
    pub(super) copied: u64,
    checker: Option<Checker>,
    /// Batches that were packed anew: their number is the next one's.
    packed: u32,
}

/// What to do with the survivors of a window, in the order of their first pages.
enum Unit {
    /// Copy a source batch.
    Copy(u32),
    /// Pack survivors, by place, into a new batch.
    Pack(Vec<usize>),
}

impl<'a> Emitter<'a> {
    pub(super) fn new(
        data: SegmentData,
        page_size: PageSize,
        options: &'a Options,
        monitor: &'a dyn Monitor,
    ) -> Result<Self> {
        let hasher = data.history().hasher();
        let reader = BatchReader::new(data.history())?;
        Ok(Self {
            data,
            hasher,
            options,
            monitor,
            reader,
            page_size,
            per_batch: (BATCH_LEN / page_size.bytes()).max(1),
            origins: Vec::new(),
            blocks: Vec::new(),
            versions: 0,
            batches: 0,
            copied: 0,
            checker: None,
            packed: 0,
        })
    }

    /// Waits until the seals of all that was copied were opened.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`] when one does not open.
    pub(super) fn checked(&mut self) -> Result<()> {
        self.checker.take().map_or(Ok(()), Checker::finish)
    }

    /// Writes a window's survivors, which are in the order of pages and commits.
    pub(super) fn window(&mut self, sources: &[Source], survivors: &[Survivor]) -> Result<()> {
        let units = self.plan(sources, survivors);
        // Where each survivor ends up: which of the placed batches, and its slot there.
        let mut placed: Vec<BatchRef> = Vec::with_capacity(units.len());
        let mut places: Vec<(u32, u16)> = vec![(0, 0); survivors.len()];
        let mut of_source: HashMap<u32, u32> = HashMap::new();
        let mut cache = Cache::default();
        let mut waiting: Vec<Vec<usize>> = Vec::new();
        for unit in units {
            match unit {
                Unit::Copy(source) => {
                    check_cancelled(self.monitor)?;
                    let at = u32::try_from(placed.len()).map_err(|_| too_many())?;
                    let Some(from) = usize::try_from(source).ok().and_then(|i| sources.get(i))
                    else {
                        continue;
                    };
                    placed.push(self.copy(from)?);
                    of_source.insert(source, at);
                }
                Unit::Pack(pages) => {
                    waiting.push(pages);
                    if waiting.len() == WAVE {
                        self.pack(
                            sources,
                            survivors,
                            &mut waiting,
                            &mut cache,
                            &mut placed,
                            &mut places,
                        )?;
                    }
                }
            }
        }
        self.pack(sources, survivors, &mut waiting, &mut cache, &mut placed, &mut places)?;
        for (survivor, place) in survivors.iter().zip(&mut places) {
            if let Some(at) = of_source.get(&survivor.version.batch) {
                *place = (*at, survivor.version.slot);
            }
        }
        self.batches += u64::try_from(placed.len()).unwrap_or(u64::MAX);
        self.index(survivors, &places, &placed)
    }

    /// Decides which batches are copied, and in which order all is written.
    fn plan(&self, sources: &[Source], survivors: &[Survivor]) -> Vec<Unit> {
        let mut live = vec![(0u32, 0u32); sources.len()];
        for survivor in survivors {
            let at = usize::try_from(survivor.version.batch).ok();
            if let Some((all, current)) = at.and_then(|i| live.get_mut(i)) {
                *all += 1;
                *current += u32::from(survivor.current);
            }
        }
        // Batches of too many segments can't be copied into one: its list of origins is bounded.
        let origins: HashSet<_> = sources
            .iter()
            .filter_map(|s| Some(s.segment.origin(s.batch.origin).ok()?.segment))
            .collect();
        let room = self.origins.len() + origins.len() < limits::ORIGINS;
        let copied: Vec<bool> =
            sources.iter().zip(&live).map(|(s, live)| room && self.is_copied(s, *live)).collect();
        let mut done = vec![false; sources.len()];
        let mut units = Vec::new();
        // Pages of the newest commit, and the others.
        let mut open: [Vec<usize>; 2] = Default::default();
        for (at, survivor) in survivors.iter().enumerate() {
            let source = usize::try_from(survivor.version.batch).unwrap_or(usize::MAX);
            if copied.get(source) == Some(&true) {
                if let Some(done) = done.get_mut(source).filter(|done| !**done) {
                    *done = true;
                    units.push(Unit::Copy(survivor.version.batch));
                }
                continue;
            }
            let [current, older] = &mut open;
            let open = if survivor.current { current } else { older };
            open.push(at);
            if open.len() == self.per_batch {
                units.push(Unit::Pack(std::mem::take(open)));
            }
        }
        units.extend(open.into_iter().filter(|open| !open.is_empty()).map(Unit::Pack));
        units
    }

    /// A batch is copied if all its pages survive, nearly all of them for the same reason, it is
    /// worth a batch of its own, and it is sealed under the same key: merges carry the data of
    /// older keys over.
    fn is_copied(&self, source: &Source, (live, current): (u32, u32)) -> bool {
        if self.options.repack {
            return false;
        }
        let pages = usize::from(source.batch.pages);
        let alike = current == 0 || is_settled(live, current);
        let full = usize::try_from(live) == Ok(pages) && pages * 4 >= self.per_batch && alike;
        let key = source.segment.origin(source.batch.origin).map(|o| o.key).ok();
        full && key == Some(self.data.key())
    }

    /// Copies a sealed batch as it is.
    fn copy(&mut self, source: &Source) -> Result<BatchRef> {
        let sealed = source.segment.fetch(source.batch.at)?;
        let origin = source.segment.origin(source.batch.origin)?;
        let known = self.origins.iter().position(|o| *o == origin);
        let origin = known.unwrap_or_else(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        });
        let origin = u16::try_from(origin + 1).map_err(|_| too_many())?;
        let at = self.data.append(&sealed)?;
        self.copied += u64::from(at.len);
        // Nothing that was damaged on its way is passed on.
        let checker = match self.checker.take() {
            Some(checker) => checker,
            None => Checker::start()?,
        };
        self.checker = Some(checker.check(source, sealed)?);
        self.advance(source.batch.pages.into());
        Ok(BatchRef { at, origin, ..source.batch })
    }

    fn advance(&self, pages: usize) {
        let bytes = pages.saturating_mul(self.page_size.bytes());
        self.monitor.advance(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Packs the waiting units.
    fn pack(
        &mut self,
        sources: &[Source],
        survivors: &[Survivor],
        waiting: &mut Vec<Vec<usize>>,
        cache: &mut Cache,
        placed: &mut Vec<BatchRef>,
        places: &mut [(u32, u16)],
    ) -> Result<()> {
        let page_len = self.page_size.bytes();
        let mut plains = Vec::with_capacity(waiting.len());
        for unit in waiting.iter() {
            check_cancelled(self.monitor)?;
            let mut plain = Vec::with_capacity(unit.len() * page_len);
            for Survivor { version, .. } in unit.iter().filter_map(|at| survivors.get(*at)) {
                let source = usize::try_from(version.batch).ok().and_then(|i| sources.get(i));
                let Some(source) = source else { continue };
                self.page(source, version, cache, &mut plain)?;
            }
            plains.push(plain);
        }
        let options = self.options;
        let sealed = wave::encode(
            self.data.seal(),
            self.packed,
            plains,
            self.page_size,
            (options.compression, SelfCheck::Every),
            self.data.history().repository().threads(),
        )?;
        for (batch, unit) in sealed.into_iter().zip(waiting.drain(..)) {
            let at = self.data.append(&batch.bytes)?;
            let place = u32::try_from(placed.len()).map_err(|_| too_many())?;
            for (slot, survivor) in (0u16..).zip(&unit) {
                if let Some(entry) = places.get_mut(*survivor) {
                    *entry = (place, slot);
                }
            }
            placed.push(BatchRef {
                at,
                number: batch.number,
                pages: batch.pages,
                origin: 0,
                codec: batch.codec,
            });
            self.packed = self.packed.checked_add(1).ok_or_else(too_many)?;
            self.advance(unit.len());
        }
        Ok(())
    }

    /// Appends a version's content to `out`.
    fn page(
        &mut self,
        source: &Source,
        version: &Version,
        cache: &mut Cache,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (segment, batch) = (&*source.segment, &source.batch);
        let reader = &mut self.reader;
        let plain =
            cache.get(version.batch, || reader.plain(segment, batch).map(<[u8]>::to_vec))?;
        let page = (version.slot, PageNo(version.page), &version.digest);
        let content = page_of(&self.hasher, (segment, batch), plain, page)?;
        out.extend_from_slice(content);
        Ok(())
    }

    /// Writes the index blocks of a window.
    fn index(
        &mut self,
        survivors: &[Survivor],
        places: &[(u32, u16)],
        placed: &[BatchRef],
    ) -> Result<()> {
        let rows: Vec<_> = survivors.iter().zip(places).collect();
        for rows in rows.chunks(BLOCK_ENTRIES) {
            let mut block = IndexBlock::default();
            let mut known: HashMap<u32, u16> = HashMap::new();
            for (Survivor { version, commit, .. }, (place, slot)) in rows {
                let batch = match known.get(place) {
                    Some(batch) => *batch,
                    None => {
                        let listed = usize::try_from(*place).ok().and_then(|i| placed.get(i));
                        let listed = listed.ok_or_else(too_many)?;
                        let batch = u16::try_from(block.batches.len()).map_err(|_| too_many())?;
                        block.batches.push(*listed);
                        known.insert(*place, batch);
                        batch
                    }
                };
                block.entries.push(IndexEntry {
                    page: PageNo(version.page),
                    commit: *commit,
                    batch,
                    slot: *slot,
                    digest: version.digest,
                });
            }
            self.versions += u64::try_from(block.entries.len()).unwrap_or(u64::MAX);
            let number = self.blocks.len();
            self.blocks.push(self.data.append_block(number, &block)?);
        }
        Ok(())
    }
}

/// Whether so few of the pages of a batch are of older commits only that it may stay as it is.
pub(super) fn is_settled(live: u32, current: u32) -> bool {
    live.saturating_sub(current) * MIXED <= live
}

/// Opens the seals of copied batches on a thread of its own: decrypting takes as long as copying.
struct Checker {
    batches: Sender<(DataSeal, BatchRef, Vec<u8>, String)>,
    thread: JoinHandle<Result<()>>,
}

impl Checker {
    fn start() -> Result<Self> {
        let (batches, waiting) = bounded::<(DataSeal, BatchRef, Vec<u8>, String)>(WAVE);
        let work = move || {
            waiting.iter().try_for_each(|(seal, batch, mut bytes, object)| {
                seal.open(&batch, &mut bytes).map_err(|e| e.of(&object))
            })
        };
        let thread = std::thread::Builder::new().name("pagekeep-check".to_owned()).spawn(work);
        let thread =
            thread.map_err(|e| Error::io(e, "cannot be started", "the checking thread"))?;
        Ok(Self { batches, thread })
    }

    fn check(self, source: &Source, bytes: Vec<u8>) -> Result<Self> {
        let seal = source.segment.seal(source.batch.origin)?;
        let object = source.segment.object_of(source.batch.at);
        match self.batches.send((seal, source.batch, bytes, object)) {
            Ok(()) => Ok(self),
            // It stopped at the first that does not open.
            Err(_) => Err(self.finish().err().unwrap_or_else(panicked)),
        }
    }

    fn finish(self) -> Result<()> {
        drop(self.batches);
        self.thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

/// Batches that were decoded, the oldest of which go when they are too many.
#[derive(Default)]
struct Cache {
    plain: HashMap<u32, Vec<u8>>,
    order: VecDeque<u32>,
    bytes: usize,
}

impl Cache {
    fn get(&mut self, key: u32, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<&[u8]> {
        if !self.plain.contains_key(&key) {
            let made = make()?;
            self.bytes += made.len();
            while self.bytes > CACHE
                && let Some(oldest) = self.order.pop_front()
            {
                self.bytes -= self.plain.remove(&oldest).map_or(0, |p| p.len());
            }
            self.order.push_back(key);
            self.plain.insert(key, made);
        }
        Ok(self.plain.get(&key).map_or(&[], Vec::as_slice))
    }
}
