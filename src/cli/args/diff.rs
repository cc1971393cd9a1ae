//! The flags of `diff` and `changes`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::when::when;
use crate::policy::typed::{parse_interval, parse_size};

/// Show which rows differ between two moments
///
/// Rows are compared by their keys: +, - and ~ tell which came, went, or have other values. The
/// order of the two moments is yours: rows go from the first one to the second.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep diff \"app@2h ago\"                        # from then to the newest commit
  pagekeep diff app@seq:17 @seq:18 --table orders
  pagekeep diff app@yesterday --live app.db --stat
  pagekeep diff app@seq:17 @seq:18 --format sql --reverse > undo.sql
  pagekeep diff app@seq:17 @seq:18 --format changeset > app.changeset"))]
pub(crate) struct DiffArgs {
    /// The history, and the commit to begin at
    #[arg(value_name = "NAME@WHEN")]
    pub(crate) from: String,
    /// The commit to end at, of the same history or of another one [default: the newest]
    #[arg(value_name = "[NAME]@WHEN", conflicts_with = "live")]
    pub(crate) to: Option<String>,
    /// End at this database as it is now
    #[arg(long, value_name = "DB")]
    pub(crate) live: Option<PathBuf>,
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    /// Only rows for which this SQL expression is true, before or after
    #[arg(long = "where", value_name = "SQL")]
    pub(crate) filter: Option<String>,
    /// Only how many rows of each table differ
    #[arg(long)]
    pub(crate) stat: bool,
    /// The way back: from the second moment to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// How rows are printed [default: text]
    #[arg(long, value_enum, conflicts_with_all = ["json", "stat"])]
    pub(crate) format: Option<DiffFormat>,
    /// How much memory may hold pages and what finds them, of both moments together
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "32MiB")]
    pub(crate) cache: u64,
}

/// Print what each commit did to the rows, for programs
///
/// One line of JSON for each change, in order: what became of the schema, the rows, and then the
/// end of the commit. Keep the number of the last commit that ended, and go on behind it with
/// --from: nothing is missed and nothing comes twice. Without --from it begins with all rows of the
/// oldest commit. Where a policy let commits go, a change is told with the next one that is kept.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep changes app                                # from the beginning
  pagekeep changes app --from seq:17 --table orders
  pagekeep changes app --from latest --follow         # as commits come"))]
pub(crate) struct ChangesArgs {
    /// The history
    pub(crate) name: String,
    /// The commit to go on behind [default: begin with the oldest]
    #[arg(long, value_name = "WHEN")]
    pub(crate) from: Option<String>,
    /// The commit to end with [default: the newest]
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub(crate) to: Option<String>,
    /// Go on as commits come, until stopped
    #[arg(long)]
    pub(crate) follow: bool,
    /// How often to look for new commits with --follow
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    /// How much memory may hold pages and what finds them
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "32MiB")]
    pub(crate) cache: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    /// A line a row, for people
    #[default]
    Text,
    /// Comma-separated values: a line for each column that differs (RFC 4180)
    Csv,
    /// SQL that turns the first moment into the second, in one transaction
    Sql,
    /// A changeset, as SQLite's session extension takes it; bytes, and rows alone
    Changeset,
}
