//! The chain of a history: its segments from the first to the newest, each checked against its parent.
//!
//! Invariants:
//! - The newest segment is the one with the highest term and in it the highest first commit. Whatever is not
//!   among its ancestors is garbage: a late write of a superseded writer, or what a merge replaced.
//! - A merged segment stands in for its last covered segment, and all before it that it covers. Of several the one that
//!   reaches back farthest counts, and then the newest, so everybody who lists the same objects walks the same chain. One that
//!   can't be read, does not fit, or leads to no whole chain is passed over: what it covers counts while it is there (`walk`).
//! - A segment is on the chain only if its seal opened under its own name, its child names its digest, terms do
//!   not go down within the log, and commits follow without a gap.
//! - Whoever writes, prunes, merges or copies takes a whole chain or an error that names the object ([`History::chain`]). Whoever
//!   only reads may have a chain with holes, which says where they are ([`History::readable_chain`], `tolerant`).
//! - Names are untrusted: what nobody can have published is passed over, in bounded time and memory (`listing`).
//! - A commit is a restore point if a segment on the chain has it, does not merely carry it, and no expiry lists it.

mod listing;
mod tolerant;
mod walk;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::segment::{CommitRecord, SegmentKind, SegmentRef};
use crate::repo::expired::Expired;
use crate::repo::history::History;
use crate::store::Entry;
use crate::types::{SegmentId, Seq, Timestamp};

pub use super::segment::Segment;
pub use tolerant::{Hole, Problem};
pub(crate) use tolerant::{bridge, without_pages};

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
    /// Whether something was merged that is newer than all of the log. The newest segment is never merged, so the one
    /// that followed may be missing; unless what was merged is on no chain any more.
    doubtful: bool,
    /// The segment objects that were listed, by name.
    entries: HashMap<String, Entry>,
    /// Names of segments that can't be read; none of them is needed.
    unreadable: Vec<String>,
    /// What is wrong with those.
    unread: Vec<Problem>,
    /// Names in the log that nobody can have published.
    junk: Vec<String>,
    /// Where segments are missing; ascending. Only a tolerant chain has any.
    holes: Vec<Hole>,
    /// Whether it was read the tolerant way.
    tolerant: bool,
    /// Expiries that can't be read. Only a tolerant chain does without.
    bad_expiries: Vec<Problem>,
}

impl Chain {
    /// Lists the segments and walks from the newest to the first, reading those on the way.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, when no whole chain ends in the newest segment; store errors.
    pub(crate) fn load(history: &History) -> Result<Self> {
        attempt(history, || walk::Walk::list(history)?.whole())
    }

    /// As [`Chain::load`], but around what is missing or can't be read; as if some merged segments were not there.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::WrongKey`] when the keys were rotated meanwhile.
    pub(crate) fn load_readable(history: &History, without: &HashSet<SegmentId>) -> Result<Self> {
        attempt(history, || walk::Walk::list_readable(history, without)?.readable())
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
            match walk::Walk::list_readable(history, &HashSet::new())?
                .ending_in((at.first, at.term), segment)
            {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
        Err(replaced_too_fast(history, "read"))
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

    /// What is wrong with segments off the chain that can't be read.
    pub fn unread(&self) -> &[Problem] {
        &self.unread
    }

    /// Objects among the segments of the log that nobody can have published: they are passed over.
    pub fn junk(&self) -> &[String] {
        &self.junk
    }

    /// Where segments are missing or can't be read, oldest first. A chain that was not read the tolerant way has none.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Expiries that a tolerant chain was read without: commits that expired may show again.
    pub fn bad_expiries(&self) -> &[Problem] {
        &self.bad_expiries
    }

    /// Whether it was read the tolerant way.
    pub(crate) fn is_tolerant(&self) -> bool {
        self.tolerant
    }

    /// The segments that are there: all but those that only stand in for a hole.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter().filter(|s| !s.is_bridge())
    }

    /// The hole that a commit's pages may have been in: its lineage begins right above it.
    pub fn hole_below(&self, seq: Seq) -> Option<&Hole> {
        let first = self.lineage(seq).first().filter(|s| s.is_bridge())?;
        self.holes.iter().find(|hole| hole.above == Some(first.end.next()))
    }

    /// When the segments were listed, by this machine's clock.
    pub(crate) fn listed(&self) -> Timestamp {
        self.listed
    }

    /// What was listed of a segment's object.
    pub(crate) fn listed_as(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The commits that expired.
    pub(crate) fn expired(&self) -> &Expired {
        &self.expired
    }

    /// Whether an expiry lists a number.
    pub fn has_expired(&self, seq: Seq) -> bool {
        self.expired.contains(seq)
    }

    /// The same segments, of whose commits some more expired.
    pub(crate) fn without(&self, seqs: impl Iterator<Item = Seq>) -> Self {
        Self { expired: self.expired.with(seqs), ..self.clone() }
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

/// Lists anew until nothing was replaced while it was read.
fn attempt(history: &History, mut once: impl FnMut() -> Result<Option<Chain>>) -> Result<Chain> {
    // A listing is no moment. It may show what was published while it went on, and leave out what was published
    // before that; and of a segment that followed another one, which was merged and deleted, it may show neither.
    // The next one shows both: what looks wrong counts only if it looks the same twice.
    let mut damage: Option<Error> = None;
    let mut doubted: Option<(Option<String>, Vec<Hole>)> = None;
    for _ in 1..ATTEMPTS {
        match once() {
            Ok(Some(chain)) if !chain.doubtful && chain.holes.is_empty() => return Ok(chain),
            Ok(Some(chain)) => {
                let looks = (chain.newest().map(|s| s.name().to_owned()), chain.holes.clone());
                if doubted.as_ref() == Some(&looks) {
                    return Ok(chain);
                }
                doubted = Some(looks);
            }
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::Damaged => {
                let same = |before: &Error| {
                    (before.object(), before.message()) == (e.object(), e.message())
                };
                if damage.as_ref().is_some_and(same) {
                    return Err(e);
                }
                damage = Some(e);
            }
            Err(e) => return Err(e),
        }
    }
    Err(replaced_too_fast(history, "read"))
}

/// Merges replace segments faster than something can be done with them.
pub(crate) fn replaced_too_fast(history: &History, done: &str) -> Error {
    let what = format!("its segments are replaced faster than they can be {done}");
    Error::new(ErrorKind::Busy, what)
        .with_object(format!("history {:?}", history.name()))
        .with_hint("run it again when no prune is at work")
}

/// Looks at a chain until nothing of it was replaced meanwhile: an object that a merge replaced is not missing. `look` answers what it found, and
/// whether that can't be due to a merge. Answers the chain that was looked at, too.
///
/// # Errors
/// [`ErrorKind::Busy`] when segments are replaced all the time; those of both.
pub(crate) fn until_still<T>(
    history: &History,
    load: impl Fn() -> Result<Chain>,
    mut look: impl FnMut(&Chain) -> Result<(T, bool)>,
) -> Result<(Chain, T)> {
    for _ in 0..ATTEMPTS {
        let chain = load()?;
        let looked = look(&chain);
        let is_so = match &looked {
            Ok((_, is_so)) => *is_so,
            Err(e) => e.kind() != ErrorKind::Damaged,
        };
        if is_so || load()?.extends(&chain) {
            return looked.map(|(found, _)| (chain, found));
        }
    }
    Err(replaced_too_fast(history, "looked at"))
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
        let now = history.chain_like(chain)?;
        if now.extends(chain) {
            return Err(error);
        }
        fresh = Some(now);
    }
    work(fresh.as_ref().unwrap_or(chain))
}
