//! The order of values, as SQLite's own collations have it.
//!
//! Two cursors that SQLite moves in the order of a key have to be compared in that order: else rows
//! would pass each other unseen. So this does what SQLite does, and [`super::merge`] checks that
//! each cursor really ascends by it.

use std::cmp::Ordering;

use rusqlite::types::ValueRef;

/// A collation of SQLite's own. Those of an application are not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collation {
    /// Bytes, in the encoding of the database.
    Binary(Encoding),
    /// Bytes of UTF-8, ASCII letters without their case.
    NoCase,
    /// Bytes of UTF-8, without spaces at the end.
    RightTrim,
}

/// How a database stores text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    /// The encoding that `PRAGMA encoding` calls by this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "UTF-8" => Some(Self::Utf8),
            "UTF-16le" => Some(Self::Utf16Le),
            "UTF-16be" => Some(Self::Utf16Be),
            _ => None,
        }
    }
}

impl Collation {
    /// The collation of that name in a database of that encoding; `None` for one that is not
    /// SQLite's.
    pub(crate) fn named(name: &str, encoding: Encoding) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "BINARY" => Some(Self::Binary(encoding)),
            "NOCASE" => Some(Self::NoCase),
            "RTRIM" => Some(Self::RightTrim),
            _ => None,
        }
    }

    fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Binary(Encoding::Utf8) => a.cmp(b),
            Self::Binary(Encoding::Utf16Be) => units(a).cmp(units(b)),
            Self::Binary(Encoding::Utf16Le) => {
                units(a).map(u16::swap_bytes).cmp(units(b).map(u16::swap_bytes))
            }
            Self::NoCase => {
                let lower = |bytes: &'_ [u8]| bytes.to_ascii_lowercase();
                lower(a).cmp(&lower(b))
            }
            Self::RightTrim => trimmed(a).cmp(trimmed(b)),
        }
    }
}

/// The units of UTF-16 that a text of UTF-8 has.
fn units(bytes: &[u8]) -> impl Iterator<Item = u16> {
    String::from_utf8_lossy(bytes).encode_utf16().collect::<Vec<_>>().into_iter()
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// Which of two values comes first: NULL, numbers, texts, blobs.
pub(crate) fn order(a: ValueRef<'_>, b: ValueRef<'_>, collation: Collation) -> Ordering {
    match (a, b) {
        (ValueRef::Integer(a), ValueRef::Integer(b)) => a.cmp(&b),
        (ValueRef::Real(a), ValueRef::Real(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (ValueRef::Integer(a), ValueRef::Real(b)) => integer_to_real(a, b),
        (ValueRef::Real(a), ValueRef::Integer(b)) => integer_to_real(b, a).reverse(),
        (ValueRef::Text(a), ValueRef::Text(b)) => collation.compare(a, b),
        (ValueRef::Blob(a), ValueRef::Blob(b)) => a.cmp(b),
        (a, b) => class(a).cmp(&class(b)),
    }
}

fn class(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

/// By value: an integer has more digits than a real number can have.
fn integer_to_real(a: i64, b: f64) -> Ordering {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if b >= BEYOND {
        return Ordering::Less;
    }
    if b < -BEYOND {
        return Ordering::Greater;
    }
    // Within the bounds above nothing is cut but the fraction.
    #[allow(clippy::cast_possible_truncation)]
    let whole = b.trunc() as i64;
    let fraction = || 0.0_f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal);
    a.cmp(&whole).then_with(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::rows::cell::Cell;
    use rusqlite::Connection;

    /// Values that lie close to each other, of all types.
    fn values() -> Vec<Cell> {
        let texts =
            ["", " ", "a", "A", "a ", "ab", "B", "é", "\u{ffff}", "\u{10000}", "z\u{0}", "Z"];
        let integers = [i64::MIN, -1, 0, 1, 2, 1 << 53, (1 << 53) + 1, i64::MAX];
        let reals =
            [-1e300, -0.5, 0.0, 0.5, 1.0, 1.5, 9_007_199_254_740_992.0, 9.3e18, -9.3e18, 1e300];
        let mut all = vec![Cell::Null, Cell::Blob(vec![]), Cell::Blob(vec![0, 255])];
        all.extend(texts.map(|text| Cell::Text(text.into())));
        all.extend(integers.map(Cell::Integer));
        all.extend(reals.map(Cell::Real));
        all
    }

    #[test]
    fn values_are_ordered_as_sqlite_orders_them() {
        for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE t(id, x)"))
                .unwrap();
            for (i, value) in values().iter().enumerate() {
                db.execute("INSERT INTO t VALUES(?1, ?2)", (i64::try_from(i).unwrap(), value))
                    .unwrap();
            }
            for name in ["BINARY", "NOCASE", "RTRIM"] {
                let collation = Collation::named(name, Encoding::named(encoding).unwrap()).unwrap();
                let sql = format!(
                    "SELECT a.id, b.id, CASE WHEN a.x IS b.x COLLATE {name} THEN 0
                            WHEN a.x IS NULL THEN -1 WHEN b.x IS NULL THEN 1
                            WHEN a.x < b.x COLLATE {name} THEN -1 ELSE 1 END FROM t a, t b"
                );
                let mut statement = db.prepare(&sql).unwrap();
                let mut rows = statement.query([]).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    let (a, b, told): (u16, u16, i8) =
                        (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
                    let (a, b) = (&values()[usize::from(a)], &values()[usize::from(b)]);
                    let ours = order(a.as_ref(), b.as_ref(), collation);
                    assert_eq!(ours as i8, told, "{a:?} {b:?} {name} {encoding}");
                }
            }
        }
    }
}
