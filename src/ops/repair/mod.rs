//! Repair a history: find out what is damaged, say which commits remain restorable and which are lost, and make the best of it.
//!
//! | what is damaged | what is done |
//! |---|---|
//! | a label, a hold, a proof, a claim, an expiry, an announced one | it goes to the quarantine |
//! | a head | it goes to the quarantine, once something of a higher term stands behind what it may name |
//! | a copy of the description | the other one is put in its place |
//! | a segment on the way from the newest to the oldest | its commits and those that need it expire; a segment without pages takes its place, so what lies above and below stays |
//! | the newest segments | their commits expire, and they go to the quarantine; the history goes on with higher numbers |
//! | pages within a merged segment, and what it replaced is there still | it goes to the quarantine |
//! | pages within any other segment | the commits that need them expire: nobody is offered what can't be restored |
//! | an object goes on behind its end | what it is read for is written anew |
//! | nobody can have written it | it goes to the quarantine |
//! | what has an object's name is no file | nothing moves it; a segment or a part that is none ends the repair before anything is given up |
//!
//! With the live database at hand its present state becomes a commit, a base if pages of the newest commit are lost, so the
//! history goes on whole from there.
//!
//! First a [`Plan`] is made, which says all of that and changes nothing (`plan`); then it may be applied (`apply`).
//!
//! Invariants:
//! - The smallest explanation counts, and the newest suspect is to blame first: nothing expires that can be read in another way.
//! - What is lost is published before anything moves, as ranges; with it the next number is fixed. So whoever dies in between, or
//!   whatever backup comes first, numbers of lost commits name nothing else, and the next repair comes to the same end.
//! - A history of which nothing is left is told of by every machine; the one that repaired it knows.
//! - Nothing is deleted: what goes to the quarantine is copied there, and then removed from its place.
//! - What a newer version wrote is not understood, and stays where it is.
//! - Without `apply` nothing is changed, here or there.

mod apply;
mod marks;
mod plan;

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::Result;
pub use crate::format::names::QUARANTINE;
use crate::progress::Monitor;
use crate::repo::chain::Problem;
use crate::repo::history::History;
use crate::types::{Clock, Seq};

pub use plan::{Plan, survey};

/// How to repair.
#[derive(Clone, Debug)]
pub struct RepairOptions {
    /// Do it, and not only say what would be done.
    pub apply: bool,
    /// Open every batch; without it, only what holds the history together is looked at.
    pub data: bool,
    /// Go on with a live database that lay elsewhere before.
    pub adopt: bool,
    /// Worker threads.
    pub threads: usize,
    /// What time it is.
    pub clock: Clock,
}

/// Something that is wrong, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// What is done.
    pub action: Action,
}

impl Fault {
    fn of(problem: &Problem, action: Action) -> Self {
        let action = if problem.too_new { Action::Leave } else { action };
        Self { object: problem.object.clone(), message: problem.message.clone(), action }
    }
}

/// What is done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The object goes to the quarantine.
    Quarantine,
    /// The other copy of it is put in its place; what was there goes to the quarantine.
    PutBack,
    /// The commits that need it expire.
    Expire,
    /// The commits that need it expire, and a segment without pages takes its place, so that what lies around it stays.
    Bridge,
    /// What it is read for is written anew.
    Replace,
    /// Nothing: this version does not understand it, or nobody needs it.
    Leave,
}

impl Action {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::PutBack => "put-back",
            Self::Expire => "expire",
            Self::Bridge => "bridge",
            Self::Replace => "replace",
            Self::Leave => "leave",
        }
    }
}

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is not as it was written, and harms nobody.
    pub remarks: Vec<Fault>,
    /// Commits that can be restored.
    pub restorable: BTreeSet<Seq>,
    /// Commits that can be restored now, and not after the repair: of two segments that stand for the same commits, both of them damaged, it
    /// keeps the one of which more is left.
    pub given_up: BTreeSet<Seq>,
    /// First and last numbers of commits that the history had, as far as can be told, and that can't be restored any more.
    pub lost: Vec<(Seq, Seq)>,
    /// Labels and holds of commits that are lost: the commit, and which label or hold.
    pub unmarked: BTreeSet<(Seq, String)>,
    /// Whether this machine has seen newer commits than there are. Then nothing is done before somebody says that this is as it should be.
    pub set_back: bool,
    /// The commit that the live database became.
    pub healed: Option<Seq>,
    /// Whether there was one copy of the description, as older versions leave it. `apply` adds the other.
    pub described_once: bool,
}

impl RepairReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.lost.is_empty()
    }
}

/// Repairs a history, or says how. `database` is the live database, if it is there.
///
/// # Errors
/// Store errors; [`crate::ErrorKind::TooNew`] when a newer version wrote to the history: that one has to repair it;
/// [`crate::ErrorKind::Damaged`] when the history went backwards, or when what has the name of a segment is no file;
/// [`crate::ErrorKind::Busy`] when a process of this machine writes to the history.
///
/// # Durability
/// When this returns, what was done is durable.
pub fn repair(
    history: &History,
    database: Option<&Path>,
    options: &RepairOptions,
    monitor: &dyn Monitor,
) -> Result<RepairReport> {
    let plan = survey(history, options, monitor)?;
    let mut report = plan.report.clone();
    if options.apply {
        report.healed = plan.apply(history, database, options, monitor)?;
        report.restorable.extend(report.healed);
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
