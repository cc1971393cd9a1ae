//! Whether what is read is one database, and not two that were mixed: somebody may overwrite the
//! file at any moment.

use std::thread::sleep;
use std::time::Duration;

use crate::codec::digest::PageHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::local::digests::HeadDigests;
use crate::repo::local::state::Head;
use crate::sqlite::image::{PageReader, written_since};
use crate::sqlite::pin::{Glance, Pin};
use crate::sqlite::source::Position;
use crate::sqlite::witness::{OVERWRITTEN, SENTINELS, Touched};
use crate::types::{PageNo, random_bytes};

/// How many pages are compared with the head, at most: of a smaller database all.
const COMPARED: usize = 4096;
/// How often to look whether somebody is still at it, and how often at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES: usize = 500;
/// How many looks in a row show a file that nobody writes to.
const STILL: u32 = 2;

/// Whether pages that nobody wrote since a position in a WAL are in the database as the head has
/// them.
///
/// # Errors
/// [`ErrorKind::Source`] when the database can't be read; when the page digests can't be.
pub(crate) fn agrees(
    pin: &Pin<'_>,
    position: &Position,
    head: &Head,
    digests: &HeadDigests,
    hasher: &PageHasher,
) -> Result<bool> {
    let Some(written) = written_since(pin, position)? else { return Ok(false) };
    let reader = PageReader::new(pin)?;
    let pages = head.pages.min(pin.pages());
    for page in drawn(pages, COMPARED)? {
        if page == pin.page_size().lock_page() || written.binary_search(&page).is_ok() {
            continue;
        }
        let mut known = [None];
        digests.read(page, &mut known)?;
        if known != [Some(hasher.digest(page, &reader.read(page)?))] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the file of a pin looks like, once nobody but SQLite seems to write to it; `None` if that
/// can't be told.
///
/// # Errors
/// [`ErrorKind::Busy`] when somebody goes on.
fn settled_look(pin: &Pin<'_>) -> Result<Option<Glance>> {
    let Some(mut then) = pin.look() else { return Ok(None) };
    let mut still = 0;
    for _ in 0..PAUSES {
        // A time that lies ahead tells only by not changing.
        if !then.is_fresh() || (then.is_ahead() && still >= STILL) {
            return Ok(Some(then));
        }
        sleep(PAUSE);
        let Some(now) = pin.look() else { return Ok(None) };
        still = if then.same_as(&now) { still + 1 } else { 0 };
        // A checkpoint explains it. Others that come meanwhile are told from it when all was read.
        if !then.same_as(&now) && then.until(&now) == Touched::Perhaps {
            return Ok(Some(now));
        }
        then = now;
    }
    Err(overwritten())
}

/// What the file of a pin looked like, and some of its pages that no checkpoint writes while the
/// pin is held, since the WAL has no frame of them.
pub(crate) struct Before {
    look: Option<Glance>,
    pages: Vec<(PageNo, blake3::Hash)>,
}

impl Before {
    /// Of a pin whose pages are about to be read whole: waits until nobody but SQLite writes.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when somebody goes on; [`ErrorKind::Source`] when it can't be read.
    pub(crate) fn of_all(pin: &Pin<'_>) -> Result<Self> {
        let look = settled_look(pin)?;
        let mut pages = Vec::new();
        if look.is_some() && !pin.blocks_writers() {
            let reader = PageReader::new(pin)?;
            for page in drawn(pin.pages(), SENTINELS)? {
                if page != pin.page_size().lock_page() && !reader.is_in_wal(page) {
                    pages.push((page, blake3::hash(&reader.read(page)?)));
                }
            }
        }
        Ok(Self { look, pages })
    }

    /// Of a pin of which only frames are about to be read.
    pub(crate) fn of_frames(pin: &Pin<'_>) -> Self {
        Self { look: pin.look(), pages: Vec::new() }
    }

    /// Makes sure that nobody but SQLite wrote to the file since.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when somebody did; [`ErrorKind::Source`] when it can't be read.
    pub(crate) fn check(&self, pin: &Pin<'_>) -> Result<()> {
        let (Some(before), Some(now)) = (&self.look, pin.look()) else { return Ok(()) };
        match before.until(&now) {
            Touched::ByOthers => return Err(overwritten()),
            Touched::No => return Ok(()),
            Touched::Perhaps => {}
        }
        let reader = PageReader::new(pin)?;
        for (page, known) in &self.pages {
            if blake3::hash(&reader.read(*page)?) != *known {
                return Err(overwritten());
            }
        }
        Ok(())
    }
}

/// One page of each stretch of a file, so many or all: what is overwritten usually lies together.
fn drawn(pages: u32, at_most: usize) -> Result<impl Iterator<Item = PageNo>> {
    let stretch = pages.div_ceil(u32::try_from(at_most).unwrap_or(u32::MAX)).max(1);
    let mut seed = u32::from_le_bytes(random_bytes()?);
    let starts = (1..=pages).step_by(usize::try_from(stretch).unwrap_or(usize::MAX));
    Ok(starts.map(move |first| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let page = if first == 1 { 1 } else { first.saturating_add((seed >> 8) % stretch) };
        PageNo(page.min(pages))
    }))
}

fn overwritten() -> Error {
    Error::new(ErrorKind::Busy, OVERWRITTEN)
        .with_hint("nothing was stored; wait until that is done, and run it again")
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use rusqlite::Connection;

    use super::*;
    use crate::sqlite::source::Source;

    /// A checkpoint explains that the file changed, and somebody used that moment.
    #[test]
    fn a_checkpoint_beside_a_scan_hides_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<99)
             INSERT INTO t(x) SELECT randomblob(3000) FROM n;
             PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET x=1 WHERE id=50",
        )
        .unwrap();
        let mut source = Source::open(&path).unwrap();
        let pin = source.pin().unwrap();
        let before = Before::of_all(&pin).unwrap();
        app.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        before.check(&pin).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[7; 4096], 9 * 4096).unwrap();
        // Closing it would drop the locks that SQLite has in this process.
        std::mem::forget(file);
        let e = before.check(&pin).unwrap_err();
        assert_eq!((e.kind(), e.message()), (ErrorKind::Busy, OVERWRITTEN));
    }
}
