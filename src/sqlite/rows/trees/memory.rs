//! What is remembered of the trees of a state, for whoever compares it with the next one.
//!
//! Invariant: what is remembered follows from the contents of pages, and is forgotten as soon as
//! one of these differs.

use std::collections::{HashMap, HashSet};

/// How many pages of trees are remembered.
const MOST: usize = 256 * 1024;

/// What is known of the trees of a state.
#[derive(Default)]
pub(crate) struct Memory {
    /// How many levels a table's tree has above its leaves, by its root. A tree grows and shrinks
    /// at the root; and whoever goes down one finds it out if it is not as high.
    heights: HashMap<u32, usize>,
    /// All pages of trees of keys, by their roots; they ascend.
    pages: HashMap<u32, Box<[u32]>>,
}

impl Memory {
    /// The same for the next state, in which these pages differ.
    pub(super) fn go_on(&mut self, differing: &HashSet<u32>) {
        self.heights.retain(|root, _| !differing.contains(root));
        self.pages.retain(|_, pages| {
            let has = |page: &u32| pages.binary_search(page).is_ok();
            !differing.iter().any(has)
        });
    }

    /// How high the tree of a table is.
    pub(super) fn height(&self, root: u32) -> Option<usize> {
        self.heights.get(&root).copied()
    }

    /// Remembers how high the tree of a table is.
    pub(super) fn put_height(&mut self, root: u32, height: usize) {
        self.heights.insert(root, height);
    }

    /// Whether all pages of a tree of keys are known: then none of them differs.
    pub(super) fn knows_pages(&self, root: u32) -> bool {
        self.pages.contains_key(&root)
    }

    /// Remembers all pages of a tree of keys, if there is room.
    pub(super) fn put_pages(&mut self, root: u32, pages: HashSet<u32>) {
        let known: usize = self.pages.values().map(|pages| pages.len()).sum();
        if known.saturating_add(pages.len()) <= MOST {
            let mut pages: Vec<u32> = pages.into_iter().collect();
            pages.sort_unstable();
            self.pages.insert(root, pages.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_that_differs_told_is_forgotten_and_room_is_bounded() {
        let mut memory = Memory::default();
        memory.put_height(2, 1);
        memory.put_height(9, 2);
        memory.put_pages(5, HashSet::from([5, 6, 7]));
        memory.put_pages(20, HashSet::from([20, 21]));
        memory.put_pages(30, (0..u32::try_from(MOST).unwrap()).collect());
        assert!(!memory.knows_pages(30));
        memory.go_on(&HashSet::from([3, 8]));
        assert_eq!((memory.height(2), memory.knows_pages(5)), (Some(1), true));
        memory.go_on(&HashSet::from([2, 7]));
        assert_eq!((memory.height(2), memory.height(9)), (None, Some(2)));
        assert!(!memory.knows_pages(5) && memory.knows_pages(20));
    }
}
