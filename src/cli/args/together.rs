//! The flags of `restore-all`.

use std::path::PathBuf;

use clap::Args;

use super::check::CheckArg;
use super::when::when;

/// Bring several databases back into a new folder, each as it was at one moment
///
/// A label that a group of the daemon gave chooses the commits of one moment; a time, the last
/// commit of each at or before it. Every database is restored and checked before the folder gets
/// its name: all of them are there, or nothing is.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep restore-all /srv/rescued --at \"shop-and-blog 2026-11-27T12:00:00Z of 2\"
  pagekeep restore-all /srv/rescued --at \"2h ago\"          # all databases, as they were then
  pagekeep restore-all /srv/rescued shop \"tenant-*\""))]
pub(crate) struct RestoreAllArgs {
    /// The folder to create
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Only these histories; * stands for any characters
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The moment: a time, or a label [default: the newest commit of each]
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: Option<String>,
    /// What to ask SQLite before the folder gets its name
    #[arg(long, value_enum, default_value = "quick")]
    pub(crate) check: CheckArg,
    /// Only say which commits it would be and how large
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}
