//! How a chain is read: again and again, until nothing was replaced meanwhile.

use std::collections::HashSet;

use super::finding::Hole;
use super::view::Chain;
use super::walk;
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::segment::SegmentRef;
use crate::repo::history::handle::History;
use crate::types::SegmentId;

/// How often to begin anew when a merge deletes what was listed.
const ATTEMPTS: usize = 10;

impl Chain {
    /// Lists the segments and walks from the newest to the first, reading those on the way.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, when no whole chain ends in the newest segment;
    /// store errors.
    pub(crate) fn load(history: &History) -> Result<Self> {
        attempt(history, || walk::Walk::list(history)?.whole())
    }

    /// As [`Chain::load`], but around what is missing or can't be read; as if some merged segments
    /// were not there.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::WrongKey`] when the keys were rotated meanwhile.
    pub(crate) fn load_readable(history: &History, without: &HashSet<SegmentId>) -> Result<Self> {
        attempt(history, || walk::Walk::list_readable(history, without)?.readable())
    }

    /// The chain that ends in a segment of the log, or in a merged one that stands for it, if that
    /// segment is there and the chain reads.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn ending_in(
        history: &History,
        at: LogName,
        segment: SegmentRef,
    ) -> Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            match walk::Walk::list_readable(history, &HashSet::new())?
                .ending_in((at.first, at.term), segment)
            {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
        Err(replaced_too_fast(history, "read"))
    }
}

/// Lists anew until nothing was replaced while it was read.
fn attempt(history: &History, mut once: impl FnMut() -> Result<Option<Chain>>) -> Result<Chain> {
    // A listing is no moment. It may show what was published while it went on, and leave out what
    // was published before that; and of a segment that followed another one, which was merged and
    // deleted, it may show neither. The next one shows both: what looks wrong counts only if it
    // looks the same twice.
    let mut damage: Option<Error> = None;
    let mut doubted: Option<(Option<String>, Vec<Hole>)> = None;
    for _ in 1..ATTEMPTS {
        match once() {
            Ok(Some(chain)) if !chain.doubtful && chain.holes.is_empty() => return Ok(chain),
            Ok(Some(chain)) => {
                let looks = (chain.newest().map(|s| s.name().to_owned()), chain.holes.clone());
                if doubted.as_ref() == Some(&looks) {
                    return Ok(chain);
                }
                doubted = Some(looks);
            }
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::Damaged => {
                let same = |before: &Error| {
                    (before.object(), before.message()) == (e.object(), e.message())
                };
                if damage.as_ref().is_some_and(same) {
                    return Err(e);
                }
                damage = Some(e);
            }
            Err(e) => return Err(e),
        }
    }
    Err(replaced_too_fast(history, "read"))
}

/// Merges replace segments faster than something can be done with them.
pub(crate) fn replaced_too_fast(history: &History, done: &str) -> Error {
    let what = format!("its segments are replaced faster than they can be {done}");
    Error::new(ErrorKind::Busy, what)
        .with_object(format!("history {:?}", history.name()))
        .with_hint("run it again when no prune is at work")
}

/// Looks at a chain until nothing of it was replaced meanwhile: an object that a merge replaced is
/// not missing. `look` answers what it found, and whether that can't be due to a merge. Answers the
/// chain that was looked at, too.
///
/// # Errors
/// [`ErrorKind::Busy`] when segments are replaced all the time; those of both.
pub(crate) fn until_still<T>(
    history: &History,
    load: impl Fn() -> Result<Chain>,
    mut look: impl FnMut(&Chain) -> Result<(T, bool)>,
) -> Result<(Chain, T)> {
    for _ in 0..ATTEMPTS {
        let chain = load()?;
        let looked = look(&chain);
        let is_so = match &looked {
            Ok((_, is_so)) => *is_so,
            Err(e) => e.kind() != ErrorKind::Damaged,
        };
        if is_so || load()?.extends(&chain) {
            return looked.map(|(found, _)| (chain, found));
        }
    }
    Err(replaced_too_fast(history, "looked at"))
}

/// Does something with a chain. When it finds damage and a merge has replaced segments meanwhile,
/// it begins anew with the chain as it is now: an object that went away is no damage then.
///
/// # Errors
/// Those of the work; store errors.
pub(crate) fn retry_on_merge<T>(
    history: &History,
    chain: &Chain,
    mut work: impl FnMut(&Chain) -> Result<T>,
) -> Result<T> {
    let mut fresh: Option<Chain> = None;
    for _ in 0..ATTEMPTS {
        let chain = fresh.as_ref().unwrap_or(chain);
        let error = match work(chain) {
            Err(e) if e.kind() == ErrorKind::Damaged => e,
            done => return done,
        };
        let now = history.chain_like(chain)?;
        if now.extends(chain) {
            return Err(error);
        }
        fresh = Some(now);
    }
    work(fresh.as_ref().unwrap_or(chain))
}
