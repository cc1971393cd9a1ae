//! Which pages may differ between two commits of one chain, by their index alone.

use super::{Chain, Commit};
use crate::codec::batch::Decoder;
use crate::error::Result;
use crate::types::PageNo;

/// The pages that commits after `from` wrote, up to `to`, ascending. A page whose content differs
/// is among them if both commits have it. Others may be, too: a base lists every page, and a page
/// may have become again what it was.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`], naming the object, when an index block can't be opened;
/// store errors.
pub(crate) fn written_between(chain: &Chain, from: &Commit, to: &Commit) -> Result<Vec<PageNo>> {
    let mut decoder = Decoder::new()?;
    let mut pages: Vec<PageNo> = Vec::new();
    for segment in chain.lineage(to.seq).iter().filter(|segment| segment.end > from.seq) {
        let commits = &segment.manifest.commits;
        let first = commits.partition_point(|commit| commit.seq <= from.seq);
        let end = commits.partition_point(|commit| commit.seq <= to.seq);
        for (number, block) in segment.blocks_within(0..=u32::MAX) {
            let index = segment.near_block(number, block, &mut decoder)?;
            let is_between = |commit: u32| {
                usize::try_from(commit).is_ok_and(|commit| (first..end).contains(&commit))
            };
            pages.extend(index.entries.iter().filter(|e| is_between(e.commit)).map(|e| e.page));
            // Of a page that many commits wrote one is enough.
            pages.dedup();
        }
        pages.sort_unstable();
        pages.dedup();
    }
    Ok(pages)
}
