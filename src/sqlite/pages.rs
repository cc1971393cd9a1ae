//! Pages in ascending order, a chunk at a time, wherever they are read.

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::ffi::FileRef;
use crate::sqlite::pin::Pin;
use crate::types::{PageNo, PageSize};

/// How many bytes of pages a chunk has, at most.
pub const CHUNK_LEN: usize = 1024 * 1024;

/// A run of pages.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Their numbers, ascending.
    pub pages: Vec<PageNo>,
    /// Their contents, one after the other.
    pub data: Vec<u8>,
}

/// Pages in ascending order, a chunk at a time.
pub trait PageSource: Send {
    /// Replaces the chunk's content with the next pages, at most [`CHUNK_LEN`] bytes of them.
    /// Answers `false` when there are no more.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the database can't be read.
    fn next(&mut self, chunk: &mut Chunk) -> Result<bool>;

    /// How many bytes of pages there are in all.
    fn total_bytes(&self) -> u64;

    /// The size of each page.
    fn page_size(&self) -> PageSize;
}

pub(super) fn read_pages(pin: &Pin<'_>, first: PageNo, data: &mut [u8]) -> Result<()> {
    let file = FileRef::database(pin.connection())?
        .ok_or_else(|| Error::new(ErrorKind::Source, "has no file to read"))?;
    file.read_at(data, pin.page_size().offset(first))?;
    Ok(())
}

pub(super) fn pages_per_chunk(page_size: PageSize) -> usize {
    CHUNK_LEN / page_size.bytes()
}
