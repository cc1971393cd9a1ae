//! Whether somebody else than SQLite wrote to a database file in WAL mode: `cp`, `rsync --inplace`,
//! `dd`, a restore over it.
//!
//! In WAL mode only checkpoints write to the file, and each says so in the wal-index before its
//! first write (`nBackfillAttempted`). So a change of the file's size or of its time of
//! modification that no checkpoint explains is somebody else's. Where a checkpoint did run
//! meanwhile, or the time is too fresh to tell one write from the next, *sentinels* decide: pages
//! of which it is known what the file has, since no frame of them was written, or since the last
//! one was copied there by a checkpoint.
//!
//! Invariant: a [`Look`] is taken between two readings of the wal-index. What a checkpoint wrote
//! between two looks shows in a difference of the first one's earlier reading and the second one's
//! later one.
//!
//! What remains: of a database of more than [`SENTINELS`] pages, somebody overwrites a few at the
//! moment of a checkpoint, and none of them is a sentinel.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ffi::FileRef;
use super::position::FileIdentity;
use super::wal::WalIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{PageNo, PageSize, random_bytes};

/// Why everything is read again.
pub(crate) const OVERWRITTEN: &str =
    "the database file was overwritten by something that is no SQLite";
/// How many pages are watched, and how many of them are begun with at a time.
pub(crate) const SENTINELS: usize = 256;
pub(crate) const AT_ONCE: usize = 64;
/// How many of them a look asks that will be followed by another one soon.
pub(crate) const HASTY: usize = 32;
/// Two writes within this time may have the same time of modification. Unit tests, which capture
/// thousands of times and overwrite nothing, do not wait for it.
pub(crate) const TICK: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 12 });
/// What was modified longer ago than this has another time when it is modified again: on most file
/// systems, and on those that keep whole seconds only.
const SETTLED: Duration = Duration::from_millis(12);
const SETTLED_COARSE: Duration = Duration::from_secs(3);

/// The file's size, and when it was modified, in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) file: FileIdentity,
    bytes: u64,
    modified: (i64, i64),
    /// Whether that was so recently that the next write may have the same time.
    fresh: bool,
    /// Whether that lies ahead: the file came from elsewhere, or a clock was set back.
    ahead: bool,
    /// Whether it was certainly not, even as tests have it.
    settled: bool,
}

impl Stat {
    /// What the file system says of the file at a path; `None` if there is none, or it can't be
    /// looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::at(path).ok()
    }

    /// What the file system says of the file at a path.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when there is none, or it can't be looked at.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Before and after: however long this takes, the file was looked at in between.
        let before = now();
        // stat opens nothing, so it drops no locks.
        let meta = std::fs::metadata(path).map_err(|e| {
            Error::io(e, "cannot be looked at", path.display().to_string())
                .with_kind(ErrorKind::Source)
        })?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        let then = Duration::new(
            u64::try_from(modified.0).unwrap_or(0),
            u32::try_from(modified.1).unwrap_or(0),
        );
        let coarse = then.subsec_nanos() == 0;
        // A time that lies ahead says nothing of how long ago it was.
        let age = before.checked_sub(then);
        Ok(Self {
            file: FileIdentity::of_meta(&meta),
            bytes: meta.len(),
            modified,
            fresh: age.is_none_or(|age| age < TICK),
            ahead: now() < then,
            settled: age.is_some_and(|age| age > if coarse { SETTLED_COARSE } else { SETTLED }),
        })
    }

    /// Whether the next write may have the same time.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether the time lies ahead, so that it does not tell how long ago it was.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// Whether the next write certainly has another time.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// When the file was modified, in seconds and nanoseconds.
    pub(crate) fn modified(&self) -> (i64, i64) {
        self.modified
    }

    /// Whether the file is as it was.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        (self.file, self.bytes, self.modified) == (other.file, other.bytes, other.modified)
    }
}

/// What a file looked like, and how far checkpoints had come before and after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    stat: Stat,
    before: WalIndex,
    after: WalIndex,
}

/// Who changed the file between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Nobody.
    No,
    /// A checkpoint, and perhaps somebody else.
    Perhaps,
    /// Somebody else.
    ByOthers,
}

impl Look {
    pub(crate) fn new(stat: Stat, before: WalIndex, after: WalIndex) -> Self {
        Self { stat, before, after }
    }

    /// What the file looked like.
    pub(crate) fn stat(&self) -> &Stat {
        &self.stat
    }

    /// How many frames the WAL had.
    pub(crate) fn frames(&self) -> u32 {
        self.before.frames
    }

    /// Who changed the file since. `end` is how many frames the generation of `self` came to have.
    pub(crate) fn until(&self, now: &Self, end: u32) -> Touched {
        if self.stat.same_as(&now.stat) {
            return if self.stat.fresh { Touched::Perhaps } else { Touched::No };
        }
        let (then, now) = (&self.before, &now.after);
        let at_rest = then.attempted == then.backfilled;
        let none_ran = match then.salts == now.salts {
            true => then.attempted == now.attempted,
            // What was there of it was backfilled, nothing was added, and the next one is
            // untouched.
            false => then.backfilled == then.frames && then.frames == end && now.attempted == 0,
        };
        if at_rest && none_ran { Touched::ByOthers } else { Touched::Perhaps }
    }
}

/// Pages whose content in the file must not change.
#[derive(Debug, Default)]
pub(crate) struct Sentinels {
    pages: HashMap<PageNo, blake3::Hash>,
    /// The pages that the present generation of the WAL has frames of, and what is in the last one,
    /// if that is watched.
    written: HashMap<PageNo, Option<blake3::Hash>>,
    /// How many of those are watched.
    watched: usize,
    /// The fewest pages that the database had since all of the WAL was in the file. A checkpoint
    /// under way may have seen it so, and cut off what lies behind at any moment, also when the
    /// database has grown again since.
    fewest: Option<u32>,
    /// What watched pages were written with since they were last settled. Most pages that are
    /// written are written again soon, and only what they come to be is hashed.
    fresh: HashMap<PageNo, Vec<u8>>,
    /// Where the next hasty look begins.
    turn: usize,
    seed: u64,
}

impl Sentinels {
    /// A frame of a page was written: the file has it once a checkpoint copied it. To be settled
    /// before anything else is asked.
    pub(crate) fn wrote(&mut self, page: PageNo, content: &[u8]) {
        if let Some(fresh) = self.fresh.get_mut(&page) {
            fresh.clear();
            fresh.extend_from_slice(content);
            return;
        }
        let known = match self.written.get(&page) {
            Some(hash) => hash.is_some(),
            None => {
                self.pages.remove(&page);
                self.written.insert(page, None);
                false
            }
        };
        if known || self.watched < SENTINELS {
            self.watched += usize::from(!known);
            self.fresh.insert(page, content.to_vec());
        }
    }

    /// Hashes what was written last.
    pub(crate) fn settle(&mut self) {
        for (page, content) in self.fresh.drain() {
            self.written.insert(page, Some(blake3::hash(&content)));
        }
    }

    /// Takes what the file has now for right: all frames are in it.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn adopt(&mut self, file: &FileRef<'_>, page_size: PageSize) -> Result<()> {
        for (page, hash) in &mut self.written {
            if hash.is_some() {
                *hash = Some(read(file, page_size, *page)?);
            }
        }
        self.watched = self.written.values().filter(|hash| hash.is_some()).count();
        Ok(())
    }

    /// The database has so many pages; a checkpoint cuts off those beyond.
    pub(crate) fn resized(&mut self, pages: u32) {
        self.fewest = Some(self.fewest.map_or(pages, |fewest| fewest.min(pages)));
        self.pages.retain(|page, _| page.0 <= pages);
        // Those that are written are kept, without their content: a checkpoint writes them, and
        // cuts them off.
        let beyond = self.written.iter_mut().filter(|(page, _)| page.0 > pages);
        beyond.for_each(|(_, hash)| *hash = None);
        self.fresh.retain(|page, _| page.0 <= pages);
        let fresh = |page| self.fresh.contains_key(page);
        let watched = self.written.iter().filter(|(page, hash)| hash.is_some() || fresh(*page));
        self.watched = watched.count();
    }

    /// Another generation begins: all of the one before is in the file, and `pages` are there.
    pub(crate) fn next_generation(&mut self, pages: u32) {
        self.fewest = Some(pages);
        let written = std::mem::take(&mut self.written);
        self.pages.extend(written.into_iter().filter_map(|(page, hash)| Some((page, hash?))));
        // A database that only grows writes none of them again: they would be ever more.
        let mut more = self.pages.len().saturating_sub(SENTINELS);
        self.pages.retain(|page, _| {
            let goes = more > 0 && page.0 != 1;
            more -= usize::from(goes);
            !goes
        });
        self.watched = 0;
    }

    /// Forgets those that no frame is known of: somebody may have written to the file as they were
    /// drawn.
    pub(crate) fn forget_drawn(&mut self) {
        self.pages.clear();
    }

    /// Whether there are enough to tell.
    pub(crate) fn suffice(&self) -> bool {
        let all = usize::try_from(self.fewest.unwrap_or(0)).unwrap_or(usize::MAX).min(SENTINELS);
        self.pages.len() + self.written.len() >= all / 2
    }

    /// Whether all of them are as they were, or the next [`HASTY`] of them if `hasty`;
    /// `with_written` if all frames are in the file.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn stand(
        &mut self,
        file: &FileRef<'_>,
        page_size: PageSize,
        with_written: bool,
        hasty: bool,
    ) -> Result<bool> {
        let written = self.written.iter().filter(|_| with_written);
        let written = written.filter_map(|(page, hash)| Some((page, hash.as_ref()?)));
        let all = self.pages.iter().chain(written);
        let count = self.pages.len() + if with_written { self.watched } else { 0 };
        let (first, asked) = if hasty { (self.turn % count.max(1), HASTY) } else { (0, count) };
        // They take turns, so that few looks in a row ask all of them.
        for (page, known) in all.clone().chain(all).skip(first).take(asked.min(count)) {
            if read(file, page_size, *page)? != *known {
                return Ok(false);
            }
        }
        self.turn = first + asked;
        Ok(true)
    }

    /// Begins to watch some more pages, if there are too few.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn draw(
        &mut self,
        file: &FileRef<'_>,
        page_size: PageSize,
        pages: u32,
        at_once: usize,
    ) -> Result<()> {
        let pages = pages.min(*self.fewest.get_or_insert(pages));
        let wanted = usize::try_from(pages).unwrap_or(usize::MAX).min(SENTINELS);
        let free = wanted.saturating_sub(self.pages.len());
        if self.seed == 0 {
            self.seed = u64::from_le_bytes(random_bytes()?) | 1;
        }
        for n in 0..free.min(at_once) {
            // The first page always, and of a small database all.
            let page = match (n, usize::try_from(pages).is_ok_and(|all| all <= SENTINELS)) {
                (0, _) => PageNo(1),
                (_, true) => match self.missing(pages) {
                    Some(page) => page,
                    None => break,
                },
                (_, false) => PageNo(self.random(pages)),
            };
            let is_known = self.pages.contains_key(&page) || self.written.contains_key(&page);
            if is_known || page == page_size.lock_page() {
                continue;
            }
            self.pages.insert(page, read(file, page_size, page)?);
        }
        Ok(())
    }

    /// A page that is watched.
    #[cfg(test)]
    pub(crate) fn watched_page(&self) -> PageNo {
        *self.pages.keys().max().unwrap()
    }

    /// A page of a small database that is not watched and could be.
    fn missing(&mut self, pages: u32) -> Option<PageNo> {
        let from = self.random(pages);
        let all = (from..=pages).chain(1..from).map(PageNo);
        let mut free = all.filter(|p| !self.pages.contains_key(p) && !self.written.contains_key(p));
        free.next()
    }

    /// A number from 1 to `pages`.
    fn random(&mut self, pages: u32) -> u32 {
        // xorshift64: what is drawn must differ, and not be a secret.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        u32::try_from(self.seed % u64::from(pages.max(1))).unwrap_or(0).saturating_add(1)
    }
}

/// The hash of a page in the file. What lies beyond its end reads as zeros, and SQLite fills it
/// with zeros when it makes the file longer: so a file that somebody cut is known from one to which
/// somebody gave another end.
fn read(file: &FileRef<'_>, page_size: PageSize, page: PageNo) -> Result<blake3::Hash> {
    let mut content = vec![0; page_size.bytes()];
    file.read_at(&mut content, page_size.offset(page))?;
    Ok(blake3::hash(&content))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use rusqlite::Connection;

    use super::*;

    /// A file was cut, a scan read zeros behind its end, and a checkpoint ran while somebody gave
    /// the file its old end back.
    #[test]
    fn another_end_of_a_file_that_was_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<99)
             INSERT INTO t SELECT randomblob(900) FROM n",
        )
        .unwrap();
        let (size, whole) = (PageSize::new(4096).unwrap(), std::fs::read(&path).unwrap());
        let pages = u32::try_from(whole.len() / 4096).unwrap();
        // A handle of its own: closing one of the file would drop SQLite's locks, of which there
        // are none here.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(20 * 4096).unwrap();
        let handle = FileRef::database(&app).unwrap().unwrap();
        let mut sentinels = Sentinels::default();
        sentinels.draw(&handle, size, pages, SENTINELS).unwrap();
        assert!(sentinels.stand(&handle, size, true, false).unwrap());
        // As SQLite does when it makes a file longer.
        file.set_len(whole.len() as u64).unwrap();
        assert!(sentinels.stand(&handle, size, true, false).unwrap());
        std::os::unix::fs::FileExt::write_all_at(&file, &whole[20 * 4096..], 20 * 4096).unwrap();
        assert!(!sentinels.stand(&handle, size, true, false).unwrap());
    }

    /// What a hasty look does not ask, one of the next ones does.
    #[test]
    fn hasty_looks_in_a_row_ask_every_sentinel() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA page_size=512; PRAGMA journal_mode=DELETE; CREATE TABLE t(x);
             INSERT INTO t VALUES(zeroblob(200000))",
        )
        .unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let size = PageSize::new(512).unwrap();
        let handle = FileRef::database(&app).unwrap().unwrap();
        let mut sentinels = Sentinels::default();
        sentinels.draw(&handle, size, 300, SENTINELS).unwrap();
        let watched: Vec<PageNo> = sentinels.pages.keys().copied().collect();
        let turns = watched.len().div_ceil(HASTY);
        for page in watched {
            let at = size.offset(page);
            let mut content = [0; 512];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut content, at).unwrap();
            content[300] ^= 1;
            std::os::unix::fs::FileExt::write_all_at(&file, &content, at).unwrap();
            let asked = (0..=turns)
                .take_while(|_| sentinels.stand(&handle, size, true, true).unwrap())
                .count();
            assert!(asked < turns, "page {page} was not asked in {asked} looks");
            assert!(!sentinels.stand(&handle, size, true, false).unwrap(), "page {page}");
            content[300] ^= 1;
            std::os::unix::fs::FileExt::write_all_at(&file, &content, at).unwrap();
        }
        assert!(sentinels.stand(&handle, size, true, false).unwrap());
        // Closing it would drop the locks that SQLite has in this process.
        std::mem::forget(file);
    }

    /// Generation after generation writes other pages, as a database does that only grows.
    #[test]
    fn sentinels_stay_as_many_as_are_looked_at() {
        let mut sentinels = Sentinels::default();
        for generation in 0..20u32 {
            for page in 0..500 {
                // What is written again and again is hashed once.
                sentinels.wrote(PageNo(1 + generation * 500 + page), &[0; 512]);
                sentinels.wrote(PageNo(1 + generation * 500 + page), &page.to_le_bytes());
            }
            sentinels.settle();
            assert_eq!(sentinels.watched, SENTINELS);
            let watched =
                sentinels.written.iter().filter_map(|(page, hash)| Some((page, (*hash)?)));
            for (page, hash) in watched {
                let content = (page.0 - 1 - generation * 500).to_le_bytes();
                assert_eq!(hash, blake3::hash(&content));
            }
            sentinels.next_generation((generation + 1) * 500);
            assert_eq!(sentinels.pages.len(), SENTINELS);
            assert!(sentinels.suffice() && sentinels.written.is_empty());
        }
    }
}
