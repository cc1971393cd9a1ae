//! How old the newest news of a history are: that all of its database is stored, and that it can be
//! restored.
//!
//! A database that rests has old commits and a good backup all the same. So what counts is when
//! somebody last *knew* that everything is stored: by a commit, by a run of this machine that found
//! nothing new, or by the sign that a follower leaves while nothing happens.

use crate::error::{ErrorKind, Result};
use crate::format::proof::{Level, Proof};
use crate::format::writer::WriterClaim;
use crate::repo::chain::Chain;
use crate::repo::history::doubt::refuted;
use crate::repo::history::handle::History;
use crate::repo::last_run_here;
use crate::repo::write::presence::GONE;
use crate::types::Timestamp;

/// When a history was last known to be complete, and to be good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freshness {
    /// When everything was last known to be stored.
    pub stored: Option<Timestamp>,
    /// When a verification that opens what is stored, at level data or restore, last passed.
    pub proven: Option<Timestamp>,
    /// When a restore of it last passed.
    pub restored: Option<Timestamp>,
    /// An assertion that did not hold, and when that was found, until assertions about the same
    /// commit or a later one hold.
    pub refuted: Option<(String, Timestamp)>,
}

/// Looks at commits, local state, signs and proofs. What lies more than a few minutes ahead of
/// `now` is not believed: a clock was wrong.
///
/// # Errors
/// Store errors.
pub fn freshness(history: &History, chain: &Chain, now: Timestamp) -> Result<Freshness> {
    let believed = |time: &Timestamp| *time <= now.after(CLOCKS);
    let commit = chain.commits().rev().map(|commit| commit.record.time).find(believed);
    let run = last_run_here(history)?.filter(believed);
    let (proofs, _) = history.readable_proofs()?;
    let passed = proofs.iter().filter(|p| p.failure.is_none() && p.level >= Level::Data);
    let passed = passed.filter(|p| has_looked(p));
    let restored = passed.clone().filter(|p| p.level == Level::Restore);
    let refuted = refuted(history, &proofs);
    Ok(Freshness {
        stored: commit.max(run).max(sign(history)?.filter(believed)),
        proven: passed.map(|p| p.started).filter(believed).max(),
        restored: restored.map(|p| p.started).filter(believed).max(),
        refuted: refuted.map(|p| (p.failure.clone().unwrap_or_default(), p.started)),
    })
}

/// Whether a verification looked at anything: a sample of nothing proves nothing.
pub(super) fn has_looked(proof: &Proof) -> bool {
    proof.level != Level::Data || proof.coverage_ppm > 0
}

/// How far clocks of machines may be apart.
const CLOCKS: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// The newest sign that a follower is at work.
fn sign(history: &History) -> Result<Option<Timestamp>> {
    let (repository, names) = (history.repository(), history.names());
    let mut newest = None;
    for entry in repository.store().list(&names.signs())? {
        match repository.read_record::<WriterClaim>(&entry.name) {
            Ok(Some((_, sign))) if sign.role != GONE => newest = newest.max(Some(sign.since)),
            Ok(_) => {}
            // Nothing is known by it.
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(newest)
}
