//! Which pages may differ between two commits of one chain, by their index alone.

use super::segment::Segment;
use super::view::{Chain, Commit};
use crate::codec::batch::Decoder;
use crate::error::Result;
use crate::types::{PageNo, SegmentId};

/// Of a segment with more page versions than this nothing is remembered.
const REMEMBERED: u64 = 4_000_000;

/// Tells which pages were written between commits. Whoever goes from one commit of a segment to the
/// next reads its index once.
#[derive(Default)]
pub(crate) struct Written {
    /// The segment that was asked last, and its page versions in the order of commits.
    last: Option<(SegmentId, Vec<(u32, PageNo)>)>,
}

impl Written {
    /// The pages that commits after `from` wrote, up to `to`, ascending. A page whose content
    /// differs is among them if both commits have it. Others may be, too: a base lists every page,
    /// and a page may have become again what it was.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`], naming the object, when an index block can't be
    /// opened; store errors.
    pub(crate) fn between(
        &mut self,
        chain: &Chain,
        from: &Commit,
        to: &Commit,
    ) -> Result<Vec<PageNo>> {
        let mut pages: Vec<PageNo> = Vec::new();
        for segment in chain.lineage(to.seq).iter().filter(|segment| segment.end > from.seq) {
            let commits = &segment.manifest.commits;
            let first = commits.partition_point(|commit| commit.seq <= from.seq);
            let end = commits.partition_point(|commit| commit.seq <= to.seq);
            let is_part = first > 0 || end < commits.len();
            match is_part && segment.manifest.versions <= REMEMBERED {
                true => pages.extend(self.of_part(segment, first..end)?),
                false => each(segment, |commit, page| {
                    let is_between =
                        usize::try_from(commit).is_ok_and(|c| (first..end).contains(&c));
                    if is_between && pages.last() != Some(&page) {
                        pages.push(page);
                    }
                })?,
            }
            pages.sort_unstable();
            pages.dedup();
        }
        Ok(pages)
    }

    /// The pages that some of a segment's commits wrote.
    fn of_part(
        &mut self,
        segment: &Segment,
        commits: std::ops::Range<usize>,
    ) -> Result<impl Iterator<Item = PageNo>> {
        let id = segment.reference.id;
        if self.last.as_ref().is_none_or(|(known, _)| *known != id) {
            let mut versions = Vec::new();
            each(segment, |commit, page| versions.push((commit, page)))?;
            versions.sort_unstable();
            self.last = Some((id, versions));
        }
        let versions = self.last.as_ref().map_or(&[][..], |(_, versions)| versions);
        let place = |commit: usize| {
            versions.partition_point(|(of, _)| usize::try_from(*of).is_ok_and(|of| of < commit))
        };
        let found = versions.get(place(commits.start)..place(commits.end)).unwrap_or_default();
        Ok(found.iter().map(|(_, page)| *page))
    }
}

/// Tells of each page version of a segment.
fn each(segment: &Segment, mut tell: impl FnMut(u32, PageNo)) -> Result<()> {
    let mut decoder = Decoder::new()?;
    for (number, block) in segment.blocks_within(0..=u32::MAX) {
        let index = segment.near_block(number, block, &mut decoder)?;
        index.entries.iter().for_each(|entry| tell(entry.commit, entry.page));
    }
    Ok(())
}
