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
//! Invariant: stretches are in order, and each begins where the one before ends.

use crate::error::Result;
use crate::format::proof::{Level, Proof};
use crate::format::segment::CommitKind;
use crate::ops::freshness::freshness;
use crate::repo::chain::{Chain, Commit, Hole};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// What of a history can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// From the oldest restore point to the newest, without a break. Empty when there is at most
    /// one restore point.
    pub stretches: Vec<Stretch>,
    /// How many moments can be restored.
    pub restore_points: u64,
    /// The oldest of them.
    pub oldest: Option<Moment>,
    /// The newest of them.
    pub newest: Option<Moment>,
    /// When everything in the database was last known to be stored: what was committed after that
    /// may be lost with this machine.
    pub stored: Option<Timestamp>,
    /// The newest verification of each level that passed, the weakest level first.
    pub proofs: Vec<Proof>,
}

/// A restore point, by number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
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
    pub kind: Kind,
    /// The restore point that it begins at.
    pub from: Moment,
    /// The restore point that it ends at.
    pub to: Moment,
    /// How many restore points it has, both ends included.
    pub restore_points: u64,
    /// How many numbers between its ends name no restore point.
    pub missing: u64,
    /// What can't be read, or was deleted, and makes it [`Kind::Lost`].
    pub object: Option<String>,
}

/// How a stretch is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
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

impl Kind {
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
    /// Store errors.
    pub fn coverage(&self) -> Result<Coverage> {
        let chain = self.readable_chain()?;
        let fresh = freshness(self, &chain, self.repository().now())?;
        let (proofs, _) = self.readable_proofs()?;
        let newest_of = |level: Level| {
            let passed = proofs.iter().filter(|p| p.level == level && p.failure.is_none());
            passed.max_by_key(|p| p.started).cloned()
        };
        let levels = [Level::Chain, Level::Data, Level::Restore];
        let moments = || chain.commits();
        Ok(Coverage {
            stretches: stretches(&chain),
            restore_points: u64::try_from(moments().count()).unwrap_or(u64::MAX),
            oldest: moments().next().as_ref().map(Moment::of),
            newest: moments().next_back().as_ref().map(Moment::of),
            stored: fresh.stored,
            proofs: levels.into_iter().filter_map(newest_of).collect(),
        })
    }
}

impl Moment {
    fn of(commit: &Commit) -> Self {
        Self { seq: commit.seq, time: commit.record.time }
    }
}

fn stretches(chain: &Chain) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut before: Option<Commit> = None;
    for commit in chain.commits() {
        if let Some(before) = before.replace(commit.clone()) {
            let object = lost_between(chain, &before, &commit);
            let kind = match &object {
                Some(_) => Kind::Lost,
                None => between(&before, &commit),
            };
            let missing = commit.seq.0.saturating_sub(before.seq.0).saturating_sub(1);
            match found.last_mut().filter(|last| last.kind == kind && kind < Kind::Gap) {
                Some(last) => {
                    last.to = Moment::of(&commit);
                    last.restore_points = last.restore_points.saturating_add(1);
                    last.missing = last.missing.saturating_add(missing);
                }
                None => found.push(Stretch {
                    kind,
                    from: Moment::of(&before),
                    to: Moment::of(&commit),
                    restore_points: 2,
                    missing,
                    object,
                }),
            }
        }
    }
    found
}

/// What lies between two neighbours when everything can be read.
fn between(before: &Commit, commit: &Commit) -> Kind {
    if before.seq.next() != commit.seq {
        return Kind::Thinned;
    }
    match (commit.record.kind, before.record.kind) {
        (CommitKind::Transaction, _) => Kind::EveryTransaction,
        // The same content once more: nobody committed anything.
        (_, CommitKind::Transaction) if commit.record.digest == before.record.digest => {
            Kind::EveryTransaction
        }
        (CommitKind::Scan, CommitKind::Transaction) => Kind::Gap,
        _ => Kind::Scheduled,
    }
}

/// What is missing or can't be read between two neighbours.
fn lost_between(chain: &Chain, before: &Commit, commit: &Commit) -> Option<String> {
    let inside = |hole: &&Hole| {
        hole.below.is_none_or(|below| below <= before.seq)
            && hole.above.is_some_and(|above| above <= commit.seq && above > before.seq)
    };
    chain.holes().iter().find(inside).map(|hole| hole.problem.object.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::trial::{Bench, HOUR};
    use crate::store::Store;

    fn told(bench: &Bench) -> Vec<(&'static str, u64, u64, u64)> {
        let coverage = bench.history.coverage().unwrap();
        let row = |s: &Stretch| (s.kind.name(), s.from.seq.0, s.to.seq.0, s.missing);
        let rows: Vec<_> = coverage.stretches.iter().map(row).collect();
        for pair in coverage.stretches.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
        }
        rows
    }

    fn bench(commits: u64) -> Bench {
        let mut bench = Bench::with_page_size(7, 512);
        for _ in 0..commits {
            bench.pass(HOUR);
            bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(700))").unwrap();
            bench.capture();
        }
        bench
    }

    #[test]
    fn backups_by_schedule_thinned_and_with_a_hole_say_so() {
        let bench = bench(6);
        assert_eq!(told(&bench), [("scheduled", 1, 6, 0)]);
        let chain = bench.history.chain().unwrap();
        let without = chain.without([Seq(3), Seq(4)].into_iter());
        let rows: Vec<_> =
            stretches(&without).iter().map(|s| (s.kind.name(), s.from.seq.0, s.to.seq.0)).collect();
        assert_eq!(rows, [("scheduled", 1, 2), ("thinned", 2, 5), ("scheduled", 5, 6)]);
        let victim = chain.commit(Seq(4)).unwrap().segment.name().to_owned();
        bench.store.delete(&victim).unwrap();
        assert_eq!(
            told(&bench),
            [("scheduled", 1, 3, 0), ("lost", 3, 5, 1), ("scheduled", 5, 6, 0)]
        );
        let coverage = bench.history.coverage().unwrap();
        assert!(coverage.stretches[1].object.is_some());
        assert_eq!(coverage.restore_points, 5);
        assert_eq!((coverage.oldest.unwrap().seq, coverage.newest.unwrap().seq), (Seq(1), Seq(6)));
    }
}
