//! Which commits of a history stay restorable, and why.
//!
//! Pure: the present time and the time zone are arguments, and nothing is deleted here.
//!
//! Invariants:
//! - Every point is either kept, with a reason, or dropped; the newest is always kept.
//! - A rule looks at the points alone, and none takes from another: a point stays if any rule keeps
//!   it. A more generous rule therefore keeps what the rule before kept. Only what the floor adds
//!   depends on what the other rules keep.
//! - Planning again on what was kept drops nothing. While the clock goes forward only, and but for
//!   the floor, pruning often keeps exactly what pruning once at the end would: a rule that keeps a
//!   point in the end kept it all along.
//! - Order is by sequence number, as in a restore; times only say which window or period a point
//!   belongs to. A clock that jumped may have given later commits earlier times.
//! - In doubt a point is kept: when it is dated in the future, or beyond the calendar.
//!
//! Deliberately absent: doubt about the present time. Under a clock that runs years ahead, windows
//! and spans are over, and only counts, the floor and pins keep anything; whoever deletes has to
//! look at the clock first.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{Local, TimeDelta, TimeZone, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::policy::calendar::{Period, Unit, WallTime};
use crate::remedy::{Remedy, advice};
use crate::types::{Seq, Timestamp};

pub use crate::policy::calendar::{Zone, zone};

/// A commit as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its number.
    pub seq: Seq,
    /// The time that its writer's clock gave it.
    pub time: Timestamp,
}

/// How many periods of one length keep their last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Periods {
    /// The newest so many that have a commit; those without one do not count.
    Count(u32),
    /// All that overlap a span of time that ends now.
    Span(TimeDelta),
}

/// What to keep. The default keeps nothing and is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Any moment of so much time until now stays restorable.
    pub window: Option<TimeDelta>,
    /// The newest so many commits.
    pub last: u32,
    /// The last commit of each hour.
    pub hourly: Option<Periods>,
    /// The last commit of each day.
    pub daily: Option<Periods>,
    /// The last commit of each ISO week.
    pub weekly: Option<Periods>,
    /// The last commit of each month.
    pub monthly: Option<Periods>,
    /// The last commit of each year.
    pub yearly: Option<Periods>,
    /// Never fewer commits than this; 0 is as good as 1.
    pub floor: u32,
}

/// Why a commit is kept; [`Kept::reasons`] has them in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// It is the newest of all.
    Newest,
    /// It is one of the last N.
    Last,
    /// It lies in the point-in-time window.
    Window,
    /// It is what the database was when the window began.
    WindowEdge,
    /// It is the last of its hour.
    Hourly,
    /// It is the last of its day.
    Daily,
    /// It is the last of its ISO week.
    Weekly,
    /// It is the last of its month.
    Monthly,
    /// It is the last of its year.
    Yearly,
    /// Something outside the policy keeps it; the text says what.
    Pinned(String),
    /// It is dated later than the present time.
    Future,
    /// Its time is no date.
    Undated,
    /// Fewer than the floor would be left without it.
    Floor,
}

impl Reason {
    /// A stable lower-case name, as `--json` prints it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Last => "last",
            Self::Window => "window",
            Self::WindowEdge => "window-edge",
            Self::Hourly => Unit::Hour.names().1,
            Self::Daily => Unit::Day.names().1,
            Self::Weekly => Unit::Week.names().1,
            Self::Monthly => Unit::Month.names().1,
            Self::Yearly => Unit::Year.names().1,
            Self::Pinned(_) => "pinned",
            Self::Future => "future",
            Self::Undated => "undated",
            Self::Floor => "floor",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Newest => "the newest commit",
            Self::Last => "one of the last commits",
            Self::Window => "in the point-in-time window",
            Self::WindowEdge => "the state when the window began",
            Self::Hourly => "the last of its hour",
            Self::Daily => "the last of its day",
            Self::Weekly => "the last of its week",
            Self::Monthly => "the last of its month",
            Self::Yearly => "the last of its year",
            Self::Pinned(text) if text.is_empty() => "pinned",
            Self::Pinned(text) => text,
            Self::Future => "its time is in the future",
            Self::Undated => "its time is beyond the calendar",
            Self::Floor => "needed for the least number of commits",
        })
    }
}

/// A commit that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: Seq,
    /// Its time.
    pub time: Timestamp,
    /// Every reason that applies, at least one, in the order of [`Reason`].
    pub reasons: Vec<Reason>,
}

/// What stays and what goes, both ascending by sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What stays restorable.
    pub kept: Vec<Kept>,
    /// What nothing keeps.
    pub dropped: Vec<Point>,
}

impl Plan {
    /// Keeps what a plan for some of the same points keeps, too.
    pub(crate) fn with(mut self, other: Self) -> Self {
        let mut others = other.kept.into_iter().peekable();
        let mut also = Vec::new();
        self.dropped.retain(|point| {
            while others.next_if(|kept| kept.seq < point.seq).is_some() {}
            let kept = others.next_if(|kept| kept.seq == point.seq);
            let is_dropped = kept.is_none();
            also.extend(kept);
            is_dropped
        });
        self.kept.extend(also);
        self.kept.sort_by_key(|kept| kept.seq);
        self
    }
}

/// A point on its way to a decision.
struct Fate {
    point: Point,
    /// `None` beyond the calendar.
    wall: Option<WallTime>,
    reasons: Vec<Reason>,
}

impl Policy {
    /// Whether no rule keeps anything; the floor is no rule.
    pub fn is_empty(&self) -> bool {
        self.window.is_none() && self.last == 0 && self.rules().iter().all(|r| r.1.is_none())
    }

    /// Decides about all commits of a history, `points`, ascending by number. `pinned` commits are
    /// kept for the reasons given with them; `zone` is whose hours, days, weeks, months and years
    /// are meant.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the policy is empty; [`ErrorKind::Usage`] when a rule makes no
    /// sense, or the points are not ascending.
    pub fn plan<Z: TimeZone>(
        &self,
        points: &[Point],
        pinned: &BTreeMap<Seq, Vec<String>>,
        now: Timestamp,
        zone: &Z,
    ) -> Result<Plan> {
        self.check()?;
        if self.is_empty() {
            return Err(Error::new(ErrorKind::Refused, "has no rule, and so would keep nothing")
                .with_object("retention policy")
                .with_hint(advice!["say what to keep, for example ", Remedy::SayPolicy]));
        }
        // A commit out of order would be taken for the last of something in place of the one that
        // is.
        if !points.is_sorted_by(|a, b| a.seq < b.seq) {
            return Err(Error::new(ErrorKind::Usage, "are not ascending by number")
                .with_object("the commits given to a retention policy"));
        }
        let mut fates: Vec<Fate> = points
            .iter()
            .map(|p| Fate { point: *p, wall: WallTime::of(p.time, zone), reasons: Vec::new() })
            .collect();

        // In the order of `Reason`.
        fates.iter_mut().rev().take(1).for_each(|f| f.reasons.push(Reason::Newest));
        fates.iter_mut().rev().take(self.last as usize).for_each(|f| f.reasons.push(Reason::Last));
        if let Some(window) = self.window {
            keep_window(&mut fates, before(now, window), now);
        }
        for (unit, periods, reason) in self.rules() {
            if let Some(periods) = periods {
                keep_last_of_each(&mut fates, unit, periods, &reason, now, zone);
            }
        }
        keep_pinned(&mut fates, pinned);
        for fate in &mut fates {
            if fate.point.time > now {
                fate.reasons.push(Reason::Future);
            }
            if fate.wall.is_none() {
                fate.reasons.push(Reason::Undated);
            }
        }
        let kept = fates.iter().filter(|f| !f.reasons.is_empty()).count();
        let missing = (self.floor as usize).saturating_sub(kept);
        let others = fates.iter_mut().rev().filter(|f| f.reasons.is_empty());
        others.take(missing).for_each(|f| f.reasons.push(Reason::Floor));

        let mut plan = Plan::default();
        for Fate { point, reasons, .. } in fates {
            if reasons.is_empty() {
                plan.dropped.push(point);
            } else {
                plan.kept.push(Kept { seq: point.seq, time: point.time, reasons });
            }
        }
        Ok(plan)
    }

    /// The rules about periods.
    fn rules(&self) -> [(Unit, Option<Periods>, Reason); 5] {
        [
            (Unit::Hour, self.hourly, Reason::Hourly),
            (Unit::Day, self.daily, Reason::Daily),
            (Unit::Week, self.weekly, Reason::Weekly),
            (Unit::Month, self.monthly, Reason::Monthly),
            (Unit::Year, self.yearly, Reason::Yearly),
        ]
    }

    /// Refuses rules that can keep nothing: somebody meant something else by them.
    pub(super) fn check(&self) -> Result<()> {
        let bad = |rule: &str, why: String| {
            Err(Error::new(ErrorKind::Usage, why).with_object(format!("keep-{rule}")))
        };
        if self.window.is_some_and(|window| window <= TimeDelta::zero()) {
            return bad("window", "has to be longer than nothing".to_owned());
        }
        for (unit, periods, _) in self.rules() {
            let (name, rule) = unit.names();
            match periods {
                Some(Periods::Count(0)) => {
                    return bad(rule, "counts from 1; leave the rule out to keep none".to_owned());
                }
                // `keep-monthly 6m` is six minutes: it would keep one month where six were meant.
                Some(Periods::Span(span)) if span < unit.shortest() => {
                    return bad(
                        rule,
                        format!("covers less than one {name}; m is minutes, mo months"),
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Zone {
    /// [`Policy::plan`] on the clocks of this zone.
    ///
    /// # Errors
    /// As there.
    pub fn plan(
        &self,
        policy: &Policy,
        points: &[Point],
        pinned: &BTreeMap<Seq, Vec<String>>,
        now: Timestamp,
    ) -> Result<Plan> {
        match self {
            Self::Local => policy.plan(points, pinned, now, &Local),
            Self::Utc => policy.plan(points, pinned, now, &Utc),
            Self::Named(tz) => policy.plan(points, pinned, now, tz),
            Self::Fixed(offset) => policy.plan(points, pinned, now, offset),
        }
    }
}

/// The moment so long before another. Spans of more than 292000 years reach back to the first
/// moment there is.
fn before(now: Timestamp, span: TimeDelta) -> Timestamp {
    Timestamp(now.0.saturating_sub(span.num_microseconds().unwrap_or(i64::MAX)))
}

fn keep_window(fates: &mut [Fate], begin: Timestamp, now: Timestamp) {
    let inside = fates.iter_mut().filter(|f| begin < f.point.time && f.point.time <= now);
    inside.for_each(|f| f.reasons.push(Reason::Window));
    // Until the first commit inside, the moments of the window are answered by the last one before
    // it.
    let edge = fates.iter_mut().rev().find(|f| f.point.time <= begin);
    edge.into_iter().for_each(|f| f.reasons.push(Reason::WindowEdge));
}

fn keep_last_of_each<Z: TimeZone>(
    fates: &mut [Fate],
    unit: Unit,
    periods: Periods,
    reason: &Reason,
    now: Timestamp,
    zone: &Z,
) {
    // Ascending by number, so the last insertion into a period is the last of it. Points dated in
    // the future are kept anyway, and must not use up a count: one jump of the clock would push
    // every real period out.
    let mut last = BTreeMap::new();
    for fate in fates.iter_mut().filter(|f| f.point.time <= now) {
        if let Some(wall) = fate.wall {
            last.insert(unit.period(wall), fate);
        }
    }
    match periods {
        Periods::Count(n) => {
            let newest = last.into_values().rev().take(n as usize);
            newest.for_each(|f| f.reasons.push(reason.clone()));
        }
        Periods::Span(span) => {
            // The first moment of the span, whose beginning itself is outside.
            let first = Timestamp(before(now, span).0.saturating_add(1));
            let from = match WallTime::of(first, zone) {
                Some(wall) => unit.period(wall),
                None if first < Timestamp(0) => Period::BEFORE_ALL,
                None => return,
            };
            let overlapping = last.into_iter().filter(|(period, _)| *period >= from);
            overlapping.for_each(|(_, f)| f.reasons.push(reason.clone()));
        }
    }
}

fn keep_pinned(fates: &mut [Fate], pinned: &BTreeMap<Seq, Vec<String>>) {
    for (seq, texts) in pinned {
        let found = fates.binary_search_by_key(seq, |f| f.point.seq).ok();
        let Some(fate) = found.and_then(|at| fates.get_mut(at)) else { continue };
        fate.reasons.extend(texts.iter().cloned().map(Reason::Pinned));
        if texts.is_empty() {
            fate.reasons.push(Reason::Pinned(String::new()));
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
