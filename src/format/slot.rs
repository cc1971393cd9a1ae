//! A key slot: the keyring, wrapped by one secret.
//!
//! ```text
//!  0 16  header, kind 2
//! 16  8  slot id
//! 24 16  repository id
//! 40  1  secret: 1 passphrase, 2 key file, 3 recovery key
//! 41  3  reserved, zero
//! 44  8  creation time, microseconds UTC, signed
//! 52  4  Argon2id memory in KiB    \
//! 56  4  Argon2id passes            > zero unless the secret is a passphrase
//! 60  4  Argon2id lanes            /
//! 64 16  salt
//! 80  .  label: u16 length, UTF-8
//!  .  32 commitment to the slot's sealing key
//!  .  4  length of the sealed keyring, tag included
//!  .  .  sealed keyring; associated data: everything from offset 0 up to here
//!  .  16 checksum, as in the repository object
//!
//! keyring, plain
//!  0  4  number of keys n, at least 1; the last one is for new segments
//!  4  .  n times: key id 8, creation time 8, key 32
//! ```

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::header::{Header, ObjectKind};
use super::limits;
use super::repository::{check_checksum, with_checksum};
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{KeyId, RepositoryId, SlotId, Timestamp};

/// Bytes of a key in a keyring.
const KEY_LEN: usize = 48;
/// Bytes that a seal adds.
const TAG_LEN: usize = 16;

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SecretKind {
    /// A passphrase, stretched by Argon2id.
    Passphrase = 1,
    /// The 256 bits of a key file.
    KeyFile = 2,
    /// The 256 bits of a printed recovery key.
    Recovery = 3,
}

impl SecretKind {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key-file",
            Self::Recovery => "recovery",
        }
    }
}

/// The cost of Argon2id (RFC 9106, version 0x13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for KdfParams {
    /// RFC 9106's second recommendation: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl KdfParams {
    /// Whether Argon2id allows them and they stay within [`limits`].
    pub const fn is_acceptable(&self) -> bool {
        self.lanes >= 1
            && self.lanes <= limits::ARGON2_LANES
            && self.passes >= 1
            && self.passes <= limits::ARGON2_PASSES
            && self.memory_kib >= 8 * self.lanes
            && self.memory_kib <= limits::ARGON2_MEMORY_KIB
    }
}

/// The plain front of a slot: all that the sealing key and the seal depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFront {
    /// The slot's identity.
    pub id: SlotId,
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// What opens it.
    pub secret: SecretKind,
    /// When it was made.
    pub created: Timestamp,
    /// The cost of stretching; `Some` exactly for a passphrase.
    pub kdf: Option<KdfParams>,
    /// The salt.
    pub salt: [u8; 16],
    /// A name for people.
    pub label: String,
    /// Features that a reader may ignore; zero in slots that this version makes.
    pub optional: u32,
}

/// A whole slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotObject {
    /// The plain front.
    pub front: SlotFront,
    /// Commits to the sealing key, which AES-SIV itself does not.
    pub commitment: [u8; 32],
    /// The sealed keyring, tag first.
    pub sealed: Vec<u8>,
}

impl SlotObject {
    /// The bytes that the seal binds: everything before the sealed keyring.
    pub fn associated_data(front: &SlotFront, commitment: &[u8; 32], sealed_len: usize) -> Vec<u8> {
        let mut w = Writer::default();
        Header { optional: front.optional, ..Header::new(ObjectKind::Slot) }.encode(&mut w);
        let kdf = front.kdf.unwrap_or(KdfParams { memory_kib: 0, passes: 0, lanes: 0 });
        w.bytes(&front.id.0)
            .bytes(&front.repository.0)
            .u8(front.secret as u8)
            .zeros(3)
            .timestamp(front.created)
            .u32(kdf.memory_kib)
            .u32(kdf.passes)
            .u32(kdf.lanes)
            .bytes(&front.salt)
            .text(&front.label)
            .bytes(commitment)
            .count(sealed_len);
        w.0
    }

    /// How many keys the keyring has, as its length tells. Nothing authenticates that before the
    /// slot is opened.
    pub fn key_count(&self) -> usize {
        self.sealed.len().saturating_sub(TAG_LEN + 4) / KEY_LEN
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Self::associated_data(&self.front, &self.commitment, self.sealed.len());
        bytes.extend_from_slice(&self.sealed);
        with_checksum(bytes)
    }

    /// Reads a slot.
    ///
    /// # Errors
    /// When the bytes are not a slot of this version, or ask for more than [`limits`] allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let Header { optional, .. } = Header::decode(&mut r, ObjectKind::Slot)?;
        let id = SlotId(r.array("slot id")?);
        let repository = RepositoryId(r.array("repository id")?);
        let bad_secret = r.invalid("secret kind");
        let secret = match r.u8("secret kind")? {
            1 => SecretKind::Passphrase,
            2 => SecretKind::KeyFile,
            3 => SecretKind::Recovery,
            _ => return Err(bad_secret),
        };
        r.zeros(3, "reserved bytes of the slot")?;
        let created = r.timestamp("creation time")?;
        let bad_kdf = r.invalid("Argon2id parameters");
        let kdf = KdfParams {
            memory_kib: r.u32("Argon2id memory")?,
            passes: r.u32("Argon2id passes")?,
            lanes: r.u32("Argon2id lanes")?,
        };
        let kdf = match secret {
            SecretKind::Passphrase if kdf.is_acceptable() => Some(kdf),
            SecretKind::KeyFile | SecretKind::Recovery
                if (kdf.memory_kib, kdf.passes, kdf.lanes) == (0, 0, 0) =>
            {
                None
            }
            _ => return Err(bad_kdf),
        };
        let salt = r.array("salt")?;
        let label = r.text("label")?;
        let commitment = r.array("commitment")?;
        let len = r.count(limits::PLAIN_OBJECT, 1, "length of the sealed keyring")?;
        let sealed = r.take(len, "sealed keyring")?.to_vec();
        check_checksum(r, bytes)?;
        let front = SlotFront { id, repository, secret, created, kdf, salt, label, optional };
        Ok(Self { front, commitment, sealed })
    }
}

/// A random 256-bit key from which every sealing key of its time is derived.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct MasterKey {
    /// Its identity, plain in every object that it seals.
    #[zeroize(skip)]
    pub id: KeyId,
    /// When it was made.
    #[zeroize(skip)]
    pub created: Timestamp,
    /// The secret.
    pub secret: [u8; 32],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, ..)", self.id)
    }
}

/// The plain keyring, for sealing.
pub fn encode_keyring(keys: &[MasterKey]) -> Zeroizing<Vec<u8>> {
    let mut w = Writer(Vec::with_capacity(4 + keys.len() * KEY_LEN));
    w.count(keys.len());
    for key in keys {
        w.bytes(&key.id.0).timestamp(key.created).bytes(&key.secret);
    }
    Zeroizing::new(w.0)
}

/// Reads an opened keyring.
///
/// # Errors
/// When it is empty or malformed.
pub fn decode_keyring(bytes: &[u8]) -> Result<Vec<MasterKey>, DecodeError> {
    let mut r = Reader::new(bytes);
    let none = r.invalid("number of keys");
    let n = r.count(limits::KEYRING, KEY_LEN, "number of keys")?;
    if n == 0 {
        return Err(none);
    }
    let mut keys = Vec::with_capacity(n);
    for _ in 0..n {
        let id = KeyId(r.array("key id")?);
        let created = r.timestamp("creation time")?;
        keys.push(MasterKey { id, created, secret: r.array("key")? });
    }
    r.finish()?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> SlotObject {
        SlotObject {
            front: SlotFront {
                id: SlotId([1; 8]),
                repository: RepositoryId([2; 16]),
                secret: SecretKind::Passphrase,
                created: Timestamp(77),
                kdf: Some(KdfParams::default()),
                salt: [3; 16],
                label: "laptop".into(),
                optional: 0,
            },
            commitment: [4; 32],
            sealed: vec![5; 68],
        }
    }

    #[test]
    fn every_flip_and_every_truncation_is_noticed() {
        let mut flagged = slot();
        flagged.front.optional = 1;
        assert_eq!(SlotObject::decode(&flagged.encode()), Ok(flagged));
        let bytes = slot().encode();
        assert_eq!(SlotObject::decode(&bytes), Ok(slot()));
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(SlotObject::decode(&bad).is_err(), "byte {i}");
            assert!(SlotObject::decode(&bytes[..i]).is_err(), "length {i}");
        }
    }

    #[test]
    fn a_slot_cannot_ask_for_the_whole_machine() {
        for kdf in [
            KdfParams { memory_kib: u32::MAX, passes: 1, lanes: 1 },
            KdfParams { memory_kib: 64, passes: u32::MAX, lanes: 1 },
            KdfParams { memory_kib: 1024, passes: 1, lanes: 1000 },
            KdfParams { memory_kib: 7, passes: 1, lanes: 1 },
            KdfParams { memory_kib: 64, passes: 0, lanes: 1 },
        ] {
            let mut slot = slot();
            slot.front.kdf = Some(kdf);
            assert!(SlotObject::decode(&slot.encode()).is_err(), "{kdf:?}");
        }
    }

    #[test]
    fn keyrings_come_back_and_show_no_secret() {
        let keys = vec![MasterKey { id: KeyId([1; 8]), created: Timestamp(3), secret: [0xee; 32] }];
        assert_eq!(decode_keyring(&encode_keyring(&keys)).unwrap(), keys);
        assert!(decode_keyring(&encode_keyring(&[])).is_err());
        assert!(!format!("{keys:?}").contains("238"));
    }
}
