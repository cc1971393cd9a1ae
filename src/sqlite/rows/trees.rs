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
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::page::{
    INDEX_INTERIOR, INDEX_LEAF, TABLE_INTERIOR, TABLE_LEAF, child_of, first_child, kind, overflows,
    parts, rowid_of, short,
};
use super::ranges::Ranges;
use super::threads;
use crate::error::Result;
use crate::sqlite::layout::{Freelist, number};
use crate::sqlite::provider::PageProvider;
use crate::types::PageNo;
pub(crate) use memory::Memory;

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
    sides: [Arc<dyn PageProvider>; 2],
    /// A rowid of each page of tables that differs, as the new state has it.
    hints: BTreeSet<i64>,
    differing: HashSet<u32>,
    /// Whether all rows may differ, since a page that differs can't be explained.
    is_blind: bool,
    /// The pages of indexes, and so of tables WITHOUT ROWID, that differ and that the new state
    /// has.
    index_pages: Vec<u32>,
    /// Whether pages differ that may be overflow pages in both states.
    has_overflow_in_place: bool,
    memory: Mutex<Memory>,
}

/// A leaf of a table, and the rowids that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) page: u32,
    pub(crate) range: (i64, i64),
}

/// What a walk found, and the pages that it met.
#[derive(Default)]
struct Walked {
    found: Ranges,
    /// The leaves of each side that the other one has not, or has with another content.
    leaves: [Vec<Leaf>; 2],
    seen: HashSet<u32>,
    /// Whether the leaves are wanted.
    lists: bool,
}

/// How many leaves are listed: of more, rows are compared by their ranges.
const LISTED: usize = 1_000_000;

/// A page, and the rowids that it stands for on each side.
struct Place {
    page: u32,
    ranges: [(i64, i64); 2],
}

impl Trees {
    /// Two states of one page size, and all pages that differ between them, or that only one has;
    /// these ascend. `memory` is of the old state. So many threads read pages.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn new(
        old: Arc<dyn PageProvider>,
        new: Arc<dyn PageProvider>,
        differing: &[PageNo],
        mut memory: Memory,
        threads: usize,
    ) -> Result<Self> {
        let mut unclear = Vec::new();
        let (mut hints, mut index_pages, mut is_blind) = (BTreeSet::new(), Vec::new(), false);
        // Where the new state has a tree's page, its rowid leads there: the pages above it are in
        // both trees, or one that is not differs, and is met first.
        let look = |page: &PageNo| Ok((page.0, look(&*new, page.0)?));
        threads::each(differing, threads, &look, &mut |(page, look)| {
            match look {
                Look::Rows(rowid) => hints.extend(rowid),
                Look::Keys => index_pages.push(page),
                Look::Unsound => is_blind = true,
                Look::Other => unclear.push(page),
                Look::Missing => {}
            }
            if new.pages() >= AMBIGUOUS && look != Look::Missing {
                unclear.push(page);
            }
        })?;
        // What only one side has as an overflow page came or went with a row's own page.
        let mut both = HashSet::new();
        for page in unclear.into_iter().filter(|page| *page > 1) {
            let ambiguous = old.pages() >= AMBIGUOUS && page <= old.pages();
            if ambiguous || self::look(&*old, page)? == Look::Other {
                both.insert(page);
            }
        }
        index_pages.sort_unstable();
        let differing = differing.iter().map(|page| page.0).collect();
        memory.go_on(&differing);
        let mut trees = Self {
            sides: [old, new],
            hints,
            differing,
            is_blind,
            index_pages,
            has_overflow_in_place: !both.is_empty(),
            memory: Mutex::new(memory),
        };
        trees.is_blind |= trees.is_unexplained(both)?;
        Ok(trees)
    }

    /// What is remembered of the new state.
    pub(crate) fn into_memory(self) -> Memory {
        self.memory.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of a table with rowids may differ that has this root in both states.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn table(&self, root: u32) -> Result<Extent> {
        let walked = self.walk_table(root, false)?;
        Ok(walked.map_or(Extent::Whole, |walked| Extent::Ranges(walked.found.into_sorted())))
    }

    /// The leaves in which all rows lie that differ of a table with rowids that has this root in
    /// both states, of the old state and of the new one; `None` if that can't be told.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn leaves(&self, root: u32) -> Result<Option<[Vec<Leaf>; 2]>> {
        Ok(self.walk_table(root, true)?.map(|walked| walked.leaves))
    }

    /// Whether a page differs.
    pub(crate) fn differs(&self, page: u32) -> bool {
        self.differing.contains(&page)
    }

    /// Whether pages differ that may be overflow pages in both states.
    pub(crate) fn has_overflow_in_place(&self) -> bool {
        self.has_overflow_in_place
    }

    /// The pages of a state: 0 for the old one, 1 for the new one.
    pub(crate) fn pages(&self, side: usize) -> Option<&Arc<dyn PageProvider>> {
        self.sides.get(side)
    }

    fn walk_table(&self, root: u32, lists: bool) -> Result<Option<Walked>> {
        if self.is_blind {
            return Ok(None);
        }
        let everything = (i64::MIN, i64::MAX);
        let place = Place { page: root, ranges: [everything; 2] };
        let mut walked = Walked { lists, ..Walked::default() };
        // Where the root is the same it is as high.
        let known = self.memory().height(root);
        let height = match known {
            Some(height) => height,
            None => {
                let found = self.height(1, root, TABLE_INTERIOR, TABLE_LEAF)?;
                let Some(height) = found else { return Ok(None) };
                self.memory().put_height(root, height);
                height
            }
        };
        let old = match self.differs(root) {
            true => self.height(0, root, TABLE_INTERIOR, TABLE_LEAF)?,
            false => Some(height),
        };
        let sound = old == Some(height) && self.walk(&place, height, &mut walked)?;
        Ok(sound.then_some(walked))
    }

    /// Whether any row may differ of a table that has this root in both states, with rowids or
    /// without.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn touches(&self, root: u32) -> Result<bool> {
        let last = self.sides.iter().map(|side| side.pages()).min().unwrap_or(0);
        if self.is_blind || !(1..=last).contains(&root) {
            return Ok(true);
        }
        match kind(&self.read(1, root)?, root) {
            TABLE_LEAF | TABLE_INTERIOR => Ok(self.table(root)? != Extent::Ranges(Vec::new())),
            INDEX_LEAF | INDEX_INTERIOR => self.touches_index(root),
            _ => Ok(true),
        }
    }

    /// Whether some of these pages may be overflow pages that were written in place.
    fn is_unexplained(&self, mut unclear: HashSet<u32>) -> Result<bool> {
        if unclear.is_empty() {
            return Ok(false);
        }
        // Cells left on a page that is free by now lead to no row.
        let mut free = HashSet::new();
        for side in [0, 1] {
            let map = PointerMap::of(&self.read(side, 1)?);
            unclear.retain(|page| !map.has(*page));
            // What is free belongs to no row.
            let mut read = |page: PageNo| self.read(side, page.0).map(|page| page.to_vec());
            let pages = self.pages_of(side);
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
        let mut differing: Vec<&u32> = self.differing.iter().collect();
        differing.sort_unstable();
        for page in differing.into_iter().filter(|page| !free.contains(page)) {
            if unclear.is_empty() {
                break;
            }
            if *page <= self.pages_of(1) {
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
        let last = self.pages_of(1);
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
            let last = self.pages_of(side);
            if page == 0 || page > last {
                return Ok(None);
            }
            let content = self.read(side, page)?;
            match kind(&content, page) {
                found if found == leaf => return Ok(Some(height)),
                found if found == interior => {}
                _ => return Ok(None),
            }
            let Some(first) = first_child(&content, page) else { return Ok(None) };
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
                for (range, leaves) in place.ranges.into_iter().zip(&mut walked.leaves) {
                    walked.found.add(range);
                    leaves.push(Leaf { page: place.page, range });
                }
            }
            return Ok(true);
        };
        let new = self.read(1, place.page)?;
        if !differs {
            return self.walk_same(place, &new, below, walked);
        }
        let old = self.read(0, place.page)?;
        let (Some(old), Some(new)) =
            (parts(&old, place.page, place.ranges[0]), parts(&new, place.page, place.ranges[1]))
        else {
            return Ok(false);
        };
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
                None => {
                    walked.found.add(of_old);
                    if !self.list(0, (page, of_old), below, walked)? {
                        return Ok(false);
                    }
                }
            }
        }
        for (page, range) in come {
            walked.found.add(range);
            if !self.list(1, (page, range), below, walked)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks toward the pages that differ below one that is the same on both sides: their rowids
    /// tell the way.
    fn walk_same(
        &self,
        place: &Place,
        content: &[u8],
        below: usize,
        walked: &mut Walked,
    ) -> Result<bool> {
        let (first, last) = place.ranges[1];
        let mut from = Some(first);
        while let Some(hint) = from
            .filter(|from| *from <= last)
            .and_then(|from| self.hints.range(from..=last).next().copied())
        {
            let Some((page, [before, end])) = child_of(content, place.page, hint) else {
                return Ok(false);
            };
            let within = |(first, last): (i64, i64)| {
                let first = before.map_or(first, |before| before.saturating_add(1).max(first));
                (first, end.map_or(last, |end| end.min(last)))
            };
            let child = Place { page, ranges: place.ranges.map(within) };
            // A leaf is only read if it differs.
            let is_wanted = below > 0 || self.differing.contains(&page);
            if is_wanted && !self.walk(&child, below, walked)? {
                return Ok(false);
            }
            // What follows lies behind that page.
            from = end.and_then(|end| end.max(hint).checked_add(1));
        }
        Ok(true)
    }

    /// Lists all leaves below a page that only one side has there. Returns whether all was sound.
    fn list(
        &self,
        side: usize,
        (page, range): (u32, (i64, i64)),
        height: usize,
        walked: &mut Walked,
    ) -> Result<bool> {
        if !walked.lists {
            return Ok(true);
        }
        let mut open = vec![(page, range, height)];
        while let Some((page, range, height)) = open.pop() {
            let last = self.pages_of(side);
            let Some(leaves) = walked.leaves.get_mut(side).filter(|l| l.len() < LISTED) else {
                return Ok(false);
            };
            if page < 2 || page > last {
                return Ok(false);
            }
            let Some(below) = height.checked_sub(1) else {
                leaves.push(Leaf { page, range });
                continue;
            };
            let Some(parts) = parts(&self.read(side, page)?, page, range) else {
                return Ok(false);
            };
            // There are no more of them than pages, or some are met twice.
            if open.len() + parts.len() > LISTED {
                return Ok(false);
            }
            open.extend(parts.into_iter().map(|(page, range)| (page, range, below)));
        }
        Ok(true)
    }

    /// Whether a page differs, or one below it may.
    fn is_wanted(&self, place: &Place, height: usize) -> bool {
        let has_hint = |(first, last): (i64, i64)| {
            first <= last && self.hints.range(first..=last).next().is_some()
        };
        self.differing.contains(&place.page)
            || (height > 0 && place.ranges.iter().any(|range| has_hint(*range)))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pages a state has.
    fn pages_of(&self, side: usize) -> u32 {
        self.sides.get(side).map_or(0, |pages| pages.pages())
    }

    fn read(&self, side: usize, page: u32) -> Result<Arc<[u8]>> {
        match self.sides.get(side) {
            Some(pages) => pages.content(PageNo(page)),
            None => Ok(Arc::new([])),
        }
    }
}

/// What a page that differs is in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is not there.
    Missing,
    /// A page of a table, with a rowid that leads to it. The root of an empty table has none.
    Rows(Option<i64>),
    /// A page of an index, or of a table WITHOUT ROWID.
    Keys,
    /// A page of a table that can't be found.
    Unsound,
    /// Something else: of a row that is too long for its page, of the freelist, a pointer map.
    Other,
}

/// What a page is.
fn look(pages: &dyn PageProvider, page: u32) -> Result<Look> {
    if page > pages.pages() || PageNo(page) == pages.page_size().lock_page() {
        return Ok(Look::Missing);
    }
    let content = pages.content(PageNo(page))?;
    Ok(match kind(&content, page) {
        TABLE_LEAF | TABLE_INTERIOR => match rowid_of(&content, page) {
            None if kind(&content, page) == TABLE_INTERIOR => Look::Unsound,
            rowid => Look::Rows(rowid),
        },
        INDEX_LEAF | INDEX_INTERIOR => Look::Keys,
        _ => Look::Other,
    })
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

impl fmt::Debug for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trees").field("differing", &self.differing.len()).finish_non_exhaustive()
    }
}

mod keys;
mod memory;

#[cfg(test)]
mod tests;
