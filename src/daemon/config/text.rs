//! The configuration as it is written: a TOML file, and nothing that is not in it.
//!
//! Every value that can be wrong by itself keeps its place in the file, so that what is said about
//! it shows it. Invariant: a key that nobody reads is an error.
//!
//! Deliberately absent: what is in force where a key is left out. [`super::plan`] knows that.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::notify_text::{AlertsText, PingText, TableText};
use crate::policy::text::PolicyText;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ConfigText {
    /// What is about the daemon itself.
    #[serde(default)]
    pub(super) daemon: DaemonText,
    /// Where it answers to monitors.
    pub(super) http: Option<HttpText>,
    /// The repositories, by the names that databases use for them.
    #[serde(default)]
    pub(super) repositories: BTreeMap<Spanned<String>, Spanned<RepositoryText>>,
    /// Where alerts go, by the names that databases use for them.
    #[serde(default)]
    pub(super) channels: BTreeMap<Spanned<String>, TableText>,
    /// When somebody is told.
    #[serde(default)]
    pub(super) alerts: AlertsText,
    /// What counts for every database that says nothing else.
    #[serde(default)]
    pub(super) defaults: PlanText,
    /// The groups, by name.
    #[serde(default)]
    pub(super) groups: BTreeMap<Spanned<String>, Spanned<GroupText>>,
    /// The databases.
    #[serde(default)]
    pub(super) databases: Vec<Spanned<DatabaseText>>,
}

/// What is about the daemon itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct DaemonText {
    /// Where it keeps what it remembers.
    pub(super) state_dir: Option<Spanned<String>>,
    /// How many jobs of each repository run at once.
    pub(super) jobs: Option<Spanned<u16>>,
    /// Worker threads of each job.
    pub(super) threads: Option<Spanned<u16>>,
    /// Where restore tests put their scratch files.
    pub(super) scratch: Option<Spanned<String>>,
}

/// A group, as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct GroupText {
    /// The names of the histories; in each, `*` stands for any characters.
    pub(super) databases: Spanned<Vec<Spanned<String>>>,
    /// When one moment of them is labelled: a schedule.
    pub(super) schedule: Option<Spanned<String>>,
    /// Whose clock the schedule goes by.
    pub(super) time_zone: Option<Spanned<String>>,
    /// How long the labels last: a span, or `forever`.
    pub(super) keep: Option<Spanned<String>>,
}

/// Where the daemon answers to monitors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct HttpText {
    /// An address with a port, or `unix:` and a path.
    pub(super) listen: Spanned<String>,
    /// Whether nothing but metrics and health is told there.
    pub(super) metrics_only: Option<bool>,
    /// The names by which it is asked.
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
}

/// A repository.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RepositoryText {
    /// Where it is.
    pub(super) location: Spanned<String>,
    /// A file with its key.
    pub(super) key_file: Option<Spanned<String>>,
    /// A file whose first line is its passphrase.
    pub(super) password_file: Option<Spanned<String>>,
    /// A shell command whose first line is its passphrase.
    pub(super) password_command: Option<Spanned<String>>,
    /// A variable of the environment that has its passphrase.
    pub(super) password_env: Option<Spanned<String>>,
    /// The names of the repositories that get copies of what it has.
    #[serde(default)]
    pub(super) mirrors: Vec<Spanned<String>>,
    /// How long what is new is collected before it is copied: a span.
    pub(super) copy_every: Option<Spanned<String>>,
}

/// How a database is verified.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct VerifyText {
    /// When batches are opened and compared: a schedule.
    pub(super) data: Option<Spanned<String>>,
    /// How many of them each time: a percentage.
    pub(super) sample: Option<Spanned<String>>,
    /// When the newest commit is restored and asked: a schedule.
    pub(super) restore: Option<Spanned<String>>,
    /// Queries that must answer something true in what was restored.
    #[serde(rename = "assert")]
    pub(super) assertions: Option<Vec<String>>,
    /// How long one verification may take: a span.
    pub(super) max_time: Option<Spanned<String>>,
}

/// How old what is kept and proven may become before it is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PromiseText {
    /// Since everything was known to be stored: a span.
    pub(super) max_age: Option<Spanned<String>>,
    /// Since a verification at level data or restore passed: a span.
    pub(super) max_proof_age: Option<Spanned<String>>,
}

/// A table of a database's keys, with more in front of them. Tables that are flattened into others
/// lose the places of their values, so the keys stand in both.
macro_rules! with_plan {
    ($(#[$meta:meta])* struct $name:ident { $($more:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub(super) struct $name {
            $($more)*
            /// The name of its repository.
            pub(super) repository: Option<Spanned<String>>,
            /// `follow` or `snapshots`.
            pub(super) mode: Option<Spanned<String>>,
            /// When snapshots are made: a schedule.
            pub(super) schedule: Option<Spanned<String>>,
            /// Whose clock schedules and days go by.
            pub(super) time_zone: Option<Spanned<String>>,
            /// By how much schedules may be late, so that not all begin at once: a span.
            pub(super) jitter: Option<Spanned<String>>,
            /// How long transactions are collected for one published object: a span.
            pub(super) interval: Option<Spanned<String>>,
            /// The size at which the WAL is handed off: a size.
            pub(super) wal_limit: Option<Spanned<String>>,
            /// How long a database rests before its connections are closed: a span.
            pub(super) sleep_after: Option<Spanned<String>>,
            /// How long marks last: a span, or `off`.
            pub(super) marks: Option<Spanned<String>>,
            /// How hard to compress: `off`, `fast`, `default` or `max`.
            pub(super) compression: Option<Spanned<String>>,
            /// How long commits stay.
            pub(super) policy: Option<Spanned<PolicyText>>,
            /// When what is not to stay is removed: a schedule.
            pub(super) prune: Option<Spanned<String>>,
            /// How it is verified.
            #[serde(default)]
            pub(super) verify: VerifyText,
            /// How old it may become.
            #[serde(default)]
            pub(super) promise: PromiseText,
            /// Whether nothing is to be done with it for now.
            pub(super) paused: Option<bool>,
            /// When the live database is compared with what was captured: a schedule.
            pub(super) drift: Option<Spanned<String>>,
            /// The channels that are told of it.
            pub(super) notify: Option<Vec<Spanned<String>>>,
            /// Who is told from outside that it is well.
            pub(super) ping: Option<Spanned<PingText>>,
        }
    };
}

with_plan! {
    /// What counts for every database that says nothing else.
    #[derive(Default)]
    struct PlanText {}
}

with_plan! {
    /// A database, or all that a pattern matches.
    struct DatabaseText {
        /// Its path, or a pattern.
        pub(super) path: Spanned<String>,
        /// The name of its history.
        pub(super) name: Option<Spanned<String>>,
        /// Files of its application: paths, and patterns.
        #[serde(default)]
        pub(super) files: Vec<Spanned<String>>,
        /// What is left out of them: patterns.
        #[serde(default)]
        pub(super) exclude: Vec<Spanned<String>>,
        /// When they are kept: a schedule.
        pub(super) files_schedule: Option<Spanned<String>>,
    }
}

/// Of each field the first one's value, or else the second one's.
macro_rules! first_of {
    ($first:expr, $second:expr, $name:ident { $($field:ident),* } $($more:tt)*) => {
        $name {
            $($field: $first.$field.clone().or_else(|| $second.$field.clone()),)*
            $($more)*
        }
    };
}

impl DatabaseText {
    /// What is in force: its own keys, and those of the defaults where it has none.
    pub(super) fn plan(&self, defaults: &PlanText) -> PlanText {
        first_of!(
            self,
            defaults,
            PlanText {
                repository, mode, schedule, time_zone, jitter, interval, wal_limit, sleep_after,
                marks, compression, policy, prune, drift, paused, notify,
                ping
            }
            verify: first_of!(
                self.verify,
                defaults.verify,
                VerifyText { data, sample, restore, assertions, max_time }
            ),
            promise: first_of!(
                self.promise,
                defaults.promise,
                PromiseText { max_age, max_proof_age }
            ),
        )
    }
}
