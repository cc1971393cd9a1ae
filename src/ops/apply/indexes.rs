//! Full-text indexes that keep no texts of their own, and are about tables whose rows change.
//!
//! The application keeps them, by triggers as a rule, and those do not run. An index that has all
//! rows of what it is about is built anew. One that has only some, or has them otherwise, is the
//! application's own doing: built anew it would have rows that nobody put there.

use std::collections::BTreeSet;

use rusqlite::{Connection, ErrorCode};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::answer::message;
use crate::sqlite::rows::cell::quoted;
use crate::sqlite::rows::table::{Schema, Table, module};

/// The indexes about tables that change.
#[derive(Debug)]
pub(super) struct Indexes {
    /// Those that have exactly the texts that they are about.
    pub(super) exact: Vec<String>,
    /// Those that have not, and why they are left as they are: in words.
    pub(super) left: Vec<String>,
}

impl Indexes {
    /// Looks at the indexes about tables that will be changed, or about a view, which may be about
    /// any.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when one can't be looked at.
    pub(super) fn before(
        db: &Connection,
        now: &Schema,
        touched: &BTreeSet<String>,
    ) -> Result<Self> {
        let is_view = |name: &str| {
            let mut views = now.objects.iter().filter(|object| object.kind == "view");
            views.any(|view| view.name.eq_ignore_ascii_case(name))
        };
        let is_about = |content: &str| {
            touched.iter().any(|name| name.eq_ignore_ascii_case(content)) || is_view(content)
        };
        let mut indexes = Self { exact: Vec::new(), left: Vec::new() };
        for table in now.tables.values() {
            let Some(content) = table.indexed().filter(|content| is_about(content)) else {
                continue;
            };
            match db.execute_batch(&check_sql(table)) {
                Ok(()) => indexes.exact.push(table.name.clone()),
                Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                    let name = &table.name;
                    indexes.left.push(format!(
                        "full-text index {name}: it did not have exactly the rows of {content} before, so its application has to bring it up to date"
                    ));
                }
                Err(e) => return Err(refused(&table.name, &e)),
            }
        }
        Ok(indexes)
    }

    /// Builds those anew that were exact.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when one can't be.
    pub(super) fn rebuild(&self, db: &Connection) -> Result<()> {
        for index in &self.exact {
            let name = quoted(index);
            db.execute_batch(&format!("INSERT INTO main.{name}({name}) VALUES('rebuild')"))
                .map_err(|e| refused(index, &e))?;
        }
        Ok(())
    }
}

/// The SQL by which a module compares an index with the texts that it is about.
fn check_sql(table: &Table) -> String {
    let name = quoted(&table.name);
    match module(&table.sql) {
        Some(module) if module.eq_ignore_ascii_case("fts5") => {
            format!("INSERT INTO main.{name}({name}, rank) VALUES('integrity-check', 1)")
        }
        _ => format!("INSERT INTO main.{name}({name}) VALUES('integrity-check')"),
    }
}

fn refused(index: &str, e: &rusqlite::Error) -> Error {
    let what =
        format!("can't be built anew, though a table that it is about changes: {}", message(e));
    Error::new(ErrorKind::Refused, what).with_object(format!("full-text index {index:?}"))
}
