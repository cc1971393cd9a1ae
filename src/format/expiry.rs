//! The body of an expiry: commits that are no restore points any more, though a segment may still
//! have them.
//!
//! ```text
//!  0  8  term of the writer
//!  8  8  when it was decided, microseconds UTC, signed
//! 16  4  number of ranges n, then n times 16 bytes: first seq, last seq
//! ```
//!
//! Ranges ascend and do not touch. A commit is expired while a record that lists it is there; a
//! merge that drops it makes the record superfluous.

use super::header::ObjectKind;
use super::limits;
use super::record::Record;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{Seq, Term, Timestamp};

const RANGE_LEN: usize = 16;

/// Commits that expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The term in which it was written; equal to the one in the object's name.
    pub term: Term,
    /// When it was decided.
    pub time: Timestamp,
    /// First and last seqs.
    pub ranges: Vec<(Seq, Seq)>,
}

impl Record for Expiry {
    const KIND: ObjectKind = ObjectKind::Expiry;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.term.0).timestamp(self.time).count(self.ranges.len());
        for (first, last) in &self.ranges {
            w.u64(first.0).u64(last.0);
        }
        w.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let term = Term(r.u64("term")?);
        let time = r.timestamp("time")?;
        let n = r.count(limits::EXPIRY_RANGES, RANGE_LEN, "number of ranges")?;
        let mut ranges: Vec<(Seq, Seq)> = Vec::with_capacity(n);
        for _ in 0..n {
            let invalid = r.invalid("range of commits");
            let (first, last) = (Seq(r.u64("first seq")?), Seq(r.u64("last seq")?));
            let apart = ranges.last().is_none_or(|(_, before)| before.next() < first);
            if first.0 == 0 || first > last || !apart {
                return Err(invalid);
            }
            ranges.push((first, last));
        }
        r.finish()?;
        Ok(Self { term, time, ranges })
    }
}
