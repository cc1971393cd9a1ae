//! `diff`.

use std::time::Instant;

use super::args::{DiffArgs, DiffFormat};
use super::context::{Context, Selected};
use super::moments::limit_heap;
use super::output::{Output, counted, quote, stdout_is_terminal};
use super::progress::Progress;
use super::query::format::{field, quoted};
use super::rows;
use crate::api::rows as answers;
use crate::count::number;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::{Operation, RowChange, TableDiff};
use crate::ops::diff::run::{Diff, DiffOptions, LiveDatabase};
use crate::ops::view::ViewOptions;
use crate::progress::stopped;
use crate::repo::Repository;

pub(crate) fn diff(context: &Context, args: &DiffArgs) -> Result<()> {
    limit_heap()?;
    let began = Instant::now();
    let repository = context.repository()?;
    let from = context.select(&repository, &args.from)?;
    if !args.from.contains('@') && args.to.is_none() && args.live.is_none() {
        let what = "the newest commit would be compared with itself";
        let named = quote(&format!("{}@yesterday", args.from));
        return Err(Error::new(ErrorKind::Usage, what)
            .with_object(format!("history {:?}", from.history.name()))
            .with_hint(format!(
                "name an earlier commit, such as {named}, or a database with --live"
            )));
    }
    let to = match &args.live {
        Some(_) => None,
        None => Some(second(context, &repository, &from, args)?),
    };
    let cache = usize::try_from(args.cache / 2).unwrap_or(usize::MAX);
    let mut options = DiffOptions::default()
        .tables(args.table.clone())
        .reverse(args.reverse)
        .replace_redefined(args.format == Some(DiffFormat::Sql))
        .view(ViewOptions::default().cache_bytes(cache));
    options.filter.clone_from(&args.filter);
    if args.format == Some(DiffFormat::Changeset) && stdout_is_terminal() {
        let what = "a changeset is bytes, which no terminal can show";
        return Err(Error::new(ErrorKind::Usage, what)
            .with_object("standard output")
            .with_hint("send it to a file: add > FILE, or to a program: | PROGRAM"));
    }
    let mut live = args.live.as_deref().map(LiveDatabase::open).transpose()?;
    let opened = match (&mut live, &to) {
        (Some(live), _) => from.point().diff_live(live, &options)?,
        (None, Some(to)) => from.point().diff(&to.point(), &options)?,
        (None, None) => return Err(Error::new(ErrorKind::Failure, "nothing to compare with")),
    };
    let ends = Ends::of(&from, to.as_ref(), args);
    let printer = Printer { out: &context.out, args, ends, began };
    let printed = match args.format {
        Some(DiffFormat::Sql) => printer.sql(&opened),
        Some(DiffFormat::Csv) => printer.csv(&opened),
        Some(DiffFormat::Changeset) => printer.changeset(&opened),
        Some(DiffFormat::Text) | None => printer.text(&opened),
    };
    // Nobody reads the rest.
    if context.out.is_unread() { Ok(()) } else { printed }
}

/// The second moment: of the same history if its name is left out.
fn second(
    context: &Context,
    repository: &Repository,
    from: &Selected,
    args: &DiffArgs,
) -> Result<Selected> {
    let name = from.history.name();
    let target = match args.to.as_deref() {
        None => name.to_owned(),
        Some(to) if to.starts_with('@') => format!("{name}{to}"),
        Some(to) => to.to_owned(),
    };
    context.select(repository, &target)
}

/// The two moments, in the order in which rows go.
struct Ends {
    from: (String, answers::Moment),
    to: (String, answers::Moment),
}

impl Ends {
    fn of(from: &Selected, to: Option<&Selected>, args: &DiffArgs) -> Self {
        let of = |point: &Selected| {
            let (name, commit) = (point.history.name(), &point.commit);
            let moment = answers::Moment::commit(name, commit.seq, commit.record.time);
            (format!("{name}@seq:{}", commit.seq), moment)
        };
        let live = || {
            let path = args.live.as_ref().map(|path| path.display().to_string());
            let path = path.unwrap_or_default();
            (path.clone(), answers::Moment::live(path))
        };
        let (from, to) = (of(from), to.map_or_else(live, of));
        if args.reverse { Self { from: to, to: from } } else { Self { from, to } }
    }
}

struct Printer<'p> {
    out: &'p Output,
    args: &'p DiffArgs,
    ends: Ends,
    began: Instant,
}

impl Printer<'_> {
    /// Lines for people, or of JSON.
    fn text(self, diff: &Diff<'_>) -> Result<()> {
        let out = self.out;
        let schema = diff.schema();
        for change in &schema {
            match out.json {
                true => out.object(&answers::SchemaChange::of(change)),
                false => out.line(rows::schema_line(change)),
            }
        }
        let mut rows = rows::Printer::new(out);
        let mut told = |change: RowChange| {
            self.go_on()?;
            rows.print(change);
            Ok(())
        };
        let mut untold = |_| Ok(());
        let progress = Progress::new(out);
        let tables = match self.args.stat {
            true => diff.rows(&mut untold, &progress)?,
            false => diff.rows(&mut told, &progress)?,
        };
        drop(progress);
        self.end(&tables, number(schema.len()));
        Ok(())
    }

    fn sql(&self, diff: &Diff<'_>) -> Result<()> {
        let mut write = |sql: &str| {
            self.go_on()?;
            self.out.data(sql);
            Ok(())
        };
        let progress = Progress::new(self.out);
        let tables = diff.sql(&mut write, &progress)?;
        drop(progress);
        self.warn_of_uncompared(&tables);
        Ok(())
    }

    fn changeset(&self, diff: &Diff<'_>) -> Result<()> {
        let mut write = |part: &[u8]| {
            self.go_on()?;
            self.out.raw(part);
            Ok(())
        };
        let progress = Progress::new(self.out);
        let tables = diff.changeset(&mut write, &progress)?;
        self.out.flush();
        drop(progress);
        let schema = diff.schema();
        if !schema.is_empty() {
            let named: Vec<String> = schema
                .iter()
                .map(|change| format!("{} {} {}", change.kind, change.name, change.operation()))
                .collect();
            self.out.warn(&format!("a changeset has rows alone, and not: {}", named.join(", ")));
        }
        for table in &tables {
            if let Some(why) = &table.uncompared {
                let name = quote(&table.name);
                self.out.warn(&format!("the changeset has not all of the table {name}: {why}"));
            }
        }
        Ok(())
    }

    fn csv(&self, diff: &Diff<'_>) -> Result<()> {
        let out = self.out;
        out.data("table,operation,key,column,before,after");
        let mut write = |change: RowChange| {
            self.go_on()?;
            let key: Vec<String> =
                change.key.values.iter().map(|cell| field(cell.as_ref())).collect();
            let key = match &key[..] {
                [one] => one.clone(),
                // Several are one field, as they would be a line of their own.
                several => quoted(&several.join(",")),
            };
            let table = quoted(&change.table);
            let line = |column: &str, before: Option<String>, after: Option<String>| {
                let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
                let column = quoted(column);
                let operation = change.operation.name();
                out.data(&format!("{table},{operation},{key},{column},{before},{after}"));
            };
            match change.operation {
                Operation::Update => {
                    for (column, old, new) in change.changed() {
                        let old = old.map(|cell| field(cell.as_ref()));
                        line(column, old, Some(field(new.as_ref())));
                    }
                }
                Operation::Insert => {
                    for (column, cell) in change.after.iter().flat_map(|row| row.iter()) {
                        line(column, None, Some(field(cell.as_ref())));
                    }
                }
                Operation::Delete => {
                    for (column, cell) in change.before.iter().flat_map(|row| row.iter()) {
                        line(column, Some(field(cell.as_ref())), None);
                    }
                }
            }
            Ok(())
        };
        let progress = Progress::new(out);
        let tables = diff.rows(&mut write, &progress)?;
        drop(progress);
        self.warn_of_uncompared(&tables);
        Ok(())
    }

    /// What is printed for nobody is not worked out.
    fn go_on(&self) -> Result<()> {
        match self.out.is_unread() || self.out.lost().is_some() {
            true => Err(stopped()),
            false => Ok(()),
        }
    }

    fn warn_of_uncompared(&self, tables: &[TableDiff]) {
        for table in tables {
            if let Some(why) = &table.uncompared {
                self.out.warn(&format!("the table {} is not compared: {why}", quote(&table.name)));
            }
        }
    }

    fn end(self, tables: &[TableDiff], schema: u64) {
        let out = self.out;
        let seconds = self.began.elapsed().as_secs_f64();
        let (from, to) = (self.ends.from, self.ends.to);
        if out.json {
            tables.iter().for_each(|table| out.object(&answers::TableDiff::of(table)));
            out.json_summary(&answers::DiffSummary::of((from.1, to.1), tables, schema, seconds));
            return;
        }
        if !tables.is_empty() {
            if !self.args.stat {
                out.summary("");
            }
            for line in rows::counts(tables) {
                // With --stat it is the data.
                match self.args.stat {
                    true => out.line(format_args!("  {line}")),
                    false => out.summary(format_args!("  {line}")),
                }
            }
        }
        let changed: u64 = tables.iter().map(|t| t.inserted + t.updated + t.deleted).sum();
        let rows = match (changed, schema) {
            (0, 0) => "no row differs".to_owned(),
            (1, _) => "1 row differs".to_owned(),
            (n, _) => format!("{} differ", counted(n, "row")),
        };
        out.note(format_args!("{} -> {}: {rows}, in {seconds:.2} s", from.0, to.0));
    }
}
