//! Contents of captured pages until they are published: in memory up to a limit, and beyond that in
//! an unlinked file of the state directory.
//!
//! Invariants:
//! - A page in memory is written once and lent as often as it is asked for; none is copied.
//! - The file is written in long runs, and there is none below the limit: a file beside a database
//!   that syncs its WAL with every commit makes those syncs wait for it.
//! - Memory that a spool leaves is used by the next one ([`Slabs`]): memory that the system gives
//!   anew has to be cleared first, which costs more than to fill it.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::types::PageSize;

/// Contents beyond this go to a file. More than a group that is published in time has.
const MEMORY: usize = 24 * 1024 * 1024;
/// How much memory is taken at a time, and how much is written to the file at a time.
const SLAB: usize = 1024 * 1024;

/// Memory that spools take turns with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slabs(Arc<Mutex<Vec<Vec<u8>>>>);

impl Slabs {
    fn take(&self) -> Vec<u8> {
        // Who takes may hold a lock of SQLite's, and who gives may have a low priority: it is not
        // waited for.
        let spare = self.0.try_lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(SLAB))
    }

    fn give(&self, slabs: impl Iterator<Item = Vec<u8>>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for mut slab in slabs.filter(|slab| slab.capacity() >= SLAB) {
            slab.clear();
            if spare.len() < MEMORY / SLAB {
                spare.push(slab);
            }
        }
    }

    /// Gives the system back what no spool uses.
    pub(crate) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Pages in the order in which they came.
pub(crate) struct Spool {
    page_size: PageSize,
    /// How many pages a slab has, and how many are in memory at most.
    per_slab: usize,
    in_memory: usize,
    slabs: Vec<Vec<u8>>,
    pages: u32,
    overflow: Option<Overflow>,
    dir: PathBuf,
    spare: Slabs,
}

/// What is beyond the memory: a file, and the pages that are not in it yet.
struct Overflow {
    file: File,
    /// How many pages the file has.
    written: usize,
    waiting: Vec<u8>,
}

impl Spool {
    /// An empty spool, which makes its file in a directory.
    pub(crate) fn new(page_size: PageSize, dir: &Path, spare: Slabs) -> Self {
        let page_len = page_size.bytes();
        let per_slab = (SLAB / page_len).max(1);
        let in_memory = (MEMORY / page_len / per_slab * per_slab).max(per_slab);
        let (slabs, dir) = (Vec::new(), dir.to_owned());
        Self { page_size, per_slab, in_memory, slabs, pages: 0, overflow: None, dir, spare }
    }

    /// How many pages it has.
    pub(crate) fn len(&self) -> u32 {
        self.pages
    }

    /// Whether it has more than it keeps in memory.
    pub(crate) fn is_beyond_memory(&self) -> bool {
        place(self.pages) > self.in_memory
    }

    /// Adds a page. Answers its number.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] and others when the file can't be written.
    pub(crate) fn push(&mut self, content: &[u8]) -> Result<u32> {
        let (number, at) = (self.pages, place(self.pages));
        self.pages = self.pages.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Failure, "too much was captured without being published")
        })?;
        let pushed = match at < self.in_memory {
            true => {
                let slab = at / self.per_slab;
                if slab == self.slabs.len() {
                    self.slabs.push(self.spare.take());
                }
                if let Some(slab) = self.slabs.get_mut(slab) {
                    slab.extend_from_slice(content);
                }
                Ok(())
            }
            false => self.push_beyond(at - self.in_memory, content),
        };
        if pushed.is_err() {
            self.pages = number;
        }
        pushed.map(|()| number)
    }

    fn push_beyond(&mut self, at: usize, content: &[u8]) -> Result<()> {
        let page_len = self.page_size.bytes();
        let overflow = match &mut self.overflow {
            Some(overflow) => overflow,
            none => {
                let file =
                    tempfile::tempfile_in(&self.dir).map_err(|e| failed(e, "cannot be made"))?;
                none.insert(Overflow { file, written: 0, waiting: self.spare.take() })
            }
        };
        if overflow.waiting.len() >= SLAB {
            overflow.write_out(page_len)?;
        }
        debug_assert_eq!(overflow.written + overflow.waiting.len() / page_len, at);
        overflow.waiting.extend_from_slice(content);
        Ok(())
    }

    /// Forgets the pages from a number on.
    pub(crate) fn truncate(&mut self, pages: u32) {
        self.pages = self.pages.min(pages);
        let (page_len, len) = (self.page_size.bytes(), place(self.pages));
        let slabs = len.min(self.in_memory).div_ceil(self.per_slab);
        self.spare.give(self.slabs.drain(slabs.min(self.slabs.len())..));
        if let Some(last) = self.slabs.last_mut() {
            let before = (slabs - 1) * self.per_slab;
            last.truncate((len.min(self.in_memory) - before) * page_len);
        }
        if let Some(overflow) = &mut self.overflow {
            let beyond = len.saturating_sub(self.in_memory);
            // What the file has behind that is written over.
            overflow.waiting.truncate(beyond.saturating_sub(overflow.written) * page_len);
            overflow.written = overflow.written.min(beyond);
        }
    }

    /// The content of a page.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn page(&self, number: u32) -> Result<Cow<'_, [u8]>> {
        let (page_len, at) = (self.page_size.bytes(), place(number));
        if at < self.in_memory {
            let slab = self.slabs.get(at / self.per_slab);
            let from = at % self.per_slab * page_len;
            let page = slab.and_then(|slab| slab.get(from..from + page_len));
            return page.map(Cow::Borrowed).ok_or_else(missing);
        }
        let (overflow, at) = (self.overflow.as_ref().ok_or_else(missing)?, at - self.in_memory);
        if let Some(at) = at.checked_sub(overflow.written) {
            let page = overflow.waiting.get(at * page_len..(at + 1) * page_len);
            return page.map(Cow::Borrowed).ok_or_else(missing);
        }
        let mut page = vec![0; page_len];
        let offset = offset(at, page_len);
        overflow.file.read_exact_at(&mut page, offset).map_err(|e| failed(e, "cannot be read"))?;
        Ok(Cow::Owned(page))
    }
}

impl Overflow {
    fn write_out(&mut self, page_len: usize) -> Result<()> {
        self.file
            .write_all_at(&self.waiting, offset(self.written, page_len))
            .map_err(|e| failed(e, "cannot be written"))?;
        self.written += self.waiting.len() / page_len;
        self.waiting.clear();
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let waiting = self.overflow.take().map(|overflow| overflow.waiting);
        self.spare.give(self.slabs.drain(..).chain(waiting));
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn offset(at: usize, page_len: usize) -> u64 {
    u64::try_from(at)
        .unwrap_or(u64::MAX)
        .saturating_mul(u64::try_from(page_len).unwrap_or(u64::MAX))
}

fn missing() -> Error {
    Error::new(ErrorKind::Failure, "the spool lacks a page that was captured")
}

fn failed(e: std::io::Error, what: &str) -> Error {
    Error::io(e, what, "the spool of captured transactions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(number: u32, page_size: PageSize) -> Vec<u8> {
        number.to_le_bytes().repeat(page_size.bytes() / 4)
    }

    /// Pages come back from memory, from the file and from what is not in the file yet, also where
    /// pages of before were forgotten on the way.
    #[test]
    fn pages_come_back_from_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        for page_size in [512, 4096, 65_536] {
            let page_size = PageSize::new(page_size).unwrap();
            let in_memory = u32::try_from(MEMORY / page_size.bytes()).unwrap();
            let slab = u32::try_from(SLAB / page_size.bytes()).unwrap();
            let slabs = Slabs::default();
            let mut spool = Spool::new(page_size, dir.path(), slabs.clone());
            for pages in [5, slab, in_memory - 1, in_memory, in_memory + 3 * slab + 2] {
                // What was forgotten is written over.
                for kept in [pages, pages.saturating_sub(2 * slab), pages - 1] {
                    for number in spool.len()..pages {
                        assert_eq!(spool.push(&content(!number, page_size)).unwrap(), number);
                    }
                    spool.truncate(kept);
                    assert_eq!(spool.len(), kept);
                }
                spool.truncate(0);
                for number in 0..pages {
                    assert_eq!(spool.push(&content(number, page_size)).unwrap(), number);
                }
                for number in [0, pages / 2, pages - 1, slab.min(pages) - 1] {
                    assert!(*spool.page(number).unwrap() == content(number, page_size)[..]);
                }
                assert!(spool.page(pages).is_err());
                assert_eq!(spool.overflow.is_some(), pages > in_memory);
            }
            for number in 0..spool.len() {
                assert!(*spool.page(number).unwrap() == content(number, page_size)[..]);
            }
            drop(spool);
            let spare = slabs.0.lock().unwrap().len();
            assert_eq!(spare, MEMORY / SLAB, "no memory is lost, and none is hoarded");
            slabs.release();
            assert!(slabs.0.lock().unwrap().is_empty());
        }
    }
}
