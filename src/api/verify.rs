//! What a verification found.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::format::proof::Level;
use crate::ops::finding::Finding;
use crate::ops::verify::VerifyReport;
use crate::repo::history::handle::History;
use crate::types::Seq;

/// An assertion that does not hold.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refuted {
    /// The name of the history.
    history: String,
    /// The commit.
    object: String,
    /// The assertion, and what the database answered.
    message: String,
}

impl Refuted {
    /// What a verification of a history found.
    pub(crate) fn of(history: &History, finding: &Finding) -> Self {
        Self {
            history: history.name().to_owned(),
            object: finding.object.clone(),
            message: finding.message.clone(),
        }
    }
}

/// What the verification of a history came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verified {
    /// The name of the history.
    history: String,
    /// How deep it looked.
    level: Level,
    /// Whether nothing is damaged, and every assertion holds.
    passed: bool,
    /// The assertions that do not hold, in words.
    refuted: Vec<String>,
    /// Rows that break a rule of the application's own, such as a foreign key, in words.
    broken_rules: Vec<String>,
    /// What this program could not check, and why, in words.
    unchecked: Vec<String>,
    /// How many segments the history needs.
    segments: usize,
    /// How many commits can be selected.
    commits: usize,
    /// How many batches there are.
    batches: u64,
    /// How many batches were opened.
    batches_opened: u64,
    /// Bytes of pages whose digests were compared.
    page_bytes: u64,
    /// The commits that were restored.
    restored: Vec<Seq>,
    /// Whether the time ran out.
    timed_out: bool,
    /// How many segments were replaced or superseded, and are harmless.
    strays: usize,
    /// The names of those among them that can't be read; no prune deletes them.
    unreadable: Vec<String>,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}

/// Whether nothing is damaged, and every assertion holds.
pub(crate) fn passed(report: &VerifyReport) -> bool {
    report.findings.is_empty() && report.refuted.is_empty()
}

impl Verified {
    /// What a verification of a history found, which took so long.
    pub(crate) fn of(
        history: &History,
        level: Level,
        report: &VerifyReport,
        took: Duration,
    ) -> Self {
        let texts = |findings: &[Finding]| {
            findings.iter().map(|f| format!("{}: {}", f.object, f.message)).collect()
        };
        Self {
            history: history.name().to_owned(),
            level,
            passed: passed(report),
            refuted: texts(&report.refuted),
            broken_rules: texts(&report.broken_rules),
            unchecked: texts(&report.unchecked),
            segments: report.segments,
            commits: report.commits,
            batches: report.batches,
            batches_opened: report.batches_opened,
            page_bytes: report.page_bytes,
            restored: report.restored.clone(),
            timed_out: report.timed_out,
            strays: report.strays,
            unreadable: report.unreadable.clone(),
            seconds: took.as_secs_f64(),
        }
    }
}

/// What all verifications of a command came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerifySummary {
    /// How deep they looked.
    level: Level,
    /// How many histories there are to verify.
    histories: usize,
    /// How many commits those have.
    commits: usize,
    /// Bytes of pages whose digests were compared.
    page_bytes: u64,
    /// How many findings there are in what was verified.
    findings: usize,
    /// How many assertions do not hold.
    refuted: usize,
    /// How many rules of the application are broken.
    broken_rules: usize,
    /// How many things could not be checked.
    unchecked: usize,
    /// Whether nothing is damaged, and every assertion holds.
    passed: bool,
    /// How long it took, in seconds.
    seconds: f64,
}

impl VerifySummary {
    /// The totals of some histories. `is_sound` is false if damage was found elsewhere.
    pub(crate) fn of(
        level: Level,
        histories: usize,
        totals: &VerifyReport,
        is_sound: bool,
        took: Duration,
    ) -> Self {
        Self {
            level,
            histories,
            commits: totals.commits,
            page_bytes: totals.page_bytes,
            findings: totals.findings.len(),
            refuted: totals.refuted.len(),
            broken_rules: totals.broken_rules.len(),
            unchecked: totals.unchecked.len(),
            passed: passed(totals) && is_sound,
            seconds: took.as_secs_f64(),
        }
    }
}
