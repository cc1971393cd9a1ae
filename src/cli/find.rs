//! `find`: each step as it goes, and the two commits between which the answer changed.

use super::args::FindArgs;
use super::context::Context;
use super::moments::{in_words, limit_heap, named};
use super::output::{counted, quote, time};
use super::progress::Progress;
use super::table::{table, times};
use crate::api;
use crate::api::find::FindSummary;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::find::{FindOptions, Goal, Search, Turn};
use crate::ops::question::Reply;
use crate::repo::history::handle::History;

pub(crate) fn find(context: &Context, args: &FindArgs) -> Result<()> {
    limit_heap()?;
    let repository = context.repository()?;
    let history = repository.history(&args.name)?;
    let chain = context.chain(&history)?;
    let goal = match (args.last, args.when_true) {
        (true, _) => Goal::Last,
        (_, true) => Goal::True,
        _ => Goal::First,
    };
    let mut options = FindOptions::default().goal(goal).view(args.bounds.view());
    options.from = named(context, &history, &chain, args.from.as_deref())?;
    options.to = named(context, &history, &chain, args.to.as_deref())?;
    options.timeout = args.bounds.timeout();
    let out = &context.out;
    let mut told = |reply: &Reply| {
        if out.json {
            out.object(&api::find::Reply::of(reply));
        } else {
            let (when, answer) = (time(reply.time), in_words(&reply.answer));
            out.note(format_args!("seq:{} of {when}: {answer}", reply.seq));
        }
    };
    let progress = Progress::new(out);
    let search = history.find_change(&args.sql, &options, &progress, &mut told)?;
    match &search.turn {
        Some(turn) => found(context, &history, &search, turn),
        None => Err(unfound(&history, goal, &search)),
    }
}

fn found(context: &Context, history: &History, search: &Search, turn: &Turn) -> Result<()> {
    let (out, name) = (&context.out, history.name());
    if out.json {
        out.json_summary(&FindSummary::of(history, search, turn));
        return Ok(());
    }
    let after = turn.after.seq;
    match &turn.before {
        None => out.line(format_args!(
            "true since {name}@seq:{after}, the first commit that was looked at"
        )),
        Some(_) => out.line(format_args!("the answer changed with {name}@seq:{after}")),
    }
    let rows: Vec<&Reply> = turn.before.iter().chain([&turn.after]).collect();
    let listed = times(rows.iter().map(|reply| reply.time));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|r| vec![format!("seq:{}", r.seq), listed.cell(r.time), in_words(&r.answer)])
        .collect();
    for line in table(&["COMMIT", &listed.heading("TIME"), "ANSWER"], &cells, &[]) {
        out.line(format_args!("  {line}"));
    }
    out.note(format_args!(
        "asked {} of {}",
        search.asked,
        counted(search.restore_points, "restore point")
    ));
    if let Some(before) = &turn.before {
        let of = |seq| quote(&format!("{name}@seq:{seq}"));
        out.advice(&format!(
            "`pagekeep query {}` asks the last commit before, `pagekeep query {}` the first one with the new answer",
            of(before.seq),
            of(after)
        ));
    }
    Ok(())
}

/// The error of a question that answers the same at both ends, or is not true at the last.
fn unfound(history: &History, goal: Goal, search: &Search) -> Error {
    let Search { from, to, .. } = search;
    let answer = in_words(&to.answer);
    let (what, hint) = match goal {
        Goal::True => (
            format!("the answer is not true at seq:{}: {answer}", to.seq),
            "it may have been true before that: --to ends the search at an earlier commit",
        ),
        _ => (
            format!("the answer is the same at seq:{} and at seq:{}: {answer}", from.seq, to.seq),
            "a change that was taken back does not show at the ends: --from and --to name others, and `pagekeep query` asks one",
        ),
    };
    Error::new(ErrorKind::NotFound, what)
        .with_object(format!("history {:?}", history.name()))
        .with_hint(hint)
}
