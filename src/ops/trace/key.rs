//! The values of a key, as people write them and as a table compares them.

use crate::sqlite::rows::cell::Cell;

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyValue {
    /// This value.
    Exactly(Cell),
    /// As a person writes it: `x'00ff'` is a blob and `'17'` a text. Anything else is a text in a
    /// column of texts; elsewhere it is a number if it looks like one, and else a text.
    Written(String),
}

impl From<Cell> for KeyValue {
    fn from(cell: Cell) -> Self {
        Self::Exactly(cell)
    }
}

impl From<i64> for KeyValue {
    fn from(number: i64) -> Self {
        Self::Exactly(Cell::Integer(number))
    }
}

impl From<&str> for KeyValue {
    fn from(written: &str) -> Self {
        Self::Written(written.to_owned())
    }
}

impl KeyValue {
    /// The value, to be compared with a column of this declared type.
    pub(super) fn for_column(&self, declared: &str) -> Cell {
        match self {
            Self::Exactly(cell) => cell.clone(),
            Self::Written(text) => read(text, is_text(declared)),
        }
    }

    /// The rowid that it is; `None` if it is none.
    pub(super) fn as_rowid(&self) -> Option<i64> {
        match self.for_column("INTEGER") {
            Cell::Integer(n) => Some(n),
            // As SQLite does: a number without a fraction is an integer.
            Cell::Real(x) => whole(x),
            Cell::Text(text) => std::str::from_utf8(&text).ok()?.trim().parse().ok(),
            Cell::Null | Cell::Blob(_) => None,
        }
    }
}

fn whole(x: f64) -> Option<i64> {
    // Beyond this not every integer is a number of this kind.
    let is_exact = x.fract() == 0.0 && x.abs() < 9_007_199_254_740_992.0;
    is_exact.then(|| format!("{x:.0}").parse().ok()).flatten()
}

/// Whether a column of a declared type holds texts, by SQLite's rules.
fn is_text(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    !declared.contains("INT") && ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word))
}

fn read(text: &str, is_text: bool) -> Cell {
    if let Some(blob) = blob(text) {
        return Cell::Blob(blob);
    }
    let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    if let Some(inside) = quoted.filter(|inside| !inside.replace("''", "").contains('\'')) {
        return Cell::Text(inside.replace("''", "'").into_bytes());
    }
    let number = || {
        let integer = text.parse().ok().map(Cell::Integer);
        let is_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let real = || text.parse().ok().filter(|_| text.chars().all(is_number)).map(Cell::Real);
        integer.or_else(real)
    };
    let number = if is_text { None } else { number() };
    number.unwrap_or_else(|| Cell::Text(text.as_bytes().to_vec()))
}

/// The bytes of `x'00ff'`.
fn blob(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(['x', 'X'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digit = |c: u8| char::from(c).to_digit(16);
        u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
    };
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_key_is_what_its_column_holds() {
        let text = |text: &str| Cell::Text(text.as_bytes().to_vec());
        for (written, declared, cell) in [
            ("17", "INTEGER", Cell::Integer(17)),
            ("17", "", Cell::Integer(17)),
            ("-17", "BLOB", Cell::Integer(-17)),
            ("1.5", "NUMERIC", Cell::Real(1.5)),
            ("007", "VARCHAR(3)", text("007")),
            ("007", "CHARINT", Cell::Integer(7)),
            ("'17'", "INT", text("17")),
            ("'it''s'", "TEXT", text("it's")),
            ("'", "TEXT", text("'")),
            ("'a'b'", "TEXT", text("'a'b'")),
            ("inf", "REAL", text("inf")),
            ("nan", "", text("nan")),
            ("", "", text("")),
            ("x'00fF'", "TEXT", Cell::Blob(vec![0, 255])),
            ("X''", "", Cell::Blob(Vec::new())),
            ("x'0'", "", text("x'0'")),
            ("x'zz'", "", text("x'zz'")),
            ("99999999999999999999", "", Cell::Real(1e20)),
        ] {
            assert_eq!(KeyValue::from(written).for_column(declared), cell, "{written} {declared}");
        }
    }

    #[test]
    fn a_rowid_is_an_integer() {
        let rowid = |written: &str| KeyValue::from(written).as_rowid();
        assert_eq!(
            ["17", "-3", "17.0", "'17'"].map(rowid),
            [Some(17), Some(-3), Some(17), Some(17)]
        );
        assert_eq!(["1.5", "1e300", "seventeen", "x'17'", ""].map(rowid), [None; 5]);
        assert_eq!(KeyValue::from(Cell::Null).as_rowid(), None);
    }
}
