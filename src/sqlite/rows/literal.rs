//! Values as SQL writes them: read again by SQLite, each is the same value.

use rusqlite::Connection;

use super::cell::{Cell, hex};

/// Writes values as SQL. It asks SQLite about real numbers, since SQLite does not read every
/// decimal number as its nearest double.
#[derive(Debug)]
pub(crate) struct Literals(Connection);

impl Literals {
    /// # Errors
    /// SQLite's, when it makes no database in memory.
    pub(crate) fn new() -> rusqlite::Result<Self> {
        Connection::open_in_memory().map(Self)
    }

    /// A value as SQL.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn sql(&self, cell: &Cell) -> rusqlite::Result<String> {
        Ok(match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::Integer(n) => n.to_string(),
            Cell::Real(x) => self.real(*x)?,
            Cell::Text(bytes) => text(bytes),
            Cell::Blob(bytes) => format!("x'{}'", hex(bytes)),
        })
    }

    fn real(&self, x: f64) -> rusqlite::Result<String> {
        if x.is_infinite() {
            return Ok(if x > 0.0 { "9e999" } else { "-9e999" }.to_owned());
        }
        for digits in [format!("{x:?}"), format!("{x:.17e}"), format!("{x:.20e}")] {
            let read: f64 = self.0.query_row(&format!("SELECT {digits}"), [], |row| row.get(0))?;
            if read.to_bits() == x.to_bits() {
                return Ok(digits);
            }
        }
        Ok(exact(x))
    }
}

/// A finite number as a product of such as every decimal reader reads exactly.
fn exact(x: f64) -> String {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let (sign, exponent) = (if x.is_sign_negative() { "-" } else { "" }, (bits >> 52) & 0x7ff);
    let (mantissa, exponent) = match exponent {
        0 => (bits & MANTISSA, 1),
        exponent => ((bits & MANTISSA) | (1 << 52), exponent),
    };
    // The exponent counts from that of the last bit of the smallest number.
    let (mut sql, mut up, mut down) = (
        format!("{sign}{mantissa}.0"),
        exponent.saturating_sub(1075),
        1075_u64.saturating_sub(exponent),
    );
    while up > 0 {
        let step = up.min(50);
        sql = format!("({sql}*{}.0)", 1_u64 << step);
        up -= step;
    }
    while down > 0 {
        let step = down.min(50);
        sql = format!("({sql}/{}.0)", 1_u64 << step);
        down -= step;
    }
    sql
}

fn text(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        // Only a database in UTF-8 has such a text.
        return format!("CAST(x'{}' AS TEXT)", hex(bytes));
    };
    if !text.contains('\0') {
        return format!("'{}'", text.replace('\'', "''"));
    }
    // A statement ends at a NUL.
    let taken = |mark: &String| text.contains(mark.as_str());
    let mark = (0..).map(|n: u64| format!("\\{n}")).find(|mark| !taken(mark)).unwrap_or_default();
    let marked = text.replace('\0', &mark).replace('\'', "''");
    format!("replace('{marked}', '{mark}', char(0))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_reads_every_value_back() {
        let literals = Literals::new().unwrap();
        let reals = [0.0, -0.0, 0.1, 1.0, -1e300, 5e-324, f64::MAX, f64::MIN_POSITIVE, 1e23];
        let more = (1..2000_u64).map(|n| f64::from_bits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let finite = more.filter(|x| x.is_finite());
        let mut values: Vec<Cell> = reals.into_iter().chain(finite).map(Cell::Real).collect();
        values.extend([f64::INFINITY, f64::NEG_INFINITY].map(Cell::Real));
        values.extend([i64::MIN, i64::MAX, 0].map(Cell::Integer));
        values.extend(["", "it's", "a\0b\\0'", "\x1b\n"].map(|text| Cell::Text(text.into())));
        values.extend([Cell::Text(vec![0xff, b'a']), Cell::Blob(vec![0, 255]), Cell::Null]);
        for encoding in ["UTF-8", "UTF-16le"] {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE t(x)")).unwrap();
            for value in &values {
                if encoding != "UTF-8" && *value == Cell::Text(vec![0xff, b'a']) {
                    continue;
                }
                let sql = literals.sql(value).unwrap();
                db.execute(&format!("INSERT INTO t VALUES({sql})"), []).unwrap();
                let take = |row: &rusqlite::Row<'_>| row.get_ref(0).map(Cell::from);
                let read = db.query_row("DELETE FROM t RETURNING x", [], take).unwrap();
                assert_eq!(read, *value, "{sql}");
            }
        }
    }

    #[test]
    fn a_number_that_no_decimal_gives_is_a_product() {
        let db = Connection::open_in_memory().unwrap();
        for x in [1.5, -0.1, 5e-324, -f64::MAX, 1e-310, 9_007_199_254_740_993.0, 1e22] {
            let sql = format!("SELECT {}", exact(x));
            let read: f64 = db.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(read.to_bits(), x.to_bits(), "{sql}");
        }
    }
}
