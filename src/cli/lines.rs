//! Which command prints which lines with `--json`, and the JSON Schema that says so.

use clap::{Command, CommandFactory};
use serde_json::{Map, Value, json};

use super::args::Cli;
use crate::api::schema::{definitions, reference};
use crate::api::{
    Described, adopt, backup, commit, config, coverage, daemon, demo, described, evidence, files,
    find, follow, keys, live, lost, notify, problem, progress, query, repair, restore, retention,
    rows, stats, status, trace, verify,
};
use crate::error::{Error, ErrorKind, Result};

/// What any command may print between its lines, and the error that ends it.
const COMMON: &[Described] = &[
    described::<problem::Warning>(),
    described::<problem::Note>(),
    described::<problem::Failure>(),
];

/// What `--json` prints, as a document says it.
const ABOUT: &str = "What `pagekeep --json` prints: one object in each line of standard output. \
    `commands` tells which lines each command prints, in order; warnings, notes and the error that \
    ends a command stand between them. Later versions may add types and members.";

macro_rules! lines {
    ($($module:ident::$name:ident),* $(,)?) => {
        const { &[$(described::<$module::$name>()),*] }
    };
}

/// The lines of a command of its own, in the order in which it prints them; `None` for a command
/// that is not known here.
fn lines(command: &str) -> Option<&'static [Described]> {
    Some(match command {
        "init" => lines![keys::RecoveryKey, keys::InitSummary],
        "backup" => lines![progress::Progress, backup::BackupSummary],
        "watch" => lines![
            follow::Scan,
            progress::Progress,
            commit::Commit,
            follow::Follower,
            follow::Fault,
            follow::Recovered,
            follow::Marked,
            follow::WatchSummary,
        ],
        "snapshots" | "log" => lines![problem::Finding, commit::Commit],
        "show" => lines![commit::CommitDetails],
        "restore" => {
            lines![progress::Progress, restore::RestoreSummary, restore::PresentSummary]
        }
        "adopt" => {
            lines![problem::Finding, progress::Progress, adopt::Missing, adopt::AdoptSummary]
        }
        "disaster-kit" => lines![adopt::DisasterKitSummary],
        "evidence" => lines![evidence::EvidenceSummary, evidence::EvidenceChecked],
        "restore-all" => {
            lines![
                problem::Finding,
                progress::Progress,
                restore::Restored,
                restore::RestoreAllSummary
            ]
        }
        "rewind" => lines![progress::Progress, live::RewindSummary, live::PreviewSummary],
        "recover" => {
            lines![progress::Progress, rows::RowChange, lost::Conflict, lost::RecoverSummary,]
        }
        "undo" => lines![progress::Progress, rows::RowChange, lost::Conflict, lost::UndoSummary],
        "drift" => lines![progress::Progress, live::DriftSummary],
        "verify" => lines![
            problem::Finding,
            progress::Progress,
            verify::Refuted,
            verify::Verified,
            verify::VerifySummary,
        ],
        "diff" => lines![
            rows::SchemaChange,
            progress::Progress,
            rows::RowChange,
            rows::TableDiff,
            rows::DiffSummary,
        ],
        "changes" => lines![rows::SchemaStep, rows::RowStep, rows::CommitEnd],
        "coverage" => lines![coverage::Stretch, coverage::CoverageSummary],
        "find" => lines![find::Reply, progress::Progress, find::FindSummary],
        "trace" => lines![trace::Version, progress::Progress, trace::TraceSummary],
        "query" => lines![query::Row, query::QuerySummary],
        "label" => lines![commit::LabelSummary, commit::UnlabelSummary],
        "prune" => lines![
            problem::Finding,
            progress::Progress,
            retention::Kept,
            retention::Dropped,
            retention::PruneSummary,
        ],
        "hold add" => lines![retention::HoldSummary],
        "hold remove" => lines![retention::HoldRemovedSummary],
        "hold list" => lines![problem::Finding, retention::Hold],
        "undelete" => lines![retention::Deleted, commit::LabelSummary],
        "copy" => lines![problem::Finding, progress::Progress, backup::CopySummary],
        "repair" => lines![
            repair::Repository,
            problem::Finding,
            progress::Progress,
            repair::Damage,
            repair::Remark,
            repair::RepairSummary,
            repair::AcceptSummary,
        ],
        "status" => lines![problem::Finding, progress::Progress, status::HistoryStatus],
        "stats" => lines![
            problem::Finding,
            progress::Progress,
            stats::Period,
            stats::AgeShare,
            stats::RuleCost,
            stats::PolicyCost,
            stats::TableChanges,
            stats::Elsewhere,
            stats::Stats,
            stats::StatsSummary,
        ],
        // Its log goes to standard error.
        "run" => lines![config::Mistake, config::RunSummary],
        "config init" => lines![config::ConfigWrittenSummary],
        "config check" => {
            lines![config::Mistake, config::ConfiguredDatabase, config::ConfigSummary]
        }
        "config show" => lines![config::Mistake, config::EffectiveConfig],
        "job list" => lines![daemon::DaemonJob],
        "job start" => lines![daemon::DaemonJob, daemon::JobAccepted],
        "job stop" => lines![daemon::JobStopSummary],
        "pause" | "resume" => lines![daemon::PauseSummary],
        "token add" => lines![daemon::TokenMade],
        "token list" => lines![daemon::Token],
        "token remove" => lines![daemon::TokenRemovedSummary],
        "notify list" => lines![config::Mistake, notify::NotifyChannel],
        "notify test" => lines![config::Mistake, notify::NotifyTestSummary],
        "key add" => lines![keys::AddSummary],
        "key list" => lines![keys::Key],
        "key remove" => lines![keys::RemoveSummary],
        "key passwd" => lines![keys::PasswdSummary],
        "key recovery" => lines![keys::RecoveryKey, keys::RecoverySummary],
        "key public" => lines![keys::PublicKey],
        "key rotate" => lines![
            keys::RecoveryKey,
            problem::Finding,
            progress::Progress,
            keys::RotateSummary,
            keys::RewriteSummary,
        ],
        "files backup" => {
            lines![progress::Progress, files::FilePassedOver, files::FilesSummary]
        }
        "files restore" => {
            lines![progress::Progress, files::FileRefused, files::FilesRestoreSummary]
        }
        "files list" => lines![files::KeptFile],
        "demo" => lines![demo::Step, demo::DemoSummary],
        // Their output is a script, a page or a schema; with `--json`, too.
        "completions" | "man" | "json-schema" => &[],
        _ => return None,
    })
}

/// The JSON Schema of all lines.
///
/// # Errors
/// [`ErrorKind::Failure`] when an answer can't be described, or a command is not known here.
pub(crate) fn schema() -> Result<Value> {
    let mut names = Vec::new();
    leaves(&Cli::command(), "", &mut names);
    let any_of = |lines: &[Described]| {
        let all: Vec<Value> = lines.iter().chain(COMMON).map(reference).collect();
        json!({"anyOf": all})
    };
    let mut told = Map::new();
    for name in names {
        let own = lines(&name).ok_or_else(|| {
            let e = Error::new(ErrorKind::Failure, "prints lines that the schema does not know");
            e.with_object(format!("the command {name:?}"))
        })?;
        told.insert(name, any_of(own));
    }
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pagekeep --json",
        "description": ABOUT,
        "common": any_of(&[]),
        "commands": told,
        "$defs": definitions()?,
    }))
}

/// The names of the commands that do something, without the program's.
fn leaves(command: &Command, above: &str, names: &mut Vec<String>) {
    for below in command.get_subcommands() {
        let name = format!("{above}{}", below.get_name());
        if below.has_subcommands() {
            leaves(below, &format!("{name} "), names);
        } else {
            names.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ALL;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_tells_its_lines_and_every_answer_is_a_line_of_one() {
        let mut names = Vec::new();
        leaves(&Cli::command(), "", &mut names);
        let mut printed: BTreeSet<_> = COMMON.iter().map(|answer| (answer.name)()).collect();
        for name in &names {
            let lines = lines(name).unwrap_or_else(|| panic!("`{name}` is not known here"));
            printed.extend(lines.iter().map(|answer| (answer.name)()));
        }
        assert!(names.contains(&"key rotate".to_owned()) && names.len() > 20, "{names:?}");
        let known: BTreeSet<_> = ALL.iter().map(|answer| (answer.name)()).collect();
        assert_eq!(printed, known);
    }
}
