//! The chain of a damaged history: what is there, around what is missing.
//!
//! Where no whole chain ends in the newest segment, there is a hole: right below the segment that
//! the walk comes to farthest down. Below it the newest whole chain counts that ends before it; and
//! in between whatever parts are there, the newest first. In place of each hole stands a *bridge*,
//! a base without pages: so what lies above is never mixed with what lies below, and a commit above
//! a hole can be restored exactly if every one of its pages has a version above it. Whether that is
//! so, its digest decides.
//!
//! Invariant: nothing that a whole chain would show is hidden by a part that leads nowhere.

use std::sync::Arc;

use super::finding::{Hole, Problem};
use super::segment::Segment;
use super::view::Chain;
use super::walk::Walk;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Seq;

/// Consecutive segments, the newest first, and why nothing whole lies before them.
struct Part {
    segments: Vec<Arc<Segment>>,
    why: Option<Problem>,
}

impl Walk<'_> {
    /// The chain with its holes; `None` if all has to be listed again.
    pub(super) fn readable(mut self) -> Result<Option<Chain>> {
        let mut top = Vec::new();
        let newest = self.newest_readable(&mut top)?;
        let mut parts = Vec::new();
        if let Some(newest) = newest {
            self.explore(&newest)?;
            let (path, whole) = self.path(&newest);
            let why = if whole { None } else { Some(self.why_not(&path)?) };
            let bound = path.last().map_or(Seq(0), |s| s.manifest.first);
            parts.push(Part { segments: path, why });
            if !whole {
                self.below(bound, &mut parts)?;
            }
        }
        if self.listing.gone {
            return Ok(None);
        }
        let history = self.listing.history;
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut holes: Vec<Hole> = Vec::new();
        for Part { segments: part, why } in parts.into_iter().rev() {
            let below = segments.last().cloned();
            if let (Some(problem), Some(above)) = (why, part.last()) {
                let first = above.manifest.first;
                segments.extend(Segment::bridge(history, below.as_deref(), above).map(Arc::new));
                let below = below.map(|s| s.end);
                holes.push(Hole { below, above: Some(first), problem, besides: Vec::new() });
            }
            segments.extend(part.into_iter().rev());
        }
        let mut top = top.into_iter();
        if let Some(problem) = top.next() {
            let below = segments.last().map(|s| s.end);
            holes.push(Hole { below, above: None, problem, besides: top.collect() });
        }
        let mut chain = self.finish(segments);
        let needed = |name: &str| holes.iter().any(|hole| hole.problem.object == name);
        chain.unreadable.retain(|name| !needed(name));
        chain.unread.retain(|problem| !needed(&problem.object));
        chain.holes = holes;
        chain.tolerant = true;
        Ok(Some(chain))
    }

    /// The newest segment that can be read. What can't be is passed over: it was built on something
    /// that ends before it begins, so whatever reaches into it was displaced. What merges replaced
    /// may be deleted down to anywhere: a merged segment may reach higher.
    fn newest_readable(&mut self, top: &mut Vec<Problem>) -> Result<Option<Arc<Segment>>> {
        let mut bound = Seq(u64::MAX);
        let mut newest: Option<Arc<Segment>> = None;
        for key in self.log_keys() {
            if let Some(segment) = self.listing.log(key)? {
                if segment.end < bound {
                    newest = Some(segment);
                    break;
                }
            } else if let Some(error) = self.bad_log(key)? {
                // Where nothing tells which terms were claimed, it may be junk that anybody put
                // there.
                let counts = error.kind() == ErrorKind::TooNew || self.listing.knows_claims();
                pass_over(error, top)?;
                if counts {
                    bound = bound.min(key.0);
                }
            }
        }
        if newest.is_some() && top.is_empty() {
            return Ok(newest);
        }
        let least = newest.as_ref().map(|segment| segment.end);
        for key in self.merged_keys() {
            if key.0 >= bound || least.is_some_and(|end| key.0 <= end) {
                continue;
            }
            if let Some(segment) = self.listing.merged(key)? {
                self.explore(&segment)?;
                if least.is_none() || self.is_whole(&segment) {
                    return Ok(Some(segment));
                }
            } else if least.is_none()
                && let Some(error) = self.listing.bad.remove(&self.listing.merged_name(key))
            {
                pass_over(error, top)?;
            }
        }
        Ok(newest)
    }

    /// Why nothing whole lies before a path. A key that is missing is no damage, and no hole to
    /// read around.
    fn why_not(&mut self, path: &[Arc<Segment>]) -> Result<Problem> {
        let why = match path.last() {
            Some(end) => self.why(end),
            None => Error::damaged(self.listing.history.names().log(), "has no segment"),
        };
        if why.kind() == ErrorKind::WrongKey { Err(why) } else { Ok(Problem::of(&why)) }
    }

    /// What lies below a hole. A missing segment had a commit at least: what ends right before the
    /// hole's upper edge is another one's.
    fn below(&mut self, bound: Seq, parts: &mut Vec<Part>) -> Result<()> {
        let ends_below = |s: &Segment, bound: Seq| s.end.next() < bound;
        let mut dead = Vec::new();
        let (mut of_log, mut of_merges) = (None, None);
        for key in self.log_keys() {
            if key.0 >= bound {
                continue;
            }
            let Some(segment) = self.listing.log(key)?.filter(|s| ends_below(s, bound)) else {
                continue;
            };
            self.explore(&segment)?;
            if !self.is_whole(&segment) {
                dead.push(segment);
            } else {
                of_log = Some(segment);
                break;
            }
        }
        for key in self.merged_keys() {
            if key.0.next() >= bound {
                continue;
            }
            let Some(segment) = self.listing.merged(key)? else { continue };
            self.explore(&segment)?;
            if !self.is_whole(&segment) {
                dead.push(segment);
            } else {
                of_merges = Some(segment);
                break;
            }
        }
        let floor: Option<Arc<Segment>> = match (of_log, of_merges) {
            (Some(log), Some(merged)) if merged.end > log.end => Some(merged),
            (log, merged) => log.or(merged),
        };
        let least = floor.as_ref().map_or(Seq(1), |s| s.end.next());
        let mut bound = bound;
        for top in dead {
            if !ends_below(&top, bound) {
                continue;
            }
            let (mut path, _) = self.path(&top);
            let uncut = path.len();
            path.truncate(path.iter().take_while(|s| s.manifest.first > least).count());
            let Some(end) = path.last() else { continue };
            bound = end.manifest.first;
            let why = if path.len() == uncut {
                self.why_not(&path)?
            } else {
                Problem::of(&Error::damaged(end.name(), "follows on nothing that is there"))
            };
            parts.push(Part { segments: path, why: Some(why) });
        }
        if let Some(floor) = floor {
            let (segments, _) = self.path(&floor);
            parts.push(Part { segments, why: None });
        }
        Ok(())
    }
}

/// Notes what can't be read. A key that is missing is no damage.
fn pass_over(error: Error, top: &mut Vec<Problem>) -> Result<()> {
    if error.kind() == ErrorKind::WrongKey {
        return Err(error);
    }
    top.push(Problem::of(&error));
    Ok(())
}
