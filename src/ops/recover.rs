//! Put back the rows of a table that were there at some moment and are missing now, into the live
//! database, and leave everything else as it is.

use std::path::Path;

use derive_setters::Setters;

use super::apply::judge::Rule;
use super::apply::report::{Applied, AppliedTable, OnConflict};
use super::apply::run::Job;
use super::apply::spool::Spool;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::{Operation, RowChange, TableFate};
use crate::ops::diff::plan::Pair;
use crate::ops::diff::run::{DiffOptions, LiveDatabase};
use crate::ops::locate::Database;
use crate::ops::point::RestorePoint;
use crate::ops::safety::{Capture, capture};
use crate::ops::view::ViewOptions;
use crate::progress::Monitor;
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::history::labels::sound_label;
use crate::sqlite::elsewhere::check_one_name;
use crate::sqlite::rows::table::{SEQUENCES, Table};
use crate::sqlite::source::Source;

/// Which rows to put back, and how.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct RecoverOptions {
    /// The tables; at least one.
    pub tables: Vec<String>,
    /// Only rows for which this SQL expression is true.
    #[setters(into)]
    pub filter: Option<String>,
    /// Whether rows that are there with other values are set back, too.
    pub changed: bool,
    /// What to do with a row that another one is in the way of. No row of others is ever
    /// overwritten: `Force` is as `Stop`.
    pub on_conflict: OnConflict,
    /// The label of the state before; one that names the moment if `None`.
    #[setters(into)]
    pub label: Option<String>,
    /// Go on although a follower of another machine, account or container seems to be at work.
    pub takeover: bool,
    /// How the moment is looked into.
    pub view: ViewOptions,
}

impl RestorePoint {
    /// Puts back the rows that it has and a live database has not, as one transaction beside the
    /// application. What is there is captured and labelled first; the change is a commit of its
    /// own, which [`History::undo`](crate::History::undo) takes back. Triggers do not run.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a table is gone or defined otherwise, when its rows can't be
    /// compared, when rows may have other rowids than they had and `changed` is not asked for, when
    /// a row would refer to nothing, or when the history is another database's;
    /// [`ErrorKind::NotFound`] when there is no such table; [`ErrorKind::Busy`] when locks can't be
    /// had, or a follower does not catch up; as [`RestorePoint::open`]. After an error the database
    /// is as it was, unless the error says otherwise.
    ///
    /// # Durability
    /// When this returns, the state before, its label and the change are durable in the repository.
    pub fn recover(
        &self,
        database: &Path,
        options: &RecoverOptions,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let mut capture =
            |patience| capture(&self.history, database, options.takeover, patience, monitor);
        self.recover_capturing(database, options, &mut capture, monitor)
    }

    /// As [`RestorePoint::recover`], with another way of making sure that what is in the database
    /// is in its history.
    pub(crate) fn recover_capturing(
        &self,
        database: &Path,
        options: &RecoverOptions,
        capture: Capture<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let label = match options.label.as_deref() {
            Some(label) => sound_label(label)?.to_owned(),
            None => format!("before recover from seq:{}", self.seq()),
        };
        let job = self.lost(database, options, monitor)?;
        match job.wishes.count() {
            0 => Ok(job.nothing()),
            _ => job.run(&label, capture, monitor),
        }
    }

    /// What [`RestorePoint::recover`] would do. It takes the database's write lock for as long as
    /// that would, and changes nothing.
    ///
    /// # Errors
    /// As [`RestorePoint::recover`].
    pub fn preview_recover(
        &self,
        database: &Path,
        options: &RecoverOptions,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let job = self.lost(database, options, monitor)?;
        match job.wishes.count() {
            0 => Ok(job.nothing()),
            _ => job.preview(monitor),
        }
    }

    /// The rows that are missing.
    fn lost<'j>(
        &'j self,
        database: &'j Path,
        options: &RecoverOptions,
        monitor: &dyn Monitor,
    ) -> Result<Job<'j>> {
        if options.tables.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "name the tables whose rows are lost"));
        }
        Database::at(database, Some(self.history.name()))?.check(&self.history, false)?;
        check_one_name(&Source::open(database)?.pin()?, database, monitor)?;
        let mut live = LiveDatabase::open(database)?;
        if options.filter.is_some() && !options.changed {
            // Rows that moved may be others than those that are asked for.
            let mut diffed = DiffOptions::default().tables(options.tables.clone()).reverse(true);
            diffed.view = options.view;
            let diff = self.diff_live(&mut live, &diffed)?;
            let mut take = |change: RowChange| {
                let pairs = diff.plan.pairs.iter().filter_map(|pair| pair.new.as_ref());
                let mut moving = pairs.filter(|table| table.rowids_may_move());
                match moving.any(|table| *table.name == *change.table) {
                    true if change.operation == Operation::Update => Err(self.moved(&change.table)),
                    _ => Ok(()),
                }
            };
            diff.rows(&mut take, monitor)?;
        }
        let mut diffed = DiffOptions::default().tables(options.tables.clone()).reverse(true);
        diffed.filter.clone_from(&options.filter);
        diffed.view = options.view;
        let diff = self.diff_live(&mut live, &diffed)?;
        let mut tables = Vec::new();
        for pair in &diff.plan.pairs {
            tables.push(self.table_of(pair)?);
        }
        let mut wishes = Spool::new(&tables);
        let mut told: Vec<AppliedTable> =
            tables.iter().map(|table| AppliedTable::new(&table.name)).collect();
        let mut take = |change: RowChange| {
            let Some(at) = tables.iter().position(|table| *table.name == *change.table) else {
                return Ok(());
            };
            match (change.operation, told.get_mut(at)) {
                (Operation::Insert, _) => wishes.push(at, &change),
                (Operation::Update, _) if options.changed => wishes.push(at, &change),
                (Operation::Update, _) if tables.get(at).is_some_and(Table::rowids_may_move) => {
                    Err(self.moved(&change.table))
                }
                (Operation::Update, Some(told)) => {
                    told.differing += 1;
                    Ok(())
                }
                _ => Ok(()),
            }
        };
        for table in diff.rows(&mut take, monitor)? {
            if let Some(why) = table.uncompared {
                return Err(uncompared(&table.name, &why));
            }
        }
        let on_conflict = match options.on_conflict {
            OnConflict::Skip => OnConflict::Skip,
            OnConflict::Stop | OnConflict::Force => OnConflict::Stop,
        };
        let rule = Rule { whole_rows: true, may_be_there: true, on_conflict };
        let tables = tables.into_iter().zip(told).collect();
        Ok(Job { history: &self.history, database, then: self.seq(), tables, wishes, rule })
    }

    /// A table has rows with the rowids of others: nobody can tell which rows are lost.
    fn moved(&self, table: &str) -> Error {
        let history = format!("{}@seq:{}", self.history.name(), self.seq());
        let what = "has rows with other values under the same rowids, which are no column of it: `VACUUM`, or rows that \
                    went and came, may have given its rows other rowids, so nobody can tell which are lost";
        Error::new(ErrorKind::Refused, what).with_object(format!("table {table:?}")).with_hint(
            advice![
                "compare that moment with the database to see which rows differ; query both in one statement, or \
                 bring the moment into a file of its own, and take the lost rows from there: ",
                Remedy::Restore { history: Some(history), file: None, force: false },
                "; or set back the rows that have other values, too: each rowid of that moment has its row again then, and what is \
                 there now under it goes: ",
                Remedy::SetBackChanged,
            ],
        )
    }

    /// The table of a pair, if its rows can be put back as they were.
    fn table_of(&self, pair: &Pair) -> Result<Table> {
        let refused = |what: &str, hint: Advice| {
            let e = Error::new(ErrorKind::Refused, what)
                .with_object(format!("table {:?}", &*pair.name));
            Err(e.with_hint(hint))
        };
        let to_a_file = advice![
            "bring that moment into a file of its own, and take from there what is needed: ",
            Remedy::Restore {
                history: Some(format!("{}@seq:{}", self.history.name(), self.seq())),
                file: None,
                force: false,
            },
        ];
        if &*pair.name == SEQUENCES {
            let hint = "SQLite raises them by itself as rows come back";
            return refused(
                "has the largest rowids that were ever given, and no rows of yours",
                hint.into(),
            );
        }
        if let Some(why) = pair.why_not() {
            return Err(uncompared(&pair.name, why));
        }
        // The old side is the live database.
        match (&pair.fate, &pair.old, &pair.new) {
            (TableFate::Same, Some(_), Some(then)) => Ok(then.clone()),
            (TableFate::Created, ..) => refused("is gone from the database", to_a_file),
            (TableFate::Dropped, ..) => {
                let what = format!("was not there at seq:{}", self.seq());
                refused(&what, "name a later moment".into())
            }
            _ => refused("was defined otherwise then than it is now", to_a_file),
        }
    }
}

fn uncompared(table: &str, why: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("its rows can't be compared: {why}"))
        .with_object(format!("table {table:?}"))
        .with_hint("bring back the rows of the tables that it is made from, and let the application make it anew")
}
