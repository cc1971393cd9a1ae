//! `query`.

mod complete;
pub(super) mod format;
mod prompt;

use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use rusqlite::Row;

use self::format::Printer;
use super::args::{FormatArg, QueryArgs};
use super::context::{Context, Selected};
use super::output::{Output, ago, bytes, counted, time};
use super::progress::stop_requested;
use crate::api::query::QuerySummary;
use crate::count::number;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::query::{Answers, Asked, Limits, Next};
use crate::ops::view::{DatabaseView, ViewOptions};
use crate::types::Timestamp;

/// The most that is read from standard input.
const STDIN_BYTES: u64 = 1024 * 1024;

pub(crate) fn query(context: &Context, args: &QueryArgs) -> Result<()> {
    let repository = context.repository()?;
    let selected = context.select(&repository, &args.target)?;
    let others = args
        .attach
        .iter()
        .map(|other| Ok((&*other.name, context.select(&repository, &other.target)?)));
    let others: Vec<(&str, Selected)> = others.collect::<Result<_>>()?;
    let view = open(context, args, &selected, &others)?;
    let limits = Limits {
        time: Some(args.timeout).filter(|time| *time > Duration::ZERO),
        value_bytes: usize::try_from(args.memory / 4).unwrap_or(usize::MAX),
    };
    let asked = Asked::new(view, limits, stop_requested)?;
    let names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
    let session = Session { context, args, selected: &selected, asked: &asked };
    match &args.sql {
        Some(sql) => session.answer(sql),
        None if std::io::stdin().is_terminal() => prompt::run(&session, &names),
        None => session.answer(&from_stdin()?),
    }
}

fn open(
    context: &Context,
    args: &QueryArgs,
    selected: &Selected,
    others: &[(&str, Selected)],
) -> Result<DatabaseView> {
    let cache = usize::try_from(args.cache).unwrap_or(usize::MAX) / (others.len() + 1);
    let options = ViewOptions::default().cache_bytes(cache);
    let mut view = selected.point().open(&options)?;
    // The heap of the process is SQLite's: nothing else here asks it anything.
    let limit = i64::try_from(args.memory).unwrap_or(i64::MAX);
    view.pragma_update_and_check(None, "hard_heap_limit", limit, |_| Ok(()))
        .map_err(|e| view.explain(e))?;
    for (name, other) in others {
        view.attach(name, &other.point())?;
        // Some names can't stand alone, such as those that SQL itself uses.
        if view.prepare(&format!("SELECT 1 AS {name}")).is_err() {
            let quoted = name.replace('"', "\"\"");
            context.out.remark(&format!("SQL has {name} only in quotes: \"{quoted}\".orders"));
        }
    }
    Ok(view)
}

fn from_stdin() -> Result<String> {
    let mut sql = String::new();
    let failed = |e| Error::io(e, "cannot be read", "standard input").with_kind(ErrorKind::Usage);
    // One more, which tells that there is too much: half of a statement means something else.
    std::io::stdin().take(STDIN_BYTES + 1).read_to_string(&mut sql).map_err(failed)?;
    if number(sql.len()) > STDIN_BYTES {
        let most = bytes(STDIN_BYTES);
        return Err(Error::new(ErrorKind::Usage, format!("has more than {most} of SQL"))
            .with_object("standard input")
            .with_hint("ask in several runs; nothing was asked"));
    }
    Ok(sql)
}

/// A moment that is being asked.
struct Session<'a> {
    context: &'a Context,
    args: &'a QueryArgs,
    selected: &'a Selected,
    asked: &'a Asked,
}

impl Session<'_> {
    /// Prints what SQL answers.
    fn answer(&self, sql: &str) -> Result<()> {
        let began = Instant::now();
        let out = &self.context.out;
        let format = self.args.format.unwrap_or_default();
        let mut printed = Printed {
            out,
            printer: Printer::new(out, (!out.json).then_some(format)),
            left: self.args.max_rows.unwrap_or(u64::MAX),
            rows: 0,
            is_cut: false,
            max_rows: self.args.max_rows,
        };
        let done = self.asked.run(sql, &mut printed);
        // What was printed before an error stays.
        printed.printer.flush();
        let Printed { rows, is_cut, .. } = printed;
        done?;
        let Selected { history, commit, .. } = self.selected;
        let seconds = began.elapsed().as_secs_f64();
        out.json_summary(&QuerySummary::of((history, commit), (rows, is_cut), seconds));
        if is_cut {
            let most = self.args.max_rows.unwrap_or_default();
            out.warn(&format!(
                "there are more rows than {most}; --max-rows allows more, or LIMIT says which"
            ));
        }
        if format == FormatArg::Table && !out.json {
            let captured = commit.record.time;
            out.note(format_args!(
                "{} of {}@seq:{}, captured {} ({}), in {seconds:.2} s",
                counted(rows, "row"),
                history.name(),
                commit.seq,
                time(captured),
                ago(captured, Timestamp::now())
            ));
        }
        Ok(())
    }
}

/// Prints rows, and counts them.
struct Printed<'o> {
    out: &'o Output,
    printer: Printer<'o>,
    max_rows: Option<u64>,
    /// How many more rows of this statement are wanted.
    left: u64,
    rows: u64,
    is_cut: bool,
}

impl Answers for Printed<'_> {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        self.left = self.max_rows.unwrap_or(u64::MAX);
        self.printer.begin(columns);
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> rusqlite::Result<Next> {
        let Some(left) = self.left.checked_sub(1) else {
            self.is_cut = true;
            return Ok(Next::Enough);
        };
        self.left = left;
        self.rows += 1;
        self.printer.row(row)?;
        // An answer that can't be written is nobody's.
        let is_over = self.out.is_unread() || self.out.lost().is_some();
        Ok(if is_over { Next::Enough } else { Next::Row })
    }

    fn end(&mut self) {
        self.printer.end();
    }
}
