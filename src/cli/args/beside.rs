//! Commands for a daemon that runs: jobs, pauses, tokens.

use clap::{Args, Subcommand, ValueEnum};

/// What a daemon does with one database now and then.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List the jobs that wait and run, and past ones, the newest first
    #[command(after_help = "Examples:
  pagekeep job list                    # the newest 20
  pagekeep job list shop --last 100    # of one database
  pagekeep job list --result failed")]
    List {
        /// Only those of this database
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Its repository in the configuration, if two of them have a history of the name
        #[arg(long, value_name = "REPOSITORY", requires = "name")]
        repository: Option<String>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
        last: u64,
        /// Only those that came out so: waiting, running, well, found, failed, unknown, stopped,
        /// cancelled, interrupted
        #[arg(long, value_name = "RESULT")]
        result: Option<String>,
    },
    /// Begin a job now, before its next scheduled time
    ///
    /// It begins as soon as its turn comes. What it comes to is in `pagekeep job list`, and with
    /// --wait in the exit code: 0 if it did well, 3 if nobody can tell, 4 if it found something, 1
    /// if it failed, 130 if somebody ended it. 17: it can't begin, since the database is paused, or
    /// has no commit yet.
    #[command(after_help = "Examples:
  pagekeep job start shop backup
  pagekeep job start shop verify-restore --wait
  pagekeep job start shop prune -c /etc/pagekeep/pagekeep.toml")]
    Start(JobStartArgs),
    /// End a job that waits or runs
    #[command(after_help = "Example:
  pagekeep job stop 4711")]
    Stop {
        /// Its number
        #[arg(value_name = "ID")]
        id: u64,
    },
}

#[derive(Args, Debug)]
pub(crate) struct JobStartArgs {
    #[command(flatten)]
    pub(crate) of: OfDaemonArgs,
    /// backup, files, verify-data, verify-restore, prune or drift
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// Wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
}

/// A database of the daemon.
#[derive(Args, Debug)]
pub(crate) struct OfDaemonArgs {
    /// The database, by the name of its history
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its repository in the configuration, if two of them have a history of the name
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) repository: Option<String>,
}

/// Who may ask the daemon over HTTP.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; it is printed once, to standard output
    #[command(after_help = "Examples:
  pagekeep token add grafana --role viewer
  pagekeep token add deploy --role operator --days 90
  pagekeep token add support --role viewer --looks   # may read the rows of databases")]
    Add(TokenAddArgs),
    /// List the tokens
    #[command(after_help = "Example:
  pagekeep token list")]
    List,
    /// Take a token away: whoever has it may do nothing any more
    #[command(after_help = "Example:
  pagekeep token remove deploy")]
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TokenAddArgs {
    /// Its name: letters, digits, and any of - _ . @
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What whoever has it may do
    #[arg(long, value_enum, default_value_t = RoleArg::Viewer)]
    pub(crate) role: RoleArg,
    /// Let it read the rows of databases
    #[arg(long)]
    pub(crate) looks: bool,
    /// After how many days it ends [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: Option<u32>,
}

/// What somebody may do; each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// See how everything stands
    Viewer,
    /// Begin and end jobs, give labels, pause and resume databases
    Operator,
    /// Give and take tokens, have the configuration read, read the audit log
    Admin,
}
