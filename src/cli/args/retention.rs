//! The flags of what decides how long commits stay.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::when::when;
use crate::policy::text::PeriodsText;

/// Keep what a policy promises, and reclaim the room of everything else
///
/// Besides what the options say, the newest commit always stays, so does what has a label or is on
/// hold, and a commit whose label was removed for another week. Periods are those of the calendar:
/// `--keep-daily 7` keeps the last commit of each of the newest seven days that have one,
/// `--keep-daily 30d` of each day within 30 days. May run beside backups, watches and restores, and
/// be stopped at any time; the next one goes on.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep prune app --keep-window 24h --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  pagekeep prune --policy retention.toml           # all histories

retention.toml has the same names without the dashes in front:
  keep-window = \"24h\"
  keep-daily = 7
  time-zone = \"Europe/Berlin\"")]
pub(crate) struct PruneArgs {
    /// Only this history
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Only say what would be kept and what would go
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Let commits expire although the last verification failed; damage that is found now still
    /// ends it
    #[arg(long)]
    pub(crate) in_doubt: bool,
    /// Keep stored objects that were replaced for so long, for readers that are at them; 0 deletes
    /// them at once
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = grace)]
    pub(crate) grace: Duration,
    /// List every commit, not only stretches of them
    #[arg(long)]
    pub(crate) list: bool,
}

/// A retention policy.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// Keep every commit of so much time, such as 24h or 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_window: Option<String>,
    /// Keep the newest N commits
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u32>,
    /// Keep the last commit of each hour: of the newest N, or of a time
    #[arg(long, value_name = "N|TIME", value_parser = periods)]
    pub(crate) keep_hourly: Option<PeriodsText>,
    /// Keep the last commit of each day
    #[arg(long, value_name = "N|TIME", value_parser = periods)]
    pub(crate) keep_daily: Option<PeriodsText>,
    /// Keep the last commit of each week
    #[arg(long, value_name = "N|TIME", value_parser = periods)]
    pub(crate) keep_weekly: Option<PeriodsText>,
    /// Keep the last commit of each month
    #[arg(long, value_name = "N|TIME", value_parser = periods)]
    pub(crate) keep_monthly: Option<PeriodsText>,
    /// Keep the last commit of each year
    #[arg(long, value_name = "N|TIME", value_parser = periods)]
    pub(crate) keep_yearly: Option<PeriodsText>,
    /// Never keep fewer commits than this
    #[arg(long, value_name = "N")]
    pub(crate) keep_floor: Option<u32>,
    /// Whose hours and days are meant: local, utc, Europe/Berlin, +05:30 [default: local]
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// Read the policy from this TOML file; options given besides win
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

/// Keep commits whatever any policy says, until the hold is removed
#[derive(Debug, Subcommand)]
#[command(after_help = when!("Examples:
  pagekeep hold add app@2026-05-01 \"audit 2026\"
  pagekeep hold list
  pagekeep hold remove app 3f2a"))]
pub(crate) enum HoldCommand {
    /// Hold a commit
    Add {
        /// The history, and which commit of it
        #[arg(value_name = "NAME[@WHEN]")]
        target: String,
        /// Why, for people
        reason: String,
    },
    /// Remove a hold
    Remove {
        /// The history
        name: String,
        /// The hold's id, as `hold list` shows it, or its reason
        id: String,
    },
    /// List the holds
    List {
        /// Only this history
        name: Option<String>,
    },
}

/// Give a commit the label back that was removed from it
///
/// A commit whose label was removed stays for a week, so that this is possible.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  pagekeep undelete app \"before migration\"")]
pub(crate) struct UndeleteArgs {
    /// The history
    pub(crate) name: String,
    /// The label; without it, what can be given back is listed
    pub(crate) label: Option<String>,
}

fn periods(text: &str) -> Result<PeriodsText, String> {
    let text = text.trim();
    match text.parse() {
        Ok(n) => Ok(PeriodsText::Count(n)),
        Err(_) => crate::policy::retention::Policy::parse_periods(text)
            .map(|_| PeriodsText::Text(text.to_owned()))
            .map_err(|e| e.message().to_owned()),
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    crate::policy::typed::parse_duration(text)
}
