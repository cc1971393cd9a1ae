//! How a history's chain is read, and compared with what this machine saw of it: a repository that
//! was set back to an earlier state is noticed.
//!
//! Invariant: a commit that was seen and never acknowledged may be superseded by a writer of a
//! higher term: that is no setback. A commit that was acknowledged here was seen, too, and is held
//! to more strictly by [`crate::repo::write::writer`].

use std::collections::HashSet;

use super::rollback_guard::{self, Seen};
use super::state::{self, Head};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::clock::local;
use crate::remedy::{Remedy, advice};
use crate::repo::absent;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::types::Seq;

impl History {
    /// Its segments, from the first to the newest.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when the chain is broken, or ends earlier than it did
    /// when this machine last saw it.
    #[doc(hidden)]
    pub fn chain(&self) -> Result<Chain> {
        self.as_seen(&|| Chain::load(self))
    }

    /// Its segments around what is missing or can't be read, for whoever only reads:
    /// [`Chain::holes`] says where something is missing. Of a history that is whole it is the same
    /// as [`History::chain`].
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when the history ends earlier than it did when this
    /// machine last saw it, and nothing tells that its newest segments are damaged.
    #[doc(hidden)]
    pub fn readable_chain(&self) -> Result<Chain> {
        self.as_seen(&|| Chain::load_readable(self, &HashSet::new()))
    }

    /// Reads a chain, and compares it with what this machine has seen. A listing is no moment: only
    /// what it shows twice is so.
    fn as_seen(&self, load: &dyn Fn() -> Result<Chain>) -> Result<Chain> {
        let seen = rollback_guard::read(self);
        let compare = |chain: &Chain| match chain.holes().iter().all(|hole| hole.above.is_some()) {
            true => check(self, chain, seen.as_ref()),
            // The newest segments can't be read: that is said already.
            false => Ok(()),
        };
        let chain = load()?;
        if compare(&chain).is_ok() {
            return Ok(chain);
        }
        let chain = load()?;
        compare(&chain)?;
        Ok(chain)
    }

    /// The chain as it is now, read in the same way as another one.
    pub(crate) fn chain_like(&self, other: &Chain) -> Result<Chain> {
        if other.is_tolerant() { self.readable_chain() } else { self.chain() }
    }
}

/// Compares a chain with what was seen before it was listed, and remembers what is new.
///
/// # Errors
/// [`ErrorKind::Damaged`] when the history went backwards.
pub(crate) fn check(history: &History, chain: &Chain, seen: Option<&Seen>) -> Result<()> {
    let newest = chain.states().next_back().map(|commit| Seen {
        seq: commit.seq,
        term: commit.segment.manifest.term,
        digest: commit.record.digest,
        time: Some(commit.record.time.0),
        confirmed: None,
        acknowledged: None,
    });
    if let Some(seen) = seen {
        if let Some(head) = &seen.acknowledged {
            check_acknowledged(history, head, chain)?;
        }
        let is_merged = chain.newest().is_some_and(|segment| segment.is_merged());
        let back = match &newest {
            None => true,
            // The term of a merged segment says nothing of when its commits were written.
            Some(newest) => newest.seq < seen.seq && (is_merged || newest.term <= seen.term),
        };
        // A repair that lost it said so.
        if back && !chain.expired().contains(seen.seq) {
            let now = newest.map_or("there is none".to_owned(), |newest| newest.to_string());
            return Err(went_back(history, &seen.to_string(), &now));
        }
    }
    if let Some(newest) = newest
        && Some(&newest) != seen
        // Another process may have seen more meanwhile.
        && rollback_guard::read_file(&state::dir_of(history))
            .is_none_or(|now| (now.term, now.seq) < (newest.term, newest.seq))
    {
        // A machine that can't remember notices less, and works all the same.
        let _ = rollback_guard::write(history, &newest);
    }
    if chain.segments().is_empty() {
        let lost = seen.is_some_and(|seen| chain.expired().contains(seen.seq));
        absent::check_empty(history, lost)?;
    }
    Ok(())
}

/// Makes sure that a commit which was acknowledged to this machine is on the chain, or was once and
/// expired.
///
/// # Errors
/// [`ErrorKind::Damaged`] when it is not.
pub(crate) fn check_acknowledged(history: &History, head: &Head, chain: &Chain) -> Result<()> {
    let newest = chain.states().next_back();
    let end = newest.as_ref().map_or(Seq(0), |commit| commit.seq);
    let there = chain.states().find(|commit| commit.seq == head.seq);
    let differs = there.as_ref().is_some_and(|commit| commit.record.digest != head.digest);
    // What a repair lost it published as expired.
    let lost = there.is_none() && chain.expired().contains(head.seq);
    if (end >= head.seq || lost) && !differs {
        return Ok(());
    }
    let now = match newest {
        Some(n) if !differs => format!("commit {} of {}", n.seq, local(n.record.time)),
        None => "there is none".to_owned(),
        _ => "another one has its place".to_owned(),
    };
    Err(went_back(history, &format!("commit {}", head.seq), &now))
}

fn went_back(history: &History, seen: &str, now: &str) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("went backwards: this machine has seen {seen}, and now {now}"),
    )
    .with_object(format!("history {:?} ({})", history.name(), history.id()))
    .with_hint(advice![
        "the repository was set back to an earlier state, or its newest objects were deleted; \
         if that was on purpose: ",
        Remedy::AcceptRollback { history: Some(history.name().to_owned()) },
    ])
}
