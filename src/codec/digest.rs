//! Page digests: keyed BLAKE3 over the page's content and then its number, first 16 bytes.
//!
//! The number follows the content, so that the content's chunks stay aligned and are hashed side
//! by side; in front it would cost a third of the speed.

use crate::format::about::DigestKey;
use crate::format::repository::first_half;
use crate::types::{Digest, PageNo};

/// Computes the page digests of one history.
#[derive(Clone, Debug)]
pub struct PageHasher(DigestKey);

impl PageHasher {
    /// A hasher with the history's key.
    pub fn new(key: DigestKey) -> Self {
        Self(key)
    }

    /// The digest of a page.
    pub fn digest(&self, page: PageNo, content: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.0);
        hasher.update(content);
        hasher.update(&page.0.to_le_bytes());
        Digest(first_half(hasher.finalize()))
    }
}
