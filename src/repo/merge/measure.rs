//! What is known of a chain's page versions in numbers: what planning goes by.

use std::sync::Arc;

use super::emit::is_settled;
use super::plan::Piece;
use super::window::Windows;
use super::work::{Keep, Work, epochs};
use crate::error::Result;
use crate::format::segment::SegmentKind;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::{Chain, Segment};

/// The segments as planning sees them, with what is known of their page versions.
pub(crate) fn pieces(chain: &Chain, needed: Option<&[Needed]>) -> Vec<Piece> {
    let segments = chain.segments().iter().enumerate();
    segments
        .map(|(at, segment)| {
            let bytes = segment.stored_len();
            let versions = segment.manifest.versions;
            let share = |n: u64| {
                let share = u128::from(bytes) * u128::from(n) / u128::from(versions.max(1));
                u64::try_from(share).unwrap_or(bytes)
            };
            let needed = needed.and_then(|n| n.get(at)).copied();
            let needed = needed.unwrap_or(Needed { live: versions, ..Needed::default() });
            let states = segment.manifest.states();
            Piece {
                bytes,
                dead: share(versions.saturating_sub(needed.live)),
                mixed: share(needed.mixed),
                base: segment.manifest.kind == SegmentKind::Base,
                points: states.iter().any(|c| !chain.expired().contains(c.seq)),
            }
        })
        .collect()
}

/// What the newest commit takes, by what its segments' page versions take on average.
pub(crate) fn newest_bytes(chain: &Chain, needed: &[Needed]) -> u64 {
    let share = |(segment, needed): (&Arc<Segment>, &Needed)| {
        let versions = u128::from(segment.manifest.versions.max(1));
        let share = u128::from(segment.stored_len()) * u128::from(needed.current) / versions;
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    chain.segments().iter().zip(needed).map(share).sum()
}

/// What is known of the page versions of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needed {
    /// Those that some restore point needs.
    pub(crate) live: u64,
    /// Those of them that the newest commit needs.
    pub(crate) current: u64,
    /// Those of them that the newest commit does not need, though they share batches with what it
    /// needs.
    pub(crate) mixed: u64,
}

/// How many page versions of each segment are needed, and how well they are sorted.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors.
pub(crate) fn needed(chain: &Chain, monitor: &dyn Monitor) -> Result<Vec<Needed>> {
    let mut needed = vec![Needed::default(); chain.segments().len()];
    for epoch in epochs(chain) {
        let from = epoch.start;
        let Some(work) = Work::new(chain, epoch) else { continue };
        let kept = work.kept(chain, Keep::Points);
        let mut windows = Windows::new(work.sources, &[])?;
        while let Some(window) = windows.next()? {
            check_cancelled(monitor)?;
            let mut batches = vec![(0u32, 0u32); window.sources.len()];
            for (version, life) in window.lives().filter(|(_, life)| kept.needs(*life)) {
                let at = usize::try_from(version.batch).ok();
                if let Some((live, current)) = at.and_then(|i| batches.get_mut(i)) {
                    *live += 1;
                    *current += u32::from(kept.is_current(life));
                }
            }
            for (source, (live, current)) in window.sources.iter().zip(batches) {
                if let Some(needed) = needed.get_mut(from + source.which) {
                    needed.live += u64::from(live);
                    needed.current += u64::from(current);
                    if current > 0 && !is_settled(live, current) {
                        needed.mixed += u64::from(live - current);
                    }
                }
            }
        }
    }
    Ok(needed)
}
