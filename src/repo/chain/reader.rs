//! The one reader of pages: fetches batches, opens their seals, decodes them, and compares the
//! digest of every page that is asked for.
//!
//! Invariant: no page leaves here whose digest is not the one that its index gave.

use std::sync::Arc;

use super::segment::Segment;
use crate::codec::batch::{DataSeal, Decoder};
use crate::codec::digest::PageHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::BatchRef;
use crate::format::limits;
use crate::repo::history::handle::History;
use crate::types::{Digest, PageNo, SegmentId};

/// A batch of which some pages are wanted.
#[derive(Clone, Debug)]
pub(crate) struct BatchRequest {
    /// The segment that lists it.
    pub(crate) segment: Arc<Segment>,
    /// The batch.
    pub(crate) batch: BatchRef,
    /// The wanted pages: slot, page number, digest; by page number.
    pub(crate) pages: Vec<(u16, PageNo, Digest)>,
}

/// Takes a run of pages: the first one's number, their contents, the XOR of their digests.
pub(crate) type UseRun<'f> = &'f mut dyn FnMut(PageNo, &[u8], Digest) -> Result<()>;

/// Reads batches and pages; one for each worker.
pub(crate) struct BatchReader {
    decoder: Decoder,
    hasher: PageHasher,
    /// The seal of the segment and origin that was used last.
    seal: Option<(SegmentId, u16, DataSeal)>,
    /// The batch that was fetched last: what did not shrink is used where it is.
    sealed: Vec<u8>,
}

impl BatchReader {
    pub(crate) fn new(history: &History) -> Result<Self> {
        Ok(Self {
            decoder: Decoder::new()?,
            hasher: history.hasher(),
            seal: None,
            sealed: Vec::new(),
        })
    }

    /// Opens a batch and gives the wanted pages to `use_run`; neighbours in both the batch and the
    /// database come in one piece, with the XOR of their digests. Returns how many bytes of pages
    /// those were.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, when anything is not as it was stored.
    pub(crate) fn open(&mut self, request: &BatchRequest, use_run: UseRun<'_>) -> Result<u64> {
        let BatchRequest { segment, batch, pages } = request;
        let hasher = self.hasher.clone();
        let plain = self.plain(segment, batch)?;
        let mut bytes = 0;
        for run in pages.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0) && a.1.0 + 1 == b.1.0) {
            let Some((slot, first, _)) = run.first() else { continue };
            let content = slots(segment, batch, plain, *slot, run.len())?;
            let page_len = content.len() / run.len().max(1);
            let mut sum = Digest::default();
            for ((_, page, digest), content) in run.iter().zip(content.chunks_exact(page_len)) {
                compare(&hasher, segment, batch, (*page, digest), content)?;
                sum.toggle(digest);
            }
            use_run(*first, content, sum)?;
            bytes += u64::try_from(content.len()).unwrap_or(u64::MAX);
        }
        Ok(bytes)
    }

    /// The plain bytes of a batch. Nothing was compared with a digest yet.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, when it does not open; store errors.
    pub(crate) fn plain(&mut self, segment: &Segment, batch: &BatchRef) -> Result<&[u8]> {
        let len = usize::from(batch.pages) * segment.manifest.page_size.bytes();
        if len > limits::BATCH_PLAIN {
            return Err(Error::damaged(segment.object_of(batch.at), "has too large a batch"));
        }
        self.sealed = segment.fetch(batch.at)?;
        let key = (segment.reference.id, batch.origin);
        if self.seal.as_ref().is_none_or(|(id, origin, _)| (*id, *origin) != key) {
            self.seal = Some((key.0, key.1, segment.seal(batch.origin)?));
        }
        let Some((_, _, seal)) = &self.seal else {
            return Err(Error::new(ErrorKind::Failure, "no seal at hand"));
        };
        self.decoder
            .decode(seal, batch.number, batch.pages, batch.codec, &mut self.sealed, len)
            .map_err(|e| e.of(&segment.object_of(batch.at)))
    }
}

/// A page's content in the plain bytes of its batch, compared with its digest.
///
/// # Errors
/// [`ErrorKind::Damaged`], naming the object, when it is not as its index says.
pub(crate) fn page_of<'p>(
    hasher: &PageHasher,
    (segment, batch): (&Segment, &BatchRef),
    plain: &'p [u8],
    (slot, page, digest): (u16, PageNo, &Digest),
) -> Result<&'p [u8]> {
    let content = slots(segment, batch, plain, slot, 1)?;
    compare(hasher, segment, batch, (page, digest), content)?;
    Ok(content)
}

/// The bytes of neighbouring slots of a batch.
fn slots<'p>(
    segment: &Segment,
    batch: &BatchRef,
    plain: &'p [u8],
    first: u16,
    count: usize,
) -> Result<&'p [u8]> {
    let page_len = segment.manifest.page_size.bytes();
    let start = usize::from(first) * page_len;
    plain.get(start..start + count * page_len).ok_or_else(|| {
        Error::damaged(
            segment.object_of(batch.at),
            "has a batch with fewer pages than its index says",
        )
    })
}

fn compare(
    hasher: &PageHasher,
    segment: &Segment,
    batch: &BatchRef,
    (page, digest): (PageNo, &Digest),
    content: &[u8],
) -> Result<()> {
    match hasher.digest(page, content) == *digest {
        true => Ok(()),
        false => Err(Error::damaged(
            segment.object_of(batch.at),
            format!("page {page} has another digest than its index says"),
        )),
    }
}
