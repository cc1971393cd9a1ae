//! Bytes at rest, version 1: how every stored object is laid out. `docs/format.md` is the
//! normative twin of this module, and a test compares its constants with the ones here.
//!
//! Invariants:
//! - Pure: nothing here reads a file, a clock or a key. Sealing is `codec`'s, naming is
//!   [`names`]'s.
//! - All integers are little-endian. Reserved fields are zero, and a decoder refuses anything else.
//! - Every length that comes from storage is compared with a limit of [`limits`] and with the
//!   bytes at hand before memory is taken for it.
//! - A decoder never panics: it answers a [`DecodeError`] with the offset where it stopped.
//! - `decode(encode(x)) == x`, and a decoder accepts only what the encoder would write; but for the
//!   optional flags of plain objects and parts, which it reads and ignores.
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
pub mod limits;
pub mod names;
pub mod proof;
pub mod record;
pub mod repository;
pub mod segment;
pub mod slot;
pub mod snapshot;
mod wire;
pub mod writer;

pub use header::{FORMAT_VERSION, Header, MAGIC, ObjectKind, SealedPrefix};
pub use wire::{DecodeError, DecodeKind};
