//! Which restore points are lost with what can't be read any more.
//!
//! Invariant: a restore point counts as lost if any page version that it consists of can't be had,
//! and only then; where not even an index can be read, with everything that is built on that
//! segment.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::window::{Source, Window, Windows};
use super::work::{Keep, Work, epochs};
use crate::codec::batch::Decoder;
use crate::codec::pool;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::Chain;
use crate::repo::chain::reader::{BatchReader, BatchRequest};
use crate::repo::history::handle::History;
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

/// How the batches are looked at.
#[derive(Clone, Copy)]
pub(crate) enum Depth<'a> {
    /// Each is opened, and its pages are compared with their digests.
    Data,
    /// Only the lengths of their objects are looked at, by name.
    Lengths(&'a HashMap<String, u64>),
}

/// Looks at every batch that a restore point needs.
///
/// # Errors
/// Store errors; [`ErrorKind::Interrupted`]. Damage is what it is about, and no error.
pub(crate) fn loss(
    history: &History,
    chain: &Chain,
    depth: Depth<'_>,
    monitor: &dyn Monitor,
) -> Result<Loss> {
    let threads = match depth {
        Depth::Data => history.repository().threads(),
        Depth::Lengths(_) => 1,
    };
    let look = Look { history, depth, threads, monitor };
    let mut loss = Loss::default();
    for range in epochs(chain) {
        let from = range.start;
        let whole = readable(chain, range, &mut loss)?;
        if whole > from {
            look.epoch(chain, from..whole, &mut loss)?;
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

struct Look<'a> {
    history: &'a History,
    depth: Depth<'a>,
    threads: usize,
    monitor: &'a dyn Monitor,
}

impl Look<'_> {
    fn epoch(&self, chain: &Chain, range: std::ops::Range<usize>, loss: &mut Loss) -> Result<()> {
        let Some(mut work) = Work::new(chain, range) else { return Ok(()) };
        work.later = &[];
        let kept = work.kept(chain, Keep::Points);
        let mut windows = Windows::new(work.sources, &[])?;
        while let Some(window) = windows.next()? {
            let needed = wanted(&window, &kept);
            let bad: Mutex<Vec<(usize, Error)>> = Mutex::default();
            pool::for_each(
                self.threads,
                needed.into_iter().map(Ok),
                || BatchReader::new(self.history),
                |reader: &mut BatchReader, (at, request)| match self.look_at(reader, &request) {
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

    fn look_at(&self, reader: &mut BatchReader, request: &BatchRequest) -> Result<()> {
        check_cancelled(self.monitor)?;
        let lens = match self.depth {
            Depth::Data => {
                let bytes = reader.open(request, &mut |_, _, _| Ok(()))?;
                self.monitor.advance(bytes);
                return Ok(());
            }
            Depth::Lengths(lens) => lens,
        };
        let name = request.segment.object_of(request.batch.at);
        match lens.get(&name) {
            Some(len) if *len >= request.segment.end_of(request.batch.at) => Ok(()),
            Some(_) => Err(Error::damaged(name, "ends too early")),
            None => Err(Error::damaged(name, "is missing")),
        }
    }
}

/// The batches of a window, each with its pages that some restore point needs.
fn wanted(window: &Window, kept: &super::liveness::Kept) -> Vec<(usize, BatchRequest)> {
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
        (!pages.is_empty()).then_some((at, BatchRequest { segment, batch, pages }))
    };
    sources.filter_map(wanted).collect()
}
