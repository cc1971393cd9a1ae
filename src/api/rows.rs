//! Rows that differ between two moments, and what became of their tables.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::query::{Stored, as_json};
use crate::ops::diff::change::{self, Named};
use crate::types::{Seq, Timestamp};

/// A row that differs.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowChange {
    /// The table.
    table: String,
    /// `insert`, `update` or `delete`.
    operation: &'static str,
    /// What tells the row from others of its table: columns by name. Values are as those of `row`.
    #[schema(value_type = Object)]
    key: Columns,
    /// The row before; null if it was not there. Of generated columns there are none.
    #[schema(value_type = Option<Object>)]
    before: Option<Columns>,
    /// The row after; null if it is not there.
    #[schema(value_type = Option<Object>)]
    after: Option<Columns>,
}

impl RowChange {
    /// A row that differs.
    pub(crate) fn of(change: change::RowChange) -> Self {
        Self {
            table: change.table.to_string(),
            operation: change.operation.name(),
            key: Columns(change.key),
            before: change.before.map(Columns),
            after: change.after.map(Columns),
        }
    }
}

/// Columns by name, in the order of the table.
struct Columns(Named);

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, cell)| (name, Stored(cell.as_ref()))))
    }
}

/// Columns by name.
pub(super) fn object(named: &Named) -> Map<String, Value> {
    named.iter().map(|(name, cell)| (name.to_owned(), as_json(cell.as_ref()))).collect()
}

/// A table, an index, a trigger or a view that came, went, or is defined otherwise.
#[derive(Serialize, ToSchema)]
pub(crate) struct SchemaChange {
    /// `table`, `index`, `trigger` or `view`.
    kind: String,
    /// Its name.
    name: String,
    /// `created`, `dropped` or `redefined`.
    operation: &'static str,
    /// The statement that made it before; null if it was not there.
    before: Option<String>,
    /// The statement that made it after; null if it is not there.
    after: Option<String>,
}

impl SchemaChange {
    /// Something of a schema that differs.
    pub(crate) fn of(change: &change::SchemaChange) -> Self {
        Self {
            kind: change.kind.clone(),
            name: change.name.clone(),
            operation: change.operation(),
            before: change.before.clone(),
            after: change.after.clone(),
        }
    }
}

/// How a table differs.
#[derive(Serialize, ToSchema)]
pub(crate) struct TableDiff {
    /// Its name.
    table: String,
    /// `same`, `redefined`, `replaced`, `created` or `dropped`.
    definition: &'static str,
    /// How many rows came.
    inserted: u64,
    /// How many rows have other values.
    updated: u64,
    /// How many rows went.
    deleted: u64,
    /// Why its rows were not compared; null if they were.
    uncompared: Option<String>,
}

impl TableDiff {
    /// A table that differs, or could not be compared.
    pub(crate) fn of(table: &change::TableDiff) -> Self {
        Self {
            table: table.name.to_string(),
            definition: table.fate.name(),
            inserted: table.inserted,
            updated: table.updated,
            deleted: table.deleted,
            uncompared: table.uncompared.clone(),
        }
    }
}

/// One of two moments: a commit, or a live database.
#[derive(Serialize, ToSchema)]
pub(crate) struct Moment {
    /// The history of the commit; null for a live database.
    history: Option<String>,
    /// The commit; null for a live database.
    seq: Option<Seq>,
    /// When it was captured; null for a live database.
    time: Option<Timestamp>,
    /// The path of a live database; null for a commit.
    database: Option<String>,
}

impl Moment {
    /// A commit of a history.
    pub(crate) fn commit(history: &str, seq: Seq, time: Timestamp) -> Self {
        let (history, seq, time) = (Some(history.to_owned()), Some(seq), Some(time));
        Self { history, seq, time, database: None }
    }

    /// A live database.
    pub(crate) fn live(database: String) -> Self {
        Self { history: None, seq: None, time: None, database: Some(database) }
    }
}

/// What a comparison came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct DiffSummary {
    /// The moment that rows go from.
    from: Moment,
    /// The moment that rows come to.
    to: Moment,
    /// How many rows differ.
    rows: u64,
    /// How many tables differ, or could not be compared.
    tables: u64,
    /// How many things of the schema differ.
    schema: u64,
    /// How long it took, in seconds.
    seconds: f64,
}

impl DiffSummary {
    /// Two moments, and how many rows, tables and things of the schema differ between them.
    pub(crate) fn of(
        (from, to): (Moment, Moment),
        tables: &[change::TableDiff],
        schema: u64,
        seconds: f64,
    ) -> Self {
        let rows = tables.iter().map(|t| t.inserted + t.updated + t.deleted).sum();
        let tables = u64::try_from(tables.len()).unwrap_or(u64::MAX);
        Self { from, to, rows, tables, schema, seconds }
    }
}

/// What a commit did to one row.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowStep {
    /// The commit.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    #[serde(flatten)]
    change: RowChange,
}

impl RowStep {
    /// A row that a commit changed.
    pub(crate) fn of(seq: Seq, time: Timestamp, change: change::RowChange) -> Self {
        Self { seq, time, change: RowChange::of(change) }
    }
}

/// What a commit did to the schema.
#[derive(Serialize, ToSchema)]
pub(crate) struct SchemaStep {
    /// The commit.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    #[serde(flatten)]
    change: SchemaChange,
}

impl SchemaStep {
    /// Something of the schema that a commit changed.
    pub(crate) fn of(seq: Seq, time: Timestamp, change: &change::SchemaChange) -> Self {
        Self { seq, time, change: SchemaChange::of(change) }
    }
}

/// All that a commit did was told.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommitEnd {
    /// The commit: what to go on behind.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    /// How many rows it changed.
    rows: u64,
    /// The tables whose rows could not be compared.
    uncompared: Vec<String>,
}

impl CommitEnd {
    /// A commit, and how its tables differ from those before.
    pub(crate) fn of(seq: Seq, time: Timestamp, tables: &[change::TableDiff]) -> Self {
        let rows = tables.iter().map(|t| t.inserted + t.updated + t.deleted).sum();
        let uncompared = tables.iter().filter(|table| table.uncompared.is_some());
        let uncompared = uncompared.map(|table| table.name.to_string()).collect();
        Self { seq, time, rows, uncompared }
    }
}
