//! A daemon that comes back on another machine.

use serde::Serialize;
use utoipa::ToSchema;

/// Something that a daemon needs and that is not there.
#[derive(Serialize, ToSchema)]
pub(crate) struct Missing {
    /// What it is, such as `database` or `key file`.
    pub(crate) what: String,
    /// Which one: a path, or a name.
    pub(crate) object: String,
    /// What to do about it.
    pub(crate) next: String,
    /// The commands that do it, in their order; none if no command does.
    pub(crate) commands: Vec<String>,
}

/// What `adopt` came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdoptSummary {
    /// The file of the configuration.
    pub(crate) configuration: String,
    /// The file with what the daemon remembered.
    pub(crate) state: String,
    /// How many things are missing.
    pub(crate) missing: u64,
    /// How many databases were restored.
    pub(crate) restored: u64,
    /// The command with which the daemon goes on, once nothing is missing.
    pub(crate) run: String,
    /// Whether only this was asked for, and nothing was written.
    pub(crate) dry_run: bool,
}

/// Where `disaster-kit` wrote its page.
#[derive(Serialize, ToSchema)]
pub(crate) struct DisasterKitSummary {
    /// The file; null for standard output.
    pub(crate) file: Option<String>,
    /// How many repositories it names.
    pub(crate) repositories: u64,
    /// How many entries of databases it names.
    pub(crate) databases: u64,
}
