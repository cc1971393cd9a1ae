//! Ranges of rowids.

/// Ranges that are collected in any order.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// Adds a range, both ends included; nothing if it ends before it begins.
    pub(super) fn add(&mut self, (first, last): (i64, i64)) {
        if first <= last {
            self.0.push((first, last));
        }
    }

    /// The same rowids as ranges that ascend and do not touch each other.
    pub(super) fn into_sorted(mut self) -> Vec<(i64, i64)> {
        self.0.sort_unstable();
        let mut sorted: Vec<(i64, i64)> = Vec::new();
        for (first, last) in self.0 {
            match sorted.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => sorted.push((first, last)),
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = Ranges::default();
        for range in [(5, 9), (1, 2), (3, 3), (7, 12), (20, 10), (i64::MAX, i64::MAX), (14, 14)] {
            ranges.add(range);
        }
        let sorted = ranges.into_sorted();
        assert_eq!(sorted, [(1, 3), (5, 12), (14, 14), (i64::MAX, i64::MAX)]);
    }
}
