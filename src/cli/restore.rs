//! `restore`.

use std::time::Instant;

use super::args::{RestoreArgs, check_of};
use super::context::{Context, Selected, asked};
use super::describe::neighbours;
use super::output::{ago, bytes, counted, time};
use super::progress::Progress;
use super::remedy::behind;
use crate::api::restore::{Asked, PresentSummary, RestoreSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::missing::is_missing;
use crate::ops::restore::{Check, RestoreOptions};
use crate::policy::selector::split_target;
use crate::repo::Repository;
use crate::repo::history::labels::Snapshot;
use crate::types::{Seq, Timestamp};

pub(crate) fn restore(context: &Context, args: &RestoreArgs) -> Result<()> {
    let began = Instant::now();
    if args.target.as_os_str() == "-" {
        return Err(Error::new(
            ErrorKind::Usage,
            "a restore writes a file, and not to standard output",
        )
        .with_object("-")
        .with_hint("name a file; one that is really called so is ./-"));
    }
    let missing = args.if_missing.then(|| is_missing(&args.target)).transpose()?;
    let is_empty = match missing {
        Some(None) => {
            let target = args.target.display();
            context.out.json_summary(&PresentSummary::of(&args.target));
            context.out.summary(format_args!("{target} is there; nothing was restored"));
            return Ok(());
        }
        Some(Some(is_empty)) => is_empty,
        None => false,
    };
    let check = check_of(args.check);
    context.check_no_key(&args.target)?;
    let restoring = Restoring { context, args, check, force: args.force || is_empty };
    let first = restoring.attempt(context.repository(), None);
    let (selected, mirror) = match first {
        Ok(selected) => (selected, None),
        Err(failed) => {
            let (selected, mirror) = restoring.elsewhere(failed)?;
            (selected, Some(mirror))
        }
    };
    // Only programs are shown them.
    let labels = if context.out.json { context.labels_of(&selected)? } else { Vec::new() };
    print(context, args, &selected, (&labels, mirror), check, began);
    Ok(())
}

/// A restore that can be tried from more than one repository.
struct Restoring<'a> {
    context: &'a Context,
    args: &'a RestoreArgs,
    check: Check,
    force: bool,
}

/// What kept a commit from being restored, and which commit it was, if that was found.
struct Failed {
    error: Error,
    wanted: Option<(Seq, Timestamp)>,
}

impl Restoring<'_> {
    /// Restores from a repository: the commit that is asked for, or one that was chosen before.
    fn attempt(
        &self,
        repository: Result<Repository>,
        wanted: Option<(Seq, Timestamp)>,
    ) -> std::result::Result<Selected, Failed> {
        let mut found = wanted;
        let restored = repository.and_then(|repository| {
            let selected = match wanted {
                None => self.context.select(&repository, &self.args.source)?,
                Some(wanted) => self.same(&repository, wanted)?,
            };
            found = Some((selected.commit.seq, selected.commit.record.time));
            if !self.args.dry_run {
                let options = RestoreOptions { force: self.force, check: self.check };
                let progress = Progress::new(&self.context.out);
                selected.point().restore(&self.args.target, &options, &progress)?;
            }
            Ok(selected)
        });
        restored.map_err(|error| Failed { error, wanted: found })
    }

    /// The commit in a mirror that was chosen in the first repository.
    fn same(&self, repository: &Repository, (seq, time): (Seq, Timestamp)) -> Result<Selected> {
        let (name, _) = split_target(&self.args.source);
        let selected = self.context.select(repository, &format!("{name}@seq:{seq}"))?;
        if selected.commit.record.time == time {
            return Ok(selected);
        }
        let what = format!("its commit seq:{seq} is another one");
        Err(Error::new(ErrorKind::Damaged, what).with_object(repository.store().location()))
    }

    /// Restores from the first mirror that has what the repository has not as it should be.
    fn elsewhere(&self, failed: Failed) -> Result<(Selected, &str)> {
        let Failed { error, wanted } = failed;
        let out = &self.context.out;
        let may_be_there = matches!(
            error.kind(),
            ErrorKind::Damaged
                | ErrorKind::NoRepository
                | ErrorKind::Storage
                | ErrorKind::WrongKey
                | ErrorKind::NotFound
        );
        if !may_be_there {
            return Err(error);
        }
        let mirrors = self.context.mirrors()?;
        if !mirrors.is_empty() {
            out.warn(&format!("{error}{}; a mirror may have it", behind(&error)));
        }
        for (name, mirror) in mirrors {
            let repository = self.context.configured_repository(mirror);
            match self.attempt(repository, wanted) {
                Ok(selected) => {
                    if wanted.is_none() {
                        out.warn(&format!(
                            "what the first repository has nobody could see: seq:{} is what the mirror {name} has",
                            selected.commit.seq
                        ));
                    }
                    return Ok((selected, name));
                }
                Err(Failed { error, .. }) if error.kind() == ErrorKind::Interrupted => {
                    return Err(error);
                }
                Err(Failed { error, .. }) => out.warn(&format!("mirror {name}: {error}")),
            }
        }
        Err(error)
    }
}

fn print(
    context: &Context,
    args: &RestoreArgs,
    selected: &Selected,
    (labels, mirror): (&[Snapshot], Option<&str>),
    check: Check,
    began: Instant,
) {
    let Selected { history, chain, commit, selector } = selected;
    let was_asked = asked(selector);
    let asked =
        Asked { target: &args.target, check, time: was_asked, dry_run: args.dry_run, mirror };
    let of = (history, chain, commit);
    let summary = RestoreSummary::of(of, labels, &asked, began.elapsed());
    let (size, seconds) = (summary.database_bytes, summary.seconds);
    context.out.json_summary(&summary);
    let verb = if args.dry_run { "would restore" } else { "restored" };
    context.out.summary(format_args!(
        "{verb} {}@seq:{} to {}{}",
        history.name(),
        commit.seq,
        args.target.display(),
        mirror.map_or_else(String::new, |mirror| format!(", from the mirror {mirror}"))
    ));
    context.out.summary(format_args!(
        "  captured {} ({})",
        time(commit.record.time),
        ago(commit.record.time, Timestamp::now())
    ));
    if let Some(asked) = was_asked {
        context.out.summary(format_args!("  the last commit at or before {}", time(asked)));
    }
    for line in neighbours(chain, commit) {
        context.out.summary(format_args!("  {line}"));
    }
    let pages = counted(commit.record.pages.into(), "page");
    if args.dry_run {
        context.out.summary(format_args!("  {}, {pages}; nothing was written", bytes(size)));
        return;
    }
    let opinion = match check {
        Check::None => "SQLite was not asked",
        Check::Quick => "quick_check passed",
        Check::Full => "integrity_check passed",
    };
    context.out.summary(format_args!(
        "  {}, {pages}, every digest compared, {opinion}, {seconds:.2} s",
        bytes(size)
    ));
}
