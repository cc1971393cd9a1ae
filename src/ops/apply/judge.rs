//! What is wanted of a row beside the row that is there.

use super::report::{OnConflict, Reason};
use crate::ops::diff::change::{Named, Operation, RowChange};
use crate::sqlite::rows::cell::Cell;
use crate::sqlite::rows::merge::Entry;

/// What counts as a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Whether an update needs the whole row as it should be, and not only the columns that it
    /// changes.
    pub(crate) whole_rows: bool,
    /// Whether a row that is there again, with whatever values, is none.
    pub(crate) may_be_there: bool,
    pub(crate) on_conflict: OnConflict,
}

/// What a wish comes to.
#[derive(Clone, Debug)]
pub(crate) enum Judged {
    /// It is so already, or the row came back by itself.
    Already,
    /// The row as it is there, and as it becomes.
    Do(RowChange),
    /// The row is not as it should be.
    Conflict(Reason, Option<Named>),
}

/// Compares what is wanted of a row, from how it should be to how it shall be, with how it is.
pub(crate) fn judge(wish: RowChange, live: Option<Entry>, rule: &Rule) -> Judged {
    let forced = rule.on_conflict == OnConflict::Force;
    let columns = wish.before.as_ref().or(wish.after.as_ref()).map(|row| row.columns.clone());
    let (key, live) = match (live, columns) {
        (Some(live), Some(columns)) => (live.key, Some(Named { columns, values: live.values })),
        _ => (wish.key.values.clone(), None),
    };
    let key = Named { columns: wish.key.columns.clone(), values: key };
    let table = wish.table.clone();
    let deed = |operation, before, after| {
        Judged::Do(RowChange { table: table.clone(), operation, key: key.clone(), before, after })
    };
    match (wish.operation, live, wish.before, wish.after) {
        (Operation::Insert, None, _, after) => deed(Operation::Insert, None, after),
        (Operation::Insert, live, _, after) if live == after => Judged::Already,
        (Operation::Insert, ..) if rule.may_be_there => Judged::Already,
        (Operation::Insert, live, _, after) if forced => deed(Operation::Update, live, after),
        (Operation::Insert, live, ..) => Judged::Conflict(Reason::Present, live),
        (Operation::Delete, None, ..) => Judged::Already,
        (Operation::Delete, live, before, _) if live == before || forced => {
            deed(Operation::Delete, live, None)
        }
        (Operation::Delete, live, ..) => Judged::Conflict(Reason::Changed, live),
        (Operation::Update, None, _, after) if forced => deed(Operation::Insert, None, after),
        (Operation::Update, None, ..) => Judged::Conflict(Reason::Missing, None),
        (Operation::Update, Some(live), Some(before), Some(after)) => {
            if live == after {
                return Judged::Already;
            }
            if rule.whole_rows {
                return match live == before || forced {
                    true => deed(Operation::Update, Some(live), Some(after)),
                    false => Judged::Conflict(Reason::Changed, Some(live)),
                };
            }
            match merged(&live, &before, &after, forced) {
                Some(merged) if merged == live => Judged::Already,
                Some(merged) => deed(Operation::Update, Some(live), Some(merged)),
                None => Judged::Conflict(Reason::Changed, Some(live)),
            }
        }
        // An update has both rows.
        (Operation::Update, live, ..) => Judged::Conflict(Reason::Changed, live),
    }
}

/// The row with those of its columns set back that changed, and the others as they are there.
/// `None` if somebody gave one of those another value since.
fn merged(live: &Named, before: &Named, after: &Named, forced: bool) -> Option<Named> {
    let column = |((live, before), after): ((&Cell, &Cell), &Cell)| {
        let is_free = before == after;
        match is_free {
            true => Some(live.clone()),
            false => (forced || live == before || live == after).then(|| after.clone()),
        }
    };
    let values = live.values.iter().zip(&before.values).zip(&after.values).map(column);
    let values = values.collect::<Option<Vec<Cell>>>()?;
    Some(Named { columns: live.columns.clone(), values })
}
