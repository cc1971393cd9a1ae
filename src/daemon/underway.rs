//! How far work is that runs in another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::progress::Phase;

/// Hears how far work is, for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Underway {
    phase: Mutex<Option<(Phase, Option<u64>, Instant)>>,
    /// Bytes of the phase that are done.
    done: AtomicU64,
}

/// How far work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Far {
    pub(crate) phase: Phase,
    /// Bytes of database pages that are done in this phase, and how many there are, where that is
    /// known.
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    /// How long this phase has been going on.
    pub(crate) took: Duration,
}

impl Underway {
    /// A phase begins.
    pub(super) fn phase(&self, phase: Phase, total: Option<u64>) {
        let mut known = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        self.done.store(0, Ordering::Relaxed);
        *known = Some((phase, total, Instant::now()));
    }

    /// So many more bytes are done.
    pub(super) fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How far it is; `None` before the first phase.
    pub(super) fn far(&self) -> Option<Far> {
        let known = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (phase, total, since) = known?;
        let done = self.done.load(Ordering::Relaxed);
        // What grows while it is read has no end that was known before.
        let total = total.map(|total| total.max(done));
        Some(Far { phase, done, total, took: since.elapsed() })
    }
}

impl Far {
    /// Bytes done a second so far.
    pub(crate) fn rate(&self) -> u64 {
        let micros = self.took.as_micros().max(1);
        let rate = u128::from(self.done) * 1_000_000 / micros;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// How many seconds are left at that rate; `None` where nobody can tell.
    pub(crate) fn seconds_left(&self) -> Option<u64> {
        let left = self.total?.saturating_sub(self.done);
        // At the beginning a rate says little.
        let rate = Some(self.rate()).filter(|rate| *rate > 0 && self.took.as_secs() >= 2)?;
        Some(left.div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_begins_anew_and_no_end_is_foretold_that_nobody_knows() {
        let underway = Underway::default();
        assert_eq!(underway.far(), None);
        underway.advance(5);
        underway.phase(Phase::Restore, Some(100));
        underway.advance(30);
        underway.advance(10);
        let far = underway.far().unwrap();
        assert_eq!((far.phase, far.done, far.total), (Phase::Restore, 40, Some(100)));
        underway.phase(Phase::Check, None);
        assert_eq!(underway.far().unwrap().done, 0);

        let far = Far { took: Duration::from_secs(4), ..far };
        assert_eq!((far.rate(), far.seconds_left()), (10, Some(6)));
        let early = Far { took: Duration::from_secs(1), ..far };
        assert_eq!(early.seconds_left(), None);
        assert_eq!(Far { total: None, ..far }.seconds_left(), None);
        assert_eq!(Far { done: 0, ..far }.seconds_left(), None);
    }
}
