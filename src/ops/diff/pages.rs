//! Which rows of two commits of one history can differ, by the pages that do: so that a diff costs
//! what changed, and not what there is.
//!
//! The index tells which pages were written between the two, and their digests tell which of them
//! differ; [`Trees`] tells which rows these hold. It is a plan and no more: rows are compared as
//! ever, and where there is no plan, all of them are.

use std::collections::HashMap;
use std::sync::Arc;

use super::plan::{Pair, Plan};
use crate::error::{ErrorKind, Result};
use crate::ops::diff::change::TableFate;
use crate::ops::point::RestorePoint;
use crate::ops::restore::still;
use crate::ops::view::Moment;
use crate::repo::chain::{Step, Written};
use crate::sqlite::provider::PageProvider;
use crate::sqlite::rows::differing::{Changed, Wanted, differing};
use crate::sqlite::rows::merge::Order;
use crate::sqlite::rows::table::{Key, SEQUENCES, Table};
use crate::sqlite::rows::trees::{Extent, Memory, Trees};
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
    (written, memory): (&mut Written, Memory),
    threads: usize,
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
            // Of the later one, if it was opened beside the earlier one.
            if old.seq() >= new.seq() {
                return differing_pages(&written.pages, of_old, of_new);
            }
            let steps = written.steps.clone();
            let written = of_new.know_written(old.seq(), written);
            match steps {
                Some(steps) => differing_steps(&steps, of_old, of_new),
                None => differing_pages(&written, of_old, of_new),
            }
        })
        .and_then(|pages| match pages.len() <= most {
            true => Trees::new(of_old.clone(), of_new.clone(), &pages, memory, threads).map(Some),
            false => Ok(None),
        });
    match found {
        Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => Ok(None),
        found => found,
    }
}

/// As [`differing_pages`], where it is at hand what was written.
fn differing_steps(steps: &[Step], old: &Arc<Moment>, new: &Arc<Moment>) -> Result<Vec<PageNo>> {
    let (fewer, more) = (old.pages().min(new.pages()), old.pages().max(new.pages()));
    let mut differing = Vec::with_capacity(steps.len());
    for step in steps.iter().take_while(|step| step.page.0 <= fewer) {
        let before = match &step.old {
            Some(before) => Some(before.digest),
            None => old.digests(&[step.page])?.into_iter().next().flatten(),
        };
        if before != Some(step.new.digest) {
            differing.push(step.page);
        }
    }
    differing.extend((fewer.saturating_add(1)..=more).map(PageNo));
    Ok(differing)
}

/// The pages that have other digests, and those that only one of the two has.
fn differing_pages(
    written: &[PageNo],
    old: &Arc<Moment>,
    new: &Arc<Moment>,
) -> Result<Vec<PageNo>> {
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
///
/// # Errors
/// As [`trees_between`].
pub(super) fn extent(trees: &Trees, pair: &Pair) -> Result<Extent> {
    let found = match (&pair.old, &pair.new) {
        (Some(old), Some(new)) if pair.fate == TableFate::Same && old.name != SEQUENCES => {
            extent_of(trees, old, new)
        }
        _ => Ok(Extent::Whole),
    };
    match found {
        // Whoever reads its rows finds it.
        Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => Ok(Extent::Whole),
        found => found,
    }
}

fn extent_of(trees: &Trees, old: &Table, new: &Table) -> Result<Extent> {
    if new.is_virtual {
        return of_virtual(trees, old, new);
    }
    if old.root != new.root || new.root == 0 {
        return Ok(Extent::Whole);
    }
    match &new.key {
        Key::Rowid(_) => trees.table(new.root),
        Key::Columns(_) if new.layout.is_some() => {
            Ok(match trees.touches_keyed(new.root, &Order::of(&new.key))? {
                true => Extent::Whole,
                false => Extent::Ranges(Vec::new()),
            })
        }
        Key::Columns(_) | Key::None(_) if trees.touches(new.root)? => Ok(Extent::Whole),
        Key::Columns(_) | Key::None(_) => Ok(Extent::Ranges(Vec::new())),
    }
}

/// Of a virtual table: nothing if nothing differs of the tables that it keeps its data in.
fn of_virtual(trees: &Trees, old: &Table, new: &Table) -> Result<Extent> {
    if old.shadows != new.shadows || old.shadow_roots != new.shadow_roots || new.shadows.is_empty()
    {
        return Ok(Extent::Whole);
    }
    for root in &new.shadow_roots {
        // What can't be told may differ.
        if *root == 0 || trees.touches(*root)? {
            return Ok(Extent::Whole);
        }
    }
    Ok(Extent::Ranges(Vec::new()))
}

/// How many bytes the rows that differ may take, as they are stored, to be held in memory.
const HELD: usize = 32 * 1024 * 1024;

/// The rows of tables that may differ, read without SQLite, by the names of the tables; those are
/// left out of which SQLite has to be asked. So many threads read pages.
///
/// # Errors
/// As [`trees_between`].
pub(super) fn rows_between(trees: &Trees, plan: &Plan, threads: usize) -> Result<Read> {
    let is_read = |pair: &&Pair| {
        let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return false };
        let is_stored_alike = new.layout.is_some() && old.layout == new.layout;
        pair.fate == TableFate::Same && is_stored_alike && old.root == new.root
    };
    let pairs: Vec<&Pair> = plan.pairs.iter().filter(is_read).collect();
    let wanted: Vec<Wanted<'_>> =
        pairs.iter().filter_map(|pair| wanted(pair.new.as_ref()?)).collect();
    if wanted.len() != pairs.len() {
        return Ok(Read::new());
    }
    match differing(trees, &wanted, HELD, threads) {
        // Whoever asks SQLite finds it.
        Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => Ok(Read::new()),
        Err(e) => Err(e),
        Ok(found) => {
            let named = pairs.into_iter().zip(found);
            Ok(named.filter_map(|(pair, rows)| Some((pair.name.clone(), rows?))).collect())
        }
    }
}

fn wanted(table: &Table) -> Option<Wanted<'_>> {
    let keyed = match &table.key {
        Key::Rowid(_) => None,
        Key::Columns(_) => Some((Order::of(&table.key), table.key_places()?)),
        Key::None(_) => return None,
    };
    Some(Wanted { root: table.root, layout: table.layout.as_ref()?, keyed })
}

/// Rows that were read without SQLite, by the names of their tables.
pub(super) type Read = HashMap<Arc<str>, Vec<Changed>>;
