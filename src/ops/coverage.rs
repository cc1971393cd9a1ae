//! Which moments of a history can be reached: the stretches where every transaction is kept, where
//! only some commits are, and where something is missing.
//!
//! A stretch goes from one restore point to another. Two that are neighbours say what lies between
//! them, by their numbers and by how the later one was captured:
//!
//! | the later one is | and the one before | between them |
//! |---|---|---|
//! | the next number, one transaction | | nothing is missing |
//! | the next number, what several transactions came to | | a backup by schedule |
//! | the next number, read from the whole database | a single transaction | a gap: capture lost its place |
//! | the next number, read from the whole database | any other | a backup by schedule |
//! | a later number | | commits that a policy or a repair let go |
//! | above what can't be read | | lost, until a repair says how much |
//!
//! A stretch that is lost may have no restore point below it, or none above: then it has no
//! beginning, or no end.
//!
//! Invariants:
//! - Stretches are in order, and each begins where the one before ends.
//! - A restore point that is counted has all its pages, as far as segments and indexes tell: a
//!   commit above a hole that needs pages of the hole is part of what is lost.

use crate::count::number;
use crate::error::{ErrorKind, Result};
use crate::format::proof::{Level, Proof};
use crate::format::segment::CommitKind;
use crate::ops::freshness::{freshness, has_looked};
use crate::ops::restore::check_above_hole;
use crate::repo::chain::{Chain, Commit, Hole};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// What of a history can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// From the oldest restore point to the newest, without a break, and what is lost before and
    /// behind them. Empty when nothing is lost and there is at most one restore point.
    pub stretches: Vec<Stretch>,
    /// How many moments can be restored.
    pub restore_points: u64,
    /// The oldest of them.
    pub oldest: Option<CoveragePoint>,
    /// The newest of them.
    pub newest: Option<CoveragePoint>,
    /// When everything in the database was last known to be stored: what was committed after that
    /// may be lost with this machine.
    pub stored: Option<Timestamp>,
    /// The newest verification of each level that passed and looked at something, the weakest level
    /// first.
    pub proofs: Vec<Proven>,
}

/// A verification that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proven {
    /// What it said.
    pub proof: Proof,
    /// How many restore points are newer than those that it looked at.
    pub newer: u64,
}

/// A restore point, by number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoveragePoint {
    /// The commit.
    pub seq: Seq,
    /// When it was captured.
    pub time: Timestamp,
}

/// A part of a history that is covered in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stretch {
    /// How it is covered.
    pub kind: StretchKind,
    /// The restore point that it begins at; `None` if what is lost has none below it.
    pub from: Option<CoveragePoint>,
    /// The restore point that it ends at; `None` if what is lost has none above it.
    pub to: Option<CoveragePoint>,
    /// How many restore points it has, both ends included.
    pub restore_points: u64,
    /// How many numbers between its ends name no restore point; `None` where that can't be told,
    /// since it has no end.
    pub missing: Option<u64>,
    /// What makes it [`StretchKind::Lost`].
    pub loss: Option<Loss>,
}

/// Why moments are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The object that can't be read, or is missing.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
}

/// How a stretch is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StretchKind {
    /// Each transaction is a restore point.
    EveryTransaction,
    /// A restore point may be what several transactions came to: backups took it by schedule.
    Scheduled,
    /// Some commits are no restore points any more: a policy let them go, or a repair found them
    /// lost.
    Thinned,
    /// The states at both ends are there. Transactions between them were not kept one by one, since
    /// capture had lost its place.
    Gap,
    /// Segments can't be read or are missing, and with them an unknown number of commits.
    Lost,
}

impl StretchKind {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EveryTransaction => "every-transaction",
            Self::Scheduled => "scheduled",
            Self::Thinned => "thinned",
            Self::Gap => "gap",
            Self::Lost => "lost",
        }
    }
}

impl History {
    /// Which moments can be reached, and how well that is proven. Damage is part of the answer.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when an index block can't be opened that tells which
    /// pages a commit above a hole needs.
    pub fn coverage(&self) -> Result<Coverage> {
        let chain = self.readable_chain()?;
        let fresh = freshness(self, &chain, self.repository().now())?;
        let commits = reachable(self, &chain)?;
        let (proofs, _) = self.readable_proofs()?;
        let newest_of = |level: Level| {
            let passed = proofs.iter().filter(|p| p.level == level && p.failure.is_none());
            let proof = passed.filter(|p| has_looked(p)).max_by_key(|p| p.started)?.clone();
            let newer = number(commits.iter().filter(|commit| commit.seq > proof.seq).count());
            Some(Proven { proof, newer })
        };
        let levels = [Level::Chain, Level::Data, Level::Restore];
        Ok(Coverage {
            stretches: stretches(&chain, &commits),
            restore_points: number(commits.len()),
            oldest: commits.first().map(CoveragePoint::of),
            newest: commits.last().map(CoveragePoint::of),
            stored: fresh.stored,
            proofs: levels.into_iter().filter_map(newest_of).collect(),
        })
    }
}

impl CoveragePoint {
    fn of(commit: &Commit) -> Self {
        Self { seq: commit.seq, time: commit.record.time }
    }
}

/// The commits that have all their pages. Above a hole each one has that is newer than one which
/// has: so it takes few looks into the indexes.
fn reachable(history: &History, chain: &Chain) -> Result<Vec<Commit>> {
    let mut commits: Vec<Commit> = chain.commits().collect();
    for hole in chain.holes() {
        let of_hole = |commit: &Commit| chain.hole_below(commit.seq) == Some(hole);
        let Some(first) = commits.iter().position(of_hole) else { continue };
        let count = commits.iter().skip(first).take_while(|commit| of_hole(commit)).count();
        let (mut low, mut high) = (first, first.saturating_add(count));
        while low < high {
            let middle = low.midpoint(high);
            let Some(commit) = commits.get(middle) else { break };
            match check_above_hole(history, chain, commit) {
                Ok(()) => high = middle,
                Err(e) if e.kind() == ErrorKind::Damaged => low = middle.saturating_add(1),
                Err(e) => return Err(e),
            }
        }
        commits.drain(first..low);
    }
    Ok(commits)
}

fn stretches(chain: &Chain, commits: &[Commit]) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let ends = (commits.first(), commits.last());
    found.extend(lost(chain, None, ends.0));
    for pair in commits.windows(2) {
        let [before, commit] = pair else { continue };
        if let Some(lost) = lost(chain, Some(before), Some(commit)) {
            found.push(lost);
            continue;
        }
        let kind = between(before, commit);
        let missing = numbers_between(before, commit);
        match found.last_mut().filter(|last| last.kind == kind && kind < StretchKind::Gap) {
            Some(last) => {
                last.to = Some(CoveragePoint::of(commit));
                last.restore_points = last.restore_points.saturating_add(1);
                last.missing = last.missing.map(|sum| sum.saturating_add(missing));
            }
            None => found.push(Stretch {
                kind,
                from: Some(CoveragePoint::of(before)),
                to: Some(CoveragePoint::of(commit)),
                restore_points: 2,
                missing: Some(missing),
                loss: None,
            }),
        }
    }
    if ends.1.is_some() {
        found.extend(lost(chain, ends.1, None));
    }
    found
}

/// How many numbers lie between two commits.
fn numbers_between(before: &Commit, commit: &Commit) -> u64 {
    commit.seq.0.saturating_sub(before.seq.0).saturating_sub(1)
}

/// What lies between two neighbours when everything can be read.
fn between(before: &Commit, commit: &Commit) -> StretchKind {
    if before.seq.next() != commit.seq {
        return StretchKind::Thinned;
    }
    match (commit.record.kind, before.record.kind) {
        (CommitKind::Transaction, _) => StretchKind::EveryTransaction,
        // The same content once more: nobody committed anything.
        (_, CommitKind::Transaction) if commit.record.digest == before.record.digest => {
            StretchKind::EveryTransaction
        }
        (CommitKind::Scan, CommitKind::Transaction) => StretchKind::Gap,
        _ => StretchKind::Scheduled,
    }
}

/// The stretch between two neighbours, or before the first one, or behind the last one, if
/// something there is missing or can't be read.
fn lost(chain: &Chain, before: Option<&Commit>, commit: Option<&Commit>) -> Option<Stretch> {
    let inside = |hole: &&Hole| {
        let begins = hole.below.is_none_or(|below| commit.is_none_or(|c| below < c.seq));
        let ends = hole.above.is_none_or(|above| before.is_none_or(|b| above > b.seq));
        begins && ends
    };
    let problem = &chain.holes().iter().find(inside)?.problem;
    Some(Stretch {
        kind: StretchKind::Lost,
        from: before.map(CoveragePoint::of),
        to: commit.map(CoveragePoint::of),
        restore_points: number(before.iter().chain(&commit).count()),
        missing: match (before, commit) {
            (Some(before), Some(commit)) => Some(numbers_between(before, commit)),
            // The first commit of a history has the number 1.
            (None, Some(commit)) => Some(commit.seq.0.saturating_sub(1)),
            (_, None) => None,
        },
        loss: Some(Loss { object: problem.object.clone(), message: problem.message.clone() }),
    })
}

#[cfg(test)]
mod tests;
