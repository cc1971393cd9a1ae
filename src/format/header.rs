//! What every object begins with, and the plain prefix of every sealed one.
//!
//! ```text
//! header, 16 bytes                     sealed prefix, 44 bytes
//!  0  4  magic "PGKP"                   0 16  header
//!  4  1  object kind                   16  8  id of the master key
//!  5  1  format version                24 16  object id: the sealing key comes from it
//!  6  2  required feature flags        40  4  length of the sealed body, tag included
//!  8  4  optional feature flags        44  .  sealed body: 16-byte tag, ciphertext
//! 12  4  reserved, zero
//! ```

use super::wire::{DecodeError, DecodeKind, Reader, Writer};
use crate::types::KeyId;

/// The version that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// The first four bytes of every object.
pub const MAGIC: [u8; 4] = *b"PGKP";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// The repository object.
    Repository = 1,
    /// A key slot.
    Slot = 2,
    /// A history's description.
    About = 3,
    /// A writer's claim of a term.
    Writer = 4,
    /// A segment: manifest and, for a small one, its data.
    Segment = 5,
    /// A part: batches and index blocks of a large segment.
    Part = 6,
    /// A snapshot record.
    Snapshot = 7,
    /// A verification result.
    Proof = 8,
    /// A hold on a commit.
    Hold = 9,
    /// Commits that are no restore points any more.
    Expiry = 10,
    /// The segment that a writer builds on.
    Head = 11,
}

impl ObjectKind {
    /// Every kind, in order of its number.
    pub const ALL: [Self; 11] = [
        Self::Repository,
        Self::Slot,
        Self::About,
        Self::Writer,
        Self::Segment,
        Self::Part,
        Self::Snapshot,
        Self::Proof,
        Self::Hold,
        Self::Expiry,
        Self::Head,
    ];

    /// The number that stands for it in the header.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The required features that an object of this kind may have.
    const fn features(self) -> u16 {
        match self {
            Self::Segment => SPARSE,
            Self::Snapshot => DIGEST | UNTIL,
            Self::Hold => DIGEST,
            _ => 0,
        }
    }
}

/// Required feature of a segment: its commits need not be those that its writer captured one after
/// the other. Its last commit may be a carried one, a segment of the log may leave out commits, and
/// it may begin behind its parent's end.
pub const SPARSE: u16 = 1;

/// Required feature of a label or a hold: its body ends with the database digest of its commit.
/// Numbers can be lost and, by a program that does not know of them, used again; so it names no
/// other content.
pub const DIGEST: u16 = 2;

/// Required feature of a label: it is a mark, whose body ends with when it is over. A program that
/// does not know of that would take it for a label that keeps its commit for good.
pub const UNTIL: u16 = 4;

/// The header of an object. This version of the code knows the required features [`SPARSE`],
/// [`DIGEST`] and [`UNTIL`], and no optional one: it refuses other required flags, and ignores
/// optional ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: ObjectKind,
    /// Features that a reader has to know.
    pub required: u16,
    /// Features that a reader may ignore.
    pub optional: u32,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 16;

    /// A header without feature flags.
    pub const fn new(kind: ObjectKind) -> Self {
        Self { kind, required: 0, optional: 0 }
    }

    pub(crate) fn encode(self, w: &mut Writer) {
        w.bytes(&MAGIC)
            .u8(self.kind.number())
            .u8(FORMAT_VERSION)
            .u16(self.required)
            .u32(self.optional)
            .zeros(4);
    }

    pub(crate) fn decode(r: &mut Reader<'_>, kind: ObjectKind) -> Result<Self, DecodeError> {
        let bad_magic = r.invalid("magic");
        if r.array("magic")? != MAGIC {
            return Err(bad_magic);
        }
        let bad_kind = r.invalid("object kind");
        let found = r.u8("object kind")?;
        let too_new = r.error(DecodeKind::TooNew, "format version");
        if r.u8("format version")? != FORMAT_VERSION {
            return Err(too_new);
        }
        if found != kind.number() {
            return Err(bad_kind);
        }
        let unknown = r.error(DecodeKind::TooNew, "required feature");
        let required = r.u16("required features")?;
        if required & !kind.features() != 0 {
            return Err(unknown);
        }
        let optional = r.u32("optional features")?;
        r.zeros(4, "reserved bytes of the header")?;
        Ok(Self { kind, required, optional })
    }
}

/// The plain bytes in front of a sealed body. All of them are associated data of the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPrefix {
    /// The header.
    pub header: Header,
    /// Which master key the sealing key comes from.
    pub key: KeyId,
    /// The object's identity, which the sealing key comes from; random, never used twice.
    pub object: [u8; 16],
    /// Bytes of the sealed body, its 16-byte tag included.
    pub body_len: u32,
}

impl SealedPrefix {
    /// Bytes of the prefix.
    pub const LEN: usize = 44;
    /// Bytes of a seal's tag.
    pub const TAG_LEN: usize = 16;

    /// Bytes of the object, if it has nothing but the prefix and the sealed body.
    pub fn object_len(&self) -> u64 {
        u64::try_from(Self::LEN).unwrap_or(u64::MAX).saturating_add(self.body_len.into())
    }

    /// The prefix's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.header.encode(&mut w);
        w.bytes(&self.key.0).bytes(&self.object).u32(self.body_len);
        w.0
    }

    /// Reads the prefix of an object of the given kind.
    ///
    /// # Errors
    /// When the bytes are not such a prefix, or its body is longer than `limit` or shorter than
    /// a tag.
    pub fn decode(bytes: &[u8], kind: ObjectKind, limit: usize) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let header = Header::decode(&mut r, kind)?;
        Self::behind(header, r, limit)
    }

    /// Reads the prefix of an object of the given kind, whatever its version and its features: the
    /// prefix of every version has the same fields. What it says is not to be believed before the
    /// seal opened.
    ///
    /// # Errors
    /// As [`SealedPrefix::decode`], but for the version and the features.
    pub fn of_any_version(
        bytes: &[u8],
        kind: ObjectKind,
        limit: usize,
    ) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let bad_magic = r.invalid("magic");
        if r.array("magic")? != MAGIC {
            return Err(bad_magic);
        }
        let bad_kind = r.invalid("object kind");
        if r.u8("object kind")? != kind.number() {
            return Err(bad_kind);
        }
        r.u8("format version")?;
        let required = r.u16("required features")?;
        let optional = r.u32("optional features")?;
        // A later version may have a use for them.
        r.take(4, "reserved bytes of the header")?;
        Self::behind(Header { kind, required, optional }, r, limit)
    }

    fn behind(header: Header, mut r: Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        let key = KeyId(r.array("key id")?);
        let object = r.array("object id")?;
        let bad_len = r.invalid("body length");
        let body_len = r.u32("body length")?;
        let len = usize::try_from(body_len).map_err(|_| bad_len)?;
        if len < Self::TAG_LEN || len > limit {
            return Err(bad_len);
        }
        Ok(Self { header, key, object, body_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> SealedPrefix {
        SealedPrefix {
            header: Header::new(ObjectKind::Proof),
            key: KeyId([3; 8]),
            object: [4; 16],
            body_len: 100,
        }
    }

    #[test]
    fn a_prefix_comes_back_and_every_header_flip_is_noticed() {
        let bytes = prefix().encode();
        assert_eq!(bytes.len(), SealedPrefix::LEN);
        assert_eq!(SealedPrefix::decode(&bytes, ObjectKind::Proof, 100), Ok(prefix()));
        assert!(SealedPrefix::decode(&bytes, ObjectKind::About, 100).is_err());
        assert!(SealedPrefix::decode(&bytes, ObjectKind::Proof, 99).is_err());
        for i in 0..Header::LEN {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[i] ^= 1 << bit;
                let got = SealedPrefix::decode(&bad, ObjectKind::Proof, 100);
                // Optional flags may be ignored; everything else in the header may not.
                assert_eq!(got.is_ok(), (8..12).contains(&i), "byte {i}");
                let too_new = matches!(got, Err(e) if e.kind == DecodeKind::TooNew);
                assert_eq!(too_new, (5..8).contains(&i), "byte {i}");
                // Its fields are where they are in any version.
                let any = SealedPrefix::of_any_version(&bad, ObjectKind::Proof, 100);
                assert_eq!(any.is_ok(), i >= 5, "byte {i}");
            }
        }
    }
}
