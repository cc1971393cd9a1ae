//! The flags of `adopt` and `disaster-kit`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Bring a daemon back on a bare machine, from one of its repositories
///
/// Brings back the configuration, as the daemon last read it, and what it remembered, and says what
/// is missing here: keys, repositories, databases. No file that is there is replaced.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep adopt /mnt/backups/repo --recovery-key-file card.txt
  pagekeep adopt /mnt/backups/repo --key-file key --restore")]
pub(crate) struct AdoptArgs {
    /// The repository: a directory
    #[arg(value_name = "LOCATION")]
    pub(crate) location: String,
    /// The machine whose daemon it was, if several keep their databases there
    #[arg(long, value_name = "HOST")]
    pub(crate) from: Option<String>,
    /// Where the configuration is written [default: where it was]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Restore every database of this repository that is not there, to where it was
    #[arg(long)]
    pub(crate) restore: bool,
    /// Only say what would be done, and what is missing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Print a page for the safe: what is kept where, what opens it, and how it is brought back
///
/// It has no secrets. Print it anew when the configuration changes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep disaster-kit -c pagekeep.toml
  pagekeep disaster-kit -c pagekeep.toml --format html -o kit.html")]
pub(crate) struct DisasterKitArgs {
    /// As what
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: KitFormat,
    /// The file to create [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KitFormat {
    Text,
    Html,
}
