//! `files`: the plain files of an application, beside its database.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use super::args::{self, FilesBackupArgs, FilesCommand, FilesListArgs, FilesRestoreArgs};
use super::context::{Context, Selected};
use super::output::{bytes, counted, quote, time};
use super::outside::check_outside;
use super::progress::Progress;
use super::table::{table, times};
use crate::api::files::{FilePassedOver, FileRefused, FilesRestoreSummary, FilesSummary, KeptFile};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::files::{Chosen, Entry, FilesOptions, FilesReport, history_of, list, restore};
use crate::policy::selector::split_target;
use crate::repo::Repository;
use crate::types::Timestamp;

pub(crate) fn files(context: &Context, command: FilesCommand) -> Result<()> {
    match command {
        FilesCommand::Backup(args) => back_up(context, args),
        FilesCommand::Restore(args) => bring_back(context, &args),
        FilesCommand::List(args) => show(context, &args),
    }
}

/// The name of the database's history: who names that of the files means it, too.
fn database(name: &str) -> &str {
    name.strip_suffix(".files").unwrap_or(name)
}

fn back_up(context: &Context, args: FilesBackupArgs) -> Result<()> {
    let began = Instant::now();
    let chosen = Chosen::new(Path::new("."), &args.paths, &args.exclude)?;
    let repository = context.repository()?;
    let kept = match context.config()? {
        Some(config) => config.targets.iter().flat_map(|target| target.found()).collect(),
        None => BTreeSet::new(),
    };
    let compression = args::compression(args.compression);
    let options = FilesOptions { compression, adopt: args.adopt, kept };
    let report = {
        let progress = Progress::new(&context.out);
        repository.back_up_files(database(&args.name), &chosen, &options, &progress)?
    };
    tell(context, &report);
    context.out.json_summary(&FilesSummary::of(&report, began.elapsed()));
    let (backup, tally) = (&report.backup, &report.tally);
    let (name, seconds) = (backup.history.name(), began.elapsed().as_secs_f64());
    context.out.summary(match backup.commit {
        Some(commit) => format!(
            "{name}@seq:{}  {}  {} changed, {} gone, {} stored, {seconds:.2} s",
            backup.seq,
            time(commit.time),
            counted(tally.changed, "name"),
            tally.removed,
            bytes(commit.stored),
        ),
        None => format!("{name}@seq:{}  unchanged, nothing stored, {seconds:.2} s", backup.seq),
    });
    context.out.summary(format_args!(
        "  {}, {}, {}, {}",
        counted(tally.files, "file"),
        counted(tally.folders, "folder"),
        counted(tally.links, "link"),
        bytes(tally.bytes),
    ));
    Ok(())
}

/// Tells of each file that is not kept as it is.
fn tell(context: &Context, report: &FilesReport) {
    for over in &report.passed_over {
        if context.out.json {
            context.out.object(&FilePassedOver::from(over));
        }
        match over.why.is_trouble() {
            true => context.out.warn(&over.to_string()),
            false => context.out.remark(&over.to_string()),
        }
    }
}

/// The commit that is meant, of the history of the files.
fn select(context: &Context, repository: &Repository, source: &str) -> Result<Selected> {
    let (name, when) = split_target(source);
    let history = history_of(database(name));
    repository.history(&history).map_err(|e| match e.kind() {
        ErrorKind::NotFound => e.with_hint(format!(
            "`pagekeep files backup {} PATH...` keeps files beside the database",
            quote(database(name))
        )),
        _ => e,
    })?;
    context.select(repository, &format!("{history}@{when}"))
}

fn bring_back(context: &Context, args: &FilesRestoreArgs) -> Result<()> {
    let began = Instant::now();
    if args.target.as_os_str() == "-" {
        return Err(Error::new(ErrorKind::Usage, "a restore of files makes a folder")
            .with_object("-")
            .with_hint("name a folder; one that is really called so is ./-"));
    }
    check_outside(context, &args.target)?;
    let repository = context.repository()?;
    let selected = select(context, &repository, &args.source)?;
    let restored = {
        let progress = Progress::new(&context.out);
        restore(&selected.point(), &args.target, &progress)?
    };
    for refused in &restored.refused {
        if context.out.json {
            context.out.object(&FileRefused::from(refused));
        }
        context.out.warn(&format!("{}: {}; it is not restored", refused.name, refused.why));
    }
    if restored.undressed > 0 {
        let what = counted(restored.undressed, "name");
        context.out.warn(&format!("{what} could not be given the owner or the time of before"));
    }
    let labels = if context.out.json { context.labels_of(&selected)? } else { Vec::new() };
    let Selected { history, commit, .. } = &selected;
    let summary = FilesRestoreSummary::of(
        (history, commit),
        &labels,
        (&restored, &args.target),
        began.elapsed(),
    );
    context.out.json_summary(&summary);
    context.out.summary(format_args!(
        "restored {}@seq:{} to {}",
        history.name(),
        commit.seq,
        args.target.display()
    ));
    context.out.summary(format_args!(
        "  {}, {}, {}, {}, {:.2} s",
        counted(restored.files, "file"),
        counted(restored.folders, "folder"),
        counted(restored.links, "link"),
        bytes(restored.bytes),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn show(context: &Context, args: &FilesListArgs) -> Result<()> {
    let repository = context.repository()?;
    let selected = select(context, &repository, &args.source)?;
    let entries = list(&selected.point())?;
    let modified =
        |entry: &Entry| Timestamp(entry.modified().div_euclid(1_000_000_000) * 1_000_000);
    let times = times(entries.iter().map(modified));
    let mut rows = Vec::new();
    for entry in &entries {
        if context.out.json {
            context.out.object(&KeptFile::from(entry));
            continue;
        }
        let is_file = entry.kind() == "file";
        rows.push(vec![
            mode(entry),
            if is_file { bytes(entry.size()) } else { String::new() },
            times.cell(modified(entry)),
            name(entry),
        ]);
    }
    if !context.out.json {
        for line in table(&["MODE", "SIZE", &times.heading("CHANGED"), "NAME"], &rows, &[1]) {
            context.out.line(line);
        }
    }
    for entry in &entries {
        if let Some(why) = entry.refused() {
            context.out.warn(&format!("{}: {why}; a restore refuses it", entry.shown()));
        }
    }
    Ok(())
}

/// A name, and what it is.
fn name(entry: &Entry) -> String {
    match (entry.kind(), entry.target()) {
        ("folder", _) => format!("{}/", entry.shown()),
        (_, Some(target)) => format!("{} -> {target}", entry.shown()),
        _ => entry.shown(),
    }
}

/// Permissions, as `ls` has them.
fn mode(entry: &Entry) -> String {
    let kind = match entry.kind() {
        "folder" => 'd',
        "link" => 'l',
        "file" => '-',
        _ => '?',
    };
    let bit = |at: u32| entry.mode() >> at & 1 == 1;
    let mut text = String::from(kind);
    for (who, special, letter) in [(2, 11, 's'), (1, 10, 's'), (0, 9, 't')] {
        text.push(if bit(who * 3 + 2) { 'r' } else { '-' });
        text.push(if bit(who * 3 + 1) { 'w' } else { '-' });
        text.push(match (bit(who * 3), bit(special)) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
