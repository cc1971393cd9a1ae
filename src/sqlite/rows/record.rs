//! Rows as SQLite stores them: the cells of a table's leaf, and the values of a record.
//!
//! This reads what SQLite would read, and nothing that it is not sure of: `None` means that SQLite
//! has to be asked.
//!
//! | stored | read as |
//! |---|---|
//! | anything, in a column that is the INTEGER PRIMARY KEY | the rowid |
//! | an integer, in a column of REAL affinity | a floating point number |
//! | a floating point number that is none | NULL |
//! | nothing, in a column that was added later | its default |
//!
//! Invariant: cells and records are input like any other: no bytes make this panic, or take more
//! memory than they have.

use std::sync::Arc;

use rusqlite::Connection;

use super::cell::Cell;
use super::page::{
    INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF, cells, header, kind, local_len, short, varint,
};
use crate::error::Result;
use crate::sqlite::layout::number;

/// The longest row that SQLite reads.
const LONGEST: usize = 1_000_000_000;

/// How the rows of a table are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout(Vec<Stored>);

/// How a column is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Which value of the record it is.
    pub(crate) place: usize,
    /// Whether it is the rowid, which no record has.
    pub(crate) is_rowid: bool,
    /// Whether integers in it are floating point numbers.
    pub(crate) is_real: bool,
    /// Its value where a record ends before it, if that is known.
    pub(crate) default: Option<Cell>,
}

impl Stored {
    /// A column by what declares it: its type, and its default.
    pub(crate) fn declared(
        place: usize,
        is_rowid: bool,
        (kind, default): (&str, Option<&str>),
    ) -> Self {
        let default = match default {
            None => Some(Cell::Null),
            Some(text) => value_of(kind, text).ok(),
        };
        Self { place, is_rowid, is_real: is_real(kind), default }
    }
}

/// Whether a declared type has REAL affinity, by SQLite's rules.
fn is_real(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    has(&["real", "floa", "doub"]) && !has(&["int", "char", "clob", "text", "blob"])
}

/// The default of a column that is added to a table with rows, as SQLite itself has it.
fn value_of(kind: &str, default: &str) -> rusqlite::Result<Cell> {
    let db = Connection::open_in_memory()?;
    db.execute("CREATE TABLE t(x)", [])?;
    db.execute("INSERT INTO t VALUES(0)", [])?;
    let add = |default: &str| {
        db.execute(&format!("ALTER TABLE t ADD COLUMN c {kind} DEFAULT {default}"), [])
    };
    // What stood in parentheses is told without them. A word is a text only outside of them.
    if add(&format!("({default})")).is_err() {
        add(default)?;
    }
    db.query_row("SELECT c FROM t", [], |row| row.get_ref(0).map(Cell::from))
}

impl Layout {
    pub(crate) fn of(columns: Vec<Stored>) -> Self {
        Self(columns)
    }

    /// The values of a record, in the order of the table's columns.
    pub(crate) fn values(&self, record: &[u8], rowid: i64) -> Option<Vec<Cell>> {
        let (header_len, mut at) = varint(record, 0)?;
        let header_len = usize::try_from(header_len).ok().filter(|len| *len <= record.len())?;
        let mut spans: Vec<(u64, usize)> = Vec::with_capacity(self.0.len());
        let mut end = header_len;
        while at < header_len {
            let (kind, next) = varint(record, at)?;
            let kind = u64::try_from(kind).ok()?;
            spans.push((kind, end));
            // A record with more values than the table has columns is none of it.
            if spans.len() > self.0.len() {
                return None;
            }
            end = end.checked_add(value_len(kind)?)?;
            at = next;
        }
        if at != header_len || end != record.len() {
            return None;
        }
        let value = |column: &Stored| {
            if column.is_rowid {
                return Some(Cell::Integer(rowid));
            }
            match spans.get(column.place) {
                None => column.default.clone(),
                Some((kind, at)) => match value(*kind, record.get(*at..)?)? {
                    // SQLite converts it the same way.
                    #[allow(clippy::cast_precision_loss)]
                    Cell::Integer(n) if column.is_real => Some(Cell::Real(n as f64)),
                    value => Some(value),
                },
            }
        };
        self.0.iter().map(value).collect()
    }
}

/// The first values of a record, if they lie in what is there of it.
pub(super) fn first_values(record: &[u8], n: usize) -> Option<Vec<Cell>> {
    let (header_len, mut at) = varint(record, 0)?;
    let header_len = usize::try_from(header_len).ok()?;
    let mut begin = header_len;
    let mut values = Vec::with_capacity(n);
    while values.len() < n && at < header_len {
        let (kind, next) = varint(record, at)?;
        let kind = u64::try_from(kind).ok()?;
        values.push(value(kind, record.get(begin..)?)?);
        (begin, at) = (begin.checked_add(value_len(kind)?)?, next);
    }
    (values.len() == n).then_some(values)
}

/// How many bytes a value of a serial type takes; `None` for a type that there is not.
fn value_len(kind: u64) -> Option<usize> {
    Some(match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => usize::try_from((kind - 12) / 2).ok()?,
    })
}

/// The value of a serial type at the beginning of some bytes.
fn value(kind: u64, bytes: &[u8]) -> Option<Cell> {
    let len = value_len(kind)?;
    let bytes = bytes.get(..len)?;
    Some(match kind {
        0 => Cell::Null,
        1..=6 => {
            let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
            let begin = if negative { -1i64 } else { 0 };
            Cell::Integer(bytes.iter().fold(begin, |n, byte| (n << 8) | i64::from(*byte)))
        }
        7 => {
            let number = f64::from_bits(u64::from_be_bytes(*bytes.first_chunk()?));
            if number.is_nan() { Cell::Null } else { Cell::Real(number) }
        }
        8 => Cell::Integer(0),
        9 => Cell::Integer(1),
        _ if kind.is_multiple_of(2) => Cell::Blob(bytes.to_vec()),
        _ => Cell::Text(bytes.to_vec()),
    })
}

/// A row on a page: what of its record lies there, and where the rest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Local<'p> {
    /// Zero if it has none.
    pub(crate) rowid: i64,
    /// How long the record is.
    pub(crate) len: usize,
    /// What of it lies on the page.
    pub(crate) bytes: &'p [u8],
    /// The page with what follows; zero if nothing does.
    pub(crate) overflow: u32,
}

/// The rows of a leaf of a table, whose rowids lie in a range; `None` if it is none, or if anything
/// of it is not as SQLite writes it.
pub(crate) fn rows_of<'p>(
    content: &'p [u8],
    page: u32,
    usable: usize,
    (first, last): (i64, i64),
) -> Option<Vec<Local<'p>>> {
    if kind(content, page) != TABLE_LEAF {
        return None;
    }
    let places = cells(content, page)?;
    let begin = header(page) + 8 + places.len() * 2;
    let mut rows = Vec::with_capacity(places.len());
    let mut from = Some(first);
    for at in places {
        if at < begin {
            return None;
        }
        let row = row_at(content, at, usable)?;
        if row.rowid > last || from.is_none_or(|from| row.rowid < from) {
            return None;
        }
        from = row.rowid.checked_add(1);
        rows.push(row);
    }
    Some(rows)
}

/// Whether a page is a leaf of a table, and not the first page.
pub(crate) fn is_leaf(content: &[u8]) -> bool {
    kind(content, 2) == TABLE_LEAF
}

/// The row of a rowid on a leaf, if that has it; `None` if anything is not as SQLite writes it.
pub(crate) fn row_of(content: &[u8], page: u32, usable: usize, rowid: i64) -> Option<Option<Kept>> {
    let rows = rows_of(content, page, usable, (i64::MIN, i64::MAX))?;
    let found = rows.binary_search_by_key(&rowid, |row| row.rowid).ok();
    Some(found.and_then(|at| rows.get(at)).map(Kept::of))
}

fn row_at(content: &[u8], at: usize, usable: usize) -> Option<Local<'_>> {
    let (len, at) = varint(content, at)?;
    let (rowid, at) = varint(content, at)?;
    local_at(content, (len, at), usable, false).map(|row| Local { rowid, ..row })
}

/// What lies on a page of a record of some length that begins there.
fn local_at(
    content: &[u8],
    (len, at): (i64, usize),
    usable: usize,
    is_index: bool,
) -> Option<Local<'_>> {
    let len = usize::try_from(len).ok().filter(|len| *len <= LONGEST)?;
    let local = local_len(len, usable, is_index)?;
    let end = at.checked_add(local)?;
    let bytes = content.get(at..end).filter(|_| end <= usable)?;
    let overflow = match local < len {
        false => 0,
        true if end + 4 <= usable => Some(number(content, end)).filter(|page| *page > 1)?,
        true => return None,
    };
    Some(Local { rowid: 0, len, bytes, overflow })
}

/// The rows of a page of a table WITHOUT ROWID; `None` if it is none, or if anything of it is not
/// as SQLite writes it.
pub(crate) fn keyed_rows_of(content: &[u8], page: u32, usable: usize) -> Option<Vec<Local<'_>>> {
    let (begin, behind) = match kind(content, page) {
        INDEX_LEAF => (8, 0),
        INDEX_INTERIOR => (12, 4),
        _ => return None,
    };
    let places = cells(content, page)?;
    let begin = header(page) + begin + places.len() * 2;
    let row = |at: usize| {
        let at = Some(at).filter(|at| *at >= begin)?;
        local_at(content, varint(content, at + behind)?, usable, true)
    };
    places.into_iter().map(row).collect()
}

/// How many bytes of each page count, by the first page.
pub(crate) fn usable_len(first: &[u8]) -> Option<usize> {
    let page_len = match short(first, 16) {
        1 => 65_536,
        len => len,
    };
    let reserved = usize::from(first.get(20).copied()?);
    // SQLite takes no less.
    (page_len == first.len()).then(|| page_len - reserved).filter(|usable| *usable >= 480)
}

/// A row by its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    len: usize,
    bytes: Box<[u8]>,
    overflow: u32,
}

impl Kept {
    pub(crate) fn of(row: &Local<'_>) -> Self {
        Self { len: row.len, bytes: row.bytes.into(), overflow: row.overflow }
    }

    /// The values of a row that has no overflow pages.
    pub(crate) fn values(&self, layout: &Layout, rowid: i64) -> Option<Vec<Cell>> {
        layout.values(&self.bytes, rowid)
    }

    /// Whether overflow pages have the rest of it.
    pub(crate) fn has_more(&self) -> bool {
        self.overflow != 0
    }

    /// How much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// The whole record, of which overflow pages have the rest.
    ///
    /// # Errors
    /// What reading a page answers.
    pub(crate) fn record(
        &self,
        usable: usize,
        pages: u32,
        read: &dyn Fn(u32) -> Result<Arc<[u8]>>,
    ) -> Result<Option<Vec<u8>>> {
        let mut record = self.bytes.to_vec();
        let mut next = self.overflow;
        let room = usable.saturating_sub(4).max(1);
        let left = self.len.saturating_sub(record.len()).div_ceil(room);
        // A length that the database has no pages for is none.
        if u32::try_from(left).map_or(true, |left| left > pages) {
            return Ok(None);
        }
        for _ in 0..left {
            if next < 2 || next > pages {
                return Ok(None);
            }
            let content = read(next)?;
            let len = (self.len - record.len()).min(room);
            let Some(bytes) = content.get(4..4 + len) else { return Ok(None) };
            record.extend_from_slice(bytes);
            next = number(&content, 0);
        }
        Ok(Some(record))
    }

    /// The overflow pages of the record, as far as `meets` is false for them.
    ///
    /// # Errors
    /// What reading a page answers.
    pub(crate) fn overflows_into(
        &self,
        usable: usize,
        pages: u32,
        meets: &dyn Fn(u32) -> bool,
        read: &dyn Fn(u32) -> Result<Arc<[u8]>>,
    ) -> Result<bool> {
        let room = usable.saturating_sub(4).max(1);
        let mut next = self.overflow;
        for _ in 0..self.len.saturating_sub(self.bytes.len()).div_ceil(room) {
            // What leads nowhere is looked at more closely.
            if next < 2 || next > pages || meets(next) {
                return Ok(true);
            }
            next = number(&read(next)?, 0);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
