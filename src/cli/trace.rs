//! `trace`: the versions of a row as a table, the newest last, as `log` has commits.

use rusqlite::types::ValueRef;

use super::args::TraceArgs;
use super::context::Context;
use super::moments::{limit_heap, named};
use super::output::{counted, json_line, quote, unwritten};
use super::progress::Progress;
use super::query::format::cell;
use super::table::{table, times};
use super::terminal::Line;
use crate::api;
use crate::api::trace::TraceSummary;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::Named;
use crate::ops::trace::{KeyValue, Trace, TraceOptions, Version, changed};
use crate::ops::view::ViewOptions;
use crate::repo::history::handle::History;
use crate::sqlite::rows::cell::Cell;
use crate::types::{Seq, Timestamp};

/// How many values of a whole row are shown to people.
const SHOWN: usize = 8;

pub(crate) fn trace(context: &Context, args: &TraceArgs) -> Result<()> {
    limit_heap()?;
    let repository = context.repository()?;
    let history = repository.history(&args.name)?;
    let chain = context.chain(&history)?;
    let mut options = TraceOptions { view: ViewOptions::default(), ..TraceOptions::default() };
    options.from = named(context, &history, &chain, args.from.as_deref())?;
    options.to = named(context, &history, &chain, args.to.as_deref())?;
    options.limit = Some(args.limit).filter(|limit| *limit > 0);
    drop(chain);
    let key: Vec<KeyValue> = args.key.iter().map(|value| KeyValue::from(&**value)).collect();
    let out = &context.out;
    // The newest comes first, and is shown last.
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    let mut told = |version: Version| {
        match out.json {
            true => lines.push(json_line(&api::trace::Version::of(&version)).map_err(unwritten)?),
            false => rows.push(Shown::of(&version)),
        }
        Ok(())
    };
    let progress = Progress::new(out);
    let found = history.trace(&args.table, &key, &options, &progress, &mut told)?;
    drop(progress);
    if found.versions == 0 {
        return Err(never(&history, args, &found));
    }
    lines.into_iter().rev().for_each(|line: Line| out.line(line));
    out.json_summary(&TraceSummary::of(&history, &args.table, &found));
    if !out.json {
        rows.reverse();
        print(context, &history, &rows, &found);
    }
    Ok(())
}

/// A version as a line of the table.
struct Shown {
    seq: Seq,
    time: Timestamp,
    word: &'static str,
    what: String,
}

impl Shown {
    fn of(version: &Version) -> Self {
        let change = &version.change;
        let (word, what) = match (&change.before, &change.after) {
            (Some(_), Some(_)) => ("changed", changes(version)),
            (None, Some(row)) if version.was_there => ("there", in_words(row)),
            (None, Some(row)) => ("inserted", in_words(row)),
            (Some(row), None) => ("deleted", in_words(row)),
            (None, None) => ("", String::new()),
        };
        Self { seq: version.seq, time: version.time, word, what }
    }
}

/// The values of a row.
fn in_words(row: &Named) -> String {
    let all: Vec<String> = row
        .iter()
        .take(SHOWN)
        .map(|(column, value)| format!("{column}: {}", shown(value)))
        .collect();
    let more = if row.columns.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", all.join(", "))
}

/// The columns that changed, with their values before and after.
fn changes(version: &Version) -> String {
    let side = |value: Option<&Cell>| value.map_or("(no column)".to_owned(), shown);
    let each = |(column, old, new): (&str, Option<&Cell>, Option<&Cell>)| {
        format!("{column}: {} -> {}", side(old), side(new))
    };
    let all: Vec<String> = changed(&version.change).map(each).collect();
    match all.is_empty() {
        // Equal by its collation, and not the same.
        true => "its key has other bytes".to_owned(),
        false => all.join(", "),
    }
}

/// A value; a text in quotes, so that it is told from a number.
fn shown(value: &Cell) -> String {
    let text = cell(value.as_ref());
    match value.as_ref() {
        ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_ok() => format!("'{text}'"),
        _ => text,
    }
}

fn print(context: &Context, history: &History, rows: &[Shown], found: &Trace) {
    let out = &context.out;
    let listed = times(rows.iter().map(|row| row.time));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let (seq, time) = (format!("seq:{}", row.seq), listed.cell(row.time));
            vec![seq, time, row.word.to_owned(), row.what.clone()]
        })
        .collect();
    for line in table(&["COMMIT", &listed.heading("TIME"), "ROW", "VALUES"], &cells, &[]) {
        out.line(line);
    }
    let asked = counted(found.restore_points, "restore point");
    out.note(format_args!("asked {} of {asked}", found.asked));
    if found.has_more {
        let n = found.versions;
        out.advice(&format!(
            "no older versions than these {n} were looked for: --limit 0 shows all"
        ));
    } else if let Some(first) = rows.first().filter(|row| row.word == "there") {
        out.note(format_args!(
            "the row was there at {}@seq:{}, the first commit that was looked at",
            quote(history.name()),
            first.seq
        ));
    }
}

/// The error of a row that no commit has.
fn never(history: &History, args: &TraceArgs, found: &Trace) -> Error {
    let points = counted(found.restore_points, "restore point");
    let what = format!("no row of {:?} has this key in any of {points}", args.table);
    Error::new(ErrorKind::NotFound, what)
        .with_object(format!("history {:?}", history.name()))
        .with_hint("the key of a table without INTEGER PRIMARY KEY is its rowid; `pagekeep query` finds a row by other columns")
}
