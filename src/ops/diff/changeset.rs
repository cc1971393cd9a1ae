//! Row changes as a changeset of SQLite's session extension: bytes that `sqlite3changeset_apply`
//! and whoever knows the format take, and that can be inverted and put together.
//!
//! ```text
//! a table    'T', number of columns, for each column its place in the primary key (0: none),
//!            name, 0x00; then its changes
//! a change   operation (18 insert, 23 update, 9 delete), 0x00, record of before, record of after
//! a record   for each column a type and a value: 0 not told, 1 i64, 2 f64, 3 text, 4 blob, 5 NULL
//! ```
//!
//! Of an insert there is no record of before, of a delete none of after. An update tells the key
//! and what changed. Numbers of columns and bytes are varints of SQLite's; the rest is big-endian.
//! Source: <https://www.sqlite.org/sessionintro.html>, and `sqlite3session.c`.
//!
//! Invariants:
//! - Of one key at most one row goes and then one comes: what goes is told first.
//! - What a changeset can't tell is said of its table, and never left out in silence.

use rusqlite::Connection;

use super::change::{Named, Operation, RowChange, TableDiff};
use super::plan::Pair;
use super::run::Diff;
use crate::error::Result;
use crate::progress::Monitor;
use crate::sqlite::rows::cell::Cell;
use crate::sqlite::rows::table::{Key, SEQUENCES, Table};

/// Takes bytes of a changeset, in order.
pub type WriteBytes<'w> = &'w mut dyn FnMut(&[u8]) -> Result<()>;

const INSERT: u8 = 18;
const UPDATE: u8 = 23;
const DELETE: u8 = 9;
const NOT_TOLD: u8 = 0;

/// Which changes of a table a walk writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// All: no key changes.
    Whole,
    /// Rows that go, or whose key changes.
    Leave,
    /// All others.
    Come,
}

impl Diff<'_> {
    /// Writes what turns the old moment into the new one as a changeset of SQLite's session
    /// extension. Returns how each table differs, as [`Diff::rows`] does;
    /// [`TableDiff::uncompared`] also says what a changeset can't tell: rows of a table without a
    /// declared primary key, of a virtual table, or of a table that is defined otherwise, and rows
    /// with NULL in their key. It has nothing of the schema.
    ///
    /// # Errors
    /// As [`Diff::rows`]; what `write` answers.
    pub fn changeset(
        &self,
        write: WriteBytes<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<TableDiff>> {
        let mut tables = Vec::new();
        // SQLite keeps these numbers itself as rows come.
        for pair in self.plan.pairs.iter().filter(|pair| &*pair.name != SEQUENCES) {
            let told = match Shape::of(pair) {
                Ok(shape) => self.is_known_by_its_columns(pair)?.map(|()| shape),
                Err(why) => Err(why),
            };
            let table = match told {
                Ok(shape) => self.written(pair, &shape, write, monitor)?,
                Err(why) => {
                    let mut table = self.rows_of(pair, &mut |_| Ok(()), monitor)?;
                    if !table.is_same() && table.uncompared.is_none() {
                        table.uncompared = Some(why.to_owned());
                    }
                    table
                }
            };
            if !table.is_same() || table.uncompared.is_some() {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// Whoever applies a changeset asks for a row by the columns of its key, with their own
    /// collations: those of the key's index have to be the same, or other rows are met.
    fn is_known_by_its_columns(
        &self,
        pair: &Pair,
    ) -> Result<std::result::Result<(), &'static str>> {
        for (side, table) in [(&self.old, &pair.old), (&self.new, &pair.new)] {
            let Some(table) = table else { continue };
            if collates_otherwise(side.connection()?, &table.name).map_err(|e| side.explain(e))? {
                return Ok(Err("its primary key sorts by another collation than its columns"));
            }
        }
        Ok(Ok(()))
    }

    /// Writes the changes of a table.
    fn written(
        &self,
        pair: &Pair,
        shape: &Shape,
        write: WriteBytes<'_>,
        monitor: &dyn Monitor,
    ) -> Result<TableDiff> {
        let turns: &[Turn] = match shape.key_is_rowid {
            true => &[Turn::Whole],
            false => &[Turn::Leave, Turn::Come],
        };
        let (mut head, mut keyless, mut told) = (Some(shape.head(&pair.name)), 0u64, None);
        for turn in turns {
            let mut take = |change: RowChange| {
                let is_keyless = [&change.before, &change.after]
                    .into_iter()
                    .flatten()
                    .any(|row| shape.keys(row).any(|cell| *cell == Cell::Null));
                if is_keyless {
                    keyless += u64::from(*turn != Turn::Leave);
                    return Ok(());
                }
                let bytes = shape.change(&change, *turn);
                if bytes.is_empty() {
                    return Ok(());
                }
                head.take().map_or(Ok(()), |head| write(&head))?;
                write(&bytes)
            };
            told = Some(self.rows_of(pair, &mut take, monitor)?);
        }
        let Some(mut told) = told else { return self.rows_of(pair, &mut |_| Ok(()), monitor) };
        if keyless > 0 && told.uncompared.is_none() {
            let rows = if keyless == 1 { "row has" } else { "rows have" };
            told.uncompared = Some(format!(
                "{keyless} {rows} NULL in the primary key, which a changeset can't tell"
            ));
        }
        Ok(told)
    }
}

/// A table as changesets know it.
struct Shape {
    /// For each column its place in the primary key, from 1 on, or 0.
    key: Vec<u8>,
    /// Whether the key is the rowid, which no update changes.
    key_is_rowid: bool,
}

impl Shape {
    /// The table of a pair, or why a changeset can't have its rows.
    fn of(pair: &Pair) -> std::result::Result<Self, &'static str> {
        let of = |table: &Table| (table.columns.clone(), table.primary.clone());
        let (old, new) = (pair.old.as_ref(), pair.new.as_ref());
        if let (Some(old), Some(new)) = (old, new)
            && of(old) != of(new)
        {
            return Err("it has other columns, and a changeset has rows of one definition");
        }
        let Some(table) = new.or(old) else { return Err("it is in neither moment") };
        if old.iter().chain(&new).any(|table| table.is_virtual) {
            return Err("it is a virtual table, which changesets do not have");
        }
        if table.primary.is_empty() {
            return Err("it has no PRIMARY KEY, by which a changeset knows rows");
        }
        let place = |column: &String| {
            let at = table.primary.iter().position(|key| key == column);
            at.map_or(Some(0), |at| u8::try_from(at + 1).ok())
        };
        let key: Option<Vec<u8>> = table.columns.iter().map(place).collect();
        let Some(key) =
            key.filter(|key| key.iter().filter(|at| **at > 0).count() == table.primary.len())
        else {
            return Err(
                "its primary key has a column that is not stored, or more columns than a changeset can tell",
            );
        };
        // Keys of other tables that their collation takes for the same may have other bytes.
        let is_rowid = |table: &&Table| matches!(&table.key, Key::Rowid(name) if table.primary == [name.as_str()]);
        let key_is_rowid = old.iter().chain(&new).all(is_rowid);
        Ok(Self { key, key_is_rowid })
    }

    fn head(&self, name: &str) -> Vec<u8> {
        let mut bytes = vec![b'T'];
        varint(&mut bytes, self.key.len());
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes
    }

    /// The values of the key.
    fn keys<'r>(&'r self, row: &'r Named) -> impl Iterator<Item = &'r Cell> {
        let keys = self.key.iter().zip(&row.values).filter(|(at, _)| **at > 0);
        keys.map(|(_, cell)| cell)
    }

    /// What a walk writes of a row; nothing if it is another one's.
    fn change(&self, change: &RowChange, turn: Turn) -> Vec<u8> {
        let (leaves, comes) = (turn != Turn::Come, turn != Turn::Leave);
        match (change.operation, &change.before, &change.after) {
            (Operation::Update, Some(before), Some(after)) => {
                let moves = !self.keys(before).eq(self.keys(after));
                match (moves, turn) {
                    (false, Turn::Leave) => Vec::new(),
                    (false, _) => self.update(before, after),
                    (true, Turn::Leave) => whole(DELETE, before),
                    (true, Turn::Come) => whole(INSERT, after),
                    (true, Turn::Whole) => [whole(DELETE, before), whole(INSERT, after)].concat(),
                }
            }
            (Operation::Delete, Some(before), _) if leaves => whole(DELETE, before),
            (Operation::Insert, _, Some(after)) if comes => whole(INSERT, after),
            _ => Vec::new(),
        }
    }

    fn update(&self, before: &Named, after: &Named) -> Vec<u8> {
        let mut bytes = vec![UPDATE, 0];
        for (at, (old, new)) in self.key.iter().zip(before.values.iter().zip(&after.values)) {
            if *at > 0 || old != new { value(&mut bytes, old) } else { bytes.push(NOT_TOLD) }
        }
        for (old, new) in before.values.iter().zip(&after.values) {
            if old == new { bytes.push(NOT_TOLD) } else { value(&mut bytes, new) }
        }
        bytes
    }
}

/// Whether an index of the primary key has another collation than one of its columns.
fn collates_otherwise(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    let mut statement = db.prepare(
        "SELECT x.name, x.coll FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
         WHERE l.origin = 'pk' AND x.key AND x.name IS NOT NULL",
    )?;
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        let (column, of_index): (String, String) = (row.get(0)?, row.get(1)?);
        let (_, of_column, ..) = db.column_metadata(Some("main"), table, &column)?;
        let of_column = of_column.map_or("BINARY".into(), |name| name.to_string_lossy());
        if !of_column.eq_ignore_ascii_case(&of_index) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A row that comes or goes, with all its values.
fn whole(operation: u8, row: &Named) -> Vec<u8> {
    let mut bytes = vec![operation, 0];
    row.values.iter().for_each(|cell| value(&mut bytes, cell));
    bytes
}

fn value(bytes: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Null => bytes.push(5),
        Cell::Integer(n) => {
            bytes.push(1);
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        Cell::Real(x) => {
            bytes.push(2);
            bytes.extend_from_slice(&x.to_bits().to_be_bytes());
        }
        Cell::Text(content) | Cell::Blob(content) => {
            bytes.push(if matches!(cell, Cell::Text(_)) { 3 } else { 4 });
            varint(bytes, content.len());
            bytes.extend_from_slice(content);
        }
    }
}

/// A number as SQLite writes it: seven bits a byte, the highest first. Larger ones than 2^56 would
/// need another form, and no row has so many bytes.
fn varint(bytes: &mut Vec<u8>, n: usize) {
    let groups = (usize::BITS - n.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        bytes.push(u8::try_from((n >> (7 * group)) & 0x7f).unwrap_or(0x7f) | more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_sqlite_writes_them() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x81, 0]),
            (300, &[0x82, 0x2c]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x81, 0x80, 0]),
        ];
        for (n, wanted) in cases {
            let mut bytes = Vec::new();
            varint(&mut bytes, n);
            assert_eq!(bytes, wanted, "{n}");
        }
    }
}
