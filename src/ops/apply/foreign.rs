//! Foreign keys before and after rows were changed, within the transaction: no row may refer to
//! nothing that did not before.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::answer::{message, text};
use crate::sqlite::rows::cell::quoted;
use crate::sqlite::source_error;

/// How many rows that refer to nothing are named.
const NAMED: u32 = 5;

/// What referred to nothing before. A temporary table hides one of the database's that has the same
/// name, so no application may have this one.
const BEFORE: &str = "temp.\"pagekeep: rows that referred to nothing before\"";

/// The tables whose rows may come to refer to nothing.
#[derive(Debug)]
pub(crate) struct Foreign {
    tables: Vec<String>,
    /// Tables whose foreign keys SQLite can't check, and why.
    pub(crate) unchecked: Vec<String>,
}

impl Foreign {
    /// Looks at what refers to nothing before rows of these tables are changed: `grown` has those
    /// in which rows come or change, `shrunk` those in which rows go or change.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn before(
        db: &Connection,
        grown: &BTreeSet<String>,
        shrunk: &BTreeSet<String>,
    ) -> Result<Self> {
        let mut tables = concerned(db, grown, shrunk).map_err(failed)?;
        let mut unchecked = Vec::new();
        if !tables.is_empty() {
            db.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {BEFORE}(child, parent, key, row, n);
                 DELETE FROM {BEFORE}"
            ))
            .map_err(failed)?;
        }
        tables.retain(|table| {
            let sql = format!("INSERT INTO {BEFORE} {COUNTED}");
            match db.execute(&sql, [table]) {
                Ok(_) => true,
                Err(e) => {
                    unchecked.push(format!("foreign keys of {table}: {}", message(&e)));
                    false
                }
            }
        });
        Ok(Self { tables, unchecked })
    }

    /// Makes sure that nothing refers to nothing that did not before.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] naming rows that do.
    pub(crate) fn after(&self, db: &Connection) -> Result<()> {
        for table in &self.tables {
            let found = self.new_of(db, table).map_err(failed)?;
            if let Some((parent, _)) = found.first() {
                let rows: Vec<String> = found.iter().map(|(_, row)| row.clone()).collect();
                let what = format!(
                    "rows would refer to rows of {} that are not there: {}",
                    quoted(parent),
                    rows.join(", ")
                );
                return Err(Error::new(ErrorKind::Refused, what)
                    .with_object(format!("table {table:?}"))
                    .with_hint(format!(
                        "bring the rows of {} back in the same go, or leave those that refer to them as they are",
                        quoted(parent)
                    )));
            }
        }
        Ok(())
    }

    fn new_of(&self, db: &Connection, table: &str) -> rusqlite::Result<Vec<(String, String)>> {
        let sql = format!(
            "SELECT parent, coalesce('rowid ' || row, 'one without a rowid') FROM
             (SELECT * FROM ({COUNTED}) EXCEPT SELECT * FROM {BEFORE}) LIMIT {NAMED}"
        );
        let mut statement = db.prepare(&sql)?;
        let read = |row: &rusqlite::Row<'_>| Ok((text(row, 0)?, text(row, 1)?));
        statement.query_map([table], read)?.collect()
    }
}

/// What refers to nothing. Rows of a table WITHOUT ROWID are told by their number alone.
const COUNTED: &str =
    "SELECT \"table\" AS child, parent AS parent, fkid AS key, rowid AS row, count(*) AS n
     FROM pragma_foreign_key_check(?1) GROUP BY 1, 2, 3, 4";

/// The tables with foreign keys among those that grew, and those that refer to one that shrank.
fn concerned(
    db: &Connection,
    grown: &BTreeSet<String>,
    shrunk: &BTreeSet<String>,
) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(
        "SELECT DISTINCT l.name, f.\"table\" FROM pragma_table_list l, pragma_foreign_key_list(l.name) f
         WHERE l.schema = 'main' AND l.type = 'table'",
    )?;
    let read = |row: &rusqlite::Row<'_>| Ok((text(row, 0)?, text(row, 1)?));
    let pairs: Vec<(String, String)> =
        statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    let has = |set: &BTreeSet<String>, name: &str| {
        set.iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    let concerned = pairs
        .into_iter()
        .filter(|(child, parent)| has(grown, child) || has(shrunk, parent))
        .map(|(child, _)| child);
    Ok(concerned.collect::<BTreeSet<_>>().into_iter().collect())
}

fn failed(e: rusqlite::Error) -> Error {
    source_error(e, "foreign keys can't be checked")
}
