//! Which segments are on the chain for good, though other writers may be at work.
//!
//! A writer that claimed a term looks for the newest segment and builds on it, maybe much later. So between its
//! look and its publication another segment may become the newest one, which then loses. Before it builds on a
//! segment, a writer publishes which one that is: its *head*. Then it looks again, and goes on only if that
//! segment is the newest still.
//!
//! Invariant: of a chain that was read, and of the heads that were listed after it was read, every later newest
//! segment descends from the chain's newest segment, or from one of those heads. A head that was not listed was
//! published later; its writer looked again after that, and found what the chain has or what follows on it.

use std::collections::HashSet;

use crate::error::{ErrorKind, Result};
use crate::format::head::HeadRecord;
use crate::format::names::LogName;
use crate::format::segment::SegmentRef;
use crate::repo::chain::Chain;
use crate::repo::history::History;
use crate::repo::state::Head;
use crate::repo::term::Claim;
use crate::types::{SegmentId, Seq, Term, WriterToken};

/// What other writers may build on instead of a chain's newest segment.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The segments that their chains consist of.
    segments: HashSet<String>,
    /// The last commit that all those chains have in common with the chain: no other writer can take it away, and the numbers
    /// behind it may get other content. `None` if that is so for all.
    settled: Option<Seq>,
}

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
        let term = chain.newest().map_or(Term(0), |segment| segment.manifest.term);
        for head in heads(history, term)? {
            standing.add(history, chain, &head)?;
        }
        Ok(standing)
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
        // Where that chain does not read any more, its writer finds so when it looks again.
        let Some(rival) = Chain::ending_in(history, at, head.segment)? else { return Ok(()) };
        let mut theirs = rival.states().rev().peekable();
        let common = chain.states().rev().find(|ours| {
            while theirs.next_if(|their| their.seq > ours.seq).is_some() {}
            theirs.peek().is_some_and(|their| {
                (their.seq, their.record.digest) == (ours.seq, ours.record.digest)
            })
        });
        let common = common.map(|commit| commit.seq);
        self.settled = self.settled.min(common);
        for segment in rival.segments() {
            self.segments.insert(segment.name().to_owned());
        }
        Ok(())
    }

    /// Whether an object of the log, or a merged segment, is part of what another writer may build on.
    pub(crate) fn needs(&self, name: &str) -> bool {
        self.segments.contains(name)
    }

    /// The last commit that is on the chain for good; `None` if there is none yet.
    pub(crate) fn settled(&self) -> Option<Seq> {
        self.settled
    }
}

/// The heads of terms behind one. One that can't be read is passed over: anybody can make its name.
fn heads(history: &History, term: Term) -> Result<Vec<HeadRecord>> {
    let names = history.names();
    let mut found = Vec::new();
    for entry in history.repository().store().list(&names.heads())? {
        let Some(claimed) = names.parse_head(&entry.name).filter(|claimed| *claimed > term) else {
            continue;
        };
        match history.repository().read_record::<HeadRecord>(&entry.name) {
            Ok(Some((_, head))) if head.term == claimed => found.push(head),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Damaged => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}
