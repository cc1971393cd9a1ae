//! Whether the chain that a writer builds on is there still. Somebody may delete or shorten an
//! object in its middle while the writer is at work; what is published from then on can't be
//! restored, and nobody may be told that it is safe.
//!
//! Its parent is looked at with every segment. The rest is looked at once a minute at most, with a
//! listing of the log and one of the merged segments; and if something was merged, or is not as it
//! was, by a reading of the chain. So what is acknowledged within a minute after something went may
//! have to be captured again. Parts and the bytes within objects are not looked at: that is a
//! verification's business.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::policy::clock::local;
use crate::remedy::{Remedy, advice};
use crate::repo::chain::{Chain, Segment};
use crate::repo::history::handle::History;
use crate::repo::write::term::{PRUNE, newest_claim};
use crate::store::Entry;
use crate::types::{Term, Timestamp};

/// How often to look, at most.
const EVERY: Duration = Duration::from_secs(60);

/// What the chain of a writer consists of.
#[derive(Debug)]
pub(crate) struct Links {
    /// The objects that are known, and their lengths.
    lens: HashMap<String, u64>,
    /// The merged segments that were there when the chain was read; `None` if it was not.
    merged: Option<HashSet<String>>,
    looked: Timestamp,
    pub(crate) every: Duration,
}

impl Links {
    /// Of a chain that is not known.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { lens: HashMap::new(), merged: None, looked: now, every: EVERY }
    }

    /// Of a chain that was read just now.
    pub(crate) fn of(chain: &Chain, now: Timestamp) -> Self {
        let lens = chain.segments().iter().map(|s| (s.name().to_owned(), s.object_len()));
        Self { lens: lens.collect(), ..Self::new(now) }
    }

    /// Another segment stands behind the others.
    pub(crate) fn add(&mut self, name: &str, len: u64) {
        self.lens.insert(name.to_owned(), len);
    }

    /// How long a segment's object must be, if that is known.
    pub(crate) fn len_of(&self, name: &str) -> Option<u64> {
        self.lens.get(name).copied()
    }

    /// Looks whether all is there, if it is time for that.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, when something is not; [`ErrorKind::Superseded`]
    /// when somebody published in a later term; store errors.
    pub(crate) fn check(&mut self, history: &History, term: Term) -> Result<()> {
        let now = history.repository().now();
        if self.looked <= now && now < self.looked.after(self.every) {
            return Ok(());
        }
        let (store, names) = (history.repository().store(), history.names());
        let log = store.list(&names.log())?;
        let merged = store.list(&names.merged())?;
        if let Some(later) = later_than(history, &log, term)? {
            let name = names.segment(later);
            return Err(superseded("another writer went on in a later term", &name));
        }
        let there: HashMap<&str, u64> =
            log.iter().chain(&merged).map(|e| (&*e.name, e.len)).collect();
        let names: HashSet<String> = merged.iter().map(|e| e.name.clone()).collect();
        let is_there = |(name, len): (&String, &u64)| there.get(&**name).is_some_and(|l| l >= len);
        if self.merged.as_ref() != Some(&names) || !self.lens.iter().all(is_there) {
            let chain = history.chain()?;
            let lens = chain.segments().iter().map(|s| (s.name().to_owned(), s.object_len()));
            let lens: HashMap<String, u64> = lens.collect();
            // What was not listed was read just now.
            let short = lens
                .iter()
                .find(|(name, len)| there.get(&***name).is_some_and(|found| found < *len));
            if let Some((name, len)) = short {
                let found = there.get(&**name).copied().unwrap_or_default();
                return Err(too_short(history, name, (found, *len)));
            }
            (self.lens, self.merged) = (lens, Some(names));
        }
        self.looked = history.repository().now();
        Ok(())
    }
}

/// A segment of the log that was published in a later term, though nobody seems to have claimed
/// one: the claim was lost. Names alone say nothing, since anybody can make them.
///
/// # Errors
/// Store errors.
pub(crate) fn later_than(
    history: &History,
    listed: &[Entry],
    term: Term,
) -> Result<Option<LogName>> {
    let names = history.names();
    let at = |entry: &Entry| names.parse_segment(&entry.name).filter(|at| at.term > term);
    for at in listed.iter().rev().filter_map(at) {
        match Segment::read_log(history, at) {
            Ok(Some(_)) => return Ok(Some(at)),
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::Damaged => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// That somebody else has the turn now.
pub(crate) fn superseded(what: &str, object: &str) -> Error {
    Error::new(ErrorKind::Superseded, what)
        .with_object(object)
        .with_hint("run it again; what was captured meanwhile is captured again")
}

/// That somebody else has the turn now, and who that is, if the newest claim tells.
pub(crate) fn taken_over(history: &History, claim: &str) -> Error {
    let who = newest_claim(history).ok().flatten().filter(|claim| claim.role != PRUNE);
    match who {
        Some(who) => Error::new(
            ErrorKind::Superseded,
            format!(
                "was taken over by `{}`, process {} on {}, at {}",
                who.role,
                who.process,
                who.host,
                local(who.since)
            ),
        )
        .with_object(format!("history {:?}", history.name()))
        .with_hint(
            "if that is meant, leave this one stopped: two that are started again and again take turns, and neither gets far. \
             Nothing is lost: what was captured meanwhile is captured again",
        ),
        None => superseded("another writer took over this history", claim),
    }
}

/// That a segment which is needed lost its end.
pub(crate) fn too_short(history: &History, name: &str, (found, expected): (u64, u64)) -> Error {
    let what =
        format!("has {found} bytes instead of {expected}, and the new commits are built on it");
    Error::damaged(name, what).with_hint(advice![
        "nothing is acknowledged any more; ",
        Remedy::examine(history.name()),
        " says what can be done about it",
    ])
}
