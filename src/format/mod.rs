//! Bytes at rest, version 1: how every stored object is laid out. `docs/format.md` is the
//! normative twin of this module, and a test compares its constants with the ones here.
//!
//! Invariants:
//! - Pure: nothing here reads a file, a clock or a key. Sealing is `codec`'s, naming is [`names`]'s.
//! - All integers are little-endian. Reserved fields are zero, and a decoder refuses anything else.
//! - Every length that comes from storage is compared with a limit of [`limits`] and with the
//!   bytes at hand before memory is taken for it.
//! - A decoder never panics: it answers a [`DecodeError`] with the offset where it stopped.
//! - `decode(encode(x)) == x`, and a decoder accepts only what the encoder would write; but for the optional flags of
//!   plain objects and parts, which it reads and ignores.
//!
//! Deliberately absent: any way to read a later version. An unknown version or required feature
//! is an error of its own, [`DecodeKind::TooNew`]. All versions share the prefix of sealed objects
//! and the checksum of plain ones, so that it can be told whether that is true.

pub mod about;
pub mod expiry;
pub mod head;
pub mod header;
pub mod hold;
pub mod index;
pub mod names;
pub mod proof;
pub mod record;
pub mod repository;
pub mod segment;
pub mod slot;
pub mod snapshot;
mod wire;
pub mod writer;

pub use header::{Header, ObjectKind, SealedPrefix};
pub use wire::{DecodeError, DecodeKind};

/// The version that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// The first four bytes of every object.
pub const MAGIC: [u8; 4] = *b"PGKP";

/// Upper bounds on what a decoder accepts. They are part of the format: a writer stays within
/// them, so a reader may refuse more before it takes memory.
pub mod limits {
    /// Bytes of a plain object: the repository object or a key slot.
    pub const PLAIN_OBJECT: usize = 64 * 1024;
    /// Bytes of a sealed body other than a segment's manifest.
    pub const RECORD_BODY: usize = 64 * 1024;
    /// Bytes of a segment's sealed manifest.
    pub const MANIFEST_BODY: usize = 64 * 1024 * 1024;
    /// Bytes of the data that a segment object carries inside itself.
    pub const INLINE_DATA: u64 = 16 * 1024 * 1024;
    /// Bytes of one part, header included.
    pub const PART: u64 = 64 * 1024 * 1024;
    /// Bytes of one batch before compression.
    pub const BATCH_PLAIN: usize = 1024 * 1024;
    /// Page versions that one index block lists.
    pub const INDEX_ENTRIES: usize = 64 * 1024;
    /// Batches that one index block names.
    pub const INDEX_BATCHES: usize = 64 * 1024;
    /// Bytes of a name, a label, a path, or any other text.
    pub const TEXT: usize = 4096;
    /// Segments whose batches a merged segment copied.
    pub const ORIGINS: usize = 64 * 1024;
    /// Keys in a keyring.
    pub const KEYRING: usize = 1024;
    /// Ranges of commits that one expiry lists.
    pub const EXPIRY_RANGES: usize = 4000;
    /// Argon2id memory, in KiB.
    pub const ARGON2_MEMORY_KIB: u32 = 1024 * 1024;
    /// Argon2id passes.
    pub const ARGON2_PASSES: u32 = 64;
    /// Argon2id lanes.
    pub const ARGON2_LANES: u32 = 64;
}
