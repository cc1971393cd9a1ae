//! Page digests: keyed BLAKE3 over the page's content and then its number, first 16 bytes.
//!
//! The number follows the content, so that the content's chunks stay aligned and are hashed side
//! by side; in front it would cost a third of the speed.
//!
//! A page has four chunks where a processor hashes sixteen side by side, so [`PageHasher::digests`]
//! takes many pages at once: a third of the time. BLAKE3 is the same tree for each of them; what
//! the crate offers for benchmarks only hashes the nodes of one level side by side. So the crate's
//! version is held to 1.8 in `Cargo.toml`, and a test compares with its plain hasher.

use blake3::IncrementCounter;
use blake3::platform::Platform;

use crate::format::about::DigestKey;
use crate::format::repository::first_half;
use crate::types::{Digest, PageNo};

/// Bytes of a leaf of BLAKE3's tree, of a block, and of what a node comes to.
const CHUNK: usize = blake3::CHUNK_LEN;
const BLOCK: usize = blake3::BLOCK_LEN;
const NODE: usize = blake3::OUT_LEN;
/// BLAKE3's flags: section 2.1 of its specification.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;
const KEYED: u8 = 16;
/// How many pages are worth to be hashed at once; more do not fit what a core keeps near.
pub const AT_ONCE: usize = 16;

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

    /// The digests of several pages of one size, [`AT_ONCE`] best.
    pub fn digests(&self, pages: &[(PageNo, &[u8])]) -> Vec<Digest> {
        let len = pages.first().map_or(0, |(_, content)| content.len());
        let chunks = len / CHUNK;
        // The number is a chunk of its own behind a whole tree.
        let is_whole = chunks.is_power_of_two() && chunks * CHUNK == len;
        if pages.len() < 2 || !is_whole || pages.iter().any(|(_, content)| content.len() != len) {
            return pages.iter().map(|(page, content)| self.digest(*page, content)).collect();
        }
        let (platform, key) = (Platform::detect(), self.words());
        // Of each level, the first node of all pages, then the second node of all pages.
        let mut nodes = vec![0; chunks * pages.len() * NODE];
        for (number, out) in nodes.chunks_exact_mut(pages.len() * NODE).enumerate() {
            let leaves: Vec<&[u8; CHUNK]> = pages
                .iter()
                .filter_map(|(_, content)| content.get(number * CHUNK..)?.first_chunk())
                .collect();
            let counter = u64::try_from(number).unwrap_or(u64::MAX);
            let same = IncrementCounter::No;
            platform.hash_many(&leaves, &key, counter, same, KEYED, CHUNK_START, CHUNK_END, out);
        }
        while nodes.len() > pages.len() * NODE {
            let pairs = nodes.chunks_exact(2 * pages.len() * NODE);
            let halves = pairs.map(|pair| pair.split_at(pages.len() * NODE));
            nodes = parents(platform, &key, halves, KEYED | PARENT);
        }
        let mut numbers = Vec::with_capacity(nodes.len());
        for (page, _) in pages {
            let mut block = [0; BLOCK];
            block[..4].copy_from_slice(&page.0.to_le_bytes());
            let (mut node, flags) = (key, KEYED | CHUNK_START | CHUNK_END);
            let counter = u64::try_from(chunks).unwrap_or(u64::MAX);
            platform.compress_in_place(&mut node, &block, 4, counter, flags);
            numbers.extend(node.iter().flat_map(|word| word.to_le_bytes()));
        }
        let halves = std::iter::once((&nodes[..], &numbers[..]));
        let roots = parents(platform, &key, halves, KEYED | PARENT | ROOT);
        let halves = roots.as_chunks::<NODE>().0.iter();
        halves.map(|root| Digest(first_half(blake3::Hash::from_bytes(*root)))).collect()
    }

    fn words(&self) -> [u32; 8] {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(self.0.0.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        words
    }
}

/// The nodes above pairs of nodes, each pair's left halves together and its right halves together.
fn parents<'n>(
    platform: Platform,
    key: &[u32; 8],
    halves: impl Iterator<Item = (&'n [u8], &'n [u8])>,
    flags: u8,
) -> Vec<u8> {
    let mut blocks: Vec<[u8; BLOCK]> = Vec::new();
    for (left, right) in halves {
        for (left, right) in left.as_chunks::<NODE>().0.iter().zip(right.as_chunks::<NODE>().0) {
            let mut block = [0; BLOCK];
            block[..NODE].copy_from_slice(left);
            block[NODE..].copy_from_slice(right);
            blocks.push(block);
        }
    }
    let blocks: Vec<&[u8; BLOCK]> = blocks.iter().collect();
    let mut nodes = vec![0; blocks.len() * NODE];
    platform.hash_many(&blocks, key, 0, IncrementCounter::No, flags, 0, 0, &mut nodes);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::random_bytes;

    #[test]
    fn pages_hashed_at_once_have_the_digests_that_they_have_alone() {
        let hasher = PageHasher::new(DigestKey(random_bytes().unwrap()));
        for page_len in [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536] {
            for count in [0, 1, 2, 3, 7, 8, 15, 16, 17, 40] {
                let mut contents: Vec<Vec<u8>> = Vec::new();
                for n in 0..count {
                    let mut content = vec![0; page_len];
                    let seed = blake3::hash(&[n, u8::try_from(page_len >> 9).unwrap_or(0)]);
                    blake3::Hasher::new_keyed(seed.as_bytes()).finalize_xof().fill(&mut content);
                    contents.push(content);
                }
                let pages: Vec<(PageNo, &[u8])> = (0u32..)
                    .map(|n| PageNo(n.wrapping_mul(0x9e37_79b9)))
                    .zip(contents.iter().map(Vec::as_slice))
                    .collect();
                let alone: Vec<Digest> =
                    pages.iter().map(|(page, content)| hasher.digest(*page, content)).collect();
                assert_eq!(hasher.digests(&pages), alone, "{count} pages of {page_len}");
            }
        }
    }
}
