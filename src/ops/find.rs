//! Finds the restore point at which the answer of a question changed, by bisection.
//!
//! Invariants:
//! - What is found are two neighbouring restore points, and both were asked.
//! - Asked are both ends, and then no more than `ceil(log2(n))` of `n` restore points.
//! - Where the answer changes more than once, one of the changes is found: between the two the
//!   answer ceases to be what it is at the first end ([`Goal::First`]), begins to be what it is at
//!   the last one ([`Goal::Last`]), or begins to be true ([`Goal::True`]).

use std::sync::Arc;
use std::time::Duration;

use derive_setters::Setters;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::{Points, RestorePoint};
use crate::ops::question::{Answer, Question, Reply, stoppable, unanswered};
use crate::ops::select::select;
use crate::ops::view::ViewOptions;
use crate::policy::selector::Selector;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::history::handle::History;
use crate::types::Seq;

/// Which change is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Goal {
    /// The answer ceases to be what it is at the first restore point. It is the very first change
    /// if the answer, once it is another one, does not come back to that.
    #[default]
    First,
    /// The answer becomes what it is at the last restore point. It is the very last change if the
    /// answer was never that before.
    Last,
    /// The first value of the answer becomes a number other than zero. It is the first time if it
    /// stays so from then on.
    True,
}

/// What to look for, and where.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct FindOptions {
    /// Which change.
    pub goal: Goal,
    /// The restore point to begin at; `None` for the oldest.
    pub from: Option<Seq>,
    /// The restore point to end at; `None` for the newest.
    pub to: Option<Seq>,
    /// How long a statement may take; `None` for as long as it takes.
    pub timeout: Option<Duration>,
    /// How to look into restore points.
    pub view: ViewOptions,
}

impl Default for FindOptions {
    fn default() -> Self {
        let timeout = Some(Duration::from_secs(60));
        Self { goal: Goal::First, from: None, to: None, timeout, view: ViewOptions::default() }
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Search {
    /// The answer at the restore point that the search began at.
    pub from: Reply,
    /// The answer at the restore point that it ended at.
    pub to: Reply,
    /// The change; `None` if both ends have the same answer, or nothing is true at the last one.
    pub turn: Option<Turn>,
    /// How many restore points there are between the ends, both included.
    pub restore_points: u64,
    /// How many of them were asked.
    pub asked: u64,
}

/// A change of an answer: two neighbouring restore points.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// The last one before the change; `None` if it is true from the beginning.
    pub before: Option<Reply>,
    /// The first one after it.
    pub after: Reply,
}

impl History {
    /// Finds the restore point at which the answer of a question changed. `told` hears each answer
    /// as it comes.
    ///
    /// The question is any SQL that only reads. Its answer are all rows, in their order. A table or
    /// a column that is not there is an answer, too.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for SQL that can't run, and for ends in the wrong order;
    /// [`ErrorKind::Refused`] for SQL that does not only read; [`ErrorKind::NotFound`] when there
    /// are no restore points, or one was pruned meanwhile; [`ErrorKind::Damaged`] naming the object
    /// when a page can't be read; [`ErrorKind::Interrupted`]; store errors.
    pub fn find_change(
        &self,
        sql: &str,
        options: &FindOptions,
        monitor: &dyn Monitor,
        told: &mut dyn FnMut(&Reply),
    ) -> Result<Search> {
        let points = self.between(options.from, options.to)?;
        stoppable(monitor, |stop| {
            let question =
                Question { sql, view: options.view, timeout: options.timeout, stop: stop.clone() };
            let mut asked = 0;
            let mut ask = |point: &RestorePoint| {
                check_cancelled(monitor)?;
                asked += 1;
                let reply = question.ask(point)?;
                told(&reply);
                Ok(reply)
            };
            let Some((first, last)) = points.get(0).zip(points.last()) else {
                return Err(nothing(self));
            };
            let from = ask(&first)?;
            let to = if points.len() > 1 { ask(&last)? } else { from.clone() };
            let turn = search(&points, options.goal, (&from, &to), &mut ask)?;
            let restore_points = u64::try_from(points.len()).unwrap_or(u64::MAX);
            Ok(Search { from, to, turn, restore_points, asked })
        })
    }

    /// The restore points between two of them, both included.
    pub(super) fn between(&self, from: Option<Seq>, to: Option<Seq>) -> Result<Points> {
        let chain = Arc::new(self.readable_chain()?);
        // A number that names none is an error, and not a neighbour of it.
        for seq in from.into_iter().chain(to) {
            select(self, &chain, &Selector::Seq(seq))?;
        }
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            let what = format!("seq:{from} is later than seq:{to}, and comes first");
            return Err(Error::new(ErrorKind::Usage, what)
                .with_object(format!("history {:?}", self.name()))
                .with_hint("name the earlier one as the beginning"));
        }
        Ok(Points::between(self, chain, from, to))
    }
}

/// The error of a history without restore points.
pub(super) fn nothing(history: &History) -> Error {
    Error::new(ErrorKind::NotFound, "has no commits yet")
        .with_object(format!("history {:?}", history.name()))
}

/// Bisects: the change lies between the ends.
fn search(
    points: &Points,
    goal: Goal,
    (from, to): (&Reply, &Reply),
    ask: &mut dyn FnMut(&RestorePoint) -> Result<Reply>,
) -> Result<Option<Turn>> {
    if let (Answer::Nothing(said), Answer::Nothing(again)) = (&from.answer, &to.answer)
        && said == again
    {
        return Err(unanswered(said));
    }
    // Whether an answer lies behind the change.
    let is_after = |answer: &Answer| match goal {
        Goal::First => *answer != from.answer,
        Goal::Last => *answer == to.answer,
        Goal::True => answer.is_true(),
    };
    match (is_after(&from.answer), is_after(&to.answer)) {
        (_, false) => return Ok(None),
        (true, true) if goal == Goal::True => {
            return Ok(Some(Turn { before: None, after: from.clone() }));
        }
        (true, true) => return Ok(None),
        (false, true) => {}
    }
    let (mut low, mut high) = (0, points.len().saturating_sub(1));
    let (mut before, mut after) = (from.clone(), to.clone());
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        let Some(point) = points.get(middle) else { break };
        let reply = ask(&point)?;
        if is_after(&reply.answer) {
            (high, after) = (middle, reply);
        } else {
            (low, before) = (middle, reply);
        }
    }
    Ok(Some(Turn { before: Some(before), after }))
}
