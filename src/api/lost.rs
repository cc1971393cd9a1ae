//! What `recover` and `undo` did to rows of a live database, or would do.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::rows::object;
use crate::ops::apply::report::{self, Applied, Reason};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// A row that is not as it should be.
#[derive(Serialize, ToSchema)]
pub(crate) struct Conflict {
    /// The table.
    table: String,
    /// `changed`: the row has other values; `missing`: it is gone; `present`: there is one of its
    /// key; `constraint`: another row, or a rule of the table, is in its way.
    reason: &'static str,
    /// What SQLite says of a `constraint`; null for any other reason.
    message: Option<String>,
    /// What tells the row from others of its table: columns by name.
    #[schema(value_type = Object)]
    key: Map<String, Value>,
    /// The row as it should be there; null if it should not.
    #[schema(value_type = Option<Object>)]
    before: Option<Map<String, Value>>,
    /// The row as it should become; null if it should go.
    #[schema(value_type = Option<Object>)]
    after: Option<Map<String, Value>>,
    /// The row as it is; null if it is not there.
    #[schema(value_type = Option<Object>)]
    live: Option<Map<String, Value>>,
}

impl Conflict {
    /// A conflict.
    pub(crate) fn of(report::Conflict { change, live, reason, .. }: &report::Conflict) -> Self {
        Self {
            table: change.table.to_string(),
            reason: reason.name(),
            message: match reason {
                Reason::Constraint(message) => Some(message.clone()),
                _ => None,
            },
            key: object(&change.key),
            before: change.before.as_ref().map(object),
            after: change.after.as_ref().map(object),
            live: live.as_ref().map(object),
        }
    }
}

/// What came of the rows of a table.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppliedTable {
    /// Its name.
    table: String,
    /// How many rows came.
    inserted: u64,
    /// How many rows have other values.
    updated: u64,
    /// How many rows went.
    deleted: u64,
    /// How many rows were as they should become, without any doing.
    already: u64,
    /// How many rows of that time are there with other values, and were left alone.
    differing: u64,
    /// How many rows were left as they are because of a conflict.
    skipped: u64,
}

/// What came of an application to a live database.
#[derive(Serialize, ToSchema)]
pub(crate) struct Outcome {
    /// The name of the history.
    history: String,
    /// The path of the database.
    database: String,
    /// The commit of the state before; null if nothing was done.
    before: Option<Seq>,
    /// The label of the state before; null if nothing was done.
    label: Option<String>,
    /// The commit that has the change; null if nothing was done.
    now: Option<Seq>,
    /// Whether that commit has nothing but the change; null if nothing was done.
    alone: Option<bool>,
    /// Whether this only says what would be done.
    dry_run: bool,
    /// The tables, by name.
    tables: Vec<AppliedTable>,
    /// How many rows are not as they should be.
    conflicts: u64,
    /// Full-text indexes that were built anew.
    rebuilt: Vec<String>,
    /// Triggers of the changed tables; they did not run.
    silent_triggers: Vec<String>,
    /// The command that takes the change back; null if nothing was done.
    undo: Option<String>,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}

impl Outcome {
    /// What came of an application, which took so long; `undo` is the command that takes it back.
    pub(crate) fn of(
        (history, database): (&History, &str),
        applied: &Applied,
        dry_run: bool,
        undo: Option<&str>,
        took: Duration,
    ) -> Self {
        let done = applied.done.as_ref();
        let table = |table: &report::AppliedTable| AppliedTable {
            table: table.name.to_string(),
            inserted: table.inserted,
            updated: table.updated,
            deleted: table.deleted,
            already: table.already,
            differing: table.differing,
            skipped: table.skipped,
        };
        Self {
            history: history.name().to_owned(),
            database: database.to_owned(),
            before: done.map(|done| done.before.seq),
            label: done.map(|done| done.before.label.clone()),
            now: done.map(|done| done.now),
            alone: done.map(|done| done.alone),
            dry_run,
            tables: applied.tables.iter().map(table).collect(),
            conflicts: applied.conflicts.count,
            rebuilt: applied.rebuilt.clone(),
            silent_triggers: applied.silent.clone(),
            undo: undo.map(str::to_owned),
            seconds: took.as_secs_f64(),
        }
    }
}

/// What came of rows that were put back.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoverSummary {
    /// The commit that rows were taken from.
    pub(crate) at: Seq,
    /// The moment that the commit was asked for by; null if it was asked for otherwise.
    pub(crate) asked_time: Option<Timestamp>,
    /// What came of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What came of commits that were taken back.
#[derive(Serialize, ToSchema)]
pub(crate) struct UndoSummary {
    /// The first of the commits.
    pub(crate) first: Seq,
    /// The last of the commits.
    pub(crate) last: Seq,
    /// What came of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}
