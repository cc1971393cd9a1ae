//! Which tables and indexes change most.
//!
//! The newest commit is restored to a scratch file, and SQLite says which page belongs to which
//! table. **Today's layout is applied to the past**: what a page changed while it belonged to
//! another table counts for the one that has it now. Where tables are dropped or the file is
//! vacuumed often, this says less.

use std::collections::HashMap;
use std::path::Path;

use super::changes::Changes;
use crate::error::Result;
use crate::ops::restore::{check_space, write_pages};
use crate::ops::scratch::Scratch;
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::handle::History;
use crate::sqlite::check::Checker;
use crate::sqlite::layout;

/// How many pages are walked before progress is told.
const STEP: u32 = 256;

/// Changes by table. All of it adds up to [`super::Change::changes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tables {
    /// Tables and indexes, the most changes first.
    pub tables: Vec<TableChanges>,
    /// Changes of pages that hold nothing now, or SQLite's own notes.
    pub free: u64,
    /// Changes of pages that the database does not have any more.
    pub gone: u64,
    /// Changes from before the page size changed: their page numbers mean nothing now.
    pub other_page_size: u64,
}

/// A table or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableChanges {
    /// Its name.
    pub name: String,
    /// The table that it is an index of.
    pub index_of: Option<String>,
    /// Pages that it has now.
    pub pages: u64,
    /// How many of those changed.
    pub changed: u64,
    /// How often they did.
    pub changes: u64,
}

/// Finds the tables of the pages that changed. `dir` is a folder for the scratch file.
pub(super) fn find(
    history: &History,
    chain: &Chain,
    newest: &Commit,
    changes: &Changes,
    dir: &Path,
    monitor: &dyn Monitor,
) -> Result<Tables> {
    let mut found = Tables { other_page_size: changes.of_other_size, ..Tables::default() };
    let pages = newest.record.pages;
    let beyond = usize::try_from(pages).unwrap_or(usize::MAX).saturating_add(1);
    found.gone = changes.counts.iter().skip(beyond).map(|n| u64::from(*n)).sum();
    let mut free = changes.of_size.saturating_sub(found.gone);
    if pages == 0 || free == 0 {
        // Nothing to ask about.
        found.free = free;
        return Ok(found);
    }
    let scratch = Scratch::inside(dir)?;
    check_space(scratch.path(), newest)?;
    write_pages(history, chain, newest, scratch.file(), monitor)?;
    let checker = scratch.opened(Checker::open)?;
    let page_size = newest.segment.manifest.page_size;
    monitor.phase(Phase::Layout, Some(page_size.file_len(pages)));
    let mut walked = 0u32;
    let mut tables: HashMap<String, TableChanges> = HashMap::new();
    layout::each_page(checker.connection(), &mut |page, name, table| {
        walked += 1;
        if walked.is_multiple_of(STEP) {
            check_cancelled(monitor)?;
            monitor.advance(page_size.file_len(STEP));
        }
        if !tables.contains_key(name) {
            let index_of = (name != table).then(|| table.to_owned());
            let fresh =
                TableChanges { name: name.to_owned(), index_of, pages: 0, changed: 0, changes: 0 };
            tables.insert(name.to_owned(), fresh);
        }
        let at = usize::try_from(page.0).unwrap_or(usize::MAX);
        let n = changes.counts.get(at).copied().unwrap_or(0);
        if let Some(entry) = tables.get_mut(name) {
            entry.pages += 1;
            entry.changed += u64::from(n > 0);
            entry.changes += u64::from(n);
        }
        free = free.saturating_sub(n.into());
        Ok(())
    })?;
    found.free = free;
    found.tables = tables.into_values().collect();
    found.tables.sort_by(|a, b| (b.changes, &a.name).cmp(&(a.changes, &b.name)));
    Ok(found)
}
