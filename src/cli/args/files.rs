//! The flags of `files`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::capture::Compression;
use super::when::when;

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    Backup(FilesBackupArgs),
    Restore(FilesRestoreArgs),
    List(FilesListArgs),
}

/// Keep files and folders beside a database's history, as the next commit of NAME.files
///
/// Only files that changed are read and stored. Folders are taken with all that is in them, links
/// as links. SQLite databases are left to `backup` and `watch`. A file that can't be read is told
/// by name, with exit code 3, and what was kept of it before stays.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep files backup shop /etc/shop /srv/shop/uploads
  pagekeep files backup shop /srv/shop --exclude '*.tmp' --exclude /srv/shop/cache
  pagekeep files backup shop '/srv/tenants/*/config.toml'

In patterns * stops at /, and ** means any folders. A GLOB without / means names wherever they are.")]
pub(crate) struct FilesBackupArgs {
    /// The name of the database's history
    pub(crate) name: String,
    /// Files, folders, or patterns of them
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Leave out what matches this pattern; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// How hard to compress
    #[arg(long, value_enum, default_value = "fast")]
    pub(crate) compression: Compression,
    /// Go on with a history that another machine, or another state folder, began
    #[arg(long)]
    pub(crate) adopt: bool,
}

/// Bring the files of a commit back, into a new folder
///
/// Modes and times are as they were, and as root the owners, too. Nothing is written outside of the
/// folder. It gets its name when all of it is stored.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep files restore shop restored
  pagekeep files restore \"shop@2h ago\" restored"))]
pub(crate) struct FilesRestoreArgs {
    /// The name of the database's history, and which commit of its files
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) source: String,
    /// The folder to create
    #[arg(value_name = "DIR")]
    pub(crate) target: PathBuf,
}

/// List the files of a commit
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep files list shop
  pagekeep files list shop@yesterday --json"))]
pub(crate) struct FilesListArgs {
    /// The name of the database's history, and which commit of its files
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) source: String,
}
