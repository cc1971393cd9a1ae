//! `prune`, `hold` and `undelete`: how long commits stay.

use chrono::Local;

use super::args::{HoldCommand, PolicyArgs, PruneArgs, UndeleteArgs};
use super::context::Context;
use super::input::Signals;
use super::output::{bytes, counted, quote, time};
use super::progress::Progress;
use super::remedy::behind;
use super::table::{sentence, table, times};
use crate::api::commit::LabelSummary;
use crate::api::retention::{
    Deleted, Dropped, Hold, HoldRemovedSummary, HoldSummary, Kept as KeptCommit, PruneSummary,
};
use crate::count::number;
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::SnapshotKind;
use crate::input;
use crate::ops::labels::{not_readable, passed_over};
use crate::ops::prune::{PruneOptions, PruneReport};
use crate::policy::clock::Listed;
use crate::policy::retention::{Kept, Point, Policy, Reason};
use crate::policy::selector::trimmed;
use crate::policy::text::PolicyText;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{Seq, Timestamp};

/// The longest policy file.
const MAX_POLICY: usize = 64 * 1024;

pub(crate) fn prune(context: &Context, args: &PruneArgs) -> Result<()> {
    let text = policy_text(&args.policy)?;
    let zone = text.zone()?;
    let mut options = PruneOptions::new(Policy::try_from(text)?, zone);
    options.dry_run = args.dry_run;
    options.grace = args.grace;
    options.in_doubt = args.in_doubt;
    let repository = context.repository()?;
    for history in context.histories(&repository, args.name.as_deref())? {
        let pruned = {
            let progress = Progress::new(&context.out);
            history.prune(&options, &progress).map_err(explain_stop)
        };
        if let Some(report) = context.beside(args.name.is_none(), &history, pruned)? {
            print(context, &history, &report, args);
            if let Some(e) = &report.refusal {
                let hint = behind(e);
                context.out.warn(&format!("without -n this would be refused: {e}{hint}"));
            }
        }
    }
    Ok(())
}

fn explain_stop(e: Error) -> Error {
    if e.kind() == ErrorKind::Interrupted {
        return e.with_hint("everything that is to stay is there; the next prune goes on");
    }
    e
}

/// The policy of the file, if one is named, and of the options, which win.
pub(crate) fn policy_text(args: &PolicyArgs) -> Result<PolicyText> {
    let mut text = match &args.policy {
        Some(path) => {
            let content = input::text(path, MAX_POLICY, ErrorKind::Usage, &Signals)?;
            toml::from_str::<PolicyText>(&content).map_err(|e| {
                // As it prints itself it has several lines, with the text in them.
                let before = e.span().and_then(|span| content.get(..span.start));
                let line = before.map_or(String::new(), |text| {
                    format!(" in line {}", text.matches('\n').count() + 1)
                });
                Error::new(ErrorKind::Usage, format!("is not a policy{line}: {}", e.message()))
                    .with_object(path.display().to_string())
            })?
        }
        None => PolicyText::default(),
    };
    let given = PolicyText {
        keep_window: args.keep_window.clone(),
        keep_last: args.keep_last,
        keep_hourly: args.keep_hourly.clone(),
        keep_daily: args.keep_daily.clone(),
        keep_weekly: args.keep_weekly.clone(),
        keep_monthly: args.keep_monthly.clone(),
        keep_yearly: args.keep_yearly.clone(),
        keep_floor: args.keep_floor,
        time_zone: args.time_zone.clone(),
    };
    macro_rules! override_with {
        ($($field:ident),*) => { $(if given.$field.is_some() { text.$field = given.$field; })* };
    }
    override_with!(
        keep_window,
        keep_last,
        keep_hourly,
        keep_daily,
        keep_weekly,
        keep_monthly,
        keep_yearly,
        keep_floor,
        time_zone
    );
    Ok(text)
}

fn print(context: &Context, history: &History, report: &PruneReport, args: &PruneArgs) {
    let name = history.name();
    if context.out.json {
        let out = &context.out;
        report.kept.iter().for_each(|kept| out.object(&KeptCommit::of(history, kept)));
        report.dropped.iter().for_each(|point| out.object(&Dropped::of(history, point)));
        out.json_summary(&PruneSummary::of(history, report, args.dry_run));
        return;
    }
    if report.kept.is_empty() {
        context.out.summary(format_args!("{name}: has no commits yet"));
        return;
    }
    let times = times(report.kept.iter().map(|kept| kept.time));
    let rows: Vec<Vec<String>> =
        stretches(&report.kept, args.list).into_iter().map(|s| s.row(&times)).collect();
    context.out.summary(format_args!(
        "{name}: {} {} of {}",
        if args.dry_run { "would keep" } else { "keeps" },
        counted(number(report.kept.len()), "commit"),
        number(report.kept.len() + report.dropped.len()),
    ));
    if !context.out.quiet {
        for line in table(&["COMMIT", &times.heading("TIME"), "WHY"], &rows, &[]) {
            context.out.line(format_args!("  {line}"));
        }
    }
    if let Some(line) = ended(&report.ended) {
        let word = if args.dry_run { "would end" } else { "ended" };
        summary(context, &format!("{word} {line}"));
    }
    if let Some(line) = dropped(&report.dropped) {
        let word = if args.dry_run { "would drop" } else { "dropped" };
        summary(context, &format!("{word} {line}"));
    }
    let about = if args.dry_run { "about " } else { "" };
    let sizes = format!(
        "{} before, {about}{} after{}",
        bytes(report.before.bytes),
        bytes(report.after.bytes.saturating_sub(report.waiting_bytes)),
        if report.waiting_bytes > 0 {
            format!(
                ", once {} of replaced objects are deleted by a later prune",
                bytes(report.waiting_bytes)
            )
        } else {
            String::new()
        },
    );
    summary(context, &sizes);
}

/// A sentence below a table.
fn summary(context: &Context, text: &str) {
    sentence(text).into_iter().for_each(|line| context.out.summary(line));
}

/// Neighbours that are kept for the same reasons.
struct Stretch<'k> {
    first: &'k Kept,
    last: &'k Kept,
    count: u64,
}

impl Stretch<'_> {
    fn row(&self, times: &Listed<Local>) -> Vec<String> {
        let why: Vec<String> = self.first.reasons.iter().map(Reason::to_string).collect();
        let (commit, when) = if self.count == 1 {
            (format!("seq:{}", self.first.seq), times.cell(self.first.time))
        } else {
            (
                format!(
                    "seq:{} to seq:{} ({})",
                    self.first.seq,
                    self.last.seq,
                    counted(self.count, "commit")
                ),
                format!("{} to {}", times.cell(self.first.time), times.cell(self.last.time)),
            )
        };
        vec![commit, when, why.join(", ")]
    }
}

/// The kept commits, neighbours of the same reasons taken together unless `each` is asked for.
fn stretches(kept: &[Kept], each: bool) -> Vec<Stretch<'_>> {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for kept in kept {
        match stretches.last_mut() {
            Some(stretch) if !each && stretch.first.reasons == kept.reasons => {
                stretch.last = kept;
                stretch.count += 1;
            }
            _ => stretches.push(Stretch { first: kept, last: kept, count: 1 }),
        }
    }
    stretches
}

/// The marks that are over, in a line.
fn ended(marks: &[Snapshot]) -> Option<String> {
    let first = &marks.first()?.label;
    Some(match marks {
        [_] => format!("the mark {first}, which was kept long enough"),
        _ => format!("{} marks that were kept long enough, from {first} on", marks.len()),
    })
}

/// What goes, in a line.
fn dropped(points: &[Point]) -> Option<String> {
    let (first, last) = (points.first()?, points.last()?);
    let count = counted(number(points.len()), "commit");
    if points.len() == 1 {
        return Some(format!("{count}, seq:{} of {}", first.seq, time(first.time)));
    }
    Some(format!(
        "{count} between seq:{} of {} and seq:{} of {}",
        first.seq,
        time(first.time),
        last.seq,
        time(last.time)
    ))
}

pub(crate) fn hold(context: &Context, command: &HoldCommand) -> Result<()> {
    let repository = context.repository()?;
    match command {
        HoldCommand::Add { target, reason } => {
            let selected = context.select(&repository, target)?;
            let hold = {
                let commit = &selected.commit;
                selected.history.hold((commit.seq, commit.record.digest), reason)?
            };
            let name = selected.history.name();
            context.out.json_summary(&HoldSummary::of(&selected.history, &hold));
            context.out.summary(format_args!(
                "{name}@seq:{} of {} is on hold: {}",
                hold.seq,
                time(selected.commit.record.time),
                hold.reason
            ));
            Ok(())
        }
        HoldCommand::Remove { name, id } => remove_hold(context, &repository.history(name)?, id),
        HoldCommand::List { name } => {
            list_holds(context, &context.histories(&repository, name.as_deref())?)
        }
    }
}

fn remove_hold(context: &Context, history: &History, id: &str) -> Result<()> {
    let mut found = history.holds()?;
    found.retain(|h| h.reason == id || (id.len() >= 4 && h.id.to_string().starts_with(id)));
    let hold = match found.as_slice() {
        [hold] => hold,
        [] => {
            return Err(Error::new(ErrorKind::NotFound, "no hold has this id or reason")
                .with_object(id)
                .with_hint(format!("`pagekeep hold list {}` shows them", quote(history.name()))));
        }
        _ => {
            return Err(Error::new(ErrorKind::Usage, "fits several holds")
                .with_object(id)
                .with_hint("use the id, as `pagekeep hold list` shows it"));
        }
    };
    history.remove_hold(hold)?;
    context.out.json_summary(&HoldRemovedSummary::of(history, hold));
    context.out.summary(format_args!(
        "{}@seq:{} is not on hold any more ({})",
        history.name(),
        hold.seq,
        hold.reason
    ));
    Ok(())
}

fn list_holds(context: &Context, histories: &[History]) -> Result<()> {
    let (mut rows, mut since) = (Vec::new(), Vec::new());
    for history in histories {
        for hold in context.holds(history)? {
            if context.out.json {
                context.out.object(&Hold::of(history, &hold));
            }
            rows.push(vec![
                hold.id.to_string(),
                format!("{}@seq:{}", history.name(), hold.seq),
                hold.reason,
                hold.host,
            ]);
            since.push(hold.time);
        }
    }
    if !context.out.json {
        let times = times(since.iter().copied());
        for (row, time) in rows.iter_mut().zip(since) {
            row.insert(2, times.cell(time));
        }
        let header = ["ID", "COMMIT", &times.heading("SINCE"), "REASON", "HOST"];
        for line in table(&header, &rows, &[]) {
            context.out.line(line);
        }
    }
    Ok(())
}

pub(crate) fn undelete(context: &Context, args: &UndeleteArgs) -> Result<()> {
    let repository = context.repository()?;
    let history = repository.history(&args.name)?;
    let chain = context.chain(&history)?;
    let (all, unread) = history.readable_labels()?;
    let labelled: Vec<(Seq, String)> = all
        .iter()
        .filter(|(_, gone)| gone.is_none())
        .map(|(s, _)| (s.seq, s.label.clone()))
        .collect();
    // Those that are there still and were not given back already.
    let mut deleted: Vec<_> = all.into_iter().filter_map(|(s, gone)| Some((s, gone?))).collect();
    deleted.retain(|(s, gone)| {
        let by_a_person = match s.kind {
            SnapshotKind::Manual => true,
            SnapshotKind::Mark => s.until.is_none_or(|until| *gone < until),
            _ => false,
        };
        by_a_person
            && chain.commit(s.seq).is_some_and(|commit| s.names(&commit))
            && !labelled.contains(&(s.seq, s.label.clone()))
    });
    deleted.sort_by_key(|(_, gone)| *gone);
    let Some(label) = args.label.as_deref().map(trimmed) else {
        for e in &unread {
            context.out.advise(&passed_over(&history, e));
        }
        return list_deleted(context, &history, &deleted);
    };
    let found = deleted.iter().rev().find(|(s, _)| trimmed(&s.label) == label);
    let Some((snapshot, _)) = found else {
        if let Some(e) = not_readable(&history, label, &unread) {
            return Err(e);
        }
        return Err(Error::new(ErrorKind::NotFound, format!("has no removed label {label:?}"))
            .with_object(history.name())
            .with_hint(format!("`pagekeep undelete {}` lists them", quote(history.name()))));
    };
    let given = history.give_back(snapshot)?;
    for e in &unread {
        context.out.advise(&passed_over(&history, e));
    }
    context.out.json_summary(&LabelSummary::of(&history, &given));
    context.out.summary(format_args!(
        "{}@seq:{} has its label {label:?} back{}",
        history.name(),
        given.seq,
        given.until.map_or(String::new(), |until| format!(", until {}", time(until)))
    ));
    Ok(())
}

fn list_deleted(
    context: &Context,
    history: &History,
    deleted: &[(Snapshot, Timestamp)],
) -> Result<()> {
    let answers: Vec<Deleted> =
        deleted.iter().map(|(snapshot, gone)| Deleted::of(history, snapshot, *gone)).collect();
    let times = times(answers.iter().flat_map(|label| [label.removed, label.kept_until]));
    let mut rows = Vec::new();
    for label in &answers {
        if context.out.json {
            context.out.object(label);
        }
        rows.push(vec![
            format!("{}@seq:{}", history.name(), label.seq),
            label.label.clone(),
            times.cell(label.removed),
            times.cell(label.kept_until),
        ]);
    }
    if !context.out.json {
        let header = ["COMMIT", "LABEL", &times.heading("REMOVED"), &times.heading("KEPT UNTIL")];
        for line in table(&header, &rows, &[]) {
            context.out.line(line);
        }
    }
    Ok(())
}
