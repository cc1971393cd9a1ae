//! Trees of keys: tables WITHOUT ROWID, and indexes.
//!
//! Such a tree has rows on all of its pages. A page that is the same in both states, and belongs to
//! the tree in both, has the same rows; so only the others have to be looked at.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::{HIGHEST, LISTED, Trees};
use crate::error::Result;
use crate::sqlite::layout::number;
use crate::sqlite::rows::merge::Order;
use crate::sqlite::rows::page::{
    INDEX_INTERIOR, INDEX_LEAF, children, header, key_at, kind, short,
};
use crate::sqlite::rows::record::{first_values, usable_len};
use crate::sqlite::rows::threads;

/// A page on the way down a tree, and the states that have it there.
#[derive(Clone, Copy)]
struct Step {
    page: u32,
    sides: [bool; 2],
}

impl Trees {
    /// As [`Trees::touches`], of a table WITHOUT ROWID, whose keys are ordered so and whose texts
    /// are in UTF-8: each page that differs is looked for by its first key.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn touches_keyed(&self, root: u32, order: &Order) -> Result<bool> {
        let last = self.pages_of(1);
        if self.is_blind || !(1..=last).contains(&root) {
            return Ok(true);
        }
        for page in &self.index_pages {
            if self.leads_to(root, *page, order)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a page of the new state may belong to a tree of keys.
    fn leads_to(&self, root: u32, target: u32, order: &Order) -> Result<bool> {
        let wanted = self.read(1, target)?;
        let key = |content: &[u8], page, usable, at| {
            key_at(content, page, usable, at).and_then(|record| first_values(record, order.len()))
        };
        let Some(usable) = usable_len(&self.read(1, 1)?) else { return Ok(true) };
        let mut page = root;
        for _ in 0..HIGHEST {
            let last = self.pages_of(1);
            // What leads nowhere is no tree.
            if page == target || page == 0 || page > last {
                return Ok(true);
            }
            let content = self.read(1, page)?;
            match kind(&content, page) {
                INDEX_LEAF => return Ok(false),
                INDEX_INTERIOR => {}
                _ => return Ok(true),
            }
            let Some(first) = key(&wanted, target, usable, 0) else { return Ok(true) };
            let (mut low, mut high) = (0, short(&content, header(page) + 3));
            let count = high;
            while low < high {
                let middle = low + (high - low) / 2;
                let Some(other) = key(&content, page, usable, middle) else { return Ok(true) };
                match order.of_keys(&other, &first) {
                    Ordering::Less => low = middle + 1,
                    // It is on this page, and so not first on another one.
                    Ordering::Equal => return Ok(false),
                    Ordering::Greater => high = middle,
                }
            }
            page = match low < count {
                true => number(&content, short(&content, header(page) + 12 + low * 2)),
                false => number(&content, header(page) + 8),
            };
        }
        Ok(true)
    }

    /// Whether any page of a table WITHOUT ROWID may differ.
    pub(super) fn touches_index(&self, root: u32) -> Result<bool> {
        if self.index_pages.is_empty() || self.memory().knows_pages(root) {
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
        self.memory().put_pages(root, seen);
        Ok(false)
    }

    /// The pages of a table WITHOUT ROWID that has this root in both states, which have to be
    /// compared, and which states have them in the tree; `None` if that can't be told. So many
    /// threads read pages.
    ///
    /// # Errors
    /// What reading pages answers.
    pub(crate) fn key_pages(
        &self,
        root: u32,
        order: &Order,
        threads: usize,
    ) -> Result<Option<HashMap<u32, [bool; 2]>>> {
        // Mostly nothing of it differs, and then this is all.
        if !self.touches_keyed(root, order)? {
            return Ok(Some(HashMap::new()));
        }
        let height = |side| self.height(side, root, INDEX_INTERIOR, INDEX_LEAF);
        let (false, Some(height)) = (self.is_blind, height(1)?) else { return Ok(None) };
        if self.height(0, root, INDEX_INTERIOR, INDEX_LEAF)? != Some(height) {
            return Ok(None);
        }
        let mut found: HashMap<u32, [bool; 2]> = HashMap::new();
        let mut level = vec![Step { page: root, sides: [true; 2] }];
        for above in (0..=height).rev() {
            // In the order in which pages are stored.
            level.sort_unstable_by_key(|step| step.page);
            for step in &level {
                let sides = found.entry(step.page).or_default();
                for (is_there, comes) in sides.iter_mut().zip(step.sides) {
                    // A page that two others lead to is no part of a tree.
                    if *is_there && comes {
                        return Ok(None);
                    }
                    *is_there |= comes;
                }
            }
            if found.len() > LISTED {
                return Ok(None);
            }
            if above == 0 {
                break;
            }
            let (mut below, mut is_sound) = (Vec::new(), true);
            let descend = |step: &Step| self.below(*step);
            threads::each(&level, threads, &descend, &mut |steps| match steps {
                Some(steps) => below.extend(steps),
                None => is_sound = false,
            })?;
            if !is_sound {
                return Ok(None);
            }
            level = below;
        }
        found.retain(|page, sides| *sides != [true; 2] || self.differs(*page));
        Ok(Some(found))
    }

    /// The pages that a page leads to; `None` if it leads nowhere.
    fn below(&self, step: Step) -> Result<Option<Vec<Step>>> {
        let led = |side: usize| -> Result<Option<Vec<u32>>> {
            if step.page < 2 || step.page > self.pages_of(side) {
                return Ok(None);
            }
            let content = self.read(side, step.page)?;
            let is_interior = kind(&content, step.page) == INDEX_INTERIOR;
            Ok(children(&content, step.page).filter(|_| is_interior))
        };
        let both = |pages: Vec<u32>, sides| pages.into_iter().map(move |page| Step { page, sides });
        match step.sides {
            [true, true] if !self.differs(step.page) => {
                Ok(led(1)?.map(|pages| both(pages, [true; 2]).collect()))
            }
            [true, true] => {
                let (Some(old), Some(new)) = (led(0)?, led(1)?) else { return Ok(None) };
                let of_new: HashSet<u32> = new.iter().copied().collect();
                let of_old: HashSet<u32> = old.iter().copied().collect();
                let old = both(old, [true, false]).map(|step| {
                    let comes = of_new.contains(&step.page);
                    Step { sides: [true, comes], ..step }
                });
                let new = both(new, [false, true]).filter(|step| !of_old.contains(&step.page));
                Ok(Some(old.chain(new).collect()))
            }
            [true, false] => Ok(led(0)?.map(|pages| both(pages, [true, false]).collect())),
            [_, _] => Ok(led(1)?.map(|pages| both(pages, [false, true]).collect())),
        }
    }
}
