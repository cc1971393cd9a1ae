//! What of a history can be reached.

use serde::Serialize;
use utoipa::ToSchema;

use super::status::since;
use crate::format::proof::Level;
use crate::ops::coverage::{self, StretchKind};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// A restore point.
#[derive(Serialize, ToSchema)]
pub(crate) struct CoveragePoint {
    /// The commit.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
}

impl CoveragePoint {
    fn of(mark: &coverage::CoveragePoint) -> Self {
        Self { seq: mark.seq, time: mark.time }
    }
}

/// A part of a history that is covered in one way.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stretch {
    /// The name of the history.
    history: String,
    /// How it is covered.
    kind: StretchKind,
    /// The restore point that it begins at; null if what is lost has none below it.
    from: Option<CoveragePoint>,
    /// The restore point that it ends at; null if what is lost has none above it.
    to: Option<CoveragePoint>,
    /// How many restore points it has, both ends included.
    restore_points: u64,
    /// How many numbers between its ends name no restore point; null where that can't be told.
    missing: Option<u64>,
    /// What makes it lost; null if it is not.
    loss: Option<Loss>,
}

/// Why moments are lost.
#[derive(Serialize, ToSchema)]
pub(crate) struct Loss {
    /// The object that can't be read, or is missing.
    object: String,
    /// What is wrong with it.
    message: String,
}

impl Stretch {
    /// A stretch of a history.
    pub(crate) fn of(history: &History, stretch: &coverage::Stretch) -> Self {
        let loss = |loss: &coverage::Loss| Loss {
            object: loss.object.clone(),
            message: loss.message.clone(),
        };
        Self {
            history: history.name().to_owned(),
            kind: stretch.kind,
            from: stretch.from.as_ref().map(CoveragePoint::of),
            to: stretch.to.as_ref().map(CoveragePoint::of),
            restore_points: stretch.restore_points,
            missing: stretch.missing,
            loss: stretch.loss.as_ref().map(loss),
        }
    }
}

/// The newest verification of a level that passed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Proven {
    /// How deep it looked.
    level: Level,
    /// The commit that was verified; at level chain and data the newest one of those.
    seq: Seq,
    /// When it began.
    time: Timestamp,
    /// How many seconds ago that was.
    age_seconds: u64,
    /// The part of the batches that was opened, from 0 to 1; at level restore, of the checks that
    /// could be made.
    coverage: f64,
    /// How many restore points are newer than that commit.
    newer: u64,
}

/// What of a history can be reached, and what could be lost now.
#[derive(Serialize, ToSchema)]
pub(crate) struct CoverageSummary {
    /// The name of the history.
    history: String,
    /// How many moments can be restored.
    restore_points: u64,
    /// The oldest of them; null if there is none.
    oldest: Option<CoveragePoint>,
    /// The newest of them; null if there is none.
    newest: Option<CoveragePoint>,
    /// When everything in the database was last known to be stored: what was committed after that
    /// may be lost with the machine. Null if it never was.
    stored: Option<Timestamp>,
    /// How many seconds ago that was.
    age_seconds: Option<u64>,
    /// The newest verification of each level that passed.
    proofs: Vec<Proven>,
}

impl CoverageSummary {
    /// A history, at a time.
    pub(crate) fn of(history: &History, coverage: &coverage::Coverage, now: Timestamp) -> Self {
        let age = |time: Timestamp| since(time, now).as_secs();
        let proven = |proven: &coverage::Proven| Proven {
            level: proven.proof.level,
            seq: proven.proof.seq,
            time: proven.proof.started,
            age_seconds: age(proven.proof.started),
            coverage: f64::from(proven.proof.coverage_ppm) / 1e6,
            newer: proven.newer,
        };
        Self {
            history: history.name().to_owned(),
            restore_points: coverage.restore_points,
            oldest: coverage.oldest.as_ref().map(CoveragePoint::of),
            newest: coverage.newest.as_ref().map(CoveragePoint::of),
            stored: coverage.stored,
            age_seconds: coverage.stored.map(age),
            proofs: coverage.proofs.iter().map(proven).collect(),
        }
    }
}
