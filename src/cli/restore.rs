//! `restore`.

mod heads;
mod places;

use std::time::Instant;

use places::Restoring;

use super::args::{RestoreArgs, check_of};
use super::context::{Context, Selected, asked};
use super::describe::neighbours;
use super::output::{ago, bytes, counted, time};
use crate::api::restore::{Asked, PresentSummary, RestoreSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::missing::is_missing;
use crate::ops::restore::Check;
use crate::repo::history::labels::Snapshot;
use crate::types::Timestamp;

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
    let (selected, mirror) = restoring.carry_out()?;
    // Only programs are shown them.
    let labels = if context.out.json { context.labels_of(&selected)? } else { Vec::new() };
    print(context, args, &selected, (&labels, mirror.as_deref()), check, began);
    Ok(())
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
