//! What an incremental backup cannot do without.
//!
//! With nothing known of what changed, every page is read, hashed and compared. With the WAL at
//! hand, the pages that its committed frames name are all there is to do. Either way only changed
//! pages are stored, in batches, with an index entry of 48 bytes each.
//!
//! Invariant: after a scan the known digests are those of the database as it was read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::runs::{in_workers, with_sync_thread};
use super::{
    BATCH, Codec, Database, Digest, Outcome, PackWriter, Packs, Place, READ, Result, digests_file,
    page_digest, page_digests, write_sealed,
};

/// Bytes of an index entry: page, digest, place, slot, and room for what a history would add.
const ENTRY: usize = 48;

/// A changed page: number, digest, and the batch and slot that hold it.
type Changed = (u32, Digest, Place, u16);

/// Stores the pages that changed since the last backup or scan into `dir`. With `wal`, these are
/// the pages of the committed frames from that byte on, and the database file is not read at all.
pub fn scan(
    db: &Path,
    dir: &Path,
    level: i32,
    threads: usize,
    wal: Option<(&Path, u64)>,
) -> Result<Outcome> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let prefix = format!("i{stamp}.");
    let packs = Packs::new(dir, &prefix);
    let (plain, changed) = match wal {
        Some((wal, from)) => from_wal(wal, from, dir, level, &packs)?,
        None => from_file(db, dir, level, threads, &packs)?,
    };
    if changed.is_empty() {
        return Ok(Outcome { plain, ..Outcome::default() });
    }
    let mut index = Vec::with_capacity(changed.len() * ENTRY);
    for (page, digest, place, slot) in &changed {
        let start = index.len();
        index.extend_from_slice(&page.to_le_bytes());
        index.extend_from_slice(digest);
        index.extend_from_slice(&place.pack.to_le_bytes());
        index.extend_from_slice(&place.length.to_le_bytes());
        index.extend_from_slice(&place.offset.to_le_bytes());
        index.extend_from_slice(&slot.to_le_bytes());
        index.resize(start + ENTRY, 0);
    }
    // Each batch is counted once, with its first page.
    let batches = changed.iter().filter(|(_, _, _, slot)| *slot == 0);
    let mut stored: u64 = batches.map(|(_, _, place, _)| u64::from(place.length)).sum();
    stored += write_sealed(&dir.join(format!("x{stamp}")), index)?;
    File::open(dir)?.sync_all()?;
    Ok(Outcome { plain, stored, pages: changed.len() as u64 })
}

fn from_file(
    db: &Path,
    dir: &Path,
    level: i32,
    threads: usize,
    packs: &Packs<'_>,
) -> Result<(u64, Vec<Changed>)> {
    let database = Database::open(db)?;
    let mut known = fs::read(digests_file(dir))
        .map_err(|e| format!("no backup in {} to compare with: {e}", dir.display()))?;
    let next = AtomicU64::new(0);
    let mut changed = with_sync_thread(|sync| {
        in_workers(threads, || {
            let mut gather = Gather::new(level, PackWriter::new(packs, sync.clone()))?;
            let mut buffer = vec![0; READ];
            loop {
                let read = next.fetch_add(1, Ordering::Relaxed);
                if read >= database.reads() {
                    return gather.finish();
                }
                let pages = database.read(read, &mut buffer)?;
                let first = database.page_at(read * READ as u64);
                let digests = page_digests(pages, database.page_size, first);
                let start = (first as usize - 1) * 16;
                if known.get(start..start + digests.len() * 16) == Some(digests.as_flattened()) {
                    continue;
                }
                let numbered = (first..).zip(pages.chunks(database.page_size));
                for ((number, page), digest) in numbered.zip(&digests) {
                    let start = (number as usize - 1) * 16;
                    if known.get(start..start + 16) != Some(digest) {
                        gather.add(number, *digest, page)?;
                    }
                }
            }
        })
    })?;
    if !changed.is_empty() {
        changed.sort_unstable_by_key(|(number, ..)| *number);
        known.resize((database.length / database.page_size as u64) as usize * 16, 0);
        for (number, digest, ..) in &changed {
            let start = (*number as usize - 1) * 16;
            known[start..start + 16].copy_from_slice(digest);
        }
        fs::write(digests_file(dir), &known)?;
    }
    Ok((database.length, changed))
}

fn from_wal(
    wal: &Path,
    from: u64,
    dir: &Path,
    level: i32,
    packs: &Packs<'_>,
) -> Result<(u64, Vec<Changed>)> {
    let (page_size, frames) = committed_frames(wal, from)?;
    let file = File::open(wal)?;
    let changed = with_sync_thread(|sync| {
        let mut gather = Gather::new(level, PackWriter::new(packs, sync))?;
        let mut page = vec![0; page_size];
        for (&number, &offset) in &frames {
            file.read_exact_at(&mut page, offset)?;
            gather.add(number, page_digest(&page, number), &page)?;
        }
        gather.finish()
    })?;
    let known = OpenOptions::new().write(true).open(digests_file(dir))?;
    for (number, digest, ..) in &changed {
        known.write_all_at(digest, u64::from(*number - 1) * 16)?;
    }
    Ok(((frames.len() * page_size) as u64, changed))
}

/// The page size of a WAL and, for each page, the offset of its last committed content. Frames are
/// known by their salts; checksums, which only matter after a crash, are left out.
fn committed_frames(wal: &Path, from: u64) -> Result<(usize, BTreeMap<u32, u64>)> {
    let file = File::open(wal).map_err(|e| format!("{}: {e}", wal.display()))?;
    let mut reader = BufReader::with_capacity(READ, file);
    let mut header = [0; 32];
    reader.read_exact(&mut header).map_err(|e| format!("{} is no WAL: {e}", wal.display()))?;
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let page_size = word(&header, 8);
    let (mut committed, mut open) = (BTreeMap::new(), BTreeMap::new());
    // What lies before was seen by an earlier scan.
    let mut offset = from.max(32);
    reader.seek(SeekFrom::Start(offset))?;
    let mut frame = [0; 24];
    while reader.read_exact(&mut frame).is_ok() && frame[8..16] == header[16..24] {
        open.insert(word(&frame, 0), offset + 24);
        if word(&frame, 4) != 0 {
            committed.append(&mut open);
        }
        reader.seek_relative(i64::from(page_size))?;
        offset += 24 + u64::from(page_size);
    }
    Ok((page_size as usize, committed))
}

/// Gathers changed pages into batches.
struct Gather<'a> {
    codec: Codec,
    writer: PackWriter<'a>,
    pages: Vec<u8>,
    waiting: Vec<(u32, Digest)>,
    stored: Vec<Changed>,
}

impl<'a> Gather<'a> {
    fn new(level: i32, writer: PackWriter<'a>) -> Result<Self> {
        Ok(Self {
            codec: Codec::new(level)?,
            writer,
            pages: Vec::with_capacity(BATCH),
            waiting: Vec::new(),
            stored: Vec::new(),
        })
    }

    fn add(&mut self, number: u32, digest: Digest, page: &[u8]) -> Result<()> {
        self.pages.extend_from_slice(page);
        self.waiting.push((number, digest));
        if self.pages.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some((first, _)) = self.waiting.first() else { return Ok(()) };
        let place = self.writer.append(self.codec.seal(u64::from(*first), &self.pages)?)?;
        let slots = self.waiting.drain(..).zip(0..);
        self.stored.extend(slots.map(|((number, digest), slot)| (number, digest, place, slot)));
        self.pages.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Changed>> {
        self.flush()?;
        self.writer.finish()?;
        Ok(self.stored)
    }
}
