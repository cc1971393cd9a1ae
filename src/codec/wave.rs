//! Several batches packed and sealed side by side.

use std::sync::{Mutex, PoisonError};

use super::batch::{Compression, DataSeal, Encoder, SealedBatch, SelfCheck};
use super::pool;
use crate::error::{Error, ErrorKind, Result};
use crate::types::PageSize;

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
    let count = plains.len();
    let sealed: Mutex<Vec<Option<SealedBatch>>> = Mutex::new(vec![None; count]);
    let too_many = || Error::new(ErrorKind::Failure, "a batch has too many pages");
    let jobs = (first..).zip(plains).enumerate();
    pool::for_each(
        // One batch needs no second thread.
        threads.clamp(1, count.max(1)),
        jobs.map(Ok),
        || Encoder::new(compression, check),
        |encoder: &mut Encoder, (place, (number, plain))| {
            let pages = u16::try_from(plain.len() / page_size.bytes()).map_err(|_| too_many())?;
            let batch = encoder.encode(seal, number, pages, &plain)?;
            let mut sealed = sealed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = sealed.get_mut(place) {
                *slot = Some(batch);
            }
            Ok(())
        },
    )?;
    Ok(sealed.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}
