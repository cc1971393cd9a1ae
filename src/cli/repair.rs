//! `repair`.

use std::collections::BTreeSet;

use serde_json::json;

use super::Ended;
use super::args::RepairArgs;
use super::context::Context;
use super::output::{counted, quote};
use super::progress::Progress;
use crate::error::Result;
use crate::ops::repair::{Action, QUARANTINE, RepairOptions, RepairReport, repair as run};
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
        let report = {
            let progress = Progress::new(&context.out);
            run(&history, args.database.as_deref(), &options, &progress)?
        };
        print(context, &history, &report, args);
        if !report.is_sound() && !args.apply {
            ended = Ended::Damaged;
        }
    }
    Ok(ended)
}

fn print(context: &Context, history: &History, report: &RepairReport, args: &RepairArgs) {
    let name = history.name();
    if context.out.json {
        for fault in &report.faults {
            context.out.object(&json!({
                "type": "fault", "history": name, "object": fault.object,
                "message": fault.message, "action": fault.action.name(),
            }));
        }
        context.out.json_summary(json!({
            "history": name,
            "applied": args.apply,
            "faults": report.faults.len(),
            "restorable": ranges(&report.restorable),
            "lost": ranges(&report.lost),
            "healed": report.healed,
        }));
        return;
    }
    let restorable = counted(number(report.restorable.len()), "commit");
    if report.is_sound() {
        context.out.summary(format_args!("{name}: sound, {restorable} can be restored"));
    } else {
        let faults = counted(number(report.faults.len()), "fault");
        context.out.summary(format_args!("{name}: {faults}"));
        for fault in &report.faults {
            let action = match (fault.action, args.apply) {
                (Action::Quarantine, true) => format!("moved to {QUARANTINE}"),
                (Action::Quarantine, false) => format!("would be moved to {QUARANTINE}"),
                (Action::Expire, true) => {
                    "the commits that need it are not offered any more".into()
                }
                (Action::Expire, false) => {
                    "the commits that need it would not be offered any more".into()
                }
                (Action::Leave, _) => "left as it is".to_owned(),
            };
            context.out.summary(format_args!("  {}: {} ({action})", fault.object, fault.message));
        }
        context
            .out
            .summary(format_args!("  {restorable} can be restored: {}", spell(&report.restorable)));
        if !report.lost.is_empty() {
            let lost = counted(number(report.lost.len()), "commit");
            context.out.summary(format_args!("  {lost} lost: {}", spell(&report.lost)));
        }
        if !args.apply {
            context.out.summary(format_args!(
                "  nothing was changed; `pagekeep repair {} --apply` does it, with --database DB the live database heals it",
                quote(name)
            ));
        }
    }
    if let Some(seq) = report.healed {
        context.out.summary(format_args!("  the live database is {name}@seq:{seq}"));
    }
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

fn spell(seqs: &BTreeSet<Seq>) -> String {
    let spelt: Vec<String> = ranges(seqs)
        .into_iter()
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
