//! A daemon's configuration: what is wrong with it, and what it comes to.

use serde::Serialize;
use utoipa::ToSchema;

use crate::types::Timestamp;

/// Something that is wrong with a configuration.
#[derive(Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// The file.
    pub(crate) file: String,
    /// The line that it is about, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// What helps; null if that is not known.
    pub(crate) help: Option<String>,
}

/// A database that a configuration names, or that matches one of its patterns.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfiguredDatabase {
    /// The name of its history.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: String,
    /// Whether the file is there.
    pub(crate) exists: bool,
    /// The name of its repository in the configuration.
    pub(crate) repository: String,
    /// `follow` or `snapshots`.
    pub(crate) mode: String,
    /// Whether nothing is done with it for now.
    pub(crate) paused: bool,
    /// What is done with it by schedules.
    pub(crate) schedules: Vec<Scheduled>,
}

/// Something that is done again and again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scheduled {
    /// What is done: `backup`, `files`, `verify-data`, `verify-restore` or `prune`.
    pub(crate) job: String,
    /// The schedule, as the configuration has it.
    pub(crate) schedule: String,
    /// What it means, in words.
    pub(crate) meaning: String,
    /// When it is next; null if never.
    pub(crate) next: Option<Timestamp>,
}

/// What a check of a configuration came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigSummary {
    /// The file.
    pub(crate) file: String,
    /// How many repositories it names.
    pub(crate) repositories: u64,
    /// How many databases there are now.
    pub(crate) databases: u64,
    /// How many things are wrong with it.
    pub(crate) mistakes: u64,
}

/// A configuration, with every value that is in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct EffectiveConfig {
    /// The file.
    pub(crate) file: String,
    /// The whole of it, as TOML.
    pub(crate) toml: String,
}

/// What a daemon did until it was stopped.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunSummary {
    /// How many databases it kept at the end.
    pub(crate) databases: u64,
    /// How many commits its followers stored.
    pub(crate) commits: u64,
    /// How many jobs it began.
    pub(crate) jobs: u64,
    /// Of how many databases not all was stored when it ended, as far as it knows.
    pub(crate) unstored: u64,
    /// How long it was at work.
    pub(crate) seconds: f64,
}

/// A configuration that was written.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigWrittenSummary {
    /// The file.
    pub(crate) file: String,
    /// How many databases it names.
    pub(crate) databases: u64,
}
