//! Row changes, as people read them: a line for each, and a table of counts.
//!
//! Values are written as SQL has them, so that `1`, `1.0` and `'1'` are told apart; what is long is
//! cut, and says so.

use std::sync::Arc;

use rusqlite::types::ValueRef;

use super::output::Output;
use super::query::format::cell;
use super::table::table;
use crate::api::rows as answers;
use crate::ops::diff::change::{Named, Operation, RowChange, SchemaChange, TableDiff, TableFate};
use crate::sqlite::rows::cell::Cell;

/// A value as SQL writes it, cut where it is long.
pub(crate) fn value(cell_of: &Cell) -> String {
    match cell_of.as_ref() {
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => quoted(text),
            Err(_) => cell(ValueRef::Blob(bytes)),
        },
        other => cell(other),
    }
}

/// How many characters of a text are shown.
const CHARS: usize = 100;
/// How many characters are shown before the place where two long texts part.
const BEFORE: usize = 10;

/// A text as SQL writes it, cut where it is long.
fn quoted(text: &str) -> String {
    let sql = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match text.char_indices().nth(CHARS) {
        None => sql(text),
        Some((end, _)) => {
            let first = sql(text.get(..end).unwrap_or_default());
            format!("{first}… ({} characters)", text.chars().count())
        }
    }
}

/// A row change in a line: what came has `+`, what went `-`, what changed `~`.
pub(crate) fn line(change: &RowChange) -> String {
    let key = named(change.key.iter());
    let is_key = |column: &str| change.key.columns.iter().any(|name| name == column);
    let rest = |row: &Option<Named>| {
        named(row.iter().flat_map(Named::iter).filter(|(column, _)| !is_key(column)))
    };
    let (sign, rest) = match change.operation {
        Operation::Insert => ("+", rest(&change.after)),
        Operation::Delete => ("-", rest(&change.before)),
        Operation::Update => {
            let changed = change.changed().map(|(column, old, new)| {
                let (old, new) = match old {
                    Some(old) => both(old, new),
                    None => ("nothing".to_owned(), value(new)),
                };
                format!("{column}: {old} -> {new}")
            });
            ("~", changed.collect::<Vec<_>>().join(", "))
        }
    };
    let colon = if rest.is_empty() { "" } else { ": " };
    format!("{sign} {key}{colon}{rest}")
}

/// Two values, one in the place of the other. Of long texts it is shown where they part.
fn both(old: &Cell, new: &Cell) -> (String, String) {
    let text = |cell: &Cell| match cell {
        Cell::Text(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    };
    let (Some(a), Some(b)) = (text(old), text(new)) else { return (value(old), value(new)) };
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    if same < CHARS {
        return (value(old), value(new));
    }
    let from = same - BEFORE;
    let part = |text: &str| {
        let rest: String = text.chars().skip(from).collect();
        format!("…{}", quoted(&rest))
    };
    (format!("from character {}: {}", from + 1, part(&a)), part(&b))
}

fn named<'c>(values: impl Iterator<Item = (&'c str, &'c Cell)>) -> String {
    values.map(|(name, cell)| format!("{name}={}", value(cell))).collect::<Vec<_>>().join(", ")
}

/// Prints row changes as they come, each table under its name.
pub(crate) struct Printer<'o> {
    out: &'o Output,
    table: Option<Arc<str>>,
}

impl<'o> Printer<'o> {
    pub(crate) fn new(out: &'o Output) -> Self {
        Self { out, table: None }
    }

    pub(crate) fn print(&mut self, change: RowChange) {
        if self.out.json {
            return self.out.object(&answers::RowChange::of(change));
        }
        if self.table.as_ref() != Some(&change.table) {
            self.out.line(format_args!("table {}", change.table));
            self.table = Some(change.table.clone());
        }
        self.out.line(format_args!("  {}", line(&change)));
    }
}

/// Something of a schema that differs, in a line.
pub(crate) fn schema_line(change: &SchemaChange) -> String {
    let sign = match change.operation() {
        "created" => '+',
        "dropped" => '-',
        _ => '~',
    };
    let (kind, name) = (&change.kind, &change.name);
    match (change.operation(), &change.after) {
        ("redefined", Some(sql)) => format!("{sign} {kind} {name} redefined: {}", one_line(sql)),
        (operation, _) => format!("{sign} {kind} {name} {operation}"),
    }
}

/// A statement in a line, cut where it is long.
fn one_line(sql: &str) -> String {
    let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    cell(ValueRef::Text(words.as_bytes()))
}

/// The tables that a commit touched, in a line.
pub(crate) fn in_words(tables: Option<&[TableDiff]>) -> String {
    let Some(tables) = tables else { return "all: it is the oldest".to_owned() };
    if tables.is_empty() {
        return "none".to_owned();
    }
    let told = tables.iter().map(|table| {
        let mut told = table.name.to_string();
        if table.uncompared.is_some() {
            return format!("{told} not compared");
        }
        if table.fate != TableFate::Same {
            told = format!("{told} {}", table.fate.name());
        }
        for (sign, n) in [('+', table.inserted), ('~', table.updated), ('-', table.deleted)] {
            if n > 0 {
                told = format!("{told} {sign}{n}");
            }
        }
        told
    });
    told.collect::<Vec<_>>().join(", ")
}

/// How many rows of each table differ.
pub(crate) fn counts(tables: &[TableDiff]) -> Vec<String> {
    let cells: Vec<Vec<String>> = tables
        .iter()
        .map(|table| {
            let note = match (&table.uncompared, &table.fate) {
                (Some(why), _) => format!("not compared: {why}"),
                (None, TableFate::Same) => String::new(),
                (None, fate) => fate.name().to_owned(),
            };
            let count = |n: u64| match &table.uncompared {
                Some(_) => "?".to_owned(),
                None => n.to_string(),
            };
            let (came, changed, went) =
                (count(table.inserted), count(table.updated), count(table.deleted));
            vec![table.name.to_string(), came, changed, went, note]
        })
        .collect();
    table(&["TABLE", "INSERTED", "UPDATED", "DELETED", ""], &cells, &[1, 2, 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn long_texts_are_shown_where_they_part() {
        let (a, b) = (format!("{}one", "x".repeat(500)), format!("{}two", "x".repeat(500)));
        let (old, new) = both(&text(&a), &text(&b));
        assert_eq!(old, "from character 491: …'xxxxxxxxxxone'");
        assert_eq!(new, "…'xxxxxxxxxxtwo'");
        let (old, new) = both(&text("one"), &Cell::Null);
        assert_eq!((&*old, &*new), ("'one'", "NULL"));
    }

    #[test]
    fn values_that_look_alike_are_told_apart() {
        let values = [
            (Cell::Null, "NULL"),
            (Cell::Integer(1), "1"),
            (Cell::Real(1.0), "1.0"),
            (text("1"), "'1'"),
            (text("it's"), "'it''s'"),
            (Cell::Text(vec![0xff]), "x'ff'"),
            (Cell::Blob(vec![0, 255]), "x'00ff'"),
            (text(&"é".repeat(101)), &format!("'{}'… (101 characters)", "é".repeat(100))),
        ];
        for (cell, shown) in values {
            assert_eq!(value(&cell), shown);
        }
    }
}
