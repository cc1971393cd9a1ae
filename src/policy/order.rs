//! Which of the commits, that follow each other by number, was the last one at a moment, though a
//! clock may have been wrong.
//!
//! Commits are numbered in the order in which they were captured; their times come from clocks.
//! Where a time is earlier than one before it, some clock was wrong. As few times as possible are
//! then taken for wrong; what was captured at a wrong time was captured between its neighbours.

use crate::types::Timestamp;

/// The last commit at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its place.
    pub at: usize,
    /// The one that would be it if every clock had been right, where that is another one.
    pub dated: Option<usize>,
}

/// The last of the commits with these times that was captured at or before a moment.
pub fn last_at(times: &[Timestamp], moment: Timestamp) -> Option<Last> {
    let dated = times.iter().rposition(|time| *time <= moment);
    if times.is_sorted() {
        return dated.map(|at| Last { at, dated: None });
    }
    let at = captured(times).iter().rposition(|time| *time <= moment)?;
    Some(Last { at, dated: dated.filter(|dated| *dated != at) })
}

/// The places of times that are earlier than the one before them.
pub fn backwards(times: &[Timestamp]) -> Vec<usize> {
    let pairs = times.windows(2).enumerate();
    pairs.filter(|(_, pair)| pair.first() > pair.last()).map(|(at, _)| at + 1).collect()
}

/// For each time the one by which its commit was captured, in order: of one that is wrong that of
/// the next one that is right, of the newest ones that of the last one before.
fn captured(times: &[Timestamp]) -> Vec<Timestamp> {
    let mut right = longest_in_order(times).into_iter().rev().peekable();
    let mut by = right.peek().and_then(|at| times.get(*at)).copied().unwrap_or(Timestamp(0));
    let mut captured: Vec<Timestamp> = times
        .iter()
        .enumerate()
        .rev()
        .map(|(at, time)| {
            if right.next_if_eq(&at).is_some() {
                by = *time;
            }
            by
        })
        .collect();
    captured.reverse();
    captured
}

/// The places of a longest run of times that never go back; of several one that ends earliest.
fn longest_in_order(times: &[Timestamp]) -> Vec<usize> {
    // For each length, the place of the earliest time that a run of it can end with.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(times.len());
    for (at, time) in times.iter().enumerate() {
        let length = ends.partition_point(|end| times.get(*end) <= Some(time));
        before.push(length.checked_sub(1).and_then(|shorter| ends.get(shorter)).copied());
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(at) = next {
        run.push(at);
        next = before.get(at).copied().flatten();
    }
    run.reverse();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(times: &[i64], moment: i64) -> Option<(usize, Option<usize>)> {
        let times: Vec<Timestamp> = times.iter().copied().map(Timestamp).collect();
        last_at(&times, Timestamp(moment)).map(|last| (last.at, last.dated))
    }

    #[test]
    fn where_clocks_were_right_times_decide() {
        for (moment, at) in [(9, None), (10, Some(0)), (15, Some(0)), (20, Some(2)), (99, Some(3))]
        {
            assert_eq!(last(&[10, 20, 20, 30], moment), at.map(|at| (at, None)), "{moment}");
        }
        assert_eq!(last(&[], 5), None);
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_moment_chooses_no_other_commit() {
        // Set back: the fourth was captured after the third, whatever its clock said.
        let back = [10, 20, 30, 5, 40, 50];
        assert_eq!(last(&back, 12), Some((0, Some(3))));
        assert_eq!(last(&back, 29), Some((1, Some(3))));
        assert_eq!(last(&back, 39), Some((2, Some(3))));
        assert_eq!(last(&back, 40), Some((4, None)));
        assert_eq!(last(&back, 7), None, "the first was captured at 10");
        // The newest one was captured last, whatever its clock said.
        assert_eq!(last(&[10, 20, 5], 12), Some((0, Some(2))));
        assert_eq!(last(&[10, 20, 5], 99), Some((2, None)));
        // Set forward: the others were captured as they say.
        let forward = [10, 20, 99, 30, 40];
        assert_eq!(last(&forward, 25), Some((1, None)));
        assert_eq!(last(&forward, 35), Some((3, None)));
        assert_eq!(last(&forward, 98), Some((4, None)));
        // The first one: captured no later than the second.
        assert_eq!(last(&[99, 10, 20], 10), Some((1, None)));
        assert_eq!(last(&[99, 10], 10), Some((1, None)));
        assert_eq!(last(&[99, 10], 9), None);
        let times: Vec<Timestamp> = back.into_iter().map(Timestamp).collect();
        assert_eq!(backwards(&times), [3]);
    }

    #[test]
    fn as_few_times_as_possible_are_wrong() {
        let mut dice = 1u64;
        for _ in 0..300 {
            let times: Vec<Timestamp> = (0..9)
                .map(|_| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    Timestamp(i64::try_from(dice >> 60).unwrap())
                })
                .collect();
            let run = longest_in_order(&times);
            assert!(run.is_sorted() && run.iter().map(|at| times[*at]).is_sorted());
            let longest = (0u32..1 << 9)
                .filter(|set| {
                    (0..9).filter(|at| set >> at & 1 == 1).map(|at| times[at]).is_sorted()
                })
                .map(u32::count_ones)
                .max();
            assert_eq!(Some(run.len()), longest.and_then(|n| usize::try_from(n).ok()));
            assert!(captured(&times).is_sorted());
        }
    }
}
