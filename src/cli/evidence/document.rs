//! What evidence says, part by part, as its JSON has it. `docs/evidence.md` tells what each member
//! means; later versions may add some.

use serde::Serialize;

use crate::api::evidence::TestTally;
use crate::daemon::tested::{Found, Method, Test};
use crate::format::proof::{Level, Proof};
use crate::types::{Digest, HistoryId, KeyId, RepositoryId, Seq, Timestamp};

/// What the member `type` says.
pub(super) const TYPE: &str = "pagekeep-evidence";
/// The version of the document.
pub(super) const VERSION: u32 = 1;

/// What stands before the tests.
pub(super) struct Head {
    pub(super) made: Made,
    pub(super) history: About,
    pub(super) span: Span,
    pub(super) commits: Commits,
    pub(super) ledger: Ledger,
}

/// Who made it.
#[derive(Serialize)]
pub(super) struct Made {
    pub(super) at: Timestamp,
    pub(super) host: String,
    pub(super) program: String,
    /// The master key from which the key that signs follows.
    pub(super) master_key: KeyId,
}

/// The history that was tested.
#[derive(Serialize)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) id: HistoryId,
    pub(super) source: String,
    pub(super) host: String,
    pub(super) created: Timestamp,
    pub(super) repository: RepositoryId,
    pub(super) location: String,
}

/// The time that is told of.
#[derive(Serialize)]
pub(super) struct Span {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

/// A commit.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Point {
    pub(super) seq: Seq,
    pub(super) time: Timestamp,
    pub(super) digest: Digest,
}

/// The restore points of the time, as they are now.
#[derive(Serialize)]
pub(super) struct Commits {
    pub(super) restore_points: u64,
    pub(super) first: Option<Point>,
    pub(super) last: Option<Point>,
    pub(super) holes: u64,
    pub(super) chain: Option<ChainHead>,
}

/// The newest segment, whose digest holds the chain below it together.
#[derive(Serialize)]
pub(super) struct ChainHead {
    pub(super) segment: String,
    pub(super) digest: String,
    pub(super) last_seq: Option<Seq>,
}

/// Where the daemon's tests come from.
#[derive(Serialize)]
pub(super) struct Ledger {
    pub(super) file: String,
    pub(super) known_since: Option<Timestamp>,
}

/// A test.
#[derive(Serialize)]
pub(super) struct Told {
    /// `daemon` for a job of it, `repository` for a proof that no job made.
    pub(super) from: &'static str,
    pub(super) job: Option<u64>,
    pub(super) level: Level,
    pub(super) result: &'static str,
    pub(super) scheduled: Option<Timestamp>,
    pub(super) began: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) message: Option<String>,
    pub(super) method: Option<Method>,
    pub(super) host: Option<String>,
    pub(super) proofs: Vec<Proven>,
}

/// What a test found of one commit.
#[derive(Serialize)]
pub(super) struct Proven {
    pub(super) seq: u64,
    pub(super) digest: Digest,
    pub(super) started: Timestamp,
    pub(super) seconds: f64,
    pub(super) coverage_ppm: u32,
    pub(super) page_bytes: u64,
    pub(super) assertions_held: u32,
    pub(super) failure: Option<String>,
    /// Whether the repository has it, too, so that another machine can confirm it.
    pub(super) in_repository: bool,
}

/// A stretch without a test.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Gap {
    /// `any`, or `restore` for one without a test at that level.
    pub(super) level: &'static str,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) seconds: u64,
}

/// What stands behind the tests.
pub(super) struct Foot {
    /// Longer stretches than that are named.
    pub(super) longest_wished_seconds: u64,
    pub(super) gaps: Vec<Gap>,
    pub(super) tally: TestTally,
    /// What could not be read.
    pub(super) unread: Vec<String>,
}

impl Proven {
    pub(super) fn of(found: &Found, in_repository: bool) -> Self {
        Self {
            seq: found.seq,
            digest: found.digest,
            started: Timestamp(found.started),
            seconds: seconds(found.micros),
            coverage_ppm: found.coverage_ppm,
            page_bytes: found.page_bytes,
            assertions_held: found.assertions,
            failure: found.failure.clone(),
            in_repository,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a duration of so many digits is none")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl Told {
    /// A job, with proofs of the repository that are its own.
    pub(super) fn of_job(test: Test, own: &[Proof]) -> Self {
        let in_repository = |found: &Found| own.iter().any(|proof| found.is_of(proof));
        let proofs = match test.found.as_slice() {
            // An earlier version wrote none of it down.
            [] => own.iter().map(|proof| Proven::of(&Found::from(proof), true)).collect(),
            found => found.iter().map(|found| Proven::of(found, in_repository(found))).collect(),
        };
        Self {
            from: "daemon",
            job: Some(test.job),
            level: test.level,
            result: result(&test.result),
            scheduled: test.scheduled,
            began: test.began,
            ended: test.ended,
            message: Some(test.message).filter(|message| !message.is_empty()),
            host: test.method.as_ref().map(|method| method.host.clone()),
            method: test.method,
            proofs,
        }
    }

    /// A proof that no job made: by hand, or by another machine.
    pub(super) fn of_proof(proof: &Proof) -> Self {
        let micros = std::time::Duration::from_micros(proof.micros);
        Self {
            from: "repository",
            job: None,
            level: proof.level,
            result: if proof.failure.is_some() { "failed" } else { "passed" },
            scheduled: None,
            began: proof.started,
            ended: Some(proof.started.after(micros)),
            message: None,
            method: None,
            host: Some(proof.host.clone()),
            proofs: vec![Proven::of(&Found::from(proof), true)],
        }
    }

    /// Whether it came to an answer.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.result, "passed" | "failed")
    }
}

/// How a test ended, in the words of evidence.
fn result(name: &str) -> &'static str {
    match name {
        "well" => "passed",
        "found" => "failed",
        "failed" => "not-done",
        "stopped" | "cancelled" => "stopped",
        "interrupted" => "interrupted",
        "running" => "running",
        _ => "unknown",
    }
}

/// Counts a test by its result.
pub(super) fn count(tally: &mut TestTally, result: &str) {
    let of = match result {
        "passed" => &mut tally.passed,
        "failed" => &mut tally.failed,
        "not-done" => &mut tally.not_done,
        "stopped" => &mut tally.stopped,
        "interrupted" => &mut tally.interrupted,
        "running" => &mut tally.running,
        _ => &mut tally.unknown,
    };
    *of = of.saturating_add(1);
    tally.tests = tally.tests.saturating_add(1);
}
