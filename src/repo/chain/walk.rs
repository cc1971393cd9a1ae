//! The walk from the newest segment to the first.
//!
//! What may be a segment's parent is tried in a fixed order, depth first; the first that leads to a
//! whole chain counts. Where each segment leads to is found out once, and there is no recursion:
//! time and memory are bounded by what is there, in whatever way it is linked. Parents lie strictly
//! before their children, so there are no circles.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::finding::{Problem, hint};
use super::listing::{Listing, LogKey, MergedKey, Stage};
use super::segment::Segment;
use super::view::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::{SegmentKind, SegmentRef};
use crate::repo::history::handle::History;
use crate::types::{SegmentId, Seq};

/// Where a segment leads to.
#[derive(Clone, Debug)]
struct Reach {
    /// Whether that is a base without a parent.
    whole: bool,
    /// The first seq of the last segment on the way.
    lowest: Seq,
    next: Option<Arc<Segment>>,
}

/// A walk under way: what was listed, and where what was read of it leads to.
pub(super) struct Walk<'h> {
    pub(super) listing: Listing<'h>,
    reach: HashMap<SegmentId, Reach>,
    /// Why what a child names is not its parent.
    misfits: HashMap<SegmentId, Error>,
}

/// A segment whose parents are being tried.
struct Frame {
    segment: Arc<Segment>,
    stage: Stage,
    ready: std::vec::IntoIter<Arc<Segment>>,
    /// The one that is being looked at.
    trying: Option<Arc<Segment>>,
    best: Reach,
}

impl Frame {
    fn new(segment: Arc<Segment>) -> Self {
        let lowest = segment.manifest.first;
        let whole = segment.manifest.parent.is_none() && segment.manifest.kind == SegmentKind::Base;
        let best = Reach { whole, lowest, next: None };
        let (ready, trying) = (Vec::new().into_iter(), None);
        Self { segment, stage: Stage::Near(Seq(0)), ready, trying, best }
    }

    /// Takes a parent if none before leads as far.
    fn consider(&mut self, parent: Arc<Segment>, reach: &Reach) {
        if reach.whole || (!self.best.whole && reach.lowest < self.best.lowest) {
            self.best = Reach { whole: reach.whole, lowest: reach.lowest, next: Some(parent) };
        }
    }
}

impl<'h> Walk<'h> {
    pub(super) fn list(history: &'h History) -> Result<Self> {
        Ok(Self::over(Listing::new(history, false, &HashSet::new())?))
    }

    pub(super) fn list_readable(
        history: &'h History,
        without: &HashSet<SegmentId>,
    ) -> Result<Self> {
        Ok(Self::over(Listing::new(history, true, without)?))
    }

    fn over(listing: Listing<'h>) -> Self {
        Self { listing, reach: HashMap::new(), misfits: HashMap::new() }
    }

    /// The chain that ends in the newest segment; `None` if all has to be listed again.
    pub(super) fn whole(mut self) -> Result<Option<Chain>> {
        let newest = self.newest();
        if self.listing.gone {
            return Ok(None);
        }
        let Some(newest) = newest? else { return Ok(Some(self.finish(Vec::new()))) };
        self.explore(&newest)?;
        if self.listing.gone {
            return Ok(None);
        }
        let (mut path, whole) = self.path(&newest);
        if !whole {
            let end = path.pop().unwrap_or(newest);
            let why = self.why(&end);
            if why.kind() == ErrorKind::WrongKey {
                return Err(why);
            }
            return Err(why.with_hint(hint(self.listing.history.name())));
        }
        path.reverse();
        Ok(Some(self.finish(path)))
    }

    /// The chain that ends in a segment of the log, or in a merged one that stands for it, if what
    /// that one was built on is gone or can't be read; `None` within if it is not there, or neither
    /// chain is whole; `None` if all has to be listed again.
    pub(super) fn ending_in(
        mut self,
        key: LogKey,
        reference: SegmentRef,
    ) -> Result<Option<Option<Chain>>> {
        let Some(top) = self.listing.log(key)?.filter(|s| s.reference == reference) else {
            return Ok((!self.listing.gone).then_some(None));
        };
        self.explore(&top)?;
        let (mut path, mut whole) = self.path(&top);
        for key @ (last, ..) in self.listing.merged_newest_first() {
            if whole || last != top.end {
                continue;
            }
            let stand_in = self.listing.merged(key)?.filter(|s| s.as_parent() == reference);
            if let Some(stand_in) = stand_in {
                self.explore(&stand_in)?;
                (path, whole) = self.path(&stand_in);
            }
        }
        if self.listing.gone {
            return Ok(None);
        }
        path.reverse();
        Ok(Some(whole.then(|| self.finish(path))))
    }

    /// The newest segment. One that can't be read is an error.
    fn newest(&mut self) -> Result<Option<Arc<Segment>>> {
        for key in self.listing.log_newest_first() {
            if let Some(segment) = self.listing.log(key)? {
                return Ok(Some(segment));
            }
            if let Some(error) = self.bad_log(key)? {
                return Err(damaged(self.listing.history, error));
            }
        }
        for key in self.listing.merged_newest_first() {
            if let Some(segment) = self.listing.merged(key)? {
                return Ok(Some(segment));
            }
            let name = self.listing.merged_name(key);
            if let Some(error) = self.listing.bad.remove(&name) {
                return Err(damaged(self.listing.history, error));
            }
        }
        Ok(None)
    }

    /// Why a segment of the log can't be read; `None` if it is not there, or nothing that a writer
    /// made.
    pub(super) fn bad_log(&mut self, key: LogKey) -> Result<Option<Error>> {
        let name = self.listing.log_name(key);
        let Some(error) = self.listing.bad.remove(&name) else { return Ok(None) };
        if self.listing.is_junk(key, error.kind())? {
            self.listing.junk.push(name);
            return Ok(None);
        }
        Ok(Some(error))
    }

    /// Finds out where a segment leads to.
    pub(super) fn explore(&mut self, top: &Arc<Segment>) -> Result<()> {
        if self.reach.contains_key(&top.reference.id) {
            return Ok(());
        }
        let mut stack = vec![Frame::new(top.clone())];
        while let Some(frame) = stack.last_mut() {
            if let Some(tried) = frame.trying.take()
                && let Some(reach) = self.reach.get(&tried.reference.id)
            {
                frame.consider(tried, reach);
            }
            match self.next(frame)? {
                Some(parent) => {
                    frame.trying = Some(parent.clone());
                    if !self.reach.contains_key(&parent.reference.id) {
                        stack.push(Frame::new(parent));
                    }
                }
                None => {
                    self.reach.insert(frame.segment.reference.id, frame.best.clone());
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    /// The next that may be a segment's parent; none if there is no need of one.
    fn next(&mut self, frame: &mut Frame) -> Result<Option<Arc<Segment>>> {
        let child = frame.segment.clone();
        let Some(parent) = child.manifest.parent.filter(|_| !frame.best.whole) else {
            return Ok(None);
        };
        loop {
            if let Some(found) = frame.ready.next() {
                match check_link(&found, &child) {
                    Ok(()) => return Ok(Some(found)),
                    Err(e) => {
                        self.misfits.entry(child.reference.id).or_insert(e);
                        continue;
                    }
                }
            }
            let found = self.listing.candidates(&child, parent, &mut frame.stage)?;
            if found.is_empty() {
                return Ok(None);
            }
            frame.ready = found.into_iter();
        }
    }

    /// The segments from one that was explored downwards, and whether they are a whole chain.
    pub(super) fn path(&self, top: &Arc<Segment>) -> (Vec<Arc<Segment>>, bool) {
        let whole = self.is_whole(top);
        let mut path = vec![top.clone()];
        let mut at = top;
        while let Some(next) = self.reach.get(&at.reference.id).and_then(|r| r.next.as_ref()) {
            path.push(next.clone());
            at = next;
        }
        (path, whole)
    }

    pub(super) fn is_whole(&self, segment: &Segment) -> bool {
        self.reach.get(&segment.reference.id).is_some_and(|reach| reach.whole)
    }

    /// Why nothing whole lies before a segment.
    pub(super) fn why(&mut self, end: &Segment) -> Error {
        let Some(parent) = end.manifest.parent else {
            return Error::damaged(end.name(), "begins the history and is no base");
        };
        if let Some(misfit) = self.misfits.remove(&end.reference.id) {
            return misfit;
        }
        // One that can't be read is likely the one: the nearest.
        let names = self.listing.history.names();
        let first = end.manifest.first;
        let before = |name: &&String| match (names.parse_segment(name), names.parse_merged(name)) {
            (Some(at), _) => Some((at.first, at.term.0)).filter(|_| at.first < first),
            (None, Some((_, last, _))) => Some((last, 0)).filter(|_| last < first),
            (None, None) => None,
        };
        // But one whose key is missing is no damage, and that may be the one.
        let names = self.listing.bad.keys().filter(|name| before(name).is_some());
        let keyless = |name: &&String| {
            self.listing.bad.get(*name).is_some_and(|e| e.kind() == ErrorKind::WrongKey)
        };
        let nearest = names.max_by_key(|name| (keyless(name), before(name)));
        let found = nearest.and_then(|name| self.listing.bad.get_key_value(name));
        match found {
            Some((name, e)) => {
                let why = Error::new(e.kind(), Problem::of(e).message).with_object(name.clone());
                match e.hint() {
                    Some(hint) => why.with_hint(hint),
                    None => why,
                }
            }
            None => Error::damaged(
                end.name(),
                format!("has a parent, segment {}, that is missing", parent.id),
            ),
        }
    }

    /// The chain of these segments, oldest first.
    pub(super) fn finish(self, segments: Vec<Arc<Segment>>) -> Chain {
        let on_chain: HashSet<&str> = segments.iter().map(|s| s.name()).collect();
        let junk: HashSet<&str> = self.listing.junk.iter().map(|name| &**name).collect();
        let stray = |name: &str| !on_chain.contains(name) && !junk.contains(name);
        let listed = &self.listing.entries;
        let strays = listed.iter().filter(|e| stray(&e.name)).cloned().collect();
        let (began, doubtful) = (self.listing.began, self.listing.is_doubtful());
        let entries = listed.iter().map(|e| (e.name.clone(), e.clone())).collect();
        let named = |name: &String, e: &Error| Problem { object: name.clone(), ..Problem::of(e) };
        // Where a key is missing, nothing is known to be wrong.
        let known = self.listing.bad.iter().filter(|(_, e)| e.kind() != ErrorKind::WrongKey);
        let unread = known.map(|(name, e)| named(name, e)).collect();
        let unreadable = self.listing.bad.into_keys().collect();
        Chain {
            segments,
            expired: self.listing.expired,
            strays,
            listed: began,
            doubtful,
            entries,
            unreadable,
            unread,
            junk: self.listing.junk,
            bad_expiries: self.listing.bad_expiries,
            ..Chain::default()
        }
    }

    pub(super) fn log_keys(&self) -> Vec<LogKey> {
        self.listing.log_newest_first()
    }

    pub(super) fn merged_keys(&self) -> Vec<MergedKey> {
        self.listing.merged_newest_first()
    }
}

fn damaged(history: &History, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Damaged => error.with_hint(hint(history.name())),
        _ => error,
    }
}

fn check_link(parent: &Segment, child: &Segment) -> Result<()> {
    let named = child.manifest.parent;
    let merged = parent.is_merged();
    let gap = merged || child.sparse;
    let problem = if named != Some(parent.reference) && named != parent.manifest.covers {
        "differs from what its child says of it"
    } else if !merged && !child.is_merged() && parent.manifest.term > child.manifest.term {
        // The term of a merged segment says who made it, and nothing of where it belongs.
        "has a higher term than its child"
    } else if parent.end >= child.manifest.first
        || (!gap && parent.end.next() != child.manifest.first)
    {
        "does not end where its child begins"
    } else if child.manifest.kind == SegmentKind::Delta
        && parent.manifest.page_size != child.manifest.page_size
    {
        "has another page size than its delta"
    } else {
        return Ok(());
    };
    Err(Error::damaged(parent.name(), problem))
}
