//! The answers: what the command line prints with `--json`, one struct for each, made from what the
//! engine reports.
//!
//! They are the one source of what programs are told. The command line prints them as lines; people
//! get the same facts as text. Doc comments here are the documentation of the answers: the JSON
//! Schema and `docs/json.md` have them word for word.
//!
//! Invariants:
//! - Nothing here knows options, prints, or words a next step: the command line does.
//! - An answer stands in [`ALL`], and so in the schema and in the documents.
//! - A member has its unit in its name, or is a number of what its name says. Times are
//!   [`Timestamp`](crate::types::Timestamp)s.
//! - A member is always there, and null where there is nothing to say. The few that may be missing
//!   say so, with `skip_serializing_if` and `nullable = false`.

pub(crate) mod adopt;
pub(crate) mod backup;
pub(crate) mod commit;
pub(crate) mod config;
pub(crate) mod coverage;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod evidence;
pub(crate) mod files;
pub(crate) mod find;
pub(crate) mod follow;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod lost;
pub(crate) mod notify;
pub(crate) mod problem;
pub(crate) mod progress;
pub(crate) mod query;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod rows;
mod scalar;
pub(crate) mod schema;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod trace;
pub(crate) mod verify;

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

/// Something that the command line prints as one line of JSON.
pub(crate) trait Answer: Serialize + ToSchema {
    /// The member `type` of its line.
    const TYPE: &'static str;
}

/// An answer as its line: with its type in front.
#[derive(Serialize)]
pub(crate) struct Line<'a, A> {
    r#type: &'static str,
    #[serde(flatten)]
    answer: &'a A,
}

impl<'a, A: Answer> Line<'a, A> {
    pub(crate) fn of(answer: &'a A) -> Self {
        Self { r#type: A::TYPE, answer }
    }
}

/// The type of the last line of long work.
pub(crate) const SUMMARY: &str = "summary";

/// An answer's type, and how to describe it.
#[derive(Clone, Copy)]
pub(crate) struct Described {
    pub(crate) r#type: &'static str,
    pub(crate) name: fn() -> Cow<'static, str>,
    schema: fn() -> RefOr<Schema>,
    parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

/// How to describe an answer.
pub(crate) const fn described<A: Answer>() -> Described {
    Described { r#type: A::TYPE, name: A::name, schema: A::schema, parts: A::schemas }
}

macro_rules! answers {
    ($($module:ident::$name:ident = $type:expr;)+) => {
        $(impl Answer for $module::$name {
            const TYPE: &'static str = $type;
        })+
        /// All answers.
        pub(crate) const ALL: &[Described] = &[$(described::<$module::$name>()),+];
    };
}

answers! {
    adopt::Missing = "missing";
    adopt::AdoptSummary = SUMMARY;
    adopt::DisasterKitSummary = SUMMARY;
    backup::BackupSummary = SUMMARY;
    backup::CopySummary = SUMMARY;
    commit::Commit = "commit";
    commit::CommitDetails = "commit";
    commit::LabelSummary = SUMMARY;
    commit::UnlabelSummary = SUMMARY;
    config::Mistake = "mistake";
    config::ConfiguredDatabase = "configured-database";
    config::EffectiveConfig = "effective-config";
    config::ConfigSummary = SUMMARY;
    config::RunSummary = SUMMARY;
    config::ConfigWrittenSummary = SUMMARY;
    coverage::Stretch = "stretch";
    coverage::CoverageSummary = SUMMARY;
    daemon::DaemonJob = "job";
    daemon::JobAccepted = SUMMARY;
    daemon::JobStopSummary = SUMMARY;
    daemon::PauseSummary = SUMMARY;
    daemon::Token = "token";
    daemon::TokenMade = SUMMARY;
    daemon::TokenRemovedSummary = SUMMARY;
    demo::Step = "step";
    demo::DemoSummary = SUMMARY;
    evidence::EvidenceSummary = SUMMARY;
    evidence::EvidenceChecked = SUMMARY;
    files::FilePassedOver = "passed-over";
    files::FilesSummary = SUMMARY;
    files::KeptFile = "kept-file";
    files::FileRefused = "refused";
    files::FilesRestoreSummary = SUMMARY;
    find::Reply = "reply";
    find::FindSummary = SUMMARY;
    follow::Scan = "scan";
    follow::Fault = "fault";
    follow::Recovered = "recovered";
    follow::Marked = "marked";
    follow::Follower = "follower";
    follow::WatchSummary = SUMMARY;
    keys::InitSummary = SUMMARY;
    keys::Key = "key";
    keys::PublicKey = "public-key";
    keys::RecoveryKey = "recovery-key";
    keys::AddSummary = SUMMARY;
    keys::RemoveSummary = SUMMARY;
    keys::PasswdSummary = SUMMARY;
    keys::RecoverySummary = SUMMARY;
    keys::RotateSummary = SUMMARY;
    keys::RewriteSummary = SUMMARY;
    live::RewindSummary = SUMMARY;
    live::PreviewSummary = SUMMARY;
    live::DriftSummary = SUMMARY;
    lost::Conflict = "conflict";
    lost::RecoverSummary = SUMMARY;
    lost::UndoSummary = SUMMARY;
    notify::NotifyChannel = "channel";
    notify::NotifyTestSummary = SUMMARY;
    problem::Failure = "error";
    problem::Warning = "warning";
    problem::Note = "note";
    problem::Finding = "finding";
    progress::Progress = "progress";
    query::Row = "row";
    query::QuerySummary = SUMMARY;
    repair::Damage = "damage";
    repair::Remark = "remark";
    repair::RepairSummary = SUMMARY;
    repair::Repository = "repository";
    repair::AcceptSummary = SUMMARY;
    restore::RestoreSummary = SUMMARY;
    restore::PresentSummary = SUMMARY;
    restore::Restored = "restored";
    restore::RestoreAllSummary = SUMMARY;
    retention::Kept = "kept";
    retention::Dropped = "dropped";
    retention::PruneSummary = SUMMARY;
    retention::Hold = "hold";
    retention::HoldSummary = SUMMARY;
    retention::HoldRemovedSummary = SUMMARY;
    retention::Deleted = "deleted";
    rows::RowChange = "row-change";
    rows::SchemaChange = "schema-change";
    rows::TableDiff = "table-diff";
    rows::DiffSummary = SUMMARY;
    rows::SchemaStep = "schema";
    rows::RowStep = "change";
    rows::CommitEnd = "commit-end";
    stats::Period = "period";
    stats::AgeShare = "age";
    stats::RuleCost = "rule";
    stats::PolicyCost = "policy";
    stats::TableChanges = "table";
    stats::Elsewhere = "elsewhere";
    stats::Stats = "stats";
    stats::StatsSummary = SUMMARY;
    status::HistoryStatus = "status";
    trace::Version = "version";
    trace::TraceSummary = SUMMARY;
    verify::Verified = "verified";
    verify::Refuted = "refuted";
    verify::VerifySummary = SUMMARY;
}
