//! The flags of what tells what a history costs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::retention::PolicyArgs;

/// Show what a history costs, and why: growth, ages, changes, compression, rules, tables
///
/// With the options of a policy it also shows what each of its rules costs: what `prune` could free
/// if that one rule was left out. Nothing is pruned. For the tables the newest commit is restored
/// to a scratch file; today's layout is applied to the past. Bytes of single page versions are
/// estimates: all those of a segment count as equally large.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep stats app
  pagekeep stats app --by week --no-tables
  pagekeep stats app --keep-window 24h --keep-daily 7 --keep-monthly 12
  pagekeep stats app --json | jq -c 'select(.type == \"period\")'")]
pub(crate) struct StatsArgs {
    /// Only this history
    pub(crate) name: Option<String>,
    /// The length of periods [default: what fits the history]
    #[arg(long, value_enum, value_name = "PERIOD")]
    pub(crate) by: Option<ByArg>,
    /// Show so many tables and indexes
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
    /// Leave tables out: nothing is restored
    #[arg(long)]
    pub(crate) no_tables: bool,
    /// Where the scratch restore goes [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR", conflicts_with = "no_tables")]
    pub(crate) scratch: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ByArg {
    Day,
    Week,
    Month,
}
