//! Full backup, and restore and verification of it.
//!
//! Workers that each do every stage: handing 1 MiB buffers from stage to stage costs more than it
//! gives on few cores. Only `fsync` has a thread of its own, so that no worker waits for the disk.
//!
//! The index is one sealed body: database length (8), page size (4), then for each batch pack (4),
//! length (4), offset (8) and its pages' digests (16 each).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{
    BATCH, Codec, Database, Digest, Outcome, PackWriter, Packs, Place, READ, Result, TAG,
    digests_file, page_digests, read_sealed, write_sealed,
};

/// How many restored bytes may lie in the page cache before writeback is asked for.
const WRITEBACK: u64 = 32 << 20;

/// One batch: its number, its place and its pages' digests.
type Entry = (u64, Place, Vec<Digest>);

/// Stores every page of `db` in `dir`, which is emptied first.
pub fn backup(db: &Path, dir: &Path, level: i32, threads: usize) -> Result<Outcome> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(|e| format!("cannot empty {}: {e}", dir.display()))?;
    }
    fs::create_dir_all(dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
    let database = Database::open(db)?;
    let packs = Packs::new(dir, "p");
    let next = AtomicU64::new(0);
    let mut entries = with_sync_thread(|sync| {
        in_workers(threads, || {
            let mut writer = PackWriter::new(&packs, sync.clone());
            let entries = backup_worker(&database, level, &next, &mut writer)?;
            writer.finish()?;
            Ok(entries)
        })
    })?;
    entries.sort_unstable_by_key(|(number, ..)| *number);

    let mut stored = 0;
    let mut index = Vec::new();
    index.extend_from_slice(&database.length.to_le_bytes());
    index.extend_from_slice(&(database.page_size as u32).to_le_bytes());
    let mut known = Vec::new();
    for (_, place, digests) in &entries {
        stored += u64::from(place.length);
        index.extend_from_slice(&place.pack.to_le_bytes());
        index.extend_from_slice(&place.length.to_le_bytes());
        index.extend_from_slice(&place.offset.to_le_bytes());
        index.extend_from_slice(digests.as_flattened());
        known.extend_from_slice(digests.as_flattened());
    }
    stored += write_sealed(&dir.join("index"), index)?;
    // A cache for the next scan: neither synced nor counted.
    fs::write(digests_file(dir), &known)?;
    File::open(dir)?.sync_all()?;
    let pages = database.length / database.page_size as u64;
    Ok(Outcome { plain: database.length, stored, pages })
}

fn backup_worker(
    database: &Database,
    level: i32,
    next: &AtomicU64,
    writer: &mut PackWriter<'_>,
) -> Result<Vec<Entry>> {
    let mut codec = Codec::new(level)?;
    let mut buffer = vec![0; READ];
    let mut entries = Vec::new();
    loop {
        let read = next.fetch_add(1, Ordering::Relaxed);
        if read >= database.reads() {
            return Ok(entries);
        }
        for (batch, pages) in database.read(read, &mut buffer)?.chunks(BATCH).enumerate() {
            let number = read * (READ / BATCH) as u64 + batch as u64;
            let first = database.page_at(number * BATCH as u64);
            let digests = page_digests(pages, database.page_size, first);
            let place = writer.append(codec.seal(number, pages)?)?;
            entries.push((number, place, digests));
        }
    }
}

/// Rebuilds at `out` the database of the full backup in `dir`.
pub fn restore(dir: &Path, out: &Path, threads: usize) -> Result<Outcome> {
    let index = Index::read(dir)?;
    if out.exists() {
        fs::remove_file(out).map_err(|e| format!("cannot remove {}: {e}", out.display()))?;
    }
    let file = File::create(out).map_err(|e| format!("cannot create {}: {e}", out.display()))?;
    file.set_len(index.length)?;
    let written = AtomicU64::new(0);
    // Without early writeback the disk idles until the last fsync, which then has all to do. One
    // request is enough to wait in line: the sync that serves it covers all that was written before.
    let (ask, asked) = crossbeam_channel::bounded::<()>(1);
    thread::scope(|scope| {
        let syncing = scope.spawn(|| asked.iter().try_for_each(|()| file.sync_data()));
        let opened = index.open_all(threads, |offset, pages| {
            file.write_all_at(pages, offset)?;
            let before = written.fetch_add(pages.len() as u64, Ordering::Relaxed);
            if (before + pages.len() as u64) / WRITEBACK > before / WRITEBACK {
                let _ = ask.try_send(());
            }
            Ok(())
        });
        drop(ask);
        syncing.join().expect("the syncing thread does not panic")?;
        opened
    })?;
    file.sync_all()?;
    Ok(index.outcome())
}

/// Opens every batch of the full backup in `dir` and compares every page's digest.
pub fn verify(dir: &Path, threads: usize) -> Result<Outcome> {
    let index = Index::read(dir)?;
    index.open_all(threads, |_, _| Ok(()))?;
    Ok(index.outcome())
}

/// The index of a full backup, and the packs that it speaks of.
struct Index {
    length: u64,
    page_size: usize,
    entries: Vec<(Place, Vec<Digest>)>,
    packs: Vec<File>,
}

impl Index {
    fn read(dir: &Path) -> Result<Self> {
        let bytes = read_sealed(&dir.join("index"))?;
        let mut rest = bytes.as_slice();
        let length = u64::from_le_bytes(take(&mut rest)?);
        let page_size = u32::from_le_bytes(take(&mut rest)?) as usize;
        let mut entries = Vec::new();
        let mut left = length;
        while left > 0 {
            let plain = left.min(BATCH as u64);
            let place = Place {
                pack: u32::from_le_bytes(take(&mut rest)?),
                length: u32::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
            };
            let pages = plain as usize / page_size;
            let digests = (0..pages).map(|_| take(&mut rest)).collect::<Result<_>>()?;
            entries.push((place, digests));
            left -= plain;
        }
        let count = entries.iter().map(|(place, _)| place.pack + 1).max().unwrap_or(0);
        let packs = (0..count)
            .map(|pack| {
                let path = dir.join(format!("p{pack}"));
                File::open(&path).map_err(|e| format!("{}: {e}", path.display()).into())
            })
            .collect::<Result<_>>()?;
        Ok(Self { length, page_size, entries, packs })
    }

    const fn outcome(&self) -> Outcome {
        let pages = self.length / self.page_size as u64;
        Outcome { plain: self.length, stored: 0, pages }
    }

    /// Reads, opens, decompresses and compares each batch, then gives it to `each` with its offset.
    fn open_all(
        &self,
        threads: usize,
        each: impl Fn(u64, &[u8]) -> Result<()> + Sync,
    ) -> Result<()> {
        let next = AtomicU64::new(0);
        in_workers(threads, || {
            let mut codec = Codec::new(1)?;
            let mut sealed = vec![0; TAG + zstd::zstd_safe::compress_bound(BATCH)];
            let mut plain = vec![0; BATCH];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((place, digests)) = self.entries.get(number as usize) else {
                    return Ok(Vec::<()>::new());
                };
                let sealed = &mut sealed[..place.length as usize];
                self.packs[place.pack as usize].read_exact_at(sealed, place.offset)?;
                let length = codec.open(number, sealed, &mut plain)?;
                let offset = number * BATCH as u64;
                let first = (offset / self.page_size as u64) as u32 + 1;
                if page_digests(&plain[..length], self.page_size, first) != *digests {
                    return Err(format!("batch {number} holds other pages than it should").into());
                }
                each(offset, &plain[..length])?;
            }
        })?;
        Ok(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk().ok_or("the index is cut short")?;
    *rest = tail;
    Ok(*head)
}

/// Runs `work` in so many threads; answers all that they answered, in no order.
pub(super) fn in_workers<T: Send>(
    threads: usize,
    work: impl Fn() -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(&work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.append(&mut worker.join().expect("a worker does not panic")?);
        }
        Ok(all)
    })
}

/// Runs `work` beside a thread that syncs the files it is sent; returns when all are synced.
pub(super) fn with_sync_thread<T>(
    work: impl FnOnce(crossbeam_channel::Sender<File>) -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let (sender, files) = crossbeam_channel::unbounded::<File>();
        let syncing = scope.spawn(move || files.iter().try_for_each(|file| file.sync_data()));
        let worked = work(sender);
        syncing.join().expect("the syncing thread does not panic")?;
        worked
    })
}
