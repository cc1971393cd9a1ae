//! Pages by which a database grew though no transaction wrote them.

use rusqlite::Connection;

use crate::error::Result;
use crate::sqlite::ffi::FileRef;
use crate::sqlite::wal::{FRAME_HEADER_LEN, FrameHeader, WalHeader, WalIndex};
use crate::types::{PageNo, PageSize};

/// The content of a page by which the database grew in a commit without writing it: what SQLite
/// would read. It is a page of the freelist, whose content means nothing, but a byte for byte copy
/// has it.
pub(super) fn read(
    gate: &Connection,
    page_size: PageSize,
    index: &WalIndex,
    upto: u32,
    page: PageNo,
) -> Result<Vec<u8>> {
    let mut content = vec![0; page_size.bytes()];
    if let Some(wal) = FileRef::journal(gate)? {
        // An older frame of the generation counts, unless it was backfilled.
        for number in (index.backfilled.saturating_add(1)..=upto).rev() {
            let mut header = [0; FRAME_HEADER_LEN];
            let at = WalHeader::frame_offset(page_size, number);
            wal.read_at(&mut header, at)?;
            if FrameHeader::parse(&header).is_some_and(|h| h.page == page.0) {
                wal.read_at(&mut content, at + FRAME_HEADER_LEN as u64)?;
                return Ok(content);
            }
        }
    }
    if let Some(file) = FileRef::database(gate)? {
        // Beyond the end of the file it reads zeros.
        file.read_at(&mut content, page_size.offset(page))?;
    }
    Ok(content)
}
