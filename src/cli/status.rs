//! `status`: for each history, how fresh, how proven, how large.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use super::args::StatusArgs;
use super::context::{Context, shown};
use super::describe::{described_once, outcome};
use super::ended::Ended;
use super::output::{ago, bytes, counted, quote, second, span, time};
use super::progress::Progress;
use super::terminal::bold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::proof::{Level, Proof};
use crate::ops::finding::few;
use crate::ops::freshness::{Freshness, freshness};
use crate::ops::soundness::{Look, Soundness, judge_now};
use crate::repo::chain::Problem;
use crate::repo::history::doubt::{About, doubt};
use crate::repo::history::handle::History;
use crate::repo::write::term::newest_claim;
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
        context.out.late(&e, json!({}));
    }
    let mut ended = Ended::Well;
    for history in &histories {
        let shown = context.beside(args.name.is_none(), history, one(context, args, history))?;
        if shown == Some(Ended::Damaged) {
            ended = Ended::Damaged;
        }
    }
    Ok(ended)
}

fn one(context: &Context, args: &StatusArgs, history: &History) -> Result<Ended> {
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
    let damaged = |problem: &Problem| json!({"object": problem.object, "message": problem.message});
    let latest = chain.latest();
    let last_run = crate::repo::last_run_here(history)?;
    // Those that can't be read are among the damage.
    let (proofs, _) = history.readable_proofs()?;
    let failed = doubt(history)?;
    let stored: u64 = chain.segments().iter().map(|s| s.stored_len()).sum();
    let commits = u64::try_from(chain.commits().count()).unwrap_or(u64::MAX);
    let claim = newest_claim(history)?;
    let now = Timestamp::now();
    let fresh = freshness(history, &chain, now)?;
    tell_late(context, args, history, &fresh, now);
    let age = |time: Option<Timestamp>| time.map(|time| since(time, now).as_secs());
    let size = latest
        .as_ref()
        .map(|c| c.segment.manifest.page_size.file_len(c.record.pages))
        .unwrap_or_default();
    let last_of =
        |level: Level| proofs.iter().filter(|p| p.level == level).max_by_key(|p| p.started);
    let levels = [Level::Chain, Level::Data, Level::Restore];
    if let Some((failure, time)) = &fresh.refuted {
        context.out.warn(&format!(
            "{failure} ({}); it is told until an assertion of this commit or a later one holds",
            ago(*time, now)
        ));
    }
    if context.out.json {
        let proof = |p: &Proof| {
            json!({"seq": p.seq, "level": p.level.name(), "time": p.started,
                   "passed": p.failure.is_none(), "failure": p.failure,
                   "about": About::of(history, p).map(name_of),
                   "coverage": f64::from(p.coverage_ppm) / 1e6})
        };
        context.out.object(&json!({
            "type": "status",
            "history": history.name(),
            "id": history.id(),
            "source": history.about().source,
            "commits": commits,
            "last_commit": latest.as_ref().map(|c| c.seq),
            "last_commit_time": latest.as_ref().map(|c| c.record.time),
            "last_run": last_run,
            "age_seconds": age(fresh.stored),
            "proof_age_seconds": age(fresh.proven),
            "database_bytes": size,
            "stored_bytes": stored,
            "segments": chain.stored().count(),
            "strays": chain.strays(),
            "damage": judged.damage.iter().map(damaged).collect::<Vec<_>>(),
            "remarks": judged.remarks.iter().map(damaged).collect::<Vec<_>>(),
            "writer": claim.as_ref().map(|c| json!({"term": c.term, "host": c.host, "since": c.since})),
            "proofs": levels.iter().filter_map(|l| last_of(*l)).map(proof).collect::<Vec<_>>(),
        }));
        return ended(history, &judged, failed.is_some());
    }
    let row = |key: &str, value: String| context.out.line(format_args!("  {key:<13} {value}"));
    context.out.line("");
    context.out.line(bold(history.name()).then(format_args!("  {}", history.about().source)));
    match &latest {
        Some(c) => row(
            "last commit",
            format!("seq:{}, {} ({})", c.seq, time(c.record.time), ago(c.record.time, now)),
        ),
        None => row("last commit", "none".to_owned()),
    }
    row(
        "last backup",
        last_run.map_or("never from this machine".to_owned(), |t| {
            format!("{} ({}) from this machine", time(t), ago(t, now))
        }),
    );
    for level in levels {
        let text = last_of(level).map_or("never".to_owned(), |p| {
            outcome(history, p, &format!(" {} at seq:{}", ago(p.started, now), p.seq))
        });
        row(&format!("{} proof", level.name()), text);
    }
    row("database", bytes(size));
    let segments = u64::try_from(chain.stored().count()).unwrap_or(u64::MAX);
    row(
        "stored",
        format!(
            "{} in {}, {}",
            bytes(stored),
            counted(segments, "segment"),
            counted(commits, "commit")
        ),
    );
    if let Some(claim) = claim {
        row("writer", format!("{} since {} (term {})", claim.host, time(claim.since), claim.term));
    }
    for problem in &judged.damage {
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

/// What a failure is about, as `--json` prints it.
const fn name_of(about: About) -> &'static str {
    match about {
        About::Backup => "backup",
        About::Database => "database",
        About::Data => "data",
    }
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
    for (what, time, limit, done, hint) in [
        (
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
        context.out.late(
            &e,
            json!({"history": history.name(), "late": what, "age_seconds": age, "max_seconds": limit}),
        );
    }
}

/// How long ago a time was; a time ahead, which a clock that is a little wrong makes, is now.
fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0))
}

/// Damage that was found now, or by a verification that no later one cleared, is the answer.
fn ended(history: &History, judged: &Soundness, failed: bool) -> Result<Ended> {
    match shown(history, judged)? {
        Ended::Well if !failed => Ok(Ended::Well),
        _ => Ok(Ended::Damaged),
    }
}
