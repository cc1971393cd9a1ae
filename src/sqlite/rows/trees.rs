//! Where the rows are that may differ between two states of a database, by the pages that differ.
//!
//! A table with rowids is a tree. Each page of it stands for a range of rowids, which the pages
//! above it tell. Where a page is the same in both states, and belongs to the tree in both, its
//! rows are the same. So both trees are walked side by side, and only toward pages that differ: the
//! rowids in those pages tell the way.
//!
//! Invariants:
//! - A row that differs lies in the ranges that are told, or all of its table is told.
//! - Pages are input like any other: what is no sound tree makes all of a table differ.
//! - An overflow page that was written in place leaves its row's page as it was. What can't be
//!   explained otherwise makes all rows of all tables differ.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::ranges::Ranges;
use crate::error::Result;
use crate::sqlite::layout::{Freelist, number};
use crate::sqlite::provider::PageProvider;
use crate::types::PageNo;

/// The kinds of pages of trees, by their first byte.
const INDEX_INTERIOR: u8 = 2;
const TABLE_INTERIOR: u8 = 5;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;
/// Higher than any tree of SQLite's.
const HIGHEST: usize = 40;
/// From this number on the next page's number, with which an overflow page begins, may look like
/// the kind of a tree's page.
const AMBIGUOUS: u32 = 2 << 24;

/// How much of a table may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Its rows between these rowids, both included; none if there is no range.
    Ranges(Vec<(i64, i64)>),
    /// Any row.
    Whole,
}

/// Two states of a database, and which pages differ.
pub(crate) struct Trees {
    sides: [Side; 2],
    differing: HashSet<u32>,
    /// Whether all rows may differ, since a page that differs can't be explained.
    is_blind: bool,
    /// Whether pages of indexes, and so of tables WITHOUT ROWID, differ.
    has_index_pages: bool,
}

/// One state.
struct Side {
    pages: Arc<dyn PageProvider>,
    /// A rowid of each page of tables that differs.
    hints: BTreeSet<i64>,
}

/// What a walk found, and the pages that it met.
#[derive(Default)]
struct Walked {
    found: Ranges,
    seen: HashSet<u32>,
}

/// A page, and the rowids that it stands for on each side.
struct Place {
    page: u32,
    ranges: [(i64, i64); 2],
}

impl Trees {
    /// Two states of one page size, and all pages that differ between them, or that only one has.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn new(
        old: Arc<dyn PageProvider>,
        new: Arc<dyn PageProvider>,
        differing: &[PageNo],
    ) -> Result<Self> {
        let side = |pages| Side { pages, hints: BTreeSet::new() };
        let mut trees = Self {
            sides: [side(old), side(new)],
            differing: differing.iter().map(|page| page.0).collect(),
            is_blind: false,
            has_index_pages: false,
        };
        let mut unclear = HashSet::new();
        for page in differing {
            let kinds = [trees.learn(0, page.0)?, trees.learn(1, page.0)?];
            // What only one side has as an overflow page came or went with a row's own page.
            if kinds == [Kind::Other, Kind::Other] {
                unclear.insert(page.0);
            }
        }
        trees.is_blind |= trees.is_unexplained(unclear)?;
        Ok(trees)
    }

    /// How much of a table with rowids may differ that has this root in both states.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn table(&self, root: u32) -> Result<Extent> {
        if self.is_blind {
            return Ok(Extent::Whole);
        }
        let everything = (i64::MIN, i64::MAX);
        let height = |side| self.height(side, root, TABLE_INTERIOR, TABLE_LEAF);
        let (Some(height), Some(new)) = (height(0)?, height(1)?) else {
            return Ok(Extent::Whole);
        };
        if height != new {
            return Ok(Extent::Whole);
        }
        let mut walked = Walked::default();
        let place = Place { page: root, ranges: [everything; 2] };
        let sound = self.walk(&place, height, &mut walked)?;
        let found = walked.found;
        Ok(if sound { Extent::Ranges(found.into_sorted()) } else { Extent::Whole })
    }

    /// Whether any row may differ of a table that has this root in both states, with rowids or
    /// without.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn touches(&self, root: u32) -> Result<bool> {
        let last = self.sides.iter().map(|side| side.pages.pages()).min().unwrap_or(0);
        if self.is_blind || !(1..=last).contains(&root) {
            return Ok(true);
        }
        match kind(&self.read(1, root)?, root) {
            TABLE_LEAF | TABLE_INTERIOR => Ok(self.table(root)? != Extent::Ranges(Vec::new())),
            INDEX_LEAF | INDEX_INTERIOR => self.touches_index(root),
            _ => Ok(true),
        }
    }

    /// Whether any page of a table WITHOUT ROWID may differ.
    fn touches_index(&self, root: u32) -> Result<bool> {
        if !self.has_index_pages {
            return Ok(false);
        }
        let Some(height) = self.height(1, root, INDEX_INTERIOR, INDEX_LEAF)? else {
            return Ok(true);
        };
        let (mut open, mut seen) = (vec![(root, height)], HashSet::new());
        while let Some((page, height)) = open.pop() {
            // A page that two others lead to is no part of a tree.
            if self.differing.contains(&page) || !seen.insert(page) {
                return Ok(true);
            }
            // A page that is the same leads to the same pages in both states.
            let Some(below) = height.checked_sub(1) else { continue };
            let content = self.read(1, page)?;
            let is_interior = kind(&content, page) == INDEX_INTERIOR;
            let Some(children) = children(&content, page).filter(|_| is_interior) else {
                return Ok(true);
            };
            open.extend(children.into_iter().map(|child| (child, below)));
        }
        Ok(false)
    }

    /// Takes note of what a page that differs is on one side.
    fn learn(&mut self, side: usize, page: u32) -> Result<Kind> {
        let Some(pages) = self.sides.get(side).map(|side| side.pages.clone()) else {
            return Ok(Kind::Missing);
        };
        if page > pages.pages() || PageNo(page) == pages.page_size().lock_page() {
            return Ok(Kind::Missing);
        }
        let content = self.read(side, page)?;
        match kind(&content, page) {
            TABLE_LEAF | TABLE_INTERIOR => match (rowid_of(&content, page), page) {
                (Some(rowid), _) => {
                    if let Some(side) = self.sides.get_mut(side) {
                        side.hints.insert(rowid);
                    }
                }
                // The root of an empty table; any other page has rows.
                (None, _) if kind(&content, page) == TABLE_LEAF => {}
                (None, _) => self.is_blind = true,
            },
            INDEX_LEAF | INDEX_INTERIOR => self.has_index_pages = true,
            _ => return Ok(Kind::Other),
        }
        Ok(match pages.pages() < AMBIGUOUS {
            true => Kind::Tree,
            false => Kind::Other,
        })
    }

    /// Whether some of these pages may be overflow pages that were written in place.
    fn is_unexplained(&self, mut unclear: HashSet<u32>) -> Result<bool> {
        unclear.remove(&1);
        if unclear.is_empty() {
            return Ok(false);
        }
        // Cells left on a page that is free by now lead to no row.
        let mut free = HashSet::new();
        for side in [0, 1] {
            let map = PointerMap::of(&self.read(side, 1)?);
            unclear.retain(|page| !map.has(*page));
            // What is free belongs to no row.
            let mut read = |page: PageNo| self.read(side, page.0);
            let pages = self.sides.get(side).map_or(0, |side| side.pages.pages());
            let mut trunks = Freelist::new(&read(PageNo(1))?, pages);
            while let Some((trunk, leaves)) = trunks.next(&mut read)? {
                if unclear.is_empty() {
                    return Ok(false);
                }
                for page in leaves.iter().chain([&trunk]) {
                    unclear.remove(&page.0);
                    if side == 1 && self.differing.contains(&page.0) {
                        free.insert(page.0);
                    }
                }
            }
        }
        // What belongs to a row whose own page differs is found with that.
        let mut seen = HashSet::new();
        for page in self.differing.iter().filter(|page| !free.contains(page)) {
            if unclear.is_empty() {
                break;
            }
            if self.sides.get(1).is_some_and(|new| *page <= new.pages.pages()) {
                self.follow_overflow(*page, &mut unclear, &mut seen)?;
            }
        }
        Ok(!unclear.is_empty())
    }

    /// Removes the overflow pages of a page's cells, as the new state has them.
    fn follow_overflow(
        &self,
        page: u32,
        unclear: &mut HashSet<u32>,
        seen: &mut HashSet<u32>,
    ) -> Result<()> {
        let content = self.read(1, page)?;
        let reserved = self.read(1, 1)?.get(20).copied().unwrap_or(0);
        let usable = content.len().saturating_sub(usize::from(reserved));
        let last = self.sides.get(1).map_or(0, |new| new.pages.pages());
        for (first, count) in overflows(&content, page, usable) {
            let mut next = first;
            for _ in 0..count {
                // One that was met before leads where it led then, perhaps in a circle.
                let is_over = next == 0 || next > last || unclear.is_empty();
                if is_over || !seen.insert(next) {
                    break;
                }
                unclear.remove(&next);
                next = number(&self.read(1, next)?, 0);
            }
        }
        Ok(())
    }

    /// How many levels a tree has above its leaves; `None` if it is none.
    fn height(&self, side: usize, root: u32, interior: u8, leaf: u8) -> Result<Option<usize>> {
        let mut page = root;
        for height in 0..HIGHEST {
            let last = self.sides.get(side).map_or(0, |side| side.pages.pages());
            if page == 0 || page > last {
                return Ok(None);
            }
            let content = self.read(side, page)?;
            match kind(&content, page) {
                found if found == leaf => return Ok(Some(height)),
                found if found == interior => {}
                _ => return Ok(None),
            }
            let first = children(&content, page).and_then(|children| children.first().copied());
            let Some(first) = first else { return Ok(None) };
            page = first;
        }
        Ok(None)
    }

    /// Walks through a page that belongs to the tree on both sides, `height` levels above its
    /// leaves. Returns whether all that it met was sound.
    fn walk(&self, place: &Place, height: usize, walked: &mut Walked) -> Result<bool> {
        // A page that two others lead to is no part of a tree.
        if !walked.seen.insert(place.page) {
            return Ok(false);
        }
        let differs = self.differing.contains(&place.page);
        let Some(below) = height.checked_sub(1) else {
            if differs {
                place.ranges.iter().for_each(|range| walked.found.add(*range));
            }
            return Ok(true);
        };
        let new = self.read(1, place.page)?;
        let old = if differs { self.read(0, place.page)? } else { new.clone() };
        let (Some(old), Some(new)) =
            (parts(&old, place.page, place.ranges[0]), parts(&new, place.page, place.ranges[1]))
        else {
            return Ok(false);
        };
        if !differs {
            // The same children in the same order: but the ends may be others.
            for ((page, of_old), (_, of_new)) in old.into_iter().zip(new) {
                let child = Place { page, ranges: [of_old, of_new] };
                if self.is_wanted(&child, below) && !self.walk(&child, below, walked)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let children = new.len();
        let mut come: HashMap<u32, (i64, i64)> = new.into_iter().collect();
        if come.len() != children {
            return Ok(false);
        }
        for (page, of_old) in old {
            match come.remove(&page) {
                Some(of_new) => {
                    let child = Place { page, ranges: [of_old, of_new] };
                    if self.is_wanted(&child, below) && !self.walk(&child, below, walked)? {
                        return Ok(false);
                    }
                }
                None => walked.found.add(of_old),
            }
        }
        come.into_values().for_each(|range| walked.found.add(range));
        Ok(true)
    }

    /// Whether a page differs, or one below it may.
    fn is_wanted(&self, place: &Place, height: usize) -> bool {
        let has_hint = |side: usize, (first, last): (i64, i64)| {
            let hints = self.sides.get(side).map(|side| &side.hints);
            first <= last && hints.is_some_and(|hints| hints.range(first..=last).next().is_some())
        };
        self.differing.contains(&place.page)
            || (height > 0
                && place.ranges.iter().enumerate().any(|(side, range)| has_hint(side, *range)))
    }

    fn read(&self, side: usize, page: u32) -> Result<Vec<u8>> {
        let Some(side) = self.sides.get(side) else { return Ok(Vec::new()) };
        let mut content = vec![0; side.pages.page_size().bytes()];
        side.pages.read(PageNo(page), &mut content)?;
        Ok(content)
    }
}

/// What a page that differs is on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is not there.
    Missing,
    /// A page of a tree.
    Tree,
    /// Something else: of a row that is too long for its page, of the freelist, a pointer map.
    Other,
}

/// Where the header of a tree's page begins.
fn header(page: u32) -> usize {
    if page == 1 { 100 } else { 0 }
}

/// The first byte of a tree's page.
fn kind(content: &[u8], page: u32) -> u8 {
    content.get(header(page)).copied().unwrap_or(0)
}

/// A number of two bytes; zero behind the page's end.
fn short(content: &[u8], at: usize) -> usize {
    let bytes = content.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)))
}

/// Where the cells of a tree's page are; `None` if that is outside of the page.
fn cells(content: &[u8], page: u32) -> Option<Vec<usize>> {
    let at = header(page);
    let is_interior = matches!(kind(content, page), INDEX_INTERIOR | TABLE_INTERIOR);
    let first = at + if is_interior { 12 } else { 8 };
    let count = short(content, at + 3);
    if first + count * 2 > content.len() {
        return None;
    }
    Some((0..count).map(|i| short(content, first + i * 2)).collect())
}

/// The pages that an interior page leads to, in order.
fn children(content: &[u8], page: u32) -> Option<Vec<u32>> {
    let mut children: Vec<u32> =
        cells(content, page)?.into_iter().map(|cell| number(content, cell)).collect();
    children.push(number(content, header(page) + 8));
    Some(children)
}

/// The pages that an interior page of a table leads to, with the rowids that each stands for.
fn parts(content: &[u8], page: u32, (first, last): (i64, i64)) -> Option<Vec<(u32, (i64, i64))>> {
    if kind(content, page) != TABLE_INTERIOR {
        return None;
    }
    let mut parts = Vec::new();
    let mut from = first;
    for cell in cells(content, page)? {
        let (key, _) = varint(content, cell + 4)?;
        // SQLite finds nothing in a tree whose keys do not ascend.
        if key < from.saturating_sub(1) {
            return None;
        }
        parts.push((number(content, cell), (from, key.min(last))));
        from = key.checked_add(1)?;
    }
    parts.push((number(content, header(page) + 8), (from, last)));
    Some(parts)
}

/// The rowid of the first cell of a table's page.
fn rowid_of(content: &[u8], page: u32) -> Option<i64> {
    let cell = *cells(content, page)?.first()?;
    let at = match kind(content, page) {
        TABLE_INTERIOR => cell + 4,
        _ => varint(content, cell)?.1,
    };
    varint(content, at).map(|(rowid, _)| rowid)
}

/// A number of SQLite's of one to nine bytes, and where the next one begins.
fn varint(content: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut value: u64 = 0;
    for i in 0..8 {
        let byte = *content.get(at + i)?;
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value.cast_signed(), at + i + 1));
        }
    }
    let byte = *content.get(at + 8)?;
    Some((((value << 8) | u64::from(byte)).cast_signed(), at + 9))
}

/// The first overflow page of each cell that has some, and how many it has.
fn overflows(content: &[u8], page: u32, usable: usize) -> Vec<(u32, usize)> {
    let (is_leaf, is_index) = match kind(content, page) {
        TABLE_LEAF => (true, false),
        INDEX_LEAF => (true, true),
        INDEX_INTERIOR => (false, true),
        _ => return Vec::new(),
    };
    let (Some(room), Some(of_index)) = (usable.checked_sub(35), usable.checked_sub(12)) else {
        return Vec::new();
    };
    let most = if is_index { of_index * 64 / 255 - 23 } else { room };
    let least = of_index * 32 / 255 - 23;
    let overflow = |cell: usize| {
        let (len, at) = varint(content, if is_leaf { cell } else { cell + 4 })?;
        let at = if is_index { at } else { varint(content, at)?.1 };
        let len = usize::try_from(len).ok().filter(|len| *len > most)?;
        let spill = least + (len - least) % (usable - 4);
        let local = if spill <= most { spill } else { least };
        let first = number(content, at + local);
        Some((first, (len - local).div_ceil(usable - 4)))
    };
    cells(content, page).unwrap_or_default().into_iter().filter_map(overflow).collect()
}

/// Where the pointer maps of a database are that can be vacuumed bit by bit.
struct PointerMap {
    /// How many pages each is for, itself included; zero if there are none.
    each: u32,
    lock_page: u32,
}

impl PointerMap {
    fn of(first: &[u8]) -> Self {
        let page_len = match short(first, 16) {
            1 => 65_536,
            len => len,
        };
        let usable = page_len.saturating_sub(first.get(20).copied().unwrap_or(0).into());
        let each = match number(first, 52) {
            0 => 0,
            _ => u32::try_from(usable / 5).unwrap_or(0).saturating_add(1),
        };
        let lock_page = u32::try_from((1 << 30) / page_len.max(512)).unwrap_or(0) + 1;
        Self { each, lock_page }
    }

    fn has(&self, page: u32) -> bool {
        if self.each == 0 || page < 2 {
            return false;
        }
        let map = (page - 2) / self.each * self.each + 2;
        page == if map == self.lock_page { map + 1 } else { map }
    }
}

#[cfg(test)]
mod tests;
