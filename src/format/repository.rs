//! The repository object: the one thing that is readable without a key.
//!
//! ```text
//!  0 16  header, kind 1
//! 16 16  repository id
//! 32  8  creation time, microseconds UTC, signed
//! 40 16  checksum: first 16 bytes of BLAKE3 over everything before
//! ```
//!
//! The checksum finds accidents, not enemies: who changes the id on purpose only makes every seal
//! of the repository fail, since all of them bind the id.

use super::header::{Header, ObjectKind};
use super::wire::{DecodeError, Reader, Writer};
use crate::types::{RepositoryId, Timestamp};

/// Bytes of the checksum that ends a plain object.
pub const CHECKSUM_LEN: usize = 16;

/// What a repository says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryObject {
    /// Its identity; every seal binds it.
    pub id: RepositoryId,
    /// When it was created.
    pub created: Timestamp,
}

impl RepositoryObject {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        Header::new(ObjectKind::Repository).encode(&mut w);
        w.bytes(&self.id.0).timestamp(self.created);
        with_checksum(w.0)
    }

    /// Reads the object.
    ///
    /// # Errors
    /// When the bytes are not a repository object of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        Header::decode(&mut r, ObjectKind::Repository)?;
        let id = RepositoryId(r.array("repository id")?);
        let created = r.timestamp("creation time")?;
        check_checksum(r, bytes)?;
        Ok(Self { id, created })
    }
}

/// Appends the checksum that ends a plain object.
pub(crate) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// Reads the checksum at the reader's place, where the object ends. What follows belongs to
/// nothing.
pub(crate) fn check_checksum(mut r: Reader<'_>, all: &[u8]) -> Result<(), DecodeError> {
    let invalid = r.invalid("checksum");
    let before = all.get(..r.offset()).ok_or(invalid)?;
    let found: [u8; CHECKSUM_LEN] = r.array("checksum")?;
    if found != checksum(before) {
        return Err(invalid);
    }
    Ok(())
}

/// Whether a plain object, of this version or another, ends with its checksum.
pub(crate) fn has_checksum(bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(before, found)| *found == checksum(before))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    first_half(blake3::hash(bytes))
}

/// The first 16 bytes of a BLAKE3 output.
pub(crate) fn first_half(hash: blake3::Hash) -> [u8; 16] {
    let (halves, _) = hash.as_bytes().as_chunks::<16>();
    halves.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flip_and_every_truncation_is_noticed() {
        let object = RepositoryObject { id: RepositoryId([9; 16]), created: Timestamp(-5) };
        let bytes = object.encode();
        assert_eq!(RepositoryObject::decode(&bytes), Ok(object));
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x10;
            assert!(RepositoryObject::decode(&bad).is_err(), "byte {i}");
            assert!(RepositoryObject::decode(&bytes[..i]).is_err(), "length {i}");
        }
    }
}
