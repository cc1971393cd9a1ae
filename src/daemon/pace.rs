//! How often to look at what nobody tells of.

use std::time::{Duration, Instant};

/// How often to look at files, followers and schedules.
const LOOK: Duration = Duration::from_secs(1);
/// How seldom at the most, where a look takes long.
const SELDOM: Duration = Duration::from_secs(5);

/// For how many times as long as a look took there is none, whatever happens.
const BETWEEN: u32 = 10;

/// How long to wait after so many failures in a row: the first time so long, then twice as long
/// each time, and never longer than the longest.
pub(super) fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.min(10))).min(longest)
}

/// When to look at what nobody tells of: once a second, and less often where a look takes long.
#[derive(Debug)]
pub(super) struct Pace {
    next: Option<Instant>,
    /// Before when there is no other, whoever asks for one.
    earliest: Option<Instant>,
    /// For how many times as long as a look took the next one waits.
    share: u32,
}

impl Pace {
    /// Looks that take no more than one in so many parts of the time.
    pub(super) const fn of_share(share: u32) -> Self {
        Self { next: None, earliest: None, share }
    }

    pub(super) fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }

    /// Something happened that is worth a look. Where looks take long, and such things happen all
    /// the time, there is time for something else between them.
    pub(super) fn at_once(&mut self) {
        self.next = self.earliest;
    }

    /// A look that began then is over. Looking takes its share of the time, unless it would be
    /// seldom then.
    pub(super) fn took(&mut self, began: Instant) {
        let now = Instant::now();
        let took = now.duration_since(began);
        self.earliest = now.checked_add(took.saturating_mul(BETWEEN).min(LOOK));
        let wait = took.saturating_mul(self.share).clamp(LOOK, SELDOM);
        self.next = now.checked_add(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_a_look_gets_one_at_once_and_no_storm_of_them() {
        let mut pace = Pace::of_share(250);
        assert!(pace.is_due());
        pace.took(Instant::now());
        assert!(!pace.is_due());
        assert!(pace.next > pace.earliest);
        pace.at_once();
        assert_eq!(pace.next, pace.earliest);
        // One that took a minute.
        let began = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        pace.took(began);
        pace.at_once();
        assert!(!pace.is_due());
        let next = pace.next.unwrap().duration_since(Instant::now());
        assert!(next <= LOOK, "{next:?}");
    }
}
