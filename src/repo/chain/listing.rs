//! What was listed of a history's segments, and what was read of them: each object once.
//!
//! Names are input like any other. An object that can't be opened is forgotten after it was read,
//! so whatever lies there costs one attempt to read it, and nothing is ever counted up to a number
//! that a name tells.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::finding::Problem;
use super::segment::Segment;
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::segment::SegmentRef;
use crate::repo::history::expired::Expired;
use crate::repo::history::handle::History;
use crate::repo::local::rollback_guard;
use crate::repo::write::claims::Claims;
use crate::store::Entry;
use crate::types::{SegmentId, Seq, Term, Timestamp};

/// Where a merged segment is found: by last seq, and then by first seq and id.
pub(super) type MergedKey = (Seq, Seq, SegmentId);
/// Where a segment of the log is found.
pub(super) type LogKey = (Seq, Term);

/// How far the search for a segment's parent went.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Merged segments that end right before the child, from those with this first seq on.
    Near(Seq),
    /// The very segment that the child names.
    Itself,
    /// Merged segments that end earlier, with this last seq: those from this first seq on.
    Far(Seq, Seq),
    Done,
}

pub(super) struct Listing<'h> {
    pub(super) history: &'h History,
    /// When, by this machine's clock.
    pub(super) began: Timestamp,
    /// All that was listed.
    pub(super) entries: Vec<Entry>,
    log: BTreeSet<LogKey>,
    merged: BTreeSet<MergedKey>,
    unread: BTreeSet<LogKey>,
    by_id: HashMap<SegmentId, Arc<Segment>>,
    named: HashMap<SegmentId, Vec<MergedKey>>,
    read_log: HashMap<LogKey, Arc<Segment>>,
    read_merged: HashMap<MergedKey, Arc<Segment>>,
    pub(super) expired: Expired,
    pub(super) bad_expiries: Vec<Problem>,
    /// What can't be read. It may be a stray: it matters only if the walk needs it.
    pub(super) bad: BTreeMap<String, Error>,
    pub(super) junk: Vec<String>,
    /// Whether something was gone: a merge replaced it meanwhile.
    pub(super) gone: bool,
    /// The highest term that somebody claimed, once it was looked for; `None` within if nothing
    /// tells.
    claimed: Option<Option<Term>>,
}

impl<'h> Listing<'h> {
    /// Lists what there is; with `tolerant`, without expiries that can't be read.
    pub(super) fn new(
        history: &'h History,
        tolerant: bool,
        without: &HashSet<SegmentId>,
    ) -> Result<Self> {
        let (store, names) = (history.repository().store(), history.names());
        let began = history.repository().now();
        let (mut log, mut merged) = (BTreeSet::new(), BTreeSet::new());
        let mut named: HashMap<SegmentId, Vec<MergedKey>> = HashMap::new();
        // The log first: what a merge deletes from it after that is in the list of merged segments.
        let mut entries = store.list(&names.log())?;
        for at in entries.iter().filter_map(|e| names.parse_segment(&e.name)) {
            log.insert((at.first, at.term));
        }
        let of_merges = store.list(&names.merged())?;
        for (first, last, id) in of_merges.iter().filter_map(|e| names.parse_merged(&e.name)) {
            if first <= last && !without.contains(&id) {
                merged.insert((last, first, id));
                named.entry(id).or_default().push((last, first, id));
            }
        }
        entries.extend(of_merges);
        let is_one = |e: &Entry| {
            names.parse_segment(&e.name).is_some() || names.parse_merged(&e.name).is_some()
        };
        entries.retain(is_one);
        let mut bad_expiries = Vec::new();
        let expired = if tolerant {
            let (expired, bad) = Expired::load_readable(history)?;
            bad_expiries = bad.iter().map(Problem::of).collect();
            expired
        } else {
            Expired::load(history)?
        };
        let gone = expired.is_none();
        Ok(Self {
            history,
            began,
            entries,
            unread: log.clone(),
            log,
            merged,
            named,
            by_id: HashMap::new(),
            read_log: HashMap::new(),
            read_merged: HashMap::new(),
            expired: expired.unwrap_or_default(),
            bad_expiries,
            bad: BTreeMap::new(),
            junk: Vec::new(),
            gone,
            claimed: None,
        })
    }

    /// Whether something was merged that is newer than all of the log.
    pub(super) fn is_doubtful(&self) -> bool {
        let newest = self.log.iter().map(|(first, term)| (*term, *first)).max();
        let merged = self.merged.last().map(|(last, ..)| *last);
        merged.is_some_and(|last| newest.is_none_or(|(_, first)| first <= last))
    }

    /// The segments of the log, by term and then by first commit, the newest first.
    pub(super) fn log_newest_first(&self) -> Vec<LogKey> {
        let mut keys: Vec<LogKey> = self.log.iter().copied().collect();
        keys.sort_by_key(|(first, term)| std::cmp::Reverse((*term, *first)));
        keys
    }

    /// The merged segments, by last commit, first commit and id, the last first.
    pub(super) fn merged_newest_first(&self) -> Vec<MergedKey> {
        self.merged.iter().rev().copied().collect()
    }

    pub(super) fn log_name(&self, (first, term): LogKey) -> String {
        self.history.names().segment(LogName { term, first })
    }

    pub(super) fn merged_name(&self, (last, first, id): MergedKey) -> String {
        self.history.names().merged_segment(first, last, id)
    }

    /// A segment of the log, if it can be read.
    pub(super) fn log(&mut self, key: LogKey) -> Result<Option<Arc<Segment>>> {
        if !self.unread.remove(&key) {
            return Ok(self.read_log.get(&key).cloned());
        }
        let (first, term) = key;
        let read = Segment::read_log(self.history, LogName { term, first });
        let found = self.keep(self.log_name(key), read)?;
        match &found {
            Some(segment) => {
                self.read_log.insert(key, segment.clone());
            }
            None => {
                self.log.remove(&key);
            }
        }
        Ok(found)
    }

    /// A merged segment, if it can be read.
    pub(super) fn merged(&mut self, key: MergedKey) -> Result<Option<Arc<Segment>>> {
        if let Some(segment) = self.read_merged.get(&key) {
            return Ok(Some(segment.clone()));
        }
        if !self.merged.contains(&key) {
            return Ok(None);
        }
        let (last, first, id) = key;
        let read = Segment::read_merged(self.history, (first, last, id));
        let found = self.keep(self.merged_name(key), read)?;
        match &found {
            Some(segment) => {
                self.read_merged.insert(key, segment.clone());
            }
            None => {
                self.merged.remove(&key);
            }
        }
        Ok(found)
    }

    fn keep(
        &mut self,
        name: String,
        read: Result<Option<Segment>>,
    ) -> Result<Option<Arc<Segment>>> {
        match read {
            Ok(Some(segment)) => {
                let segment = Arc::new(segment);
                self.by_id.insert(segment.reference.id, segment.clone());
                Ok(Some(segment))
            }
            Ok(None) => {
                self.gone = true;
                Ok(None)
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::Damaged | ErrorKind::TooNew | ErrorKind::WrongKey
                ) =>
            {
                self.bad.insert(name, e);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Whether an object of the log that can't be opened is none: its term is above every one that
    /// somebody claimed. Real segments' terms never are, since the claim of the newest one is not
    /// deleted. If nothing tells which terms were claimed, nothing is junk: to pass over the newest
    /// segments without a word would set the history back.
    pub(super) fn is_junk(&mut self, (_, term): LogKey, error: ErrorKind) -> Result<bool> {
        if error != ErrorKind::Damaged {
            return Ok(false);
        }
        let claimed = match self.claimed {
            Some(claimed) => claimed,
            None => {
                let claims = Claims::list(self.history)?;
                let behind = claims.listed.last().map(|(term, _)| *term);
                let authentic = claims.authentic.map(|term| behind.unwrap_or(term).max(term));
                let seen = rollback_guard::read(self.history).map(|seen| seen.term());
                let claimed = authentic.map(|term| seen.unwrap_or(term).max(term));
                self.claimed = Some(claimed);
                claimed
            }
        };
        Ok(claimed.is_some_and(|claimed| term > claimed))
    }

    /// Whether a claim could be read when one was asked for.
    pub(super) fn knows_claims(&self) -> bool {
        self.claimed.flatten().is_some()
    }

    /// What may be the parent of a child that names it, from a stage on, in the order in which they
    /// count: the next ones, or none if there are no more.
    pub(super) fn candidates(
        &mut self,
        child: &Segment,
        parent: SegmentRef,
        stage: &mut Stage,
    ) -> Result<Vec<Arc<Segment>>> {
        let near = Seq(child.manifest.first.0.saturating_sub(1));
        // Before a sparse child there may be numbers that nothing has, and what ends before those
        // stands for its parent as well.
        let (behind_itself, behind_far) = match child.sparse {
            true => (Stage::Done, Stage::Itself),
            false => (self.next_below(near, Stage::Done), Stage::Done),
        };
        let behind_near = match child.sparse {
            true => self.next_below(near, behind_far),
            false => Stage::Itself,
        };
        loop {
            let found = match *stage {
                Stage::Near(from) => match self.next_first(near, from) {
                    Some(first) => {
                        *stage = if first < near { Stage::Near(first.next()) } else { behind_near };
                        self.ending(near, first, parent)?
                    }
                    None => {
                        *stage = behind_near;
                        continue;
                    }
                },
                Stage::Itself => {
                    *stage = behind_itself;
                    self.itself(child, parent)?.into_iter().collect()
                }
                Stage::Far(last, from) => {
                    let behind = self.next_below(last, behind_far);
                    match self.next_first(last, from) {
                        Some(first) => {
                            *stage =
                                if first < last { Stage::Far(last, first.next()) } else { behind };
                            self.ending(last, first, parent)?
                        }
                        None => {
                            *stage = behind;
                            continue;
                        }
                    }
                }
                Stage::Done => return Ok(Vec::new()),
            };
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// The first seq of the next merged segments with this last one, from the lowest on.
    fn next_first(&self, last: Seq, from: Seq) -> Option<Seq> {
        let next = self.merged.range((last, from, SegmentId::default())..).next();
        next.filter(|(other, ..)| *other == last).map(|(_, first, _)| *first)
    }

    /// Where merged segments are that end before a seq; another stage if there are none.
    fn next_below(&self, last: Seq, none: Stage) -> Stage {
        let below = self.merged.range(..(last, Seq(0), SegmentId::default())).next_back();
        below.map_or(none, |(last, ..)| Stage::Far(*last, Seq(0)))
    }

    /// Merged segments with these ends, the newest first.
    fn ending(&mut self, last: Seq, first: Seq, parent: SegmentRef) -> Result<Vec<Arc<Segment>>> {
        let range = (last, first, SegmentId::default())..=(last, first, SegmentId([0xff; 16]));
        let keys: Vec<MergedKey> = self.merged.range(range).copied().collect();
        let mut found = Vec::new();
        for key in keys {
            found.extend(self.merged(key)?.filter(|s| stands_for(s, parent)));
        }
        // One that was rewritten has the same name but for the id: the newer one counts.
        found.sort_by_key(|s| std::cmp::Reverse(s.manifest.term));
        Ok(found)
    }

    /// The segment that a child names.
    fn itself(&mut self, child: &Segment, parent: SegmentRef) -> Result<Option<Arc<Segment>>> {
        for key in self.named.get(&parent.id).cloned().unwrap_or_default() {
            if let Some(segment) = self.merged(key)? {
                return Ok(Some(segment));
            }
        }
        if let Some(segment) = self.by_id.get(&parent.id) {
            return Ok(Some(segment.clone()));
        }
        let mut upto = (child.manifest.first, Term(0));
        while let Some(key) = self.unread.range(..upto).next_back().copied() {
            if let Some(segment) = self.log(key)?.filter(|s| s.reference.id == parent.id) {
                return Ok(Some(segment));
            }
            upto = key;
        }
        Ok(None)
    }
}

/// Whether a merged segment is what a child names.
fn stands_for(segment: &Segment, parent: SegmentRef) -> bool {
    segment.as_parent() == parent || segment.reference.id == parent.id
}
