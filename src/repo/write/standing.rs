//! Which segments are on the chain for good, though other writers may be at work.
//!
//! A writer that claimed a term looks for the newest segment and builds on it, maybe much later. So
//! between its look and its publication another segment may become the newest one, which then
//! loses. Before it builds on a segment, a writer publishes which one that is: its *head*. Then it
//! looks again, and goes on only if that segment is the newest still.
//!
//! Invariant: of a chain that was read, and of the heads that were listed after it was read, every
//! later newest segment descends from the chain's newest segment, or from one of those heads. A
//! head that was not listed was published later; its writer looked again after that, and found what
//! the chain has or what follows on it. A head that is gone by then was one of a term that is over:
//! something of a later term was published. So the log is listed once more after the heads, and if
//! it has that, the chain was read too long ago to tell anything. Nor does a head tell anything
//! whose segment can't be found, if its writer may have gone on meanwhile: so the log is listed
//! again then. What a head names is not deleted while it counts. What that was built on may be:
//! then a merged segment stands for all of it.
//!
//! A head that can't be read may name any segment. While its term is above the newest segment's,
//! nobody knows what its writer builds on: nothing of the log may be deleted, nothing may expire,
//! and no commit is settled. The next segment of a term that is no lower puts an end to that, and
//! so does a repair. A term that nobody claimed has no writer: a head of it is junk.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::format::head::HeadRecord;
use crate::format::names::LogName;
use crate::format::segment::SegmentRef;
use crate::repo::chain::links::later_than;
use crate::repo::chain::{Chain, Problem};
use crate::repo::history::handle::History;
use crate::repo::local::state::Head;
use crate::repo::write::claims::Claims;
use crate::repo::write::term::Claim;
use crate::types::{SegmentId, Seq, Term, WriterToken};

/// What other writers may build on instead of a chain's newest segment.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The segments that their chains consist of.
    segments: HashSet<String>,
    /// The last commit that all those chains have in common with the chain: no other writer can
    /// take it away, and the numbers behind it may get other content. `None` if that is so for all.
    settled: Option<Seq>,
    /// A head that counts and can't be read: its writer may build on anything.
    unknown: Option<Problem>,
    /// Whether a writer of a later term than the chain's went on since the chain was read, maybe
    /// from below its newest commits.
    outdated: bool,
}

/// The heads that can't be read.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// Those that a writer may build on.
    pub(crate) counting: Vec<Problem>,
    /// Those that are nobody's, or of a term that is over.
    pub(crate) idle: Vec<Problem>,
}

/// The term of a head that can't be read, and what is wrong with it.
type Unreadable = (Term, Problem);

/// Publishes what a writer is going to build on.
///
/// # Errors
/// Store errors.
pub(crate) fn record(history: &History, claim: Claim, head: Option<&Head>) -> Result<()> {
    let nothing = SegmentRef { id: SegmentId::default(), digest: [0; 32] };
    let record = HeadRecord {
        term: claim.term,
        segment: head.map_or(nothing, Head::reference),
        written: head.map_or(Term(0), |head| head.term),
        first: head.map_or(Seq(0), |head| head.first),
    };
    let token = WriterToken::random()?;
    history.repository().create_record(&history.names().head(claim.term, token), token.0, &record)
}

impl Standing {
    /// What may become of a chain that was read before.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn of(history: &History, chain: &Chain) -> Result<Self> {
        let newest = chain.states().next_back().map(|commit| commit.seq);
        let mut standing = Self { settled: newest, ..Self::default() };
        let (heads, unread) = heads(history, newest_term(chain))?;
        // Only now: heads that are gone by now are those of terms that are over, because of what
        // was published later.
        if is_outdated(history, chain)? {
            (standing.settled, standing.outdated) = (None, true);
            return Ok(standing);
        }
        for head in heads {
            standing.add(history, chain, &head)?;
        }
        if let Some(problem) = sorted(history, chain, unread)?.counting.pop() {
            standing.settled = None;
            standing.unknown = Some(problem);
        }
        Ok(standing)
    }

    /// Makes sure that it is known what other writers may build on.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the head that can't be read.
    pub(crate) fn check(&self, history: &History) -> Result<()> {
        self.unknown.as_ref().map_or(Ok(()), |problem| Err(problem.error(history)))
    }

    fn add(&mut self, history: &History, chain: &Chain, head: &HeadRecord) -> Result<()> {
        let newest = chain.newest().map(|segment| segment.reference);
        if newest == Some(head.segment) {
            return Ok(());
        }
        if head.segment.id.is_zero() {
            // It begins the history anew.
            self.settled = None;
            return Ok(());
        }
        let at = LogName { term: head.written, first: head.first };
        let Some(rival) = Chain::ending_in(history, at, head.segment)? else {
            let found = find(history, at, head)?;
            // What it names may have been merged and be deleted, or half so, since its writer went
            // on: after the log was listed.
            if is_outdated(history, chain)? {
                (self.settled, self.outdated) = (None, true);
                return Ok(());
            }
            // Where it is gone, its writer finds so when it looks for the parent of what it
            // published.
            let Some(name) = found else { return Ok(()) };
            self.settled = None;
            let what = "is what another writer builds on, and leads to nothing that can be read";
            self.unknown = Some(Problem::of(&Error::damaged(name, what)));
            return Ok(());
        };
        self.settled = self.settled.min(common(chain, &rival));
        // Also where a merged one stands for it: once it is gone, nothing tells what its writer
        // builds on.
        self.segments.insert(history.names().segment(at));
        for segment in rival.segments() {
            self.segments.insert(segment.name().to_owned());
        }
        Ok(())
    }

    /// Whether an object of the log, or a merged segment, may be part of what another writer builds
    /// on.
    pub(crate) fn needs(&self, name: &str) -> bool {
        self.unknown.is_some() || self.outdated || self.segments.contains(name)
    }

    /// Whether the chain was read too long ago to tell what is on it for good: it has to be read
    /// again.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// The last commit that is on the chain for good; `None` if there is none yet.
    pub(crate) fn settled(&self) -> Option<Seq> {
        self.settled
    }
}

/// The name under which the segment of a head lies, if it is there.
fn find(history: &History, at: LogName, head: &HeadRecord) -> Result<Option<String>> {
    let (store, names) = (history.repository().store(), history.names());
    let name = names.segment(at);
    if store.head(&name)?.is_some() {
        return Ok(Some(name));
    }
    let merged = store.list(&names.merged())?.into_iter().map(|entry| entry.name);
    let is_it =
        |name: &String| names.parse_merged(name).is_some_and(|(.., id)| id == head.segment.id);
    Ok(merged.into_iter().find(is_it))
}

/// Whether something was published in a later term than the chain's since the chain was read: it
/// may stand on less than all of the chain.
fn is_outdated(history: &History, chain: &Chain) -> Result<bool> {
    // Where the newest segments can't be read, another one's may be passed over for good.
    if chain.holes().last().is_some_and(|hole| hole.above.is_none()) {
        return Ok(false);
    }
    let listed = history.repository().store().list(&history.names().log())?;
    Ok(later_than(history, &listed, newest_term(chain))?.is_some())
}

/// The last commit up to which two chains are the same. The same content behind a difference is
/// another commit: two writers may take what an application did apart in different ways.
fn common(ours: &Chain, theirs: &Chain) -> Option<Seq> {
    let mut others = theirs.states().peekable();
    let mut common = None;
    for commit in ours.states() {
        // What expired may be left out of a merged segment of the one, and still be in one of the
        // other.
        let expired = |seq| ours.expired().contains(seq);
        while let Some(other) = others.next_if(|other| other.seq < commit.seq) {
            if !expired(other.seq) {
                return common;
            }
        }
        match others.next_if(|other| other.seq == commit.seq) {
            Some(other) if other.record.digest == commit.record.digest => common = Some(commit.seq),
            None if expired(commit.seq) => {}
            _ => return common,
        }
    }
    common
}

/// The heads that can't be read, by whether a writer may build on them.
///
/// # Errors
/// Store errors.
pub(crate) fn unread(history: &History, chain: &Chain) -> Result<Unread> {
    let (_, unread) = heads(history, Term(0))?;
    sorted(history, chain, unread)
}

/// The term of the newest segment of the log; that of a merged one says nothing of when its commits
/// were written.
fn newest_term(chain: &Chain) -> Term {
    let newest = chain.newest().filter(|segment| !segment.is_merged());
    newest.map_or(Term(0), |segment| segment.manifest.term)
}

/// Sorts heads that can't be read. They were listed before the claims are: a writer claims its term
/// before it publishes its head, and its claim stays until something of a higher term is published.
fn sorted(history: &History, chain: &Chain, unread: Vec<Unreadable>) -> Result<Unread> {
    let mut sorted = Unread::default();
    if unread.is_empty() {
        return Ok(sorted);
    }
    let claims = Claims::list(history)?;
    // If no claim can be read, nothing tells which are nobody's.
    let claimed = claims.authentic.map(|_| claims.newest());
    for (term, problem) in unread {
        let counts = term > newest_term(chain) && claimed.is_none_or(|claimed| term <= claimed);
        if counts { sorted.counting.push(problem) } else { sorted.idle.push(problem) }
    }
    Ok(sorted)
}

/// The heads of terms behind one, and what is wrong with those that can't be read.
fn heads(history: &History, term: Term) -> Result<(Vec<HeadRecord>, Vec<Unreadable>)> {
    let names = history.names();
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for entry in history.repository().store().list(&names.heads())? {
        let Some(claimed) = names.parse_head(&entry.name).filter(|claimed| *claimed > term) else {
            continue;
        };
        let problem = match history.repository().read_record::<HeadRecord>(&entry.name) {
            Ok(Some((_, head))) if head.term == claimed => {
                found.push(head);
                continue;
            }
            Ok(None) => continue,
            Ok(Some(_)) => Error::damaged(entry.name, "is another record under this one's name"),
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => e,
            Err(e) => return Err(e),
        };
        unread.push((claimed, Problem::of(&problem)));
    }
    Ok((found, unread))
}
