//! `restore-all`: several databases as they were at one moment, in one folder.

mod building;

use std::fs;
use std::path::Path;
use std::time::Instant;

use building::{Building, taken};

use super::args::{RestoreAllArgs, check_of};
use super::context::{Context, Selected, now};
use super::output::{bytes, counted, quote, time};
use super::outside::check_outside;
use super::progress::Progress;
use super::table::table;
use crate::api::restore::{RestoreAllSummary, Restored};
use crate::count::number;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::group::databases_of;
use crate::ops::restore::RestoreOptions;
use crate::ops::select::choose;
use crate::policy::selector::Selector;
use crate::remedy::advice;
use crate::repo::Repository;
use crate::repo::history::handle::History;

/// How many bytes the name of a file may have.
const LONGEST_FILE: usize = 255;

pub(crate) fn restore_all(context: &Context, args: &RestoreAllArgs) -> Result<()> {
    let began = Instant::now();
    refuse_taken(&args.folder)?;
    let repository = context.repository().map_err(|e| in_a_mirror(context, e))?;
    context.check_no_key(&args.folder)?;
    check_outside(context, &args.folder)?;
    let selected = select(context, &repository, args).map_err(|e| in_a_mirror(context, e))?;
    let building = match args.dry_run {
        true => None,
        false => Some(Building::beside(&args.folder)?),
    };
    let mut rows = Vec::new();
    let mut database_bytes = 0;
    for one in &selected {
        let name = one.history.name();
        let file = file_of(name);
        if file != format!("{name}.db") {
            context.out.remark(&format!("{name}.db is too long a name for a file: it is {file}"));
        }
        if let Some(building) = &building {
            let options = RestoreOptions { force: false, check: check_of(args.check) };
            let progress = Progress::new(&context.out);
            let restored = one.point().restore(&building.path.join(&file), &options, &progress);
            restored.map_err(|e| in_a_mirror(context, e))?;
        }
        let line = Restored::of(&one.history, &one.commit, &args.folder.join(&file));
        database_bytes += line.database_bytes;
        let (seq, captured) = (format!("seq:{}", one.commit.seq), time(one.commit.record.time));
        rows.push(vec![one.history.name().to_owned(), seq, captured, bytes(line.database_bytes)]);
        if context.out.json {
            context.out.object(&line);
        }
    }
    if let Some(building) = building {
        building.publish(&args.folder)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let databases = number(selected.len());
    context.out.json_summary(&RestoreAllSummary {
        folder: args.folder.to_string_lossy().into_owned(),
        databases,
        database_bytes,
        dry_run: args.dry_run,
        seconds,
    });
    if !context.out.json {
        let lines = table(&["DATABASE", "COMMIT", "CAPTURED", "SIZE"], &rows, &[3]);
        lines.into_iter().for_each(|line| context.out.line(line));
    }
    let verb = if args.dry_run { "would restore" } else { "restored" };
    let (what, size) = (counted(databases, "database"), bytes(database_bytes));
    let folder = args.folder.display();
    context.out.summary(format_args!("{verb} {what} to {folder}: {size}, {seconds:.2} s"));
    Ok(())
}

/// An error of a repository that has mirrors: all of it may be in one of them. One moment is never
/// put together from several repositories.
fn in_a_mirror(context: &Context, e: Error) -> Error {
    let may_be_there = matches!(
        e.kind(),
        ErrorKind::NoRepository | ErrorKind::Damaged | ErrorKind::WrongKey | ErrorKind::Storage
    );
    let mirrors = context.mirrors().unwrap_or_default();
    let names: Vec<String> =
        mirrors.iter().map(|(name, _)| format!("-r {}", quote(name))).collect();
    if !may_be_there || names.is_empty() {
        return e;
    }
    let next = format!("a mirror may have all of it: the same command with {}", names.join(" or "));
    let known = e.hint().cloned();
    e.with_hint(match known {
        Some(known) => advice![next, "; ", known],
        None => advice![next],
    })
}

/// Never what is there already.
fn refuse_taken(folder: &Path) -> Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(_) => Err(taken(folder)),
        Err(_) => Ok(()),
    }
}

/// The name of a database's file. SQLite puts files beside it, with longer names than its own, and
/// not every name of a history is short enough for that.
fn file_of(name: &str) -> String {
    if name.len() + ".db-journal".len() <= LONGEST_FILE {
        return format!("{name}.db");
    }
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let digest: String = digest.chars().take(16).collect();
    let room = LONGEST_FILE - ".db-journal".len() - 1 - digest.len();
    let end = (0..=room).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}~{digest}.db", name.get(..end).unwrap_or_default())
}

/// The commit of each history that is meant.
fn select(
    context: &Context,
    repository: &Repository,
    args: &RestoreAllArgs,
) -> Result<Vec<Selected>> {
    let pattern = |name: &String| {
        glob::Pattern::new(name).map_err(|e| {
            Error::new(ErrorKind::Usage, format!("is no pattern of names: {}", e.msg))
                .with_object(name.as_str())
        })
    };
    let patterns: Vec<glob::Pattern> = args.names.iter().map(pattern).collect::<Result<_>>()?;
    let all = context.all_histories(repository)?;
    if patterns.is_empty() && context.out.has_found() {
        let what = "has histories that can't be read";
        return Err(Error::new(ErrorKind::Damaged, what)
            .with_object(repository.store().location())
            .with_hint("name those that are wanted; nothing was restored"));
    }
    for pattern in &patterns {
        if !all.iter().any(|history| pattern.matches(history.name())) {
            let what = format!("has no history {:?}", pattern.as_str());
            return Err(
                Error::new(ErrorKind::NotFound, what).with_object(repository.store().location())
            );
        }
    }
    let is_meant = |history: &History| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(history.name()))
    };
    let selector = Selector::parse(args.at.as_deref().unwrap_or("latest"), &now())?;
    let mut selected = Vec::new();
    // How many that are not meant are of the same moment.
    let mut beside = 0;
    for history in all {
        if !is_meant(&history) {
            let is_of_it = |chain| choose(&history, &chain, &selector).is_ok();
            let counts = args.at.as_deref().is_some_and(|at| databases_of(at).is_some());
            beside += usize::from(counts && history.readable_chain().is_ok_and(is_of_it));
            continue;
        }
        let chain = context.chain(&history)?;
        match context.choose(&history, &chain, &selector) {
            Ok(commit) => {
                let selector = selector.clone();
                selected.push(Selected { history, chain, commit, selector });
            }
            // What had not begun then, or is in no group of that label, was not part of it; but
            // what was named is wanted.
            Err(e)
                if e.kind() == ErrorKind::NotFound
                    && !args.names.iter().any(|name| name == history.name()) =>
            {
                context.out.remark(&format!("{} is left out: {e}", history.name()));
            }
            Err(e) => return Err(e),
        }
    }
    if selected.is_empty() {
        let what = "no history has a commit of that moment";
        let error = Error::new(ErrorKind::NotFound, what);
        return Err(error.with_object(args.at.as_deref().unwrap_or("latest")));
    }
    // Who names each database wants these; all others want the moment.
    let is_each_named = !args.names.is_empty()
        && args.names.iter().all(|name| selected.iter().any(|one| one.history.name() == name));
    if let Some(databases) = args.at.as_deref().and_then(databases_of)
        && !is_each_named
        && selected.len() + beside != databases
    {
        let what = format!(
            "is a moment of {databases} databases, and {} have it here",
            counted(number(selected.len() + beside), "database")
        );
        return Err(Error::new(ErrorKind::Refused, what)
            .with_object(args.at.as_deref().unwrap_or_default())
            .with_hint("take another moment; or name the databases that are to be restored"));
    }
    Ok(selected)
}
