//! When one database's turn is: its schedule with the zone, the jitter, what was missed, and what
//! failed.
//!
//! Pure: what happened and the present time are arguments, and nothing is remembered here. The
//! caller stores the scheduled time of the last run that began, [`Occurrence::scheduled`], before
//! the run begins.
//!
//! Invariants, while the clock goes forward:
//! - No scheduled time is due twice, and what is due later has a later scheduled time.
//! - However many were missed, one run makes up for them all.
//! - A run is due at the latest as long after the last one as its schedule and its jitter say.
//!
//! A clock that is set back by less than the distance between two runs delays the next one by as
//! much at the most. Set back by more, it makes a run due at once: what it would have to wait for
//! may be years away.

use std::time::Duration;

use super::{Schedule, share};
use crate::policy::calendar::Zone;
use crate::types::Timestamp;

/// Missed runs are counted so far. Nobody needs to know more, and each has to be looked for.
pub const MOST_MISSED: usize = 1000;

/// The delays before the first retries; behind them it is always the last.
const RETRIES: [Duration; 5] = [minutes(1), minutes(5), minutes(15), minutes(30), minutes(60)];

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// The schedule of one database.
#[derive(Clone, Debug, PartialEq)]
pub struct Timetable {
    schedule: Schedule,
    zone: Zone,
    name: String,
    jitter: Duration,
}

/// One time of a timetable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The moment of the schedule: it tells the occurrences of a timetable apart.
    pub scheduled: Timestamp,
    /// When it is to begin: later by the jitter.
    pub begin: Timestamp,
}

/// What a timetable asks for at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A run, now.
    Now {
        /// The newest time that has come.
        scheduled: Timestamp,
        /// How many before it had no run of their own, counted to [`MOST_MISSED`]. This run makes
        /// up for them.
        missed: usize,
        /// Whether it is due since the clock was set back: no missed run was counted.
        is_clock_back: bool,
    },
    /// A run, at that time.
    Later(Occurrence),
    /// Nothing before the year 5000.
    Never,
}

impl Timetable {
    /// The timetable of the database of a name. Runs of a cron schedule begin later by less than
    /// `jitter` and less than half of the time until the next. An `every` is spread over all of its
    /// span instead.
    pub fn new(schedule: Schedule, zone: Zone, name: &str, jitter: Duration) -> Self {
        Self { schedule: schedule.anchored(name), zone, name: name.to_owned(), jitter }
    }

    /// The schedule.
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The next so many occurrences that begin after a moment.
    pub fn upcoming(&self, after: Timestamp, n: usize) -> Vec<Occurrence> {
        let first = self.next(after);
        let next = |last: &Occurrence| self.next_scheduled(last.scheduled);
        std::iter::successors(first, next).take(n).collect()
    }

    /// The first occurrence that begins after a moment.
    pub fn next(&self, after: Timestamp) -> Option<Occurrence> {
        let last = self.schedule.last(after, &self.zone).map(|time| self.occurrence(time));
        last.filter(|last| last.begin > after).or_else(|| self.next_scheduled(after))
    }

    /// What is due. `last` is the scheduled time of the last run that began, and `known` is since
    /// when there is something to back up, for a database without a run: earlier times are not made
    /// up for.
    pub fn due(&self, last: Option<Timestamp>, known: Timestamp, now: Timestamp) -> Due {
        let done = last.unwrap_or(known);
        let newest = self.newest(now);
        if let Some(newest) = newest {
            let scheduled = newest.scheduled;
            if scheduled > done {
                let missed = self.count(done, scheduled);
                return Due::Now { scheduled, missed, is_clock_back: false };
            }
            if done > now && self.is_far_ahead(done, now) {
                return Due::Now { scheduled, missed: 0, is_clock_back: true };
            }
        }
        match self.next_scheduled(done) {
            Some(next) => Due::Later(next),
            None => Due::Never,
        }
    }

    /// When to try again after so many failures in a row, the last of them at a moment. `None` when
    /// the next occurrence begins before that: it is the next try.
    pub fn retry(&self, failures: u32, failed: Timestamp) -> Option<Timestamp> {
        let retry = failed.after(backoff(failures, &self.name));
        let is_first = |next: Occurrence| retry < next.begin;
        self.next(failed).is_none_or(is_first).then_some(retry)
    }

    /// The newest occurrence that has begun.
    fn newest(&self, now: Timestamp) -> Option<Occurrence> {
        let newest = self.occurrence(self.schedule.last(now, &self.zone)?);
        if newest.begin <= now {
            return Some(newest);
        }
        // The one before it began before this one was scheduled.
        let earlier = Timestamp(newest.scheduled.0.saturating_sub(1));
        self.schedule.last(earlier, &self.zone).map(|time| self.occurrence(time))
    }

    /// Whether not only a run in the future, but also the one before it is in the future.
    fn is_far_ahead(&self, run: Timestamp, now: Timestamp) -> bool {
        let before = self.schedule.last(Timestamp(run.0.saturating_sub(1)), &self.zone);
        before.is_none_or(|before| before > now)
    }

    fn next_scheduled(&self, after: Timestamp) -> Option<Occurrence> {
        self.schedule.next(after, &self.zone).map(|time| self.occurrence(time))
    }

    fn occurrence(&self, scheduled: Timestamp) -> Occurrence {
        Occurrence { scheduled, begin: scheduled.after(self.delay(scheduled)) }
    }

    /// The jitter of a run: always the same part of what it can be, so that a database keeps its
    /// place among others.
    fn delay(&self, scheduled: Timestamp) -> Duration {
        let most = i64::try_from(self.jitter.as_micros()).unwrap_or(i64::MAX);
        if self.schedule.is_elapsed() || most == 0 {
            return Duration::ZERO;
        }
        let next = self.schedule.next(scheduled, &self.zone);
        let half = next.map_or(0, |next| (next.0 - scheduled.0) / 2);
        let delay = share(&format!("jitter {}", self.name), most.min(half));
        Duration::from_micros(delay.unsigned_abs())
    }

    /// How many times of the schedule are between two moments.
    fn count(&self, after: Timestamp, before: Timestamp) -> usize {
        let first = self.schedule.next(after, &self.zone);
        let times = std::iter::successors(first, |time| self.schedule.next(*time, &self.zone));
        times.take(MOST_MISSED).take_while(|time| *time < before).count()
    }
}

/// How long to wait after so many failures in a row: 1, 5, 15, 30 and then always 60 minutes, and
/// up to a quarter of that more, by the name: what failed together is not tried again together.
pub fn backoff(failures: u32, name: &str) -> Duration {
    let at = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let delay = RETRIES.get(at).or(RETRIES.last()).copied().unwrap_or(minutes(60));
    let quarter = i64::try_from(delay.as_micros() / 4).unwrap_or(0);
    let more = share(&format!("retry {failures} {name}"), quarter);
    delay + Duration::from_micros(more.unsigned_abs())
}

#[cfg(test)]
mod tests;
