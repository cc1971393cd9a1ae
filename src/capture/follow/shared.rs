//! What the threads of a follower and its handle share.
//!
//! Invariants:
//! - A barrier is done when everything that was committed before it was asked for is published: the
//!   watcher looks at the WAL after it saw the barrier, and notes how many commits it has captured
//!   by then.
//! - No lock is held while the store, the database or a listener is called.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::status::{Activity, Fault, Status, TailStats};
use crate::capture::group::Group;
use crate::capture::spool::Slabs;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::CommitRecord;
use crate::sqlite::notify::Waker;
use crate::sqlite::source::Position;
use crate::types::{Clock, Digest, Seq, Timestamp};

/// Longer than anybody waits.
pub(crate) const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How many lock times are kept for whoever asks.
const LOCK_TIMES: usize = 100_000;

/// What is called when a barrier is done.
pub(crate) type Call = Box<dyn FnOnce(Result<Seq>) + Send>;

pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) waker: Waker,
    pub(crate) clock: Clock,
    /// Memory for the groups, one after the other.
    pub(crate) slabs: Slabs,
}

/// How a watcher ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to, and everything is published.
    Stopped,
    /// The WAL's continuity can't be proven.
    Lost(String),
    /// Another file has the path, or none.
    Replaced,
    /// It can't go on.
    Failed(Error),
}

pub(crate) struct State {
    pub(crate) activity: Activity,
    pub(crate) stop: bool,
    /// When a stopping follower gives the store up.
    pub(crate) deadline: Option<Instant>,
    /// A group to be published.
    pub(crate) slot: Option<Group>,
    /// Whether one is being published.
    pub(crate) publishing: bool,
    pub(crate) ended: Option<Ended>,
    /// Where it stopped, if the database file has everything up to there.
    pub(crate) rest: Option<Position>,
    /// Set when nobody will take what the watcher captures any more.
    pub(crate) abandoned: bool,
    /// Commits captured and published, counted from the start.
    pub(crate) captured: u64,
    pub(crate) published: u64,
    /// The commits that became durable last, up to the newest, with the digests of their databases.
    pub(crate) tip: Vec<(Seq, Digest)>,
    pub(crate) stored: u64,
    pub(crate) scans: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) wal_bytes: u64,
    /// When the watcher last looked at the WAL.
    pub(crate) looked: Option<Instant>,
    pub(crate) fault: Option<Fault>,
    /// Whether marking ended, and nobody looked how.
    pub(crate) has_marked: bool,
    /// What the watcher wants people to know, and nobody was told yet.
    pub(crate) warnings: Vec<String>,
    pub(crate) stats: TailStats,
    /// The counts of watchers that ended.
    pub(crate) earlier: TailStats,
    pub(crate) locks: VecDeque<Duration>,
    /// Barriers asked for.
    pub(crate) wanted: u64,
    /// The last one that the watcher saw, and what was captured by then.
    pub(crate) reached: (u64, u64),
    /// The last one that is done, and its newest commit.
    pub(crate) done: (u64, Option<Seq>),
    /// Who is called when a barrier is done.
    pub(crate) calls: Vec<(u64, Call)>,
    /// Cuts that somebody waits for, by their barriers.
    pub(crate) cuts: BTreeMap<u64, CutAt>,
    /// Why it stopped, if not because it was told to.
    pub(crate) error: Option<Error>,
    pub(crate) gone: bool,
}

/// Where a cut is: which of the commits is the last one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutAt {
    /// Nobody looked yet.
    Wanted,
    /// So many were captured.
    Captured(u64),
    /// It is durable. The digest says which commit of that number it is: another writer may give
    /// the number to one of its own.
    Durable(Seq, Digest),
    /// What was captured is dropped: a scan to come stands for more than it.
    Lost,
}

impl Shared {
    pub(crate) fn new(waker: Waker, clock: Clock) -> Self {
        let state = State {
            activity: Activity::Starting,
            stop: false,
            deadline: None,
            slot: None,
            publishing: false,
            ended: None,
            rest: None,
            abandoned: false,
            captured: 0,
            published: 0,
            tip: Vec::new(),
            stored: 0,
            scans: 0,
            pending_bytes: 0,
            oldest: None,
            wal_bytes: 0,
            looked: None,
            fault: None,
            has_marked: false,
            warnings: Vec::new(),
            stats: TailStats::default(),
            earlier: TailStats::default(),
            locks: VecDeque::new(),
            wanted: 0,
            reached: (0, 0),
            done: (0, None),
            calls: Vec::new(),
            cuts: BTreeMap::new(),
            error: None,
            gone: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            waker,
            clock,
            slabs: Slabs::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes whoever waits for it.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let answer = change(&mut state);
        state.settle();
        let answers = state.answers();
        drop(state);
        self.changed.notify_all();
        tell(answers);
        answer
    }

    /// Calls `done` once everything committed so far is published, or nothing will be any more.
    pub(crate) fn call_at_barrier(&self, done: Call) {
        self.update(|state| {
            state.wanted += 1;
            state.calls.push((state.wanted, done));
        });
        self.waker.wake();
    }

    /// Waits until the state is as wanted, and at most so long.
    pub(crate) fn wait_for(
        &self,
        at_most: Duration,
        until: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + at_most;
        let mut state = self.lock();
        while !until(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits until everything committed so far is published, and answers the newest of those
    /// commits.
    pub(crate) fn barrier(&self, at_most: Duration) -> Result<Seq> {
        let mine = self.update(|state| {
            state.wanted += 1;
            state.wanted
        });
        self.waker.wake();
        let state = self.wait_for(at_most, |s| s.done.0 >= mine || s.gone);
        if let Some(answer) = state.answer(mine) {
            return answer;
        }
        match &state.fault {
            Some(fault) => Err(Error::new(
                fault.kind,
                "what was committed is not durable yet, and capture is in trouble",
            )
            .with_source(fault.message.clone())
            .with_hint("it is tried again until it works; nothing needs to be done here")),
            None => Err(Error::new(ErrorKind::Busy, "what was committed is not durable yet")
                .with_hint("wait for longer, or look at the follower's status")),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let now = self.clock.now();
        let state = self.lock();
        let lag = state.oldest.map_or(0, |t| now.0.saturating_sub(t.0));
        Status {
            activity: state.activity,
            seq: state.seq(),
            pending: state.captured.saturating_sub(state.published),
            pending_bytes: state.pending_bytes,
            lag: Duration::from_micros(u64::try_from(lag).unwrap_or(0)),
            published: state.published,
            stored: state.stored,
            scans: state.scans,
            wal_bytes: state.wal_bytes,
            looked: state
                .looked
                .filter(|_| state.activity == Activity::Following)
                .map(|looked| looked.elapsed()),
            fault: state.fault.clone(),
            wal: sum(state.earlier, state.stats),
        }
    }
}

/// Calls whoever asked to be called, from a thread of its own: what is called may take its time,
/// may end this follower, and may panic.
fn tell(answers: Vec<(Call, Result<Seq>)>) {
    if answers.is_empty() {
        return;
    }
    let calls = Arc::new(Mutex::new(answers));
    let theirs = calls.clone();
    let work = move || {
        let calls = std::mem::take(&mut *theirs.lock().unwrap_or_else(PoisonError::into_inner));
        for (call, answer) in calls {
            // One that panics has said so, and takes nothing from the others.
            let _ = catch_unwind(AssertUnwindSafe(|| call(answer)));
        }
    };
    let spawned = std::thread::Builder::new().name("pagekeep-tell".to_owned()).spawn(work.clone());
    if spawned.is_err() {
        work();
    }
}

impl State {
    /// Whether it is to stop, and has had time for what was left to do.
    pub(crate) fn is_overdue(&self) -> bool {
        self.stop && self.deadline.is_none_or(|deadline| Instant::now() >= deadline)
    }

    /// Notes a barrier that is done.
    fn settle(&mut self) {
        let (reached, captured) = self.reached;
        let quiet = matches!(self.activity, Activity::Following | Activity::Polling);
        if quiet && reached > self.done.0 && self.published >= captured {
            let later = self.published - captured;
            self.done = (reached, self.seq().map(|seq| Seq(seq.0.saturating_sub(later))));
        }
        let (published, seq) = (self.published, self.seq());
        for cut in self.cuts.values_mut() {
            if let (CutAt::Captured(at), Some(seq), true) = (*cut, seq, quiet)
                && published >= at
            {
                // What was published since comes behind it.
                let seq = Seq(seq.0.saturating_sub(published - at));
                let found = self.tip.iter().find(|(tip, _)| *tip == seq);
                *cut = found.map_or(CutAt::Lost, |&(seq, digest)| CutAt::Durable(seq, digest));
            }
        }
    }

    /// Notes commits that became durable.
    pub(crate) fn note_newest(&mut self, commits: &[CommitRecord]) {
        if !commits.is_empty() {
            self.tip = commits.iter().map(|c| (c.seq, c.digest)).collect();
        }
    }

    /// The newest commit that is durable.
    pub(crate) fn seq(&self) -> Option<Seq> {
        self.tip.last().map(|(seq, _)| *seq)
    }

    /// Notes the cuts that were asked for up to a barrier: all that was committed then is captured.
    pub(crate) fn note_cuts(&mut self, barrier: u64) {
        let captured = self.captured;
        for (_, cut) in self.cuts.range_mut(..=barrier) {
            if *cut == CutAt::Wanted {
                *cut = CutAt::Captured(captured);
            }
        }
    }

    /// What to tell whoever waits for a barrier; `None` while that is open.
    fn answer(&self, barrier: u64) -> Option<Result<Seq>> {
        match (self.done, &self.error) {
            ((done, Some(seq)), _) if done >= barrier => Some(Ok(seq)),
            (_, Some(error)) => {
                let ended = Error::new(error.kind(), "following has ended");
                Some(Err(ended.with_source(error.to_string())))
            }
            _ if self.gone => {
                Some(Err(Error::new(ErrorKind::Interrupted, "following was stopped")))
            }
            _ => None,
        }
    }

    /// The calls that are due, with what to tell them.
    fn answers(&mut self) -> Vec<(Call, Result<Seq>)> {
        let mut due = Vec::new();
        for (barrier, call) in std::mem::take(&mut self.calls) {
            match self.answer(barrier) {
                Some(answer) => due.push((call, answer)),
                None => self.calls.push((barrier, call)),
            }
        }
        due
    }

    /// Barriers that are not done count as not reached: the next watcher has to see them.
    pub(crate) fn forget_barriers(&mut self) {
        self.reached = (self.done.0, self.captured);
        for cut in self.cuts.values_mut() {
            if matches!(cut, CutAt::Captured(_)) {
                *cut = CutAt::Lost;
            }
        }
    }

    /// Keeps the counts of a watcher that ended.
    pub(crate) fn keep_stats(&mut self) {
        self.earlier = sum(self.earlier, self.stats);
        self.stats = TailStats::default();
    }

    pub(crate) fn note_locks(&mut self, times: Vec<Duration>) {
        self.locks.extend(times);
        while self.locks.len() > LOCK_TIMES {
            self.locks.pop_front();
        }
    }
}

fn sum(a: TailStats, b: TailStats) -> TailStats {
    TailStats {
        commits: a.commits + b.commits,
        frames: a.frames + b.frames,
        generations: a.generations + b.generations,
        handoffs: a.handoffs + b.handoffs,
        yields: a.yields + b.yields,
        rebuilt: a.rebuilt + b.rebuilt,
        lock_max_micros: a.lock_max_micros.max(b.lock_max_micros),
    }
}
