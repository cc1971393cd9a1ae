//! The body of a head: the newest segment that a writer found in the term that it claimed, and that
//! it builds on. Its object id is random; the name shows the first four bytes.
//!
//! ```text
//!  0  8  term that was claimed
//!  8 16  segment id
//! 24 32  segment digest
//! 56  8  term of the segment
//! 64  8  first seq of the segment
//! ```
//!
//! All but the term are zero when the writer found no segment.

use super::header::ObjectKind;
use super::record::Record;
use super::segment::SegmentRef;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{SegmentId, Seq, Term};

/// The segment that a writer builds on; a zero id if it found none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRecord {
    /// The term that was claimed; equal to the one in the object's name.
    pub term: Term,
    /// The segment.
    pub segment: SegmentRef,
    /// The term in the segment's own name.
    pub written: Term,
    /// The first seq of the segment.
    pub first: Seq,
}

impl Record for HeadRecord {
    const KIND: ObjectKind = ObjectKind::Head;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.term.0)
            .bytes(&self.segment.id.0)
            .bytes(&self.segment.digest)
            .u64(self.written.0)
            .u64(self.first.0);
        w.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let term = Term(r.u64("term")?);
        let id = SegmentId(r.array("segment id")?);
        let digest = r.array("segment digest")?;
        let written = Term(r.u64("term of the segment")?);
        let first = Seq(r.u64("first seq of the segment")?);
        r.finish()?;
        Ok(Self { term, segment: SegmentRef { id, digest }, written, first })
    }
}
