//! SQL that turns one moment into the other, row for row: one transaction, in the words of SQLite.
//!
//! Invariants:
//! - Applied to the old moment it gives the new one. Triggers of the tables that it writes to are
//!   dropped before and made again after, so that only what is written here happens.
//! - No row meets another one on the way: where a table has unique columns beside its key, rows
//!   that leave a value make room before others take it.

use std::collections::HashSet;

use super::change::{Named, Operation, RowChange, TableDiff, TableFate};
use super::plan::Pair;
use super::run::Diff;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Monitor;
use crate::sqlite::rows::cell::{Cell, quoted};
use crate::sqlite::rows::literal::Literals;
use crate::sqlite::rows::table::{Key, Object, SEQUENCES, Table};

/// Takes a statement, its semicolon included, or a comment.
pub type Write<'w> = &'w mut dyn FnMut(&str) -> Result<()>;

/// Row changes as SQL.
#[derive(Debug)]
pub(super) struct Statements {
    literals: Literals,
}

/// Which rows of a table a walk writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// All.
    Whole,
    /// Those that go, or that leave a unique value.
    Leave,
    /// Those that come, or that take a unique value.
    Come,
}

impl Diff<'_> {
    /// Writes SQL that turns the old moment into the new one. Returns how each table differs, as
    /// [`Diff::rows`] does. A table that can't be compared is a comment. Made with
    /// [`DiffOptions::replace_redefined`](super::run::DiffOptions::replace_redefined) it is exact
    /// where tables are defined otherwise, too.
    ///
    /// # Errors
    /// As [`Diff::rows`]; what `write` answers.
    pub fn sql(&self, write: Write<'_>, monitor: &dyn Monitor) -> Result<Vec<TableDiff>> {
        let mut script =
            Script { diff: self, write, statements: Statements::new()?, gone: HashSet::new() };
        script.line("PRAGMA foreign_keys=OFF;")?;
        script.line("BEGIN IMMEDIATE;")?;
        script.drop_objects()?;
        // All go before any comes: names that differ in case only are the same to SQLite.
        for pair in self.plan.pairs.iter().filter(|pair| replaces(pair)) {
            script.line(&format!("DROP TABLE {};", quoted(&pair.name)))?;
        }
        for pair in &self.plan.pairs {
            script.define(pair)?;
        }
        let mut tables = Vec::new();
        for pair in &self.plan.pairs {
            let table = script.rows(pair, monitor)?;
            if !table.is_same() || table.uncompared.is_some() {
                tables.push(table);
            }
        }
        script.create_objects()?;
        script.line("COMMIT;")?;
        Ok(tables)
    }
}

/// A script that is being written.
struct Script<'d, 's, 'w> {
    diff: &'d Diff<'s>,
    write: Write<'w>,
    statements: Statements,
    /// What the old moment has beside tables, and is not there any more at this point.
    gone: HashSet<(String, String)>,
}

impl Script<'_, '_, '_> {
    fn line(&mut self, sql: &str) -> Result<()> {
        (self.write)(sql)
    }

    fn drop_object(&mut self, object: &Object) -> Result<()> {
        if self.gone.insert((object.kind.clone(), object.name.clone())) {
            let kind = object.kind.to_ascii_uppercase();
            self.line(&format!("DROP {kind} {};", quoted(&object.name)))?;
        }
        Ok(())
    }

    /// Drops what is not as it was, and what goes with a table.
    fn drop_objects(&mut self) -> Result<()> {
        let diff = self.diff;
        let goes = |table: &str| {
            let mut pairs = diff.plan.pairs.iter();
            pairs.any(|pair| pair.name.eq_ignore_ascii_case(table) && replaces(pair))
        };
        // A view goes with its triggers, so those go first.
        for kind in ["trigger", "view", "index"] {
            for object in diff.plan.old.iter().filter(|object| object.kind == kind) {
                let is_kept = diff.plan.new.contains(object) && !goes(&object.table);
                let of_view = kind == "trigger" && !self.is_of_table(object);
                if !is_kept || (of_view && !self.stays(&object.table)) {
                    self.drop_object(object)?;
                }
            }
        }
        Ok(())
    }

    fn is_of_table(&self, object: &Object) -> bool {
        let mut pairs = self.diff.plan.pairs.iter();
        pairs.any(|pair| pair.name.eq_ignore_ascii_case(&object.table))
    }

    /// Whether a view is the same in both moments.
    fn stays(&self, view: &str) -> bool {
        let plan = &self.diff.plan;
        let mut views = plan.old.iter().filter(|object| object.kind == "view");
        views.any(|object| object.name == view && plan.new.contains(object))
    }

    /// Makes a table that comes.
    fn define(&mut self, pair: &Pair) -> Result<()> {
        if &*pair.name == SEQUENCES {
            return Ok(());
        }
        match (&pair.fate, &pair.new) {
            (TableFate::Created | TableFate::Replaced, Some(table)) => {
                self.line(&format!("{};", table.sql))
            }
            (TableFate::Redefined, Some(_)) => self.line(&format!(
                "-- the table {} is defined otherwise: only its rows are written here",
                one_line(&pair.name)
            )),
            _ => Ok(()),
        }
    }

    fn rows(&mut self, pair: &Pair, monitor: &dyn Monitor) -> Result<TableDiff> {
        let (old, new) = (pair.old.as_ref(), pair.new.as_ref());
        let unique = match (old.map(|table| &table.unique), new.map(|table| &table.unique)) {
            (Some(Some(old)), Some(Some(new))) => Some(old.union(new).cloned().collect()),
            // Of a table that comes or goes no row is updated.
            (None, _) | (_, None) => Some(HashSet::new()),
            _ => None,
        };
        let turns: &[Turn] = match unique.as_ref().is_some_and(HashSet::is_empty) {
            true => &[Turn::Whole],
            false => &[Turn::Leave, Turn::Come],
        };
        let mut told = None;
        for turn in turns {
            let diff = self.diff;
            let mut take = |change: RowChange| self.change(pair, &change, *turn, unique.as_ref());
            told = Some(diff.rows_of(pair, &mut take, monitor)?);
        }
        let told = told.ok_or_else(|| Error::new(ErrorKind::Failure, "no rows were compared"))?;
        if let Some(why) = &told.uncompared {
            let name = one_line(&pair.name);
            self.line(&format!("-- the table {name} is not compared: {}", one_line(why)))?;
        }
        Ok(told)
    }

    fn change(
        &mut self,
        pair: &Pair,
        change: &RowChange,
        turn: Turn,
        unique: Option<&HashSet<String>>,
    ) -> Result<()> {
        // They went with the table.
        if change.operation == Operation::Delete && replaces(pair) {
            return Ok(());
        }
        let is_unique = |column: &str| unique.is_none_or(|unique| unique.contains(column));
        // A row that leaves a unique value to another one goes, and comes back.
        let moves =
            || turn != Turn::Whole && change.changed().any(|(column, ..)| is_unique(column));
        let table = match change.operation {
            Operation::Delete => &pair.old,
            _ => &pair.new,
        };
        let Some(table) = table else { return Ok(()) };
        let statements = &self.statements;
        let written = match (change.operation, turn) {
            _ if table.name == SEQUENCES => statements.sequence(change)?,
            (Operation::Delete, Turn::Come) | (Operation::Insert, Turn::Leave) => return Ok(()),
            (Operation::Update, Turn::Leave) if moves() => statements.delete(table, change)?,
            (Operation::Update, Turn::Leave) => return Ok(()),
            (Operation::Update, _) if moves() => statements.insert(table, change)?,
            (Operation::Update, _) => statements.update(table, change)?,
            (Operation::Delete, _) => statements.delete(table, change)?,
            (Operation::Insert, _) => statements.insert(table, change)?,
        };
        let diff = self.diff;
        let is_trigger_of_it = |object: &&Object| {
            object.kind == "trigger" && object.table.eq_ignore_ascii_case(&pair.name)
        };
        for trigger in diff.plan.old.iter().filter(is_trigger_of_it) {
            self.drop_object(trigger)?;
        }
        self.line(&written)
    }

    /// Makes what is new, and what was dropped on the way.
    fn create_objects(&mut self) -> Result<()> {
        let diff = self.diff;
        for kind in ["index", "view", "trigger"] {
            for object in diff.plan.new.iter().filter(|object| object.kind == kind) {
                let was_there = diff.plan.old.contains(object);
                let is_gone = self.gone.contains(&(object.kind.clone(), object.name.clone()));
                if !was_there || is_gone {
                    self.line(&format!("{};", object.sql))?;
                }
            }
        }
        Ok(())
    }
}

/// Gives the changes of rows, each with the number of its table, from the first one on.
pub(in crate::ops) type Walk<'w> =
    &'w mut dyn FnMut(&mut dyn FnMut(usize, &RowChange) -> Result<()>) -> Result<()>;

/// Writes changes of the rows of some tables as one transaction, in the order in which no row meets
/// another one, and what builds full-text indexes anew.
pub(in crate::ops) fn applied(
    tables: &[Table],
    rebuilt: &[String],
    write: Write<'_>,
    walk: Walk<'_>,
) -> Result<()> {
    let statements = Statements::new()?;
    write("PRAGMA foreign_keys=OFF;")?;
    write("BEGIN IMMEDIATE;")?;
    for turn in [Turn::Leave, Turn::Come] {
        walk(&mut |at, change| {
            let Some(table) = tables.get(at) else { return Ok(()) };
            let moves = moves(table, change);
            let sql = match (change.operation, turn) {
                (Operation::Delete, Turn::Leave) => statements.delete(table, change)?,
                (Operation::Update, Turn::Leave) if moves => statements.delete(table, change)?,
                (Operation::Update, Turn::Come) if moves => statements.insert(table, change)?,
                (Operation::Update, Turn::Come) => statements.update(table, change)?,
                (Operation::Insert, Turn::Come) => statements.insert(table, change)?,
                _ => return Ok(()),
            };
            write(&sql)
        })?;
    }
    for name in rebuilt {
        write(&format!("INSERT INTO {0}({0}) VALUES('rebuild');", quoted(name)))?;
    }
    write("COMMIT;")
}

/// Whether an updated row may leave a unique value to another one, or take one from it.
pub(in crate::ops) fn moves(table: &Table, change: &RowChange) -> bool {
    let is_unique = |column: &str| table.unique.as_ref().is_none_or(|u| u.contains(column));
    change.operation == Operation::Update && change.changed().any(|(column, ..)| is_unique(column))
}

/// Whether the old table goes, with all its rows.
fn replaces(pair: &Pair) -> bool {
    matches!(pair.fate, TableFate::Dropped | TableFate::Replaced) && &*pair.name != SEQUENCES
}

/// A name in a comment, which ends with the line.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

impl Statements {
    pub(super) fn new() -> Result<Self> {
        let literals = Literals::new().map_err(failed)?;
        Ok(Self { literals })
    }

    fn sql(&self, cell: &Cell) -> Result<String> {
        self.literals.sql(cell).map_err(failed)
    }

    /// What a row of the old moment is found by.
    fn condition(&self, table: &Table, change: &RowChange) -> Result<String> {
        let mut terms = Vec::new();
        for (i, (column, value)) in change.key.iter().enumerate() {
            // Of keys that are equal by their collation the old one is there.
            let old = change.before.as_ref().and_then(|before| before.get(column));
            let value = old.filter(|_| matches!(table.key, Key::Columns(_))).unwrap_or(value);
            let collation = match (&table.key, value) {
                (Key::Columns(parts), Cell::Text(_)) => parts
                    .get(i)
                    .map_or(String::new(), |p| format!(" COLLATE {}", quoted(&p.collation_name))),
                _ => String::new(),
            };
            terms.push(format!("{}={}{collation}", quoted(column), self.sql(value)?));
        }
        Ok(terms.join(" AND "))
    }

    pub(super) fn delete(&self, table: &Table, change: &RowChange) -> Result<String> {
        let condition = self.condition(table, change)?;
        Ok(format!("DELETE FROM {} WHERE {condition};", quoted(&table.name)))
    }

    pub(super) fn insert(&self, table: &Table, change: &RowChange) -> Result<String> {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        let row = change.after.as_ref();
        let is_column = |name: &str| row.is_some_and(|row| row.get(name).is_some());
        let rowid = change.key.iter().filter(|(name, _)| !is_column(name));
        for (column, value) in rowid.chain(row.into_iter().flat_map(Named::iter)) {
            columns.push(quoted(column));
            values.push(self.sql(value)?);
        }
        let (columns, values) = (columns.join(","), values.join(","));
        Ok(format!("INSERT INTO {}({columns}) VALUES({values});", quoted(&table.name)))
    }

    pub(super) fn update(&self, table: &Table, change: &RowChange) -> Result<String> {
        let mut set = Vec::new();
        for (column, _, value) in change.changed() {
            set.push(format!("{}={}", quoted(column), self.sql(value)?));
        }
        let (name, condition) = (quoted(&table.name), self.condition(table, change)?);
        Ok(format!("UPDATE {name} SET {} WHERE {condition};", set.join(",")))
    }

    /// SQLite writes these rows itself while others are written, so they may be there or not.
    fn sequence(&self, change: &RowChange) -> Result<String> {
        let mut sql = String::new();
        for (_, name) in change.key.iter() {
            sql = format!("DELETE FROM {SEQUENCES} WHERE name={};", self.sql(name)?);
        }
        if let Some(after) = &change.after {
            let mut values = Vec::new();
            for (_, value) in after.iter() {
                values.push(self.sql(value)?);
            }
            let values = values.join(",");
            sql.push_str(&format!(" INSERT INTO {SEQUENCES}(name,seq) VALUES({values});"));
        }
        Ok(sql)
    }
}

fn failed(e: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Failure, "a value can't be written as SQL").with_source(e)
}
