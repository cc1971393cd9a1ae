//! Which restore points are lost with what can't be read any more.
//!
//! Invariant: a restore point counts as lost if any page version that it consists of can't be had,
//! and only then; where not even an index can be read, with everything that is built on that
//! segment.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::window::{Source, Window, Windows};
use super::work::{Keep, Work, epochs};
use crate::codec::batch::Decoder;
use crate::codec::pool;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::chain::Chain;
use crate::repo::page_map::Wanted;
use crate::types::{PageNo, SegmentId, Seq};

/// What is lost, and why.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    pub(crate) points: BTreeSet<Seq>,
    pub(crate) findings: Vec<Error>,
    /// Segments that have damaged batches, and those whose indexes can't be read.
    pub(crate) spoilt: BTreeSet<SegmentId>,
    pub(crate) unreadable: BTreeSet<SegmentId>,
}

/// Looks at every batch that a restore point needs. `open` answers damage as an error.
///
/// # Errors
/// Store errors, and what `open` answers but damage.
pub(crate) fn loss<W>(
    chain: &Chain,
    threads: usize,
    worker: &(dyn Fn() -> Result<W> + Sync),
    open: &(dyn Fn(&mut W, &Wanted) -> Result<()> + Sync),
) -> Result<Loss> {
    let mut loss = Loss::default();
    for range in epochs(chain) {
        let from = range.start;
        let whole = readable(chain, range, &mut loss)?;
        if whole > from {
            epoch(chain, from..whole, threads, worker, open, &mut loss)?;
        }
    }
    Ok(loss)
}

/// How far the index blocks of an epoch can be read. All that is built on what can't is lost.
fn readable(chain: &Chain, range: std::ops::Range<usize>, loss: &mut Loss) -> Result<usize> {
    let mut decoder = Decoder::new()?;
    let mut broken = None;
    for (at, segment) in chain.segments().iter().enumerate().take(range.end).skip(range.start) {
        for (number, block) in segment.manifest.blocks.iter().enumerate() {
            match segment.block(number, block, &mut decoder) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Damaged => {
                    loss.findings.push(e);
                    loss.unreadable.insert(segment.reference.id);
                    broken.get_or_insert(at);
                }
                Err(e) => return Err(e),
            }
        }
    }
    let Some(broken) = broken else { return Ok(range.end) };
    for segment in chain.segments().get(broken..range.end).unwrap_or_default() {
        let points = segment.manifest.states().iter().map(|c| c.seq);
        loss.points.extend(points.filter(|seq| chain.commit(*seq).is_some()));
    }
    Ok(broken)
}

fn epoch<W>(
    chain: &Chain,
    range: std::ops::Range<usize>,
    threads: usize,
    worker: &(dyn Fn() -> Result<W> + Sync),
    open: &(dyn Fn(&mut W, &Wanted) -> Result<()> + Sync),
    loss: &mut Loss,
) -> Result<()> {
    let Some(mut work) = Work::new(chain, range) else { return Ok(()) };
    work.later = &[];
    let kept = work.kept(chain, Keep::Points);
    let mut windows = Windows::new(work.sources, &[])?;
    while let Some(window) = windows.next()? {
        let needed = wanted(&window, &kept);
        let bad: Mutex<Vec<(usize, Error)>> = Mutex::default();
        pool::for_each(
            threads,
            needed.into_iter().map(Ok),
            worker,
            |state, (at, wanted)| match open(state, &wanted) {
                Err(e) if e.kind() == ErrorKind::Damaged => {
                    bad.lock().unwrap_or_else(PoisonError::into_inner).push((at, e));
                    Ok(())
                }
                done => done,
            },
        )?;
        for (at, error) in bad.into_inner().unwrap_or_else(PoisonError::into_inner) {
            loss.findings.push(error);
            loss.spoilt.extend(window.sources.get(at).map(|s| s.segment.reference.id));
            let is_in = |batch: u32| usize::try_from(batch) == Ok(at);
            for (_, life) in window.lives().filter(|(version, _)| is_in(version.batch)) {
                loss.points.extend(kept.of(life));
            }
        }
    }
    Ok(())
}

/// The batches of a window, each with its pages that some restore point needs.
fn wanted(window: &Window, kept: &super::kept::Kept) -> Vec<(usize, Wanted)> {
    let mut pages: Vec<Vec<(u16, PageNo, crate::types::Digest)>> =
        vec![Vec::new(); window.sources.len()];
    for (version, _) in window.lives().filter(|(_, life)| kept.needs(*life)) {
        let at = usize::try_from(version.batch).ok();
        if let Some(pages) = at.and_then(|at| pages.get_mut(at)) {
            pages.push((version.slot, PageNo(version.page), version.digest));
        }
    }
    let sources = window.sources.iter().zip(pages).enumerate();
    let wanted = |(at, (source, pages)): (usize, (&Source, Vec<_>))| {
        let Source { segment, batch, .. } = source.clone();
        (!pages.is_empty()).then_some((at, Wanted { segment, batch, pages }))
    };
    sources.filter_map(wanted).collect()
}
