//! How often to look at what nobody tells of.

use std::time::{Duration, Instant};

/// How often to look at files, followers and schedules.
const LOOK: Duration = Duration::from_secs(1);
/// How seldom at the most, where a look takes long.
const SELDOM: Duration = Duration::from_secs(5);

/// How long to wait after so many failures in a row: the first time so long, then twice as long
/// each time, and never longer than the longest.
pub(super) fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.min(10))).min(longest)
}

/// When to look at what nobody tells of: once a second, and less often where a look takes long.
#[derive(Debug, Default)]
pub(super) struct Pace {
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }

    pub(super) fn at_once(&mut self) {
        self.next = None;
    }

    /// A look that began then is over. Looking takes a hundredth of the time, unless it would be
    /// seldom then.
    pub(super) fn took(&mut self, began: Instant) {
        let now = Instant::now();
        let wait = now.duration_since(began).saturating_mul(100).clamp(LOOK, SELDOM);
        self.next = now.checked_add(wait);
    }
}
