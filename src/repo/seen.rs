//! What this machine has seen of a history, so that it notices a repository that was set back to an earlier state.
//!
//! Nothing in a repository can tell that its newest objects were deleted, or that all of it is last month's copy: seals
//! and digests are those of then. What this machine saw can.
//!
//! Invariants: a cache; without it nothing is noticed, and nothing else is lost. A commit that was seen and never
//! acknowledged may be superseded by a writer of a higher term: that is no setback. What was acknowledged here is held to more
//! strictly, by [`super::writer`].

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::state::{self, Head};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::chain::Chain;
use crate::repo::history::History;
use crate::store::disk;
use crate::types::{Digest, Seq, Term, Timestamp};

/// The newest commit that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    seq: Seq,
    /// The term of its segment.
    term: Term,
    digest: Digest,
    /// When it was captured, in microseconds.
    time: i64,
}

impl Seen {
    /// The term of the newest segment that was seen.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// The number of the newest commit that was seen.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }
}

fn path(history: &History) -> PathBuf {
    state::dir_of(history).join("seen")
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
        time: commit.record.time.0,
    });
    if let Some(seen) = seen {
        let back = match &newest {
            None => true,
            Some(newest) => newest.seq < seen.seq && newest.term <= seen.term,
        };
        // A repair that lost it said so.
        if back && !chain.expired().contains(seen.seq) {
            let now = newest.map_or("there is none".to_owned(), |n| describe(n.seq, n.time));
            return Err(went_back(history, &describe(seen.seq, seen.time), &now));
        }
    }
    if let Some(newest) = newest
        && Some(&newest) != seen
        // Another process may have seen more meanwhile.
        && read(history).is_none_or(|now| (now.term, now.seq) < (newest.term, newest.seq))
    {
        // A machine that can't remember notices less, and works all the same.
        let _ = write(history, &newest);
    }
    Ok(())
}

/// Makes sure that a commit which was acknowledged to this machine is on the chain, or was once and expired.
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
        Some(n) if !differs => describe(n.seq, n.record.time.0),
        _ => "another one has its place".to_owned(),
    };
    Err(went_back(history, &format!("commit {}", head.seq), &now))
}

fn describe(seq: Seq, time: i64) -> String {
    format!("commit {seq} of {}", Timestamp(time))
}

fn went_back(history: &History, seen: &str, now: &str) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("went backwards: this machine has seen {seen}, and now {now}"),
    )
    .with_object(format!("history {:?}", history.name()))
    .with_hint(
        "the repository was set back to an earlier state, or its newest objects were deleted; \
         if that was on purpose: `pagekeep repair NAME --accept-rollback`",
    )
}

/// Forgets what was seen and acknowledged: the repository is as it should be.
///
/// # Errors
/// [`ErrorKind::Busy`] when a process of this machine writes to the history; when it can't be removed.
pub(crate) fn forget(history: &History) -> Result<()> {
    let _lock = state::StateDir::lock(history)?;
    // But not the numbers, which are not used again.
    let state = state::peek(history)?;
    let heads = state.into_iter().flat_map(|s| [s.head, s.acknowledged]);
    let known =
        heads.flatten().map(|head| head.seq).chain(read(history).map(|seen| seen.seq)).max();
    if let Some(highest) = known.filter(|seq| floor(history).is_ok_and(|floor| floor < *seq)) {
        let path = state::dir_of(history).join("numbers");
        state::replace(&path, highest.0.to_string().as_bytes())
            .map_err(|e| Error::io(e, "cannot be written", path.display().to_string()))?;
    }
    for path in [path(history), state::dir_of(history).join("state")] {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(e, "cannot be removed", path.display().to_string())),
        }
    }
    Ok(())
}

/// The highest number that this machine knew before it forgot what it saw.
///
/// # Errors
/// When it is there and can't be read.
pub(crate) fn floor(history: &History) -> Result<Seq> {
    let path = state::dir_of(history).join("numbers");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().map(Seq).unwrap_or_default()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seq(0)),
        Err(e) => Err(Error::io(e, "cannot be read", path.display().to_string())),
    }
}

/// What was seen so far; what can't be read was not.
pub(crate) fn read(history: &History) -> Option<Seen> {
    serde_json::from_slice(&fs::read(path(history)).ok()?).ok()
}

fn write(history: &History, seen: &Seen) -> io::Result<()> {
    let path = path(history);
    if let Some(dir) = path.parent() {
        disk::make_dirs(dir)?;
    }
    state::replace(&path, &serde_json::to_vec(seen).map_err(io::Error::other)?)
}
