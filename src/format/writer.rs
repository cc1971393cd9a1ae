//! The body of a writer's claim of a term. Its object id is the writer's token.
//!
//! ```text
//!  0  8  term
//!  8  8  since when, microseconds UTC, signed
//! 16  4  process id
//! 20  .  host, role: each u16 length, UTF-8
//! ```

use super::header::ObjectKind;
use super::record::Record;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{Term, Timestamp};

/// Who wrote in a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterClaim {
    /// The term; equal to the one in the object's name.
    pub term: Term,
    /// When it was claimed.
    pub since: Timestamp,
    /// The process that claimed it.
    pub process: u32,
    /// The machine.
    pub host: String,
    /// What the writer was there for, such as `backup`.
    pub role: String,
}

impl Record for WriterClaim {
    const KIND: ObjectKind = ObjectKind::Writer;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.term.0)
            .timestamp(self.since)
            .u32(self.process)
            .text(&self.host)
            .text(&self.role);
        w.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let claim = Self {
            term: Term(r.u64("term")?),
            since: r.timestamp("time of the claim")?,
            process: r.u32("process")?,
            host: r.text("host")?,
            role: r.text("role")?,
        };
        r.finish()?;
        Ok(claim)
    }
}
