//! How often pages changed.

use crate::count::number;

/// How often pages changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By page number, as far as pages are as large as the newest commit's.
    pub(super) counts: Vec<u32>,
    /// The sum of `counts`.
    pub(super) of_size: u64,
    /// Changes from before the page size changed.
    pub(super) of_other_size: u64,
}

impl Changes {
    pub(super) fn add(&mut self, page: u32) {
        let at = usize::try_from(page).unwrap_or(usize::MAX);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        self.of_size += 1;
    }

    pub(super) fn distinct(&self) -> u64 {
        number(self.counts.iter().filter(|n| **n > 0).count())
    }
}
