//! Several batches packed and sealed side by side.

use std::sync::{Mutex, PoisonError};

use super::batch::{Compression, DataSeal, Encoder, SealedBatch, SelfCheck};
use super::pool;
use crate::error::{Error, ErrorKind, Result};
use crate::types::PageSize;

/// How many batches a thread has to get before another one is begun: below that, beginning it costs
/// more than it saves.
const PER_THREAD: usize = 16;

/// Encoders for one wave of batches after the other. They keep their contexts, their buffers, and
/// the count by which they choose what they decode again.
pub struct Wave {
    compression: Compression,
    check: SelfCheck,
    threads: usize,
    per_thread: usize,
    idle: Mutex<Vec<Worker>>,
}

struct Worker {
    encoder: Encoder,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Wave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wave(..)")
    }
}

/// A worker that goes back when its thread has nothing left to do.
struct Lent<'w> {
    worker: Option<Worker>,
    home: &'w Mutex<Vec<Worker>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).extend(self.worker.take());
    }
}

impl Wave {
    /// Encoders of a strength, on so many threads at most.
    pub fn new(compression: Compression, check: SelfCheck, threads: usize) -> Self {
        // Hard work is worth a thread for each batch.
        let per_thread = if compression == Compression::Max { 1 } else { PER_THREAD };
        Self { compression, check, threads, per_thread, idle: Mutex::new(Vec::new()) }
    }

    /// Packs and seals each of `parts` into one batch, whose pages `fill` puts into an empty
    /// buffer; batches are numbered from `first` on, and come back in order.
    ///
    /// # Errors
    /// As [`Encoder::encode`], and what `fill` answers.
    pub fn encode<T: Send>(
        &self,
        seal: &DataSeal,
        first: u32,
        parts: impl ExactSizeIterator<Item = T> + Send,
        page_size: PageSize,
        fill: impl Fn(T, &mut Vec<u8>) -> Result<()> + Sync,
    ) -> Result<Vec<SealedBatch>> {
        let count = parts.len();
        let sealed: Mutex<Vec<Option<SealedBatch>>> = Mutex::new(vec![None; count]);
        let too_many = || Error::new(ErrorKind::Failure, "a batch has too many pages");
        let jobs = (first..).zip(parts).enumerate();
        pool::for_each(
            self.threads.min(count / self.per_thread).max(1),
            jobs.map(Ok),
            || self.lend(),
            |lent: &mut Lent<'_>, (place, (number, part))| {
                let Some(Worker { encoder, plain }) = &mut lent.worker else {
                    return Err(Error::new(ErrorKind::Failure, "a worker lost its encoder"));
                };
                plain.clear();
                fill(part, plain)?;
                let pages =
                    u16::try_from(plain.len() / page_size.bytes()).map_err(|_| too_many())?;
                let batch = encoder.encode(seal, number, pages, plain)?;
                let mut sealed = sealed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = sealed.get_mut(place) {
                    *slot = Some(batch);
                }
                Ok(())
            },
        )?;
        let sealed = sealed.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(sealed.into_iter().flatten().collect())
    }

    fn lend(&self) -> Result<Lent<'_>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = match idle {
            Some(worker) => worker,
            None => {
                Worker { encoder: Encoder::new(self.compression, self.check)?, plain: Vec::new() }
            }
        };
        Ok(Lent { worker: Some(worker), home: &self.idle })
    }
}

/// Packs and seals pages, each of `plains` into one batch; they are numbered from `first` on, and
/// come back in order.
///
/// # Errors
/// As [`Encoder::encode`].
pub fn encode(
    seal: &DataSeal,
    first: u32,
    plains: Vec<Vec<u8>>,
    page_size: PageSize,
    (compression, check): (Compression, SelfCheck),
    threads: usize,
) -> Result<Vec<SealedBatch>> {
    // What is merged is as much as there is: it is worth all threads.
    let wave = Wave { per_thread: 1, ..Wave::new(compression, check, threads) };
    wave.encode(seal, first, plains.into_iter(), page_size, |part, plain| {
        *plain = part;
        Ok(())
    })
}
