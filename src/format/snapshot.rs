//! The body of a snapshot record. Its object id is the snapshot id, padded with zeros to 16 bytes
//! in front.
//!
//! ```text
//!  0  8  seq of the commit
//!  8  8  when the record was made, microseconds UTC, signed
//! 16  1  kind: 1 manual, 2 scheduled, 3 safety, 4 mark
//! 17  1  1 if this record only takes another one back, else 0
//! 18  6  reserved, zero
//! 24  8  id of the record taken back, else zero
//! 32  .  label: u16 length, UTF-8
//!  . 16  only with the required feature of that: the commit's database digest
//!  .  8  only of a mark, with the required feature of that: when it ends, microseconds UTC, signed
//! ```
//!
//! Records are never changed or deleted in place: a label is taken back by one more record. That of
//! a mark, too, is taken back by a record of another kind.

use super::header::{DIGEST, ObjectKind, UNTIL};
use super::record::Record;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{Digest, Seq, SnapshotId, Timestamp};

/// Why a snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SnapshotKind {
    /// Somebody asked for it.
    Manual = 1,
    /// A schedule asked for it.
    Scheduled = 2,
    /// Made before something risky.
    Safety = 3,
    /// Given by itself to the state before a commit that matters; it has an end.
    Mark = 4,
}

impl SnapshotKind {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Scheduled => "scheduled",
            Self::Safety => "safety",
            Self::Mark => "mark",
        }
    }
}

/// A snapshot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The commit.
    pub seq: Seq,
    /// When the record was made.
    pub time: Timestamp,
    /// Why it was made.
    pub kind: SnapshotKind,
    /// The record that this one takes back, if that is all it does.
    pub takes_back: Option<SnapshotId>,
    /// The name for people.
    pub label: String,
    /// The database digest of the commit, which no other one of its number has.
    pub digest: Option<Digest>,
    /// When a mark is over; of other kinds `None`.
    pub until: Option<Timestamp>,
}

impl Record for SnapshotRecord {
    const KIND: ObjectKind = ObjectKind::Snapshot;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.seq.0)
            .timestamp(self.time)
            .u8(self.kind as u8)
            .u8(self.takes_back.is_some().into())
            .zeros(6)
            .bytes(&self.takes_back.unwrap_or_default().0)
            .text(&self.label);
        if let Some(digest) = &self.digest {
            w.bytes(&digest.0);
        }
        if let Some(until) = self.until {
            w.timestamp(until);
        }
        w.0
    }

    fn required(&self) -> u16 {
        let digest = if self.digest.is_some() { DIGEST } else { 0 };
        let until = if self.until.is_some() { UNTIL } else { 0 };
        digest | until
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_as(0, bytes)
    }

    fn decode_as(required: u16, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let seq = Seq(r.u64("seq")?);
        let time = r.timestamp("time")?;
        let bad_kind = r.invalid("snapshot kind");
        let kind = match r.u8("snapshot kind")? {
            1 => SnapshotKind::Manual,
            2 => SnapshotKind::Scheduled,
            3 => SnapshotKind::Safety,
            4 => SnapshotKind::Mark,
            _ => return Err(bad_kind),
        };
        // One without an end would keep its commit for good.
        let is_mark = required & UNTIL != 0;
        if (kind == SnapshotKind::Mark) != is_mark {
            return Err(bad_kind);
        }
        let bad_flag = r.invalid("take-back flag");
        let flag = r.u8("take-back flag")?;
        r.zeros(6, "reserved bytes of the snapshot")?;
        let other = SnapshotId(r.array("id taken back")?);
        let takes_back = match (flag, other.is_zero()) {
            (0, true) => None,
            (1, false) if !is_mark => Some(other),
            _ => return Err(bad_flag),
        };
        let label = r.text("label")?;
        let digest = match required & DIGEST {
            0 => None,
            _ => Some(Digest(r.array("commit's digest")?)),
        };
        let until = if is_mark { Some(r.timestamp("end of the mark")?) } else { None };
        r.finish()?;
        Ok(Self { seq, time, kind, takes_back, label, digest, until })
    }
}
