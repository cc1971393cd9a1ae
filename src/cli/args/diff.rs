//! The flags of `diff`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse::parse_size;
use super::when::when;

/// Show which rows differ between two moments
///
/// Rows are compared by their keys: +, - and ~ tell which came, went, or have other values. The
/// order of the two moments is yours: rows go from the first one to the second.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep diff \"app@2h ago\"                        # from then to the newest commit
  pagekeep diff app@seq:17 @seq:18 --table orders
  pagekeep diff app@yesterday --live app.db --stat
  pagekeep diff app@seq:17 @seq:18 --format sql --reverse > undo.sql"))]
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    /// A line a row, for people
    #[default]
    Text,
    /// Comma-separated values: a line for each column that differs (RFC 4180)
    Csv,
    /// SQL that turns the first moment into the second, in one transaction
    Sql,
}
