//! `rewind` and `drift`: the live database beside its history.

use std::time::Instant;

use super::args::{DriftArgs, RewindArgs, check_of};
use super::context::{Context, asked, now};
use super::ended::Ended;
use super::output::{count, counted, quote, time};
use super::progress::Progress;
use super::rows;
use super::table::table;
use super::terminal::{Line, red};
use crate::api::live::{DriftSummary, PreviewSummary, RewindSummary};
use crate::error::Result;
use crate::ops::drift::{Drift, Verdict};
use crate::ops::locate::Database;
use crate::ops::point::RestorePoint;
use crate::ops::rewind::{RewindOptions, RewindPreview};
use crate::policy::selector::Selector;
use crate::repo::chain::Commit;
use crate::repo::history::handle::History;
use crate::types::Timestamp;

pub(crate) fn rewind(context: &Context, args: &RewindArgs) -> Result<()> {
    let began = Instant::now();
    let repository = context.repository()?;
    let database = Database::at(&args.database, args.name.as_deref())?;
    let history = database.history(&repository, false)?;
    let chain = history.chain()?;
    let selector = Selector::parse(&args.to, &now())?;
    let commit = context.choose(&history, &chain, &selector)?;
    let options = RewindOptions {
        check: check_of(args.check),
        label: args.label.clone(),
        takeover: args.takeover,
    };
    let point = RestorePoint::of(&history, &chain, &commit);
    if args.dry_run {
        let progress = Progress::new(&context.out);
        let preview = point.preview_rewind(&args.database, &options, &progress)?;
        drop(progress);
        print_preview(context, &history, &commit, asked(&selector), &preview);
        return Ok(());
    }
    let progress = Progress::new(&context.out);
    if let Some(newest) = point.is_present(&args.database, &options, &progress)? {
        drop(progress);
        let of = (&history, &*database.place);
        let asked = asked(&selector);
        let summary = RewindSummary::already(of, commit.seq, newest, asked, began.elapsed());
        context.out.json_summary(&summary);
        tell_already(context, of, &commit, asked);
        return Ok(());
    }
    let done = point.rewind(&args.database, &options, &progress)?;
    drop(progress);
    let name = history.name();
    let mut undo = format!(
        "pagekeep rewind {} --to seq:{}",
        quote(&args.database.to_string_lossy()),
        done.before.seq
    );
    if let Some(name) = &args.name {
        undo.push_str(&format!(" --name {}", quote(name)));
    }
    let of = (&history, &*database.place);
    let summary = RewindSummary::of(of, &done, asked(&selector), &undo, began.elapsed());
    context.out.json_summary(&summary);
    let seconds = summary.seconds;
    context.out.summary(format_args!(
        "rewound {} to {name}@seq:{}, captured {}",
        database.place,
        done.to,
        time(commit.record.time)
    ));
    tell_asked(context, asked(&selector));
    context.out.summary(format_args!(
        "  the state before is seq:{}, labelled {:?}; this one is seq:{}; {seconds:.2} s",
        done.before.seq, done.before.label, done.now
    ));
    context.out.summary(format_args!("  undo: {undo}"));
    Ok(())
}

fn tell_already(
    context: &Context,
    (history, place): (&History, &str),
    commit: &Commit,
    asked: Option<Timestamp>,
) {
    context.out.summary(format_args!(
        "{place} has the content of {}@seq:{}, captured {}, already; nothing was done",
        history.name(),
        commit.seq,
        time(commit.record.time)
    ));
    tell_asked(context, asked);
}

/// Which moment was asked for, if it was one.
fn tell_asked(context: &Context, asked: Option<Timestamp>) {
    if let Some(asked) = asked {
        context.out.summary(format_args!("  the last commit at or before {}", time(asked)));
    }
}

fn print_preview(
    context: &Context,
    history: &History,
    commit: &Commit,
    asked: Option<Timestamp>,
    preview: &RewindPreview,
) {
    if context.out.json {
        let summary = PreviewSummary::of(history, commit.seq, asked, preview);
        context.out.object(&summary);
        return;
    }
    context.out.summary(format_args!(
        "would rewind to {}@seq:{}, captured {}: {} would change",
        history.name(),
        commit.seq,
        time(commit.record.time),
        counted(preview.pages, "page")
    ));
    tell_asked(context, asked);
    for change in &preview.schema {
        context.out.summary(format_args!("  {}", rows::schema_line(change)));
    }
    if preview.tables.is_empty() {
        context.out.summary("  no row of any table differs");
    }
    for line in rows::counts(&preview.tables) {
        context.out.summary(format_args!("  {line}"));
    }
    context.out.summary("nothing was changed");
}

pub(crate) fn drift(context: &Context, args: &DriftArgs) -> Result<Ended> {
    let repository = context.repository()?;
    Database::at(&args.database, args.name.as_deref())?;
    let progress = Progress::new(&context.out);
    let (history, drift) = repository.drift(&args.database, args.name.as_deref(), &progress)?;
    drop(progress);
    print_drift(context, &history, args, &drift);
    Ok(if drift.verdict() == Verdict::Drifted { Ended::Damaged } else { Ended::Well })
}

fn print_drift(context: &Context, history: &History, args: &DriftArgs, drift: &Drift) {
    let verdict = drift.verdict();
    if verdict == Verdict::Unknown {
        context.out.warn(&format!(
            "can't tell whether {} drifted: what differs may come from transactions since seq:{}, which nobody followed",
            history.name(),
            drift.seq
        ));
    }
    if context.out.json {
        context.out.object(&DriftSummary::of(history, drift));
        return;
    }
    let of = format!("{} of {}@seq:{}", counted(drift.pages, "page"), history.name(), drift.seq);
    if verdict == Verdict::Same {
        context.out.summary(format_args!("{of} compared: no drift"));
    } else {
        let what = match drift.differing {
            0 => "the size differs".to_owned(),
            1 => "1 page differs".to_owned(),
            n => format!("{} pages differ", count(n)),
        };
        let compared = Line::from(format_args!("{of} compared: "));
        context.out.summary(match verdict {
            Verdict::Unknown => compared.then(what),
            _ => compared.then(red(format!("{what} and no transaction explains it"))),
        });
        let mut rows: Vec<Vec<String>> =
            drift.tables.iter().map(|(name, n)| vec![name.clone(), count(*n)]).collect();
        if drift.elsewhere > 0 {
            rows.push(vec!["(no table)".to_owned(), count(drift.elsewhere)]);
        }
        for line in table(&["TABLE", "PAGES"], &rows, &[1]) {
            context.out.summary(format_args!("  {line}"));
        }
    }
    if let Some((live, head)) = drift.sizes {
        context.out.summary(format_args!("  {live} pages now, {head} then"));
    }
    if drift.explained > 0 {
        context.out.summary(format_args!(
            "  {} changed by transactions since, not captured yet",
            counted(drift.explained, "page")
        ));
    }
    if drift.free > 0 {
        context.out.summary(format_args!(
            "  {} without content, which means nothing",
            counted(drift.free, "free page")
        ));
    }
    for found in &drift.unsound {
        context.out.summary(format_args!("  SQLite finds it unsound: {found}"));
    }
    let (seq, target) = (drift.seq, quote(&format!("{}@seq:{}", history.name(), drift.seq)));
    let mut rows = format!("`pagekeep rewind {}", quote(&args.database.to_string_lossy()));
    if let Some(name) = &args.name {
        rows.push_str(&format!(" --name {}", quote(name)));
    }
    rows.push_str(&format!(" --to seq:{seq} -n` tells which rows differ"));
    let advice = match verdict {
        Verdict::Same => return,
        Verdict::Unknown => format!(
            "{rows}; if that is the application's work, the next backup takes it in. If not, keep the sound state (`pagekeep hold add \
             {target} REASON`) and back nothing up before you know. While `pagekeep watch` runs, every difference can be told",
        ),
        Verdict::Drifted => format!(
            "the file was changed by something else than a transaction: check the disk and the memory; {rows}, `pagekeep rewind` or \
             `restore` bring the captured pages back"
        ),
    };
    context.out.advice(&advice);
}
