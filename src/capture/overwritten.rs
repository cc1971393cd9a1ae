//! Whether what is read is one database, and not two that were mixed: somebody may overwrite the
//! file at any moment.

use std::thread::sleep;
use std::time::Duration;

use crate::codec::digest::PageHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::digests::HeadDigests;
use crate::repo::state::Head;
use crate::sqlite::image::{PageReader, written_since};
use crate::sqlite::pin::{Glance, Pin};
use crate::sqlite::source::Position;
use crate::sqlite::witness::{OVERWRITTEN, Touched};
use crate::types::{PageNo, random_bytes};

/// How many pages are compared with the head, at most: of a smaller database all.
const COMPARED: u32 = 4096;
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
    let stretch = pages.div_ceil(COMPARED).max(1);
    let mut seed = u32::from_le_bytes(random_bytes()?);
    for first in (1..=pages).step_by(usize::try_from(stretch).unwrap_or(usize::MAX)) {
        // One page of each stretch: what is overwritten usually lies together.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let page = if first == 1 { 1 } else { first.saturating_add((seed >> 8) % stretch) };
        let page = PageNo(page.min(pages));
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
pub(crate) fn settled_look(pin: &Pin<'_>) -> Result<Option<Glance>> {
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

/// Makes sure that nobody but SQLite wrote to the file of a pin since it was looked at.
///
/// # Errors
/// [`ErrorKind::Busy`] when somebody did.
pub(crate) fn undisturbed(pin: &Pin<'_>, before: Option<Glance>) -> Result<()> {
    let (Some(before), Some(now)) = (before, pin.look()) else { return Ok(()) };
    match before.until(&now) {
        Touched::ByOthers => Err(overwritten()),
        Touched::No | Touched::Perhaps => Ok(()),
    }
}

fn overwritten() -> Error {
    Error::new(ErrorKind::Busy, OVERWRITTEN)
        .with_hint("nothing was stored; wait until that is done, and run it again")
}
