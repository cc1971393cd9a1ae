//! The thread that takes a database up, publishes what the watcher captured, and takes it up again
//! after whatever happened.
//!
//! | the database | what is done |
//! |---|---|
//! | in WAL mode, the saved position is proven | followed from there |
//! | in WAL mode, nothing is proven | watched from a pinned snapshot on, while that snapshot is scanned |
//! | not in WAL mode | captured whole whenever it changed |
//! | gone, locked, unreadable | tried again |
//!
//! Invariants:
//! - A scan's snapshot stays pinned until the watcher has a pin of its own, so no commit falls in
//!   between.
//! - Groups are published in the order of capture; one that failed is tried again with the same
//!   bytes until it is published, or until another writer took over, which ends the follower.
//! - The saved position moves only with what was published.
//! - A mark comes after the commits that it is for were acknowledged, and nothing waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compaction::Compactor;
use super::doubt::{UNCOUNTED, doubt};
use super::marker::Marker;
use super::options::FollowOptions;
use super::pack::pack;
use super::shared::{Ended, Shared};
use super::status::{Activity, Event, Fault, Listener, describe};
use super::stopping::Stopping;
use super::watcher::Watcher;
use crate::capture::commit::{CaptureOptions, Captured, capture, head_digests};
use crate::capture::group::Group;
use crate::capture::overwritten::agrees;
use crate::codec::pool::panicked;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::CommitKind;
use crate::repo::local::digests::HeadDigests;
use crate::repo::local::state::Head;
use crate::repo::write::presence::Signs;
use crate::repo::write::segment_writer::Prepared;
use crate::repo::write::writer::Writer;
use crate::sqlite::beside::{LOCKED_OUT, give_to_group};
use crate::sqlite::library;
use crate::sqlite::notify::Notice;
use crate::sqlite::pin::Pin;
use crate::sqlite::source::{Position, Source};
use crate::sqlite::tail::Tail;
use crate::sqlite::witness::OVERWRITTEN;
use crate::types::{Digest, PageNo, Seq};

/// How long to wait before something is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A database that is not in WAL mode is not read more often than leaves it alone for so many times
/// as long.
const REST: u32 = 10;
/// How often to look whether it is time to show others that this follower is there; oftener in
/// tests, which have clocks of their own.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 30_000 });
/// How long to leave a database alone that is being overwritten.
const HANDS: Duration = Duration::from_millis(100);
/// How often to look at a database that is not in WAL mode, whatever the notices say.
const SLOW: Duration = Duration::from_secs(1);

/// What becomes of commits that a run could not store.
const UNFINISHED: &str = "the last commits are not in the repository yet; the next run captures them from the WAL, or by a scan";

pub(crate) struct Publisher<'a> {
    pub(crate) writer: Writer,
    pub(crate) path: &'a std::path::Path,
    /// The database's canonical path, for the history.
    pub(crate) place: &'a str,
    pub(crate) options: &'a FollowOptions,
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) listener: &'a dyn Listener,
    /// The head's page digests, once they are at hand.
    pub(crate) digests: Option<HeadDigests>,
    pub(crate) compactor: Compactor,
    pub(crate) marker: Marker,
    /// What shows others that this follower is there.
    pub(crate) signs: Option<Signs>,
    /// Whether a gap has to be marked by the next scan, and why.
    pub(crate) gap: Option<String>,
    /// Why the saved position proves nothing, if nothing else is a reason for a scan.
    pub(crate) doubt: &'static str,
    /// Why the scan under way is made, once that was told.
    pub(crate) told_scan: Option<String>,
    pub(crate) backoff: Duration,
    /// The version of SQLite that people were warned of.
    pub(crate) warned_of: Option<i32>,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Stop,
}

impl Publisher<'_> {
    /// Follows until told to stop.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when another writer took over; what kept the last commits from
    /// being published at the end.
    pub(crate) fn run(mut self, notice: &mut Notice) -> Result<()> {
        // Before anything is durable here: others may still read that it is gone.
        self.announce_presence();
        loop {
            match self.take_up(notice) {
                Ok(Next::Stop) => {
                    self.announce_end();
                    return Ok(());
                }
                Ok(Next::Again) => self.backoff = RETRY.0,
                Err(e) if e.kind() == ErrorKind::Interrupted && self.stopping() => return Ok(()),
                Err(e) if is_superseded(&e) => return Err(e),
                Err(e) => {
                    self.fault(&e);
                    if self.shared.lock().is_overdue() {
                        return Err(e);
                    }
                    self.pause();
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.shared.lock().stop
    }

    fn fault(&self, e: &Error) {
        let fault = Fault::of(e, self.shared.clock.now());
        let new = self.shared.update(|state| {
            let known = state.fault.as_ref().is_some_and(|known| known.is_like(&fault));
            state.fault = Some(fault.clone());
            !known
        });
        // The same fault again is no news.
        if new {
            self.listener.event(&Event::Fault(fault));
        }
    }

    fn recovered(&mut self) {
        self.backoff = RETRY.0;
        if self.shared.update(|state| state.fault.take()).is_some() {
            self.listener.event(&Event::Recovered);
        }
    }

    fn pause(&mut self) {
        // Whoever waits for us to stop is not kept waiting for long.
        let stopping = self.stopping();
        let at_most = if stopping { self.backoff.min(RETRY.0) } else { self.backoff };
        drop(self.shared.wait_for(at_most, |s| s.stop && !stopping));
        self.backoff = (self.backoff * 2).min(RETRY.1);
    }

    fn activity(&self, activity: Activity) {
        self.shared.update(|state| state.activity = activity);
    }

    /// Opens the database and follows it as its journal allows.
    fn take_up(&mut self, notice: &mut Notice) -> Result<Next> {
        self.shared.update(|state| {
            state.activity = Activity::Starting;
            // What the last watcher captured and nobody published is captured again, and so are the
            // barriers.
            state.captured = state.published;
            state.forget_barriers();
        });
        if self.shared.lock().is_overdue() {
            return match &self.gap {
                None => Ok(Next::Stop),
                Some(why) => Err(unfinished(self.place, why)),
            };
        }
        if let Some(commits) = self.writer.resolve(self.place)? {
            // It was stored, though the answer was an error. How long ago that was is nobody's
            // concern any more.
            self.gap = None;
            let scans = commits.iter().filter(|c| c.kind == CommitKind::Scan && c.seq > Seq(1));
            let scans = u64::try_from(scans.count()).unwrap_or(0);
            self.shared.update(|state| {
                state.note_newest(&commits);
                state.scans += scans;
                state.stored += commits.iter().map(|c| c.stored).sum::<u64>();
            });
            self.recovered();
            self.listener.event(&Event::Published { commits, lag: Duration::ZERO });
        }
        let mut source = Source::open(self.path)?;
        let pin = source.pin()?;
        if !give_to_group(self.path) {
            self.listener.event(&Event::Warning(LOCKED_OUT.to_owned()));
        }
        if pin.blocks_writers() {
            drop(pin);
            return self.poll(&mut source, notice);
        }
        if let Some(version) = pin.last_writer()?
            && library::is_vulnerable(version)
            && self.warned_of.replace(version) != Some(version)
        {
            let warning = library::describe_vulnerable(self.place, version);
            self.listener.event(&Event::Warning(warning));
        }
        let (next, rests) = self.follow(pin, notice)?;
        if rests {
            source.close_as_usual();
        }
        Ok(next)
    }

    /// Shows others that it is there, when nothing else does. What becomes of that is no fault: it
    /// only spares people a question.
    fn announce_presence(&mut self) {
        let now = self.shared.clock.now();
        let _ = match &mut self.signs {
            Some(signs) => signs.tend(&mut self.writer, now),
            None => Signs::begin(&mut self.writer, now).map(|signs| self.signs = Some(signs)),
        };
    }

    /// Others wait a quarter of an hour if they are not told; but nobody waits for a store that is
    /// in trouble.
    fn announce_end(&mut self) {
        let hopeless = {
            let state = self.shared.lock();
            state.fault.is_some() || state.is_overdue()
        };
        if !hopeless {
            self.marker.finish(&mut self.writer, self.shared, self.listener);
            let _ = Signs::end(&mut self.writer, self.shared.clock.now());
        }
    }

    /// Follows the WAL. Answers with what comes next whether everything is in the database file
    /// now.
    fn follow(&mut self, pin: Pin<'_>, notice: &mut Notice) -> Result<(Next, bool)> {
        let mut tail = Tail::open(self.path)?;
        let head = self.writer.head().filter(|head| head.page_size == pin.page_size()).cloned();
        // Between the head and a place behind a gap, transactions may have come and gone.
        let (gap, saved) = (self.writer.state.gap, self.writer.state.position);
        let saved = saved.filter(|_| self.gap.is_none() && !gap);
        self.digests = None;
        let proven = match (&head, saved) {
            (Some(head), Some(saved))
                if !self.writer.needs_anchor() && !self.writer.needs_base() =>
            {
                tail.prove(&saved, head.pages)? && self.is_intact(&pin, head, &saved)?
            }
            _ => false,
        };
        if !proven {
            self.doubt = doubt(&self.writer, saved.as_ref());
            // The tail begins where the scan's snapshot is; what it finds then comes behind the
            // scan.
            tail.start_at(pin.wal_place().ok_or_else(no_wal)?, pin.pages());
        } else {
            // The same place, counted as the present wal-index counts.
            let position = saved.map(|saved| tail.position().resting_as(&saved));
            self.writer.remember(None, position, self.place)?;
        }
        let dir = self.writer.dir.path("");
        let (clock, slabs) = (self.shared.clock.clone(), self.shared.slabs.clone());
        let group = Group::new(tail.page_size(), &dir, clock, slabs);
        self.shared.update(|state| {
            (state.ended, state.slot) = (None, None);
            (state.publishing, state.abandoned) = (false, false);
            // Where an earlier watcher rested is behind what was captured then and not stored.
            state.rest = None;
        });
        let (shared, options, path) = (self.shared, self.options, self.path);
        let ended = std::thread::scope(|scope| {
            let dir = &dir;
            let watcher = Watcher { tail, group, shared, notice, options, path, dir };
            let watching = std::thread::Builder::new()
                .name("pagekeep-watch".to_owned())
                .spawn_scoped(scope, || watcher.run())
                .map_err(|e| Error::io(e, "cannot be started", "the watching thread"))?;
            let worked = self.publish_all(pin, proven);
            if worked.is_err() {
                // What the watcher still holds is captured again.
                self.shared.update(|state| state.abandoned = true);
                self.shared.waker.wake();
            }
            let joined = watching.join().map_err(|_| panicked());
            joined.and(worked)
        })?;
        // Only who stopped as told has everything in the repository up to there.
        let rest = self.shared.update(|state| state.rest.take());
        let rest = rest.filter(|_| matches!(ended, Next::Stop));
        if rest.is_some()
            && let Err(e) = self.writer.remember(None, rest, self.place)
        {
            self.warn(&e);
        }
        Ok((ended, rest.is_some()))
    }

    /// Has marked what is to be marked. Nothing waits for that, and it waits for nothing.
    fn tend_marks(&mut self) {
        let has_ended = std::mem::take(&mut self.shared.lock().has_marked);
        let (writer, priority) = (&mut self.writer, self.options.priority);
        self.marker.tend(writer, has_ended, priority, self.shared, self.listener);
    }

    /// Whether the file below the WAL is the one that the saved position is of. If not, somebody
    /// overwrote it meanwhile.
    fn is_intact(&mut self, pin: &Pin<'_>, head: &Head, saved: &Position) -> Result<bool> {
        let digests = head_digests(&self.writer, head, self.listener)?;
        let hasher = self.writer.history().hasher();
        let is_intact = agrees(pin, saved, head, &digests, &hasher)?;
        match is_intact {
            true => self.digests = Some(digests),
            false => self.gap = Some(OVERWRITTEN.to_owned()),
        }
        Ok(is_intact)
    }

    /// Scans if need be, and then publishes group after group until the watcher ends.
    fn publish_all(&mut self, pin: Pin<'_>, proven: bool) -> Result<Next> {
        if proven {
            drop(pin);
        } else {
            self.scan(pin)?;
        }
        let _following = self.writer.dir.show_following()?;
        self.activity(Activity::Following);
        loop {
            self.announce_presence();
            self.tend_marks();
            let look = self.marker.rests().map_or(LOOK, |rests| rests.min(LOOK));
            let (group, ended, warnings) = {
                let mut state = self.shared.wait_for(look, |s| {
                    s.slot.is_some() || s.ended.is_some() || !s.warnings.is_empty() || s.has_marked
                });
                let group = state.slot.take();
                state.publishing = group.is_some();
                let ended = if group.is_none() { state.ended.take() } else { None };
                (group, ended, std::mem::take(&mut state.warnings))
            };
            for warning in warnings {
                self.listener.event(&Event::Warning(warning));
            }
            if let Some(group) = group {
                self.publish(group)?;
                continue;
            }
            match ended {
                Some(Ended::Stopped) => return Ok(Next::Stop),
                Some(Ended::Lost(reason)) => {
                    if reason == OVERWRITTEN {
                        // Whoever does that removes the WAL next, if it is done by hand: what is
                        // opened before would be the old one.
                        drop(self.shared.wait_for(HANDS, |s| s.stop));
                    }
                    self.gap = Some(reason);
                    return Ok(Next::Again);
                }
                Some(Ended::Replaced) => {
                    self.gap = Some("the file was replaced or removed".to_owned());
                    return Ok(Next::Again);
                }
                Some(Ended::Failed(e)) => return Err(e),
                None => {}
            }
        }
    }

    /// Captures the pinned moment whole, as one commit.
    fn scan(&mut self, pin: Pin<'_>) -> Result<()> {
        // The store is asked first: reading everything for one that can't be reached would be in
        // vain.
        self.writer.confirm()?;
        self.activity(Activity::Scanning);
        let first = self.writer.head().is_none();
        if !first {
            let reason = self.gap.clone().unwrap_or_else(|| self.doubt.to_owned());
            // Once, however often it takes.
            if self.told_scan.replace(reason.clone()).as_ref() != Some(&reason) {
                self.listener.event(&Event::Scan { reason });
            }
        }
        // Even if nothing differs, it is not known what came and went.
        self.capture_whole(pin, !first, |_| !first).map(|_| ())
    }

    /// Captures the pinned moment as one commit, with `mark` even if nothing differs; `counts` says
    /// whether that was a scan which somebody should know of. Answers whether there was anything to
    /// store.
    fn capture_whole(
        &mut self,
        pin: Pin<'_>,
        mark: bool,
        counts: impl FnOnce(&Captured) -> bool,
    ) -> Result<bool> {
        let began = Instant::now();
        let mark = mark || self.gap.is_some();
        let options = CaptureOptions { mark, ..self.options.capture.clone() };
        let monitor = Stopping { listener: self.listener, shared: self.shared };
        let captured = capture(&mut self.writer, pin, self.place, &options, &monitor)?;
        let newest = self.writer.head().map(|head| (head.seq, head.digest));
        (self.gap, self.told_scan) = (None, None);
        self.shared.update(|state| {
            state.tip = newest.into_iter().collect();
            state.scans += u64::from(counts(&captured));
            state.stored += captured.commit.map_or(0, |c| c.stored);
        });
        self.recovered();
        if let Some(commit) = captured.commit {
            self.listener.event(&Event::Published { commits: vec![commit], lag: began.elapsed() });
        }
        Ok(captured.commit.is_some())
    }

    /// Publishes a group, however often it takes.
    fn publish(&mut self, mut group: Group) -> Result<()> {
        let mut prepared = None;
        loop {
            match self.try_publish(&mut group, &mut prepared) {
                Ok(()) => return Ok(()),
                // Or an earlier scan of ours has its place: it is gone on from there.
                Err(e) if is_superseded(&e) || e.kind() == ErrorKind::Busy => return Err(e),
                Err(e) if prepared.is_none() && e.kind() == ErrorKind::Failure => {
                    // It would fail for ever: what was captured does not follow on the head.
                    self.gap = Some(describe(&e));
                    return Err(e);
                }
                Err(e) => {
                    self.fault(&e);
                    if self.shared.lock().is_overdue() {
                        if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::WrongKey) {
                            // Its own hint says what to do first.
                            return Err(e);
                        }
                        return Err(e.with_hint(UNFINISHED));
                    }
                    self.pause();
                }
            }
        }
    }

    fn try_publish(
        &mut self,
        group: &mut Group,
        prepared: &mut Option<(Prepared, Vec<(PageNo, Digest)>)>,
    ) -> Result<()> {
        let head =
            self.writer.head().cloned().ok_or_else(|| {
                Error::new(ErrorKind::Failure, "a group has nothing to follow on")
            })?;
        let mut digests = match self.digests.take() {
            Some(digests) => digests,
            None => head_digests(&self.writer, &head, self.listener)?,
        };
        if prepared.is_none() {
            match pack(self.shared, &self.writer, self.options, group, &head, &digests) {
                Ok(made) => {
                    // Without it a run that dies here costs the next one a scan, and nothing else.
                    let _ = self.writer.intend(made.0.head(), group.position());
                    *prepared = Some(made);
                }
                Err(e) => {
                    self.digests = Some(digests);
                    return Err(e);
                }
            }
        }
        let Some((ready, changed)) = prepared else { return Ok(()) };
        if let Err(e) = ready.publish(&mut self.writer) {
            self.digests = Some(digests);
            return Err(e);
        }
        let new_head = ready.head().clone();
        let commits = ready.commits().to_vec();
        if let Some(signs) = &mut self.signs {
            signs.published(self.shared.clock.now());
        }
        self.writer.noticed.note(new_head.page_size, commits.iter().copied().zip(group.fronts()));
        // The group is safe. A cache that can't be written is rebuilt when it is needed.
        match digests.patch(&new_head, changed) {
            Ok(()) => self.digests = Some(digests),
            Err(e) => self.warn(&e),
        }
        if let Err(e) = self.writer.remember(Some(new_head), group.position(), self.place) {
            self.warn(&e);
        }
        let lag = group.first_time().map_or(0, |t| self.shared.clock.now().0.saturating_sub(t.0));
        let count = u64::try_from(commits.len()).unwrap_or(u64::MAX);
        let stored: u64 = commits.iter().map(|c| c.stored).sum();
        self.backoff = RETRY.0;
        // In one step: whoever waited for durability finds no fault any more.
        let fault = self.shared.update(|state| {
            state.publishing = false;
            state.published += count;
            state.note_newest(&commits);
            state.stored += stored;
            state.pending_bytes = 0;
            state.oldest = None;
            state.fault.take()
        });
        self.shared.waker.wake();
        if fault.is_some() {
            self.listener.event(&Event::Recovered);
        }
        let lag = Duration::from_micros(u64::try_from(lag).unwrap_or(0));
        self.listener.event(&Event::Published { commits, lag });
        let now = self.shared.clock.now();
        let priority = self.options.priority;
        self.compactor.tend(&mut self.writer, now, priority, group.is_full(), self.listener)
    }

    fn warn(&self, e: &Error) {
        self.listener.event(&Event::Warning(format!(
            "the commits are stored, but what this machine remembers of them is not up to date: {}",
            describe(e)
        )));
    }

    /// Captures a database that is not in WAL mode whenever it changed.
    fn poll(&mut self, source: &mut Source, notice: &mut Notice) -> Result<Next> {
        self.listener.event(&Event::Warning(format!(
            "{} is not in WAL mode: it is read whole whenever it changed, and its writers wait meanwhile; \
             after `PRAGMA journal_mode=WAL` every transaction is kept",
            self.place
        )));
        loop {
            let (wanted, stop) = {
                let state = self.shared.lock();
                (state.wanted, state.stop)
            };
            notice.watch(self.path);
            if !source.is_current() {
                self.gap = Some("the file was replaced or removed".to_owned());
                return Ok(Next::Again);
            }
            let pin = source.pin()?;
            if !pin.blocks_writers() {
                return Ok(Next::Again);
            }
            let began = Instant::now();
            let (before, now) = (self.writer.state.position, pin.position());
            let scans = |captured: &Captured| captured.read > 0;
            let is_new = self.capture_whole(pin, false, scans)?;
            if let (true, Some(before), Some(now)) = (is_new, before, now)
                && before.is_same_count(&now)
            {
                self.listener.event(&Event::Warning(UNCOUNTED.to_owned()));
            }
            self.announce_presence();
            let took = began.elapsed();
            self.shared.update(|state| {
                state.activity = Activity::Polling;
                state.reached = (wanted, state.captured);
            });
            self.tend_marks();
            if stop {
                return Ok(Next::Stop);
            }
            // Leaves the application alone for a while, unless somebody waits.
            let rest = self.options.interval.max(took * REST);
            drop(self.shared.wait_for(rest, |s| s.stop || s.wanted > s.reached.0));
            let urgent = |s: &super::shared::State| s.stop || s.wanted > s.reached.0;
            if !urgent(&self.shared.lock()) {
                notice.wait(SLOW);
            }
        }
    }
}

/// That it had to stop, though it had lost its place: what was committed last is captured by
/// nobody yet.
fn unfinished(place: &str, why: &str) -> Error {
    let what = format!("what was committed last is not stored: {why}");
    Error::new(ErrorKind::Source, what).with_object(place).with_hint(UNFINISHED)
}

/// Whether another writer took the history over.
fn is_superseded(e: &Error) -> bool {
    e.kind() == ErrorKind::Superseded
}

fn no_wal() -> Error {
    Error::new(ErrorKind::Source, "has no wal-index that could be followed")
}
