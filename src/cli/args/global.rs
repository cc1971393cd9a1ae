//! The flags that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options that go before or after any command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Take the repository, its key and its mirrors from this configuration of `pagekeep run`
    #[arg(short, long, global = true, env = "PAGEKEEP_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The repository: a directory; or the name that it has in the configuration
    #[arg(short, long, global = true, env = "PAGEKEEP_REPO", value_name = "REPO")]
    pub(crate) repo: Option<String>,
    /// Open the repository with this key file; - is standard input [env: PAGEKEEP_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", group = "secret")]
    pub(crate) key_file: Option<PathBuf>,
    /// Read the passphrase from the first line of this file [env: PAGEKEEP_PASSWORD has the
    /// passphrase itself]
    #[arg(long, global = true, value_name = "FILE", group = "secret")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the passphrase from the first line that this shell command prints
    #[arg(long, global = true, value_name = "COMMAND", group = "secret")]
    pub(crate) password_command: Option<String>,
    /// Open the repository with the recovery key in this file
    #[arg(long, global = true, value_name = "FILE", group = "secret")]
    pub(crate) recovery_key_file: Option<PathBuf>,
    /// Where this machine keeps what it remembers; can be deleted at any time [env:
    /// PAGEKEEP_STATE_DIR] [default: $XDG_STATE_HOME/pagekeep or ~/.local/state/pagekeep]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Worker threads [default: one for each core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress, no summary, and no line for each commit; faults and warnings stay
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what is being done and how long each phase took
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "CHOICE", default_value = "auto", value_enum)]
    pub(crate) color: Color,
}

/// When to use colours. `NO_COLOR` counts for `auto`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}
