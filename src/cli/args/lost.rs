//! The flags of the commands that bring back only what was lost: `recover` and `undo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::when::when;
use crate::ops::apply::report::OnConflict;
use crate::policy::typed::parse_size;

/// Put back rows that were there at some moment and are missing now
///
/// Only these rows change, in the live database, as one transaction beside the application: what
/// came since stays. The state before is captured and labelled first, and `undo` takes it back.
/// Triggers do not run. A row that meets another one's unique value is a conflict, and nothing is
/// done then.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep recover app.db --at \"2h ago\" --table orders -n
  pagekeep recover app.db --at seq:17 --table orders --table items
  pagekeep recover app.db --at yesterday --table orders --where \"customer = 7\" --changed"))]
pub(crate) struct RecoverArgs {
    /// The database file
    pub(crate) database: PathBuf,
    /// The moment that has the rows
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: String,
    /// The table; may be repeated, as for rows that refer to each other
    #[arg(long, value_name = "TABLE", required = true)]
    pub(crate) table: Vec<String>,
    /// Only rows for which this SQL expression is true
    #[arg(long = "where", value_name = "SQL")]
    pub(crate) filter: Option<String>,
    /// Set back rows, too, that are there with other values
    #[arg(long)]
    pub(crate) changed: bool,
    /// What to do with a row that another one is in the way of
    #[arg(long, value_enum, default_value = "stop")]
    pub(crate) on_conflict: InTheWay,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// Take back what commits did to rows, and keep what came later
///
/// The reverse of their changes is applied to the live database, as one transaction beside the
/// application. A row that somebody changed since is a conflict: it is listed, and nothing is done
/// unless --on-conflict says otherwise. Columns that these commits left alone do not count. The
/// state before is captured and labelled first, and another `undo` takes this one back. Triggers do
/// not run.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep undo app.db latest -n
  pagekeep undo app.db seq:451
  pagekeep undo app.db seq:451..seq:460 --table orders --on-conflict skip"))]
pub(crate) struct UndoArgs {
    /// The database file
    pub(crate) database: PathBuf,
    /// The commit, or the first and the last one of several
    #[arg(value_name = "WHEN[..WHEN]")]
    pub(crate) commits: String,
    /// Only rows of this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    /// What to do with a row that somebody changed since
    #[arg(long, value_enum, default_value = "stop")]
    pub(crate) on_conflict: Since,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// How rows of the past are brought into a live database.
#[derive(Args, Debug)]
pub(crate) struct HowArgs {
    /// The history's name [default: the file's name without its extension]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only show which rows would change, and how
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How --dry-run shows rows [default: text]
    #[arg(long, value_enum, requires = "dry_run", conflicts_with = "json")]
    pub(crate) format: Option<ChangeFormat>,
    /// The label of the state before [default: names what is done]
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Go on although a `watch` of another machine, account or container seems to be at work: that
    /// one stops with exit code 11
    #[arg(long)]
    pub(crate) takeover: bool,
    /// How much memory may hold pages of the past and what finds them
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "32MiB")]
    pub(crate) cache: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChangeFormat {
    /// A line a row, for people
    Text,
    /// SQL that does the same
    Sql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InTheWay {
    /// Do nothing at all
    Stop,
    /// Leave that row out
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Since {
    /// Do nothing at all
    Stop,
    /// Leave that row as it is
    Skip,
    /// Take the change back all the same; what somebody made of that row since is lost
    Force,
}

impl InTheWay {
    /// What the choice means.
    pub(crate) const fn choice(self) -> OnConflict {
        match self {
            Self::Stop => OnConflict::Stop,
            Self::Skip => OnConflict::Skip,
        }
    }
}

impl Since {
    /// What the choice means.
    pub(crate) const fn choice(self) -> OnConflict {
        match self {
            Self::Stop => OnConflict::Stop,
            Self::Skip => OnConflict::Skip,
            Self::Force => OnConflict::Force,
        }
    }
}
