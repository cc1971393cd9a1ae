//! Upper bounds on what a decoder accepts. They are part of the format: a writer stays within
//! them, so a reader may refuse more before it takes memory.

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
