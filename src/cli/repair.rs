//! `repair`.

use std::collections::BTreeSet;

use serde_json::json;

use super::Ended;
use super::args::RepairArgs;
use super::context::Context;
use super::output::{counted, quote};
use super::progress::Progress;
use crate::error::Result;
use crate::ops::repair::{Action, Fault, QUARANTINE, RepairOptions, RepairReport, survey};
use crate::repo;
use crate::repo::history::History;
use crate::types::{Clock, Seq};

pub(crate) fn repair(context: &Context, args: &RepairArgs) -> Result<Ended> {
    let repository = context.repository()?;
    if args.accept_rollback {
        let history = repository.history(args.name.as_deref().unwrap_or_default())?;
        repo::accept_rollback(&history)?;
        context.out.json_summary(json!({"history": history.name(), "accepted": true}));
        context.out.summary(format_args!("{} is taken as it is", history.name()));
        return Ok(Ended::Well);
    }
    let (histories, unreadable) = match &args.name {
        Some(name) => (vec![repository.history(name)?], Vec::new()),
        None => repository.readable_histories()?,
    };
    let mut ended = Ended::Well;
    for e in &unreadable {
        ended = Ended::Damaged;
        context.out.warn(&format!("{e}: nothing of this history can be read without it"));
    }
    let options = RepairOptions {
        apply: args.apply,
        data: !args.quick,
        threads: context.threads(),
        clock: Clock::default(),
    };
    for history in histories {
        let plan = {
            let progress = Progress::new(&context.out);
            survey(&history, &options, &progress)?
        };
        // What is kept and what is lost is said before anything is done, in the same words with --apply and without.
        let mut report = plan.report().clone();
        if !context.out.json {
            print(context, &history, &report);
        }
        if args.apply {
            let progress = Progress::new(&context.out);
            report.healed = plan.apply(&history, args.database.as_deref(), &options, &progress)?;
            report.restorable.extend(report.healed);
        }
        done(context, &history, &report, args);
        if !report.is_sound() && !args.apply {
            ended = Ended::Damaged;
        }
    }
    Ok(ended)
}

/// What was found, and what is or would be done.
fn print(context: &Context, history: &History, report: &RepairReport) {
    let name = history.name();
    let restorable = counted(number(report.restorable.len()), "commit");
    for remark in &report.remarks {
        let action = action(remark.action);
        context.out.warn(&format!("{}: {} ({action})", remark.object, remark.message));
    }
    if report.is_sound() {
        context.out.summary(format_args!("{name}: sound, {restorable} can be restored"));
        return;
    }
    let faults = counted(number(report.faults.len()), "fault");
    context.out.summary(format_args!("{name}: {faults}"));
    for Fault { object, message, action: of } in &report.faults {
        context.out.summary(format_args!("  {object}: {message} ({})", action(*of)));
    }
    let keeps = spell(&ranges(&report.restorable));
    context.out.summary(format_args!("  keeps {restorable}: {keeps}"));
    if !report.lost.is_empty() {
        let lost = counted(count(&report.lost), "number");
        let which = spell(&report.lost);
        context.out.summary(format_args!(
            "  lost {lost}: {which}, as far as can be told; no other commit gets one of them"
        ));
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Quarantine => "goes to the folder quarantine",
        Action::Expire => "the commits that need it are not offered any more",
        Action::Bridge => {
            "the commits that need what is missing are not offered any more, the others stay"
        }
        Action::Replace => "is written anew",
        Action::Leave => "stays as it is",
    }
}

/// What came of it.
fn done(context: &Context, history: &History, report: &RepairReport, args: &RepairArgs) {
    let name = history.name();
    if context.out.json {
        let kinds = [("fault", &report.faults), ("remark", &report.remarks)];
        for (kind, fault) in kinds.into_iter().flat_map(|(k, of)| of.iter().map(move |f| (k, f))) {
            context.out.object(&json!({
                "type": kind, "history": name, "object": fault.object,
                "message": fault.message, "action": fault.action.name(),
            }));
        }
        context.out.json_summary(json!({
            "history": name,
            "applied": args.apply,
            "faults": report.faults.len(),
            "restorable": ranges(&report.restorable),
            "lost": report.lost,
            "healed": report.healed,
        }));
        return;
    }
    if args.apply && !report.is_sound() {
        context.out.summary(format_args!("  done; what was moved is in {QUARANTINE}"));
    } else if !report.is_sound() {
        context.out.summary(format_args!(
            "  nothing was changed; `pagekeep repair {} --apply` does it, with --database DB the live database heals it",
            quote(name)
        ));
    }
    if let Some(seq) = report.healed {
        context.out.summary(format_args!("  the live database is {name}@seq:{seq}"));
    }
}

fn count(ranges: &[(Seq, Seq)]) -> u64 {
    let lens = ranges.iter().map(|(first, last)| last.0.saturating_sub(first.0).saturating_add(1));
    lens.fold(0, u64::saturating_add)
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// First and last of each stretch.
fn ranges(seqs: &BTreeSet<Seq>) -> Vec<(Seq, Seq)> {
    let mut ranges: Vec<(Seq, Seq)> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == *seq => *last = *seq,
            _ => ranges.push((*seq, *seq)),
        }
    }
    ranges
}

fn spell(ranges: &[(Seq, Seq)]) -> String {
    let spelt: Vec<String> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                format!("seq:{first}")
            } else {
                format!("seq:{first} to seq:{last}")
            }
        })
        .collect();
    if spelt.is_empty() { "none".to_owned() } else { spelt.join(", ") }
}
