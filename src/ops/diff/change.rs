//! One row that differs, and what became of a table: the model that diffs, the change feed and
//! whatever brings rows back share.
//!
//! A row is known by its key: the INTEGER PRIMARY KEY, else the rowid, else the primary key of a
//! table WITHOUT ROWID (`crate::sqlite::rows::table` has the whole of it). A row of the same key
//! with other values is an update; a row whose key changed is a delete and an insert.

use std::sync::Arc;

use crate::sqlite::rows::cell::Cell;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Only the new moment has it.
    Insert,
    /// Both have it, with other values.
    Update,
    /// Only the old moment has it.
    Delete,
}

impl Operation {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Values with the names of their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The columns.
    pub columns: Arc<[String]>,
    /// Their values, one each.
    pub values: Vec<Cell>,
}

impl Named {
    /// The columns with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.columns.iter().map(String::as_str).zip(&self.values)
    }

    /// The value of a column.
    pub fn get(&self, column: &str) -> Option<&Cell> {
        self.iter().find(|(name, _)| *name == column).map(|(_, value)| value)
    }
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowChange {
    /// The table.
    pub table: Arc<str>,
    /// What happened to the row.
    pub operation: Operation,
    /// What tells the row from others of its table, as the new moment has it if that has the row.
    /// Keys that are equal by their collation may have other bytes in the old one.
    pub key: Named,
    /// The row of the old moment, without generated columns.
    pub before: Option<Named>,
    /// The row of the new moment, without generated columns.
    pub after: Option<Named>,
}

impl RowChange {
    /// The columns of an update that have another value, or that one side does not have.
    pub fn changed(&self) -> impl Iterator<Item = (&str, Option<&Cell>, &Cell)> {
        let after = self.after.iter().filter(|_| self.before.is_some()).flat_map(Named::iter);
        after.filter_map(|(column, new)| {
            let old = self.before.as_ref().and_then(|before| before.get(column));
            (old != Some(new)).then_some((column, old, new))
        })
    }
}

/// What became of a table as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableFate {
    /// It is the same table.
    Same,
    /// It is defined otherwise, and its rows can be told apart as before: rows are compared by the
    /// names of their columns. A column that one moment does not have counts as NULL there.
    Redefined,
    /// Its rows are told apart otherwise than before: all are deleted, and all are inserted.
    Replaced,
    /// Only the new moment has it.
    Created,
    /// Only the old moment has it.
    Dropped,
}

impl TableFate {
    /// A stable lower-case name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Redefined => "redefined",
            Self::Replaced => "replaced",
            Self::Created => "created",
            Self::Dropped => "dropped",
        }
    }
}

/// How a table differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableDiff {
    /// Its name.
    pub name: Arc<str>,
    /// What became of it.
    pub fate: TableFate,
    /// Why its rows were not compared; `None` if they were.
    pub uncompared: Option<String>,
    /// Rows that only the new moment has.
    pub inserted: u64,
    /// Rows of both with other values.
    pub updated: u64,
    /// Rows that only the old moment has.
    pub deleted: u64,
}

impl TableDiff {
    /// Whether nothing of it is known to differ.
    pub fn is_same(&self) -> bool {
        self.fate == TableFate::Same && self.inserted + self.updated + self.deleted == 0
    }
}

/// Something of a schema that differs: a table, an index, a trigger or a view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaChange {
    /// `table`, `index`, `trigger` or `view`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The statement that made it, in the old moment.
    pub before: Option<String>,
    /// The statement that made it, in the new moment.
    pub after: Option<String>,
}

impl SchemaChange {
    /// What happened to it.
    pub const fn operation(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "created",
            (_, None) => "dropped",
            _ => "redefined",
        }
    }
}
