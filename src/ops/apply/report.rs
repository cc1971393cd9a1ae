//! What came of row changes that were applied to a live database.

use std::collections::HashSet;
use std::sync::Arc;

use super::spool::Spool;
use crate::error::Result;
use crate::ops::diff::change::{Named, RowChange};
use crate::ops::diff::run::Take;
use crate::ops::diff::sql::{Write, applied};
use crate::repo::history::labels::Snapshot;
use crate::sqlite::rows::table::Table;
use crate::types::Seq;

/// What to do where a row is not as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing at all is done.
    #[default]
    Stop,
    /// That row is left as it is.
    Skip,
    /// That row becomes what was asked for. A row that another one is in the way of, or a rule of
    /// the table, is a conflict all the same.
    Force,
}

/// Why a row is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The row has other values than it should.
    Changed,
    /// The row is gone.
    Missing,
    /// A row of that key is there.
    Present,
    /// Another row, or a rule of the table, is in its way: this is what SQLite says.
    Constraint(String),
}

impl Reason {
    /// A stable lower-case name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Present => "present",
            Self::Constraint(_) => "constraint",
        }
    }
}

/// A row change that was asked for, and does not go with the row that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// What was asked for: the row as it should have been there, and as it should become.
    pub change: RowChange,
    /// The row of that key, as it is there.
    pub live: Option<Named>,
    /// Why they do not go together.
    pub reason: Reason,
}

/// The conflicts of an application: the first ones, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflicts {
    /// How many there are.
    pub count: u64,
    /// The first ones.
    pub first: Vec<Conflict>,
}

/// How many conflicts are kept.
const KEPT: usize = 1000;

impl Conflicts {
    pub(crate) fn add(&mut self, conflict: Conflict) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(conflict);
        }
    }
}

/// What came of the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedTable {
    /// Its name.
    pub name: Arc<str>,
    /// Rows that came.
    pub inserted: u64,
    /// Rows that have other values.
    pub updated: u64,
    /// Rows that went.
    pub deleted: u64,
    /// Rows that were as they were asked for, without any doing.
    pub already: u64,
    /// Rows that were there, with other values, and were left alone as that was asked for.
    pub differing: u64,
    /// Rows that were left as they are because of a conflict.
    pub skipped: u64,
}

impl AppliedTable {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            inserted: 0,
            updated: 0,
            deleted: 0,
            already: 0,
            differing: 0,
            skipped: 0,
        }
    }

    /// How many of its rows changed.
    pub fn changed(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }
}

/// The commit that an application made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Done {
    /// The label of the state before.
    pub before: Snapshot,
    /// The commit that has the change.
    pub now: Seq,
    /// Whether that commit has nothing but the change; if not, the application committed at the
    /// same time, and nobody followed.
    pub alone: bool,
}

/// What row changes came to that were applied to a live database, or that would be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Applied {
    /// What was committed; `None` if nothing was.
    pub done: Option<Done>,
    /// The commit that has what was there, where that was captured and then nothing was done.
    pub captured: Option<Seq>,
    /// The tables with rows that were asked for, by name.
    pub tables: Vec<AppliedTable>,
    /// Rows that are not as they should be.
    pub conflicts: Conflicts,
    /// Whether conflicts were a reason to do nothing.
    pub stopped: bool,
    /// Full-text indexes without texts of their own that were built anew, since a table that they
    /// are about changed.
    pub rebuilt: Vec<String>,
    /// Triggers of the changed tables, which did not run.
    pub silent: Vec<String>,
    /// What could not be compared or checked, and why: in words.
    pub left: Vec<String>,
    /// Indexes, triggers and views that the commits made, dropped or redefined, and that stay: in
    /// words.
    pub notes: Vec<String>,
    pub(super) deeds: Spool,
    /// The numbers of deeds that could not be done.
    pub(super) skipped: HashSet<u64>,
    pub(super) definitions: Vec<Table>,
}

impl Applied {
    pub(crate) fn nothing(tables: Vec<AppliedTable>) -> Self {
        Self {
            done: None,
            captured: None,
            tables,
            conflicts: Conflicts::default(),
            stopped: false,
            rebuilt: Vec::new(),
            silent: Vec::new(),
            left: Vec::new(),
            notes: Vec::new(),
            deeds: Spool::new(&[]),
            skipped: HashSet::new(),
            definitions: Vec::new(),
        }
    }

    /// No row is changed after all.
    pub(super) fn leave(&mut self) {
        for told in &mut self.tables {
            (told.inserted, told.updated, told.deleted) = (0, 0, 0);
        }
        self.deeds = Spool::new(&[]);
    }

    /// How many rows changed, or would.
    pub fn changed(&self) -> u64 {
        self.tables.iter().map(AppliedTable::changed).sum()
    }

    /// Gives every row that changed, or would: as it was and as it is after.
    ///
    /// # Errors
    /// When the temporary file with them can't be read; what `take` answers.
    pub fn rows(&mut self, take: Take<'_>) -> Result<()> {
        let Self { deeds, skipped, .. } = self;
        deeds.read(&mut |number, entry| match skipped.contains(&number) {
            true => Ok(()),
            false => take(entry.change),
        })
    }

    /// Writes the same as SQL, as one transaction. `write` gets statements. Triggers are not kept
    /// from running by it.
    ///
    /// # Errors
    /// As [`Applied::rows`].
    pub fn sql(&mut self, write: Write<'_>) -> Result<()> {
        let Self { deeds, skipped, definitions, rebuilt, silent, .. } = self;
        if !silent.is_empty() {
            let names = silent.join(", ").replace(|c: char| c.is_control(), " ");
            write(&format!(
                "-- in the sqlite3 shell `.dbconfig enable_trigger off` keeps these triggers from running: {names}"
            ))?;
        }
        applied(definitions, rebuilt, write, &mut |take| {
            deeds.read(&mut |number, entry| match skipped.contains(&number) {
                true => Ok(()),
                false => take(entry.table, &entry.change),
            })
        })
    }
}
