//! The flags of what captures a live database: `backup` and `watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Capture a live database as the next commit of its history
///
/// The first time every page is stored, later only those that changed. When nothing changed,
/// nothing is stored. The application may go on reading and writing. Beside a `watch` of this
/// account and state folder, that does the work and this waits for it: a label then names a commit
/// with everything that was committed before.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep backup app.db -r /backups/repo --key-file ~/.pagekeep.key
  pagekeep backup app.db --label \"before migration\"
  pagekeep backup /srv/two/app.db --name two")]
pub(crate) struct BackupArgs {
    /// The database file
    pub(crate) database: PathBuf,
    /// The history's name [default: the file's name without its extension]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Label the commit
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// How hard to compress
    #[arg(long, value_enum, default_value = "fast")]
    pub(crate) compression: Compression,
    /// Decode every batch again before it is published, not only a sample: a third more processor
    /// time
    #[arg(long)]
    pub(crate) self_check: bool,
    /// How to read a whole database: through its file, or by SQLite's online backup
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) reader: Reader,
    /// Go on with a history whose database lay elsewhere before
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Go on although a `watch` of another machine, account or container seems to be at work: that
    /// one stops with exit code 11
    #[arg(long)]
    pub(crate) takeover: bool,
    #[command(flatten)]
    pub(crate) marks: MarksArgs,
    /// Capture an empty file although the history has pages: it is meant to be empty
    #[arg(long)]
    pub(crate) start_empty: bool,
}

/// Follow a live database: every transaction becomes a commit that can be restored
///
/// Runs until Ctrl-C or SIGTERM, and stops with everything captured. Other processes go on reading
/// and writing; while it runs, SQLite's WAL is kept from being reset before its transactions are
/// stored, and bounded. The database should be in WAL mode.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep watch app.db -r /backups/repo --key-file ~/.pagekeep.key
  pagekeep watch app.db --interval 0            # publish every transaction at once
  pagekeep watch app.db --json | jq -c 'select(.type == \"commit\")'

`pagekeep log app` shows the transactions, `pagekeep restore app@seq:17 out.db` brings one back.")]
pub(crate) struct WatchArgs {
    /// The database file
    pub(crate) database: PathBuf,
    /// The history's name [default: the file's name without its extension]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Collect transactions for this long, such as 200ms or 5s, before they are stored together; 0
    /// stores them at once
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::policy::typed::parse_interval)]
    pub(crate) interval: Duration,
    /// Keep the WAL below this size, even if that disturbs its writers
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = crate::policy::typed::parse_wal_limit)]
    pub(crate) wal_limit: u64,
    /// Whether the application goes first when the machine is busy
    #[arg(long, value_enum, default_value = "low")]
    pub(crate) priority: Priority,
    /// How hard to compress
    #[arg(long, value_enum, default_value = "fast")]
    pub(crate) compression: Compression,
    /// Decode every batch again before it is published, not only a sample
    #[arg(long)]
    pub(crate) self_check: bool,
    #[command(flatten)]
    pub(crate) marks: MarksArgs,
    /// Go on with a history whose database lay elsewhere before
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Go on although another machine seems to follow it: that one stops with exit code 11
    #[arg(long)]
    pub(crate) takeover: bool,
    /// Restore the newest commit first if the file is not there, or is empty
    #[arg(long, conflicts_with = "start_empty")]
    pub(crate) restore_if_missing: bool,
    /// Follow an empty file although the history has pages: it is meant to be empty
    #[arg(long)]
    pub(crate) start_empty: bool,
    /// Wait for the file if it is not there yet, as before an application's first start
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Whether states are marked.
#[derive(Args, Debug)]
pub(crate) struct MarksArgs {
    /// Give no label to the state before a commit that changes the schema or frees much of the
    /// database
    #[arg(long)]
    no_marks: bool,
}

impl MarksArgs {
    /// How long marks last; `None` for no marks.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        (!self.no_marks).then_some(crate::policy::mark::LASTS)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Compression {
    /// zstd 1
    Fast,
    /// zstd 3
    Default,
    /// zstd 19
    Max,
    /// None
    Off,
}

/// What the choice means.
pub(crate) fn compression(choice: Compression) -> crate::codec::batch::Compression {
    use crate::codec::batch::Compression as Strength;
    match choice {
        Compression::Fast => Strength::Fast,
        Compression::Default => Strength::Default,
        Compression::Max => Strength::Max,
        Compression::Off => Strength::Off,
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Priority {
    /// Storing and merging give way to others; capturing does not
    Low,
    /// As important as the application
    Normal,
}

/// What the choice means.
pub(crate) fn priority(choice: Priority) -> crate::capture::follow::Priority {
    match choice {
        Priority::Low => crate::capture::follow::Priority::Low,
        Priority::Normal => crate::capture::follow::Priority::Normal,
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Reader {
    Auto,
    Raw,
    Backup,
}
