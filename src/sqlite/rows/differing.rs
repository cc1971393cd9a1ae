//! The rows of a table that differ between two states of a database, read from its leaves without
//! SQLite.
//!
//! A leaf that is the same in both states has the same rows. So the rows that differ are among
//! those of the leaves that [`Trees`] lists. What both states list of a row is compared byte for
//! byte: most rows of a leaf that was written are as they were, and are not looked at further.
//!
//! Invariants:
//! - `None` means that SQLite has to be asked. Else each row that differs is there, once, and in
//!   the order of rowids. A row may be there that has other bytes and the same values.
//! - Memory is bounded by what was asked for, or there is no answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::cell::Cell;
use super::merge::Order;
use super::record::{Kept, Layout, Local, keyed_rows_of, rows_of, usable_len};
use super::threads;
use super::trees::{Leaf, Trees};
use crate::error::Result;
use crate::types::PageNo;

/// A table to be read.
pub(crate) struct Wanted<'t> {
    pub(crate) root: u32,
    pub(crate) layout: &'t Layout,
    /// Of a table WITHOUT ROWID: the order of its keys, and which columns these are.
    pub(crate) keyed: Option<(Order, Vec<usize>)>,
}

/// A row that may differ.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Its rowid, if it has one.
    pub(crate) rowid: i64,
    /// As the old state and the new one store it.
    pub(crate) sides: [Option<Kept>; 2],
}

/// The rows that may differ of some tables, each of which has its root in both states, in the
/// order of the tables; `None` for a table of which SQLite has to be asked. All take no more than
/// so many bytes. So many threads read pages.
///
/// # Errors
/// What reading pages answers.
pub(crate) fn differing(
    trees: &Trees,
    wanted: &[Wanted<'_>],
    bytes: usize,
    threads: usize,
) -> Result<Vec<Option<Vec<Changed>>>> {
    let mut places = Vec::new();
    let mut tables: Vec<Option<Collected>> = Vec::with_capacity(wanted.len());
    for (table, of) in wanted.iter().enumerate() {
        let listed = match &of.keyed {
            Some((order, _)) => trees.key_pages(of.root, order, threads)?.map(|pages| {
                let range = |is_there: bool| is_there.then_some((i64::MIN, i64::MAX));
                let place = |(page, sides): (u32, [bool; 2])| Place {
                    page,
                    table,
                    has_keys: true,
                    ranges: sides.map(range),
                };
                pages.into_iter().map(place).collect()
            }),
            None => trees.leaves(of.root)?.and_then(|leaves| placed(trees, table, leaves)),
        };
        tables.push(listed.as_ref().map(|_| Collected::default()));
        places.extend(listed.into_iter().flatten());
    }
    let mut of_page = 0;
    if !places.is_empty() {
        // In the order in which pages are stored, whatever tables they are of.
        places.sort_unstable_by_key(|place| place.page);
        match usable(trees)? {
            Some(usable) => {
                of_page = usable;
                let mut left = bytes;
                let compare = |place: &Place| Ok((place.table, compared(trees, usable, place)?));
                threads::each(&places, threads, &compare, &mut |(table, found)| {
                    take(&mut tables, table, found, &mut left);
                })?;
            }
            None => tables.fill_with(|| None),
        }
    }
    let pair = |(table, of): (Option<Collected>, &Wanted<'_>)| match (table, &of.keyed) {
        (Some(rows), None) => rows.paired(trees, of_page),
        (Some(rows), Some((order, key))) => {
            rows.paired_by_keys(trees, of_page, (of.layout, order, key))
        }
        (None, _) => Ok(None),
    };
    tables.into_iter().zip(wanted).map(pair).collect()
}

/// A page that is compared, and the rowids that it stands for in each state that has it.
struct Place {
    page: u32,
    table: usize,
    /// Whether it is one of a table WITHOUT ROWID.
    has_keys: bool,
    ranges: [Option<(i64, i64)>; 2],
}

/// The leaves of a table that have to be compared; `None` if they are those of no tree.
fn placed(trees: &Trees, table: usize, leaves: [Vec<Leaf>; 2]) -> Option<Vec<Place>> {
    let mut places: BTreeMap<u32, [Option<(i64, i64)>; 2]> = BTreeMap::new();
    for (side, leaves) in leaves.into_iter().enumerate() {
        for leaf in leaves {
            let place = places.entry(leaf.page).or_default().get_mut(side)?;
            // A leaf that two pages lead to is no part of a tree.
            if place.replace(leaf.range).is_some() {
                return None;
            }
        }
    }
    // One that only moved has the rows that it had.
    let is_compared = |(page, ranges): &(u32, [Option<(i64, i64)>; 2])| {
        trees.differs(*page) || ranges.iter().any(Option::is_none)
    };
    let compared = places.into_iter().filter(is_compared);
    let place = |(page, ranges)| Place { page, table, has_keys: false, ranges };
    Some(compared.map(place).collect())
}

/// Takes what was found of a table. Where there is no room the largest table is let go.
fn take(tables: &mut [Option<Collected>], table: usize, found: Option<Sides>, left: &mut usize) {
    let Some(place) = tables.get_mut(table) else { return };
    let (Some(collected), Some(found)) = (place.as_mut(), found) else {
        if let Some(collected) = place.take() {
            *left = left.saturating_add(collected.bytes);
        }
        return;
    };
    let more: usize = found.iter().flatten().map(|(_, kept)| kept.bytes()).sum();
    for (rows, found) in collected.rows.iter_mut().zip(found) {
        rows.extend(found);
    }
    collected.bytes += more;
    while more > *left {
        let size = |place: &&mut Option<Collected>| place.as_ref().map_or(0, |of| of.bytes);
        let Some(freed) = tables.iter_mut().max_by_key(size).and_then(Option::take) else { return };
        *left = left.saturating_add(freed.bytes);
    }
    *left -= more;
}

/// How many bytes of each page count, if that is the same in both states.
pub(crate) fn usable(trees: &Trees) -> Result<Option<usize>> {
    let first = |side| match trees.pages(side) {
        Some(pages) => pages.content(PageNo(1)).map(|first| usable_len(&first)),
        None => Ok(None),
    };
    let (old, new) = (first(0)?, first(1)?);
    Ok(old.filter(|_| old == new))
}

/// Rows of both states, by their rowids.
type Sides = [Vec<(i64, Kept)>; 2];

/// What the leaves of a table have, without the rows that are the same in a leaf of both states.
#[derive(Default)]
struct Collected {
    rows: Sides,
    bytes: usize,
}

/// The rows in which a leaf differs, as each state has them; `None` if anything is not as it should
/// be.
fn compared(
    trees: &Trees,
    usable: usize,
    Place { page, ranges, has_keys, .. }: &Place,
) -> Result<Option<Sides>> {
    let content = |side: usize| -> Result<Option<Arc<[u8]>>> {
        let is_there = ranges.get(side).is_some_and(Option::is_some);
        let pages = trees.pages(side).filter(|_| is_there);
        pages.map(|pages| pages.content(PageNo(*page))).transpose()
    };
    let contents = [content(0)?, content(1)?];
    let rows = |side: usize| match (contents.get(side), ranges.get(side)) {
        (Some(Some(content)), _) if *has_keys => keyed_rows_of(content, *page, usable),
        (Some(Some(content)), Some(Some(range))) => rows_of(content, *page, usable, *range),
        _ => Some(Vec::new()),
    };
    let (Some(old), Some(new)) = (rows(0), rows(1)) else { return Ok(None) };
    if *has_keys {
        return compared_keys(trees, usable, &old, &new).map(Some);
    }
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut found = [Vec::new(), Vec::new()];
    loop {
        let (has_old, has_new) = match (old.peek(), new.peek()) {
            (None, None) => return Ok(Some(found)),
            (Some(a), Some(b)) => (a.rowid <= b.rowid, b.rowid <= a.rowid),
            (a, b) => (a.is_some(), b.is_some()),
        };
        let (a, b) = (old.next_if(|_| has_old), new.next_if(|_| has_new));
        if let (Some(a), Some(b)) = (a, b)
            && is_same_here(a, b)
            && (a.overflow == 0 || is_same_beyond(trees, usable, &Kept::of(a))?)
        {
            continue;
        }
        for (row, found) in [a, b].into_iter().zip(&mut found) {
            found.extend(row.map(|row| (row.rowid, Kept::of(row))));
        }
    }
}

/// The rows of two pages of keys that only one of them has, byte for byte.
fn compared_keys(
    trees: &Trees,
    usable: usize,
    old: &[Local<'_>],
    new: &[Local<'_>],
) -> Result<Sides> {
    fn own<'p>(row: &Local<'p>) -> Local<'p> {
        Local { rowid: 0, ..*row }
    }
    let mut gone: HashMap<Local<'_>, usize> = HashMap::new();
    for row in old {
        *gone.entry(own(row)).or_default() += 1;
    }
    let mut found = [Vec::new(), Vec::new()];
    let [of_old, of_new] = &mut found;
    for row in new {
        let is_there = gone.get_mut(&own(row)).filter(|count| **count > 0);
        match is_there {
            Some(count) if row.overflow == 0 || is_same_beyond(trees, usable, &Kept::of(row))? => {
                *count -= 1;
            }
            _ => of_new.push((0, Kept::of(row))),
        }
    }
    for (row, count) in gone {
        of_old.extend((0..count).map(|_| (0, Kept::of(&row))));
    }
    Ok(found)
}

/// Whether the overflow pages of a row, whose own bytes are the same in both states, are so, too.
fn is_same_beyond(trees: &Trees, usable: usize, row: &Kept) -> Result<bool> {
    if !trees.has_overflow_in_place() {
        return Ok(true);
    }
    let Some(pages) = trees.pages(1) else { return Ok(false) };
    let read = |page: u32| pages.content(PageNo(page));
    let differs = |page: u32| trees.differs(page);
    Ok(!row.overflows_into(usable, pages.pages(), &differs, &read)?)
}

impl Collected {
    /// Each row with what both sides have of it; `None` if a side has one twice.
    fn paired(mut self, trees: &Trees, usable: usize) -> Result<Option<Vec<Changed>>> {
        for rows in &mut self.rows {
            rows.sort_unstable_by_key(|(rowid, _)| *rowid);
            if rows.windows(2).any(|two| matches!(two, [a, b] if a.0 == b.0)) {
                return Ok(None);
            }
        }
        let [old, new] = self.rows;
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        let mut changed = Vec::new();
        loop {
            let rowid = match (old.peek(), new.peek()) {
                (None, None) => return Ok(Some(changed)),
                (Some(a), Some(b)) => a.0.min(b.0),
                (a, b) => a.or(b).map_or(0, |row| row.0),
            };
            let a = old.next_if(|row| row.0 == rowid).map(|row| row.1);
            let b = new.next_if(|row| row.0 == rowid).map(|row| row.1);
            // It went from a leaf to another one.
            if is_same_row(trees, usable, a.as_ref(), b.as_ref())? {
                continue;
            }
            changed.push(Changed { rowid, sides: [a, b] });
        }
    }

    /// As [`Collected::paired`], of a table WITHOUT ROWID, in the order of its keys. `None` also if
    /// the values of a row can't be told.
    fn paired_by_keys(
        self,
        trees: &Trees,
        usable: usize,
        (layout, order, key): (&Layout, &Order, &[usize]),
    ) -> Result<Option<Vec<Changed>>> {
        let mut sides = [Vec::new(), Vec::new()];
        for (side, (rows, keyed)) in self.rows.into_iter().zip(&mut sides).enumerate() {
            let Some(pages) = trees.pages(side) else { return Ok(None) };
            let read = |page: u32| pages.content(PageNo(page));
            for (_, row) in rows {
                let record = row.record(usable, pages.pages(), &read)?;
                let values = record.and_then(|record| layout.values(&record, 0));
                let of = |values: Vec<Cell>| -> Option<Vec<Cell>> {
                    key.iter().map(|column| values.get(*column).cloned()).collect()
                };
                let Some(key) = values.and_then(of) else { return Ok(None) };
                keyed.push((key, row));
            }
            keyed.sort_by(|a, b| order.of_keys(&a.0, &b.0));
            let is_twice = |two: &[(Vec<Cell>, Kept)]| match two {
                [a, b] => order.of_keys(&a.0, &b.0).is_eq(),
                _ => false,
            };
            if keyed.windows(2).any(is_twice) {
                return Ok(None);
            }
        }
        let [old, new] = sides;
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        let mut changed = Vec::new();
        loop {
            let (has_old, has_new) = match (old.peek(), new.peek()) {
                (None, None) => return Ok(Some(changed)),
                (Some(a), Some(b)) => {
                    let ordering = order.of_keys(&a.0, &b.0);
                    (ordering.is_le(), ordering.is_ge())
                }
                (a, b) => (a.is_some(), b.is_some()),
            };
            let a = old.next_if(|_| has_old).map(|row| row.1);
            let b = new.next_if(|_| has_new).map(|row| row.1);
            if is_same_row(trees, usable, a.as_ref(), b.as_ref())? {
                continue;
            }
            changed.push(Changed { rowid: 0, sides: [a, b] });
        }
    }
}

/// Whether both states have a row, and store it alike, wherever it lies.
fn is_same_row(trees: &Trees, usable: usize, a: Option<&Kept>, b: Option<&Kept>) -> Result<bool> {
    match (a, b) {
        (Some(a), Some(b)) if a == b => Ok(!a.has_more() || is_same_beyond(trees, usable, a)?),
        _ => Ok(false),
    }
}

/// Whether a row is the same in the leaves of both states.
fn is_same_here(a: &Local<'_>, b: &Local<'_>) -> bool {
    a.len == b.len && a.bytes == b.bytes && a.overflow == b.overflow
}
