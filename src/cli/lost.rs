//! `recover` and `undo`: rows of the past, brought into the live database.

use std::time::Instant;

use super::args::{ChangeFormat, HowArgs, RecoverArgs, UndoArgs};
use super::context::{Context, asked, now};
use super::output::{count, counted, quote, time};
use super::progress::Progress;
use super::rows;
use super::table::table;
use crate::api;
use crate::api::lost::{Outcome, RecoverSummary, UndoSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::apply::report::{Applied, Conflict, Reason};
use crate::ops::diff::change::{Operation, RowChange};
use crate::ops::locate::Database;
use crate::ops::point::RestorePoint;
use crate::ops::recover::RecoverOptions;
use crate::ops::undo::UndoOptions;
use crate::ops::view::ViewOptions;
use crate::policy::mark::Cause;
use crate::policy::selector::Selector;
use crate::progress::stopped;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::types::Seq;

/// How many conflicts people are shown.
const SHOWN: usize = 20;

pub(crate) fn recover(context: &Context, args: &RecoverArgs) -> Result<()> {
    let began = Instant::now();
    let repository = context.repository()?;
    let database = Database::at(&args.database, args.how.name.as_deref())?;
    let history = database.history(&repository, false)?;
    let chain = history.chain()?;
    let selector = Selector::parse(&args.at, &now())?;
    let commit = context.choose(&history, &chain, &selector)?;
    let point = RestorePoint::of(&history, &chain, &commit);
    let mut options = RecoverOptions::default()
        .tables(args.table.clone())
        .changed(args.changed)
        .on_conflict(args.on_conflict.choice())
        .takeover(args.how.takeover)
        .view(view(&args.how));
    options.filter.clone_from(&args.filter);
    options.label.clone_from(&args.how.label);
    let progress = Progress::new(&context.out);
    let mut applied = match args.how.dry_run {
        true => point.preview_recover(&args.database, &options, &progress)?,
        false => point.recover(&args.database, &options, &progress)?,
    };
    drop(progress);
    let of = Of { context, history: &history, database: &database, how: &args.how };
    let moment =
        format!("{}@seq:{}, captured {}", history.name(), commit.seq, time(commit.record.time));
    let told = of.begin(&mut applied)?;
    if told {
        let undo = of.undo(&args.database.to_string_lossy(), &applied);
        context.out.json_summary(&RecoverSummary {
            at: commit.seq,
            asked_time: asked(&selector),
            outcome: of.outcome(&applied, undo.as_deref(), began),
        });
        of.tell(
            &applied,
            &[
                format!(
                    "nothing is missing from {} that was there at {moment}",
                    args.table.join(", ")
                ),
                format!("put back from {moment}"),
                format!("would be put back from {moment}"),
            ],
            in_the_way_of_lost,
            undo.as_deref(),
            began,
        );
        if let Some(asked) = asked(&selector) {
            context.out.summary(format_args!("  the last commit at or before {}", time(asked)));
        }
        let differing: u64 = applied.tables.iter().map(|table| table.differing).sum();
        if differing > 0 {
            context.out.remark(&format!(
                "{} of that moment {} there with other values, and {} left alone: `pagekeep diff` shows them, --changed sets them back",
                counted(differing, "row"),
                if differing == 1 { "is" } else { "are" },
                if differing == 1 { "was" } else { "were" },
            ));
        }
    }
    of.end(&applied, in_the_way_of_lost)
}

pub(crate) fn undo(context: &Context, args: &UndoArgs) -> Result<()> {
    let began = Instant::now();
    let repository = context.repository()?;
    let database = Database::at(&args.database, args.how.name.as_deref())?;
    let history = database.history(&repository, false)?;
    let chain = history.chain()?;
    let (first, last) = commits(context, &history, &chain, &args.commits)?;
    let mut options = UndoOptions::default()
        .tables(args.table.clone())
        .on_conflict(args.on_conflict.choice())
        .takeover(args.how.takeover)
        .view(view(&args.how));
    options.label.clone_from(&args.how.label);
    let progress = Progress::new(&context.out);
    let mut applied = match args.how.dry_run {
        true => history.preview_undo(&args.database, (first, last), &options, &progress)?,
        false => history.undo(&args.database, (first, last), &options, &progress)?,
    };
    drop(progress);
    let of = Of { context, history: &history, database: &database, how: &args.how };
    let which = match first == last {
        true => format!("{}@seq:{first}", history.name()),
        false => format!("{}@seq:{first} to seq:{last}", history.name()),
    };
    if of.begin(&mut applied)? {
        let undo = of.undo(&args.database.to_string_lossy(), &applied);
        context.out.json_summary(&UndoSummary {
            first,
            last,
            outcome: of.outcome(&applied, undo.as_deref(), began),
        });
        of.tell(
            &applied,
            &[
                format!("nothing of {which} is there any more that could be taken back"),
                match applied.tables.iter().map(|table| table.skipped).sum::<u64>() {
                    0 => format!("set back: {which} is undone"),
                    n => format!("set back: {which} is undone, but for {}", counted(n, "row")),
                },
                format!("would be set back to undo {which}"),
            ],
            in_the_way_of_undo,
            undo.as_deref(),
            began,
        );
    }
    of.end(&applied, in_the_way_of_undo)
}

/// That lost rows can't be put back.
fn in_the_way_of_lost(rows: u64) -> String {
    let counted = counted(rows, "row");
    match rows {
        1 => format!(
            "{counted} can't be put back, since another row or a rule of the table is in its way"
        ),
        _ => format!(
            "{counted} can't be put back, since other rows or rules of the table are in their way"
        ),
    }
}

/// That rows can't be set back.
fn in_the_way_of_undo(rows: u64) -> String {
    let counted = counted(rows, "row");
    match rows {
        1 => format!("{counted} was changed since, or another row is in its way"),
        _ => format!("{counted} were changed since, or other rows are in their way"),
    }
}

fn view(how: &HowArgs) -> ViewOptions {
    let cache = usize::try_from(how.cache / 2).unwrap_or(usize::MAX);
    ViewOptions::default().cache_bytes(cache)
}

/// The commits that `WHEN[..WHEN]` names. A number need not be one of a restore point.
fn commits(context: &Context, history: &History, chain: &Chain, text: &str) -> Result<(Seq, Seq)> {
    let one = |text: &str| match Selector::parse(text, &now())? {
        Selector::Seq(seq) => Ok(seq),
        // It names the state before the commit that somebody wants to undo.
        Selector::Label(label) if let Some((_, seq)) = Cause::of_label(&label) => {
            let what = format!("is the state before seq:{seq}, and no commit to take back");
            Err(Error::new(ErrorKind::Usage, what)
                .with_object(format!("mark {label:?}"))
                .with_hint(format!("name the commit behind it: seq:{seq}")))
        }
        selector => context.choose(history, chain, &selector).map(|commit| commit.seq),
    };
    match text.split_once("..") {
        Some((first, last)) if !first.is_empty() && !last.is_empty() => {
            Ok((one(first)?, one(last)?))
        }
        _ => one(text).map(|seq| (seq, seq)),
    }
}

/// What is told of.
struct Of<'o> {
    context: &'o Context,
    history: &'o History,
    database: &'o Database,
    how: &'o HowArgs,
}

impl Of<'_> {
    /// Shows rows, and then conflicts. Returns whether there is more to tell.
    fn begin(&self, applied: &mut Applied) -> Result<bool> {
        let out = &self.context.out;
        let go_on = || match out.is_unread() || out.lost().is_some() {
            true => Err(stopped()),
            false => Ok(()),
        };
        let shown = if self.how.dry_run && !applied.stopped { self.how.format } else { None };
        let told = match (shown, self.how.dry_run && !applied.stopped) {
            (Some(ChangeFormat::Sql), _) => applied.sql(&mut |sql| {
                go_on()?;
                out.data(sql);
                Ok(())
            }),
            (_, true) => {
                let mut rows = rows::Printer::new(out);
                applied.rows(&mut |change| {
                    go_on()?;
                    rows.print(change);
                    Ok(())
                })
            }
            _ => Ok(()),
        };
        if !out.is_unread() {
            told?;
        }
        self.conflicts(applied);
        for left in &applied.left {
            out.warn(&format!("left as it is: {left}"));
        }
        for note in &applied.notes {
            out.remark(&format!("stays as it is: {note}"));
        }
        // SQL is for programs.
        Ok(!applied.stopped && shown != Some(ChangeFormat::Sql))
    }

    fn conflicts(&self, applied: &Applied) {
        let out = &self.context.out;
        let found = &applied.conflicts;
        if out.json {
            found.first.iter().for_each(|found| out.object(&api::lost::Conflict::of(found)));
            return;
        }
        // With SQL on standard output they are no part of it.
        let line = |text: String| match self.how.format {
            Some(ChangeFormat::Sql) => out.trouble(text),
            _ => out.line(text),
        };
        let shown = if out.verbose { found.first.len() } else { SHOWN };
        let mut table = None;
        for conflict in found.first.iter().take(shown) {
            if table.as_ref() != Some(&conflict.change.table) {
                line(format!("table {}", conflict.change.table));
                table = Some(conflict.change.table.clone());
            }
            line(format!("  {}", in_words(conflict)));
        }
        let shown = u64::try_from(found.first.len().min(shown)).unwrap_or(u64::MAX);
        if found.count > shown {
            line(format!("  and {} more", count(found.count - shown)));
        }
    }

    fn outcome(&self, applied: &Applied, undo: Option<&str>, began: Instant) -> Outcome {
        let of = (self.history, &*self.database.place);
        Outcome::of(of, applied, self.how.dry_run, undo, began.elapsed())
    }

    /// The command that takes it back.
    fn undo(&self, database: &str, applied: &Applied) -> Option<String> {
        let done = applied.done.as_ref()?;
        let mut undo = format!("pagekeep undo {} seq:{}", quote(database), done.now);
        if let Some(name) = &self.how.name {
            undo.push_str(&format!(" --name {}", quote(name)));
        }
        Some(undo)
    }

    /// What was done, in the words for nothing, for what is done and for what would be.
    fn tell(
        &self,
        applied: &Applied,
        [nothing, did, would]: &[String; 3],
        in_the_way: fn(u64) -> String,
        undo: Option<&str>,
        began: Instant,
    ) {
        let out = &self.context.out;
        let changed = applied.changed();
        let skipped: u64 = applied.tables.iter().map(|table| table.skipped).sum();
        if changed == 0 && skipped > 0 {
            out.summary(format_args!("nothing was done: {}", in_the_way(skipped)));
            for line in counts(applied) {
                out.summary(format_args!("  {line}"));
            }
            return;
        }
        if changed == 0 {
            out.summary(format_args!("{nothing}; nothing was done"));
            return;
        }
        let rows = counted(changed, "row");
        match self.how.dry_run {
            true => out.summary(format_args!("{rows} {would}")),
            false => out.summary(format_args!("{}: {rows} {did}", self.database.place)),
        }
        for line in counts(applied) {
            out.summary(format_args!("  {line}"));
        }
        if skipped > 0 {
            out.summary(format_args!("  left as they are: {}", in_the_way(skipped)));
        }
        for name in &applied.rebuilt {
            let verb = if self.how.dry_run { "would be" } else { "was" };
            out.summary(format_args!("  the full-text index {name} {verb} built anew"));
        }
        if !applied.silent.is_empty() {
            let verb = if self.how.dry_run { "would not run" } else { "did not run" };
            out.summary(format_args!("  triggers that {verb}: {}", applied.silent.join(", ")));
        }
        let Some(done) = &applied.done else {
            out.summary("nothing was changed");
            return;
        };
        out.summary(format_args!(
            "  the state before is seq:{}, labelled {:?}; this one is seq:{}; {:.2} s",
            done.before.seq,
            done.before.label,
            done.now,
            began.elapsed().as_secs_f64()
        ));
        if let Some(undo) = undo {
            out.summary(format_args!("  undo: {undo}"));
        }
        if !done.alone {
            out.remark(&format!(
                "seq:{} also has what the application committed at the same time: while `pagekeep watch` runs, each transaction is a \
                 commit of its own",
                done.now
            ));
        }
    }

    /// The error of conflicts that stop everything.
    fn end(&self, applied: &Applied, in_the_way: fn(u64) -> String) -> Result<()> {
        if !applied.stopped {
            return Ok(());
        }
        if let Some(seq) = applied.captured {
            let name = self.history.name();
            self.context
                .out
                .remark(&format!("what is there was captured first, as {name}@seq:{seq}"));
        }
        let what = format!("nothing was done: {}", in_the_way(applied.conflicts.count));
        Err(Error::new(ErrorKind::Refused, what)
            .with_object(&*self.database.place)
            .with_hint("--on-conflict skip leaves such rows as they are and does the rest"))
    }
}

/// What came of each table.
fn counts(applied: &Applied) -> Vec<String> {
    let cells: Vec<Vec<String>> = applied
        .tables
        .iter()
        .map(|t| {
            let name = t.name.to_string();
            let numbers = [t.inserted, t.updated, t.deleted, t.already, t.skipped];
            std::iter::once(name).chain(numbers.map(count)).collect()
        })
        .collect();
    let header = ["TABLE", "INSERTED", "UPDATED", "DELETED", "ALREADY SO", "SKIPPED"];
    table(&header, &cells, &[1, 2, 3, 4, 5])
}

/// A conflict in a line.
fn in_words(Conflict { change, live, reason, .. }: &Conflict) -> String {
    let of = |operation, before, after| {
        let (table, key) = (change.table.clone(), change.key.clone());
        rows::line(&RowChange { table, operation, key, before, after })
    };
    let key = || of(Operation::Insert, None, None).replacen("+ ", "", 1);
    match reason {
        Reason::Missing => format!("! {}: deleted since", key()),
        Reason::Present => {
            let there = of(Operation::Insert, None, live.clone()).replacen("+ ", "", 1);
            format!("! there is such a row again: {there}")
        }
        Reason::Changed => {
            let since = of(Operation::Update, change.before.clone(), live.clone());
            format!("! {}, since", since.replacen("~ ", "", 1))
        }
        Reason::Constraint(message) => {
            format!(
                "! {}: {message}",
                of(change.operation, change.before.clone(), change.after.clone())
            )
        }
    }
}
