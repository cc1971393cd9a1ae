//! The road from pages to sealed batches.
//!
//! ```text
//!             jobs (bounded)                      done (bounded)
//! collector ----------------> workers ----------------------------> collector -> sink
//!             Read | Encode     read a chunk under the source's lock,   puts results in order,
//!                               hash, compare, compress, seal, check    batches loose pages
//! ```
//!
//! A worker takes a chunk through every stage while it is warm in its cache: on few cores that
//! beats a specialist for each stage. Only where just some pages of a chunk changed do they go to
//! the collector, which fills whole batches of them, in page order, and hands those out as jobs of
//! their own.
//!
//! Invariants:
//! - Chunks are numbered under the source's lock, and results are used in that order, so the sink
//!   sees pages ascending.
//! - The collector never has more than [`Flow::window`] jobs outstanding, and the channels hold
//!   that many: nobody blocks for good, and memory is bounded by the number of workers, whatever
//!   the size of the database.
//! - The first error ends all; the pinned source is released when `run` returns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::codec::batch::{BATCH_LEN, Compression, DataSeal, Encoder, SealedBatch, SelfCheck};
use crate::codec::digest::PageHasher;
use crate::codec::pool::panicked;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::local::digests::HeadDigests;
use crate::sqlite::image::{CHUNK_LEN, Chunk, PageSource};
use crate::types::{Digest, PageNo, PageSize};

/// What every worker needs to know.
pub(crate) struct Plan<'a> {
    pub(crate) hasher: &'a PageHasher,
    pub(crate) seal: &'a DataSeal,
    pub(crate) compression: Compression,
    pub(crate) self_check: SelfCheck,
    pub(crate) threads: usize,
    pub(crate) page_size: PageSize,
    /// The digests of the head's pages; `None` to store every page.
    pub(crate) old: Option<&'a HeadDigests>,
}

/// Pages of a batch and their digests.
pub(crate) type Entries = Vec<(PageNo, Digest)>;

/// Receives what the pipeline makes, in page order, on the calling thread.
pub(crate) trait Sink {
    /// Pages that were read, with their digests; the changed ones among them come as a batch as
    /// well.
    fn seen(&mut self, pages: &[(PageNo, Digest)]) -> Result<()>;
    /// A sealed batch of changed pages.
    fn batch(&mut self, batch: &SealedBatch, entries: &Entries) -> Result<()>;
}

/// What changed in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Pages whose content is new.
    pub(crate) changed: u64,
    /// XOR of the old and the new digests of the changed pages.
    pub(crate) toggled: Digest,
}

enum Job {
    Read,
    Encode { slot: u64, entries: Entries, data: Vec<u8> },
}

enum Done {
    Chunk(u64, Box<Hashed>),
    Encoded(u64, Box<(SealedBatch, Entries)>),
    End,
    Failed(Error),
}

/// A chunk after hashing and comparing.
#[derive(Default)]
struct Hashed {
    seen: Vec<(PageNo, Digest)>,
    totals: Totals,
    /// When every page changed: the chunk's batches, ready.
    batches: Vec<(SealedBatch, Entries)>,
    /// Else the changed pages.
    loose: Entries,
    data: Vec<u8>,
}

/// Takes all pages of the source through the workers to the sink.
pub(crate) fn run(
    plan: &Plan<'_>,
    source: Box<dyn PageSource + '_>,
    sink: &mut dyn Sink,
    monitor: &dyn Monitor,
) -> Result<Totals> {
    let threads = plan.threads.max(1);
    let flow = Flow { window: threads * 16 + 16, reads: threads * 3 };
    let (job_tx, job_rx) = bounded(flow.window);
    let (done_tx, done_rx) = bounded(flow.window);
    let input = Mutex::new(Input { source, next: 0, ended: false });
    let numbers = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (jobs, done) = (job_rx.clone(), done_tx.clone());
                let (input, numbers) = (&input, &numbers);
                scope.spawn(move || {
                    let worked =
                        Worker::new(plan, numbers).and_then(|w| w.work(input, &jobs, &done));
                    if let Err(e) = worked {
                        // Nobody listens only if the collector failed first, and then its error
                        // counts.
                        let _ = done.send(Done::Failed(e));
                    }
                })
            })
            .collect();
        drop((job_rx, done_tx));
        let mut collector = Collector::new(plan, flow, job_tx, sink, monitor);
        let collected = collector.collect(&done_rx);
        let totals = collector.totals;
        // Closing both channels ends the workers, also those that wait.
        drop((collector, done_rx));
        for worker in workers {
            worker.join().map_err(|_| panicked())?;
        }
        collected.map(|()| totals)
    })
}

#[derive(Clone, Copy)]
struct Flow {
    /// Jobs outstanding at most.
    window: usize,
    /// Chunks under way at most: being read, or waiting for an earlier one.
    reads: usize,
}

struct Input<'s> {
    source: Box<dyn PageSource + 's>,
    next: u64,
    ended: bool,
}

struct Worker<'p> {
    plan: &'p Plan<'p>,
    numbers: &'p AtomicU32,
    encoder: Encoder,
    chunk: Chunk,
}

impl<'p> Worker<'p> {
    fn new(plan: &'p Plan<'p>, numbers: &'p AtomicU32) -> Result<Self> {
        let encoder = Encoder::new(plan.compression, plan.self_check)?;
        let chunk = Chunk { pages: Vec::new(), data: Vec::with_capacity(CHUNK_LEN) };
        Ok(Self { plan, numbers, encoder, chunk })
    }

    fn work(
        mut self,
        input: &Mutex<Input<'_>>,
        jobs: &Receiver<Job>,
        done: &Sender<Done>,
    ) -> Result<()> {
        for job in jobs {
            let result = match job {
                Job::Read => self.read(input)?,
                Job::Encode { slot, entries, data } => {
                    let batch = self.encode(&entries, &data)?;
                    Done::Encoded(slot, Box::new((batch, entries)))
                }
            };
            // The collector is gone: somebody else failed.
            if done.send(result).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, input: &Mutex<Input<'_>>) -> Result<Done> {
        let number = {
            let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
            if input.ended {
                return Ok(Done::End);
            }
            if !input.source.next(&mut self.chunk)? {
                input.ended = true;
                return Ok(Done::End);
            }
            input.next += 1;
            input.next - 1
        };
        Ok(Done::Chunk(number, Box::new(self.hash()?)))
    }

    /// Hashes the chunk's pages, compares them, and encodes the chunk if every page changed.
    fn hash(&mut self) -> Result<Hashed> {
        let mut hashed = Hashed::default();
        let page_len = self.plan.page_size.bytes();
        let olds = self.old_digests()?;
        let mut changed = Vec::with_capacity(self.chunk.pages.len());
        let pages = self.chunk.pages.iter().zip(self.chunk.data.chunks_exact(page_len));
        for ((number, content), old) in pages.zip(olds) {
            let digest = self.plan.hasher.digest(*number, content);
            hashed.seen.push((*number, digest));
            changed.push(old != Some(digest));
            if old != Some(digest) {
                hashed.totals.changed += 1;
                hashed.totals.toggled.toggle(&digest);
                if let Some(old) = old {
                    hashed.totals.toggled.toggle(&old);
                }
            }
        }
        if changed.iter().all(|c| *c) {
            hashed.batches = self.encode_all(&hashed.seen)?;
        } else {
            let pages = hashed.seen.iter().zip(self.chunk.data.chunks_exact(page_len));
            for ((entry, content), _) in pages.zip(&changed).filter(|(_, changed)| **changed) {
                hashed.loose.push(*entry);
                hashed.data.extend_from_slice(content);
            }
        }
        Ok(hashed)
    }

    fn old_digests(&self) -> Result<Vec<Option<Digest>>> {
        let pages = &self.chunk.pages;
        let mut olds = vec![None; pages.len()];
        let (Some(old), Some(first), Some(last)) = (self.plan.old, pages.first(), pages.last())
        else {
            return Ok(olds);
        };
        let consecutive =
            usize::try_from(last.0 - first.0).is_ok_and(|span| span + 1 == pages.len());
        if consecutive {
            old.read(*first, &mut olds)?;
        } else {
            for (page, slot) in pages.iter().zip(olds.chunks_mut(1)) {
                old.read(*page, slot)?;
            }
        }
        Ok(olds)
    }

    fn encode_all(&mut self, seen: &[(PageNo, Digest)]) -> Result<Vec<(SealedBatch, Entries)>> {
        let page_len = self.plan.page_size.bytes();
        let per_batch = pages_per_batch(self.plan.page_size);
        let data = std::mem::take(&mut self.chunk.data);
        let mut batches = Vec::with_capacity(seen.len() / per_batch + 1);
        for (entries, plain) in seen.chunks(per_batch).zip(data.chunks(per_batch * page_len)) {
            batches.push((self.encode(entries, plain)?, entries.to_vec()));
        }
        self.chunk.data = data;
        Ok(batches)
    }

    fn encode(&mut self, entries: &[(PageNo, Digest)], plain: &[u8]) -> Result<SealedBatch> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let pages = u16::try_from(entries.len())
            .map_err(|_| Error::new(ErrorKind::Failure, "a batch has too many pages"))?;
        self.encoder.encode(self.plan.seal, number, pages, plain)
    }
}

fn pages_per_batch(page_size: PageSize) -> usize {
    (BATCH_LEN / page_size.bytes()).max(1)
}

struct Collector<'c> {
    flow: Flow,
    per_batch: usize,
    page_len: usize,
    jobs: Sender<Job>,
    sink: &'c mut dyn Sink,
    monitor: &'c dyn Monitor,
    totals: Totals,
    /// Jobs whose answers are still to come, and the reads among them.
    outstanding: usize,
    reading: usize,
    ended: bool,
    /// Chunks that came before their turn.
    early: BTreeMap<u64, Box<Hashed>>,
    next_chunk: u64,
    /// Changed pages that do not fill a batch yet.
    loose: Entries,
    data: Vec<u8>,
    /// Batches in page order; `None` while a worker encodes one. The first has the number
    /// `first_slot`.
    ready: VecDeque<Option<(SealedBatch, Entries)>>,
    first_slot: u64,
}

impl<'c> Collector<'c> {
    fn new(
        plan: &Plan<'_>,
        flow: Flow,
        jobs: Sender<Job>,
        sink: &'c mut dyn Sink,
        monitor: &'c dyn Monitor,
    ) -> Self {
        Self {
            flow,
            per_batch: pages_per_batch(plan.page_size),
            page_len: plan.page_size.bytes(),
            jobs,
            sink,
            monitor,
            totals: Totals::default(),
            outstanding: 0,
            reading: 0,
            ended: false,
            early: BTreeMap::new(),
            next_chunk: 0,
            loose: Vec::new(),
            data: Vec::new(),
            ready: VecDeque::new(),
            first_slot: 0,
        }
    }

    fn collect(&mut self, done: &Receiver<Done>) -> Result<()> {
        loop {
            check_cancelled(self.monitor)?;
            self.ask_for_more()?;
            if self.outstanding == 0 {
                if self.loose.is_empty() {
                    return self.flush();
                }
                self.send_loose()?;
            }
            let answer =
                done.recv().map_err(|_| Error::new(ErrorKind::Failure, "the workers stopped"))?;
            self.outstanding -= 1;
            match answer {
                Done::Chunk(number, hashed) => {
                    self.reading -= 1;
                    self.early.insert(number, hashed);
                    while let Some(hashed) = self.early.remove(&self.next_chunk) {
                        self.next_chunk += 1;
                        self.take(*hashed)?;
                    }
                }
                Done::Encoded(slot, batch) => {
                    let place = usize::try_from(slot - self.first_slot).unwrap_or(usize::MAX);
                    if let Some(waiting) = self.ready.get_mut(place) {
                        *waiting = Some(*batch);
                    }
                }
                Done::End => {
                    self.reading -= 1;
                    self.ended = true;
                }
                Done::Failed(e) => return Err(e),
            }
            self.flush()?;
        }
    }

    /// Asks for chunks while there are any, few are under way, and not too many batches wait.
    fn ask_for_more(&mut self) -> Result<()> {
        while !self.ended
            && self.reading + self.early.len() < self.flow.reads
            && self.outstanding < self.flow.window / 2
            && self.ready.len() < self.flow.window
        {
            self.send(Job::Read)?;
            self.reading += 1;
        }
        Ok(())
    }

    fn send(&mut self, job: Job) -> Result<()> {
        self.outstanding += 1;
        self.jobs.send(job).map_err(|_| Error::new(ErrorKind::Failure, "the workers stopped"))
    }

    fn take(&mut self, hashed: Hashed) -> Result<()> {
        self.totals.changed += hashed.totals.changed;
        self.totals.toggled.toggle(&hashed.totals.toggled);
        self.sink.seen(&hashed.seen)?;
        let bytes = hashed.seen.len().saturating_mul(self.page_len);
        self.monitor.advance(u64::try_from(bytes).unwrap_or(u64::MAX));
        if !hashed.batches.is_empty() {
            self.send_loose()?;
            self.ready.extend(hashed.batches.into_iter().map(Some));
        }
        let pages = hashed.loose.iter().zip(hashed.data.chunks_exact(self.page_len));
        for (entry, content) in pages {
            self.loose.push(*entry);
            self.data.extend_from_slice(content);
            if self.loose.len() == self.per_batch {
                self.send_loose()?;
            }
        }
        Ok(())
    }

    fn send_loose(&mut self) -> Result<()> {
        if self.loose.is_empty() {
            return Ok(());
        }
        let slot = self.first_slot + u64::try_from(self.ready.len()).unwrap_or(u64::MAX);
        self.ready.push_back(None);
        let (entries, data) = (std::mem::take(&mut self.loose), std::mem::take(&mut self.data));
        self.send(Job::Encode { slot, entries, data })
    }

    /// Gives the sink all batches up to the first that is still being encoded.
    fn flush(&mut self) -> Result<()> {
        while let Some(Some((batch, entries))) = self.ready.front() {
            self.sink.batch(batch, entries)?;
            self.ready.pop_front();
            self.first_slot += 1;
        }
        Ok(())
    }
}
