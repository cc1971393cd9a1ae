//! The unavoidable work of a backup with no engine around it: the floor that the engine is
//! measured against.
//!
//! Pages are read in 1 MiB reads, each is hashed, 256 KiB batches of them are compressed and
//! sealed, packs are written and synced. There is no snapshot, no history, no key management, no
//! recovery after a crash, and sealed batches are not opened again before they are written. Whatever
//! an engine needs above these figures is the price of those.
//!
//! Invariants: the cryptography is that of the real format in kind and amount (keyed BLAKE3 of each
//! page and its number, AES-256-SIV by the crate as it is) with fixed keys; a restored file is
//! byte for byte the one that was backed up.

pub mod command;
mod incremental;
mod runs;

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use crossbeam_channel::Sender;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use zstd::bulk::{Compressor, Decompressor};

pub use incremental::scan;
pub use runs::{backup, restore, verify};

/// Bytes of one read.
pub const READ: usize = 1 << 20;
/// Bytes of pages that are compressed and sealed as one.
pub const BATCH: usize = 256 << 10;
/// Bytes after which a pack is closed and handed over to be synced.
pub const PACK: u64 = 64 << 20;
/// Bytes of a seal's tag.
pub const TAG: usize = 16;

/// The digest of a page.
pub type Digest = [u8; 16];

/// A failure in words; benches have nobody to handle it but the reader.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What one run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Bytes of the database that were read, or written back.
    pub plain: u64,
    /// Bytes that were added to the packs and the index.
    pub stored: u64,
    /// Pages that were stored, or that were opened.
    pub pages: u64,
}

/// The digest of one page, bound to its number.
pub fn page_digest(page: &[u8], number: u32) -> Digest {
    let mut hasher = blake3::Hasher::new_keyed(&[9; 32]);
    hasher.update(page);
    hasher.update(&number.to_le_bytes());
    let mut digest = Digest::default();
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// Digests of consecutive pages, the first of which has number `first` (SQLite counts from 1).
pub fn page_digests(pages: &[u8], page_size: usize, first: u32) -> Vec<Digest> {
    let pages = pages.chunks(page_size).zip(first..);
    pages.map(|(page, number)| page_digest(page, number)).collect()
}

/// One worker's compression and sealing, with the buffers that it keeps.
pub struct Codec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    siv: Aes256Siv,
    sealed: Vec<u8>,
}

impl Codec {
    pub fn new(level: i32) -> Result<Self> {
        Ok(Self {
            compressor: Compressor::new(level)?,
            decompressor: Decompressor::new()?,
            siv: Aes256Siv::new(&[7; 64].into()),
            sealed: vec![0; TAG + zstd::zstd_safe::compress_bound(BATCH)],
        })
    }

    /// Compresses into the codec's own buffer; answers the length.
    pub fn compress(&mut self, plain: &[u8]) -> Result<usize> {
        Ok(self.compressor.compress_to_buffer(plain, &mut self.sealed[TAG..])?)
    }

    /// The compressed and sealed batch: tag, then ciphertext.
    pub fn seal(&mut self, number: u64, plain: &[u8]) -> Result<&[u8]> {
        let length = TAG + self.compress(plain)?;
        self.seal_bytes(number, length)?;
        Ok(&self.sealed[..length])
    }

    /// Seals the first `length` bytes of the codec's buffer, the tag's room included.
    pub fn seal_bytes(&mut self, number: u64, length: usize) -> Result<()> {
        let (tag, text) = self.sealed[..length].split_at_mut(TAG);
        seal_detached(&mut self.siv, number, tag, text)
    }

    /// Opens a sealed batch in place and decompresses it; answers the plain length.
    pub fn open(&mut self, number: u64, sealed: &mut [u8], plain: &mut [u8]) -> Result<usize> {
        let compressed = open_detached(&mut self.siv, number, sealed)?;
        Ok(self.decompressor.decompress_to_buffer(compressed, plain)?)
    }

    /// Decompresses alone.
    pub fn decompress(&mut self, compressed: &[u8], plain: &mut [u8]) -> Result<usize> {
        Ok(self.decompressor.decompress_to_buffer(compressed, plain)?)
    }
}

fn seal_detached(siv: &mut Aes256Siv, number: u64, tag: &mut [u8], text: &mut [u8]) -> Result<()> {
    let made = siv
        .encrypt_inout_detached([number.to_le_bytes()], text.into())
        .map_err(|_| "AES-SIV would not seal")?;
    tag.copy_from_slice(&made);
    Ok(())
}

/// Opens tag and ciphertext in place; answers the text.
pub fn open_detached<'b>(
    siv: &mut Aes256Siv,
    number: u64,
    sealed: &'b mut [u8],
) -> Result<&'b [u8]> {
    let (tag, text) = sealed.split_at_mut_checked(TAG).ok_or("a seal is shorter than its tag")?;
    let mut expected = aes_siv::Tag::default();
    expected.copy_from_slice(tag);
    siv.decrypt_inout_detached([number.to_le_bytes()], (&mut *text).into(), &expected)
        .map_err(|_| format!("seal {number} does not open"))?;
    Ok(text)
}

/// Seals a small body (an index) into a file and syncs it; answers the file's length.
fn write_sealed(path: &Path, mut body: Vec<u8>) -> Result<u64> {
    let mut tag = [0; TAG];
    seal_detached(&mut Aes256Siv::new(&[7; 64].into()), u64::MAX, &mut tag, &mut body)?;
    let mut file = File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    file.write_all(&tag)?;
    file.write_all(&body)?;
    file.sync_all()?;
    Ok((TAG + body.len()) as u64)
}

fn read_sealed(path: &Path) -> Result<Vec<u8>> {
    let mut sealed = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    open_detached(&mut Aes256Siv::new(&[7; 64].into()), u64::MAX, &mut sealed)?;
    sealed.drain(..TAG);
    Ok(sealed)
}

/// Where a batch lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub pack: u32,
    pub length: u32,
    pub offset: u64,
}

/// Numbers packs across workers.
struct Packs<'a> {
    dir: &'a Path,
    prefix: &'a str,
    next: AtomicU32,
}

impl<'a> Packs<'a> {
    const fn new(dir: &'a Path, prefix: &'a str) -> Self {
        Self { dir, prefix, next: AtomicU32::new(0) }
    }
}

/// One worker's open pack. A full one goes to the thread that syncs.
struct PackWriter<'a> {
    packs: &'a Packs<'a>,
    sync: Sender<File>,
    open: Option<(File, u32, u64)>,
}

impl<'a> PackWriter<'a> {
    const fn new(packs: &'a Packs<'a>, sync: Sender<File>) -> Self {
        Self { packs, sync, open: None }
    }

    fn append(&mut self, sealed: &[u8]) -> Result<Place> {
        if self.open.as_ref().is_some_and(|(_, _, size)| size + sealed.len() as u64 > PACK) {
            self.finish()?;
        }
        let (file, pack, size) = match &mut self.open {
            Some(open) => open,
            none => {
                let number = self.packs.next.fetch_add(1, Ordering::Relaxed);
                let path = self.packs.dir.join(format!("{}{number}", self.packs.prefix));
                let file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                none.insert((file, number, 0))
            }
        };
        file.write_all(sealed)?;
        let place = Place { pack: *pack, length: sealed.len() as u32, offset: *size };
        *size += sealed.len() as u64;
        Ok(place)
    }

    fn finish(&mut self) -> Result<()> {
        if let Some((file, _, _)) = self.open.take() {
            self.sync.send(file).map_err(|_| "the syncing thread is gone")?;
        }
        Ok(())
    }
}

/// A database file and the page size that its header tells.
struct Database {
    file: File,
    length: u64,
    page_size: usize,
}

impl Database {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let length = file.metadata()?.len();
        let mut header = [0; 18];
        file.read_exact_at(&mut header, 0)
            .map_err(|e| format!("{} has no header: {e}", path.display()))?;
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            size if size.is_power_of_two() && size >= 512 => usize::from(size),
            _ => return Err(format!("{} is not a SQLite database", path.display()).into()),
        };
        if !header.starts_with(b"SQLite format 3\0") || length % page_size as u64 != 0 {
            return Err(format!("{} is not a whole SQLite database", path.display()).into());
        }
        Ok(Self { file, length, page_size })
    }

    /// Reads the `index`th MiB.
    fn read<'b>(&self, index: u64, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let start = index * READ as u64;
        let length = (self.length - start).min(READ as u64) as usize;
        self.file.read_exact_at(&mut buffer[..length], start)?;
        Ok(&buffer[..length])
    }

    const fn reads(&self) -> u64 {
        self.length.div_ceil(READ as u64)
    }

    /// The number of the first page at `offset`.
    const fn page_at(&self, offset: u64) -> u32 {
        (offset / self.page_size as u64) as u32 + 1
    }
}

fn digests_file(dir: &Path) -> PathBuf {
    dir.join("digests")
}

/// CPU seconds, user and system, of this process and all its threads.
pub fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage of oneself does not fail");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}
