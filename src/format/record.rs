//! What the small sealed objects have in common: a kind, and a body that encodes to bytes.

use super::header::ObjectKind;
use super::wire::DecodeError;

/// The body of a small sealed object.
pub trait Record: Sized {
    /// The kind that its header carries.
    const KIND: ObjectKind;

    /// The body's bytes, before sealing.
    fn encode(&self) -> Vec<u8>;

    /// Reads a body that was opened, of an object without required features.
    ///
    /// # Errors
    /// When the bytes are not such a body.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// The required features that its object has.
    fn required(&self) -> u16 {
        0
    }

    /// Reads a body that was opened, of an object with these required features, all of which are
    /// known.
    ///
    /// # Errors
    /// When the bytes are not such a body.
    fn decode_as(_required: u16, bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::about::{About, DigestKey};
    use crate::format::expiry::Expiry;
    use crate::format::header::{DIGEST, UNTIL};
    use crate::format::hold::HoldRecord;
    use crate::format::limits;
    use crate::format::proof::{Level, Proof};
    use crate::format::snapshot::{SnapshotKind, SnapshotRecord};
    use crate::format::writer::WriterClaim;
    use crate::types::{Digest, HoldId, Seq, SnapshotId, Term, Timestamp};

    fn round_trip<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
        let bytes = record.encode();
        assert_eq!(R::decode(&bytes).as_ref(), Ok(record));
        for i in 0..bytes.len() {
            assert!(R::decode(&bytes[..i]).is_err(), "{record:?} cut at {i}");
        }
        assert!(R::decode(&[&bytes[..], &[0]].concat()).is_err(), "{record:?} with one more");
    }

    fn with_digest<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
        let bytes = record.encode();
        assert_eq!(record.required(), DIGEST);
        assert_eq!(R::decode_as(DIGEST, &bytes).as_ref(), Ok(record));
        assert!(R::decode(&bytes).is_err() && R::decode_as(DIGEST, &bytes[1..]).is_err());
        for i in 0..bytes.len() {
            assert!(R::decode_as(DIGEST, &bytes[..i]).is_err(), "{record:?} cut at {i}");
        }
    }

    /// A mark has an end, whether or not it has a digest, and nothing else has one.
    fn marks(like: &SnapshotRecord) {
        for digest in [None, Some(Digest([7; 16]))] {
            let (kind, until) = (SnapshotKind::Mark, Some(Timestamp(-9)));
            let mark = SnapshotRecord { kind, digest, until, ..like.clone() };
            let (bytes, required) = (mark.encode(), mark.required());
            assert_eq!(required & UNTIL, UNTIL);
            assert_eq!(SnapshotRecord::decode_as(required, &bytes).as_ref(), Ok(&mark));
            for i in 0..bytes.len() {
                assert!(SnapshotRecord::decode_as(required, &bytes[..i]).is_err(), "cut at {i}");
            }
            let other = SnapshotRecord { kind: SnapshotKind::Safety, ..mark.clone() };
            let over = SnapshotRecord { takes_back: Some(SnapshotId([9; 8])), ..mark.clone() };
            let endless = SnapshotRecord { until: None, ..mark };
            for bad in [other, over, endless] {
                let read = SnapshotRecord::decode_as(bad.required(), &bad.encode());
                assert!(read.is_err(), "{bad:?}");
            }
        }
    }

    #[test]
    fn records_come_back_and_no_other_length_is_one() {
        round_trip(&About {
            created: Timestamp(1),
            digest_key: DigestKey([2; 32]),
            name: "app".into(),
            source: "/srv/app.db".into(),
            host: "h".into(),
        });
        round_trip(&WriterClaim {
            term: Term(4),
            since: Timestamp(5),
            process: 6,
            host: "h".into(),
            role: "backup".into(),
        });
        let mut snapshot = SnapshotRecord {
            seq: Seq(7),
            time: Timestamp(8),
            kind: SnapshotKind::Safety,
            takes_back: None,
            label: "before migration".into(),
            digest: None,
            until: None,
        };
        round_trip(&snapshot);
        with_digest(&SnapshotRecord { digest: Some(Digest([7; 16])), ..snapshot.clone() });
        marks(&snapshot);
        snapshot.takes_back = Some(SnapshotId([9; 8]));
        round_trip(&snapshot);
        let mut proof = Proof {
            seq: Seq(1),
            digest: Digest([2; 16]),
            started: Timestamp(3),
            micros: 4,
            level: Level::Restore,
            failure: None,
            coverage_ppm: 1_000_000,
            page_bytes: 5,
            assertions: 6,
            host: "h".into(),
        };
        round_trip(&proof);
        proof.failure = Some("object x is damaged".into());
        round_trip(&proof);
        let mut hold = HoldRecord {
            seq: Seq(7),
            time: Timestamp(8),
            takes_back: None,
            reason: "audit".into(),
            host: "h".into(),
            digest: None,
        };
        round_trip(&hold);
        with_digest(&HoldRecord { digest: Some(Digest([7; 16])), ..hold.clone() });
        hold.takes_back = Some(HoldId([9; 8]));
        round_trip(&hold);
        let ranges = vec![(Seq(1), Seq(3)), (Seq(5), Seq(5))];
        let mut expiry = Expiry { term: Term(2), time: Timestamp(3), ranges };
        round_trip(&expiry);
        for bad in [vec![(Seq(0), Seq(1))], vec![(Seq(2), Seq(1))], vec![(Seq(1), Seq(2)); 2]] {
            expiry.ranges = bad;
            assert!(Expiry::decode(&expiry.encode()).is_err());
        }
        let most = limits::EXPIRY_RANGES as u64;
        expiry.ranges = (1..=most).map(|n| (Seq(n * 2), Seq(n * 2))).collect();
        assert!(expiry.encode().len() + 16 <= limits::RECORD_BODY);
        assert_eq!(Expiry::decode(&expiry.encode()).as_ref(), Ok(&expiry));
        expiry.ranges.push((Seq(u64::MAX), Seq(u64::MAX)));
        assert!(Expiry::decode(&expiry.encode()).is_err(), "one range too many");
        proof.coverage_ppm += 1;
        assert!(Proof::decode(&proof.encode()).is_err());
    }
}
