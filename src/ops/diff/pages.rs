//! Which rows of two commits of one history can differ, by the pages that do: so that a diff costs
//! what changed, and not what there is.
//!
//! The index tells which pages were written between the two, and their digests tell which of them
//! differ; [`Trees`] tells which rows these hold. It is a plan and no more: rows are compared as
//! ever, and where there is no plan, all of them are.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::plan::{Pair, Plan};
use super::side::Side;
use crate::error::{ErrorKind, Result};
use crate::ops::diff::change::TableFate;
use crate::ops::point::RestorePoint;
use crate::ops::restore::still;
use crate::ops::view::Moment;
use crate::repo::chain::Written;
use crate::sqlite::provider::PageProvider;
use crate::sqlite::rows::table::{Key, SEQUENCES, Table};
use crate::sqlite::rows::trees::{Extent, Trees};
use crate::types::PageNo;

/// How many digests are asked for at a time.
const AT_ONCE: usize = 4096;
/// Where more than one page of so many differs, all rows are compared: the plan would read as much
/// as they do.
const MANY: usize = 4;
/// But so many pages may.
const FEW: usize = 16;

/// The trees of two restore points, by the pages in which they differ; `None` if all rows have to
/// be compared. They are of one history, and go from the first one to the second.
///
/// # Errors
/// Store errors. What is damaged or was merged away is no error here: whoever reads the rows finds
/// it, and reads around it where that can be done.
pub(super) fn trees_between(
    (old, of_old): (&RestorePoint, &Arc<Moment>),
    (new, of_new): (&RestorePoint, &Arc<Moment>),
    written: &mut Written,
) -> Result<Option<Trees>> {
    if !old.is_beside(new) || of_old.page_size() != of_new.page_size() {
        return Ok(None);
    }
    let all = usize::try_from(of_old.pages().max(of_new.pages())).unwrap_or(usize::MAX);
    let most = (all / MANY).max(FEW);
    let (first, last) = if old.seq() <= new.seq() { (old, new) } else { (new, old) };
    let found = still(&last.chain, &first.commit)
        .and_then(|first| written.between(&last.chain, &first, &last.commit))
        .and_then(|written| {
            let written: Arc<[PageNo]> = written.into();
            // Of the later one, if it was opened beside the earlier one.
            if old.seq() < new.seq() {
                of_new.know_written(old.seq(), written.clone());
            }
            differing(&written, of_old, of_new)
        })
        .and_then(|pages| match pages.len() <= most {
            true => Trees::new(of_old.clone(), of_new.clone(), &pages).map(Some),
            false => Ok(None),
        });
    match found {
        Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => Ok(None),
        found => found,
    }
}

/// How much of each table may differ, by its name; of those that are not there, all of it.
///
/// # Errors
/// As [`trees_between`].
pub(super) fn extents(
    trees: &Trees,
    plan: &Plan,
    (old, new): (&Side<'_>, &Side<'_>),
) -> Result<HashMap<Arc<str>, Extent>> {
    let roots = (old.connection(), new.connection());
    let mut extents = HashMap::new();
    for pair in &plan.pairs {
        match extent(trees, pair, roots) {
            // Whoever reads its rows finds it.
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {}
            found => {
                extents.insert(pair.name.clone(), found?);
            }
        }
    }
    Ok(extents)
}

/// The pages that have other digests, and those that only one of the two has.
fn differing(written: &[PageNo], old: &Arc<Moment>, new: &Arc<Moment>) -> Result<Vec<PageNo>> {
    let (fewer, more) = (old.pages().min(new.pages()), old.pages().max(new.pages()));
    let both = written.partition_point(|page| page.0 <= fewer);
    let mut differing = Vec::new();
    for pages in written.get(..both).unwrap_or_default().chunks(AT_ONCE) {
        let (a, b) = (old.digests(pages)?, new.digests(pages)?);
        let pairs = pages.iter().zip(a.into_iter().zip(b));
        differing.extend(pairs.filter(|(_, (a, b))| a != b).map(|(page, _)| *page));
    }
    differing.extend((fewer.saturating_add(1)..=more).map(PageNo));
    Ok(differing)
}

/// How much of a table may differ.
fn extent(
    trees: &Trees,
    pair: &Pair,
    (old_db, new_db): (&Connection, &Connection),
) -> Result<Extent> {
    let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return Ok(Extent::Whole) };
    if pair.fate != TableFate::Same || old.name == SEQUENCES {
        return Ok(Extent::Whole);
    }
    if new.is_virtual {
        return of_virtual(trees, (old, old_db), (new, new_db));
    }
    if old.root != new.root || new.root == 0 {
        return Ok(Extent::Whole);
    }
    match &new.key {
        Key::Rowid(_) => trees.table(new.root),
        Key::Columns(_) | Key::None(_) if trees.touches(new.root)? => Ok(Extent::Whole),
        Key::Columns(_) | Key::None(_) => Ok(Extent::Ranges(Vec::new())),
    }
}

/// Of a virtual table: nothing if nothing differs of the tables that it keeps its data in.
fn of_virtual(
    trees: &Trees,
    (old, old_db): (&Table, &Connection),
    (new, new_db): (&Table, &Connection),
) -> Result<Extent> {
    if old.shadows != new.shadows || new.shadows.is_empty() {
        return Ok(Extent::Whole);
    }
    for shadow in &new.shadows {
        // What can't be told may differ.
        let root = |db: &Connection| {
            let sql = "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            db.query_row(sql, [shadow], |row| row.get::<_, u32>(0)).ok()
        };
        let (Some(a), Some(b)) = (root(old_db), root(new_db)) else { return Ok(Extent::Whole) };
        if a != b || trees.touches(b)? {
            return Ok(Extent::Whole);
        }
    }
    Ok(Extent::Ranges(Vec::new()))
}
