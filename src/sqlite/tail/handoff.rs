//! Pins and the handoff: what keeps a generation of the WAL until it is captured, and lets go of it
//! without a gap.
//!
//! A pin is an open read transaction. At a read mark above zero it keeps everybody from resetting
//! the WAL. At mark zero, where a read lands when the whole WAL was backfilled as it began, the WAL
//! may be reset once, but nothing of the new generation can be backfilled, so it can't be reset
//! again. One pin is exchanged for another only when all that the new one could see is captured.
//! The handoff lets go of a generation without letting a commit fall in between, with two
//! connections for pins and a third one, the gate:
//!
//! 1. All is captured: the idle connection begins a read, the other ends its own. The WAL can't be
//!    reset.
//! 2. A PASSIVE checkpoint on the idle connection: the bulk of the backfill, while writers run.
//! 3. The gate takes the write lock in a moment when it is free, without a place in a queue. Busy:
//!    come again later. The last frames are captured.
//! 4. The pins are exchanged; a PASSIVE checkpoint of the small rest.
//! 5. All is backfilled? Exchanged once more, the pin gets mark zero. Otherwise the pin stays above
//!    zero.
//! 6. The gate lets go without having written. The next writer resets the WAL; the old generation
//!    is wholly ours.
//!
//! Invariants: nothing is written to the database but what a checkpoint moves; the write lock is
//! held no longer than the small rest takes; nothing here waits in a queue of SQLite's.

use std::time::{Duration, Instant};

use super::{FrameSink, Step, Tail};
use crate::error::{ErrorKind, Result};
use crate::sqlite::pin::try_begin_wal;
use crate::sqlite::source_error;

/// How often to catch up with writers before their WAL is pinned anew under the write lock, which
/// takes less of everybody's time than to go on trying.
const EXCHANGE_TRIES: usize = 4;
/// How long to try for the write lock, and how long to wait for the end of one commit before it is
/// tried again.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);
const COMMIT_PATIENCE: Duration = Duration::from_millis(1);
/// How long to leave somebody else's checkpoint alone.
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// How long to wait for somebody else's checkpoint under the write lock.
const REST_PATIENCE: Duration = Duration::from_millis(5);
/// More frames than this are neither captured nor backfilled under the write lock; let that be done
/// without it first.
const MAX_REST: u32 = 1024;
/// How often to backfill while the WAL goes on growing.
const ROUNDS: usize = 4;

/// What came of a handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handoff {
    /// The pin is at mark zero; the next writer resets the WAL.
    Done,
    /// Somebody was in the way, or a reader holds the WAL: try again later.
    Later,
    /// Continuity can't be proven.
    Lost(&'static str),
}

/// What a PASSIVE checkpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// Somebody else holds the checkpoint lock.
    Busy,
    /// Backfilled as far as readers let it; `whole` if that was everything.
    Ran { whole: bool },
}

impl Tail {
    /// Pins the present snapshot with the idle connection, if all of it is captured, and then ends
    /// the old pin.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the database can't be read.
    pub(crate) fn exchange(&mut self) -> Result<bool> {
        let Some(before) = self.header()? else { return Ok(false) };
        if !self.is_captured(&before) {
            return Ok(false);
        }
        let idle = 1 - self.pinned;
        let begun = match try_begin_wal(self.pin(idle)?) {
            Ok(begun) => begun,
            Err(e) if e.kind() == ErrorKind::Busy => None,
            Err(e) => return Err(e),
        };
        let Some(index) = begun else { return Ok(false) };
        if !self.is_captured(&index) {
            self.end(idle);
            return Ok(false);
        }
        self.end(self.pinned);
        self.pinned = idle;
        self.pinned_at = (index.salts, index.frames);
        // Only if the WAL was backfilled before the read began. And even then whoever backfilled it
        // might not have released mark zero yet; so this is certain only after a checkpoint of ours
        // that came to its end.
        self.at_zero = before.backfilled >= before.frames;
        Ok(true)
    }

    /// Whether everything before the pin is in the database file.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the wal-index can't be read.
    pub(crate) fn is_backfilled(&self) -> Result<bool> {
        Ok(self
            .header()?
            .is_some_and(|now| now.salts != self.pinned_at.0 || now.backfilled >= self.pinned_at.1))
    }

    /// Gets the pin out of the way of somebody's checkpoint. A new pin is never in the way of the
    /// backfill, since it sees all that is committed; and once all is backfilled, it lands on mark
    /// zero.
    ///
    /// # Errors
    /// As [`Tail::exchange`].
    pub(crate) fn step_aside(&mut self) -> Result<()> {
        let before = self.at_zero;
        self.exchange()?;
        if self.at_zero && !before {
            self.stats.yields += 1;
        }
        Ok(())
    }

    /// Lets go of the pin, when nobody looks after it any more.
    pub(crate) fn unpin(&mut self) {
        self.end(self.pinned);
        self.at_zero = false;
    }

    /// A PASSIVE checkpoint on the connection that holds no pin.
    ///
    /// # Errors
    /// [`ErrorKind::Source`], [`ErrorKind::NoSpace`] when it fails.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint> {
        let idle = 1 - self.pinned;
        let ran =
            self.pin(idle)?.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)").and_then(|mut s| {
                s.query_row([], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
            });
        match ran {
            Ok((0, frames, backfilled)) => Ok(Checkpoint::Ran { whole: frames == backfilled }),
            Ok(_) => Ok(Checkpoint::Busy),
            Err(e) => {
                let error = source_error(e, "cannot be checkpointed");
                if error.kind() == ErrorKind::Busy { Ok(Checkpoint::Busy) } else { Err(error) }
            }
        }
    }

    /// Lets go of the present generation without a gap (see the module). Everything must be
    /// captured.
    ///
    /// # Errors
    /// As [`Tail::capture`] and [`Tail::checkpoint`].
    pub(crate) fn handoff(&mut self, sink: &mut dyn FrameSink) -> Result<Handoff> {
        // Under load the WAL goes on growing meanwhile: backfill until the rest is small.
        for _ in 0..ROUNDS {
            if let Some(not_yet) = self.refresh(sink)? {
                return Ok(not_yet);
            }
            // If somebody else is at it, that is as good.
            self.backfill(LOCK_PATIENCE)?;
            if let Step::Lost(reason) = self.capture(sink)? {
                return Ok(Handoff::Lost(reason));
            }
            if self.backlog()? <= MAX_REST {
                break;
            }
        }
        if self.backlog()? > MAX_REST {
            return Ok(Handoff::Later);
        }
        let done = self.with_lock(sink, |tail, sink| tail.under_lock(sink))?;
        if done == Handoff::Done {
            self.stats.handoffs += 1;
        }
        Ok(done)
    }

    /// Brings the pin up to date. Under load the header moves while the pins are exchanged: catch
    /// up and try again, and at last with the write lock. `Some` when that was in vain.
    fn refresh(&mut self, sink: &mut dyn FrameSink) -> Result<Option<Handoff>> {
        for _ in 0..EXCHANGE_TRIES {
            if self.exchange()? {
                return Ok(None);
            }
            if let Step::Lost(reason) = self.capture(sink)? {
                return Ok(Some(Handoff::Lost(reason)));
            }
        }
        let exchanged = self.with_lock(sink, |tail, sink| match tail.capture_rest(sink)? {
            Some(not_yet) => Ok(not_yet),
            None => Ok(if tail.exchange()? { Handoff::Done } else { Handoff::Later }),
        })?;
        Ok((exchanged != Handoff::Done).then_some(exchanged))
    }

    /// Does something with the write lock held, and lets go without having written.
    fn with_lock(
        &mut self,
        sink: &mut dyn FrameSink,
        work: impl FnOnce(&mut Self, &mut dyn FrameSink) -> Result<Handoff>,
    ) -> Result<Handoff> {
        if !self.take_lock()? {
            return Ok(Handoff::Later);
        }
        let locked = Instant::now();
        let done = work(self, sink);
        let released = self.gate()?.execute_batch("COMMIT");
        let held = locked.elapsed();
        let micros = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        self.stats.lock_max_micros = self.stats.lock_max_micros.max(micros);
        self.locks.push(held);
        released.map_err(|e| source_error(e, "cannot be unlocked"))?;
        done
    }

    /// How many frames are not in the database file yet.
    fn backlog(&self) -> Result<u32> {
        Ok(self.header()?.map_or(u32::MAX, |now| now.frames.saturating_sub(now.backfilled)))
    }

    /// Backfills, however often an automatic checkpoint of the application is in the way, up to a
    /// limit.
    fn backfill(&self, patience: Duration) -> Result<Checkpoint> {
        let began = Instant::now();
        loop {
            let ran = self.checkpoint()?;
            if ran != Checkpoint::Busy || began.elapsed() >= patience {
                return Ok(ran);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    /// Takes the write lock in a moment when nobody has it. A busy writer leaves only short ones,
    /// which a wait in SQLite's busy handler would miss: they come when it has just committed, so
    /// that is what is waited for.
    fn take_lock(&mut self) -> Result<bool> {
        let began = Instant::now();
        let mut seen = self.header()?.map(|now| now.changes);
        loop {
            match self.gate()?.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.raw_execute()) {
                Ok(_) => return Ok(true),
                Err(e) => {
                    let error = source_error(e, "cannot be locked");
                    if error.kind() != ErrorKind::Busy {
                        return Err(error);
                    }
                }
            }
            let tried = Instant::now();
            loop {
                if began.elapsed() >= LOCK_PATIENCE {
                    return Ok(false);
                }
                let now = self.header()?.map(|now| now.changes);
                if now != seen || tried.elapsed() >= COMMIT_PATIENCE {
                    seen = now;
                    break;
                }
                std::thread::yield_now();
            }
        }
    }

    /// Captures what was committed last, if that is little; else, what to answer.
    fn capture_rest(&mut self, sink: &mut dyn FrameSink) -> Result<Option<Handoff>> {
        let rest = self.header()?.map_or(u32::MAX, |now| now.frames.saturating_sub(self.at.frame));
        if rest > MAX_REST {
            return Ok(Some(Handoff::Later));
        }
        Ok(match self.capture(sink)? {
            Step::Lost(reason) => Some(Handoff::Lost(reason)),
            Step::Behind => Some(Handoff::Later),
            Step::Still | Step::Moved => None,
        })
    }

    fn under_lock(&mut self, sink: &mut dyn FrameSink) -> Result<Handoff> {
        if let Some(not_yet) = self.capture_rest(sink)? {
            return Ok(not_yet);
        }
        let whole = Checkpoint::Ran { whole: true };
        if !self.exchange()? || self.backfill(REST_PATIENCE)? != whole {
            return Ok(Handoff::Later);
        }
        let zero = self.exchange()? && self.at_zero;
        Ok(if zero { Handoff::Done } else { Handoff::Later })
    }
}
