//! Rows, as people and programs read them.
//!
//! A text that is no UTF-8 is shown as the blob that it is, and no value is another one for being
//! printed: but tables, which are for people, cut what is long, and say so.

use std::collections::HashSet;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value};

use crate::api::query::{self, as_json, hex};
use crate::cli::args::FormatArg;
use crate::cli::output::{Output, bytes};
use crate::cli::table::table;
use crate::cli::terminal::printable_json;

/// How many rows are drawn as one table.
const TABLE_ROWS: usize = 1000;
/// How many bytes of text are drawn as one table.
const TABLE_BYTES: usize = 1024 * 1024;
/// How many characters of a text a table shows.
const CELL_CHARS: usize = 200;
/// How many bytes of a blob a table shows.
const CELL_BYTES: usize = 16;

/// Prints the rows of one statement after the other.
pub(super) struct Printer<'o> {
    out: &'o Output,
    /// None for typed lines of JSON.
    format: Option<FormatArg>,
    columns: Vec<String>,
    /// Rows of a table that are not drawn yet.
    waiting: Vec<Vec<String>>,
    waiting_bytes: usize,
    /// Columns of the table that have something else than numbers.
    words: HashSet<usize>,
    /// Rows of this statement.
    rows: u64,
}

impl<'o> Printer<'o> {
    pub(super) fn new(out: &'o Output, format: Option<FormatArg>) -> Self {
        Self {
            out,
            format,
            columns: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            words: HashSet::new(),
            rows: 0,
        }
    }

    /// A statement begins to answer.
    pub(super) fn begin(&mut self, columns: &[String]) {
        self.rows = 0;
        self.columns = columns.to_vec();
        if self.columns.is_empty() {
            return;
        }
        match self.format {
            Some(FormatArg::Json | FormatArg::Ndjson) | None => self.columns = distinct(columns),
            Some(FormatArg::Csv) => {
                let names = self.columns.iter().map(|name| quoted(name));
                let line = names.collect::<Vec<_>>().join(",");
                self.out.data(&line);
            }
            Some(FormatArg::Table | FormatArg::Line) => {}
        }
        if self.format == Some(FormatArg::Json) {
            self.out.line("[");
        }
    }

    pub(super) fn row(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        self.rows += 1;
        match self.format {
            Some(FormatArg::Table) => self.wait(row)?,
            Some(FormatArg::Csv) => {
                let mut fields = Vec::with_capacity(self.columns.len());
                for i in 0..self.columns.len() {
                    fields.push(field(row.get_ref(i)?));
                }
                self.out.data(&fields.join(","));
            }
            Some(FormatArg::Line) => {
                if self.rows > 1 {
                    self.out.line("");
                }
                let width = self.columns.iter().map(|name| name.chars().count()).max();
                for (i, name) in self.columns.iter().enumerate() {
                    let value = plain(row.get_ref(i)?);
                    self.out.line(format_args!("{name:>0$} = {value}", width.unwrap_or(0)));
                }
            }
            Some(FormatArg::Json) => {
                let comma = if self.rows > 1 { "," } else { " " };
                let object = printable_json(self.text(row)?);
                self.out.line(format_args!("{comma}{object}"));
            }
            Some(FormatArg::Ndjson) => self.out.line(printable_json(self.text(row)?)),
            None => {
                self.out.object(&query::Row { values: self.object(row)? });
            }
        }
        Ok(())
    }

    /// The statement has answered.
    pub(super) fn end(&mut self) {
        self.flush();
        if self.format == Some(FormatArg::Json) && !self.columns.is_empty() {
            self.out.line("]");
        }
    }

    /// Draws the rows that wait.
    pub(super) fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let header: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let numbers = (0..header.len()).filter(|i| !self.words.contains(i));
        for line in table(&header, &self.waiting, &numbers.collect::<Vec<_>>()) {
            self.out.line(format_args!("  {line}"));
        }
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.words.clear();
    }

    fn wait(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let mut cells = Vec::with_capacity(self.columns.len());
        for i in 0..self.columns.len() {
            let value = row.get_ref(i)?;
            if matches!(value, ValueRef::Text(_) | ValueRef::Blob(_)) {
                self.words.insert(i);
            }
            let cell = cell(value);
            self.waiting_bytes += cell.len();
            cells.push(cell);
        }
        self.waiting.push(cells);
        if self.waiting.len() >= TABLE_ROWS || self.waiting_bytes >= TABLE_BYTES {
            self.flush();
        }
        Ok(())
    }

    fn text(&self, row: &Row<'_>) -> rusqlite::Result<String> {
        Ok(Value::Object(self.object(row)?).to_string())
    }

    fn object(&self, row: &Row<'_>) -> rusqlite::Result<Map<String, Value>> {
        let mut object = Map::new();
        for (i, name) in self.columns.iter().enumerate() {
            object.insert(name.clone(), as_json(row.get_ref(i)?));
        }
        Ok(object)
    }
}

/// The names of columns, of which an object has each once: `id`, `id:2`.
fn distinct(columns: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        let again = (2..).map(|n| format!("{column}:{n}"));
        let mut free = std::iter::once(column.clone()).chain(again);
        let name = free.find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// A value as text, whole.
fn plain(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(x) => format!("{x:?}"),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => literal(text),
        },
        ValueRef::Blob(blob) => literal(blob),
    }
}

/// A value as a table shows it.
pub(in crate::cli) fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Blob(blob) if blob.len() > CELL_BYTES => {
            let first = blob.get(..CELL_BYTES).unwrap_or_default();
            let len = u64::try_from(blob.len()).unwrap_or(u64::MAX);
            format!("x'{}…' ({})", hex(first), bytes(len))
        }
        value => {
            let text = plain(value);
            match text.char_indices().nth(CELL_CHARS) {
                None => text,
                Some((end, _)) => {
                    let first = text.get(..end).unwrap_or_default();
                    format!("{first}… ({} characters)", text.chars().count())
                }
            }
        }
    }
}

/// A value as a field of CSV: NULL is nothing, and an empty text is two quotes.
pub(in crate::cli) fn field(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Text([]) => "\"\"".to_owned(),
        value => quoted(&plain(value)),
    }
}

/// A text as a field of CSV.
pub(in crate::cli) fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A blob as SQL writes it.
fn literal(blob: &[u8]) -> String {
    format!("x'{}'", hex(blob))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_told_apart_in_every_format() {
        let values = [
            (ValueRef::Null, "", "NULL", json!(null)),
            (
                ValueRef::Integer(i64::MIN),
                "-9223372036854775808",
                "-9223372036854775808",
                json!(i64::MIN),
            ),
            (ValueRef::Real(0.1), "0.1", "0.1", json!(0.1)),
            (ValueRef::Real(1.0), "1.0", "1.0", json!(1.0)),
            (ValueRef::Real(f64::INFINITY), "inf", "inf", json!("Infinity")),
            (ValueRef::Text(b""), "\"\"", "", json!("")),
            (
                ValueRef::Text(b"a,\"b\"\nc"),
                "\"a,\"\"b\"\"\nc\"",
                "a,\"b\"\nc",
                json!("a,\"b\"\nc"),
            ),
            (ValueRef::Text(b"\xff"), "x'ff'", "x'ff'", json!({"blob": "ff"})),
            (ValueRef::Blob(&[0, 255]), "x'00ff'", "x'00ff'", json!({"blob": "00ff"})),
        ];
        for (value, csv, text, object) in values {
            assert_eq!(field(value), csv, "{value:?}");
            assert_eq!(plain(value), text, "{value:?}");
            assert_eq!(as_json(value), object, "{value:?}");
        }
    }

    #[test]
    fn a_table_cuts_what_is_long_and_says_so() {
        assert_eq!(cell(ValueRef::Blob(&[1; 16])), format!("x'{}'", "01".repeat(16)));
        assert_eq!(cell(ValueRef::Blob(&[1; 17])), format!("x'{}…' (17 B)", "01".repeat(16)));
        let long = "é".repeat(201);
        assert_eq!(
            cell(ValueRef::Text(long.as_bytes())),
            format!("{}… (201 characters)", "é".repeat(200))
        );
    }

    #[test]
    fn an_object_has_each_name_once() {
        let names = ["id", "id", "id:2", "id", ""].map(str::to_owned);
        assert_eq!(distinct(&names), ["id", "id:2", "id:2:2", "id:3", ""]);
    }
}
