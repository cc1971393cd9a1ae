//! `verify`.

use std::time::Instant;

use super::args::{LevelArg, VerifyArgs};
use super::context::Context;
use super::describe::described_once;
use super::ended::Ended;
use super::output::{bytes, counted};
use super::progress::Progress;
use super::terminal::red;
use crate::api::problem;
use crate::api::verify::{Refuted, Verified, VerifySummary, passed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::proof::Level;
use crate::ops::finding::{Finding, few};
use crate::ops::point::RestorePoint;
use crate::ops::verify::{VerifyOptions, VerifyReport};
use crate::policy::selector::split_target;
use crate::repo::Repository;
use crate::repo::history::handle::History;

pub(crate) fn verify(context: &Context, args: VerifyArgs) -> Result<Ended> {
    let level = match args.level {
        LevelArg::Chain => Level::Chain,
        LevelArg::Data => Level::Data,
        LevelArg::Restore => Level::Restore,
    };
    check_options(&args, level)?;
    let repository = context.repository_to_judge(None)?;
    let options = VerifyOptions {
        level,
        sample_ppm: args.sample,
        max_time: args.max_time,
        assertions: args.assertions,
        scratch: args.scratch.unwrap_or_else(std::env::temp_dir),
        store: !args.no_store,
    };
    let (targets, damage) = targets(context, &repository, args.target.as_deref())?;
    let mut damaged = damage;
    let mut totals = VerifyReport::default();
    let began = Instant::now();
    if targets.is_empty() && !context.out.has_found() {
        context.out.summary("no histories yet, so there is nothing to verify");
    }
    for (history, point) in &targets {
        let clock = Instant::now();
        let verified = {
            let progress = Progress::new(&context.out);
            history.verify(point.as_ref(), &options, &progress)
        };
        let Some(report) = context.beside(args.target.is_none(), history, verified)? else {
            continue;
        };
        print(context, history, level, &report, clock);
        damaged |= !report.findings.is_empty();
        totals.findings.extend(report.findings);
        totals.refuted.extend(report.refuted);
        totals.broken_rules.extend(report.broken_rules);
        totals.unchecked.extend(report.unchecked);
        totals.page_bytes += report.page_bytes;
        totals.commits += report.commits;
    }
    let is_sound = !damaged && !context.out.has_found();
    context.out.json_summary(&VerifySummary::of(
        level,
        targets.len(),
        &totals,
        is_sound,
        began.elapsed(),
    ));
    Ok(match damaged {
        true => Ended::Damaged,
        false if !totals.refuted.is_empty() => Ended::Refuted,
        false => Ended::Well,
    })
}

/// An option that the level would not read is a misunderstanding.
fn check_options(args: &VerifyArgs, level: Level) -> Result<()> {
    let unused = match level {
        Level::Chain if args.sample.is_some() => Some("--sample"),
        Level::Chain if args.max_time.is_some() => Some("--max-time"),
        Level::Chain | Level::Data if !args.assertions.is_empty() => Some("--assert"),
        Level::Chain | Level::Data if args.scratch.is_some() => Some("--scratch"),
        _ => None,
    };
    match unused {
        Some(option) => Err(Error::new(
            ErrorKind::Usage,
            format!("{option} means nothing at level {}", level.name()),
        )
        .with_hint("use --level restore for assertions, data or restore for samples")),
        None => Ok(()),
    }
}

type Targets = (Vec<(History, Option<RestorePoint>)>, bool);

/// What to verify; a history whose commit can't be selected because it is damaged is verified as a
/// whole.
fn targets(context: &Context, repository: &Repository, target: Option<&str>) -> Result<Targets> {
    let Some(target) = target else {
        let all = context.all_histories(repository)?.into_iter().map(|h| (h, None)).collect();
        return Ok((all, context.out.has_found_damage()));
    };
    let (name, _) = split_target(target);
    if name == target {
        return Ok((vec![(repository.history(name)?, None)], false));
    }
    match context.select(repository, target) {
        Ok(selected) => {
            let point = selected.point();
            Ok((vec![(selected.history, Some(point))], false))
        }
        Err(e) if e.kind() == ErrorKind::Damaged => {
            context.out.error(&e);
            Ok((vec![(repository.history(name)?, None)], true))
        }
        Err(e) => Err(e),
    }
}

fn print(
    context: &Context,
    history: &History,
    level: Level,
    report: &VerifyReport,
    clock: Instant,
) {
    let verified = Verified::of(history, level, report, clock.elapsed());
    if report.described_once {
        context.out.warn(&described_once(history));
    }
    if context.out.json {
        for finding in &report.findings {
            context.out.object(&problem::Finding::verified(history.name(), finding));
        }
        for refuted in &report.refuted {
            context.out.object(&Refuted::of(history, refuted));
        }
        for remark in remarks(report) {
            context.out.warn(&remark);
        }
        context.out.object(&verified);
        return;
    }
    for remark in remarks(report) {
        context.out.warn(&remark);
    }
    for f in &report.findings {
        // What is damaged is data, even for --quiet.
        context.out.line(red("damaged").then(format_args!("  {}: {}", f.object, f.message)));
    }
    for f in &report.refuted {
        context.out.line(red("failed").then(format_args!("  {}: {}", f.object, f.message)));
    }
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let commits = counted(number(report.commits), "commit");
    let scope = match level {
        Level::Chain => format!("{commits} in {}", counted(number(report.segments), "segment")),
        Level::Data => {
            let (opened, all) = (report.batches_opened, report.batches);
            format!(
                "{commits}, {opened} of {all} batches opened, {} compared",
                bytes(report.page_bytes)
            )
        }
        Level::Restore => {
            let seqs: Vec<String> = report.restored.iter().map(|s| format!("seq:{s}")).collect();
            format!("restored {} of {commits} ({})", report.restored.len(), seqs.join(", "))
        }
    };
    let outcome = if report.commits == 0 && report.findings.is_empty() {
        "has no commits yet"
    } else if !passed(report) {
        "FAILED"
    } else if !report.unchecked.is_empty() {
        "passed, as far as it could be checked"
    } else {
        "passed"
    };
    let timed_out = if report.timed_out { ", time was up" } else { "" };
    let scope = if report.commits == 0 { String::new() } else { format!(": {scope}") };
    context.out.summary(format_args!(
        "{}  {} {outcome}{scope}{timed_out}, {:.2} s",
        history.name(),
        level.name(),
        verified.seconds
    ));
    if report.strays > 0 {
        context.out.summary(format_args!(
            "  {} not on the chain: replaced by a merge, or late writes of a superseded writer; harmless",
            counted(number(report.strays), "segment")
        ));
    }
}

/// What is to be known, and is no damage.
fn remarks(report: &VerifyReport) -> Vec<String> {
    let text = |f: &Finding| format!("{}: {}", f.object, f.message);
    let mut told = few(report.remarks.iter().map(text));
    let broken = report.broken_rules.iter();
    told.extend(few(broken.map(|f| {
        format!("{}; it was captured like that, a matter of the application's data", text(f))
    })));
    told.extend(few(report
        .unchecked
        .iter()
        .map(|f| format!("{}: could not be checked: {}; that is no damage", f.object, f.message))));
    told
}
