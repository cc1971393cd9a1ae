//! The flags of `run` and `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Keep many databases, as a configuration file says, until stopped
///
/// Follows databases or makes snapshots by schedule, verifies them, and removes what the policy
/// does not keep. The log goes to standard error. SIGHUP reads the configuration again; SIGTERM and
/// Ctrl-C stop it with everything stored.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep config init /srv/shop.db -r /backups/repo --key-file /etc/pagekeep/key -o pagekeep.toml
  pagekeep config check -c pagekeep.toml
  pagekeep run -c pagekeep.toml")]
pub(crate) struct RunArgs {}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    Init(ConfigInitArgs),
    /// Say what a configuration comes to: databases, schedules, what is wrong
    #[command(after_help = "Example:
  pagekeep config check -c pagekeep.toml")]
    Check,
    /// Print every value that is in force, also where the file leaves it out
    #[command(after_help = "Example:
  pagekeep config show -c pagekeep.toml")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// List the channels, and how many entries of the configuration each is told of
    #[command(after_help = "Example:
  pagekeep notify list -c pagekeep.toml")]
    List,
    /// Send a test by a channel, and say what the other side answered
    ///
    /// It is marked as a test. The exit code is 0 if it was taken.
    #[command(after_help = "Example:
  pagekeep notify test ops -c pagekeep.toml")]
    Test {
        /// The channel's name in the configuration
        #[arg(value_name = "CHANNEL")]
        channel: String,
    },
}

/// Write a commented configuration for `pagekeep run`
///
/// It replaces no file. The repository is named by -r, its key by --key-file; the repository itself
/// is made by `pagekeep init`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep config init /srv/shop.db /srv/blog.db -r /backups/repo --key-file /etc/pagekeep/key -o pagekeep.toml
  pagekeep config init -r /backups/repo          # to standard output")]
pub(crate) struct ConfigInitArgs {
    /// The databases; more can be added later
    #[arg(value_name = "DB")]
    pub(crate) databases: Vec<PathBuf>,
    /// The file to create [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
