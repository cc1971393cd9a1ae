//! Every version of a row along a history, found by the pages that it is on.
//!
//! SQLite is asked for the row at the newest commit, and the pages are noted that it read for that:
//! those of the schema, those that lead to the row, and those that the row is on. As long as none
//! of them was written, the answer is the same. So the next commit to ask is the one before the
//! newest commit that wrote one of them. A row that is not there has such pages, too: those that
//! lead to where it would be.
//!
//! | of these pages | then |
//! |---|---|
//! | none was written since a commit | that commit has the same answer, and is not looked at |
//! | some were written, and have the same content | the answer is the same, and SQLite is not asked |
//! | others than those of the schema differ | SQLite is asked by the same connection |
//! | those of the schema differ | the database is opened anew, and the table is looked up again |
//!
//! Invariant: the versions are those that asking every restore point would give. A version belongs
//! to the oldest restore point that has it.

mod ask;
mod key;
mod past;

use std::sync::Arc;

use derive_setters::Setters;

use self::ask::{Asker, Row};
use self::past::Past;
pub use key::KeyValue;

use crate::count::number;
use crate::error::Result;
use crate::ops::diff::change::{Named, Operation, RowChange};
use crate::ops::find::nothing;
use crate::ops::point::Points;
use crate::ops::view::ViewOptions;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::history::handle::History;
use crate::sqlite::rows::cell::Cell;
use crate::types::{Seq, Timestamp};

/// Where to look, and for how many versions.
#[derive(Clone, Copy, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct TraceOptions {
    /// The restore point to begin at; `None` for the oldest.
    pub from: Option<Seq>,
    /// The restore point to end at; `None` for the newest.
    pub to: Option<Seq>,
    /// How many versions are wanted, the newest ones; `None` for all.
    pub limit: Option<u64>,
    /// How to look into restore points.
    pub view: ViewOptions,
}

/// A version of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The oldest restore point that has it.
    pub seq: Seq,
    /// When that was captured.
    pub time: Timestamp,
    /// What happened to the row since the restore point before.
    pub change: RowChange,
    /// Whether the row was there at the first restore point that was looked at: it may have come
    /// earlier.
    pub was_there: bool,
}

/// What a trace came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// How many versions were found.
    pub versions: u64,
    /// Whether older ones were not looked for, since there were as many as wanted.
    pub has_more: bool,
    /// How many restore points there are between the ends, both included.
    pub restore_points: u64,
    /// Of how many of them SQLite was asked for the row.
    pub asked: u64,
}

impl History {
    /// Finds every version of a row, by the key of its table: the INTEGER PRIMARY KEY, else the
    /// rowid, else the primary key of a table WITHOUT ROWID. `told` gets the versions as they are
    /// found, the newest first.
    ///
    /// A table that is defined otherwise is the same table if its key has as many columns, and a
    /// column that it does not have counts as NULL.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when no restore point has the table, or there are none, or
    /// one was pruned meanwhile; [`crate::ErrorKind::Usage`] when the key has another number of
    /// values, and for ends in the wrong order; [`crate::ErrorKind::Refused`] for a table whose
    /// rows have no key that could be asked for; [`crate::ErrorKind::NoSpace`] for a row of more
    /// than 16 MiB; [`crate::ErrorKind::Damaged`] naming the object when a page can't be read;
    /// [`crate::ErrorKind::Interrupted`]; store errors; what `told` answers.
    pub fn trace(
        &self,
        table: &str,
        key: &[KeyValue],
        options: &TraceOptions,
        monitor: &dyn Monitor,
        told: &mut dyn FnMut(Version) -> Result<()>,
    ) -> Result<Trace> {
        let points = self.between(options.from, options.to)?;
        let Some(last) = points.last() else { return Err(nothing(self)) };
        let past = Past::new(self, &last.chain, &last.commit)?;
        let mut asker = Asker::new(self, past, (table, key), options.view);
        let mut walk = Walk { points: &points, table: Arc::from(table), told, versions: 0 };
        let mut has_more = false;
        // What is newer, and the oldest restore point that is known to have it.
        let mut newer: Option<(Option<Arc<Row>>, usize)> = None;
        let mut left = points.len();
        while let Some((at, point)) = left.checked_sub(1).and_then(|i| Some((i, points.get(i)?))) {
            check_cancelled(monitor)?;
            let (row, since) = asker.row_at(&point.commit)?;
            if let Some((after, place)) = newer.take().filter(|(after, _)| differ(&row, after)) {
                walk.tell(row.as_deref(), after.as_deref(), place)?;
                if options.limit.is_some_and(|limit| walk.versions >= limit) {
                    has_more = true;
                    break;
                }
            }
            let first = since.map_or(at, |since| points.before(since).min(at));
            newer = Some((row, first));
            left = first;
        }
        if let (false, Some((Some(row), _))) = (has_more, &newer) {
            walk.begin(row)?;
        }
        let asked = asker.asked;
        if !asker.has_met_table && !has_more {
            return Err(asker.unmet());
        }
        let versions = walk.versions;
        Ok(Trace { versions, has_more, restore_points: number(points.len()), asked })
    }
}

/// Tells of versions.
struct Walk<'w> {
    points: &'w Points,
    table: Arc<str>,
    told: &'w mut dyn FnMut(Version) -> Result<()>,
    versions: u64,
}

impl Walk<'_> {
    /// Tells that the row became another one with a restore point.
    fn tell(&mut self, before: Option<&Row>, after: Option<&Row>, place: usize) -> Result<()> {
        let operation = match (before, after) {
            (Some(_), Some(_)) => Operation::Update,
            (None, _) => Operation::Insert,
            (_, None) => Operation::Delete,
        };
        self.version(operation, (before, after), place, false)
    }

    /// Tells that the row was there at the first restore point.
    fn begin(&mut self, row: &Row) -> Result<()> {
        self.version(Operation::Insert, (None, Some(row)), 0, true)
    }

    fn version(
        &mut self,
        operation: Operation,
        (before, after): (Option<&Row>, Option<&Row>),
        place: usize,
        was_there: bool,
    ) -> Result<()> {
        let (Some(point), Some(of)) = (self.points.get(place), after.or(before)) else {
            return Ok(());
        };
        self.versions = self.versions.saturating_add(1);
        let change = RowChange {
            table: self.table.clone(),
            operation,
            key: of.key.clone(),
            before: before.map(|row| row.values.clone()),
            after: after.map(|row| row.values.clone()),
        };
        (self.told)(Version { seq: point.seq(), time: point.time(), change, was_there })
    }
}

/// Whether two rows are two versions.
fn differ(a: &Option<Arc<Row>>, b: &Option<Arc<Row>>) -> bool {
    match (a, b) {
        (None, None) => false,
        (Some(a), Some(b)) => {
            !Arc::ptr_eq(a, b)
                && (a.key.values != b.key.values
                    || has_more_than(&a.values, &b.values)
                    || has_more_than(&b.values, &a.values))
        }
        _ => true,
    }
}

/// Whether a row has a value that another one does not have. A column that is not there is NULL.
fn has_more_than(a: &Named, b: &Named) -> bool {
    a.iter().any(|(column, value)| b.get(column).unwrap_or(&Cell::Null) != value)
}

/// The columns of an update that have another value, with the value before and after; `None` where
/// the row has no such column. One that is missing on a side and NULL on the other is no change.
pub fn changed(change: &RowChange) -> impl Iterator<Item = (&str, Option<&Cell>, Option<&Cell>)> {
    let sides = change.before.as_ref().zip(change.after.as_ref());
    sides
        .into_iter()
        .flat_map(|(before, after)| {
            let gone = before.iter().map(|(column, _)| column);
            let gone = gone.filter(|column| after.get(column).is_none());
            let columns = after.iter().map(|(column, _)| column).chain(gone);
            columns.map(|column| (column, before.get(column), after.get(column)))
        })
        .filter(|(_, old, new)| old.unwrap_or(&Cell::Null) != new.unwrap_or(&Cell::Null))
}

#[cfg(test)]
mod tests;
