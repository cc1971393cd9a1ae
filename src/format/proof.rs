//! The body of a proof: what a verification of one commit found. Its object id is random.
//!
//! ```text
//!  0  8  seq of the commit
//!  8 16  database digest that the commit had
//! 24  8  start, microseconds UTC, signed
//! 32  8  duration, microseconds
//! 40  1  level: 1 chain, 2 data, 3 restore
//! 41  1  outcome: 1 passed, 2 failed
//! 42  2  reserved, zero
//! 44  4  share of the batches that were opened, in millionths; at level restore, of the checks that could be made
//! 48  8  bytes of database pages whose digests were compared
//! 56  4  assertions that hold
//! 60  .  host, what failed: each u16 length, UTF-8
//! ```

use super::header::ObjectKind;
use super::record::Record;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{Digest, Seq, Timestamp};

/// How deep a verification looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Objects are there and form an unbroken chain.
    Chain = 1,
    /// Every batch opens and every page has its digest.
    Data = 2,
    /// A scratch restore passes SQLite's own checks.
    Restore = 3,
}

impl Level {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Data => "data",
            Self::Restore => "restore",
        }
    }
}

/// The result of one verification of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The commit.
    pub seq: Seq,
    /// The database digest that it had.
    pub digest: Digest,
    /// When the verification began.
    pub started: Timestamp,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// How deep it looked.
    pub level: Level,
    /// What failed; `None` when nothing did.
    pub failure: Option<String>,
    /// The share of the batches that were opened, in millionths; at level restore, of the checks
    /// that could be made: SQLite's and assertions. The pages were all compared.
    pub coverage_ppm: u32,
    /// Bytes of database pages whose digests were compared.
    pub page_bytes: u64,
    /// Assertions that hold.
    pub assertions: u32,
    /// The machine that did it.
    pub host: String,
}

impl Record for Proof {
    const KIND: ObjectKind = ObjectKind::Proof;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.seq.0)
            .bytes(&self.digest.0)
            .timestamp(self.started)
            .u64(self.micros)
            .u8(self.level as u8)
            .u8(if self.failure.is_some() { 2 } else { 1 })
            .zeros(2)
            .u32(self.coverage_ppm)
            .u64(self.page_bytes)
            .u32(self.assertions)
            .text(&self.host)
            .text(self.failure.as_deref().unwrap_or_default());
        w.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let seq = Seq(r.u64("seq")?);
        let digest = Digest(r.array("digest")?);
        let started = r.timestamp("start")?;
        let micros = r.u64("duration")?;
        let bad_level = r.invalid("level");
        let level = match r.u8("level")? {
            1 => Level::Chain,
            2 => Level::Data,
            3 => Level::Restore,
            _ => return Err(bad_level),
        };
        let bad_outcome = r.invalid("outcome");
        let outcome = r.u8("outcome")?;
        r.zeros(2, "reserved bytes of the proof")?;
        let bad_coverage = r.invalid("coverage");
        let coverage_ppm = r.u32("coverage")?;
        if coverage_ppm > 1_000_000 {
            return Err(bad_coverage);
        }
        let page_bytes = r.u64("bytes compared")?;
        let assertions = r.u32("assertions")?;
        let host = r.text("host")?;
        let message = r.text("failure")?;
        r.finish()?;
        let failure = match (outcome, message.is_empty()) {
            (1, true) => None,
            (2, _) => Some(message),
            _ => return Err(bad_outcome),
        };
        Ok(Self {
            seq,
            digest,
            started,
            micros,
            level,
            failure,
            coverage_ppm,
            page_bytes,
            assertions,
            host,
        })
    }
}
