//! Whether each page of a database is used exactly once: by a table or an index, by the freelist,
//! as a page of pointers, or for locks.
//!
//! SQLite's own checks ask that, too, but not always: where the table that its schema lists first
//! has no pages of its own (a view or a virtual table that was made last), it takes that for a
//! check of a few tables only, and leaves the accounting out. A page that two owners have is
//! overwritten by one of them sooner or later.
//!
//! It trusts nothing: a freelist that leads in a circle, or a tree that does, ends with the first
//! page that comes twice.

use rusqlite::Connection;

use super::answer::{Answer, FINDINGS, Told, tell, text};
use super::ffi::FileRef;
use super::layout::{Freelist, number};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{PageNo, PageSize};

/// Adds what is wrong with the use of pages to an answer. The file has no WAL.
///
/// # Errors
/// When the file can't be read.
pub(super) fn account(connection: &Connection, answer: &mut Answer) -> Result<Told<()>> {
    let ask = || {
        let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        let size: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok((pages, size))
    };
    let (pages, size) = match tell(ask(), UNFINISHED, answer)? {
        Told::All(sizes) => sizes,
        Told::Nothing(why) => return Ok(Told::Nothing(why)),
    };
    let Some(size) = PageSize::new(size).filter(|_| pages > 0) else { return Ok(Told::All(())) };
    let file = FileRef::database(connection)?
        .ok_or_else(|| Error::new(ErrorKind::Failure, "the restored database has no file"))?;
    let mut read = |page: PageNo| {
        let mut content = vec![0; size.bytes()];
        file.read_at(&mut content, size.offset(page)).map(|_| content)
    };
    let header = read(PageNo(1))?;
    let mut account = Account::new(pages);
    account.reserve(size, &header);
    account.freelist(&header, &mut read)?;
    let told = account.trees(connection, answer)?;
    if matches!(told, Told::All(())) && account.found.is_empty() && answer.unsound.is_empty() {
        account.unused();
    }
    answer.unsound.extend(account.found.into_iter().map(|f| format!("page accounting: {f}")));
    Ok(told)
}

const UNFINISHED: &str = "the accounting of pages did not finish";

struct Account {
    pages: u32,
    /// Pages of pointers, and the one for locks.
    reserved: Set,
    free: Set,
    used: Set,
    found: Vec<String>,
}

impl Account {
    fn new(pages: u32) -> Self {
        let (reserved, free, used) = (Set::new(pages), Set::new(pages), Set::new(pages));
        Self { pages, reserved, free, used, found: Vec::new() }
    }

    /// Pages that no table may have.
    fn reserve(&mut self, size: PageSize, header: &[u8]) {
        let lock = size.lock_page().0;
        if lock <= self.pages {
            self.reserved.insert(lock);
        }
        let is_vacuumed = number(header, 52) != 0;
        if is_vacuumed {
            // A page of pointers is followed by the pages that it is about.
            let kept_back = header.get(20).copied().unwrap_or(0);
            let each = (size.get() - u32::from(kept_back)) / 5 + 1;
            let mut page = 2u32;
            while page <= self.pages {
                self.reserved.insert(if page == lock { page + 1 } else { page });
                page = page.saturating_add(each);
            }
        }
    }

    fn freelist(
        &mut self,
        header: &[u8],
        read: &mut dyn FnMut(PageNo) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let mut trunks = Freelist::new(header, self.pages);
        let mut listed = 0u32;
        while let Some((trunk, leaves)) = trunks.next(read)? {
            for page in std::iter::once(trunk).chain(leaves) {
                listed = listed.saturating_add(1);
                if !(2..=self.pages).contains(&page.0) {
                    self.found.push(format!("the freelist has page {page} of {}", self.pages));
                } else if self.reserved.has(page.0) {
                    self.found.push(format!("page {page} is on the freelist and is reserved"));
                } else if !self.free.insert(page.0) {
                    self.found.push(format!("page {page} is on the freelist twice"));
                }
                if self.found.len() >= FINDINGS {
                    return Ok(());
                }
            }
        }
        if let Some(wrong) = trunks.broken_at() {
            self.found.push(format!("the freelist leads to page {wrong} of {}", self.pages));
        }
        let told = number(header, 36);
        if told != listed && self.found.is_empty() {
            self.found.push(format!("the freelist has {listed} pages instead of {told}"));
        }
        Ok(())
    }

    fn trees(&mut self, connection: &Connection, answer: &mut Answer) -> Result<Told<()>> {
        let mut walk = || {
            let mut statement = connection.prepare("SELECT pageno, name FROM dbstat")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (page, name): (u32, String) = (row.get(0)?, text(row, 1)?);
                if !(1..=self.pages).contains(&page) {
                    self.found.push(format!("{name} has page {page} of {}", self.pages));
                } else if self.free.has(page) {
                    self.found.push(format!("page {page} is {name}'s and on the freelist"));
                } else if self.reserved.has(page) {
                    self.found.push(format!("page {page} is {name}'s and is reserved"));
                } else if !self.used.insert(page) {
                    self.found.push(format!("page {page} is used twice, last by {name}"));
                }
                if self.found.len() >= FINDINGS {
                    break;
                }
            }
            Ok(())
        };
        tell(walk(), UNFINISHED, answer)
    }

    fn unused(&mut self) {
        let is_lost = |page: &u32| {
            !self.used.has(*page) && !self.free.has(*page) && !self.reserved.has(*page)
        };
        let lost = (1..=self.pages).filter(is_lost).take(FINDINGS);
        self.found.extend(lost.map(|page| format!("page {page} belongs to nothing")));
    }
}

/// Some of the pages: a bit for each.
struct Set(Vec<u64>);

impl Set {
    fn new(pages: u32) -> Self {
        let words = usize::try_from(pages / 64).unwrap_or(usize::MAX).saturating_add(1);
        Self(vec![0; words])
    }

    fn has(&self, page: u32) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.0.get(at));
        word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Whether it was not in there.
    fn insert(&mut self, page: u32) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.0.get_mut(at));
        let Some(word) = word else { return false };
        let bit = 1 << (page % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
