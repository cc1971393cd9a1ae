//! What the pages of a database belong to: tables and indexes by SQLite's own `dbstat`, and the
//! leaves of the freelist, whose content means nothing.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;

use super::answer::text;
use super::ffi::FileRef;
use super::image::PageReader;
use super::pin::Pin;
use super::source_error;
use crate::error::Result;
use crate::types::PageNo;

/// How many of some pages each table has, its indexes included. Pages of no table are left out.
///
/// # Errors
/// [`crate::ErrorKind::Source`] when SQLite can't walk the database.
pub(crate) fn by_table(
    connection: &Connection,
    pages: &HashSet<PageNo>,
) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    each_page(connection, &mut |page, _, table| {
        if pages.contains(&page) {
            match found.get_mut(table) {
                Some(count) => *count += 1,
                None => {
                    found.insert(table.to_owned(), 1);
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Tells of each page that belongs to a table or an index its name, and that of the table, which an
/// index counts for.
///
/// # Errors
/// [`crate::ErrorKind::Source`] when SQLite can't walk the database; what `tell` answers.
pub(crate) fn each_page(
    connection: &Connection,
    tell: &mut dyn FnMut(PageNo, &str, &str) -> Result<()>,
) -> Result<()> {
    let failed = |e| source_error(e, "cannot be walked");
    // A b-tree is named after its table or index.
    let mut statement = connection
        .prepare(
            "SELECT d.pageno, d.name, coalesce(s.tbl_name, d.name) FROM dbstat d LEFT JOIN sqlite_schema s ON s.name = d.name",
        )
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let page = row.get(0).map_err(failed)?;
        let (name, table) = (text(row, 1).map_err(failed)?, text(row, 2).map_err(failed)?);
        tell(PageNo(page), &name, &table)?;
    }
    Ok(())
}

/// The leaves of the freelist: pages that hold nothing, whatever stands in them. Only what
/// `trusted` pages list counts: a rotten one might list anything.
///
/// # Errors
/// [`crate::ErrorKind::Source`] when the database can't be read.
pub(crate) fn free_leaves(
    pin: &Pin<'_>,
    trusted: impl Fn(PageNo) -> bool,
) -> Result<HashSet<PageNo>> {
    let mut leaves = HashSet::new();
    if pin.pages() == 0 || !trusted(PageNo(1)) {
        return Ok(leaves);
    }
    let reader = PageReader::new(pin)?;
    let mut read = |page| reader.read(page);
    let mut trunks = Freelist::new(&read(PageNo(1))?, pin.pages());
    let mut seen = HashSet::new();
    // What was found until the list breaks off still holds.
    while let Some((trunk, listed)) = trunks.next(&mut read)? {
        if !trusted(trunk) {
            break;
        }
        seen.insert(trunk);
        leaves.extend(listed.into_iter().filter(|page| page.0 > 1));
    }
    leaves.retain(|page| !seen.contains(page));
    Ok(leaves)
}

/// How far behind a database's end its file is looked through.
const LOOKED_THROUGH: u64 = 64 << 20;

/// The pages that neither the file nor the WAL has, though the database is said to have them: the
/// file was cut off, and they read as zeros. Leaves of the freelist need not be anywhere.
///
/// # Errors
/// [`crate::ErrorKind::Source`] when the database can't be read.
pub(crate) fn cut_off(pin: &Pin<'_>) -> Result<Vec<PageNo>> {
    let there = match FileRef::database(pin.connection())? {
        Some(file) => file.size()? / u64::from(pin.page_size().get()),
        None => return Ok(Vec::new()),
    };
    let first = u32::try_from(there).unwrap_or(u32::MAX).saturating_add(1);
    if first > pin.pages() {
        return Ok(Vec::new());
    }
    let reader = PageReader::new(pin)?;
    let lock_page = pin.page_size().lock_page();
    let missing = |page: &PageNo| *page != lock_page && !reader.is_in_wal(*page);
    let mut missing: Vec<PageNo> = (first..=pin.pages()).map(PageNo).filter(missing).collect();
    if !missing.is_empty() {
        let free = free_leaves(pin, |_| true)?;
        missing.retain(|page| !free.contains(page));
    }
    Ok(missing)
}

/// How many bytes of the file lie behind the database's last page, if anything but zeros is among
/// them: zeros are room that SQLite asked for ahead. `None` too while the WAL may still change the
/// file's size.
///
/// # Errors
/// [`crate::ErrorKind::Source`] when the file can't be read.
pub(crate) fn behind_end(pin: &Pin<'_>) -> Result<Option<u64>> {
    let Some(file) = FileRef::database(pin.connection())? else { return Ok(None) };
    let (size, end) = (file.size()?, pin.page_size().file_len(pin.pages()));
    if size <= end || pin.has_frames_to_checkpoint() {
        return Ok(None);
    }
    let mut block = vec![0; 1 << 16];
    let mut at = end;
    // Room ahead is a few MiB; nobody waits here for a file of any size.
    while at < size.min(end.saturating_add(LOOKED_THROUGH)) {
        let len = usize::try_from(size - at).unwrap_or(usize::MAX).min(block.len());
        let block = block.get_mut(..len).unwrap_or_default();
        // A file that was cut meanwhile has nothing there.
        if file.read_at(block, at)? {
            return Ok(None);
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(size - end));
        }
        at += len as u64;
    }
    Ok(None)
}

/// The freelist, from trunk to trunk. One that leads in a circle, or out of the database, ends
/// there.
pub(super) struct Freelist {
    next: u32,
    pages: u32,
    seen: HashSet<u32>,
}

impl Freelist {
    /// The freelist of a database of so many pages, by its first page.
    pub(super) fn new(header: &[u8], pages: u32) -> Self {
        Self { next: number(header, 32), pages, seen: HashSet::new() }
    }

    /// The next trunk and the leaves that it lists.
    ///
    /// # Errors
    /// What reading it answers.
    pub(super) fn next(
        &mut self,
        read: &mut dyn FnMut(PageNo) -> Result<Vec<u8>>,
    ) -> Result<Option<(PageNo, Vec<PageNo>)>> {
        let trunk = self.next;
        if !(2..=self.pages).contains(&trunk) || !self.seen.insert(trunk) {
            return Ok(None);
        }
        let page = read(PageNo(trunk))?;
        let listed = usize::try_from(number(&page, 4)).unwrap_or(0).min(page.len() / 4);
        self.next = number(&page, 0);
        let leaves = (0..listed).map(|i| PageNo(number(&page, 8 + i * 4))).collect();
        Ok(Some((PageNo(trunk), leaves)))
    }

    /// The page at which it ended though it should not.
    pub(super) fn broken_at(&self) -> Option<PageNo> {
        (self.next != 0).then_some(PageNo(self.next))
    }
}

/// A number of SQLite's in a page; zero behind its end.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}
