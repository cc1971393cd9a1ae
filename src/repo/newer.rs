//! Whether an object that says it is of a version or has a feature that is not known here was
//! written by a newer pagekeep, or is damaged. This is the only place that decides it.
//!
//! A bit that flipped in a header, or a file that somebody put there, says the same as an honest
//! newer version. To believe it would be a dead end: nothing here repairs what is newer. So it is
//! believed only if it is authentic. All versions keep the prefix of sealed objects, how their keys
//! are derived and what their seals bind, so a seal of any version opens here; and all versions end
//! plain objects with the checksum.
//!
//! Parts are not asked: a segment that this version reads has parts that this version reads.

use super::repository::Repository;
use crate::error::{Error, ErrorKind, Result};
use crate::format::repository::has_checksum;
use crate::format::{DecodeError, DecodeKind, ObjectKind, SealedPrefix};

/// What is wrong with a plain object of which `e` was found.
pub(super) fn plain(e: DecodeError, name: &str, bytes: &[u8]) -> Error {
    match e.kind {
        DecodeKind::TooNew if has_checksum(bytes) => too_new(e, name),
        _ => e.of(name),
    }
}

impl Repository {
    /// The prefix of a sealed object. `front` has it; `whole` answers that many bytes of the
    /// object, and is asked only if the version or a feature is not known.
    ///
    /// # Errors
    /// [`ErrorKind::TooNew`] when a newer version sealed it; [`ErrorKind::Damaged`]; store errors.
    pub(crate) fn prefix_of(
        &self,
        name: &str,
        (kind, limit): (ObjectKind, usize),
        front: &[u8],
        whole: impl FnOnce(usize) -> Result<Vec<u8>>,
    ) -> Result<SealedPrefix> {
        let e = match SealedPrefix::decode(front, kind, limit) {
            Err(e) if e.kind == DecodeKind::TooNew => e,
            prefix => return prefix.map_err(|e| e.of(name)),
        };
        let prefix = SealedPrefix::of_any_version(front, kind, limit).map_err(|e| e.of(name))?;
        let len = usize::try_from(prefix.body_len).unwrap_or(usize::MAX);
        let bytes = whole(SealedPrefix::LEN.saturating_add(len))?;
        self.open_object(name, &prefix, &bytes)?;
        Err(too_new(e, name))
    }
}

fn too_new(e: DecodeError, name: &str) -> Error {
    Error::new(ErrorKind::TooNew, "was written by a newer version of pagekeep")
        .with_object(name)
        .with_hint("use a newer pagekeep to read this repository")
        .with_source(e)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::seal::SealKey;
    use crate::format::expiry::Expiry;
    use crate::format::hold::HoldRecord;
    use crate::format::record::Record;
    use crate::format::repository::with_checksum;
    use crate::format::slot::KdfParams;
    use crate::format::snapshot::{SnapshotKind, SnapshotRecord};
    use crate::format::writer::WriterClaim;
    use crate::format::{Header, names};
    use crate::repo::RepositoryOptions;
    use crate::repo::history::handle::History;
    use crate::repo::keys::secret::Secret;
    use crate::repo::write::term::{Claim, PRUNE};
    use crate::store::{MemoryStore, Store};
    use crate::types::{HoldId, KeyId, Seq, SlotId, SnapshotId, Term, Timestamp, WriterToken};

    struct Lab {
        dir: tempfile::TempDir,
        store: MemoryStore,
        secret: Secret,
        history: History,
    }

    impl Lab {
        fn new() -> Self {
            let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
            let secret = Secret::new_recovery().unwrap();
            let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
            let (shared, state) = (Arc::new(store.clone()), dir.path().join("state"));
            let repository =
                Repository::init(shared, &[(&secret, "x")], kdf, &RepositoryOptions::new(state))
                    .unwrap();
            let history = repository.create_history("app", "app.db").unwrap();
            Self { dir, store, secret, history }
        }

        fn repository(&self) -> &Repository {
            self.history.repository()
        }

        fn open(&self) -> Result<Repository> {
            let state = self.dir.path().join("state");
            Repository::open(
                Arc::new(self.store.clone()),
                &self.secret,
                &RepositoryOptions::new(state),
            )
        }

        fn bytes(&self, name: &str) -> Vec<u8> {
            self.store.get(name, u64::MAX).unwrap().unwrap()
        }

        /// Seals as a later version would, with other bytes 5 to 16 of the header.
        fn seal_later(&self, name: &str, kind: ObjectKind, change: &[(usize, u8)]) -> Vec<u8> {
            let master = self.repository().newest_key().unwrap();
            let (object, body) = ([9; 16], b"what nobody knows here");
            let body_len = u32::try_from(body.len() + SealedPrefix::TAG_LEN).unwrap();
            let header = Header::new(kind);
            let mut bytes = SealedPrefix { header, key: master.id, object, body_len }.encode();
            for (at, byte) in change {
                bytes[*at] = *byte;
            }
            let id = self.repository().id();
            let key = SealKey::for_object(&master, id, kind, &object);
            let sealed = key.seal(&[&bytes, &id.0, name.as_bytes()], body).unwrap();
            [bytes, sealed].concat()
        }

        fn kind_of<R: Record>(&self, name: &str) -> ErrorKind {
            self.repository().read_record::<R>(name).map(|_| ()).unwrap_err().kind()
        }
    }

    #[test]
    fn a_sealed_object_is_newer_only_if_its_seal_says_so() {
        let lab = Lab::new();
        let claim = Claim::take(&lab.history, PRUNE).unwrap();
        let name = lab.history.names().writer(claim.term);
        let whole = lab.bytes(&name);
        for at in 5..8 {
            for bit in 0..8 {
                let mut bad = whole.clone();
                bad[at] ^= 1 << bit;
                lab.store.damage(&name, &bad);
                assert_eq!(lab.kind_of::<WriterClaim>(&name), ErrorKind::Damaged, "{at}, {bit}");
            }
        }
        let junk = [&b"PGKP\x04\x02"[..], &[0x11; 200]].concat();
        for len in [6, 16, 43, 44, 60, junk.len()] {
            lab.store.damage(&name, &junk[..len]);
            assert_eq!(lab.kind_of::<WriterClaim>(&name), ErrorKind::Damaged, "{len}");
        }
        // A later version, features, and what is reserved here.
        for change in [&[(5, 2)][..], &[(6, 4)], &[(7, 0x80)], &[(5, 9), (6, 3), (12, 1)]] {
            let later = lab.seal_later(&name, ObjectKind::Writer, change);
            lab.store.damage(&name, &later);
            assert_eq!(lab.kind_of::<WriterClaim>(&name), ErrorKind::TooNew, "{change:?}");
            // Under another name, cut off, or changed, it is none.
            let moved = lab.history.names().writer(Term(77));
            lab.store.damage(&moved, &later);
            assert_eq!(lab.kind_of::<WriterClaim>(&moved), ErrorKind::Damaged, "{change:?}");
            for bad in [5, 9, 20, 30, 50] {
                let mut bytes = later.clone();
                bytes[bad] ^= 0x40;
                lab.store.damage(&name, &bytes);
                assert_eq!(lab.kind_of::<WriterClaim>(&name), ErrorKind::Damaged, "byte {bad}");
            }
            lab.store.damage(&name, &later[..later.len() - 1]);
            assert_eq!(lab.kind_of::<WriterClaim>(&name), ErrorKind::Damaged);
        }
    }

    #[test]
    fn a_later_object_of_every_kind_is_newer() {
        let lab = Lab::new();
        let names = lab.history.names();
        let token = WriterToken([9; 16]);
        let later = |name: &str, kind| {
            lab.store.damage(name, &lab.seal_later(name, kind, &[(5, 2)]));
        };
        let expiry = names.expiry(Term(1), token);
        later(&expiry, ObjectKind::Expiry);
        assert_eq!(lab.kind_of::<Expiry>(&expiry), ErrorKind::TooNew);
        let hold = names.hold(Seq(1), HoldId([1; 8]));
        later(&hold, ObjectKind::Hold);
        assert_eq!(lab.kind_of::<HoldRecord>(&hold), ErrorKind::TooNew);
        let label = names.snapshot(Seq(1), SnapshotId([1; 8]));
        later(&label, ObjectKind::Snapshot);
        assert_eq!(lab.kind_of::<SnapshotRecord>(&label), ErrorKind::TooNew);
        let segment = names.segment(names::LogName { term: Term(1), first: Seq(1) });
        Claim::take(&lab.history, "backup").unwrap();
        later(&segment, ObjectKind::Segment);
        lab.store.delete(&expiry).unwrap();
        assert_eq!(lab.history.chain().unwrap_err().kind(), ErrorKind::TooNew);
        let mut bytes = lab.bytes(&segment);
        bytes[5] ^= 1;
        lab.store.damage(&segment, &bytes);
        assert_eq!(lab.history.chain().unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_plain_object_is_newer_only_if_its_checksum_says_so() {
        let lab = Lab::new();
        let slot = names::slot(lab.repository().current_slot());
        for name in [names::REPOSITORY, &slot] {
            let whole = lab.bytes(name);
            for at in 5..8 {
                let mut bad = whole.clone();
                bad[at] ^= 0x10;
                lab.store.damage(name, &bad);
                let e = lab.open().unwrap_err();
                assert_eq!((e.kind(), e.object()), (ErrorKind::Damaged, Some(name)), "{at}");
                let later = with_checksum(bad[..bad.len() - 16].to_vec());
                lab.store.damage(name, &later);
                assert_eq!(lab.open().unwrap_err().kind(), ErrorKind::TooNew, "{name}, {at}");
            }
            lab.store.damage(name, b"PGKP\x01\x02");
            assert_eq!(lab.open().unwrap_err().kind(), ErrorKind::Damaged);
            lab.store.damage(name, &whole);
        }
    }

    #[test]
    fn a_key_that_a_newer_slot_may_have_is_no_damage() {
        let lab = Lab::new();
        let name = lab.history.names().snapshot(Seq(1), SnapshotId([1; 8]));
        let record = SnapshotRecord {
            seq: Seq(1),
            time: Timestamp(1),
            kind: SnapshotKind::Manual,
            takes_back: None,
            label: "x".into(),
            digest: None,
            until: None,
        };
        lab.repository().create_record(&name, [9; 16], &record).unwrap();
        let mut bytes = lab.bytes(&name);
        bytes[16..24].copy_from_slice(&KeyId([7; 8]).0);
        lab.store.damage(&name, &bytes);
        assert_eq!(lab.kind_of::<SnapshotRecord>(&name), ErrorKind::Damaged);
        let slot = lab.bytes(&names::slot(lab.repository().current_slot()));
        let mut later = slot[..slot.len() - 16].to_vec();
        later[5] = 2;
        let other = names::slot(SlotId([5; 8]));
        lab.store.create(&other, &with_checksum(later)).unwrap();
        assert_eq!(lab.kind_of::<SnapshotRecord>(&name), ErrorKind::TooNew);
    }
}
