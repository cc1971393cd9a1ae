//! `status`: for each history, how fresh, how proven, how large.

use std::collections::HashSet;

use super::args::StatusArgs;
use super::context::{Context, shown};
use super::describe::{described_once, outcome};
use super::ended::Ended;
use super::mirrors::{Mirrors, in_words};
use super::output::{ago, bytes, counted, quote, second, span, time};
use super::progress::Progress;
use super::terminal::bold;
use crate::api::problem::{Finding, Late};
use crate::api::status::{HistoryStatus, LEVELS, since};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::finding::few;
use crate::ops::freshness::{Freshness, freshness};
use crate::ops::soundness::{Look, Soundness, judge_now};
use crate::policy::verdict::Promise;
use crate::repo::history::doubt::doubt;
use crate::repo::history::handle::History;
use crate::types::Timestamp;

pub(crate) fn status(context: &Context, args: &StatusArgs) -> Result<Ended> {
    let repository = context.repository_to_judge(None)?;
    let histories = context.histories(&repository, args.name.as_deref())?;
    if !context.out.json {
        context.out.line(format_args!(
            "repository {} at {}, created {}",
            repository.id(),
            repository.store().location(),
            second(repository.created())
        ));
        if histories.is_empty() && !context.out.has_found() {
            context.out.line("no histories yet; `pagekeep backup DB` begins one");
        }
    }
    if histories.is_empty() && (args.max_age.is_some() || args.max_proof_age.is_some()) {
        let e = Error::new(ErrorKind::NotFound, "has no histories, so nothing is backed up")
            .with_object(repository.store().location())
            .with_hint("check -r; `pagekeep backup DB` begins a history");
        context.out.late(&e, &Finding::of(&e, None));
    }
    let mirrors = Mirrors::of(context)?;
    let mut ended = Ended::Well;
    for history in &histories {
        let done = one(context, args, history, &mirrors);
        let shown = context.beside(args.name.is_none(), history, done)?;
        if shown == Some(Ended::Damaged) {
            ended = Ended::Damaged;
        }
    }
    Ok(ended)
}

fn one(
    context: &Context,
    args: &StatusArgs,
    history: &History,
    mirrors: &Mirrors,
) -> Result<Ended> {
    let (chain, judged) = {
        let progress = Progress::new(&context.out);
        judge_now(history, Look::Close, &progress)?
    };
    context.tell_troubles(history, &chain);
    // What nobody published in the log is told of above.
    let told: HashSet<&String> = chain.junk().iter().collect();
    let remarks = judged.remarks.iter().filter(|p| !told.contains(&p.object));
    let remarks: Vec<String> = remarks.map(|p| format!("{}: {}", p.object, p.message)).collect();
    for remark in few(remarks.into_iter()) {
        context.out.warn(&remark);
    }
    if judged.copies.kept_once {
        context.out.warn(&described_once(history));
    }
    let failed = doubt(history)?;
    let now = Timestamp::now();
    let fresh = freshness(history, &chain, now)?;
    let usual = Promise::default();
    let promise = Promise {
        max_age: args.max_age.unwrap_or(usual.max_age),
        max_proof_age: args.max_proof_age.unwrap_or(usual.max_proof_age),
    };
    let mut status =
        HistoryStatus::read(history, &chain, &judged, &fresh, failed.as_ref(), promise, now)?;
    status.mirrors = mirrors.with(history, &chain);
    tell_late(context, args, history, &fresh, now);
    if let Some((failure, time)) = &fresh.refuted {
        context.out.warn(&format!(
            "{failure} ({}); it is told until an assertion of this commit or a later one holds",
            ago(*time, now)
        ));
    }
    if context.out.json {
        context.out.object(&status);
        return ended(history, &judged, failed.is_some());
    }
    let row = |key: &str, value: String| context.out.line(format_args!("  {key:<13} {value}"));
    context.out.line("");
    context.out.line(bold(history.name()).then(format_args!("  {}", status.source)));
    row("verdict", format!("{}: {}", status.verdict.state, status.verdict.why));
    match status.last_commit.zip(status.last_commit_time) {
        Some((seq, at)) => {
            row("last commit", format!("seq:{seq}, {} ({})", time(at), ago(at, now)));
        }
        None => row("last commit", "none".to_owned()),
    }
    row(
        "last backup",
        status.last_run.map_or("never from this machine".to_owned(), |t| {
            format!("{} ({}) from this machine", time(t), ago(t, now))
        }),
    );
    for level in LEVELS {
        let last = status.proofs.iter().find(|proof| proof.level == level);
        let text = last.map_or("never".to_owned(), |p| {
            outcome(history, p, &format!(" {} at seq:{}", ago(p.time, now), p.seq))
        });
        row(&format!("{} proof", level.name()), text);
    }
    row("database", bytes(status.database_bytes));
    row(
        "stored",
        format!(
            "{} in {}, {}",
            bytes(status.stored_bytes),
            counted(status.segments, "segment"),
            counted(status.commits, "commit")
        ),
    );
    for mirror in &status.mirrors {
        row("mirror", in_words(mirror));
    }
    if let Some(writer) = &status.writer {
        let since = time(writer.since);
        row("writer", format!("{} since {since} (term {})", writer.host, writer.term));
    }
    for problem in &status.damage {
        row("damage", format!("{}: {}", problem.object, problem.message));
    }
    for remark in judged.remarked() {
        row("remark", remark);
    }
    if judged.newest.is_some() {
        row("newest", "can't be restored".to_owned());
    }
    ended(history, &judged, failed.is_some())
}

/// Tells what is older than it may be.
fn tell_late(
    context: &Context,
    args: &StatusArgs,
    history: &History,
    fresh: &Freshness,
    now: Timestamp,
) {
    let name = quote(history.name());
    for (late, what, time, limit, done, hint) in [
        (
            Late::Age,
            "age",
            fresh.stored,
            args.max_age,
            "known to have everything",
            format!(
                "is `pagekeep watch` running, or `pagekeep backup` in cron? Its database is {}",
                history.about().source
            ),
        ),
        (
            Late::ProofAge,
            "proof-age",
            fresh.proven,
            args.max_proof_age,
            "verified at level data or restore",
            format!("`pagekeep verify {name} --level data` makes a proof"),
        ),
    ] {
        let Some(limit) = limit else { continue };
        let age = time.map(|time| since(time, now));
        if age.is_some_and(|age| age <= limit) {
            continue;
        }
        let when = match time {
            Some(time) => format!("was last {done} {}", ago(time, now)),
            None => format!("was never {done}"),
        };
        let limit = limit.as_secs();
        let text = format!("{when}, and --max-{what} is {}", span(limit));
        let e = Error::new(ErrorKind::Failure, text).with_object(history.name()).with_hint(hint);
        let age = age.map(|age| age.as_secs());
        context.out.late(&e, &Finding::late(&e, history.name(), late, age, limit));
    }
}

/// Damage that was found now, or by a verification that no later one cleared, is the answer.
fn ended(history: &History, judged: &Soundness, failed: bool) -> Result<Ended> {
    match shown(history, judged)? {
        Ended::Well if !failed => Ok(Ended::Well),
        _ => Ok(Ended::Damaged),
    }
}
