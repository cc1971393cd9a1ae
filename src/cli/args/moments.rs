//! The flags of the commands that look along a history: `find`, `coverage`, `trace`.

use std::time::Duration;

use clap::Args;

use super::when::when;
use crate::policy::typed::{parse_interval, parse_size};

/// Find the commit that changed an answer
///
/// Asks the oldest and the newest commit, and then halves what lies between: a thousand commits
/// take twelve questions. Found are two neighbouring commits, the last one with the old answer and
/// the first one with another. Where the answer changes more than once, it is the change at which
/// the answer ceases to be what it was at the beginning; with --last the one at which it became
/// what it is at the end. A table that is not there yet is an answer, too.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep find app \"SELECT count(*) FROM orders WHERE id = 17\"
  pagekeep find app \"SELECT status FROM orders WHERE id = 17\" --last
  pagekeep find app \"SELECT count(*) = 0 FROM orders\" --when-true --from yesterday"))]
pub(crate) struct FindArgs {
    /// The history
    pub(crate) name: String,
    /// The question; all rows of the answer count, in their order
    pub(crate) sql: String,
    /// Where to begin [default: the oldest commit]
    #[arg(long, value_name = "WHEN")]
    pub(crate) from: Option<String>,
    /// Where to end [default: the newest commit]
    #[arg(long, value_name = "WHEN")]
    pub(crate) to: Option<String>,
    /// Find the change to what the answer is at the end
    #[arg(long)]
    pub(crate) last: bool,
    /// Find the first commit for which the answer's first value is a number other than zero
    #[arg(long, conflicts_with = "last")]
    pub(crate) when_true: bool,
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
}

/// Show every version of a row, newest last
///
/// A row is named by its key: the INTEGER PRIMARY KEY, else the rowid, else all columns of the
/// primary key of a table WITHOUT ROWID, in their order. A KEY of a text column is that text;
/// elsewhere it is a number if it looks like one. 'quoted' is a text, x'00ff' a blob. Commits that
/// wrote no page that leads to the row are not asked.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep trace app orders 17
  pagekeep trace app orders 17 --from yesterday --limit 0
  pagekeep trace app stock Berlin 4711               # a key of two columns"))]
pub(crate) struct TraceArgs {
    /// The history
    pub(crate) name: String,
    /// The table
    pub(crate) table: String,
    /// The values of the row's key
    #[arg(required = true, allow_negative_numbers = true)]
    pub(crate) key: Vec<String>,
    /// Where to begin [default: the oldest commit]
    #[arg(long, value_name = "WHEN")]
    pub(crate) from: Option<String>,
    /// Where to end [default: the newest commit]
    #[arg(long, value_name = "WHEN")]
    pub(crate) to: Option<String>,
    /// Only the newest N versions; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
}

/// Show which moments of a history can be reached
///
/// Stretches where every transaction is kept, where backups were taken now and then, where a policy
/// let commits go, gaps, and what is lost; how much could be lost now; and how old the proofs are.
/// Exit code 4 if something is lost or damaged.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep coverage app
  pagekeep coverage app --json")]
pub(crate) struct CoverageArgs {
    /// The history
    pub(crate) name: String,
}

/// What a question may take.
#[derive(Args, Debug)]
pub(crate) struct BoundsArgs {
    /// How long a statement may take, such as 10s; 0 for as long as it takes
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "60s")]
    pub(crate) timeout: Duration,
    /// How much memory may hold pages and what finds them
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "32MiB")]
    pub(crate) cache: u64,
}
