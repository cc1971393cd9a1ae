//! Which page versions restore points need, told for several choices of restore points in one walk
//! over the indexes.
//!
//! Invariant: the segments are the same in every choice; only what expired differs. Each version is
//! told exactly once, window by window, and within a window by page and then by commit.

use super::liveness::Kept;
use super::window::Windows;
use super::work::{Keep, Work, epochs};
use crate::error::Result;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::Chain;
use crate::types::Seq;

/// A page version, and who needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use<'u> {
    pub(crate) page: u32,
    /// The commit that wrote it.
    pub(crate) seq: Seq,
    /// Which segment of the chain it is in.
    pub(crate) segment: usize,
    /// For each choice the newest restore point that needs it.
    pub(crate) newest: &'u [Option<Seq>],
}

/// Tells all page versions of a chain. `choices` are the chain and what it would be if some more of
/// its commits expired.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors; what
/// `tell` answers.
pub(crate) fn each_version(
    choices: &[Chain],
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(Use<'_>) -> Result<()>,
) -> Result<()> {
    let Some(chain) = choices.first() else { return Ok(()) };
    let mut newest = vec![None; choices.len()];
    // What is built on one base after the other.
    for epoch in epochs(chain) {
        let from = epoch.start;
        let Some(work) = Work::new(chain, epoch) else { continue };
        let kept: Vec<Kept> = choices.iter().map(|c| work.kept(c, Keep::Points)).collect();
        let mut windows = Windows::new(work.sources, &[])?;
        while let Some(window) = windows.next()? {
            check_cancelled(monitor)?;
            for (version, life) in window.lives() {
                let source =
                    usize::try_from(version.batch).ok().and_then(|i| window.sources.get(i));
                let Some(source) = source else { continue };
                for (newest, kept) in newest.iter_mut().zip(&kept) {
                    *newest = kept.newest(life);
                }
                tell(Use {
                    page: version.page,
                    seq: version.seq,
                    segment: from + source.which,
                    newest: &newest,
                })?;
            }
        }
    }
    Ok(())
}
