//! The pages that a pin sees, in page order: all of them, or those that the WAL shows as changed.
//!
//! Two readers give a full image, byte for byte the same, and a test holds them to it:
//! - [`Method::Raw`] reads the file through SQLite's own handle, a megabyte at a time, and lays the
//!   WAL's frames over it. The quicker one, for files.
//! - [`Method::Backup`] lets SQLite's online backup API write into a page sink. It serves every
//!   source: in-memory databases and other VFSes too.
//!
//! Invariants: pages come in ascending order, each once, without the lock-byte page; nothing is
//! read past the pinned snapshot; a WAL whose frames do not continue each other's checksums is an
//! error for a full image, and no proof for a delta.

use super::backup_api::BackupImage;
use super::overlay::{Overlay, read_frame, read_frames};
use super::pages::{pages_per_chunk, read_pages};
use super::pin::{Journal, Pin};
use super::position::{Position, Since};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{PageNo, PageSize};

pub use super::pages::{CHUNK_LEN, Chunk, PageSource};

/// Beyond this many new frames a scan is cheaper in memory than remembering which page each holds.
const MAX_DELTA_FRAMES: u32 = 4 * 1024 * 1024;

/// How to read a full image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Method {
    /// Raw where the database has a file, else the online backup API.
    #[default]
    Auto,
    /// Through SQLite's own file handle.
    Raw,
    /// Through the online backup API.
    Backup,
}

/// What may have changed since a position.
#[derive(Debug)]
pub enum Changes {
    /// Nothing was committed.
    Nothing,
    /// Only these pages may have changed.
    Pages(ChangedPages),
    /// The position proves nothing: only a scan tells.
    Unknown,
}

/// The pages in the WAL's new frames.
#[derive(Debug)]
pub struct ChangedPages {
    pages: Vec<PageNo>,
    overlay: Overlay,
}

/// Finds out what may have changed since a position. `pages_then` is the size that the database
/// had there.
///
/// # Errors
/// [`ErrorKind::Source`] when the WAL can't be read.
pub fn changes_since(pin: &Pin<'_>, position: &Position, pages_then: u32) -> Result<Changes> {
    let then = match pin.since(position) {
        Since::Nothing => return Ok(Changes::Nothing),
        Since::Unknown => return Ok(Changes::Unknown),
        Since::Frames(then) => then,
    };
    let Journal::Wal(index) = pin.journal else { return Ok(Changes::Unknown) };
    if index.frames.saturating_sub(then.frame) > MAX_DELTA_FRAMES {
        return Ok(Changes::Unknown);
    }
    let Some(mut frames) = read_frames(pin, &index, Some(then))? else {
        return Ok(Changes::Unknown);
    };
    frames.retain(|f| f.page.0 <= pin.pages());
    // A page that was added without being written has no frame. Rare, and a scan finds it.
    let lock_page = pin.page_size().lock_page();
    let added = (pages_then.saturating_add(1)..=pin.pages()).filter(|p| *p != lock_page.0).count();
    let written = frames.iter().filter(|f| f.page.0 > pages_then).count();
    if added != written {
        return Ok(Changes::Unknown);
    }
    let pages = frames.iter().map(|f| f.page).collect();
    Ok(Changes::Pages(ChangedPages { pages, overlay: Overlay::new(&index, frames) }))
}

/// The pages that were written since a position, as far as the pin's generation of the WAL tells:
/// all of its pages, if the position is in an earlier one. Sorted; `None` if the WAL can't tell.
///
/// # Errors
/// [`ErrorKind::Source`] when the WAL can't be read.
pub(crate) fn written_since(pin: &Pin<'_>, position: &Position) -> Result<Option<Vec<PageNo>>> {
    let (Journal::Wal(index), Some((_, then))) = (pin.journal, position.wal()) else {
        return Ok(None);
    };
    let same = then.salts == index.salts;
    if index.frames == if same { then.frame } else { 0 } {
        return Ok(Some(Vec::new()));
    }
    let frames = read_frames(pin, &index, same.then_some(then))?;
    Ok(frames.map(|frames| frames.into_iter().map(|frame| frame.page).collect()))
}

impl ChangedPages {
    /// Whether a page is among them.
    pub(crate) fn contains(&self, page: PageNo) -> bool {
        self.pages.binary_search(&page).is_ok()
    }
}

/// Begins to read the pages that may have changed.
pub fn delta<'p>(pin: &'p mut Pin<'_>, changed: ChangedPages) -> Box<dyn PageSource + 'p> {
    let ChangedPages { pages, overlay } = changed;
    Box::new(Listed { pin, overlay, pages, next: 0 })
}

/// Begins a full image.
///
/// # Errors
/// [`ErrorKind::Source`] when the database or its WAL can't be read; [`ErrorKind::Usage`] when raw
/// reads are asked for and there is no file.
pub fn full<'p>(pin: &'p mut Pin<'_>, method: Method) -> Result<Box<dyn PageSource + 'p>> {
    match (method, pin.has_file()?) {
        (Method::Raw, false) => {
            Err(Error::new(ErrorKind::Usage, "the database has no file to read"))
        }
        (Method::Raw | Method::Auto, true) => Ok(Box::new(RawImage::begin(pin)?)),
        (Method::Backup, _) | (Method::Auto, false) => Ok(Box::new(BackupImage::begin(pin)?)),
    }
}

/// Reads single pages of a pinned database file, in any order.
#[derive(Debug)]
pub(crate) struct PageReader<'p, 'c> {
    pin: &'p Pin<'c>,
    overlay: Overlay,
}

impl<'p, 'c> PageReader<'p, 'c> {
    /// A reader of what the pin sees.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the WAL can't be read.
    pub(crate) fn new(pin: &'p Pin<'c>) -> Result<Self> {
        Ok(Self { pin, overlay: Overlay::whole(pin)? })
    }

    /// Whether the WAL has a version of a page.
    pub(crate) fn is_in_wal(&self, page: PageNo) -> bool {
        self.overlay.frame(page).is_some()
    }

    /// The content of a page.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it can't be read.
    pub(crate) fn read(&self, page: PageNo) -> Result<Vec<u8>> {
        let mut content = vec![0; self.pin.page_size().bytes()];
        match self.overlay.frame(page) {
            Some(frame) => read_frame(self.pin, frame, &mut content)?,
            None => read_pages(self.pin, page, &mut content)?,
        }
        Ok(content)
    }
}

/// All pages, through SQLite's own handle.
struct RawImage<'p, 'c> {
    pin: &'p mut Pin<'c>,
    overlay: Overlay,
    next: u32,
}

impl<'p, 'c> RawImage<'p, 'c> {
    fn begin(pin: &'p mut Pin<'c>) -> Result<Self> {
        let overlay = Overlay::whole(pin)?;
        Ok(Self { pin, overlay, next: 1 })
    }
}

impl PageSource for RawImage<'_, '_> {
    fn next(&mut self, chunk: &mut Chunk) -> Result<bool> {
        let page_size = self.pin.page_size();
        let lock_page = page_size.lock_page();
        if self.next == lock_page.0 {
            self.next += 1;
        }
        let pages = self.pin.pages();
        if self.next > pages {
            return Ok(false);
        }
        let room = u32::try_from(pages_per_chunk(page_size)).unwrap_or(1);
        let mut end = self.next.saturating_add(room).min(pages.saturating_add(1));
        if (self.next..end).contains(&lock_page.0) {
            end = lock_page.0;
        }
        chunk.pages.clear();
        chunk.pages.extend((self.next..end).map(PageNo));
        chunk.data.resize(chunk.pages.len() * page_size.bytes(), 0);
        read_pages(self.pin, PageNo(self.next), &mut chunk.data)?;
        for frame in self.overlay.between(self.next, end) {
            let place = usize::try_from(frame.page.0 - self.next).unwrap_or(usize::MAX);
            if let Some(page) = chunk.data.chunks_exact_mut(page_size.bytes()).nth(place) {
                read_frame(self.pin, frame.number, page)?;
            }
        }
        self.next = end;
        Ok(true)
    }

    fn total_bytes(&self) -> u64 {
        self.pin.page_size().file_len(self.pin.pages())
    }

    fn page_size(&self) -> PageSize {
        self.pin.page_size()
    }
}

/// Chosen pages, each from its frame or, if the file has everything, from the file.
struct Listed<'p, 'c> {
    pin: &'p mut Pin<'c>,
    overlay: Overlay,
    pages: Vec<PageNo>,
    next: usize,
}

impl PageSource for Listed<'_, '_> {
    fn next(&mut self, chunk: &mut Chunk) -> Result<bool> {
        let page_size = self.pin.page_size();
        let left = self.pages.get(self.next..).unwrap_or_default();
        let n = left.len().min(pages_per_chunk(page_size));
        chunk.pages.clear();
        chunk.pages.extend(left.iter().take(n));
        chunk.data.resize(n * page_size.bytes(), 0);
        for (number, page) in chunk.pages.iter().zip(chunk.data.chunks_exact_mut(page_size.bytes()))
        {
            match self.overlay.frame(*number) {
                Some(frame) => read_frame(self.pin, frame, page)?,
                None => read_pages(self.pin, *number, page)?,
            }
        }
        self.next += n;
        Ok(n > 0)
    }

    fn total_bytes(&self) -> u64 {
        let n = u64::try_from(self.pages.len()).unwrap_or(u64::MAX);
        n.saturating_mul(self.pin.page_size().get().into())
    }

    fn page_size(&self) -> PageSize {
        self.pin.page_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::source::Source;
    use rusqlite::Connection;
    use rusqlite::config::DbConfig;
    use std::path::Path;

    fn read_all(source: &mut dyn PageSource, page_size: PageSize) -> Vec<(PageNo, Vec<u8>)> {
        let mut chunk = Chunk::default();
        let mut all = Vec::new();
        while source.next(&mut chunk).unwrap() {
            assert_eq!(chunk.data.len(), chunk.pages.len() * page_size.bytes());
            for (n, page) in chunk.pages.iter().zip(chunk.data.chunks_exact(page_size.bytes())) {
                all.push((*n, page.to_vec()));
            }
        }
        assert!(all.is_sorted_by(|a, b| a.0 < b.0));
        all
    }

    fn image(source: &mut Source, method: Method) -> Vec<(PageNo, Vec<u8>)> {
        let mut pin = source.pin().unwrap();
        let page_size = pin.page_size();
        read_all(&mut *full(&mut pin, method).unwrap(), page_size)
    }

    /// The database file once everything is in it.
    fn checkpointed(path: &Path, page_size: usize) -> Vec<(PageNo, Vec<u8>)> {
        let copy = path.with_extension("copy");
        for suffix in ["", "-wal"] {
            let from = format!("{}{suffix}", path.display());
            let to = format!("{}{suffix}", copy.display());
            if Path::new(&from).exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
        let db = Connection::open(&copy).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(db);
        let bytes = std::fs::read(&copy).unwrap();
        (1..).map(PageNo).zip(bytes.chunks_exact(page_size).map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn both_readers_give_the_bytes_of_the_file() {
        for page_size in [512, 1024, 4096, 65536] {
            for (mode, extra) in [("wal", ""), ("delete", ""), ("wal", "PRAGMA auto_vacuum=1;")] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("a.db");
                let app = Connection::open(&path).unwrap();
                app.execute_batch(&format!(
                    "PRAGMA page_size={page_size}; {extra} PRAGMA journal_mode={mode};
                     PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)
                     INSERT INTO t SELECT i, randomblob(i*7) FROM n;
                     PRAGMA wal_checkpoint(PASSIVE);
                     UPDATE t SET x=randomblob(900) WHERE id%3=0; DELETE FROM t WHERE id%5=0;"
                ))
                .unwrap();
                let mut source = Source::open(&path).unwrap();
                let raw = image(&mut source, Method::Raw);
                let backup = image(&mut source, Method::Backup);
                assert_eq!(raw.len(), backup.len());
                for (a, b) in raw.iter().zip(&backup) {
                    assert!(a == b, "page {} differs, {page_size} {mode}", a.0);
                }
                assert!(raw == checkpointed(&path, page_size), "{page_size} {mode}");
            }
        }
    }

    #[test]
    fn a_pin_keeps_its_moment_while_writers_go_on() {
        for (backfilled, method) in [
            (false, Method::Raw),
            (true, Method::Raw),
            (false, Method::Backup),
            (true, Method::Backup),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.db");
            let app = Connection::open(&path).unwrap();
            app.busy_timeout(std::time::Duration::ZERO).unwrap();
            app.execute_batch(
                "PRAGMA journal_mode=WAL; CREATE TABLE t(x);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<900)
                 INSERT INTO t SELECT randomblob(2000) FROM n;",
            )
            .unwrap();
            if backfilled {
                app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            }
            let expected = checkpointed(&path, 4096);
            let mut source = Source::open(&path).unwrap();
            let mut pin = source.pin().unwrap();
            let page_size = pin.page_size();
            let mut reader = full(&mut pin, method).unwrap();
            app.execute_batch(
                "UPDATE t SET x=randomblob(2000); CREATE TABLE u(x); INSERT INTO u VALUES(1)",
            )
            .unwrap();
            for mode in ["PASSIVE", "RESTART"] {
                // RESTART is refused while the pin is there, which is what pins are for.
                let _ = app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
            }
            app.execute_batch("UPDATE t SET x=randomblob(2000)").unwrap();
            assert!(read_all(&mut *reader, page_size) == expected, "{backfilled} {method:?}");
        }
    }

    #[test]
    fn the_lock_byte_page_is_left_out() {
        // 2^30 / 65536 + 1 = page 16385: the file only has to be that long, not full.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA page_size=65536; CREATE TABLE t(x)").unwrap();
        app.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<11)
             INSERT INTO t SELECT zeroblob(100000000) FROM n",
        )
        .unwrap();
        drop(app);
        let mut source = Source::open(&path).unwrap();
        for method in [Method::Raw, Method::Backup] {
            let mut pin = source.pin().unwrap();
            let (pages, lock) = (pin.pages(), pin.page_size().lock_page());
            assert!(pages > lock.0);
            let mut reader = full(&mut pin, method).unwrap();
            let (mut chunk, mut seen, mut last) = (Chunk::default(), 0, 0);
            while reader.next(&mut chunk).unwrap() {
                seen += chunk.pages.len();
                assert!(!chunk.pages.contains(&lock));
                assert!(chunk.pages.first().unwrap().0 > last);
                last = chunk.pages.last().unwrap().0;
            }
            assert_eq!(seen, usize::try_from(pages).unwrap() - 1);
        }
    }

    #[test]
    fn an_empty_database_has_no_pages() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        std::fs::write(&path, "").unwrap();
        let mut source = Source::open(&path).unwrap();
        for method in [Method::Raw, Method::Backup] {
            assert!(image(&mut source, method).is_empty());
        }
    }

    #[test]
    fn a_database_in_memory_is_read_and_is_the_same_each_time() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(100000))").unwrap();
        let mut images = Vec::new();
        for _ in 0..2 {
            let mut pin = Pin::on_connection(&mut db).unwrap();
            let page_size = pin.page_size();
            assert!(full(&mut pin, Method::Raw).is_err());
            images.push(read_all(&mut *full(&mut pin, Method::Auto).unwrap(), page_size));
        }
        assert!(images[0].len() > 20 && images[0] == images[1]);
        // What was read is a database with the same content.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.db");
        let bytes: Vec<u8> = images[0].iter().flat_map(|(_, page)| page.clone()).collect();
        std::fs::write(&path, bytes).unwrap();
        let sum = |db: &Connection| -> Vec<u8> {
            db.query_row("SELECT x FROM t", [], |r| r.get(0)).unwrap()
        };
        let copy = Connection::open(&path).unwrap();
        assert_eq!(sum(&copy), sum(&db));
        let ok: String = copy.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(ok, "ok");
    }

    #[test]
    fn only_the_new_frames_are_read_and_a_broken_one_is_no_proof() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300)
             INSERT INTO t SELECT i, randomblob(1000) FROM n;",
        )
        .unwrap();
        app.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        let mut source = Source::open(&path).unwrap();
        let pin = source.pin().unwrap();
        let (position, pages) = (pin.position().unwrap(), pin.pages());
        drop(pin);
        app.execute_batch("UPDATE t SET x=randomblob(1000) WHERE id=7").unwrap();
        for checkpointed in [false, true] {
            if checkpointed {
                app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            }
            let expected = image(&mut source, Method::Raw);
            let mut pin = source.pin().unwrap();
            let Changes::Pages(changed) = changes_since(&pin, &position, pages).unwrap() else {
                panic!("the frames are there")
            };
            let got = read_all(&mut *delta(&mut pin, changed), PageSize::DEFAULT);
            assert!((1..4).contains(&got.len()), "{}", got.len());
            for page in &got {
                assert!(expected.contains(page), "page {}", page.0);
            }
        }
        // Flip a byte of the last frame's page.
        let wal = dir.path().join("a.db-wal");
        let mut bytes = std::fs::read(&wal).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&wal, bytes).unwrap();
        let pin = source.pin().unwrap();
        assert!(matches!(changes_since(&pin, &position, pages).unwrap(), Changes::Unknown));
    }
}
