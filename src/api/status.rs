//! How a history stands: how fresh, how proven, how large, and what is wrong with it.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::count::number;
use crate::error::Result;
use crate::format;
use crate::format::proof::Level;
use crate::format::writer::WriterClaim;
use crate::ops::freshness::Freshness;
use crate::ops::soundness::Soundness;
use crate::ops::standing::standing;
use crate::policy::verdict::{self, Promise};
use crate::repo::chain::Chain;
use crate::repo::history::doubt::{About, Doubt};
use crate::repo::history::handle::History;
use crate::repo::last_run_here;
use crate::repo::write::term::newest_claim;
use crate::types::{HistoryId, Seq, Term, Timestamp};

/// How a history stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryStatus {
    /// The name of the history.
    history: String,
    /// Its identity.
    id: HistoryId,
    /// The path of the database that it follows.
    pub(crate) source: String,
    /// How many commits can be selected.
    pub(crate) commits: u64,
    /// The newest commit; null if there is none.
    pub(crate) last_commit: Option<Seq>,
    /// When that was captured.
    pub(crate) last_commit_time: Option<Timestamp>,
    /// When this machine last backed it up, or found nothing new; null if it never did.
    pub(crate) last_run: Option<Timestamp>,
    /// Seconds since everything in the database was last known to be stored; null if it never was.
    age_seconds: Option<u64>,
    /// Seconds since a verification at level data or restore last passed; null if none ever did.
    proof_age_seconds: Option<u64>,
    /// The size of the database in bytes, as of the newest commit.
    pub(crate) database_bytes: u64,
    /// Bytes of the segments that the history needs.
    pub(crate) stored_bytes: u64,
    /// How many segments those are.
    pub(crate) segments: u64,
    /// Segments that were replaced or superseded, and are harmless.
    strays: usize,
    /// How it stands, in one word.
    pub(crate) verdict: Standing,
    /// What is damaged.
    pub(crate) damage: Vec<Problem>,
    /// What is not as it was written, and harms nothing.
    remarks: Vec<Problem>,
    /// The writer that last took its turn; null if there was none.
    pub(crate) writer: Option<Writer>,
    /// The last verification of each level that there was one of.
    pub(crate) proofs: Vec<Proof>,
    /// How far each mirror is that the configuration names for the repository.
    pub(crate) mirrors: Vec<MirrorStatus>,
}

/// How far a mirror is with a history.
#[derive(Serialize, ToSchema)]
pub(crate) struct MirrorStatus {
    /// Its name in the configuration.
    pub(crate) mirror: String,
    /// The newest commit that it has; null if it has none, or can't be asked.
    pub(crate) newest: Option<Seq>,
    /// How many commits are newer than that; null if it can't be asked.
    pub(crate) behind: Option<u64>,
    /// What keeps it from being asked, or from being a copy; null if nothing does.
    pub(crate) fault: Option<String>,
}

/// How a database stands, in one word that every part of the program uses.
#[derive(Serialize, ToSchema)]
pub(crate) struct Standing {
    /// `at-risk`, `look`, `kept` or `proven`; of a daemon also `unknown` and `paused`.
    pub(crate) state: String,
    /// Why, in words.
    pub(crate) why: String,
}

impl From<verdict::Verdict> for Standing {
    fn from(verdict: verdict::Verdict) -> Self {
        Self { state: verdict.state.name().to_owned(), why: verdict.why }
    }
}

/// A writer of a history.
#[derive(Serialize, ToSchema)]
pub(crate) struct Writer {
    /// The number of its turn.
    pub(crate) term: Term,
    /// The machine that it is on.
    pub(crate) host: String,
    /// When it took its turn.
    pub(crate) since: Timestamp,
}

impl From<WriterClaim> for Writer {
    fn from(claim: WriterClaim) -> Self {
        Self { term: claim.term, host: claim.host, since: claim.since }
    }
}

/// The stored result of a verification.
#[derive(Serialize, ToSchema)]
pub(crate) struct Proof {
    /// The commit that was verified; at level chain and data the newest one of those.
    pub(crate) seq: Seq,
    /// How deep it looked.
    pub(crate) level: Level,
    /// When it began.
    pub(crate) time: Timestamp,
    /// Whether nothing failed.
    passed: bool,
    /// What failed, in words; null if nothing did.
    pub(crate) failure: Option<String>,
    /// What the failure is about; null if nothing failed.
    pub(crate) about: Option<About>,
    /// The part of the batches that was opened, from 0 to 1; at level restore, of the checks that
    /// could be made.
    pub(crate) coverage: f64,
    /// The machine that verified.
    host: String,
}

impl Proof {
    /// A proof of a history.
    pub(crate) fn of(history: &History, proof: &format::proof::Proof) -> Self {
        Self {
            seq: proof.seq,
            level: proof.level,
            time: proof.started,
            passed: proof.failure.is_none(),
            failure: proof.failure.clone(),
            about: About::of(history, proof),
            coverage: f64::from(proof.coverage_ppm) / 1e6,
            host: proof.host.clone(),
        }
    }
}

/// The levels, in the order in which they are told.
pub(crate) const LEVELS: [Level; 3] = [Level::Chain, Level::Data, Level::Restore];

impl HistoryStatus {
    /// How a history stands that was judged; reads what else has to be known.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn read(
        history: &History,
        chain: &Chain,
        judged: &Soundness,
        fresh: &Freshness,
        failed: Option<&Doubt>,
        promise: Promise,
        now: Timestamp,
    ) -> Result<Self> {
        let mut standing = standing(fresh, failed);
        if let Some(damage) = judged.damage.first() {
            standing.damage = Some(format!("{}: {}", damage.object, damage.message));
        }
        // Those that can't be read are among the damage.
        let (proofs, _) = history.readable_proofs()?;
        let last_of = |level| proofs.iter().filter(|p| p.level == level).max_by_key(|p| p.started);
        let last_proofs = LEVELS.into_iter().filter_map(last_of);
        let age = |time: Option<Timestamp>| time.map(|time| since(time, now).as_secs());
        let latest = chain.latest();
        let size =
            |c: &crate::repo::chain::Commit| c.segment.manifest.page_size.file_len(c.record.pages);
        Ok(Self {
            history: history.name().to_owned(),
            id: history.id(),
            source: history.about().source.clone(),
            commits: number(chain.commits().count()),
            last_commit: latest.as_ref().map(|c| c.seq),
            last_commit_time: latest.as_ref().map(|c| c.record.time),
            last_run: last_run_here(history)?,
            age_seconds: age(fresh.stored),
            proof_age_seconds: age(fresh.proven),
            database_bytes: latest.as_ref().map(size).unwrap_or_default(),
            stored_bytes: chain.segments().iter().map(|s| s.stored_len()).sum(),
            segments: number(chain.stored().count()),
            strays: chain.strays(),
            verdict: verdict::verdict(&standing, promise, now).into(),
            damage: judged.damage.iter().map(Problem::from).collect(),
            remarks: judged.remarks.iter().map(Problem::from).collect(),
            writer: newest_claim(history)?.map(Writer::from),
            proofs: last_proofs.map(|proof| Proof::of(history, proof)).collect(),
            mirrors: Vec::new(),
        })
    }
}

/// How long ago a time was; a time ahead, which a clock that is a little wrong makes, is now.
pub(crate) fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0))
}
