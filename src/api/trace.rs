//! The versions of a row.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::query::as_json;
use crate::ops::diff::change::Named;
use crate::ops::trace;
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// A version of a row. Values are as `query` has them: a blob is `{"blob": "00ff"}`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Version {
    /// The oldest commit that has it.
    seq: Seq,
    /// When that was captured.
    time: Timestamp,
    /// `insert`, `update` or `delete`; `present` if the row was there at the first commit that was
    /// looked at, so that it may have come earlier.
    operation: &'static str,
    /// The values of the row's key, by column.
    #[schema(value_type = Object)]
    key: Map<String, Value>,
    /// The columns that have another value than before: those of an update, also such as only one
    /// side has.
    changed: Vec<String>,
    /// The row before; null if there was none.
    #[schema(value_type = Option<Object>)]
    before: Option<Map<String, Value>>,
    /// The row from then on; null if it is gone.
    #[schema(value_type = Option<Object>)]
    after: Option<Map<String, Value>>,
}

impl Version {
    /// A version of a row.
    pub(crate) fn of(version: &trace::Version) -> Self {
        let change = &version.change;
        Self {
            seq: version.seq,
            time: version.time,
            operation: match version.was_there {
                true => "present",
                false => change.operation.name(),
            },
            key: object(&change.key),
            changed: trace::changed(change).map(|(column, ..)| column.to_owned()).collect(),
            before: change.before.as_ref().map(object),
            after: change.after.as_ref().map(object),
        }
    }
}

fn object(named: &Named) -> Map<String, Value> {
    named.iter().map(|(column, value)| (column.to_owned(), as_json(value.as_ref()))).collect()
}

/// What a trace came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct TraceSummary {
    /// The name of the history.
    history: String,
    /// The table, as it was named.
    table: String,
    /// How many versions were found.
    versions: u64,
    /// Whether older ones were not looked for, since there were as many as wanted.
    more: bool,
    /// How many restore points there are between the ends.
    restore_points: u64,
    /// Of how many of them SQLite was asked for the row.
    asked: u64,
}

impl TraceSummary {
    /// A trace of a row of a table.
    pub(crate) fn of(history: &History, table: &str, trace: &trace::Trace) -> Self {
        Self {
            history: history.name().to_owned(),
            table: table.to_owned(),
            versions: trace.versions,
            more: trace.has_more,
            restore_points: trace.restore_points,
            asked: trace.asked,
        }
    }
}
