//! Repair a history: find out what is damaged, say which commits remain restorable and which are
//! lost, and make the best of it.
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
//! With the live database at hand its present state becomes a commit, a base if pages of the newest
//! commit are lost, so the history goes on whole from there.
//!
//! First a [`RepairPlan`] is made, which says all of that and changes nothing (`plan`); then it may
//! be applied (`apply`).
//!
//! Invariants:
//! - The smallest explanation counts, and the newest suspect is to blame first: nothing expires
//!   that can be read in another way.
//! - What is lost is published before anything moves, as ranges; with it the next number is fixed.
//!   So whoever dies in between, or whatever backup comes first, numbers of lost commits name
//!   nothing else, and the next repair comes to the same end.
//! - A history of which nothing is left is told of by every machine; the one that repaired it
//!   knows.
//! - Nothing is deleted: what goes to the quarantine is copied there, and then removed from its
//!   place.
//! - What a newer version wrote is not understood, and stays where it is.
//! - Without `apply` nothing is changed, here or there.

mod apply;
mod marks;
mod plan;
mod report;

use std::path::Path;

use crate::error::Result;
pub use crate::format::names::QUARANTINE;
use crate::progress::Monitor;
use crate::repo::history::handle::History;

pub use plan::RepairPlan;
pub use report::{Action, Fault, RepairOptions, RepairReport};

impl History {
    /// Repairs a history, or says how. `database` is the live database, if it is there.
    ///
    /// # Errors
    /// Store errors; [`crate::ErrorKind::TooNew`] when a newer version wrote to the history: that
    /// one has to repair it; [`crate::ErrorKind::Damaged`] when the history went backwards, or when
    /// what has the name of a segment is no file; [`crate::ErrorKind::Busy`] when a process of this
    /// machine writes to the history.
    ///
    /// # Durability
    /// When this returns, what was done is durable.
    pub fn repair(
        &self,
        database: Option<&Path>,
        options: &RepairOptions,
        monitor: &dyn Monitor,
    ) -> Result<RepairReport> {
        let plan = self.plan_repair(options, monitor)?;
        let mut report = plan.report.clone();
        if options.apply {
            report.healed = plan.apply(database, options, monitor)?;
            report.restorable.extend(report.healed);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
