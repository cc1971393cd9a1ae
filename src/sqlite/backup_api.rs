//! All pages through SQLite's online backup API: the reader that serves every source.
//!
//! The API alters page 1 on its way (change counter, schema cookie, library version). Page 1 is
//! therefore read from the file where there is one. A database without a file keeps the altered
//! counters, which no one else can see, and gets its schema cookie back.

use std::collections::VecDeque;

use super::ffi::PageSink;
use super::overlay::{Overlay, read_frame};
use super::pages::{Chunk, PageSource, pages_per_chunk, read_pages};
use super::pin::Pin;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{PageNo, PageSize};

/// All pages, through the online backup API.
pub(super) struct BackupImage<'p> {
    /// `None` for an empty database: the API would make one page of it.
    sink: Option<PageSink<'p>>,
    page_size: PageSize,
    pages: u32,
    ready: VecDeque<(PageNo, Vec<u8>)>,
    done: bool,
}

impl<'p> BackupImage<'p> {
    pub(super) fn begin(pin: &'p mut Pin<'_>) -> Result<Self> {
        let (page_size, pages) = (pin.page_size(), pin.pages());
        let mut image =
            Self { sink: None, page_size, pages, ready: VecDeque::new(), done: pages == 0 };
        if pages > 0 {
            let first = page_one(pin)?;
            image.ready.push_back((PageNo(1), first));
            image.sink = Some(PageSink::begin(pin.connection_mut())?);
        }
        Ok(image)
    }

    /// Lets SQLite write the next pages; page 1 was read before.
    fn step(&mut self, pages: u32) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        self.done = sink.step(pages)?;
        for (offset, content) in sink.take() {
            let number = offset / u64::from(self.page_size.get()) + 1;
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let expected = content.len() == self.page_size.bytes() && number <= self.pages;
            if !expected {
                return Err(Error::new(
                    ErrorKind::Source,
                    "was copied in pieces that are no pages",
                ));
            }
            if number > 1 {
                self.ready.push_back((PageNo(number), content));
            }
        }
        Ok(())
    }
}

impl PageSource for BackupImage<'_> {
    fn next(&mut self, chunk: &mut Chunk) -> Result<bool> {
        let room = pages_per_chunk(self.page_size);
        while self.ready.len() < room && !self.done {
            self.step(u32::try_from(room).unwrap_or(1))?;
        }
        chunk.pages.clear();
        chunk.data.clear();
        let n = self.ready.len().min(room);
        for (number, content) in self.ready.drain(..n) {
            chunk.pages.push(number);
            chunk.data.extend_from_slice(&content);
        }
        Ok(n > 0)
    }

    fn total_bytes(&self) -> u64 {
        self.page_size.file_len(self.pages)
    }

    fn page_size(&self) -> PageSize {
        self.page_size
    }
}

/// Page 1 as the snapshot has it.
fn page_one(pin: &mut Pin<'_>) -> Result<Vec<u8>> {
    let mut page = vec![0; pin.page_size().bytes()];
    if pin.has_file()? {
        let overlay = Overlay::whole(pin)?;
        match overlay.frame(PageNo(1)) {
            Some(frame) => read_frame(pin, frame, &mut page)?,
            None => read_pages(pin, PageNo(1), &mut page)?,
        }
        return Ok(page);
    }
    // Page 1 is the last that SQLite writes: a whole pass for its sake. Such databases are in
    // memory.
    let schema = pin.pragma("schema_version")?;
    let mut sink = PageSink::begin(pin.connection_mut())?;
    let mut done = false;
    while !done {
        done = sink.step(256)?;
        for (offset, content) in sink.take() {
            if offset == 0 && content.len() == page.len() {
                page = content;
            }
        }
    }
    if let Some(cookie) = page.get_mut(40..44) {
        cookie.copy_from_slice(&schema.to_be_bytes());
    }
    Ok(page)
}
