//! Two moments side by side: table after table, row after row.

use std::cell::{Cell as Counter, OnceCell};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use derive_setters::Setters;
use rusqlite::{Connection, OptionalExtension, Rows, Statement};

use super::change::{Named, Operation, RowChange, SchemaChange, TableDiff, TableFate};
use super::opened::{Opened, threads};
use super::pages::{Read, extent, rows_between};
use super::plan::{Pair, Plan};
use super::side::Side;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::view::{Moment, ViewOptions};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::Written;
use crate::sqlite::answer::message;
use crate::sqlite::pin::Pin;
use crate::sqlite::rows::cell::{Cell, cells};
use crate::sqlite::rows::differing::{Changed, usable};
use crate::sqlite::rows::merge::{Entry, Order, Stopped, merge};
use crate::sqlite::rows::table::{Key, Table, schema, select};
use crate::sqlite::rows::trees::{Extent, Memory, Trees};
use crate::sqlite::source::Source;
use crate::types::PageNo;

/// What to compare, and how.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Only these tables; all if empty.
    pub tables: Vec<String>,
    /// Only rows for which this SQL expression is true, before or after.
    #[setters(into)]
    pub filter: Option<String>,
    /// From the new moment to the old one.
    pub reverse: bool,
    /// All rows of all tables are compared, also those of pages that are the same: the result is
    /// the same, and takes longer.
    pub all_rows: bool,
    /// A table that is defined otherwise is dropped and created anew with all its rows, and not
    /// compared by the names of its columns.
    pub replace_redefined: bool,
    /// How the moments are looked into.
    pub view: ViewOptions,
}

/// What SQLite says when it does not know a collation, a function or a module of the application's.
const UNKNOWN: [&str; 4] =
    ["no such collation sequence", "no such function", "no such module", "no query solution"];

/// Takes rows that differ.
pub type Take<'t> = &'t mut dyn FnMut(RowChange) -> Result<()>;

/// Two moments that are open to be compared.
#[derive(Debug)]
pub struct Diff<'s> {
    pub(super) old: Side<'s>,
    pub(super) new: Side<'s>,
    pub(in crate::ops) plan: Arc<Plan>,
    filter: Option<String>,
    /// How the pages differ, if that is known.
    pub(super) trees: Option<Trees>,
    /// Tables of which no page differs, where that is known by other means.
    untouched: HashSet<Arc<str>>,
    /// What was read without SQLite, once it is asked for.
    read: OnceCell<Read>,
    /// How many threads read pages.
    threads: usize,
    /// How many tables were compared without SQLite.
    direct: Counter<u64>,
}

impl RestorePoint {
    /// Compares it with a later one, or with any other one: the rows that turn this one into that.
    ///
    /// # Errors
    /// As [`RestorePoint::open`]; [`ErrorKind::NotFound`] when neither has a table that is named.
    pub fn diff(&self, later: &Self, options: &DiffOptions) -> Result<Diff<'static>> {
        let (old, new) = if options.reverse { (later, self) } else { (self, later) };
        let old = Opened::open(old, &options.view)?;
        let (new, trees) = {
            let known = (&mut Written::default(), Memory::default());
            Opened::open_beside(new, &old, &options.view, known)?
        };
        let trees = trees.filter(|_| !options.all_rows);
        Diff::opened(old, new, trees, options)
    }

    /// Compares it with a live database at one moment: the rows that turn this one into that. The
    /// moment is held by a read transaction, which in a rollback journal mode lets nobody write
    /// meanwhile.
    ///
    /// # Errors
    /// As [`RestorePoint::diff`]; [`ErrorKind::Source`] when the database can't be read,
    /// [`ErrorKind::Busy`] when it stays locked.
    pub fn diff_live<'l>(
        &self,
        live: &'l mut LiveDatabase,
        options: &DiffOptions,
    ) -> Result<Diff<'l>> {
        let moment = Arc::new(Moment::of(self, &options.view)?);
        let point = Side::point(moment, &options.view);
        Diff::of(point, Side::Live(live.0.pin()?), options)
    }

    /// Compares nothing at all with it: every row that it has.
    ///
    /// # Errors
    /// As [`RestorePoint::diff`].
    pub fn diff_from_nothing(&self, options: &DiffOptions) -> Result<Diff<'static>> {
        let moment = Arc::new(Moment::of(self, &options.view)?);
        let point = Side::point(moment, &options.view);
        Diff::of(Side::nothing()?, point, options)
    }
}

/// A live database, to be compared with its past. It is only read.
#[derive(Debug)]
pub struct LiveDatabase(Source);

impl LiveDatabase {
    /// Opens the database at a path.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it does not exist or can't be opened.
    pub fn open(path: &Path) -> Result<Self> {
        Source::open(path).map(Self)
    }
}

impl Diff<'static> {
    /// Two restore points that are open, and how their pages differ, if that is known.
    pub(super) fn opened(
        old: Opened,
        new: Opened,
        trees: Option<Trees>,
        options: &DiffOptions,
    ) -> Result<Self> {
        let plan = Plan::of(&old.schema, &new.schema, &options.tables, options.replace_redefined)?;
        Ok(Self::planned(old, new, trees, Arc::new(plan), options))
    }

    /// As [`Diff::opened`], where it is known which tables are compared.
    pub(super) fn planned(
        old: Opened,
        new: Opened,
        trees: Option<Trees>,
        plan: Arc<Plan>,
        options: &DiffOptions,
    ) -> Self {
        let filter = options.filter.clone();
        let threads = threads(&new.point, &options.view);
        let (read, direct) = (OnceCell::new(), Counter::new(0));
        let (old, new) = (old.side, new.side);
        let untouched = HashSet::new();
        Self { old, new, plan, filter, trees, untouched, read, threads, direct }
    }
}

impl<'s> Diff<'s> {
    fn of(old: Side<'s>, new: Side<'s>, options: &DiffOptions) -> Result<Self> {
        let (old, new) = if options.reverse { (new, old) } else { (old, new) };
        Self::between(old, new, options)
    }

    /// Two moments in the order in which rows go.
    fn between(old: Side<'s>, new: Side<'s>, options: &DiffOptions) -> Result<Self> {
        let read = |side: &Side<'_>| schema(side.connection()?).map_err(|e| side.explain(e));
        let plan =
            Plan::of(&read(&old)?, &read(&new)?, &options.tables, options.replace_redefined)?;
        let plan = Arc::new(plan);
        let filter = options.filter.clone();
        let (read, direct) = (OnceCell::new(), Counter::new(0));
        let (trees, untouched) = (None, HashSet::new());
        Ok(Self { old, new, plan, filter, trees, untouched, read, threads: 1, direct })
    }

    /// A live database and a file that nobody changes. Of tables that are not `touched` no page
    /// differs, and no row is read.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when a schema can't be read.
    pub(in crate::ops) fn with_file(
        live: Pin<'s>,
        file: Connection,
        touched: &HashSet<String>,
    ) -> Result<Self> {
        let mut diff = Self::between(Side::Live(live), Side::Own(file), &DiffOptions::default())?;
        let is_untouched = |pair: &&Pair| {
            // A table that came, went, or has the pages of another one is read whole.
            let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return false };
            let is_same = pair.fate == TableFate::Same
                && (old.root, &old.shadow_roots) == (new.root, &new.shadow_roots);
            // The rows of a virtual table lie in its shadow tables.
            let mut names = old.shadows.iter().chain(&new.shadows).chain([&new.name]);
            is_same && !names.any(|name| touched.contains(name))
        };
        let pairs = diff.plan.pairs.iter().filter(is_untouched);
        diff.untouched = pairs.map(|pair| pair.name.clone()).collect();
        Ok(diff)
    }

    /// What of the schema differs: tables first, then indexes, triggers and views.
    pub fn schema(&self) -> Vec<SchemaChange> {
        self.plan.schema_changes()
    }

    /// Gives every row that differs, table by table, in the order of its key. Returns how each
    /// table differs; those that are the same are left out, and those that can't be compared are
    /// there.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] naming the object when a page can't be read, [`ErrorKind::Usage`]
    /// when the filter is no expression of a table's, [`ErrorKind::Interrupted`]; what `take`
    /// answers.
    pub fn rows(&self, take: Take<'_>, monitor: &dyn Monitor) -> Result<Vec<TableDiff>> {
        let mut tables = Vec::new();
        for pair in &self.plan.pairs {
            let table = self.rows_of(pair, take, monitor)?;
            if !table.is_same() || table.uncompared.is_some() {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// How many tables' rows were read without SQLite so far.
    #[doc(hidden)]
    pub fn read_directly(&self) -> u64 {
        self.direct.get()
    }

    /// What can be read without SQLite, which alone can judge a filter.
    fn read(&self, trees: &Trees) -> Result<&Read> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let read = match &self.filter {
            None => rows_between(trees, &self.plan, self.threads)?,
            Some(_) => Read::new(),
        };
        Ok(self.read.get_or_init(|| read))
    }

    /// How much of a table may differ.
    fn extent(&self, pair: &Pair) -> Result<Extent> {
        if self.untouched.contains(&pair.name) {
            return Ok(Extent::Ranges(Vec::new()));
        }
        self.trees.as_ref().map_or(Ok(Extent::Whole), |trees| extent(trees, pair))
    }

    /// Gives every row of a table that differs.
    pub(super) fn rows_of(
        &self,
        pair: &Pair,
        take: Take<'_>,
        monitor: &dyn Monitor,
    ) -> Result<TableDiff> {
        check_cancelled(monitor)?;
        let mut told = TableDiff {
            name: pair.name.clone(),
            fate: pair.fate.clone(),
            uncompared: pair.why_not().map(str::to_owned),
            inserted: 0,
            updated: 0,
            deleted: 0,
        };
        if told.uncompared.is_some() {
            if self.extent(pair)? == Extent::Ranges(Vec::new()) {
                told.uncompared = None;
            }
            return Ok(told);
        }
        let (old, new) = (pair.old.as_ref(), pair.new.as_ref());
        let turns = match pair.fate {
            TableFate::Replaced => vec![(old, None), (None, new)],
            _ => vec![(old, new)],
        };
        for (old, new) in turns {
            let compared = Compared { diff: self, pair, name: &pair.name, old, new };
            let mut take = |change: RowChange| {
                match change.operation {
                    Operation::Insert => told.inserted += 1,
                    Operation::Update => told.updated += 1,
                    Operation::Delete => told.deleted += 1,
                }
                take(change)
            };
            if let Some(why) = compared.run(&mut take, monitor)? {
                told.uncompared = Some(why);
                return Ok(told);
            }
        }
        Ok(told)
    }
}

/// A table, or what one moment has of it.
struct Compared<'d, 's> {
    diff: &'d Diff<'s>,
    pair: &'d Pair,
    name: &'d Arc<str>,
    old: Option<&'d Table>,
    new: Option<&'d Table>,
}

impl Compared<'_, '_> {
    /// Compares the rows. Returns why that is not possible, if it is not.
    fn run(&self, take: Take<'_>, monitor: &dyn Monitor) -> Result<Option<String>> {
        let Some(table) = self.new.or(self.old) else { return Ok(None) };
        let (a, b) = (&self.diff.old, &self.diff.new);
        if let Some(trees) = &self.diff.trees
            && let Some(found) = self.diff.read(trees)?.get(self.name)
        {
            self.diff.direct.set(self.diff.direct.get() + u64::from(!found.is_empty()));
            return self.tell(trees, found, take, monitor).map(|()| None);
        }
        let columns = self.columns();
        let extent = self.diff.extent(self.pair)?;
        let ranges = match &extent {
            // A filter is judged all the same.
            Extent::Ranges(ranges) if ranges.is_empty() && self.diff.filter.is_none() => {
                return Ok(None);
            }
            Extent::Ranges(ranges) => Some(&ranges[..]),
            Extent::Whole => None,
        };
        let (mut old, mut new) = match (
            self.prepare(a, self.old, &columns, ranges.is_some())?,
            self.prepare(b, self.new, &columns, ranges.is_some())?,
        ) {
            (Prepared::Ready(old), Prepared::Ready(new)) => (old, new),
            (Prepared::Unknown(why), _) | (_, Prepared::Unknown(why)) => return Ok(Some(why)),
        };
        let shape = Shape::of(self, table, &columns);
        let mut told = |old: Option<Entry>, new: Option<Entry>| {
            // A module may hide that a page could not be read, and then this row is none.
            a.check().and_then(|()| b.check())?;
            shape.change(old, new).map_or(Ok(()), &mut *take)
        };
        let go_on = || check_cancelled(monitor);
        let order = Order::of(&table.key);
        let mut compare = |range: Option<(i64, i64)>| {
            let mut old = rows(&mut old, range).map_err(|e| a.explain(e))?;
            let mut new = rows(&mut new, range).map_err(|e| b.explain(e))?;
            match merge(&mut old, &mut new, &order, columns.len(), &go_on, &mut told) {
                Ok(()) => a.check().and_then(|()| b.check()),
                Err(Stopped::Old(e)) => Err(self.of_table(a.explain(e))),
                Err(Stopped::New(e)) => Err(self.of_table(b.explain(e))),
                Err(Stopped::Taker(e)) => Err(e),
                Err(Stopped::Disorder) => {
                    let what = "its rows do not come in the order of their keys";
                    Err(self.of_table(Error::new(ErrorKind::Source, what)))
                }
            }
        };
        match ranges {
            None => compare(None)?,
            Some(ranges) => ranges.iter().try_for_each(|range| compare(Some(*range)))?,
        }
        Ok(None)
    }

    /// Tells of rows that may differ, each as both moments store it.
    fn tell(
        &self,
        trees: &Trees,
        found: &[Changed],
        take: Take<'_>,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let (Some(table), false) = (self.new, found.is_empty()) else { return Ok(()) };
        let key = match &table.key {
            Key::Columns(_) => table.key_places(),
            Key::Rowid(_) | Key::None(_) => None,
        };
        let usable = usable(trees)?.unwrap_or(0);
        let stored = Stored { compared: self, trees, table, key, usable };
        let shape = Shape::of(self, table, &table.columns);
        for (looked, changed) in found.iter().enumerate() {
            if looked % LOOKED == 0 {
                check_cancelled(monitor)?;
            }
            let old = stored.entry(0, changed)?;
            let new = stored.entry(1, changed)?;
            let is_same = old.as_ref().zip(new.as_ref()).is_some_and(|(a, b)| a.values == b.values);
            if !is_same {
                shape.change(old, new).map_or(Ok(()), &mut *take)?;
            }
        }
        Ok(())
    }

    /// All columns: those of the new moment, and then those that only the old one has.
    fn columns(&self) -> Vec<String> {
        let mut columns = self.new.map_or_else(Vec::new, |table| table.columns.clone());
        let more = self.old.into_iter().flat_map(|table| &table.columns);
        let more: Vec<String> = more.filter(|name| !columns.contains(name)).cloned().collect();
        columns.extend(more);
        columns
    }

    fn prepare<'c>(
        &self,
        side: &'c Side<'_>,
        table: Option<&Table>,
        columns: &[String],
        within: bool,
    ) -> Result<Prepared<'c>> {
        let connection = side.connection()?;
        let prepare = |sql: &str| connection.prepare(sql);
        let Some(table) = table else {
            return prepare("SELECT 1 WHERE 0").map(Prepared::Ready).map_err(|e| side.explain(e));
        };
        match prepare(&select(table, columns, None, within)) {
            Err(e) if UNKNOWN.iter().any(|text| message(&e).contains(text)) => {
                return Ok(Prepared::Unknown(message(&e)));
            }
            Err(e) => return Err(self.of_table(side.explain(e))),
            Ok(statement) if self.diff.filter.is_none() => return Ok(Prepared::Ready(statement)),
            Ok(_) => {}
        }
        // Without the filter SQLite takes it.
        let filter = self.diff.filter.as_deref();
        let prepared = prepare(&select(table, columns, filter, within));
        prepared.map(Prepared::Ready).map_err(|e| {
            let hint = "the filter has to be an expression of every table that is compared";
            let e = self.of_table(side.explain(e)).with_hint(hint);
            // Of a live database SQLite's errors are the source's, but this one is the filter's.
            if e.kind() == ErrorKind::Source { e.with_kind(ErrorKind::Usage) } else { e }
        })
    }

    fn of_table(&self, e: Error) -> Error {
        match e.object() {
            None | Some("SQL") => e.with_object(format!("table {:?}", &**self.name)),
            Some(_) => e,
        }
    }
}

/// After how many rows it asks if it shall go on.
const LOOKED: usize = 4096;

/// A table whose rows are read as they are stored.
struct Stored<'d, 's> {
    compared: &'d Compared<'d, 's>,
    trees: &'d Trees,
    table: &'d Table,
    /// Which columns the key is, of a table WITHOUT ROWID.
    key: Option<Vec<usize>>,
    /// How many bytes of each page count.
    usable: usize,
}

impl Stored<'_, '_> {
    /// The row as one side has it: 0 is the old one, 1 the new one.
    fn entry(&self, side: usize, changed: &Changed) -> Result<Option<Entry>> {
        let stored = changed.sides.get(side).and_then(Option::as_ref);
        let (Some(stored), Some(pages)) = (stored, self.trees.pages(side)) else {
            return Ok(None);
        };
        let read = |page: u32| pages.content(PageNo(page));
        let record = stored.record(self.usable, pages.pages(), &read)?;
        let layout = self.table.layout.as_ref();
        let values = record.and_then(|record| layout?.values(&record, changed.rowid));
        match (values, &self.key) {
            (Some(values), None) => {
                Ok(Some(Entry { key: vec![Cell::Integer(changed.rowid)], values }))
            }
            (Some(values), Some(key)) => {
                let part = |column: &usize| values.get(*column).cloned().unwrap_or(Cell::Null);
                Ok(Some(Entry { key: key.iter().map(part).collect(), values }))
            }
            (None, _) => self.asked(side, changed.rowid).map(Some),
        }
    }

    /// The row, as SQLite reads it.
    fn asked(&self, side: usize, rowid: i64) -> Result<Entry> {
        let Diff { old, new, .. } = self.compared.diff;
        let missing = || {
            let what = "its rows do not come in the order of their keys";
            self.compared.of_table(Error::new(ErrorKind::Source, what))
        };
        // The values of those were told before, or SQLite had been asked for all.
        if self.key.is_some() {
            return Err(missing());
        }
        let side = if side == 0 { old } else { new };
        let columns = &self.table.columns;
        let statement = self.compared.prepare(side, Some(self.table), columns, true)?;
        let Prepared::Ready(mut statement) = statement else { return Err(missing()) };
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Entry { key: cells(row, 0, 1)?, values: cells(row, 1, columns.len())? })
        };
        let found = statement.query_row([rowid, rowid], read).optional();
        let found = found.map_err(|e| self.compared.of_table(side.explain(e)))?;
        side.check()?;
        found.ok_or_else(missing)
    }
}

/// The rows that a statement selects, all or within a range of rowids.
fn rows<'r>(
    statement: &'r mut Statement<'_>,
    range: Option<(i64, i64)>,
) -> rusqlite::Result<Rows<'r>> {
    match range {
        Some((first, last)) => statement.query([first, last]),
        None => statement.query([]),
    }
}

/// A statement that selects the rows of a table.
enum Prepared<'c> {
    Ready(Statement<'c>),
    /// It needs something that only the application knows.
    Unknown(String),
}

/// The names that go with the values of rows.
struct Shape {
    table: Arc<str>,
    key: Arc<[String]>,
    old: Columns,
    new: Columns,
}

/// The columns of one moment, and where they are among those that were selected.
struct Columns {
    names: Arc<[String]>,
    places: Vec<usize>,
}

impl Shape {
    fn of(compared: &Compared<'_, '_>, table: &Table, columns: &[String]) -> Self {
        let of = |table: Option<&Table>| {
            let names = table.map_or_else(Vec::new, |table| table.columns.clone());
            let place = |name: &String| columns.iter().position(|column| column == name);
            Columns { places: names.iter().filter_map(place).collect(), names: names.into() }
        };
        Self {
            table: compared.name.clone(),
            key: table.key_names().into(),
            old: of(compared.old),
            new: of(compared.new),
        }
    }

    fn change(&self, old: Option<Entry>, new: Option<Entry>) -> Option<RowChange> {
        let operation = match (&old, &new) {
            (Some(_), Some(_)) => Operation::Update,
            (None, Some(_)) => Operation::Insert,
            (Some(_), None) => Operation::Delete,
            (None, None) => return None,
        };
        let key = new.as_ref().or(old.as_ref()).map(|entry| entry.key.clone())?;
        let table = self.table.clone();
        Some(RowChange {
            table,
            operation,
            key: Named { columns: self.key.clone(), values: key },
            before: old.map(|entry| self.old.named(entry)),
            after: new.map(|entry| self.new.named(entry)),
        })
    }
}

impl Columns {
    fn named(&self, entry: Entry) -> Named {
        let values = match self.places.len() == entry.values.len()
            && self.places.iter().enumerate().all(|(i, place)| i == *place)
        {
            true => entry.values,
            false => {
                let value = |place: &usize| entry.values.get(*place).cloned();
                self.places.iter().map(|place| value(place).unwrap_or(Cell::Null)).collect()
            }
        };
        Named { columns: self.names.clone(), values }
    }
}
