//! `repair`.

use super::args::RepairArgs;
use super::context::Context;
use super::describe::described_once;
use super::ended::Ended;
use super::output::{counted, quote, time};
use super::progress::Progress;
use super::remedy::said;
use crate::api::repair::{AcceptSummary, Damage, Remark, RepairSummary, Repository, ranges};
use crate::count::number;
use crate::error::Result;
use crate::ops::finding::few;
use crate::ops::repair::{Action, Fault, QUARANTINE, RepairOptions, RepairReport};
use crate::repo::absent::{Absent, accept_absence};
use crate::repo::history::handle::History;
use crate::repo::keys::secret::Secret;
use crate::repo::local::place::accept_place;
use crate::repo::recover;
use crate::types::{Seq, SlotId};
use crate::{repo, store};

pub(crate) fn repair(context: &Context, args: &RepairArgs) -> Result<Ended> {
    if args.accept_rollback {
        return accept(context, args.name.as_deref());
    }
    let repository = match recovered(context, args)? {
        Recovered::Not => return Ok(Ended::Damaged),
        Recovered::With(secret) => context.repository_to_judge(secret)?,
    };
    let histories = context.histories(&repository, args.name.as_deref())?;
    let mut ended = Ended::Well;
    let options = RepairOptions {
        apply: args.apply,
        data: !args.quick,
        adopt: args.adopt,
        ..RepairOptions::default()
    };
    for history in histories {
        let repaired = one(context, &history, &options, args);
        if context.beside(args.name.is_none(), &history, repaired)? == Some(Ended::Damaged) {
            ended = Ended::Damaged;
        }
    }
    Ok(ended)
}

fn one(
    context: &Context,
    history: &History,
    options: &RepairOptions,
    args: &RepairArgs,
) -> Result<Ended> {
    let plan = {
        let progress = Progress::new(&context.out);
        history.plan_repair(options, &progress)?
    };
    // What is kept and what is lost is said before anything is done, in the same words with --apply
    // and without.
    let mut report = plan.report().clone();
    if !context.out.json {
        print(context, history, &report);
    }
    if args.apply {
        let progress = Progress::new(&context.out);
        report.healed = plan.apply(args.database.as_deref(), options, &progress)?;
        report.restorable.extend(report.healed);
    }
    done(context, history, &report, args);
    let left = report.faults.iter().any(|fault| fault.action == Action::Leave);
    let damaged = left || (!report.is_sound() && !args.apply);
    Ok(if damaged { Ended::Damaged } else { Ended::Well })
}

/// The outcome for the object `repository`.
enum Recovered {
    /// It is missing or damaged, and stays so.
    Not,
    /// It is there; with the key, if that had to be asked for.
    With(Option<Secret>),
}

/// Without the object `repository` nothing can be opened. It is written anew, or it is said how.
fn recovered(context: &Context, args: &RepairArgs) -> Result<Recovered> {
    let store = store::open_store(context.location()?)?;
    let Some(fault) = recover::examine(&*store)? else { return Ok(Recovered::With(None)) };
    let secret = context.secret()?;
    let recovery = recover::plan(&*store, &secret)?;
    let slots: Vec<String> = recovery.slots.iter().map(SlotId::to_string).collect();
    if args.apply {
        recover::recover(&*store, &recovery)?;
    }
    if context.out.json {
        let location = store.location();
        context.out.object(&Repository::of(&location, &fault, &recovery, args.apply));
    }
    context.out.summary(fault);
    context.out.summary(format_args!(
        "  {} from the key slots: repository {}, created {}; the key opens {}; a damaged one goes to {QUARANTINE}",
        if args.apply { "was written anew" } else { "would be written anew" },
        recovery.object.id,
        time(recovery.object.created),
        slots.join(", "),
    ));
    if args.apply {
        return Ok(Recovered::With(Some(secret)));
    }
    context.out.summary(
        "  nothing was changed; `pagekeep repair --apply` does it, and then looks at the histories",
    );
    Ok(Recovered::Not)
}

/// Takes for right what this machine remembers otherwise: the repository at its place, or a
/// history.
fn accept(context: &Context, name: Option<&str>) -> Result<Ended> {
    let repository = context.repository_as_it_is()?;
    let Some(name) = name else {
        accept_place(&repository)?;
        context.out.json_summary(&AcceptSummary::repository(&repository));
        context.out.summary(format_args!(
            "repository {} is the one at {}",
            repository.id(),
            repository.store().location()
        ));
        return Ok(Ended::Well);
    };
    let census = repository.census()?;
    let gone: Vec<&Absent> = census.absent.iter().filter(|gone| gone.is_called(name)).collect();
    for gone in &gone {
        accept_absence(&repository, gone)?;
        context.out.json_summary(&AcceptSummary::gone(gone));
        context
            .out
            .summary(format_args!("{} is forgotten here; a new one may begin", gone.title()));
    }
    if gone.is_empty() {
        let history = census.find(name)?;
        repo::accept_rollback(&history)?;
        context.out.json_summary(&AcceptSummary::history(Some(history.name()), history.id()));
        context.out.summary(format_args!("{} is taken as it is", history.name()));
    }
    Ok(Ended::Well)
}

/// What was found, and what is or would be done.
fn print(context: &Context, history: &History, report: &RepairReport) {
    let name = history.name();
    let restorable = counted(number(report.restorable.len()), "commit");
    let remarked =
        |fault: &Fault| format!("{}: {} ({})", fault.object, message(fault), action(fault.action));
    for remark in few(report.remarks.iter().map(remarked)) {
        context.out.warn(&remark);
    }
    if report.is_sound() {
        context.out.summary(format_args!("{name}: sound, {restorable} can be restored"));
        return;
    }
    let faults = counted(number(report.faults.len()), "fault");
    context.out.summary(format_args!("{name}: {faults}"));
    for fault in &report.faults {
        context.out.summary(format_args!("  {}", remarked(fault)));
    }
    let keeps = spell(&ranges(&report.restorable));
    context.out.summary(format_args!("  keeps {restorable}: {keeps}"));
    for (seq, mark) in &report.unmarked {
        context.out.summary(format_args!("  lost with seq:{seq}: its {mark}"));
    }
    if !report.given_up.is_empty() {
        let given_up = counted(number(report.given_up.len()), "commit");
        let which = spell(&ranges(&report.given_up));
        context.out.summary(format_args!(
            "  gives up {given_up}: {which}, which can still be restored now; restore them to files before `--apply`"
        ));
    }
    if !report.lost.is_empty() {
        let lost = counted(count(&report.lost), "number");
        let ranges: Vec<[Seq; 2]> = report.lost.iter().map(|(from, to)| [*from, *to]).collect();
        let which = spell(&ranges);
        context.out.summary(format_args!(
            "  lost {lost}: {which}, as far as can be told; no other commit gets one of them"
        ));
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Quarantine => "goes to the folder quarantine",
        Action::PutBack => "is put back from the other copy",
        Action::Expire => "the commits that need it are not offered any more",
        Action::Bridge => {
            "the commits that need what is missing are not offered any more, the others stay"
        }
        Action::Replace => "is written anew",
        Action::Leave => "stays as it is",
    }
}

/// What is wrong, and what helps where a repair does not.
fn message(fault: &Fault) -> String {
    let hint = fault.hint.as_ref().map_or(String::new(), |hint| format!("; {}", said(hint)));
    format!("{}{hint}", fault.message)
}

/// What came of it.
fn done(context: &Context, history: &History, report: &RepairReport, args: &RepairArgs) {
    let name = history.name();
    if report.described_once && !args.apply {
        context.out.warn(&described_once(history));
    }
    if context.out.json {
        let out = &context.out;
        report.faults.iter().for_each(|fault| out.object(&Damage::of(history, fault, said)));
        report.remarks.iter().for_each(|remark| out.object(&Remark::of(history, remark, said)));
        out.json_summary(&RepairSummary::of(history, report, args.apply));
        return;
    }
    if report.set_back {
        context
            .out
            .summary("  nothing was changed; once you said which state is right, run it again");
    }
    let acts = |fault: &Fault| fault.action != Action::Leave;
    if report.faults.iter().any(acts) || !report.lost.is_empty() {
        match args.apply {
            true => {
                let moves = |fault: &Fault| fault.action == Action::Quarantine;
                if report.faults.iter().chain(&report.remarks).any(moves) {
                    context.out.summary(format_args!("  what was moved is in {QUARANTINE}"));
                }
                context.out.summary(format_args!(
                    "  done; `pagekeep verify {}` looks whether all is well now",
                    quote(name)
                ));
            }
            false => context.out.summary(format_args!(
                "  nothing was changed; `pagekeep repair {} --apply` does it, with --database DB the live database heals it",
                quote(name)
            )),
        }
    }
    if let Some(seq) = report.healed {
        context.out.summary(format_args!("  the live database is {name}@seq:{seq}"));
    }
}

fn count(ranges: &[(Seq, Seq)]) -> u64 {
    let lens = ranges.iter().map(|(first, last)| last.0.saturating_sub(first.0).saturating_add(1));
    lens.fold(0, u64::saturating_add)
}

fn spell(ranges: &[[Seq; 2]]) -> String {
    let spelt: Vec<String> = ranges
        .iter()
        .map(|[first, last]| {
            if first == last {
                format!("seq:{first}")
            } else {
                format!("seq:{first} to seq:{last}")
            }
        })
        .collect();
    if spelt.is_empty() { "none".to_owned() } else { spelt.join(", ") }
}
