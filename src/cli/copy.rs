//! `copy`: the second copy, in another place.

use std::time::Instant;

use super::args::CopyArgs;
use super::context::Context;
use super::output::{counted, quote};
use super::progress::Progress;
use super::secrets::KeySource;
use crate::api::backup::CopySummary;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::copy::CopyOptions;

pub(crate) fn copy(context: &Context, args: &CopyArgs) -> Result<()> {
    let from = match context.configured_as(&args.from)? {
        Some((_, configured)) => context.configured_repository(configured),
        None => context.repository_at(&args.from),
    };
    let from = from.map_err(|e| match e.kind() {
        ErrorKind::NoRepository => {
            e.with_hint("is its disk mounted? The first of the two is the repository to copy from")
        }
        _ => e,
    })?;
    let keys = KeySource {
        key_file: args.to_key_file.as_deref(),
        password_file: args.to_password_file.as_deref(),
        password_command: args.to_password_command.as_deref(),
        recovery_key_file: args.to_recovery_key_file.as_deref(),
    };
    let to = match context.configured_as(&args.to)?.filter(|_| !keys.is_given()) {
        Some((_, configured)) => context.configured_repository(configured),
        None => context.other_repository(&args.to, &keys),
    };
    let to = to.map_err(|e| match e.kind() {
        ErrorKind::NoRepository => e.with_hint(format!(
            "create it first, with keys of its own: `pagekeep init -r {} --key-file FILE`",
            quote(&args.to)
        )),
        _ => e,
    })?;
    let histories = match &args.name {
        Some(name) => vec![from.history(name)?],
        None => context.all_histories(&from)?,
    };
    let mut failed: Option<Error> = None;
    for history in histories {
        let began = Instant::now();
        let copied = {
            let progress = Progress::new(&context.out);
            history.copy_to(&to, &CopyOptions::default(), &progress)
        };
        let report = match copied {
            Ok(report) => report,
            // What ails the store, or a stop, ails all of them.
            Err(e) if e.kind().is_retryable() && e.kind() != ErrorKind::Busy => {
                failed.iter().for_each(|before| context.out.error(before));
                return Err(match e.kind() {
                    ErrorKind::Interrupted => {
                        e.with_hint("what arrived is whole; run it again to go on")
                    }
                    _ => e,
                });
            }
            // What ails one history, or who is at work on it, is no reason to leave the others
            // without a copy.
            Err(e) => {
                if let Some(before) = failed.replace(e) {
                    context.out.error(&before);
                }
                continue;
            }
        };
        let took = began.elapsed();
        let seconds = took.as_secs_f64();
        context.out.json_summary(&CopySummary::of(&history, &report, took));
        let newest =
            report.newest.map_or("has no commits".to_owned(), |n| format!("is at seq:{n}"));
        context.out.summary(format_args!(
            "{}: copied {}, the copy {newest}, {seconds:.2} s",
            history.name(),
            counted(report.commits, "commit"),
        ));
    }
    failed.map_or(Ok(()), Err)
}
