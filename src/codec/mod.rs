//! Between pages and sealed bytes: digests, compression, sealing, and the workers that do it.
//!
//! Invariants: pure, apart from threads; nothing here knows where bytes come from or go to.

pub mod batch;
pub mod digest;
pub mod pool;
pub mod seal;
pub mod wave;

use std::fmt;

use crate::error::Error;

/// Why sealed bytes could not be turned back. The caller knows the object and names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The seal does not open: altered, truncated, moved, or sealed under another key.
    Seal,
    /// The seal opens, but what is in it does not decompress to the promised length.
    Compression,
    /// An encoder's own output did not come back; the machine's memory is in doubt.
    Unsound,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seal => "the seal does not open",
            Self::Compression => "the content does not decompress to its length",
            Self::Unsound => "encoded bytes do not decode to what they were",
        })
    }
}

impl std::error::Error for CodecError {}

impl CodecError {
    /// The same, as damage of a named object.
    pub fn of(self, object: &str) -> Error {
        Error::damaged(object, "is damaged or was altered").with_source(self)
    }
}
