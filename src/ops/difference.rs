//! What tells two states of a database apart: pages, tables, rows.
//!
//! Tables whose pages are the same in both are not looked at. The rows of the others are compared
//! side by side: tables with rowids in the order of their rowids, tables without by looking each
//! row up by its primary key. So memory does not grow with the tables. Virtual tables are left out;
//! the tables that they keep their data in are compared like any other.
//!
//! Invariant: nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row};

use crate::error::{Error, Result};
use crate::progress::{Monitor, check_cancelled};
use crate::sqlite::answer::text;
use crate::sqlite::{layout, source_error};
use crate::types::PageNo;

/// What would become of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is only in the new state.
    Created,
    /// It is only in the old state.
    Dropped,
    /// It has other columns; its rows are not compared.
    Redefined,
    /// Its pages differ, and its rows can't be compared: it has no key to tell them apart by, or
    /// sorts by rules that only its application knows.
    Uncompared,
    /// Its rows differ, or only its pages.
    Changed,
}

impl Fate {
    /// A stable lower-case name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Dropped => "dropped",
            Self::Redefined => "redefined",
            Self::Uncompared => "uncompared",
            Self::Changed => "changed",
        }
    }
}

/// How a table differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableDifference {
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub fate: Fate,
    /// Rows that only the new state has.
    pub added: u64,
    /// Rows that only the old state has.
    pub removed: u64,
    /// Rows of one key with other values.
    pub changed: u64,
}

/// How two states differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Pages that differ, or are only in one of them.
    pub pages: u64,
    /// The tables that differ, by name.
    pub tables: Vec<TableDifference>,
    /// Indexes, triggers and views that differ: only in the old state, only in the new, or defined
    /// otherwise.
    pub schema: Vec<String>,
}

/// What SQLite says when it does not know a collation or a function of the application's.
const UNKNOWN: [&str; 2] = ["no such", "no query solution"];

/// A table as the schema has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    columns: Vec<String>,
    key: Vec<String>,
    /// What the rowid can be called; `None` for a table without.
    rowid: Option<&'static str>,
    /// Whether its name, or a column's, is no text, so that no query of ours can name it.
    nameless: bool,
}

/// Compares the rows of two states, of which `pages` differ.
///
/// # Errors
/// [`crate::ErrorKind::Source`] when a state can't be read; [`crate::ErrorKind::Interrupted`].
pub(crate) fn compare(
    old: &Connection,
    new: &Connection,
    pages: &HashSet<PageNo>,
    monitor: &dyn Monitor,
) -> Result<Difference> {
    let failed = |e| source_error(e, "cannot be compared");
    let (old_tables, new_tables) = (tables(old).map_err(failed)?, tables(new).map_err(failed)?);
    let mut touched: BTreeSet<String> = layout::by_table(old, pages)?.into_keys().collect();
    touched.extend(layout::by_table(new, pages)?.into_keys());
    let names: BTreeSet<&String> = old_tables.keys().chain(new_tables.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        check_cancelled(monitor)?;
        let found = match (old_tables.get(name), new_tables.get(name)) {
            (a, b) if [a, b].into_iter().flatten().any(|table| table.nameless) => {
                (a != b || touched.contains(name)).then_some((Fate::Uncompared, (0, 0, 0)))
            }
            (None, Some(_)) => Some((Fate::Created, (count(new, name).map_err(failed)?, 0, 0))),
            (Some(_), None) => Some((Fate::Dropped, (0, count(old, name).map_err(failed)?, 0))),
            (Some(a), Some(b)) if a != b => {
                let added = count(new, name).map_err(failed)?;
                Some((Fate::Redefined, (added, count(old, name).map_err(failed)?, 0)))
            }
            (Some(table), _) if touched.contains(name) => {
                match rows(old, new, name, table, monitor)? {
                    Some((0, 0, 0)) => None,
                    Some(rows) => Some((Fate::Changed, rows)),
                    None => Some((Fate::Uncompared, (0, 0, 0))),
                }
            }
            _ => None,
        };
        if let Some((fate, (added, removed, changed))) = found {
            let name = name.clone();
            differences.push(TableDifference { name, fate, added, removed, changed });
        }
    }
    Ok(Difference {
        pages: u64::try_from(pages.len()).unwrap_or(u64::MAX),
        tables: differences,
        schema: schema(old, new).map_err(failed)?,
    })
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn count(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection
        .query_row(&format!("SELECT count(*) FROM {}", quote(name)), [], |row| row.get(0))
        .map(|n: i64| u64::try_from(n).unwrap_or(0))
}

/// The ordinary tables of a state.
fn tables(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Table>> {
    let mut listed = connection.prepare(
        "SELECT name, wr FROM pragma_table_list
         WHERE schema='main' AND type IN ('table', 'shadow') AND name NOT LIKE 'sqlite\\_s%' ESCAPE '\\'",
    )?;
    let is_text = |row: &Row<'_>| row.get_ref(0).map(|value| value.as_str().is_ok());
    let rows =
        listed.query_map([], |row| Ok((text(row, 0)?, row.get::<_, bool>(1)?, is_text(row)?)))?;
    let mut found = BTreeMap::new();
    for row in rows {
        let (name, without_rowid, mut named) = row?;
        // Hidden columns of 2 and 3 are generated ones.
        let mut info = connection.prepare(
            "SELECT name, pk FROM pragma_table_xinfo(?1) WHERE hidden IN (0, 2, 3) ORDER BY cid",
        )?;
        let columns: Vec<(String, i64, bool)> = info
            .query_map([&name], |row| Ok((text(row, 0)?, row.get(1)?, is_text(row)?)))?
            .collect::<rusqlite::Result<_>>()?;
        named &= columns.iter().all(|(.., is_text)| *is_text);
        let columns: Vec<(String, i64)> =
            columns.into_iter().map(|(column, pk, _)| (column, pk)).collect();
        let mut key: Vec<&(String, i64)> = columns.iter().filter(|(_, pk)| *pk > 0).collect();
        key.sort_by_key(|(_, pk)| *pk);
        let taken =
            |alias: &&str| columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(alias));
        let alias = ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !taken(alias));
        let table = Table {
            key: key.into_iter().map(|(name, _)| name.clone()).collect(),
            columns: columns.iter().map(|(name, _)| name.clone()).collect(),
            rowid: alias.filter(|_| !without_rowid),
            nameless: !named,
        };
        found.insert(name, table);
    }
    Ok(found)
}

/// A value as it is stored: text may be no text that Rust knows.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(n) => ValueRef::Integer(*n),
            Self::Real(x) => ValueRef::Real(*x),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn values(row: &Row<'_>, from: usize, n: usize) -> rusqlite::Result<Vec<Cell>> {
    let cell = |i| {
        Ok(match row.get_ref(i)? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(n) => Cell::Integer(n),
            ValueRef::Real(x) => Cell::Real(x),
            ValueRef::Text(bytes) => Cell::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        })
    };
    (from..from + n).map(cell).collect()
}

/// The rows that differ; `None` if that can't be told.
fn rows(
    old: &Connection,
    new: &Connection,
    name: &str,
    table: &Table,
    monitor: &dyn Monitor,
) -> Result<Option<Rows>> {
    let compared = match (&table.rowid, table.key.is_empty()) {
        (Some(_), _) => by_rowid(old, new, name, table, monitor),
        (None, false) => by_key(old, new, name, table, monitor),
        (None, true) => return Ok(None),
    };
    match compared {
        // The application's own collations and functions are not ours.
        Err(e) if UNKNOWN.iter().any(|text| cause_of(&e).contains(text)) => Ok(None),
        compared => compared.map(Some),
    }
}

fn cause_of(e: &Error) -> String {
    std::error::Error::source(e).map(ToString::to_string).unwrap_or_default()
}

/// Rows added, removed and changed.
type Rows = (u64, u64, u64);

/// Two cursors side by side, in the order of rowids.
fn by_rowid(
    old: &Connection,
    new: &Connection,
    name: &str,
    table: &Table,
    monitor: &dyn Monitor,
) -> Result<Rows> {
    let (rowid, n) = (table.rowid.unwrap_or("rowid"), table.columns.len());
    let columns: Vec<String> = table.columns.iter().map(|c| quote(c)).collect();
    let sql =
        format!("SELECT {rowid}, {} FROM {} ORDER BY {rowid}", columns.join(", "), quote(name));
    let run = || -> rusqlite::Result<Option<Rows>> {
        let (mut a, mut b) = (old.prepare(&sql)?, new.prepare(&sql)?);
        let (mut a, mut b) = (a.query([])?, b.query([])?);
        let read = |row: Option<&Row<'_>>| -> rusqlite::Result<Option<(i64, Vec<Cell>)>> {
            row.map(|row| Ok((row.get(0)?, values(row, 1, n)?))).transpose()
        };
        let (mut x, mut y) = (read(a.next()?)?, read(b.next()?)?);
        let mut rows = (0, 0, 0);
        let mut looked = 0u32;
        loop {
            looked = looked.wrapping_add(1);
            if looked.is_multiple_of(10_000) && monitor.cancelled() {
                return Ok(None);
            }
            let order = match (&x, &y) {
                (None, None) => return Ok(Some(rows)),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(x), Some(y)) => x.0.cmp(&y.0),
            };
            if order.is_eq() {
                rows.2 += u64::from(x != y);
            }
            if order.is_lt() {
                rows.1 += 1;
            }
            if order.is_gt() {
                rows.0 += 1;
            }
            if order.is_le() {
                x = read(a.next()?)?;
            }
            if order.is_ge() {
                y = read(b.next()?)?;
            }
        }
    };
    finish(run(), monitor)
}

/// Each row of the old state looked up in the new one by its primary key.
fn by_key(
    old: &Connection,
    new: &Connection,
    name: &str,
    table: &Table,
    monitor: &dyn Monitor,
) -> Result<Rows> {
    let n = table.columns.len();
    let columns: Vec<String> = table.columns.iter().map(|c| quote(c)).collect();
    let keys: Vec<String> = table.key.iter().map(|c| quote(c)).collect();
    let all = format!("SELECT {}, {} FROM {}", keys.join(", "), columns.join(", "), quote(name));
    let wanted: Vec<String> = keys.iter().map(|k| format!("{k} IS ?")).collect();
    let one = format!(
        "SELECT {} FROM {} WHERE {}",
        columns.join(", "),
        quote(name),
        wanted.join(" AND ")
    );
    let run = || -> rusqlite::Result<Option<Rows>> {
        let (mut all, mut one) = (old.prepare(&all)?, new.prepare(&one)?);
        let mut cursor = all.query([])?;
        let (mut found, mut removed, mut changed) = (0u64, 0u64, 0u64);
        let mut looked = 0u32;
        while let Some(row) = cursor.next()? {
            looked = looked.wrapping_add(1);
            if looked.is_multiple_of(10_000) && monitor.cancelled() {
                return Ok(None);
            }
            let key = values(row, 0, keys.len())?;
            let mine = values(row, keys.len(), n)?;
            let mut there = one.query(rusqlite::params_from_iter(key))?;
            match there.next()? {
                Some(row) => {
                    found += 1;
                    changed += u64::from(values(row, 0, n)? != mine);
                }
                None => removed += 1,
            }
        }
        Ok(Some((count(new, name)?.saturating_sub(found), removed, changed)))
    };
    finish(run(), monitor)
}

fn finish(rows: rusqlite::Result<Option<Rows>>, monitor: &dyn Monitor) -> Result<Rows> {
    match rows {
        Ok(Some(rows)) => Ok(rows),
        Ok(None) => check_cancelled(monitor).map(|()| (0, 0, 0)),
        Err(e) => Err(source_error(e, "cannot be compared")),
    }
}

/// Indexes, triggers and views that are not the same in both.
fn schema(old: &Connection, new: &Connection) -> rusqlite::Result<Vec<String>> {
    let read = |connection: &Connection| -> rusqlite::Result<BTreeMap<String, Option<String>>> {
        let mut statement = connection.prepare(
            "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE type <> 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?;
        let sql = |row: &Row<'_>| match row.get_ref(1)?.as_bytes_or_null()? {
            Some(_) => text(row, 1).map(Some),
            None => Ok(None),
        };
        statement.query_map([], |row| Ok((text(row, 0)?, sql(row)?)))?.collect()
    };
    let (a, b) = (read(old)?, read(new)?);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differ = names.into_iter().filter_map(|name| match (a.get(name), b.get(name)) {
        (None, _) => Some(format!("{name} created")),
        (_, None) => Some(format!("{name} dropped")),
        (a, b) if a != b => Some(format!("{name} redefined")),
        _ => None,
    });
    Ok(differ.collect())
}
