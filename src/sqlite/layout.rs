//! What the pages of a database belong to: tables and indexes by SQLite's own `dbstat`, and the leaves of the freelist, whose
//! content means nothing.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;

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

/// Tells of each page that belongs to a table or an index its name, and that of the table, which an index counts for.
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
        let text = |i| row.get_ref(i).and_then(|value| value.as_str().map_err(Into::into));
        let page = row.get(0).map_err(failed)?;
        let (name, table) = (text(1).map_err(failed)?, text(2).map_err(failed)?);
        tell(PageNo(page), name, table)?;
    }
    Ok(())
}

/// The leaves of the freelist: pages that hold nothing, whatever stands in them. Only what `trusted` pages list counts: a
/// rotten one might list anything.
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
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
    };
    let mut trunk = number(&reader.read(PageNo(1))?, 32);
    let mut seen = HashSet::new();
    // A freelist that leads in a circle is a broken one; what was found until then still holds.
    while (2..=pin.pages()).contains(&trunk) && trusted(PageNo(trunk)) && seen.insert(trunk) {
        let page = reader.read(PageNo(trunk))?;
        let listed = usize::try_from(number(&page, 4)).unwrap_or(0).min(page.len() / 4);
        leaves.extend((0..listed).map(|i| PageNo(number(&page, 8 + i * 4))).filter(|p| p.0 > 1));
        trunk = number(&page, 0);
    }
    leaves.retain(|page| !seen.contains(&page.0));
    Ok(leaves)
}
