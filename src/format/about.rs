//! The body of a history's description. Its object id is the history's id.
//!
//! ```text
//!  0  8  creation time, microseconds UTC, signed
//!  8 32  page digest key of the history: random, and the same for the history's whole life
//! 40  .  name, source path, host: each u16 length, UTF-8
//! ```
//!
//! The digest key lives here and not in the keyring, so that page digests stay comparable across
//! a rotation of the master key. The page size is not here but in every segment: `VACUUM` can
//! change it.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::header::ObjectKind;
use super::record::Record;
use super::wire::{DecodeError, Reader, Writer};
use crate::types::Timestamp;

/// The key of a history's page digests.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct DigestKey(pub [u8; 32]);

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// What a history says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// When it began.
    pub created: Timestamp,
    /// The key of its page digests.
    pub digest_key: DigestKey,
    /// The name that people use.
    pub name: String,
    /// Where the database lay when the history began.
    pub source: String,
    /// On which machine.
    pub host: String,
}

impl Record for About {
    const KIND: ObjectKind = ObjectKind::About;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.timestamp(self.created)
            .bytes(&self.digest_key.0)
            .text(&self.name)
            .text(&self.source)
            .text(&self.host);
        w.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let about = Self {
            created: r.timestamp("creation time")?,
            digest_key: DigestKey(r.array("digest key")?),
            name: r.text("name")?,
            source: r.text("source")?,
            host: r.text("host")?,
        };
        r.finish()?;
        Ok(about)
    }
}
