//! The cursor that every encoder and decoder uses: fixed little-endian fields, bounded text, and
//! errors that know their offset.

use std::fmt;

use super::limits;
use crate::error::Error;
use crate::types::Timestamp;

/// Why bytes could not be decoded, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What kind of trouble it is.
    pub kind: DecodeKind,
    /// The offset of the field, in bytes from the start of what was being decoded.
    pub offset: usize,
    /// The field.
    pub field: &'static str,
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeKind {
    /// The bytes end before the field does.
    Truncated,
    /// The field has a value that no writer writes.
    Invalid,
    /// Bytes follow where the object should end.
    Trailing,
    /// A version or a required feature that this code does not know. The bytes say so; whether that
    /// is true is not told here.
    TooNew,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, field, .. } = self;
        match self.kind {
            DecodeKind::Truncated => write!(f, "ends inside {field} at offset {offset}"),
            DecodeKind::Invalid => write!(f, "impossible {field} at offset {offset}"),
            DecodeKind::Trailing => write!(f, "unexpected bytes at offset {offset}"),
            DecodeKind::TooNew => write!(f, "unknown {field} at offset {offset}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl DecodeError {
    /// The same, as an error about a named object: it is damaged. That a newer version wrote it is
    /// for `repo::newer` to find out.
    pub fn of(self, object: &str) -> Error {
        Error::damaged(object, "is damaged").with_source(self)
    }
}

/// Reads fields one after the other.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn error(&self, kind: DecodeKind, field: &'static str) -> DecodeError {
        DecodeError { kind, offset: self.at, field }
    }

    pub(crate) fn invalid(&self, field: &'static str) -> DecodeError {
        self.error(DecodeKind::Invalid, field)
    }

    pub(crate) fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let truncated = self.error(DecodeKind::Truncated, field);
        let end = self.at.checked_add(n).ok_or(truncated)?;
        let slice = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(slice)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let truncated = self.error(DecodeKind::Truncated, field);
        self.take(N, field)?.try_into().map_err(|_| truncated)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[b]| b)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn timestamp(&mut self, field: &'static str) -> Result<Timestamp, DecodeError> {
        self.array(field).map(i64::from_le_bytes).map(Timestamp)
    }

    /// Reads `n` bytes that must all be zero.
    pub(crate) fn zeros(&mut self, n: usize, field: &'static str) -> Result<(), DecodeError> {
        let invalid = self.invalid(field);
        let zero = self.take(n, field)?.iter().all(|b| *b == 0);
        zero.then_some(()).ok_or(invalid)
    }

    /// A count of things that take at least `each` bytes: bounded by `limit` and by what is left,
    /// so that it may size an allocation.
    pub(crate) fn count(
        &mut self,
        limit: usize,
        each: usize,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let invalid = self.invalid(field);
        let n = usize::try_from(self.u32(field)?).map_err(|_| invalid)?;
        let fits = n <= limit && n.checked_mul(each).is_some_and(|all| all <= self.remaining());
        fits.then_some(n).ok_or(invalid)
    }

    /// Length-prefixed UTF-8 of at most [`limits::TEXT`] bytes.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let invalid = self.invalid(field);
        let n = usize::from(self.u16(field)?);
        if n > limits::TEXT {
            return Err(invalid);
        }
        let bytes = self.take(n, field)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| invalid)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.remaining() > 0 {
            return Err(self.error(DecodeKind::Trailing, "end"));
        }
        Ok(())
    }
}

/// Writes fields one after the other.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, v: u8) -> &mut Self {
        self.bytes(&[v])
    }

    pub(crate) fn u16(&mut self, v: u16) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, v: u32) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, v: u64) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(crate) fn timestamp(&mut self, v: Timestamp) -> &mut Self {
        self.bytes(&v.0.to_le_bytes())
    }

    pub(crate) fn zeros(&mut self, n: usize) -> &mut Self {
        self.0.resize(self.0.len() + n, 0);
        self
    }

    /// A count as u32. Callers keep within the limits, which all fit; a count beyond saturates
    /// and the decoder refuses it.
    pub(crate) fn count(&mut self, n: usize) -> &mut Self {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// Length-prefixed UTF-8, cut at a character boundary within [`limits::TEXT`] bytes.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let cut = truncate(text, limits::TEXT);
        self.u16(u16::try_from(cut.len()).unwrap_or(u16::MAX)).bytes(cut.as_bytes())
    }
}

/// The longest prefix of whole characters that has at most `limit` bytes.
fn truncate(text: &str, limit: usize) -> &str {
    let end = text.floor_char_boundary(limit);
    text.split_at_checked(end).map_or(text, |(head, _)| head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_bounded_before_it_can_size_anything() {
        let mut bytes = Writer::default();
        bytes.u32(u32::MAX);
        assert_eq!(
            Reader::new(&bytes.0).count(usize::MAX, 16, "n").unwrap_err().kind,
            DecodeKind::Invalid
        );
        let mut bytes = Writer::default();
        bytes.u32(2).zeros(32);
        assert_eq!(Reader::new(&bytes.0).count(2, 16, "n"), Ok(2));
        assert!(Reader::new(&bytes.0).count(1, 16, "n").is_err());
        assert!(Reader::new(&bytes.0).count(2, 17, "n").is_err());
    }

    #[test]
    fn text_is_cut_between_characters() {
        let long = "é".repeat(limits::TEXT);
        let mut bytes = Writer::default();
        bytes.text(&long);
        let back = Reader::new(&bytes.0).text("t").unwrap();
        assert_eq!(back.len(), limits::TEXT);
        assert!(long.starts_with(&back));
    }

    #[test]
    fn reserved_bytes_and_trailing_bytes_are_refused() {
        assert!(Reader::new(&[0, 1]).zeros(2, "z").is_err());
        let mut r = Reader::new(&[0, 0, 0]);
        r.zeros(2, "z").unwrap();
        assert_eq!(r.finish().unwrap_err().kind, DecodeKind::Trailing);
    }
}
