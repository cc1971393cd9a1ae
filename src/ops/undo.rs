//! Take back what some commits did to rows of the live database, and keep what came later.

use std::path::Path;

use derive_setters::Setters;

use super::apply::judge::Rule;
use super::apply::report::{Applied, AppliedTable, OnConflict};
use super::apply::run::Job;
use super::apply::spool::Spool;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::{RowChange, TableDiff, TableFate};
use crate::ops::diff::plan::Pair;
use crate::ops::diff::run::{Diff, DiffOptions};
use crate::ops::locate::Database;
use crate::ops::point::RestorePoint;
use crate::ops::safety::{Capture, capture};
use crate::ops::view::ViewOptions;
use crate::progress::Monitor;
use crate::remedy::{Remedy, advice};
use crate::repo::history::handle::History;
use crate::repo::history::labels::sound_label;
use crate::sqlite::elsewhere::check_one_name;
use crate::sqlite::rows::table::{SEQUENCES, Table};
use crate::sqlite::source::Source;
use crate::types::Seq;

/// How to take commits back.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct UndoOptions {
    /// Only rows of these tables; of all if empty.
    pub tables: Vec<String>,
    /// What to do with a row that somebody changed since.
    pub on_conflict: OnConflict,
    /// The label of the state before; one that names the commits if `None`.
    #[setters(into)]
    pub label: Option<String>,
    /// Go on although a follower of another machine, account or container seems to be at work.
    pub takeover: bool,
    /// How the moments are looked into.
    pub view: ViewOptions,
}

impl History {
    /// Takes back what the commits from one number to another did to rows of a live database, as
    /// one transaction beside the application. A row that somebody changed since is a conflict;
    /// columns that these commits did not change do not count. What is there is captured and
    /// labelled first; the change is a commit of its own, which this takes back again. Triggers do
    /// not run.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the commits made, dropped or redefined a table, when a table was
    /// redefined since, when the history keeps no state from before them, when a row would refer to
    /// nothing, or when the history is another database's; [`ErrorKind::NotFound`] when there are
    /// no such commits, or no such table; [`ErrorKind::Busy`] when locks can't be had, or a
    /// follower does not catch up; as [`RestorePoint::open`]. After an error the database is as it
    /// was, unless the error says otherwise.
    ///
    /// # Durability
    /// When this returns, the state before, its label and the change are durable in the repository.
    pub fn undo(
        &self,
        database: &Path,
        (first, last): (Seq, Seq),
        options: &UndoOptions,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let mut capture = |patience| capture(self, database, options.takeover, patience, monitor);
        self.undo_capturing(database, (first, last), options, &mut capture, monitor)
    }

    /// As [`History::undo`], with another way of making sure that what is in the database is in
    /// its history.
    pub(crate) fn undo_capturing(
        &self,
        database: &Path,
        (first, last): (Seq, Seq),
        options: &UndoOptions,
        capture: Capture<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let label = match options.label.as_deref() {
            Some(label) => sound_label(label)?.to_owned(),
            None if first == last => format!("before undo of seq:{first}"),
            None => format!("before undo of seq:{first} to seq:{last}"),
        };
        let (job, left) = self.reversed(database, (first, last), options, monitor)?;
        let applied = match job.wishes.count() {
            0 => job.nothing(),
            _ => job.run(&label, capture, monitor)?,
        };
        Ok(left.told_with(applied))
    }

    /// What [`History::undo`] would do. It takes the database's write lock for as long as that
    /// would, and changes nothing.
    ///
    /// # Errors
    /// As [`History::undo`].
    pub fn preview_undo(
        &self,
        database: &Path,
        (first, last): (Seq, Seq),
        options: &UndoOptions,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let (job, left) = self.reversed(database, (first, last), options, monitor)?;
        let applied = match job.wishes.count() {
            0 => job.nothing(),
            _ => job.preview(monitor)?,
        };
        Ok(left.told_with(applied))
    }

    /// The reverse of what the commits did, and what of it is left as it is.
    fn reversed<'j>(
        &'j self,
        database: &'j Path,
        ends: (Seq, Seq),
        options: &UndoOptions,
        monitor: &dyn Monitor,
    ) -> Result<(Job<'j>, Left)> {
        Database::at(database, Some(self.name()))?.check(self, false)?;
        check_one_name(&Source::open(database)?.pin()?, database, monitor)?;
        let (before, after) = self.around(ends)?;
        let mut diffed = DiffOptions::default().tables(options.tables.clone()).reverse(true);
        diffed.view = options.view;
        let diff = before.diff(&after, &diffed)?;
        for pair in diff.plan.pairs.iter().filter(|pair| &*pair.name != SEQUENCES) {
            only_rows(pair, (&before, ends))?;
        }
        let pairs = diff.plan.pairs.iter().filter(|pair| &*pair.name != SEQUENCES);
        let tables: Vec<Table> = pairs.filter_map(|pair| pair.new.clone()).collect();
        let mut wishes = Spool::new(&tables);
        let mut take = |change: RowChange| match tables
            .iter()
            .position(|table| *table.name == *change.table)
        {
            Some(at) => wishes.push(at, &change),
            None => Ok(()),
        };
        let told = diff.rows(&mut take, monitor)?;
        let left = kept(&diff, &told, options)?;
        let rule =
            Rule { whole_rows: false, may_be_there: false, on_conflict: options.on_conflict };
        let told = |table: Table| {
            let told = AppliedTable::new(&table.name);
            (table, told)
        };
        let tables = tables.into_iter().map(told).collect();
        Ok((Job { history: self, database, then: before.seq(), tables, wishes, rule }, left))
    }

    /// The restore points before and behind commits.
    fn around(&self, (first, last): (Seq, Seq)) -> Result<(RestorePoint, RestorePoint)> {
        let of_history = |e: Error| e.with_object(format!("history {:?}", self.name()));
        if first > last {
            let what = format!("seq:{first} is behind seq:{last}");
            return Err(of_history(Error::new(ErrorKind::Usage, what))
                .with_hint("the older one goes first"));
        }
        let points = self.restore_points()?;
        let older = points.iter().rfind(|point| point.seq() < first);
        let newer = points.iter().find(|point| point.seq() >= last);
        let list = || {
            advice![
                Remedy::ListCommits { history: Some(self.name().to_owned()) },
                " shows what there is"
            ]
        };
        let Some(newer) = newer else {
            let what = format!("has no commit seq:{last}");
            return Err(of_history(Error::new(ErrorKind::NotFound, what)).with_hint(list()));
        };
        let Some(older) = older else {
            let what = format!(
                "keeps no state from before seq:{first}, so nobody can tell what that commit did"
            );
            return Err(of_history(Error::new(ErrorKind::Refused, what)).with_hint(list()));
        };
        let from = older.seq().next();
        if (from, newer.seq()) == (first, last) {
            return Ok((older.clone(), newer.clone()));
        }
        let which = match first == last {
            true => format!("seq:{first}"),
            false => format!("seq:{first} to seq:{last}"),
        };
        let what = format!(
            "keeps no state between seq:{} and seq:{}, so nobody can tell what {which} did alone",
            older.seq(),
            newer.seq()
        );
        Err(of_history(Error::new(ErrorKind::Refused, what)).with_hint(advice![
            Remedy::Undo { first: from.0, last: newer.seq().0 },
            " takes back all that was done in between",
        ]))
    }
}

/// What of the commits is left as it is, in words.
#[derive(Debug, Default)]
struct Left {
    uncompared: Vec<String>,
    schema: Vec<String>,
}

impl Left {
    /// What was done, with what was left.
    fn told_with(self, mut applied: Applied) -> Applied {
        applied.tables.retain(is_concerned);
        applied.left.extend(self.uncompared);
        applied.notes.extend(self.schema);
        applied
    }
}

/// Makes sure that the commits left a table as it is defined.
///
/// # Errors
/// [`ErrorKind::Refused`] when it came, went, or was defined otherwise: that is more than rows.
fn only_rows(pair: &Pair, (before, (first, last)): (&RestorePoint, (Seq, Seq))) -> Result<()> {
    // From the later moment to the earlier one.
    let did = match pair.fate {
        TableFate::Same => return Ok(()),
        TableFate::Created => "dropped it",
        TableFate::Dropped => "made it",
        TableFate::Redefined | TableFate::Replaced => "defined it otherwise",
    };
    let which = match first == last {
        true => format!("seq:{first}"),
        false => format!("one of seq:{first} to seq:{last}"),
    };
    let history = format!("{}@seq:{}", before.history().name(), before.seq());
    let what = format!("{which} {did}, and only changes of rows can be taken back");
    Err(Error::new(ErrorKind::Refused, what)
        .with_object(format!("table {:?}", &*pair.name))
        .with_hint(advice![
            "name the other tables; or bring the state before into a file of its own, and take from there what is needed: ",
            Remedy::Restore { history: Some(history), file: None, force: false },
        ]))
}

/// What of the commits is left as it is.
///
/// # Errors
/// [`ErrorKind::Refused`] when that is a table that was named.
fn kept(diff: &Diff<'_>, told: &[TableDiff], options: &UndoOptions) -> Result<Left> {
    let mut left = Left::default();
    let uncompared =
        told.iter().filter_map(|table| Some((&table.name, table.uncompared.as_ref()?)));
    for (name, why) in uncompared {
        if !options.tables.is_empty() {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("its rows can't be compared: {why}"),
            )
            .with_object(format!("table {:?}", &**name))
            .with_hint("name the other tables"));
        }
        let definition = diff.plan.pairs.iter().find(|pair| pair.name == *name);
        // An index that is built anew is not left as it is.
        if definition.and_then(|pair| pair.new.as_ref()).and_then(Table::indexed).is_none() {
            left.uncompared.push(format!("table {name}: {why}"));
        }
    }
    let others = diff.schema().into_iter().filter(|change| change.kind != "table");
    // In reverse: what the earlier moment has not was made.
    left.schema.extend(others.map(|change| {
        let did = match change.operation() {
            "created" => "dropped",
            "dropped" => "created",
            other => other,
        };
        format!("{} {}, which was {did}", change.kind, change.name)
    }));
    Ok(left)
}

/// Whether there was anything to do with a table.
fn is_concerned(table: &AppliedTable) -> bool {
    table.changed() + table.already + table.skipped > 0
}
