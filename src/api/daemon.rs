//! What a running daemon tells: how its databases stand, which jobs there are, who may ask.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commit::Commit;
use super::coverage::{CoverageSummary, Stretch};
use super::status::Standing;
use crate::error::ErrorKind;
use crate::types::{Seq, Timestamp};

/// A daemon, and who asks it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DaemonAbout {
    /// The version of the program.
    pub(crate) version: &'static str,
    /// The machine that it runs on.
    pub(crate) host: String,
    /// What time it is there.
    pub(crate) at: Timestamp,
    /// The configuration that it goes by.
    pub(crate) configuration: String,
    /// Who asks.
    pub(crate) asked_by: Asker,
}

/// Who asks a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Asker {
    /// The name of the token; `the owner` for whoever may open the daemon's socket.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// Whether it may read the rows of databases.
    pub(crate) looks: bool,
}

/// What somebody may do. Each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Sees how everything stands.
    Viewer,
    /// Begins and ends jobs, gives labels, pauses databases.
    Operator,
    /// Gives and takes tokens, has the configuration read, reads the audit log.
    Admin,
}

impl Role {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The one of a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The databases of a daemon.
#[derive(Serialize, ToSchema)]
pub(crate) struct DaemonDatabases {
    /// When they stood so.
    pub(crate) at: Timestamp,
    /// Sorted by repository and name.
    pub(crate) databases: Vec<DaemonDatabase>,
}

/// A database of a daemon.
#[derive(Serialize, ToSchema)]
pub(crate) struct DaemonDatabase {
    /// The name of its repository in the configuration.
    pub(crate) repository: String,
    /// The name of its history.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: String,
    /// How it stands, in one word, and why.
    pub(crate) verdict: Standing,
    /// What is done to capture it now: `idle`, `waiting`, `moving`, `followed` or `asleep`.
    pub(crate) phase: String,
    /// Who paused it; null if it is not paused.
    pub(crate) paused: Option<PausedBy>,
    /// When its newest commit was captured; null if that is not known.
    pub(crate) newest: Option<Timestamp>,
    /// When everything in it was last known to be stored; null if it never was.
    pub(crate) stored: Option<Timestamp>,
    /// When a verification that opens what is stored last passed; null if none ever did.
    pub(crate) verified: Option<Timestamp>,
    /// When a restore of it last passed; null if none ever did.
    pub(crate) restored: Option<Timestamp>,
    /// How long the oldest transaction that is not stored waits, in seconds; null if nobody follows
    /// the database.
    pub(crate) lag_seconds: Option<f64>,
    /// The job that runs; null if none does.
    pub(crate) job: Option<RunningJob>,
    /// The jobs that somebody asked for, and that have not begun.
    pub(crate) waiting: Vec<WaitingJob>,
    /// How the last job of each kind ended.
    pub(crate) last_jobs: Vec<LastJob>,
    /// How far each mirror is.
    pub(crate) mirrors: Vec<DaemonMirror>,
}

/// Who paused a database.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct PausedBy {
    /// Somebody, or `the configuration`.
    pub(crate) by: String,
    /// Since when; null if the configuration did.
    pub(crate) since: Option<Timestamp>,
}

/// How far a daemon's mirror is with a database.
#[derive(Serialize, ToSchema)]
pub(crate) struct DaemonMirror {
    /// Its name in the configuration.
    pub(crate) mirror: String,
    /// When it was last known to have everything; null if it never was.
    pub(crate) complete: Option<Timestamp>,
    /// What keeps it from having everything; null if nothing does.
    pub(crate) fault: Option<String>,
}

/// A job that runs.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct RunningJob {
    /// Its number.
    pub(crate) id: u64,
    /// What it does.
    pub(crate) kind: String,
    /// When it began.
    pub(crate) began: Timestamp,
    /// What it is busy with; null before its first phase.
    pub(crate) phase: Option<String>,
    /// Bytes of database pages that are done in this phase.
    pub(crate) done_bytes: u64,
    /// How many there are; null if that is not known.
    pub(crate) total_bytes: Option<u64>,
    /// Bytes done a second in this phase.
    pub(crate) bytes_per_second: u64,
    /// Seconds left of this phase; null if nobody can tell.
    pub(crate) eta_seconds: Option<u64>,
}

/// A job that waits for its turn.
#[derive(Serialize, ToSchema)]
pub(crate) struct WaitingJob {
    /// Its number.
    pub(crate) id: u64,
    /// What it will do.
    pub(crate) kind: String,
}

/// How the last job of a kind ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct LastJob {
    /// What it did.
    pub(crate) kind: String,
    /// When it ended.
    pub(crate) ended: Timestamp,
    /// `well`, `found` or `failed`.
    pub(crate) result: String,
    /// What it came to, in words.
    pub(crate) message: String,
    /// How many in a row did not end well.
    pub(crate) failures: u32,
}

/// Jobs of a daemon, the newest first.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct DaemonJobs {
    pub(crate) jobs: Vec<DaemonJob>,
    /// Ask with `before` of this number for the ones that began earlier; null if there are none.
    pub(crate) next: Option<u64>,
}

/// A job of a daemon.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct DaemonJob {
    /// Its number.
    pub(crate) id: u64,
    /// The database, as `repository/name`, or the group.
    pub(crate) database: String,
    /// What it does.
    pub(crate) kind: String,
    /// The time that it was scheduled for; null if it waits for no time.
    pub(crate) scheduled: Option<Timestamp>,
    /// When it began; null if it waits.
    pub(crate) began: Option<Timestamp>,
    /// When it ended; null if it has not.
    pub(crate) ended: Option<Timestamp>,
    /// `waiting`, `running`, `well`, `found`, `failed`, `unknown`, `stopped`, `cancelled` or
    /// `interrupted`.
    pub(crate) result: String,
    /// What it came to, in words.
    pub(crate) message: String,
    /// How far it is; null if it does not run.
    pub(crate) progress: Option<RunningJob>,
}

/// A job that was asked for.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct JobAccepted {
    /// Its number.
    pub(crate) id: u64,
    /// Where to ask how it stands.
    pub(crate) location: String,
    /// What does the same in a shell.
    pub(crate) command: String,
}

/// A page of commits, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommitPage {
    pub(crate) commits: Vec<Commit>,
    /// Ask with `before` of this number for the older ones; null if there are none.
    pub(crate) next: Option<Seq>,
}

/// The commit that a text means.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResolvedCommit {
    pub(crate) commit: Commit,
    /// The commit before; null if there is none.
    pub(crate) before: Option<Seq>,
    /// The commit after; null if there is none.
    pub(crate) after: Option<Seq>,
    /// What may be a surprise about the choice, in words.
    pub(crate) notes: Vec<String>,
    /// What may have meant another commit, in words.
    pub(crate) warnings: Vec<String>,
    /// What shows the same in a shell.
    pub(crate) command: String,
}

/// What of a history can be reached.
#[derive(Serialize, ToSchema)]
pub(crate) struct DaemonCoverage {
    pub(crate) summary: CoverageSummary,
    /// From the oldest to the newest.
    pub(crate) stretches: Vec<Stretch>,
    /// What shows the same in a shell.
    pub(crate) command: String,
}

/// How many commits there are in each part of a stretch of time.
#[derive(Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// Where it begins, and where it ends.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// How long each part is, in seconds.
    pub(crate) bucket_seconds: f64,
    /// The parts that have commits, in order.
    pub(crate) buckets: Vec<Bucket>,
    /// The commits with labels in it, the newest ones if there are too many.
    pub(crate) labelled: Vec<Commit>,
    /// The oldest commit and the newest one of the whole history; null if there is none.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) newest: Option<Timestamp>,
}

/// A part of a stretch of time that has commits.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Bucket {
    /// Which part it is, from 0.
    pub(crate) index: u64,
    /// How many commits it has.
    pub(crate) commits: u64,
    /// The first one and the last one.
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// How many pages they changed.
    pub(crate) changed_pages: u64,
    /// The bytes that their pages took when they were stored.
    pub(crate) stored_bytes: u64,
}

/// Rows of the past.
#[derive(Serialize, ToSchema)]
pub(crate) struct PastRows {
    /// The commit that was asked.
    pub(crate) seq: Seq,
    /// When it was captured.
    pub(crate) time: Timestamp,
    /// The names of the columns.
    pub(crate) columns: Vec<String>,
    /// The rows: values in the order of the columns. Blobs are `{"blob": "00ff"}`, infinite numbers
    /// the texts `Infinity` and `-Infinity`.
    #[schema(value_type = Vec<Vec<Object>>)]
    pub(crate) rows: Vec<Vec<serde_json::Value>>,
    /// Whether there are more rows than were allowed.
    pub(crate) truncated: bool,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// What asks the same in a shell.
    pub(crate) command: String,
}

/// A label that was given.
#[derive(Serialize, ToSchema)]
pub(crate) struct LabelGiven {
    /// The commit that has it.
    pub(crate) seq: Seq,
    /// The label.
    pub(crate) label: String,
    /// What does the same in a shell.
    pub(crate) command: String,
}

/// A token, without what opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Token {
    /// Its name.
    pub(crate) name: String,
    /// What whoever has it may do.
    pub(crate) role: Role,
    /// Whether it may read the rows of databases.
    pub(crate) looks: bool,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// When it ends; null if it does not.
    pub(crate) expires: Option<Timestamp>,
}

/// Tokens, sorted by name.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<Token>,
}

/// A token that was made.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct TokenMade {
    #[serde(flatten)]
    pub(crate) token: Token,
    /// What opens. It is told this once.
    pub(crate) secret: String,
}

/// Something that somebody did or read by way of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AuditEntry {
    /// Its number.
    pub(crate) id: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// Who: the name of a token, `the owner`, or `nobody`.
    pub(crate) who: String,
    /// What was asked: a method and a path.
    pub(crate) what: String,
    /// What it was about, in words or as SQL.
    pub(crate) detail: String,
    /// The status of the answer.
    pub(crate) status: u16,
    /// The digest of this entry and of the one before it, in hex: whoever changes an entry changes
    /// all that come behind.
    pub(crate) digest: String,
}

/// Entries of the audit log, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditPage {
    pub(crate) entries: Vec<AuditEntry>,
    /// Ask with `before` of this number for the older ones; null if there are none.
    pub(crate) next: Option<u64>,
    /// Whether the digests of these entries are as they should be.
    pub(crate) whole: bool,
}

/// Why a daemon did not do what it was asked for (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// What kind of problem it is: `urn:pagekeep:problem:KIND`.
    pub(crate) r#type: String,
    /// The kind in words.
    pub(crate) title: String,
    /// The status of the answer.
    pub(crate) status: u16,
    /// What happened, in words.
    pub(crate) detail: String,
    /// What kind of error it is.
    pub(crate) kind: ErrorKind,
    /// The path, object, database or member that it is about; null if it is about none.
    pub(crate) object: Option<String>,
    /// What to do next, in words; null if nothing has to be done.
    pub(crate) hint: Option<String>,
    /// The stable names of the deeds that the hint names, in its order.
    pub(crate) remedies: Vec<&'static str>,
}

/// A job that was asked to end.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobStopSummary {
    /// Its number.
    pub(crate) id: u64,
}

/// A database that was paused, or goes on.
#[derive(Serialize, ToSchema)]
pub(crate) struct PauseSummary {
    /// The name of its repository in the configuration.
    pub(crate) repository: String,
    /// The name of its history.
    pub(crate) name: String,
    /// Who paused it; null if it is not paused any more.
    pub(crate) paused: Option<PausedBy>,
}

/// A token that was taken away.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenRemovedSummary {
    /// Its name.
    pub(crate) name: String,
}
