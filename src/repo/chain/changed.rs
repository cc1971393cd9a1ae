//! Which pages may differ between two commits of one chain, and where they are, by their index
//! alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lookup::Version;
use super::segment::Segment;
use super::view::{Chain, Commit};
use crate::codec::batch::Decoder;
use crate::error::Result;
use crate::format::index::{BatchRef, IndexBlock, IndexEntry};
use crate::types::{Digest, PageNo, SegmentId};

/// How many page versions of a segment are remembered: those of the commits that are asked for, and
/// of as many commits behind them.
const REMEMBERED: usize = 200_000;

/// Of how many pages the versions are told: where more were written, who wants them looks them up.
const STEPS: usize = 4096;

/// Tells which pages were written between commits. Whoever goes from one commit of a segment to the
/// next reads its index once for many commits.
#[derive(Default)]
pub(crate) struct Written {
    /// What was read last.
    last: Option<Part>,
}

/// The pages that were written between two commits; they ascend. A page whose content differs is
/// among them if both commits have it. Others may be, too: a base lists every page, and a page may
/// have become again what it was.
#[derive(Debug)]
pub(crate) struct Between {
    pub(crate) pages: Vec<PageNo>,
    /// The same with their versions, if these are at hand.
    pub(crate) steps: Option<Vec<Step>>,
}

/// A page that was written.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) page: PageNo,
    /// The version that the earlier commit has, if that is at hand.
    pub(crate) old: Option<Version>,
    /// The version that the later commit has.
    pub(crate) new: Version,
}

/// The page versions of some neighbouring commits of a segment.
struct Part {
    id: SegmentId,
    /// From which commit on, and up to which one. Of a page that these wrote there is also the
    /// version before them.
    commits: std::ops::Range<u32>,
    batches: Vec<BatchRef>,
    /// As the index has them: by page, and then by commit.
    entries: Vec<Listed>,
    /// The same in the order of commits.
    order: Vec<u32>,
}

/// A page version.
struct Listed {
    page: PageNo,
    commit: u32,
    batch: u32,
    slot: u16,
    digest: Digest,
}

impl Written {
    /// The pages that commits after `from` wrote, up to `to`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Damaged`], naming the object, when an index block can't be
    /// opened; store errors.
    pub(crate) fn between(&mut self, chain: &Chain, from: &Commit, to: &Commit) -> Result<Between> {
        let mut pages: Vec<PageNo> = Vec::new();
        let mut steps: Option<BTreeMap<PageNo, Step>> = Some(BTreeMap::new());
        for segment in chain.written_between(from.seq, to.seq) {
            let commits = &segment.manifest.commits;
            let first = commits.partition_point(|commit| commit.seq <= from.seq);
            let end = commits.partition_point(|commit| commit.seq <= to.seq);
            let is_part = first > 0 || end < commits.len();
            let range = number(first)..number(end);
            let versions = usize::try_from(segment.manifest.versions);
            let small = versions.is_ok_and(|versions| versions <= REMEMBERED);
            let part = match is_part || small {
                true => self.part(segment, &range)?,
                false => None,
            };
            match part {
                Some(part) => {
                    let found = part.steps(segment, &range);
                    pages.extend(found.iter().map(|step| step.page));
                    for step in found {
                        let Some(steps) = steps.as_mut().filter(|s| s.len() <= STEPS) else {
                            break;
                        };
                        match steps.get_mut(&step.page) {
                            Some(before) => before.new = step.new,
                            None => {
                                steps.insert(step.page, step);
                            }
                        }
                    }
                }
                None => {
                    steps = None;
                    each(segment, |_, entry| {
                        if range.contains(&entry.commit) && pages.last() != Some(&entry.page) {
                            pages.push(entry.page);
                        }
                    })?;
                }
            }
            pages.sort_unstable();
            pages.dedup();
        }
        let steps = steps.filter(|steps| steps.len() <= STEPS);
        let steps = steps.map(|steps| steps.into_values().collect());
        Ok(Between { pages, steps })
    }

    /// What some of a segment's commits wrote; `None` if that is too much to remember.
    fn part(&mut self, segment: &Segment, range: &std::ops::Range<u32>) -> Result<Option<&Part>> {
        let id = segment.reference.id;
        let has_it = |part: &Part| {
            part.id == id && part.commits.start <= range.start && range.end <= part.commits.end
        };
        if !self.last.as_ref().is_some_and(has_it) {
            self.last = None;
            self.last = Part::read(segment, range)?;
        }
        Ok(self.last.as_ref().filter(|part| has_it(part)))
    }
}

impl Part {
    /// Reads what the commits from the beginning of a range on wrote, of as many as there is room
    /// for.
    fn read(segment: &Segment, range: &std::ops::Range<u32>) -> Result<Option<Self>> {
        let mut part = Self {
            id: segment.reference.id,
            commits: range.start..number(segment.manifest.commits.len()),
            batches: Vec::new(),
            entries: Vec::new(),
            order: Vec::new(),
        };
        let (mut block, mut begin) = (usize::MAX, 0);
        let mut before: Option<Listed> = None;
        each(segment, |(number_of_block, index), entry| {
            if number_of_block != block {
                (block, begin) = (number_of_block, number(part.batches.len()));
                part.batches.extend_from_slice(&index.batches);
            }
            let listed = Listed {
                page: entry.page,
                commit: entry.commit,
                batch: begin.saturating_add(entry.batch.into()),
                slot: entry.slot,
                digest: entry.digest,
            };
            if entry.commit < part.commits.start {
                before = Some(listed);
            } else if entry.commit < part.commits.end {
                let before = before.take().filter(|before| before.page == entry.page);
                part.entries.extend(before.into_iter().chain([listed]));
                if part.entries.len() > 2 * REMEMBERED {
                    part.cut();
                }
            }
        })?;
        if part.entries.len() > REMEMBERED {
            part.cut();
        }
        if part.commits.end < range.end {
            return Ok(None);
        }
        part.entries.shrink_to_fit();
        part.order = (0..number(part.entries.len())).collect();
        let entries = &part.entries;
        part.order.sort_by_key(|at| {
            usize::try_from(*at).ok().and_then(|at| Some(entries.get(at)?.commit))
        });
        Ok(Some(part))
    }

    /// Leaves out the newest commits, until there is room again.
    fn cut(&mut self) {
        let mut commits: Vec<u32> = self.entries.iter().map(|entry| entry.commit).collect();
        if commits.len() > REMEMBERED {
            let (_, end, _) = commits.select_nth_unstable(REMEMBERED);
            self.commits.end = self.commits.end.min(*end);
        }
        self.entries.retain(|entry| entry.commit < self.commits.end);
    }

    /// What commits of it wrote: each page once, with its newest version.
    fn steps(&self, segment: &Arc<Segment>, range: &std::ops::Range<u32>) -> Vec<Step> {
        let entry = |at: u32| self.entries.get(usize::try_from(at).ok()?);
        let commit = |at: &u32| entry(*at).map_or(u32::MAX, |entry| entry.commit);
        let first = self.order.partition_point(|at| commit(at) < range.start);
        let end = self.order.partition_point(|at| commit(at) < range.end);
        let mut places = self.order.get(first..end).unwrap_or_default().to_vec();
        places.sort_unstable();
        let mut steps: Vec<Step> = Vec::with_capacity(places.len());
        for at in places {
            let Some((listed, new)) = entry(at).and_then(|e| Some((e, self.version(segment, e)?)))
            else {
                continue;
            };
            match steps.last_mut().filter(|last| last.page == listed.page) {
                Some(last) => last.new = new,
                None => {
                    let before = at.checked_sub(1).and_then(entry);
                    let before = before.filter(|before| before.page == listed.page);
                    let old = before.and_then(|before| self.version(segment, before));
                    steps.push(Step { page: listed.page, old, new });
                }
            }
        }
        steps
    }

    fn version(&self, segment: &Arc<Segment>, listed: &Listed) -> Option<Version> {
        let batch = *self.batches.get(usize::try_from(listed.batch).ok()?)?;
        let (slot, digest) = (listed.slot, listed.digest);
        Some(Version { segment: segment.clone(), batch, slot, digest })
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Tells of each page version of a segment, with the block that lists it and its number.
fn each(segment: &Segment, mut tell: impl FnMut((usize, &IndexBlock), &IndexEntry)) -> Result<()> {
    let mut decoder = Decoder::new()?;
    for (number, block) in segment.blocks_within(0..=u32::MAX) {
        let index = segment.near_block(number, block, &mut decoder)?;
        index.entries.iter().for_each(|entry| tell((number, &index), entry));
    }
    Ok(())
}
