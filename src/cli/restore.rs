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
use crate::repo::local::place::known_history;
use crate::types::{HistoryId, Seq, Timestamp};

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
    let first = restoring.attempt(context.repository(), Wanted::default());
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

/// What kept a commit from being restored, and what is known of the one that is wanted.
struct Failed {
    error: Error,
    wanted: Wanted,
}

/// What a mirror has to have.
#[derive(Clone, Copy, Default)]
struct Wanted {
    /// The history: another one may have its name there.
    history: Option<HistoryId>,
    /// The commit that was chosen in the first repository.
    commit: Option<(Seq, Timestamp)>,
}

impl Restoring<'_> {
    /// Restores from a repository what is asked for, and nothing but what is wanted.
    fn attempt(
        &self,
        repository: Result<Repository>,
        wanted: Wanted,
    ) -> std::result::Result<Selected, Failed> {
        let mut found = wanted;
        let restored = repository.and_then(|repository| {
            let (name, _) = split_target(&self.args.source);
            let history = repository.history(name)?;
            let location = || repository.store().location();
            if *found.history.get_or_insert(history.id()) != history.id() {
                let what = format!("its history {name:?} is of another database");
                return Err(Error::new(ErrorKind::NotFound, what).with_object(location()));
            }
            let source = match wanted.commit {
                None => self.args.source.clone(),
                Some((seq, _)) => format!("{name}@seq:{seq}"),
            };
            let selected = self.context.select(&repository, &source)?;
            let (seq, time) = (selected.commit.seq, selected.commit.record.time);
            if wanted.commit.is_some_and(|(_, wanted)| wanted != time) {
                let what = format!("its commit seq:{seq} is another one");
                return Err(Error::new(ErrorKind::Damaged, what).with_object(location()));
            }
            found.commit = Some((seq, time));
            if !self.args.dry_run {
                let options = RestoreOptions { force: self.force, check: self.check };
                let progress = Progress::new(&self.context.out);
                selected.point().restore(&self.args.target, &options, &progress)?;
            }
            Ok(selected)
        });
        restored.map_err(|error| Failed { error, wanted: found })
    }

    /// The history that this machine knows by that name in the first repository.
    fn known(&self) -> Option<HistoryId> {
        let (name, _) = split_target(&self.args.source);
        let state_dir = self.context.state_dir().ok()?;
        known_history(&state_dir, self.context.location().ok()?, name)
    }

    /// Restores from the first mirror that has what the repository has not as it should be.
    fn elsewhere(&self, failed: Failed) -> Result<(Selected, &str)> {
        let Failed { error, mut wanted } = failed;
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
        wanted.history = wanted.history.or_else(|| self.known());
        for (name, mirror) in mirrors {
            let repository = self.context.configured_repository(mirror);
            match self.attempt(repository, wanted) {
                Ok(selected) => {
                    if wanted.commit.is_none() {
                        out.warn(&format!(
                            "what the first repository has nobody could see: seq:{} is what the mirror {name} has",
                            selected.commit.seq
                        ));
                    }
                    if wanted.history.is_none() {
                        out.warn(&format!(
                            "this machine does not know the history: whether that of the mirror {name} is of the same database it can't tell"
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
