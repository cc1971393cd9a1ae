//! The chain of a history: its segments from the first to the newest, each checked against its parent.
//!
//! Invariants:
//! - The newest segment is the one with the highest term and in it the highest first commit. Whatever is not
//!   among its ancestors is garbage: a late write of a superseded writer, or what a merge replaced.
//! - A merged segment stands in for its last covered segment, and all before it that it covers. Of several the one that
//!   reaches back farthest counts, and then the newest, so everybody who lists the same objects walks the same chain. If
//!   it can't be read, or names a parent that is not there, what it covers still counts while it is there.
//! - A segment is on the chain only if its seal opened under its own name, its child names its digest, terms do
//!   not go down, and commits follow without a gap. A chain that is broken anywhere is an error that names the
//!   object, never a shorter chain.
//! - A commit is a restore point if a segment on the chain has it, does not merely carry it, and no expiry lists it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::segment::{CommitRecord, SegmentKind, SegmentRef};
use crate::repo::expired::Expired;
use crate::repo::history::History;
use crate::store::Entry;
use crate::types::{SegmentId, Seq, Term, Timestamp};

pub use super::segment::Segment;

/// How often to begin anew when a merge deletes what was listed.
const ATTEMPTS: usize = 10;

/// A commit, and the segment that holds it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its sequence number.
    pub seq: Seq,
    /// What its segment says of it.
    pub record: CommitRecord,
    /// Its segment.
    pub segment: Arc<Segment>,
}

/// The segments of a history, oldest first, and which of their commits expired.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    segments: Vec<Arc<Segment>>,
    expired: Expired,
    /// Segments that were listed and are not on the chain.
    strays: Vec<Entry>,
    /// When it was listed, by this machine's clock.
    listed: Timestamp,
    /// When each listed segment object was created.
    modified: HashMap<String, Timestamp>,
    /// Names of segments that can't be read; none of them is needed.
    unreadable: Vec<String>,
}

impl Chain {
    /// Lists the segments and walks from the newest to the first, reading those on the way.
    pub(crate) fn load(history: &History) -> Result<Self> {
        let mut damage: Option<Error> = None;
        let mut doubted: Option<Option<LogName>> = None;
        for _ in 1..ATTEMPTS {
            let walk = Walk::list(history)?;
            let (newest, doubtful) = (walk.newest(), walk.is_doubtful());
            // A listing is no moment. It may show what was published while it went on, and leave out what was
            // published before that; and of a segment that followed another one, which was merged and deleted,
            // it may show neither. The next one shows both.
            match walk.walk() {
                Ok(Some(_)) if doubtful && doubted != Some(newest) => doubted = Some(newest),
                Ok(Some(chain)) => return Ok(chain),
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::Damaged => {
                    if damage.is_some_and(|before| same(&before, &e)) {
                        return Err(e);
                    }
                    damage = Some(e);
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(ErrorKind::Busy, "its segments are replaced faster than they can be read")
            .with_object(format!("history {:?}", history.name())))
    }

    /// The chain that ends in a segment of the log, if that is there and the chain reads.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn ending_in(
        history: &History,
        at: LogName,
        segment: SegmentRef,
    ) -> Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            let mut walk = Walk::list(history)?;
            if !walk.log.contains_key(&(at.first, at.term)) {
                return Ok(None);
            }
            let newest = walk.log((at.first, at.term))?;
            match &newest {
                Found::Segment(found) if found.reference == segment => {}
                Found::Segment(_) => return Ok(None),
                Found::Nothing if walk.gone => continue,
                Found::Nothing => return Ok(None),
            }
            match walk.walk_from(newest) {
                Ok(Some(chain)) => return Ok(Some(chain)),
                Ok(None) => {}
                Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// How many segments are not on the chain.
    pub fn strays(&self) -> usize {
        self.strays.len()
    }

    /// The segment objects that are not on the chain.
    pub(crate) fn off_chain(&self) -> &[Entry] {
        &self.strays
    }

    /// Segments off the chain that can't be read.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// When the segments were listed, by this machine's clock.
    pub(crate) fn listed(&self) -> Timestamp {
        self.listed
    }

    /// When a segment's object was created.
    pub(crate) fn modified(&self, name: &str) -> Option<Timestamp> {
        self.modified.get(name).copied()
    }

    /// The commits that expired.
    pub(crate) fn expired(&self) -> &Expired {
        &self.expired
    }

    /// The same segments, of whose commits some more expired.
    pub(crate) fn without(&self, seqs: impl Iterator<Item = Seq>) -> Self {
        Self { expired: self.expired.with(seqs), ..self.clone() }
    }

    /// The same segments, some of whose commits did not expire after all.
    pub(crate) fn allowing(&self, seqs: &BTreeSet<Seq>) -> Self {
        Self { expired: self.expired.allowing(seqs), ..self.clone() }
    }

    /// The same segments, of whose commits only those expired that did so elsewhere, too.
    pub(crate) fn agreeing(&self, expired: &Expired) -> Self {
        Self { expired: self.expired.agreeing(expired), ..self.clone() }
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<&Arc<Segment>> {
        self.segments.last()
    }

    /// All restore points, oldest first.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = Commit> + '_ {
        self.states().filter(|commit| !self.expired.contains(commit.seq))
    }

    /// All commits that the segments still have, restore points or not.
    pub(crate) fn states(&self) -> impl DoubleEndedIterator<Item = Commit> + '_ {
        self.segments.iter().flat_map(|segment| {
            let commit = |record: &CommitRecord| Commit {
                seq: record.seq,
                record: *record,
                segment: segment.clone(),
            };
            segment.manifest.states().iter().map(commit)
        })
    }

    /// The newest commit.
    pub fn latest(&self) -> Option<Commit> {
        self.commits().next_back()
    }

    /// The restore point with that number.
    pub fn commit(&self, seq: Seq) -> Option<Commit> {
        let at = self.segments.partition_point(|s| s.end < seq);
        let segment = self.segments.get(at)?;
        let record = *segment.manifest.commit(seq)?;
        (!self.expired.contains(seq)).then(|| Commit { seq, record, segment: segment.clone() })
    }

    /// Whether all segments of an earlier chain are on this one still.
    pub(crate) fn extends(&self, then: &Self) -> bool {
        let names = |chain: &Self| -> Vec<String> {
            chain.segments.iter().map(|s| s.name().to_owned()).collect()
        };
        names(self).starts_with(&names(then))
    }

    /// The segments that a commit's pages are in: from the nearest base up to the commit's own.
    pub(crate) fn lineage(&self, seq: Seq) -> &[Arc<Segment>] {
        let end = self.segments.partition_point(|s| s.manifest.first <= seq);
        let upto = self.segments.get(..end).unwrap_or_default();
        let base = upto.iter().rposition(|s| s.manifest.kind == SegmentKind::Base).unwrap_or(0);
        upto.get(base..).unwrap_or_default()
    }
}

/// The longest chain that is whole, and what stands in its way.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The chain; empty if not even a base is left.
    pub(crate) chain: Chain,
    /// Segments of the log behind its end, which lead to it no more: the newest first.
    pub(crate) cut_off: Vec<Entry>,
    /// What broke the chains that end in those.
    pub(crate) breaks: Vec<Error>,
}

/// Finds the newest segment whose chain is whole, if need be behind the end of a broken one; as if some merged segments were
/// not there.
///
/// # Errors
/// Store errors.
pub(crate) fn survey(history: &History, without: &HashSet<SegmentId>) -> Result<Survey> {
    let list = || -> Result<Walk<'_>> {
        let mut walk = Walk::list(history)?;
        walk.merged.retain(|(_, _, id), _| !without.contains(id));
        Ok(walk)
    };
    let mut survey = Survey::default();
    let mut log: Vec<(Seq, Term)> = list()?.log.into_keys().collect();
    log.sort_by_key(|(first, term)| std::cmp::Reverse((*term, *first)));
    for at in log {
        let mut walk = list()?;
        let Some(entry) = walk.log.get(&at).cloned() else { continue };
        let newest = walk.log(at)?;
        match walk.walk_from(newest) {
            Ok(Some(chain)) => {
                survey.chain = chain;
                return Ok(survey);
            }
            Ok(None) => {
                return Err(Error::new(ErrorKind::Busy, "is being pruned")
                    .with_object(format!("history {:?}", history.name())));
            }
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                survey.cut_off.push(entry);
                survey.breaks.push(e);
            }
            Err(e) => return Err(e),
        }
    }
    // Nothing of the log is left: what was merged before may be.
    let mut walk = list()?;
    let merged: Vec<MergedKey> = walk.merged.keys().rev().copied().collect();
    for at in merged {
        let newest = walk.merged(at)?;
        match walk.walk_from(newest) {
            Ok(Some(chain)) => {
                survey.chain = chain;
                return Ok(survey);
            }
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::Damaged => survey.breaks.push(e),
            Err(e) => return Err(e),
        }
        walk = list()?;
    }
    Ok(survey)
}

/// Does something with a chain. When it finds damage and a merge has replaced segments meanwhile, it begins anew with the
/// chain as it is now: an object that went away is no damage then.
///
/// # Errors
/// Those of the work; store errors.
pub(crate) fn settled<T>(
    history: &History,
    chain: &Chain,
    mut work: impl FnMut(&Chain) -> Result<T>,
) -> Result<T> {
    let mut fresh: Option<Chain> = None;
    for _ in 0..ATTEMPTS {
        let chain = fresh.as_ref().unwrap_or(chain);
        let error = match work(chain) {
            Err(e) if e.kind() == ErrorKind::Damaged => e,
            done => return done,
        };
        let now = history.chain()?;
        if now.extends(chain) {
            return Err(error);
        }
        fresh = Some(now);
    }
    work(fresh.as_ref().unwrap_or(chain))
}

/// What became of an attempt to read a segment.
#[derive(Clone)]
enum Found {
    Segment(Arc<Segment>),
    /// It can't be read, or is gone since it was listed.
    Nothing,
}

/// Where a merged segment is found: what ends first comes first, and of those what reaches back farthest.
type MergedKey = (Seq, Seq, SegmentId);

/// A walk under way: what was listed, and what was read of it.
struct Walk<'h> {
    history: &'h History,
    /// By first seq, and then by term.
    log: BTreeMap<(Seq, Term), Entry>,
    merged: BTreeMap<MergedKey, Entry>,
    expired: Expired,
    listed: Timestamp,
    read: HashMap<String, Found>,
    /// What can't be read. It may be a stray: it is an error only if the walk needs it.
    bad: BTreeMap<String, Error>,
    /// Whether something was gone: a merge replaced it meanwhile.
    gone: bool,
}

impl<'h> Walk<'h> {
    fn list(history: &'h History) -> Result<Self> {
        let (store, names) = (history.repository().store(), history.names());
        let listed = Timestamp::now();
        let mut log = BTreeMap::new();
        let mut merged = BTreeMap::new();
        // The log first: what a merge deletes from it after that is in the list of merged segments.
        for entry in store.list(&names.log())? {
            if let Some(at) = names.parse_segment(&entry.name) {
                log.insert((at.first, at.term), entry);
            }
        }
        for entry in store.list(&names.merged())? {
            if let Some((first, last, id)) = names.parse_merged(&entry.name) {
                merged.insert((last, first, id), entry);
            }
        }
        let expired = Expired::load(history)?;
        let gone = expired.is_none();
        let expired = expired.unwrap_or_default();
        let (read, bad) = (HashMap::new(), BTreeMap::new());
        Ok(Self { history, log, merged, expired, listed, read, bad, gone })
    }

    /// The newest segment of the log.
    fn newest(&self) -> Option<LogName> {
        self.log.keys().map(|(first, term)| LogName { term: *term, first: *first }).max()
    }

    /// Whether something was merged that is newer than all of the log. The newest segment is never merged, so the one
    /// that followed is missing; unless what was merged is on no chain any more.
    fn is_doubtful(&self) -> bool {
        let merged = self.merged.keys().next_back().map(|(last, ..)| *last);
        merged.is_some_and(|last| self.newest().is_none_or(|newest| newest.first <= last))
    }

    /// The chain; `None` if it has to be listed again.
    fn walk(mut self) -> Result<Option<Chain>> {
        match (self.newest(), self.merged.keys().next_back().copied()) {
            (Some(LogName { term, first }), _) => {
                let newest = self.log((first, term))?;
                self.walk_from(newest)
            }
            (None, Some(at)) => {
                let newest = self.merged(at)?;
                self.walk_from(newest)
            }
            (None, None) => Ok((!self.gone).then(Chain::default)),
        }
    }

    /// The chain that ends in a segment.
    fn walk_from(mut self, newest: Found) -> Result<Option<Chain>> {
        let mut segments = Vec::new();
        let mut next = match newest {
            Found::Segment(segment) => Some(segment),
            Found::Nothing => None,
        };
        while let Some(segment) = next.take() {
            if let Some(parent) = segment.manifest.parent {
                next = self.parent(&segment, parent)?;
                match &next {
                    Some(found) => check_link(found, &segment)?,
                    None if self.gone => return Ok(None),
                    None => return Err(self.missing(&segment, parent)),
                }
            }
            segments.push(segment);
        }
        if self.gone {
            return Ok(None);
        }
        segments.reverse();
        match segments.first() {
            None => Err(self.bad.pop_first().map_or_else(
                || Error::new(ErrorKind::Failure, "no segment could be read"),
                |(_, e)| e,
            )),
            Some(first) if first.manifest.kind != SegmentKind::Base => {
                Err(Error::damaged(first.name(), "begins the history and is no base"))
            }
            Some(_) => Ok(Some(self.finish(segments))),
        }
    }

    fn finish(self, segments: Vec<Arc<Segment>>) -> Chain {
        let on_chain: HashSet<&str> = segments.iter().map(|s| s.name()).collect();
        let listed = || self.log.values().chain(self.merged.values());
        let strays = listed().filter(|e| !on_chain.contains(&*e.name)).cloned().collect();
        let modified = listed().map(|e| (e.name.clone(), e.modified)).collect();
        let unreadable = self.bad.into_keys().collect();
        let (expired, listed) = (self.expired, self.listed);
        Chain { segments, expired, strays, listed, modified, unreadable }
    }

    fn log(&mut self, (first, term): (Seq, Term)) -> Result<Found> {
        let (history, at) = (self.history, LogName { term, first });
        self.read(history.names().segment(at), || Segment::read_log(history, at))
    }

    fn merged(&mut self, (last, first, id): MergedKey) -> Result<Found> {
        let history = self.history;
        let name = history.names().merged_segment(first, last, id);
        self.read(name, || Segment::read_merged(history, (first, last, id)))
    }

    /// Reads a segment once.
    fn read(
        &mut self,
        name: String,
        read: impl FnOnce() -> Result<Option<Segment>>,
    ) -> Result<Found> {
        if let Some(found) = self.read.get(&name) {
            return Ok(found.clone());
        }
        let found = match read() {
            Ok(Some(segment)) => Found::Segment(Arc::new(segment)),
            Ok(None) => {
                self.gone = true;
                Found::Nothing
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::Damaged | ErrorKind::TooNew | ErrorKind::WrongKey
                ) =>
            {
                self.bad.insert(name.clone(), e);
                Found::Nothing
            }
            Err(e) => return Err(e),
        };
        self.read.insert(name, found.clone());
        Ok(found)
    }

    /// The segment that stands where a child says: a merged one that covers it, or itself. One that was published long after
    /// it was made may lead to what others replaced meanwhile: then the next one counts.
    fn parent(&mut self, child: &Segment, parent: SegmentRef) -> Result<Option<Arc<Segment>>> {
        let mut first = None;
        let mut from = Seq(0);
        while let Some(found) = self.near(child, parent, from)? {
            if self.leads_on(&found)? {
                return Ok(Some(found));
            }
            from = found.manifest.first.next();
            first = first.or(Some(found));
        }
        for far in [false, true] {
            let found = if far { self.far(child, parent)? } else { self.itself(child, parent)? };
            let Some(found) = found else { continue };
            if self.leads_on(&found)? {
                return Ok(Some(found));
            }
            first = first.or(Some(found));
        }
        Ok(first)
    }

    /// Whether a segment is the first, or there is anything that may be its parent.
    fn leads_on(&mut self, segment: &Segment) -> Result<bool> {
        let Some(parent) = segment.manifest.parent else { return Ok(true) };
        Ok(self.near(segment, parent, Seq(0))?.is_some()
            || self.itself(segment, parent)?.is_some()
            || self.far(segment, parent)?.is_some())
    }

    /// A merged segment that ends just before the child: what reaches back farthest of those that begin with `from` or later.
    fn near(
        &mut self,
        child: &Segment,
        parent: SegmentRef,
        from: Seq,
    ) -> Result<Option<Arc<Segment>>> {
        let near = Seq(child.manifest.first.0.saturating_sub(1));
        let mut from = (near, from, SegmentId::default());
        let mut found: Option<Arc<Segment>> = None;
        while let Some(at) = self.merged.range(from..).next().map(|(at, _)| *at)
            && at.0 == near
            && found.as_ref().is_none_or(|s| s.manifest.first == at.1)
        {
            // One that was rewritten has the same name but for the id: the newer one counts.
            let newer = |s: &Arc<Segment>| {
                found.as_ref().is_none_or(|other| other.manifest.term < s.manifest.term)
            };
            found = fitting(self.merged(at)?, parent).filter(newer).or(found);
            from = (at.0, at.1, after(at.2));
        }
        Ok(found)
    }

    /// The segment that the child names.
    fn itself(&mut self, child: &Segment, parent: SegmentRef) -> Result<Option<Arc<Segment>>> {
        let mut upto = (child.manifest.first, Term(0));
        while let Some(at) = self.log.range(..upto).next_back().map(|(at, _)| *at) {
            if let Some(segment) = fitting(self.log(at)?, parent) {
                return Ok(Some(segment));
            }
            upto = at;
        }
        Ok(None)
    }

    /// A merged segment with a gap behind it: whoever made a sparse segment may have left one in front of that.
    fn far(&mut self, child: &Segment, parent: SegmentRef) -> Result<Option<Arc<Segment>>> {
        let near = Seq(child.manifest.first.0.saturating_sub(1));
        let mut upto = (near, Seq(0), SegmentId::default());
        while let Some(at) = self.merged.range(..upto).next_back().map(|(at, _)| *at) {
            if let Some(segment) = fitting(self.merged(at)?, parent) {
                return Ok(Some(segment));
            }
            upto = at;
        }
        Ok(None)
    }

    fn missing(&mut self, child: &Segment, parent: SegmentRef) -> Error {
        // One of those that can't be read is likely the one.
        let bad = self.bad.pop_first().map(|(_, e)| e);
        bad.unwrap_or_else(|| {
            Error::damaged(
                child.name(),
                format!("has a parent, segment {}, that is missing", parent.id),
            )
        })
    }
}

/// What was found, if it is what a child names.
fn fitting(found: Found, parent: SegmentRef) -> Option<Arc<Segment>> {
    match found {
        Found::Segment(s) if s.as_parent() == parent || s.reference.id == parent.id => Some(s),
        _ => None,
    }
}

/// The next id.
fn after(id: SegmentId) -> SegmentId {
    SegmentId(u128::from_be_bytes(id.0).saturating_add(1).to_be_bytes())
}

/// Whether two errors say the same of the same object.
fn same(one: &Error, other: &Error) -> bool {
    one.object() == other.object() && one.message() == other.message()
}

fn check_link(parent: &Segment, child: &Segment) -> Result<()> {
    let named = child.manifest.parent;
    let merged = parent.is_merged();
    let gap = merged || child.sparse;
    let problem = if named != Some(parent.reference) && named != parent.manifest.covers {
        "differs from what its child says of it"
    } else if !merged && !child.is_merged() && parent.manifest.term > child.manifest.term {
        // Of a merged segment the term says who made it, and nothing else.
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
