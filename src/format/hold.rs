//! The body of a hold: a commit that no policy drops. Its object id is the hold's id, padded with
//! zeros to 16 bytes in front.
//!
//! ```text
//!  0  8  seq of the commit
//!  8  8  when the record was made, microseconds UTC, signed
//! 16  1  1 if this record only takes another one back, else 0
//! 17  7  reserved, zero
//! 24  8  id of the record taken back, else zero
//! 32  .  reason, host: each u16 length, UTF-8
//!  . 16  only with the required feature of that: the commit's database digest
//! ```
//!
//! Records are never changed: a hold is taken back by one more record.

use super::header::{DIGEST, ObjectKind};
use super::record::Record;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{Digest, HoldId, Seq, Timestamp};

/// A hold, or the end of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// The commit.
    pub seq: Seq,
    /// When the record was made.
    pub time: Timestamp,
    /// The record that this one takes back, if that is all it does.
    pub takes_back: Option<HoldId>,
    /// Why the commit is held, for people.
    pub reason: String,
    /// The machine that asked for it.
    pub host: String,
    /// The database digest of the commit, which no other one of its number has.
    pub digest: Option<Digest>,
}

impl Record for HoldRecord {
    const KIND: ObjectKind = ObjectKind::Hold;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.seq.0)
            .timestamp(self.time)
            .u8(self.takes_back.is_some().into())
            .zeros(7)
            .bytes(&self.takes_back.unwrap_or_default().0)
            .text(&self.reason)
            .text(&self.host);
        if let Some(digest) = &self.digest {
            w.bytes(&digest.0);
        }
        w.0
    }

    fn required(&self) -> u16 {
        if self.digest.is_some() { DIGEST } else { 0 }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_as(0, bytes)
    }

    fn decode_as(required: u16, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let seq = Seq(r.u64("seq")?);
        let time = r.timestamp("time")?;
        let bad_flag = r.invalid("take-back flag");
        let flag = r.u8("take-back flag")?;
        r.zeros(7, "reserved bytes of the hold")?;
        let other = HoldId(r.array("id taken back")?);
        let takes_back = match (flag, other.is_zero()) {
            (0, true) => None,
            (1, false) => Some(other),
            _ => return Err(bad_flag),
        };
        let reason = r.text("reason")?;
        let host = r.text("host")?;
        let digest = match required & DIGEST {
            0 => None,
            _ => Some(Digest(r.array("commit's digest")?)),
        };
        r.finish()?;
        Ok(Self { seq, time, takes_back, reason, host, digest })
    }
}
