//! Which commits stay, and so which page versions are needed.
//!
//! A version of a page, written by commit *c* and followed by the page's next version at commit
//! *d*, is needed if and only if some commit *k* that stays has *c* ≤ *k* < *d* and is large enough
//! to have that page. A version of a commit that goes is from then on the first staying commit's
//! after it.
//!
//! Invariant: the table of a merge is never empty. If its last commit goes and later commits still
//! need its page versions, it is carried: in the table, and no restore point.

use crate::format::segment::CommitRecord;
use crate::types::{Digest, Seq};

/// A version's life: from the commit that wrote it up to, and without, the one that wrote the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) page: u32,
    pub(super) from: Seq,
    /// `None` if there is no next version.
    pub(super) until: Option<Seq>,
}

/// The commits that stay.
#[derive(Debug)]
pub(super) struct Kept {
    /// Those of the merge itself, oldest first; the last may be carried.
    pub(super) table: Vec<CommitRecord>,
    pub(super) carries: bool,
    /// Ascending: the table's without a carried one, and then those behind the merge.
    seqs: Vec<Seq>,
    /// Their sizes in pages, for finding the first small one of a stretch.
    sizes: Sizes,
}

impl Kept {
    /// `records` are the commits of the merge, carried ones included, and whether each stays;
    /// `later` those behind it that stay, as far as they read from it: seq and size in pages.
    pub(super) fn new(records: &[(CommitRecord, bool)], later: &[(Seq, u32)]) -> Self {
        let stay = |(record, stays): &(CommitRecord, bool)| stays.then_some(*record);
        let mut table: Vec<CommitRecord> = records.iter().filter_map(stay).collect();
        let staying = table.iter().map(|c| (c.seq, c.pages)).chain(later.iter().copied());
        let (seqs, sizes): (Vec<Seq>, Vec<u32>) = staying.unzip();
        let carried = records.last().filter(|(_, stays)| !stays).map(|(record, _)| *record);
        table.extend(carried);
        Self { table, carries: carried.is_some(), seqs, sizes: Sizes::new(sizes) }
    }

    /// The table's commit that a version written by `seq` belongs to.
    pub(super) fn slot(&self, seq: Seq) -> Option<u32> {
        let at = self.table.partition_point(|c| c.seq < seq);
        (at < self.table.len()).then(|| u32::try_from(at).ok()).flatten()
    }

    /// The staying commits, by place, that a version is the one of: from the first one of its life
    /// on, as long as they are large enough. Commits that are too small for the page end its life
    /// too: when the database grows again, the page is written anew.
    fn span(&self, life: Life) -> (usize, usize) {
        let from = self.seqs.partition_point(|s| *s < life.from);
        let until = life.until.map_or(self.seqs.len(), |d| self.seqs.partition_point(|s| *s < d));
        (from, self.sizes.first_below(life.page, from, until))
    }

    /// Whether a version is needed.
    pub(super) fn needs(&self, life: Life) -> bool {
        let (from, until) = self.span(life);
        from < until
    }

    /// The staying commits that a version is the one of.
    pub(super) fn of(&self, life: Life) -> &[Seq] {
        let (from, until) = self.span(life);
        self.seqs.get(from..until).unwrap_or_default()
    }

    /// Whether a version is the page's content in the newest staying commit.
    pub(super) fn is_current(&self, life: Life) -> bool {
        let (from, until) = self.span(life);
        from < until && until == self.seqs.len()
    }

    /// The newest staying commit that needs a version.
    pub(super) fn newest(&self, life: Life) -> Option<Seq> {
        let (from, until) = self.span(life);
        let last = until.checked_sub(1).filter(|last| *last >= from)?;
        self.seqs.get(last).copied()
    }

    /// Sums of the digests that each staying commit sees, for comparing before with after.
    pub(super) fn sums(&self) -> Sums {
        Sums(vec![Digest::default(); self.seqs.len() + 1])
    }
}

/// For each staying commit the XOR of the digests of its page versions, as far as they are in the
/// merge.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sums(Vec<Digest>);

impl Sums {
    pub(super) fn add(&mut self, kept: &Kept, life: Life, digest: &Digest) {
        let (from, until) = kept.span(life);
        if from < until {
            // As differences from one commit to the next, so that a long life costs no more than a
            // short one.
            for at in [from, until] {
                if let Some(sum) = self.0.get_mut(at) {
                    sum.toggle(digest);
                }
            }
        }
    }
}

/// Finds the first of a stretch of numbers that is below a bound, in logarithmic time: a tree of
/// minima.
#[derive(Debug)]
struct Sizes {
    /// Leaves from `len` on; node *i* has the children 2*i* and 2*i*+1.
    tree: Vec<u32>,
    len: usize,
}

impl Sizes {
    fn new(sizes: Vec<u32>) -> Self {
        let len = sizes.len().next_power_of_two();
        let mut tree = vec![u32::MAX; len];
        tree.extend(sizes);
        tree.resize(len * 2, u32::MAX);
        for node in (1..len).rev() {
            let least = tree.get(node * 2..node * 2 + 2).and_then(|c| c.iter().min()).copied();
            if let (Some(slot), Some(least)) = (tree.get_mut(node), least) {
                *slot = least;
            }
        }
        Self { tree, len }
    }

    fn get(&self, node: usize) -> u32 {
        self.tree.get(node).copied().unwrap_or(u32::MAX)
    }

    /// The first place in `from..until` whose number is below `bound`, or else `until`.
    fn first_below(&self, bound: u32, from: usize, until: usize) -> usize {
        if from >= until {
            return from;
        }
        // Climb from the leaf to the first node at or behind it that has a small one, and descend
        // to that.
        let mut node = self.len + from;
        loop {
            if self.get(node) < bound {
                while node < self.len {
                    node *= 2;
                    if self.get(node) >= bound {
                        node += 1;
                    }
                }
                return (node - self.len).min(until);
            }
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return until;
            }
            node += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_small_number_of_a_stretch_is_found() {
        let mut state = 1u32;
        for len in 0..40usize {
            let sizes: Vec<u32> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                    (state >> 16) % 8
                })
                .collect();
            let tree = Sizes::new(sizes.clone());
            for from in 0..=len {
                for until in from..=len {
                    for bound in 0..9 {
                        let expected = (from..until).find(|i| sizes[*i] < bound).unwrap_or(until);
                        assert_eq!(tree.first_below(bound, from, until), expected);
                    }
                }
            }
        }
    }
}
