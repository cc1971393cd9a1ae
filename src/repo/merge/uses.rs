//! Which page versions restore points need, told for several choices of restore points in one walk over the indexes.
//!
//! Invariant: the segments are the same in every choice; only what expired differs. Each version is told exactly once, window by
//! window, and within a window by page and then by commit.

use std::sync::Arc;

use super::kept::Kept;
use super::window::Windows;
use super::{Keep, Work};
use crate::error::Result;
use crate::format::segment::SegmentKind;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::{Chain, Segment};
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

/// Tells all page versions of a chain. `choices` are the chain and what it would be if some more of its commits expired.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors; what `tell` answers.
pub(crate) fn each_version(
    choices: &[Chain],
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(Use<'_>) -> Result<()>,
) -> Result<()> {
    let Some(chain) = choices.first() else { return Ok(()) };
    let segments = chain.segments();
    let mut newest = vec![None; choices.len()];
    let mut from = 0;
    // What is built on one base after the other.
    while from < segments.len() {
        let is_base = |s: &Arc<Segment>| s.manifest.kind == SegmentKind::Base;
        let rest = segments.get(from + 1..).unwrap_or_default();
        let until = rest.iter().position(is_base).map_or(segments.len(), |at| from + 1 + at);
        let Some(work) = Work::new(chain, from..until) else { break };
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
        from = until;
    }
    Ok(())
}

/// How many page versions of each segment some restore point needs.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors.
pub(crate) fn live_versions(chain: &Chain, monitor: &dyn Monitor) -> Result<Vec<u64>> {
    let mut live = vec![0; chain.segments().len()];
    each_version(std::slice::from_ref(chain), monitor, &mut |version| {
        let needed = version.newest.iter().any(Option::is_some);
        if let Some(count) = live.get_mut(version.segment).filter(|_| needed) {
            *count += 1;
        }
        Ok(())
    })?;
    Ok(live)
}
