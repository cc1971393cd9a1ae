//! The little merging that writers do by themselves, so that a history stays quick to open and to
//! restore whether or not anybody prunes it: neighbours of one size are merged as soon as there are
//! many, and what they replaced is deleted later.
//!
//! Invariants: no commit goes, whether it expired or not: that is a prune's business. Nothing that
//! a writer acknowledges depends on it; when it fails, the next one does its work. Nothing is
//! deleted while the last verification failed, or when this machine's clock is not the storage's.

use std::time::Duration;

use super::gc::{self, Collected};
use super::plan::many;
use super::{Keep, Options, merge, pieces};
use crate::error::Result;
use crate::progress::{Monitor, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::chain::retry_on_merge;
use crate::repo::history::doubt::{About, doubt};
use crate::repo::history::handle::History;
use crate::repo::write::term::Claim;

/// After how many segments a writer looks whether there is something to merge.
pub(crate) const EVERY: u32 = 16;
/// How long what was replaced stays, for readers that are at it.
pub(crate) const GRACE: Duration = Duration::from_secs(3600);

/// Merges what is due, in a term that was claimed, and deletes what has been superfluous for long
/// enough.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when what is merged can't be read as it was stored;
/// [`crate::error::ErrorKind::Refused`] when this machine's clock is far from the storage's; store
/// errors.
pub(crate) fn run(history: &History, claim: Claim, monitor: &dyn Monitor) -> Result<Collected> {
    let options = Options::new(Keep::All);
    // A prune may replace what is merged here.
    retry_on_merge(history, &history.chain()?, |chain| {
        let mut chain = chain.clone();
        loop {
            let ranges = many(&pieces(&chain, None));
            if ranges.is_empty() {
                break;
            }
            for range in ranges {
                check_cancelled(monitor)?;
                merge(history, &chain, range, &claim, &options, monitor)?;
            }
            chain = history.chain()?;
        }
        check_cancelled(monitor)?;
        claim.check_clock(history)?;
        // What a merge replaced may be all that is left of something.
        if let Some(doubt) = doubt(history)?.filter(|doubt| doubt.about == About::Backup) {
            monitor.advise(&advice![
                format!(
                    "what was merged is not deleted, since a verification failed: {}; ",
                    doubt.failure
                ),
                Remedy::verify(history.name(), doubt.level.name()),
                " looks again",
            ]);
            return Ok(Collected::default());
        }
        gc::find(history, &chain, claim, GRACE)?.delete(history)
    })
}
