//! The flags, as they are typed. [`super::context`] resolves them into what the commands use.

mod adopt;
mod beside;
mod capture;
mod check;
mod copy;
mod daemon;
mod diff;
mod evidence;
mod files;
mod global;
mod key;
mod lost;
mod moments;
mod query;
mod repair;
mod retention;
mod stats;
mod together;
mod when;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use when::when;

use crate::policy::typed::{parse_duration, parse_percent};

pub(crate) use adopt::{AdoptArgs, DisasterKitArgs, KitFormat};
pub(crate) use beside::{
    JobCommand, JobStartArgs, OfDaemonArgs, RoleArg, TokenAddArgs, TokenCommand,
};
pub(crate) use capture::{BackupArgs, Reader, WatchArgs, compression, priority};
pub(crate) use check::{CheckArg, check_of};
pub(crate) use copy::CopyArgs;
pub(crate) use daemon::{ConfigCommand, ConfigInitArgs, NotifyCommand, RunArgs};
pub(crate) use diff::{ChangesArgs, DiffArgs, DiffFormat};
pub(crate) use evidence::{EvidenceArgs, EvidenceFormat};
pub(crate) use files::{FilesBackupArgs, FilesCommand, FilesListArgs, FilesRestoreArgs};
pub(crate) use global::{Color, Global};
pub(crate) use key::{KeyCommand, NewKeyArgs, RotateArgs};
pub(crate) use lost::{ChangeFormat, HowArgs, RecoverArgs, UndoArgs};
pub(crate) use moments::{BoundsArgs, CoverageArgs, FindArgs, TraceArgs};
pub(crate) use query::{FormatArg, QueryArgs};
pub(crate) use repair::RepairArgs;
pub(crate) use retention::{HoldCommand, PolicyArgs, PruneArgs, UndeleteArgs};
pub(crate) use stats::{ByArg, StatsArgs};
pub(crate) use together::RestoreAllArgs;

/// What `--help` ends with.
const EXIT_CODES: &str = concat!(
    "\
Exit codes:
   0 done                     11 busy
   1 failure                  12 wrong key
   2 usage                    13 storage unreachable or denied
   3 done with warnings       14 no space
   4 damage found             15 format too new
   5 source unreadable        16 nothing matched
     or corrupt               17 refused, to protect data
   6 older than asked for    130 interrupted
  10 no repository

",
    when!(),
    "

Try `pagekeep demo` to see it all work in a temporary folder."
);

/// Keep every state of a SQLite database: compressed, encrypted, proven restorable.
#[derive(Debug, Parser)]
#[command(name = "pagekeep", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(InitArgs),
    Backup(BackupArgs),
    Watch(WatchArgs),
    Snapshots(SnapshotsArgs),
    Log(LogArgs),
    Show(ShowArgs),
    Restore(RestoreArgs),
    RestoreAll(RestoreAllArgs),
    Query(QueryArgs),
    Diff(DiffArgs),
    Changes(ChangesArgs),
    Find(FindArgs),
    Recover(RecoverArgs),
    Undo(UndoArgs),
    Trace(TraceArgs),
    Coverage(CoverageArgs),
    Rewind(RewindArgs),
    Drift(DriftArgs),
    Verify(VerifyArgs),
    Label(LabelArgs),
    Prune(PruneArgs),
    #[command(subcommand)]
    Hold(HoldCommand),
    Undelete(UndeleteArgs),
    Copy(CopyArgs),
    Repair(RepairArgs),
    Status(StatusArgs),
    Stats(StatsArgs),
    /// Manage the keys that open the repository
    #[command(subcommand)]
    Key(KeyCommand),
    /// Keep, list and restore the plain files of an application beside its database
    #[command(subcommand)]
    Files(FilesCommand),
    Run(RunArgs),
    /// Write, check and show the configuration of `pagekeep run`
    #[command(subcommand)]
    Config(ConfigCommand),
    Adopt(AdoptArgs),
    DisasterKit(DisasterKitArgs),
    Evidence(EvidenceArgs),
    /// List the channels of `pagekeep run`, and test them
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// The jobs of a daemon that runs: list them, begin one, end one
    #[command(
        subcommand,
        after_help = "Examples:
  pagekeep job list
  pagekeep job start shop verify-restore --wait"
    )]
    Job(JobCommand),
    /// Have a daemon that runs do nothing with a database, until it is resumed
    ///
    /// It is not captured either. What is committed meanwhile is captured when it goes on, and has
    /// the time of then: each transaction by itself where the WAL still has it, else one commit.
    #[command(after_help = "Example:
  pagekeep pause shop -c /etc/pagekeep/pagekeep.toml")]
    Pause(OfDaemonArgs),
    /// Have a daemon that runs go on with a database that was paused
    #[command(after_help = "Example:
  pagekeep resume shop -c /etc/pagekeep/pagekeep.toml")]
    Resume(OfDaemonArgs),
    /// The tokens by which programs ask a daemon that runs over HTTP
    #[command(
        subcommand,
        after_help = "Example:
  pagekeep token add grafana --role viewer"
    )]
    Token(TokenCommand),
    Demo(DemoArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// Print the JSON Schema of all that `--json` prints
    ///
    /// It has a definition for each line type, and says which command prints which of them. The
    /// dialect is 2020-12.
    #[command(after_help = "Example:
  pagekeep json-schema > pagekeep.schema.json")]
    JsonSchema,
}

/// Create a repository
///
/// The key is a key file, created if it is not there, or a passphrase, asked for twice. A recovery
/// key is printed once: it opens the repository when the other key is lost.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep init -r /backups/repo --key-file ~/.pagekeep.key
  pagekeep init -r /backups/repo                     # asks for a passphrase")]
pub(crate) struct InitArgs {
    /// Make no recovery key
    #[arg(long)]
    pub(crate) no_recovery_key: bool,
}

/// Which commits to list.
#[derive(Args, Debug)]
pub(crate) struct FilterArgs {
    /// Only commits from this time on; of a day, from its beginning
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only commits up to this time; of a day, up to its end
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only commits with this label
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
}

/// List histories with their labelled commits and the newest one
#[derive(Args, Debug)]
pub(crate) struct SnapshotsArgs {
    /// Only this history
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// List the commits of a history, newest last
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep log app
  pagekeep log app --since \"2h ago\" --json")]
pub(crate) struct LogArgs {
    /// The history
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Only the newest N of them
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Name the tables that each commit touched, with how many rows came (+), changed (~), went (-)
    #[arg(long)]
    pub(crate) tables: bool,
}

/// Show one commit: what it holds, its labels, neighbours and proofs
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep show app
  pagekeep show app@latest~1"))]
pub(crate) struct ShowArgs {
    /// The history, and which commit of it
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) target: String,
    /// Name the tables that it touched, with how many rows came (+), changed (~), went (-)
    #[arg(long)]
    pub(crate) tables: bool,
}

/// Bring a commit back as a database file
///
/// Every page is compared with its digest, the whole with the commit's, and SQLite is asked, before
/// the file gets its name.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep restore app restored.db
  pagekeep restore \"app@2h ago\" restored.db
  pagekeep restore app@latest~1 restored.db --check full"))]
pub(crate) struct RestoreArgs {
    /// The history, and which commit of it
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) source: String,
    /// The file to create
    pub(crate) target: PathBuf,
    /// Replace the target if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Do nothing if the target is there and has something in it: for what runs before an
    /// application starts
    #[arg(long, conflicts_with = "force")]
    pub(crate) if_missing: bool,
    /// What to ask SQLite before the file gets its name
    #[arg(long, value_enum, default_value = "quick")]
    pub(crate) check: CheckArg,
    /// Only say which commit it would be and how large
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Make an older commit the live database's content, while the application stays connected
///
/// The state before is captured and labelled first, so that another rewind undoes it. The commit is
/// restored to a scratch file and checked, and then installed as one SQLite transaction: open
/// connections see it with their next transaction. Writers wait meanwhile.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep rewind app.db --to \"10 min ago\" --dry-run
  pagekeep rewind app.db --to seq:1234
  pagekeep rewind app.db --to \"before migration\""))]
pub(crate) struct RewindArgs {
    /// The database file
    pub(crate) database: PathBuf,
    /// Which commit
    #[arg(long, value_name = "WHEN")]
    pub(crate) to: String,
    /// The history's name [default: the file's name without its extension]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only say what would change: pages, tables, rows
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// What to ask SQLite before the commit is installed
    #[arg(long, value_enum, default_value = "quick")]
    pub(crate) check: CheckArg,
    /// The label of the state before [default: before rewind to seq:N]
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Go on although a `watch` of another machine, account or container seems to be at work: that
    /// one stops with exit code 11
    #[arg(long)]
    pub(crate) takeover: bool,
}

/// Compare a live database with its newest commit, page by page
///
/// Finds what changed without a transaction: silent corruption of the original. Exit code 4 if
/// there is any, and 3 if it can't be told whether a transaction made the difference, because
/// nobody followed the database (`pagekeep watch`) since its newest commit.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  pagekeep drift app.db")]
pub(crate) struct DriftArgs {
    /// The database file
    pub(crate) database: PathBuf,
    /// The history's name [default: the file's name without its extension]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Prove that a history can be restored, and store the proof
///
/// chain: every object is there and they form an unbroken chain. data: every batch opens and every
/// page has its digest. restore: a scratch restore passes SQLite's integrity_check and your
/// assertions. What this program can't check, and rows that break rules of the application (foreign
/// keys, CHECK constraints), are warnings.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep verify app --level data
  pagekeep verify app@seq:250 --level restore --no-store --assert \"SELECT count(*) > 5000 FROM orders\"
  pagekeep verify app --level restore --assert \"SELECT count(*) > 0 FROM orders\"
  pagekeep verify --level data --sample 10% --max-time 5m"))]
pub(crate) struct VerifyArgs {
    /// The history, and for level restore which commit of it [default: all histories, the newest
    /// commit]
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) target: Option<String>,
    /// How deep to look
    #[arg(long, value_enum, default_value = "data")]
    pub(crate) level: LevelArg,
    /// Look at a random share of the batches, or of the commits, those with the oldest proof first
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) sample: Option<u32>,
    /// Stop after this long, such as 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) max_time: Option<std::time::Duration>,
    /// A query that must answer something true in the restored database; may be repeated
    #[arg(long = "assert", value_name = "SQL")]
    pub(crate) assertions: Vec<String>,
    /// Where scratch restores go [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Store no proof: only look
    #[arg(long)]
    pub(crate) no_store: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelArg {
    Chain,
    Data,
    Restore,
}

/// Give a commit a label, or take one back
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep label app@seq:17 \"before migration\"
  pagekeep label app \"before migration\" --remove"))]
pub(crate) struct LabelArgs {
    /// The history, and which commit of it
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) target: String,
    /// The label; not one that WHEN reads as something else
    pub(crate) label: String,
    /// Take the label back: from the commit, or without @WHEN from every commit
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Show for each history the last backup, the last proofs and the sizes
///
/// For monitoring, `--max-age` and `--max-proof-age` make what is older exit code 6. Damage, and a
/// verification that failed, are 4. With `-c`, how far each mirror is.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep status
  pagekeep status app --max-age 26h --max-proof-age 8d > /dev/null   # for cron: prints only what is wrong")]
pub(crate) struct StatusArgs {
    /// Only this history
    pub(crate) name: Option<String>,
    /// Fail if a history was not known to have everything within this time, such as 26h: by its
    /// newest commit, by the last backup of this machine, or by a `watch` that shows that it is
    /// there
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) max_age: Option<std::time::Duration>,
    /// Fail if no verification at level data or restore passed within this time, such as 8d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) max_proof_age: Option<std::time::Duration>,
}

/// See it work: a database, a busy application, two mistakes, and the ways back
///
/// Everything happens in a temporary folder, which stays so that you can look around and repeat
/// each command.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Use this folder, which must not exist, instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Remove the folder at the end
    #[arg(long)]
    pub(crate) cleanup: bool,
}

/// Print a script that completes commands, options and names of histories in your shell
///
/// The script asks this program. Names are completed where the repository is named and a key file
/// opens it; a passphrase is neither asked for nor used.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep completions bash > ~/.local/share/bash-completion/completions/pagekeep
  pagekeep completions fish > ~/.config/fish/completions/pagekeep.fish
  pagekeep completions zsh > ~/.zfunc/_pagekeep          # a folder of $fpath")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or write one for each command
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_and_after_the_command() {
        for args in [
            ["pagekeep", "-r", "x", "--json", "log", "app"],
            ["pagekeep", "log", "app", "-r", "x", "--json"],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.global.json && cli.global.repo.as_deref() == Some("x"));
        }
    }

    #[test]
    fn percentages_and_durations_are_bounded() {
        assert_eq!(parse_percent("10%"), Ok(100_000));
        assert_eq!(parse_percent("0.5"), Ok(5_000));
        for bad in ["0", "101%", "-1", "x", "NaN", ""] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("90s").is_ok() && parse_duration("0s").is_err());
    }
}
