//! The one transaction that applies row changes to a live database.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::foreign::Foreign;
use super::indexes::Indexes;
use super::judge::{Judged, Rule, judge};
use super::report::{Applied, AppliedTable, Conflict, Done, OnConflict, Reason};
use super::spool::{Entry, Spool};
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::CommitKind;
use crate::ops::diff::change::{Named, Operation, RowChange};
use crate::ops::diff::sql::moves;
use crate::ops::safety::{Capture, Labelled, TRIES};
use crate::progress::{Monitor, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::history::handle::History;
use crate::sqlite::answer::message;
use crate::sqlite::install::Safety;
use crate::sqlite::rows::access::Access;
use crate::sqlite::rows::table::{Schema, Table, schema};
use crate::sqlite::source_error;
use crate::sqlite::writing::Writing;
use crate::types::Seq;

/// How often all rows are written again under the application's lock, each time without those that
/// can't be written.
const ROUNDS: usize = 100;
/// After how many rows it asks if it shall go on.
const LOOKED: u64 = 1024;

/// Row changes that are wanted, and of what.
#[derive(Debug)]
pub(crate) struct Job<'j> {
    pub(crate) history: &'j History,
    pub(crate) database: &'j Path,
    /// The restore point that has the rows.
    pub(crate) then: Seq,
    /// The tables as they have to be defined, and what is known of their rows already.
    pub(crate) tables: Vec<(Table, AppliedTable)>,
    pub(crate) wishes: Spool,
    pub(crate) rule: Rule,
}

impl Job<'_> {
    /// What comes of it where there is nothing to do.
    pub(crate) fn nothing(self) -> Applied {
        Applied::nothing(self.tables.into_iter().map(|(_, told)| told).collect())
    }

    /// Applies the changes, and captures what was there before and what is there after.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a table is defined otherwise, a foreign key would be broken, or
    /// SQLite stores something else than it was given; [`ErrorKind::Busy`] when locks can't be had,
    /// or a follower does not catch up; what `capture` answers. Nothing was changed then, unless
    /// the error says so.
    pub(crate) fn run(
        mut self,
        label: &str,
        capture: Capture<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Applied> {
        let mut writing = Writing::open(self.database)?;
        let of = |e: Error| of_database(e, self.database);
        self.check_tables(writing.connection()?).map_err(of)?;
        let mut safety = Labelled::new(self.history, label, capture);
        // Early, so that little is left to do under the lock, and trouble shows before anything.
        safety.capture_unlocked()?;
        let mut tries = 0;
        let (mut applied, then) = loop {
            tries += 1;
            safety.begin_again();
            match self.locked(&mut writing, &mut safety, monitor) {
                Ok(done) => break done,
                Err(e) if safety.was_in_vain(&e) && tries < TRIES => {
                    safety.capture_unlocked()?;
                }
                Err(e) => {
                    writing.rollback();
                    if matches!(e.kind(), ErrorKind::Busy | ErrorKind::Interrupted) {
                        safety.take_back();
                    }
                    return Err(of_database(e, self.database));
                }
            }
        };
        let Ok(before) = safety.before() else {
            applied.captured = safety.captured();
            return Ok(applied);
        };
        let newest = safety.capture_unlocked().map_err(|e| {
            e.with_hint(advice![
                "the rows are changed, but that is not in the repository yet: run ",
                Remedy::Backup,
            ])
        })?;
        let untouched = Some(writing.data_version()?) == then;
        // Nobody could commit between the capture under the lock and the change itself; others may
        // have since.
        let now = newest.min(before.seq.next());
        let is_one = || self.history.point(now).is_ok_and(|p| p.kind() == CommitKind::Transaction);
        applied.done = Some(Done { alone: untouched || is_one(), before, now });
        Ok(applied)
    }

    /// What the changes would come to: the same transaction, rolled back.
    ///
    /// # Errors
    /// As [`Job::run`].
    pub(crate) fn preview(mut self, monitor: &dyn Monitor) -> Result<Applied> {
        let writing = Writing::open(self.database)?;
        let database = self.database;
        let mut tried = || {
            writing.write_nothing_before_commit()?;
            writing.begin()?;
            self.perform(writing.connection()?, monitor)
        };
        let applied = tried().map_err(|e| of_database(e, database));
        writing.rollback();
        applied
    }

    /// Does it under the write lock. Returns the database's version as well, if it was changed.
    fn locked(
        &mut self,
        writing: &mut Writing,
        safety: &mut Labelled<'_>,
        monitor: &dyn Monitor,
    ) -> Result<(Applied, Option<i64>)> {
        writing.begin()?;
        let done = safety.capture().and_then(|()| self.perform(writing.connection()?, monitor));
        let applied = match done {
            Ok(applied) if !applied.stopped && applied.changed() > 0 => applied,
            done => {
                writing.rollback();
                return done.map(|applied| (applied, None));
            }
        };
        // Once the lock is gone, others may commit at once. One's own commit changes no number.
        let version = || check_cancelled(monitor).and_then(|()| writing.data_version());
        let version = match safety.keep().and_then(|()| version()) {
            Ok(version) => version,
            Err(e) => {
                writing.rollback();
                return Err(e);
            }
        };
        writing.commit()?;
        Ok((applied, Some(version)))
    }

    /// Does what is wanted, within a transaction.
    fn perform(&mut self, db: &Connection, monitor: &dyn Monitor) -> Result<Applied> {
        let now = self.check_tables(db)?;
        // Which columns are unique is told by the indexes of today.
        let definitions: Vec<Table> = self
            .tables
            .iter()
            .map(|(table, _)| now.tables.get(&table.name).unwrap_or(table).clone())
            .collect();
        let access: Vec<Access> = definitions.iter().map(Access::of).collect();
        let tables = self.tables.iter().map(|(_, told)| told.clone()).collect();
        let mut applied = Applied::nothing(tables);
        applied.deeds = Spool::new(&definitions);
        applied.definitions = definitions;
        self.judge_all(db, &access, &mut applied, monitor)?;
        let stops = self.rule.on_conflict == OnConflict::Stop;
        applied.stopped = stops && applied.conflicts.count > 0;
        if applied.stopped || applied.deeds.count() == 0 {
            applied.leave();
            return Ok(applied);
        }
        let (grown, shrunk) = concerned(&applied.tables);
        let touched: BTreeSet<String> = grown.union(&shrunk).cloned().collect();
        let indexes = Indexes::before(db, &now, &touched)?;
        let foreign = Foreign::before(db, &grown, &shrunk)?;
        Work { db, access, monitor }.write(&mut applied, self.rule.on_conflict)?;
        if applied.stopped || applied.changed() == 0 {
            applied.leave();
            return Ok(applied);
        }
        indexes.rebuild(db)?;
        applied.rebuilt = indexes.exact;
        applied.left.extend(indexes.left);
        foreign.after(db)?;
        applied.left.extend(foreign.unchecked);
        let of_touched = |trigger: &&crate::sqlite::rows::table::Object| {
            trigger.kind == "trigger"
                && touched.iter().any(|name| name.eq_ignore_ascii_case(&trigger.table))
        };
        applied.silent = now.objects.iter().filter(of_touched).map(|t| t.name.clone()).collect();
        Ok(applied)
    }

    /// Makes sure that the tables with changes are what they have to be, and that SQLite knows all
    /// that they need. Returns the schema.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`].
    fn check_tables(&self, db: &Connection) -> Result<Schema> {
        let now = schema(db).map_err(|e| source_error(e, "cannot be read"))?;
        let concerned = self.tables.iter().enumerate().filter(|(at, _)| self.wishes.has(*at));
        for (_, (then, _)) in concerned {
            let refused = |what: String| {
                let e = Error::new(ErrorKind::Refused, what);
                e.with_object(format!("table {:?}", then.name))
            };
            let elsewhere = || {
                advice![
                    "bring that moment into a file of its own, and take from there what is needed: ",
                    Remedy::Restore {
                        history: Some(format!("{}@seq:{}", self.history.name(), self.then)),
                        file: None,
                        force: false,
                    },
                ]
            };
            let Some(there) = now.tables.get(&then.name) else {
                return Err(refused("is gone from the database".to_owned()).with_hint(elsewhere()));
            };
            let is_same =
                there.sql == then.sql && there.key == then.key && there.columns == then.columns;
            if !is_same {
                let what = "was defined otherwise then than it is now";
                return Err(refused(what.to_owned()).with_hint(elsewhere()));
            }
            Access::of(there).check(db).map_err(|e| {
                refused(format!("needs something that only its application has: {}", message(&e)))
                    .with_hint(elsewhere())
            })?;
        }
        Ok(now)
    }

    /// Compares every wish with the row that is there.
    fn judge_all(
        &mut self,
        db: &Connection,
        access: &[Access],
        applied: &mut Applied,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let rule = self.rule;
        self.wishes.read(&mut |number, Entry { table, change: wish }| {
            look(number, monitor)?;
            let Some(access) = access.get(table) else { return Ok(()) };
            let live = access.fetch(db, &wish.key.values).map_err(|e| unread(e, &wish))?;
            // Another row may have the rowid by now.
            let moves = applied.definitions.get(table).is_some_and(Table::rowids_may_move);
            let whole_rows = rule.whole_rows || (moves && rule.on_conflict != OnConflict::Force);
            let judged = judge(wish.clone(), live, &Rule { whole_rows, ..rule });
            let Some(told) = applied.tables.get_mut(table) else { return Ok(()) };
            match judged {
                Judged::Already => told.already += 1,
                Judged::Do(deed) => {
                    *counter(told, deed.operation) += 1;
                    applied.deeds.push(table, &deed)?;
                }
                Judged::Conflict(reason, live) => {
                    told.skipped += 1;
                    applied.conflicts.add(Conflict { change: wish, live, reason });
                }
            }
            Ok(())
        })
    }
}

fn counter(told: &mut AppliedTable, operation: Operation) -> &mut u64 {
    match operation {
        Operation::Insert => &mut told.inserted,
        Operation::Update => &mut told.updated,
        Operation::Delete => &mut told.deleted,
    }
}

/// The tables in which rows come or change, and those in which rows go or change.
fn concerned(tables: &[AppliedTable]) -> (BTreeSet<String>, BTreeSet<String>) {
    let names = |of: fn(&AppliedTable) -> u64| {
        let some = tables.iter().filter(|table| of(table) > 0);
        some.map(|table| table.name.to_string()).collect()
    };
    (names(|t| t.inserted + t.updated), names(|t| t.deleted + t.updated))
}

fn look(number: u64, monitor: &dyn Monitor) -> Result<()> {
    match number.is_multiple_of(LOOKED) {
        true => check_cancelled(monitor),
        false => Ok(()),
    }
}

/// The rows as they are written.
struct Work<'w> {
    db: &'w Connection,
    access: Vec<Access>,
    monitor: &'w dyn Monitor,
}

impl Work<'_> {
    /// Writes all rows: those that leave go first. Where one can't be written, all is written again
    /// without it, or nothing is.
    fn write(&self, applied: &mut Applied, on_conflict: OnConflict) -> Result<()> {
        for _ in 0..ROUNDS {
            self.execute("SAVEPOINT rows")?;
            let found = self.write_once(applied)?;
            if found.is_empty() {
                return self.execute("RELEASE rows");
            }
            self.execute("ROLLBACK TO rows; RELEASE rows")?;
            for (number, table, conflict) in found {
                if applied.skipped.insert(number)
                    && let Some(told) = applied.tables.get_mut(table)
                {
                    let count = counter(told, conflict.change.operation);
                    *count = count.saturating_sub(1);
                    told.skipped += 1;
                }
                applied.conflicts.add(conflict);
            }
            if on_conflict != OnConflict::Skip {
                applied.stopped = true;
                return Ok(());
            }
        }
        let what = format!(
            "one row after the other keeps the next one from its value: after {ROUNDS} rounds there are still rows that can't be written"
        );
        Err(Error::new(ErrorKind::Refused, what)
            .with_hint("ask for fewer rows, or for one table at a time"))
    }

    /// Writes all rows that are not skipped, and returns those that can't be written.
    fn write_once(&self, applied: &mut Applied) -> Result<Vec<(u64, usize, Conflict)>> {
        let Applied { deeds, definitions, skipped, .. } = applied;
        let moved =
            |entry: &Entry| definitions.get(entry.table).is_some_and(|t| moves(t, &entry.change));
        deeds.read(&mut |number, entry| {
            look(number, self.monitor)?;
            let goes = entry.change.operation == Operation::Delete || moved(&entry);
            let Some(access) = self.access.get(entry.table).filter(|_| goes) else { return Ok(()) };
            if skipped.contains(&number) {
                return Ok(());
            }
            let deleted = access.delete(self.db, &entry.change.key.values);
            match deleted.map_err(|e| unwritten(e, &entry.change))? {
                1 => Ok(()),
                n => {
                    let what = format!("{n} rows went instead of one, so that nothing is changed");
                    let e = Error::new(ErrorKind::Refused, what);
                    Err(e.with_object(format!("table {:?}", &*entry.change.table)))
                }
            }
        })?;
        let mut found = Vec::new();
        deeds.read(&mut |number, entry| {
            look(number, self.monitor)?;
            let change = &entry.change;
            let Some(access) = self.access.get(entry.table) else { return Ok(()) };
            let Some(after) = &change.after else { return Ok(()) };
            if skipped.contains(&number) {
                return Ok(());
            }
            let written = match change.operation {
                Operation::Update if !moved(&entry) => {
                    let set: Vec<_> = change.changed().map(|(name, _, new)| (name, new)).collect();
                    access.update(self.db, &change.key.values, &set)
                }
                _ => access.insert(self.db, &change.key.values, &after.values),
            };
            match written {
                Ok(()) => self.compare(access, change, after),
                Err(e) if is_constraint(&e) => {
                    let reason = Reason::Constraint(message(&e));
                    let live = change.before.clone();
                    let conflict = Conflict { change: change.clone(), live, reason };
                    found.push((number, entry.table, conflict));
                    Ok(())
                }
                Err(e) => Err(unwritten(e, change)),
            }
        })?;
        Ok(found)
    }

    /// Makes sure that a row is what was written.
    fn compare(&self, access: &Access, change: &RowChange, after: &Named) -> Result<()> {
        let there = access.fetch(self.db, &change.key.values).map_err(|e| unread(e, change))?;
        if there.is_some_and(|there| there.values == after.values) {
            return Ok(());
        }
        let what = "SQLite stores a row otherwise than it was given, so that it can't be brought back exactly";
        Err(Error::new(ErrorKind::Refused, what).with_object(format!("table {:?}", &*change.table)))
    }

    fn execute(&self, sql: &str) -> Result<()> {
        self.db.execute_batch(sql).map_err(|e| source_error(e, "cannot be written to"))
    }
}

fn is_constraint(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn unread(e: rusqlite::Error, change: &RowChange) -> Error {
    source_error(e, "cannot be read").with_object(format!("table {:?}", &*change.table))
}

fn unwritten(e: rusqlite::Error, change: &RowChange) -> Error {
    source_error(e, "cannot be written to").with_object(format!("table {:?}", &*change.table))
}

fn of_database(e: Error, database: &Path) -> Error {
    match e.object() {
        None => e.with_object(database.display().to_string()),
        Some(_) => e,
    }
}
