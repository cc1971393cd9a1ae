//! Two cursors side by side, in the order of keys: rows that one has, that the other has, and that
//! differ.
//!
//! Invariants:
//! - Memory is a row of each side, whatever the table has.
//! - A cursor that does not ascend by its key is an error: rows might pass each other unseen.

use std::cmp::Ordering;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Row, Rows};

use super::cell::{Cell, cells, is_same};
use super::collation::{Collation, Encoding, order};
use super::table::Key;

/// After how many rows it asks if it shall go on.
const LOOKED: u64 = 4096;

/// How keys are ordered.
#[derive(Clone, Debug)]
pub(crate) struct Order(Vec<(Collation, bool)>);

impl Order {
    /// The order of a key.
    pub(crate) fn of(key: &Key) -> Self {
        Self(match key {
            // Integers need no collation.
            Key::Rowid(_) => vec![(Collation::Binary(Encoding::Utf8), false)],
            Key::Columns(parts) => {
                parts.iter().map(|part| (part.collation, part.descends)).collect()
            }
            Key::None(_) => Vec::new(),
        })
    }

    /// How many values a key has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Which of two keys comes first.
    pub(super) fn of_keys(&self, a: &[Cell], b: &[Cell]) -> Ordering {
        let ordering = self.compare(|i| Ok(value(a, i)), |i| Ok(value(b, i)));
        // Values that are at hand are no errors.
        ordering.unwrap_or(Ordering::Equal)
    }

    fn compare<'v>(
        &self,
        a: impl Fn(usize) -> rusqlite::Result<ValueRef<'v>>,
        b: impl Fn(usize) -> rusqlite::Result<ValueRef<'v>>,
    ) -> rusqlite::Result<Ordering> {
        for (i, (collation, descends)) in self.0.iter().enumerate() {
            match order(a(i)?, b(i)?, *collation) {
                Ordering::Equal => {}
                ordering if *descends => return Ok(ordering.reverse()),
                ordering => return Ok(ordering),
            }
        }
        Ok(Ordering::Equal)
    }
}

/// A row as [`super::table::select`] selects it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The values of its key.
    pub(crate) key: Vec<Cell>,
    /// Its values.
    pub(crate) values: Vec<Cell>,
}

/// Why two tables were not compared to their end.
pub(crate) enum Stopped {
    /// SQLite's error, on the old side or on the new one.
    Old(rusqlite::Error),
    New(rusqlite::Error),
    /// Rows do not come in the order of their keys.
    Disorder,
    /// What the taker of rows answered.
    Taker(crate::error::Error),
}

/// Takes a row of the old side, of the new one, or of both.
pub(crate) type Taker<'t> =
    &'t mut dyn FnMut(Option<Entry>, Option<Entry>) -> crate::error::Result<()>;

/// One side of a comparison.
struct Cursor<'r, 's> {
    rows: &'r mut Rows<'s>,
    order: &'r Order,
    /// How many columns there are behind the key, but for the one that says if a row is wanted.
    columns: usize,
    last: Option<Vec<Cell>>,
}

/// A failure of one side.
enum Failed {
    Sqlite(rusqlite::Error),
    Disorder,
}

impl From<rusqlite::Error> for Failed {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}

impl Cursor<'_, '_> {
    fn advance(&mut self) -> Result<(), Failed> {
        self.rows.advance()?;
        let Some(row) = self.rows.get() else { return Ok(()) };
        let key = cells(row, 0, self.order.len())?;
        if let Some(last) = &self.last {
            let ordering = self.order.compare(|i| Ok(value(last, i)), |i| Ok(value(&key, i)))?;
            if ordering != Ordering::Less {
                return Err(Failed::Disorder);
            }
        }
        self.last = Some(key);
        Ok(())
    }

    fn is_wanted(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        row.get(self.order.len() + self.columns)
    }

    fn entry(&self, row: &Row<'_>) -> rusqlite::Result<Entry> {
        let n = self.order.len();
        Ok(Entry { key: cells(row, 0, n)?, values: cells(row, n, self.columns)? })
    }
}

/// Walks through the rows of both sides, and gives those that are not the same in both and that one
/// side wants. Both were selected with as many columns, in the same order. It asks now and then if
/// it shall go on.
///
/// # Errors
/// Why it did not come to the end.
pub(crate) fn merge(
    old: &mut Rows<'_>,
    new: &mut Rows<'_>,
    order: &Order,
    columns: usize,
    go_on: &dyn Fn() -> crate::error::Result<()>,
    take: Taker<'_>,
) -> Result<(), Stopped> {
    let of_old = |e: Failed| match e {
        Failed::Sqlite(e) => Stopped::Old(e),
        Failed::Disorder => Stopped::Disorder,
    };
    let of_new = |e: Failed| match e {
        Failed::Sqlite(e) => Stopped::New(e),
        Failed::Disorder => Stopped::Disorder,
    };
    let mut old = Cursor { rows: old, order, columns, last: None };
    let mut new = Cursor { rows: new, order, columns, last: None };
    old.advance().map_err(of_old)?;
    new.advance().map_err(of_new)?;
    for looked in 0_u64.. {
        if looked.is_multiple_of(LOOKED) {
            go_on().map_err(Stopped::Taker)?;
        }
        let (a, b) = (old.rows.get(), new.rows.get());
        let ordering = match (a, b) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => {
                order.compare(|i| a.get_ref(i), |i| b.get_ref(i)).map_err(Stopped::Old)?
            }
        };
        let a = a.filter(|_| ordering.is_le());
        let b = b.filter(|_| ordering.is_ge());
        let is_wanted = a.map_or(Ok(false), |row| old.is_wanted(row)).map_err(Stopped::Old)?
            || b.map_or(Ok(false), |row| new.is_wanted(row)).map_err(Stopped::New)?;
        let differs = match (a, b) {
            // The key, too: equal by its collation is not the same.
            (Some(a), Some(b)) => !are_same(a, b, order.len() + columns).map_err(Stopped::Old)?,
            _ => true,
        };
        if is_wanted && differs {
            let a = a.map(|row| old.entry(row)).transpose().map_err(Stopped::Old)?;
            let b = b.map(|row| new.entry(row)).transpose().map_err(Stopped::New)?;
            take(a, b).map_err(Stopped::Taker)?;
        }
        if ordering.is_le() {
            old.advance().map_err(of_old)?;
        }
        if ordering.is_ge() {
            new.advance().map_err(of_new)?;
        }
    }
    Ok(())
}

fn value(key: &[Cell], i: usize) -> ValueRef<'_> {
    key.get(i).map_or(ValueRef::Null, Cell::as_ref)
}

fn are_same(a: &Row<'_>, b: &Row<'_>, n: usize) -> rusqlite::Result<bool> {
    for i in 0..n {
        if !is_same(a.get_ref(i)?, b.get_ref(i)?) {
            return Ok(false);
        }
    }
    Ok(true)
}
