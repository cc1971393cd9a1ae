//! The thread that watches the WAL: captures what is committed, keeps the WAL pinned and bounded,
//! and stays out of the application's way.
//!
//! # Manners
//!
//! An application's blocking checkpoint (FULL, RESTART, TRUNCATE) holds the write lock and waits
//! for our pin, and every writer waits with it. So: when the WAL has stood still for [`STILL`] and
//! all is captured, a PASSIVE checkpoint is tried. If somebody else holds the checkpoint lock, we
//! step aside: as soon as the other has backfilled everything, the pin goes to mark zero, where it
//! is in nobody's way, and where the WAL can be reset only once before we are back. An idle
//! database is handed off to there as well, and costs one look a second.
//!
//! The WAL is handed off when it has passed [`HANDOFF`] and writers pause, and from [`SOFT`] on
//! whether they pause or not. What a handed off WAL held and was not published yet is in our memory
//! alone, and a crash of ours then costs a scan; so a handoff waits until the publisher has nothing
//! in its hands, but not beyond the limit.

use std::time::{Duration, Instant};

use super::options::FollowOptions;
use super::shared::{Ended, FOREVER, Shared};
use super::status::Activity;
use crate::capture::group::Group;
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::notify::Notice;
use crate::sqlite::tail::handoff::{Checkpoint, Handoff};
use crate::sqlite::tail::{Step, Tail};
use crate::sqlite::witness::OVERWRITTEN;

/// How long the WAL has to stand still before we look whether somebody waits for us; and how often
/// then, at first and later.
const STILL: Duration = Duration::from_millis(5);
const STILL_LATER: Duration = Duration::from_millis(20);
/// How long writers have to pause before a handoff.
const PAUSE: Duration = Duration::from_millis(5);
/// How long to wait for the repository before we look all the same.
const FLUSH: Duration = Duration::from_millis(100);
/// How long nothing has to happen before even a small WAL is handed off.
const IDLE: Duration = Duration::from_secs(2);
/// The size of the WAL from which on it is handed off when writers pause.
pub(crate) const HANDOFF: u64 = 4 * 1024 * 1024;
/// The size from which on it is handed off even if they do not. Each handoff costs a writer some
/// milliseconds, most of them waiting for the disk; a large WAL costs an application that does its
/// own checkpoints a few microseconds with each commit, since they can't finish under our pin. The
/// bench `follow` found this in between.
const SOFT: u64 = 16 * 1024 * 1024;
const SOFT_FRAMES: u32 = 4000;
/// How often to look while something happens, and how long after a notice that may have come before
/// its commit.
const ACTIVE: Duration = Duration::from_millis(1);
const ALERT: Duration = Duration::from_millis(100);
/// How often to look at an idle database, whatever the notices say.
const SLOW: Duration = Duration::from_secs(1);
/// How long to wait after a handoff that did not succeed, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(80));
/// How long the pin stays when capture failed and the repository is not there to take what was
/// captured before.
const PIN_UNTENDED: Duration = Duration::from_secs(1);
/// A WAL that has been half as large again as its limit for so long is kept by somebody else.
const KEPT: Duration = Duration::from_secs(5);
/// How often to try to come to rest beside others who write.
const RESTS: usize = 3;
/// Why nobody knows whether all is captured.
const HASTE: &str = "there was no time to capture it";
/// Why what was captured last can't be vouched for.
const UNREADABLE: &str = "the wal-index could not be read as it stopped";

pub(crate) struct Watcher<'a> {
    pub(crate) tail: Tail,
    pub(crate) group: Group,
    pub(crate) shared: &'a Shared,
    pub(crate) notice: &'a mut Notice,
    pub(crate) options: &'a FollowOptions,
    pub(crate) path: &'a std::path::Path,
    pub(crate) dir: &'a std::path::Path,
}

/// When what was last done.
struct Times {
    moved: Instant,
    alert: Instant,
    probe: Instant,
    /// Whether somebody else is at a checkpoint, and may wait for us.
    aside: bool,
    /// When a handoff was last tried, and how long to wait after it.
    handoff: Instant,
    backoff: Duration,
    file: Instant,
    /// When the group's first commit was captured.
    group: Option<Instant>,
    /// Since when a probe waits for the group to be published.
    flush: Option<Instant>,
    /// How often it was tried to come to rest.
    rests: usize,
    /// Since when the WAL has been beyond its limit, and whether people were told.
    beyond: Option<Instant>,
    told: bool,
}

impl Times {
    fn new(now: Instant) -> Self {
        Self {
            moved: now,
            alert: now,
            probe: now,
            aside: false,
            handoff: now,
            backoff: RETRY.0,
            file: now,
            group: None,
            flush: None,
            rests: 0,
            beyond: None,
            told: false,
        }
    }
}

impl Watcher<'_> {
    /// Watches until told to stop, or until it can't go on.
    pub(crate) fn run(mut self) {
        let ended = self.watch().unwrap_or_else(Ended::Failed);
        // What was captured before the end is sound.
        self.flush_remaining(&ended);
        let stats = self.tail.stats;
        self.shared.update(|state| {
            state.stats = stats;
            state.keep_stats();
            if !matches!(ended, Ended::Stopped) {
                // Nobody captures until the publisher takes the database up again.
                state.activity = Activity::Starting;
            }
            state.ended = Some(ended);
        });
    }

    fn watch(&mut self) -> Result<Ended> {
        let mut times = Times::new(Instant::now());
        self.notice.watch(self.path);
        loop {
            let (wanted, waited_for, stop, abandoned) = {
                let state = self.shared.lock();
                let waited_for = state.reached.0 < state.wanted;
                (state.wanted, waited_for, state.stop, state.abandoned)
            };
            if abandoned {
                return Ok(Ended::Stopped);
            }
            let step = self.tail.capture(&mut self.group)?;
            let now = Instant::now();
            if matches!(step, Step::Moved | Step::Behind) {
                times.moved = now;
            }
            if times.group.is_none() && !self.group.is_empty() {
                times.group = Some(now);
            }
            let mut certain = matches!(step, Step::Still | Step::Moved);
            if certain && waited_for {
                match self.tail.vouch()? {
                    Some(true) => {}
                    Some(false) => {
                        self.forget_group();
                        return Ok(Ended::Lost(OVERWRITTEN.to_owned()));
                    }
                    None => certain = false,
                }
            }
            // A barrier is reached only by a look that saw everything, of the files that others
            // see.
            if waited_for && certain && !self.tail.same_file() {
                return Ok(Ended::Replaced);
            }
            let wanted = if certain { wanted } else { 0 };
            self.report(wanted);
            if let Step::Lost(reason) = step {
                return Ok(Ended::Lost(reason.to_owned()));
            }
            if self.group.bytes() > self.options.spool_limit {
                // Dropped, not surrendered: the scan to come stands for all of it.
                self.forget_group();
                return Ok(Ended::Lost(
                    "more was committed than can be kept while the repository is unreachable"
                        .to_owned(),
                ));
            }
            if let Some(reason) = self.hand_over(&mut times, stop)? {
                // Nothing may be remembered behind what was dropped.
                return Ok(Ended::Lost(reason.to_owned()));
            }
            let overdue = self.shared.lock().is_overdue();
            if stop && (certain || overdue) && self.group.is_empty() && self.idle() {
                if !certain {
                    return Ok(Ended::Lost(HASTE.to_owned()));
                }
                if self.rest(&mut times) || overdue {
                    return Ok(Ended::Stopped);
                }
                continue;
            }
            if let Some(reason) = self.yield_to_application(&mut times)? {
                self.report(wanted);
                return Ok(Ended::Lost(reason.to_owned()));
            }
            if now.saturating_duration_since(times.file) >= SLOW {
                times.file = now;
                if !self.tail.same_file() {
                    return Ok(Ended::Replaced);
                }
                if self.tail.is_bypassed()? {
                    return Err(bypassed());
                }
                self.notice.watch(self.path);
                self.watch_size(&mut times, now);
            }
            self.sleep(&mut times, stop);
        }
    }

    /// All is published, and it is time to stop: brings everything into the database file, for
    /// whoever goes on from there. Answers whether that is done, or not worth another try.
    fn rest(&mut self, times: &mut Times) -> bool {
        times.rests += 1;
        // What went wrong costs the next run a scan at most, and nobody waits for us to stop longer
        // than need be.
        let rest = self.tail.come_to_rest().unwrap_or(None);
        let is_done = rest.is_some() || times.rests >= RESTS;
        self.shared.update(|state| state.rest = rest);
        is_done
    }

    /// Tells the others how far it is. `wanted` is the barrier that was asked for before the WAL
    /// was looked at, if everything was seen then, or 0.
    fn report(&mut self, wanted: u64) {
        let stats = self.tail.stats;
        let wal_bytes = self.tail.wal_bytes();
        let locks = std::mem::take(&mut self.tail.locks);
        let (bytes, oldest) = (self.group.bytes(), self.group.first_time());
        let mut state = self.shared.lock();
        // Under load commits are no news: nobody waits for them but who asked for a barrier.
        let news = state.reached.0 < wanted;
        state.captured += stats.commits - state.stats.commits;
        state.stats = stats;
        state.wal_bytes = wal_bytes;
        state.looked = Some(Instant::now());
        state.note_locks(locks);
        if state.slot.is_none() && !state.publishing {
            state.pending_bytes = bytes;
            state.oldest = oldest;
        }
        if state.reached.0 < wanted {
            state.reached = (wanted, state.captured);
            state.note_cuts(wanted);
        }
        drop(state);
        if news {
            self.shared.update(|_| ());
        }
    }

    /// Gives the group to the publisher when its time has come and the publisher is free. Answers
    /// why the place is lost when the group had to be dropped.
    fn hand_over(&mut self, times: &mut Times, stop: bool) -> Result<Option<&'static str>> {
        let Some(began) = times.group else { return Ok(None) };
        // So that the handoff to come finds everything published.
        let pausing = self.tail.wal_bytes() >= HANDOFF && times.moved.elapsed() >= PAUSE;
        let state = self.shared.lock();
        let due = stop
            || self.group.is_full()
            || pausing
            || times.flush.is_some()
            || state.wanted > state.done.0
            || began.elapsed() >= self.options.interval;
        if !due || state.publishing || state.slot.is_some() {
            return Ok(None);
        }
        drop(state);
        let lost = match self.tail.vouch()? {
            Some(true) => {
                let group = self.take_group();
                // Nobody else fills the slot.
                self.shared.update(|state| state.slot = Some(group));
                None
            }
            Some(false) => Some(OVERWRITTEN),
            // Nobody waits for ever; a scan stands for it then.
            None if self.shared.lock().is_overdue() => Some(UNREADABLE),
            None => return Ok(None),
        };
        if lost.is_some() {
            self.forget_group();
        }
        times.group = None;
        Ok(lost)
    }

    /// Whether the publisher has nothing left to do. One that gave up has: what it did not store.
    fn idle(&self) -> bool {
        let state = self.shared.lock();
        !state.abandoned && !state.publishing && state.slot.is_none()
    }

    /// The group, with an empty one in its place.
    fn take_group(&mut self) -> Group {
        let (size, clock) = (self.tail.page_size(), self.shared.clock.clone());
        let fresh = Group::new(size, self.dir, clock, self.shared.slabs.clone());
        std::mem::replace(&mut self.group, fresh)
    }

    fn forget_group(&mut self) {
        let dropped = u64::try_from(self.take_group().len()).unwrap_or(u64::MAX);
        self.shared.update(|state| {
            // The scan stands for them; so a barrier behind them is reached again behind the scan.
            state.captured = state.captured.saturating_sub(dropped);
            state.forget_barriers();
        });
    }

    /// At the end, waits until the publisher takes what is left.
    fn flush_remaining(&mut self, ended: &Ended) {
        if self.group.is_empty() || matches!(ended, Ended::Stopped) {
            return;
        }
        // The scan to come stands for what nobody can vouch for.
        if !matches!(self.tail.vouch(), Ok(Some(true))) {
            return self.forget_group();
        }
        let free = |s: &super::shared::State| (!s.publishing && s.slot.is_none()) || s.abandoned;
        // As long as nobody looks after the pin, it is in the application's way. It is of use only
        // to whoever comes back soon.
        let soon = if matches!(ended, Ended::Failed(_)) { PIN_UNTENDED } else { Duration::ZERO };
        drop(self.shared.wait_for(soon, free));
        self.tail.unpin();
        drop(self.shared.wait_for(FOREVER, free));
        let group = self.take_group();
        self.shared.update(|state| {
            if state.slot.is_none() {
                state.slot = Some(group);
            }
        });
    }

    /// Whatever keeps us out of the application's way. `Some` when continuity is lost.
    fn yield_to_application(&mut self, times: &mut Times) -> Result<Option<&'static str>> {
        let now = Instant::now();
        if times.aside {
            return self.step_aside(times, now).map(|()| None);
        }
        if self.tail.is_at_zero() {
            if !self.tail.is_current() {
                // Nothing of a new generation can be backfilled under such a pin.
                self.tail.exchange()?;
                // At zero again? Let the next checkpoint make sure of it.
                times.aside = self.tail.is_at_zero() && self.tail.is_current();
            }
            if self.tail.is_at_zero() && !stuck(&self.tail) {
                return Ok(None);
            }
        }
        let still = now.saturating_duration_since(times.moved);
        let probe = still >= STILL && now >= times.probe && !self.tail.is_at_zero();
        if probe && self.may_probe(times)? {
            times.probe = now + if still < ALERT { STILL } else { STILL_LATER };
            if self.tail.checkpoint()? == Checkpoint::Busy {
                times.aside = true;
                return self.step_aside(times, now).map(|()| None);
            }
        }
        let wal = self.tail.wal_bytes();
        let idle = self.idle();
        let published = idle && self.group.is_empty();
        let over = wal >= self.options.wal_limit || stuck(&self.tail);
        let wanted = over
            || (wal >= HANDOFF && still >= PAUSE && published)
            || (still >= IDLE && published)
            || ((wal >= SOFT || self.tail.wal_frames() >= SOFT_FRAMES) && idle);
        // At the limit politeness ends: under load a tenth of a second is ten megabytes.
        let wait = if over { RETRY.0 } else { times.backoff };
        if !wanted || now.saturating_duration_since(times.handoff) < wait {
            return Ok(None);
        }
        let done = self.tail.handoff(&mut self.group)?;
        times.handoff = Instant::now();
        match done {
            Handoff::Done => times.backoff = RETRY.0,
            Handoff::Later => times.backoff = (times.backoff * 2).min(RETRY.1),
            Handoff::Lost(reason) => return Ok(Some(reason)),
        }
        Ok(None)
    }

    /// Tells people of a WAL that grows though it is let go here: once, until it is small again.
    fn watch_size(&self, times: &mut Times, now: Instant) {
        let (wal, limit) = (self.tail.wal_bytes(), self.options.wal_limit);
        // While everything is read, our own pin keeps it.
        let scans = self.shared.lock().activity != Activity::Following;
        if scans || wal < limit.saturating_add(limit / 2) {
            (times.beyond, times.told) = (None, false);
            return;
        }
        let since = *times.beyond.get_or_insert(now);
        if !times.told && now.saturating_duration_since(since) >= KEPT {
            times.told = true;
            self.shared.update(|state| {
                state.warnings.push(format!(
                    "the WAL has grown to {} MiB, beyond its limit of {} MiB, and something else keeps it from being reset: a read \
                     transaction that stays open, or another backup tool",
                    wal >> 20,
                    limit >> 20
                ));
            });
        }
    }

    /// Gets the pin out of the way of somebody's checkpoint, until there is none any more.
    fn step_aside(&mut self, times: &mut Times, now: Instant) -> Result<()> {
        if now >= times.probe {
            times.probe = now + STILL;
            times.aside = self.tail.checkpoint()? == Checkpoint::Busy;
        }
        self.tail.step_aside()
    }

    /// Whether a PASSIVE checkpoint does no harm. It does nothing if all before the pin is
    /// backfilled; else it makes it possible for the WAL to be reset should we die, so what it
    /// holds has to be published first. But nobody is made to wait for a repository that is slow.
    fn may_probe(&self, times: &mut Times) -> Result<bool> {
        let published = self.group.is_empty() && self.idle();
        if published || self.tail.is_backfilled()? {
            times.flush = None;
            return Ok(true);
        }
        let since = *times.flush.get_or_insert_with(Instant::now);
        Ok(since.elapsed() >= FLUSH)
    }

    fn sleep(&mut self, times: &mut Times, stop: bool) {
        let now = Instant::now();
        let active = now.saturating_duration_since(times.moved) < ALERT
            || now < times.alert
            || (self.tail.is_at_zero() && !self.tail.is_current());
        if active || stop || times.aside {
            // Not for a notice: under load there is one for every write.
            std::thread::sleep(ACTIVE);
            return;
        }
        let mut wait = if self.tail.is_at_zero() { SLOW } else { STILL_LATER };
        if self.tail.is_at_zero() {
            self.shared.slabs.release();
        }
        if let Some(began) = times.group {
            wait = wait.min(self.options.interval.saturating_sub(began.elapsed())).max(ACTIVE);
        }
        if self.notice.wait(wait) {
            times.alert = Instant::now() + ALERT;
        }
    }
}

/// That what an application commits does not show in the wal-index that we have.
fn bypassed() -> Error {
    let what = "somebody writes to it through another wal-index: the file -shm was removed or replaced under an open connection";
    Error::new(ErrorKind::Source, what).with_hint(
        "close the application's connections and open them again; until then its commits are found only now and then, and SQLite's \
         locks don't protect them",
    )
}

/// Whether a pin at mark zero keeps a WAL that has grown large from being backfilled, since it
/// can't be exchanged: writers commit faster than that.
fn stuck(tail: &Tail) -> bool {
    tail.is_at_zero() && !tail.is_current() && tail.wal_bytes() >= HANDOFF
}

#[cfg(test)]
mod tests;
