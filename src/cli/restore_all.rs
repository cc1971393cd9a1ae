//! `restore-all`: several databases as they were at one moment, in one folder.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::{RestoreAllArgs, check_of};
use super::context::{Context, Selected, now};
use super::output::{bytes, counted, time};
use super::progress::Progress;
use super::table::table;
use crate::api::restore::{RestoreAllSummary, Restored};
use crate::count::number;
use crate::disk::{make_dirs, rename_new, sync_names, temporary_name};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::group::databases_of;
use crate::ops::restore::RestoreOptions;
use crate::policy::selector::Selector;
use crate::repo::Repository;
use crate::repo::history::handle::History;

pub(crate) fn restore_all(context: &Context, args: &RestoreAllArgs) -> Result<()> {
    let began = Instant::now();
    refuse_taken(&args.folder)?;
    let repository = context.repository()?;
    context.check_no_key(&args.folder)?;
    let selected = select(context, &repository, args)?;
    let building = match args.dry_run {
        true => None,
        false => Some(Building::beside(&args.folder)?),
    };
    let mut rows = Vec::new();
    let mut database_bytes = 0;
    for one in &selected {
        let file = format!("{}.db", one.history.name());
        if let Some(building) = &building {
            let options = RestoreOptions { force: false, check: check_of(args.check) };
            let progress = Progress::new(&context.out);
            one.point().restore(&building.path.join(&file), &options, &progress)?;
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

/// Never what is there already.
fn refuse_taken(folder: &Path) -> Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(_) => Err(taken(folder)),
        Err(_) => Ok(()),
    }
}

fn taken(folder: &Path) -> Error {
    Error::new(ErrorKind::Refused, "is there already")
        .with_object(folder.display().to_string())
        .with_hint("name a folder that is not there; it is created")
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
    for history in all.into_iter().filter(is_meant) {
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
    if patterns.is_empty()
        && let Some(databases) = args.at.as_deref().and_then(databases_of)
        && selected.len() != databases
    {
        let what = format!(
            "is a moment of {databases} databases, and {} have it here",
            counted(number(selected.len()), "database")
        );
        return Err(Error::new(ErrorKind::Refused, what)
            .with_object(args.at.as_deref().unwrap_or_default())
            .with_hint("take another moment; or name the databases that are to be restored"));
    }
    Ok(selected)
}

/// A folder under a temporary name. Dropping it removes it with what is in it.
struct Building {
    path: PathBuf,
}

impl Building {
    fn beside(folder: &Path) -> Result<Self> {
        let parent = folder.parent().unwrap_or(Path::new(""));
        let object = || folder.display().to_string();
        let failed = |e| Error::io(e, "cannot be created", object());
        make_dirs(parent).map_err(failed)?;
        let path = parent.join(temporary_name().map_err(failed)?);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Self { path })
    }

    /// Gives it its name, unless that is taken.
    fn publish(self, folder: &Path) -> Result<()> {
        let failed = |e: std::io::Error| {
            let object = folder.display().to_string();
            match e.kind() {
                std::io::ErrorKind::AlreadyExists => taken(folder),
                _ => Error::io(e, "cannot get its name", object),
            }
        };
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let of = |path: &Path| PathBuf::from(path.file_name().unwrap_or_default());
        (|| {
            sync_names(&fs::File::open(&self.path)?)?;
            let dir = fs::File::open(parent)?;
            rename_new(&dir, &of(&self.path), &of(folder))?;
            sync_names(&dir)
        })()
        .map_err(failed)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // After it got its name there is nothing of the old one.
        let _ = fs::remove_dir_all(&self.path);
    }
}
