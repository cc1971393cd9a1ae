//! The change feed of a history: what each commit did to the rows, in order.
//!
//! Invariants:
//! - Commits come in order, each once: its schema, its rows, and then its end. Whoever keeps the
//!   number of the last commit that ended goes on behind it, and misses and repeats nothing.
//! - Between two neighbouring restore points lies what both differ in, whatever commits lay there
//!   before a policy let them go.
//! - The newest restore point that was told stays open for the next one, and so does its schema.

use std::collections::BTreeSet;
use std::sync::Arc;

use derive_setters::Setters;

use super::change::{RowChange, SchemaChange, TableDiff};
use super::opened::Opened;
use super::plan::Plan;
use super::run::{Diff, DiffOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::view::ViewOptions;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::{Chain, Written};
use crate::repo::history::handle::History;
use crate::sqlite::rows::table::Schema;
use crate::sqlite::rows::trees::{Memory, Trees};
use crate::types::{Seq, Timestamp};

/// What a change feed tells of.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct FeedOptions {
    /// The commit to go on behind; `None` to begin with all rows of the oldest restore point.
    pub from: Option<Seq>,
    /// The commit to end with; `None` for the newest.
    pub to: Option<Seq>,
    /// Only these tables; all if empty.
    pub tables: Vec<String>,
    /// How the moments are looked into.
    pub view: ViewOptions,
}

/// Something that a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedEvent {
    /// It made, dropped or redefined a table, an index, a trigger or a view.
    Schema(SchemaChange),
    /// It changed a row.
    Row(RowChange),
    /// It did nothing else. Of each table that differs it tells how; tables that can't be compared
    /// are there, with the reason.
    End(Vec<TableDiff>),
}

/// Takes what commits did, with the number and the time of each.
pub type TakeEvent<'t> = &'t mut dyn FnMut(Seq, Timestamp, FeedEvent) -> Result<()>;

/// A change feed, as far as it was told.
pub struct Feed {
    history: History,
    options: FeedOptions,
    /// The last commit that was told whole, or that it goes on behind.
    ended: Option<Seq>,
    /// The same, open; `None` after an error.
    last: Option<Opened>,
    /// The history as it was read last.
    chain: Option<Arc<Chain>>,
    written: Written,
    /// What is remembered of the trees of the last commit that was told.
    memory: Memory,
    /// The tables that were asked for and not met yet.
    unmet: BTreeSet<String>,
    /// What was compared last, and what of: it is the same as long as the schema is.
    plan: Option<(Arc<Schema>, Arc<Plan>)>,
    /// How many tables' rows were read without SQLite.
    direct: u64,
}

impl History {
    /// The change feed of the history. Nothing is told before [`Feed::advance`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when an end of it names no restore point; as [`RestorePoint::open`].
    pub fn feed(&self, options: &FeedOptions) -> Result<Feed> {
        let last = match options.from {
            Some(seq) => Some(Opened::open(&self.point(seq)?, &options.view)?),
            None => None,
        };
        if let Some(seq) = options.to {
            self.point(seq)?;
        }
        let unmet = options.tables.iter().cloned().collect();
        let written = Written::default();
        Ok(Feed {
            history: self.clone(),
            options: options.clone(),
            ended: options.from,
            last,
            chain: None,
            written,
            memory: Memory::default(),
            unmet,
            plan: None,
            direct: 0,
        })
    }
}

impl Feed {
    /// Tells of every commit behind the last one that was told, up to the newest that is there.
    /// Returns how many these were. An error may leave a commit told in part: the next call tells
    /// of it again, from its beginning.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the last commit that was told is no restore point any more;
    /// [`ErrorKind::Damaged`] naming the object when a page can't be read;
    /// [`ErrorKind::Interrupted`]; store errors; what `take` answers.
    pub fn advance(&mut self, take: TakeEvent<'_>, monitor: &dyn Monitor) -> Result<u64> {
        self.advance_until(self.options.to, take, monitor)
    }

    /// As [`Feed::advance`], up to a commit.
    ///
    /// # Errors
    /// As [`Feed::advance`].
    pub fn advance_to(
        &mut self,
        to: Seq,
        take: TakeEvent<'_>,
        monitor: &dyn Monitor,
    ) -> Result<u64> {
        let to = self.options.to.map_or(to, |last| last.min(to));
        self.advance_until(Some(to), take, monitor)
    }

    fn advance_until(
        &mut self,
        to: Option<Seq>,
        take: TakeEvent<'_>,
        monitor: &dyn Monitor,
    ) -> Result<u64> {
        let last = self.seq();
        // As it was read last, if it has what is wanted.
        let known =
            self.chain.take().filter(|chain| to.is_some_and(|to| chain.commit(to).is_some()));
        let chain = match known {
            Some(chain) => chain,
            None => Arc::new(self.history.chain()?),
        };
        self.chain = Some(chain.clone());
        if let Some(last) = last
            && chain.commit(last).is_none()
        {
            return Err(Error::new(ErrorKind::NotFound, "is no restore point any more")
                .with_object(format!("commit {last}"))
                .with_hint("what came behind it can't be told from it; begin at another commit"));
        }
        let (history, mut told) = (self.history.clone(), 0);
        let behind = chain.commits_behind(last.unwrap_or_default());
        for commit in behind.take_while(|commit| to.is_none_or(|to| commit.seq <= to)) {
            check_cancelled(monitor)?;
            self.tell(&RestorePoint::on(&history, &chain, commit), take, monitor)?;
            told += 1;
        }
        Ok(told)
    }

    /// The last commit that was told whole.
    pub fn seq(&self) -> Option<Seq> {
        self.ended
    }

    /// The tables that were asked for, and that no commit had so far.
    pub fn unmet(&self) -> impl Iterator<Item = &str> {
        self.unmet.iter().map(String::as_str)
    }

    fn tell(
        &mut self,
        point: &RestorePoint,
        take: TakeEvent<'_>,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let (seq, time) = (point.seq(), point.time());
        let view = self.options.view;
        // It is taken out: told in part it is no place to go on from.
        let last = match (self.last.take(), self.ended) {
            (None, Some(seq)) => Some(Opened::open(&self.history.point(seq)?, &view)?),
            (last, _) => last,
        };
        let (new, old, trees) = match last {
            Some(old) => {
                let known = (&mut self.written, std::mem::take(&mut self.memory));
                let (new, trees) = Opened::open_beside(point, &old, &view, known)?;
                (new, old, trees)
            }
            None => (Opened::open(point, &view)?, Opened::nothing(point, &view)?, None),
        };
        let tables = self.tables(&old, &new);
        let has_any = self.options.tables.is_empty() || !tables.is_empty();
        let options = DiffOptions { tables, view, ..DiffOptions::default() };
        let kept = new.kept();
        let side = if has_any {
            let diff = self.diff(old, new, trees, &options)?;
            for change in diff.schema() {
                take(seq, time, FeedEvent::Schema(change))?;
            }
            let mut row = |change: RowChange| take(seq, time, FeedEvent::Row(change));
            let differing = diff.rows(&mut row, monitor)?;
            take(seq, time, FeedEvent::End(differing))?;
            self.direct += diff.read_directly();
            self.memory = diff.trees.map(Trees::into_memory).unwrap_or_default();
            diff.new
        } else {
            take(seq, time, FeedEvent::End(Vec::new()))?;
            new.side
        };
        (self.ended, self.last) = (Some(seq), Some(kept.with(side)));
        Ok(())
    }

    /// How many tables' rows were read without SQLite so far.
    #[doc(hidden)]
    pub fn read_directly(&self) -> u64 {
        self.direct
    }

    /// The tables that were asked for and are there.
    fn tables(&mut self, old: &Opened, new: &Opened) -> Vec<String> {
        let is_there = |name: &String| {
            let mut tables = old.schema.tables.keys().chain(new.schema.tables.keys());
            tables.any(|table| table.eq_ignore_ascii_case(name))
        };
        let tables: Vec<String> =
            self.options.tables.iter().filter(|t| is_there(t)).cloned().collect();
        tables.iter().for_each(|table| {
            self.unmet.remove(table);
        });
        tables
    }

    fn diff(
        &mut self,
        old: Opened,
        new: Opened,
        trees: Option<Trees>,
        options: &DiffOptions,
    ) -> Result<Diff<'static>> {
        // Between commits of one schema the same tables are compared.
        let schema = new.schema.clone();
        let is_same = Arc::ptr_eq(&old.schema, &schema);
        let known = self.plan.take().filter(|(of, _)| is_same && Arc::ptr_eq(of, &schema));
        let diff = match known {
            Some((_, plan)) => Diff::planned(old, new, trees, plan, options),
            None => Diff::opened(old, new, trees, options)?,
        };
        self.plan = is_same.then(|| (schema, diff.plan.clone()));
        Ok(diff)
    }
}
