//! Which segments to merge. Pure: it sees sizes and counts, and answers ranges.
//!
//! Two reasons to merge. **Many**: a chain of small segments is slow to open and to restore from;
//! so [`FAN`] neighbours of about one size become one, like the runs of an LSM tree. Every byte is
//! rewritten once for each power of [`FAN`], and a history of *n* segments has at most [`FAN`] ×
//! log(*n*) of them. **Stale**: page versions that no restore point needs take room, and those that
//! only older ones need are in the way of whoever restores the newest; a segment is rewritten when
//! enough of it is so.
//!
//! Invariants: ranges ascend and do not overlap; none has the newest segment; none crosses a base,
//! unless nothing before the base is needed.

use std::ops::Range;

/// How many neighbours make one.
pub(crate) const FAN: usize = 16;
/// What hardly takes anything: a segment of which nothing is left but its commit.
const STUB: u64 = 1024;
/// What counts as small in any case: segments below this are all of one size.
const SMALL: u64 = 64 * 1024;

/// A segment, as planning sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes that it takes.
    pub(crate) bytes: u64,
    /// Bytes of it that no restore point needs, estimated.
    pub(crate) dead: u64,
    /// Bytes of it that the newest commit does not need, though they lie between those that it
    /// needs, estimated.
    pub(crate) mixed: u64,
    /// Whether it stands alone.
    pub(crate) base: bool,
    /// Whether it has a restore point.
    pub(crate) points: bool,
}

fn fan() -> usize {
    #[cfg(test)]
    if let Some(world) = crate::simulated::world() {
        return world.fan();
    }
    FAN
}

/// The size class of a segment: a power of [`FAN`].
fn class(bytes: u64) -> u32 {
    (bytes / SMALL).checked_ilog(16).map_or(0, |n| n + 1)
}

/// Neighbours to merge because they are many: each range has at least [`FAN`] of one size class or
/// below.
pub(crate) fn many(pieces: &[Piece]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let end = pieces.len().saturating_sub(1);
    let mut from = 0;
    // Within what is built on one base; the base itself is left alone, it is large.
    while from < end {
        let mut until = from + 1;
        while until < end && pieces.get(until).is_some_and(|p| !p.base) {
            until += 1;
        }
        let first = if pieces.get(from).is_some_and(|p| p.base) { from + 1 } else { from };
        runs(pieces, first..until, &mut ranges);
        from = until;
    }
    ranges
}

/// Finds runs of at least [`FAN`] neighbours, none of which is larger than the class of the run.
fn runs(pieces: &[Piece], within: Range<usize>, ranges: &mut Vec<Range<usize>>) {
    let class_at = |at: usize| pieces.get(at).map_or(0, |p| class(p.bytes));
    let mut at = within.start;
    while at < within.end {
        // The longest run from here whose members are of the first one's class or below.
        let limit = class_at(at);
        let mut until = at;
        while until < within.end && class_at(until) <= limit {
            until += 1;
        }
        let same = (at..until).filter(|i| class_at(*i) == limit).count();
        if same >= fan() {
            ranges.push(at..until);
            at = until;
        } else {
            // Smaller ones within it may be enough for a run of their own.
            at += 1;
        }
    }
}

/// A segment is rewritten when more than this share of it is dead, in percent.
pub(crate) const DEAD_PERCENT: u64 = 20;
/// Segments are rewritten until what is in the way of restoring the newest commit is less than this
/// share of it, in percent.
pub(crate) const MIXED_PERCENT: u64 = 12;

/// Segments to rewrite because much of them is stale; neighbours become one. `newest` is what the
/// newest commit takes.
pub(crate) fn stale(pieces: &[Piece], newest: u64) -> Vec<Range<usize>> {
    let end = pieces.len().saturating_sub(1);
    let pieces = pieces.get(..end).unwrap_or_default();
    let mut chosen: Vec<bool> = pieces
        .iter()
        .map(|p| p.dead > 0 && p.dead.saturating_mul(100) >= p.bytes.saturating_mul(DEAD_PERCENT))
        .collect();
    // Those first that have most of it for what they take to rewrite.
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    let gain = |p: &Piece| u128::from(p.mixed) * 1_000_000 / u128::from(p.bytes.max(1));
    order.sort_by_key(|at| std::cmp::Reverse(pieces.get(*at).map_or(0, gain)));
    let left = |chosen: &[bool]| -> u64 {
        let kept = pieces.iter().zip(chosen).filter(|(_, chosen)| !**chosen);
        kept.map(|(p, _)| p.mixed).sum()
    };
    let mut mixed = left(&chosen);
    for at in order {
        if mixed.saturating_mul(100) <= newest.saturating_mul(MIXED_PERCENT) {
            break;
        }
        if let (Some(chosen), Some(piece)) = (chosen.get_mut(at), pieces.get(at))
            && !*chosen
        {
            *chosen = true;
            mixed = mixed.saturating_sub(piece.mixed);
        }
    }
    // What hardly takes anything comes along with a neighbour that is rewritten anyway.
    let small: Vec<bool> = pieces.iter().map(|p| p.bytes <= STUB).collect();
    let at = |v: &[bool], i: Option<usize>| i.and_then(|i| v.get(i)).copied().unwrap_or(false);
    for i in (0..pieces.len()).chain((0..pieces.len()).rev()) {
        let beside = at(&chosen, i.checked_sub(1)) || at(&chosen, Some(i + 1));
        if let Some(chosen) = chosen.get_mut(i) {
            *chosen |= at(&small, Some(i)) && beside;
        }
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen) {
        match ranges.last_mut() {
            Some(range) if range.end == at && joins(pieces, range, at) => range.end = at + 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

/// Whether the piece at `at` may be merged with the range before it.
fn joins(pieces: &[Piece], range: &Range<usize>, at: usize) -> bool {
    let crosses = pieces.get(at).is_some_and(|p| p.base);
    let needed = pieces.get(range.clone()).is_some_and(|r| r.iter().any(|p| p.points));
    !crosses || !needed
}
