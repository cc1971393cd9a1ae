//! Who goes on, and what goes wrong: one actor runs at a time, and at each of its points, which are
//! its operations on a store or on local state, a [`Director`] decides.
//!
//! Invariant: a run is a function of the cast and of the turns that were taken. All turns that
//! differ from "the same actor goes on, and nothing goes wrong" are noted, and a
//! [`Director::Script`] of them repeats the run.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::chance::Random;
use crate::types::Timestamp;

/// How many actors a run may have, those included that others start.
pub(super) const ACTORS: usize = 16;
/// After so many steps a run is given up: somebody waits for what will not happen.
const STEPS: u32 = 20_000;
/// An hour, in microseconds.
const HOUR: i64 = 3_600_000_000;
/// When runs begin: 2026-03-01T00:00:00Z.
const BEGIN: i64 = 1_772_323_200_000_000;
/// The point before the first actor runs.
pub(super) const PROLOGUE: Point = (usize::MAX, 0);

/// An actor, and which of its points.
pub(super) type Point = (usize, u32);

/// What happens at a point before the actor goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Another actor goes on first.
    Switch(usize),
    /// So many microseconds pass.
    Pass(i64),
    /// A write that was under way arrives: which of those that are.
    Arrive(usize),
    /// The actor's operation fails.
    Fail(Failure),
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing is done, and an error comes back.
    Error,
    /// It is done, and an error comes back.
    Lost,
    /// An error comes back, and it is done at some later time.
    Late,
    /// The actor dies before it is done.
    Kill,
    /// The actor dies when it was done.
    KillDone,
    /// The actor dies, and it is done at some later time.
    KillLate,
}

/// What kind of operation an actor is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Local,
}

/// What decides.
pub(super) enum Director {
    /// By chance.
    Random { random: Random, rates: Rates },
    /// The actor of the highest priority goes on; at a few steps the one that is at work loses its
    /// own.
    Priorities {
        random: Random,
        rates: Rates,
        priorities: Vec<i64>,
        changes: Vec<u32>,
        /// Whether only writes are counted: who sleeps right before one does most harm.
        by_writes: bool,
    },
    /// A few actors fall asleep right before one of their first writes, and everybody else goes on
    /// until it is asleep or has ended. So long undisturbed pieces meet, as rules are broken: two
    /// sleep, and a third does all of its work in between.
    Naps { random: Random, rates: Rates, naps: Vec<(usize, u32)>, writes: [u32; ACTORS] },
    /// As it was noted.
    Script(HashMap<Point, Vec<Turn>>),
    /// As a story tells it: each cue once, when its actor is about to do what it says.
    Cues(Vec<Cue>),
}

/// What happens when an actor comes to something, told in words, so that it stays true when
/// operations are added.
#[derive(Clone, Debug)]
pub(super) struct Cue {
    pub(super) actor: usize,
    /// Part of what the story calls the operation.
    pub(super) at: &'static str,
    pub(super) turn: Turn,
}

/// How often something happens, in thousandths of all points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) switch: usize,
    pub(super) fail: usize,
    pub(super) pass: usize,
}

struct Actor {
    name: String,
    points: u32,
    /// Whether it is about to change a store.
    writing: bool,
    done: bool,
    dead: bool,
}

type Late = (String, Box<dyn FnOnce() + Send>);

struct Inner {
    director: Director,
    actors: Vec<Actor>,
    current: usize,
    /// Writes under way whose senders heard of an error, or died.
    late: Vec<Late>,
    taken: Vec<(Point, Turn)>,
    points: Vec<Point>,
    steps: u32,
    writes: u32,
    time: i64,
    story: Option<Vec<String>>,
    violation: Option<String>,
}

/// The stage of one run.
pub(super) struct Schedule {
    inner: Mutex<Inner>,
    wake: [Condvar; ACTORS],
}

/// A point, as the director sees it.
struct View<'a> {
    at: Point,
    kind: Option<Kind>,
    what: &'a str,
    runnable: &'a [usize],
    late: usize,
    step: u32,
    writes: u32,
}

impl Director {
    /// A director that is made from a seed: by chance alone, by priorities, or by naps.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut pick = |of: &[usize]| of[random.below(of.len())];
        let rates = Rates {
            switch: pick(&[10, 40, 100, 300, 600]),
            fail: pick(&[0, 0, 0, 4, 12]),
            pass: pick(&[0, 3, 10, 30]),
        };
        let kind = pick(&[0, 0, 1, 1, 2]);
        if kind == 0 {
            return Self::Random { random, rates };
        }
        if kind == 2 {
            let rates = Rates { fail: if rates.fail > 4 { 4 } else { 0 }, ..rates };
            let count = pick(&[1, 2, 2, 3]);
            let naps = (0..count)
                .map(|_| (random.below(4), u32::try_from(1 + random.below(10)).unwrap()))
                .collect();
            return Self::Naps { random, rates, naps, writes: [0; ACTORS] };
        }
        let depth = pick(&[1, 2, 3, 5]);
        let by_writes = pick(&[0, 1]) == 1;
        let length = if by_writes { pick(&[15, 40, 90]) } else { pick(&[100, 300, 900]) };
        let changes =
            (0..depth).map(|_| u32::try_from(random.below(length)).unwrap()).collect::<Vec<_>>();
        let priorities =
            (0..ACTORS).map(|_| i64::try_from(random.below(1 << 20)).unwrap()).collect();
        Self::Priorities { random, rates, priorities, changes, by_writes }
    }

    /// What happens at a point, in the order in which it does.
    fn turns(&mut self, view: &View<'_>) -> Vec<Turn> {
        let mut turns = Vec::new();
        let next = match self {
            Self::Script(script) => return script.get(&view.at).cloned().unwrap_or_default(),
            Self::Cues(cues) => {
                let here = |cue: &Cue| cue.actor == view.at.0 && view.what.contains(cue.at);
                let next = cues.iter().position(here);
                return next.map(|at| cues.remove(at).turn).into_iter().collect();
            }
            Self::Random { random, rates } => {
                accidents(random, *rates, view, &mut turns);
                let ended = !view.runnable.contains(&view.at.0);
                (ended || random.below(1000) < rates.switch)
                    .then(|| view.runnable[random.below(view.runnable.len())])
            }
            Self::Priorities { random, rates, priorities, changes, by_writes } => {
                accidents(random, *rates, view, &mut turns);
                let due = match by_writes {
                    true => view.kind == Some(Kind::Write) && changes.contains(&view.writes),
                    false => changes.contains(&view.step),
                };
                if due && let Some(own) = priorities.get_mut(view.at.0) {
                    *own = -i64::from(view.step);
                }
                view.runnable.iter().copied().max_by_key(|actor| priorities[*actor])
            }
            Self::Naps { random, rates, naps, writes } => {
                accidents(random, *rates, view, &mut turns);
                let me = view.at.0;
                let due = view.kind == Some(Kind::Write)
                    && writes.get_mut(me).is_some_and(|n| {
                        *n += 1;
                        naps.contains(&(me, *n))
                    });
                let others: Vec<usize> =
                    view.runnable.iter().copied().filter(|actor| *actor != me).collect();
                let ended = !view.runnable.contains(&me);
                ((due || ended) && !others.is_empty()).then(|| others[random.below(others.len())])
            }
        };
        let by_itself = default_next(view.at.0, view.runnable);
        turns.extend(next.filter(|next| Some(*next) != by_itself).map(Turn::Switch));
        turns
    }
}

/// Who goes on unless it is decided otherwise.
fn default_next(me: usize, runnable: &[usize]) -> Option<usize> {
    runnable.iter().copied().find(|actor| *actor == me).or(runnable.first().copied())
}

fn accidents(random: &mut Random, rates: Rates, view: &View<'_>, turns: &mut Vec<Turn>) {
    const SECOND: i64 = 1_000_000;
    if random.below(1000) < rates.pass {
        let spans = [1, 60, 11 * 60, 61 * 60, 25 * 3600, 8 * 24 * 3600];
        turns.push(Turn::Pass(spans[random.below(spans.len())] * SECOND));
    }
    if view.late > 0 && random.below(1000) < 30 {
        turns.push(Turn::Arrive(random.below(view.late)));
    }
    if let Some(kind) = view.kind
        && random.below(1000) < rates.fail
    {
        use Failure::{Error, Kill, KillDone, KillLate, Late, Lost};
        let failures: &[Failure] = match kind {
            Kind::Read => &[Error, Kill],
            Kind::Write => &[Error, Lost, Late, Kill, KillDone, KillLate],
            Kind::Local => &[Kill],
        };
        turns.push(Turn::Fail(failures[random.below(failures.len())]));
    }
}

impl Schedule {
    pub(super) fn new(director: Director, tell: bool) -> Self {
        let inner = Inner {
            director,
            actors: Vec::new(),
            current: usize::MAX,
            late: Vec::new(),
            taken: Vec::new(),
            points: Vec::new(),
            steps: 0,
            writes: 0,
            time: BEGIN,
            story: tell.then(Vec::new),
            violation: None,
        };
        Self { inner: Mutex::new(inner), wake: [const { Condvar::new() }; ACTORS] }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an actor, who may be at work already when this returns no more.
    pub(super) fn join(&self, name: &str) -> usize {
        let mut inner = self.lock();
        assert!(inner.actors.len() < ACTORS, "too many actors");
        let name = name.to_owned();
        inner.actors.push(Actor { name, points: 0, writing: false, done: false, dead: false });
        inner.actors.len() - 1
    }

    /// The first actor goes on.
    pub(super) fn begin(&self) {
        self.hand_over(PROLOGUE);
    }

    /// Waits for the first turn.
    pub(super) fn enter(&self, me: usize) {
        let mut inner = self.lock();
        while inner.current != me {
            inner = self.wake[me].wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An actor is about to do something. Returns how that fails, if it does.
    pub(super) fn point(&self, me: usize, what: &str, kind: Kind) -> Option<Failure> {
        let mut inner = self.lock();
        if inner.violation.is_some() || inner.actors[me].dead {
            return Some(Failure::Kill);
        }
        inner.steps += 1;
        inner.writes += u32::from(kind == Kind::Write);
        if inner.steps > STEPS {
            inner.violation = Some(format!("{STEPS} steps are not enough"));
            return Some(Failure::Kill);
        }
        // Time never stands still, so that no two objects are of one moment.
        inner.time += 1;
        inner.actors[me].points += 1;
        inner.actors[me].writing = kind == Kind::Write;
        let at = (me, inner.actors[me].points);
        inner.points.push(at);
        let turns = inner.turns(at, Some(kind), what);
        let mut failure = None;
        for turn in turns {
            match turn {
                Turn::Pass(micros) => inner.pass(micros),
                Turn::Arrive(which) => inner = self.arrive(inner, which),
                Turn::Fail(how) => failure = Some(how),
                Turn::Switch(to) => {
                    if inner.actors.get(to).is_none_or(|a| a.done) {
                        continue;
                    }
                    inner.current = to;
                    self.wake[to].notify_one();
                    while inner.current != me {
                        inner = self.wake[me].wait(inner).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
        }
        inner.actors[me].writing = false;
        if inner.violation.is_some() {
            return Some(Failure::Kill);
        }
        if matches!(failure, Some(Failure::Kill | Failure::KillDone | Failure::KillLate)) {
            inner.actors[me].dead = true;
        }
        let how = failure.map_or(String::new(), |how| format!("   ({})", describe(how)));
        inner.tell(me, &format!("{what}{how}"));
        failure
    }

    /// An actor has come to its end.
    pub(super) fn leave(&self, me: usize) {
        let mut inner = self.lock();
        inner.actors[me].done = true;
        inner.actors[me].points += 1;
        let at = (me, inner.actors[me].points);
        drop(inner);
        self.hand_over(at);
    }

    fn hand_over(&self, at: Point) {
        let mut inner = self.lock();
        let turns = inner.turns(at, None, if at == PROLOGUE { "" } else { "leaves" });
        let runnable = inner.runnable();
        let mut next = default_next(at.0, &runnable);
        for turn in turns {
            match turn {
                Turn::Switch(to) if runnable.contains(&to) => next = Some(to),
                Turn::Pass(micros) => inner.pass(micros),
                Turn::Arrive(which) => inner = self.arrive(inner, which),
                Turn::Switch(_) | Turn::Fail(_) => {}
            }
        }
        if let Some(next) = next {
            inner.current = next;
            self.wake[next].notify_one();
        }
    }

    /// A write will happen later.
    pub(super) fn later(&self, what: String, write: Box<dyn FnOnce() + Send>) {
        self.lock().late.push((what, write));
    }

    fn arrive<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        which: usize,
    ) -> MutexGuard<'s, Inner> {
        if which >= inner.late.len() {
            return inner;
        }
        let (what, write) = inner.late.remove(which);
        inner.tell_all(&format!("(late) {what}"));
        // Whoever is at its point has the stage to itself.
        drop(inner);
        write();
        self.lock()
    }

    /// All writes that are under way arrive.
    pub(super) fn settle(&self) {
        loop {
            let inner = self.lock();
            if inner.late.is_empty() {
                return;
            }
            drop(self.arrive(inner, 0));
        }
    }

    /// Something is wrong: the run ends.
    pub(super) fn violated(&self, what: String) {
        let mut inner = self.lock();
        inner.tell_all(&format!("VIOLATION: {what}"));
        inner.violation.get_or_insert(what);
    }

    pub(super) fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    pub(super) fn is_dead(&self, me: usize) -> bool {
        let inner = self.lock();
        inner.actors[me].dead || inner.violation.is_some()
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.lock().time)
    }

    pub(super) fn pass(&self, micros: i64) {
        self.lock().time += micros;
    }

    pub(super) fn steps(&self) -> u32 {
        self.lock().steps
    }

    /// Notes something for the story.
    pub(super) fn tell(&self, me: usize, what: &str) {
        self.lock().tell(me, what);
    }

    /// The turns that were taken, the story if it was to be told, and all points.
    pub(super) fn end(&self) -> (Vec<(Point, Turn)>, Vec<String>, Vec<Point>) {
        let mut inner = self.lock();
        let (taken, points) = (std::mem::take(&mut inner.taken), std::mem::take(&mut inner.points));
        (taken, inner.story.take().unwrap_or_default(), points)
    }
}

impl Inner {
    fn runnable(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|i| !self.actors[*i].done).collect()
    }

    fn turns(&mut self, at: Point, kind: Option<Kind>, what: &str) -> Vec<Turn> {
        let runnable = self.runnable();
        if runnable.is_empty() {
            return Vec::new();
        }
        let (late, step, writes) = (self.late.len(), self.steps, self.writes);
        let turns =
            self.director.turns(&View { at, kind, what, runnable: &runnable, late, step, writes });
        self.taken.extend(turns.iter().map(|turn| (at, *turn)));
        turns
    }

    fn pass(&mut self, micros: i64) {
        // No request takes a week: that is what the grace period of parts relies on.
        let under_way = !self.late.is_empty() || self.actors.iter().any(|a| a.writing && !a.done);
        let micros = if under_way { micros.min(HOUR) } else { micros };
        self.time += micros;
        self.tell_all(&format!("{} s pass", micros / 1_000_000));
    }

    fn tell(&mut self, me: usize, what: &str) {
        let name = self.actors[me].name.clone();
        self.tell_all(&format!("{name}: {what}"));
    }

    fn tell_all(&mut self, what: &str) {
        let step = self.steps;
        if let Some(story) = &mut self.story {
            story.push(format!("{step:5} {what}"));
        }
    }
}

const fn describe(how: Failure) -> &'static str {
    match how {
        Failure::Error => "an error, not done",
        Failure::Lost => "done, but the answer is an error",
        Failure::Late => "an error, done later",
        Failure::Kill => "killed before it",
        Failure::KillDone => "killed after it",
        Failure::KillLate => "killed, done later",
    }
}
