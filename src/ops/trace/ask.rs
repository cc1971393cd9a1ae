//! Asks one commit after the other for a row, and SQLite only where a page may make a difference.

use std::sync::Arc;

use rusqlite::limits::Limit;
use rusqlite::{OptionalExtension, params_from_iter};

use super::key::KeyValue;
use super::past::{Past, of_readers};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::Named;
use crate::ops::view::{DatabaseView, ViewOptions};
use crate::repo::chain::Commit;
use crate::repo::history::handle::History;
use crate::sqlite::rows::cell::{Cell, cells, quoted};
use crate::sqlite::rows::record::{Kept, Layout, is_leaf, row_of, usable_len};
use crate::sqlite::rows::table::{self, Key, Table};
use crate::types::{Digest, PageNo, PageSize, Seq};

/// The largest value that is read: a row larger than this is an error.
const VALUE_BYTES: i32 = 16 * 1024 * 1024;

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Named,
    pub(super) values: Named,
}

/// Asks for one row.
pub(super) struct Asker<'a> {
    history: &'a History,
    past: Past,
    table: &'a str,
    key: &'a [KeyValue],
    view: ViewOptions,
    opened: Option<Opened>,
    /// How often SQLite was asked.
    pub(super) asked: u64,
    /// Whether a commit had the table.
    pub(super) has_met_table: bool,
    /// What page 1 means to readers, by its digest: as it was told last.
    first: Memo,
}

/// A digest, and what was made of it.
type Memo = std::cell::Cell<Option<(Digest, Digest)>>;

/// The database at the commit that SQLite was asked last.
struct Opened {
    db: DatabaseView,
    page_size: PageSize,
    /// The pages that the schema was read from.
    schema: Pages,
    /// What finds the row; `None` if there is no such table.
    question: Option<Question>,
    /// The pages that the answer was read from, those of the schema included.
    path: Pages,
    /// The one of them that the row is on.
    leaf: Option<Leaf>,
    answer: Option<Arc<Row>>,
}

/// Some pages, with what tells their content; `None` if there is a page whose content can't be
/// told.
type Pages = Option<Vec<(PageNo, Digest)>>;

/// The statement that finds the row.
struct Question {
    sql: String,
    bound: Vec<Cell>,
    key: Arc<[String]>,
    columns: Arc<[String]>,
    /// The rowid, of a table with rowids.
    rowid: Option<i64>,
    /// How the table's rows are stored, if they can be read without SQLite.
    layout: Option<Layout>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        history: &'a History,
        past: Past,
        (table, key): (&'a str, &'a [KeyValue]),
        view: ViewOptions,
    ) -> Self {
        let (opened, asked, has_met_table, first) = (None, 0, false, Memo::default());
        Self { history, past, table, key, view, opened, asked, has_met_table, first }
    }

    /// The row at a commit that is not newer than the one before; and the commit since which none
    /// of the pages was written that the answer is read from, if that can be told.
    pub(super) fn row_at(&mut self, commit: &Commit) -> Result<(Option<Arc<Row>>, Option<Seq>)> {
        self.past.go_back(commit)?;
        self.answer(commit).map_err(|e| match e.object() {
            None | Some("SQL") => {
                e.with_object(format!("{}@seq:{}", self.history.name(), commit.seq))
            }
            Some(_) => e,
        })
    }

    fn answer(&mut self, commit: &Commit) -> Result<(Option<Arc<Row>>, Option<Seq>)> {
        let page_size = commit.segment.manifest.page_size;
        let fitting = self.opened.take().filter(|opened| opened.page_size == page_size);
        if let Some(opened) = &fitting
            && let Some(path) = &opened.path
        {
            let (now, since) = self.pages(path.iter().map(|(page, _)| *page), commit)?;
            if now.as_ref() == Some(path) {
                let answer = opened.answer.clone();
                self.opened = fitting;
                return Ok((answer, since));
            }
            if let (Some(now), Some(leaf)) = (now, &opened.leaf)
                && leaf.is_all_that_differs(path, &now)
                && let Some((answer, leaf)) = self.read_leaf(opened, leaf)?
            {
                let path = Some(now);
                self.opened = fitting.map(|opened| Opened {
                    path,
                    leaf: Some(leaf),
                    answer: answer.clone(),
                    ..opened
                });
                return Ok((answer, since));
            }
        }
        let mut opened = match fitting {
            Some(opened) if self.is_same(&opened.schema, commit)? => opened,
            _ => self.open(commit)?,
        };
        self.past.take_noted();
        opened.answer = self.ask(&opened)?.map(Arc::new);
        let noted = self.past.take_noted();
        opened.leaf = self.leaf(&opened, &noted)?;
        let schema = opened.schema.iter().flatten().map(|(page, _)| *page);
        let mut path: Vec<PageNo> = schema.chain(noted).collect();
        path.sort_unstable();
        path.dedup();
        let (path, since) = self.pages(path.into_iter(), commit)?;
        opened.path = path;
        let answer = opened.answer.clone();
        self.opened = Some(opened);
        Ok((answer, since))
    }

    /// What tells the content of some pages, and the newest commit that wrote one of them.
    fn pages(
        &self,
        pages: impl Iterator<Item = PageNo>,
        commit: &Commit,
    ) -> Result<(Pages, Option<Seq>)> {
        let pages: Vec<PageNo> = pages.collect();
        if pages.is_empty() || pages.iter().any(|page| page.0 > commit.record.pages) {
            return Ok((None, None));
        }
        let (mut told, mut since) = (Vec::with_capacity(pages.len()), None);
        for (page, found) in pages.iter().zip(self.past.find(&pages)?) {
            let Some((written, digest)) = found else { return Ok((None, None)) };
            since = since.max(Some(written));
            let digest = match page {
                // It is written again and again for what readers do not look at.
                PageNo(1) => match self.first.get().filter(|(of, _)| *of == digest) {
                    Some((_, told)) => told,
                    None => {
                        let content = self.past.content(*page)?;
                        let told = content.map_or(digest, |content| of_readers(&content));
                        self.first.set(Some((digest, told)));
                        told
                    }
                },
                _ => digest,
            };
            told.push((*page, digest));
        }
        Ok((Some(told), since))
    }

    /// The leaf of a table with rowids among the pages that an answer was read from.
    fn leaf(&self, opened: &Opened, noted: &[PageNo]) -> Result<Option<Leaf>> {
        let Some(rowid) = opened.question.as_ref().and_then(|question| question.rowid) else {
            return Ok(None);
        };
        let mut leaves = Vec::new();
        for page in noted.iter().filter(|page| page.0 > 1) {
            let content = self.past.content(*page)?;
            leaves
                .extend(content.filter(|content| is_leaf(content)).map(|content| (*page, content)));
        }
        let ([(page, content)], Some(first)) = (&*leaves, self.past.content(PageNo(1))?) else {
            return Ok(None);
        };
        let Some(usable) = usable_len(&first) else { return Ok(None) };
        let row = row_of(content, page.0, usable, rowid);
        Ok(row.map(|row| Leaf { page: *page, usable, rowid, row }))
    }

    /// The row in another version of its leaf, where nothing else of what leads to it differs;
    /// `None` where SQLite has to be asked.
    fn read_leaf(
        &mut self,
        opened: &Opened,
        leaf: &Leaf,
    ) -> Result<Option<(Option<Arc<Row>>, Leaf)>> {
        let Some(content) = self.past.content(leaf.page)? else { return Ok(None) };
        let Some(row) = row_of(&content, leaf.page.0, leaf.usable, leaf.rowid) else {
            return Ok(None);
        };
        // Overflow pages are pages, too.
        if row.iter().chain(&leaf.row).any(Kept::has_more) {
            return Ok(None);
        }
        if row == leaf.row {
            return Ok(Some((opened.answer.clone(), leaf.clone())));
        }
        let Some(question) = &opened.question else { return Ok(None) };
        let answer = match &row {
            None => None,
            Some(row) => {
                let layout = question.layout.as_ref();
                let Some(values) = layout.and_then(|layout| row.values(layout, leaf.rowid)) else {
                    return Ok(None);
                };
                let key = vec![Cell::Integer(leaf.rowid)];
                Some(Arc::new(Row {
                    key: Named { columns: question.key.clone(), values: key },
                    values: Named { columns: question.columns.clone(), values },
                }))
            }
        };
        self.asked = self.asked.saturating_add(1);
        Ok(Some((answer, Leaf { row, ..leaf.clone() })))
    }

    fn is_same(&self, pages: &Pages, commit: &Commit) -> Result<bool> {
        let Some(pages) = pages else { return Ok(false) };
        let (now, _) = self.pages(pages.iter().map(|(page, _)| *page), commit)?;
        Ok(now.as_ref() == Some(pages))
    }

    /// Opens the database at the commit, and looks the table up.
    fn open(&mut self, commit: &Commit) -> Result<Opened> {
        self.past.take_noted();
        let db = DatabaseView::over(Box::new(self.past.clone()), &self.view)?;
        db.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES).map_err(|e| db.explain(e))?;
        let question = self.look_up(&db)?;
        let noted = self.past.take_noted();
        let (schema, _) = self.pages(noted.into_iter(), commit)?;
        let page_size = commit.segment.manifest.page_size;
        Ok(Opened { db, page_size, schema, question, path: None, leaf: None, answer: None })
    }

    fn look_up(&mut self, db: &DatabaseView) -> Result<Option<Question>> {
        let found = table::named(db, self.table).map_err(|e| db.explain(e))?;
        let question = match found {
            Some(found) => self.question(db, &found)?,
            None => None,
        };
        match db.take_cause() {
            Some(cause) => Err(cause),
            None => Ok(question),
        }
    }

    /// What finds the row in a table; `None` if its key is another one than that of the newer
    /// moments.
    fn question(&mut self, db: &DatabaseView, table: &Table) -> Result<Option<Question>> {
        if let Some(why) = table.why_not() {
            let what = format!("its rows can't be told apart: {why}");
            return Err(of_table(ErrorKind::Refused, &table.name, what).with_hint(NO_KEY));
        }
        if table.is_virtual {
            let what = "is a virtual table, whose module keeps its rows elsewhere";
            return Err(of_table(ErrorKind::Refused, &table.name, what).with_hint(NO_KEY));
        }
        let bound = self.bound(db, table);
        let is_first = !std::mem::replace(&mut self.has_met_table, true);
        let bound = match bound {
            Err(e) if e.kind() == ErrorKind::Usage && !is_first => return Ok(None),
            bound => bound?,
        };
        let key = table.key_names();
        let listed: Vec<String> = key.iter().chain(&table.columns).map(|c| quoted(c)).collect();
        let term = |(i, column): (usize, &String)| {
            let collation = match &table.key {
                Key::Columns(parts) => parts.get(i).map(|part| &*part.collation_name),
                _ => None,
            };
            let collation = collation.map_or(String::new(), |c| format!(" COLLATE {}", quoted(c)));
            format!("{} = ?{}{collation}", quoted(column), i + 1)
        };
        let terms: Vec<String> = key.iter().enumerate().map(term).collect();
        let sql = format!(
            "SELECT {} FROM main.{} NOT INDEXED WHERE {} LIMIT 1",
            listed.join(", "),
            quoted(&table.name),
            terms.join(" AND ")
        );
        let rowid = match (&table.key, &*bound) {
            (Key::Rowid(_), [Cell::Integer(rowid)]) => Some(*rowid),
            _ => None,
        };
        let (key, columns) = (key.into(), table.columns.clone().into());
        Ok(Some(Question { sql, bound, key, columns, rowid, layout: table.layout.clone() }))
    }

    /// The values of the key, for a table.
    fn bound(&self, db: &DatabaseView, table: &Table) -> Result<Vec<Cell>> {
        let names = table.key_names();
        if names.len() != self.key.len() {
            let (n, given) = (names.len(), self.key.len());
            let what = format!("its key is ({}): {n} values, and not {given}", names.join(", "));
            return Err(of_table(ErrorKind::Usage, &table.name, what)
                .with_hint("give the values of the key in this order"));
        }
        if let (Key::Rowid(name), [value]) = (&table.key, self.key) {
            let Some(rowid) = value.as_rowid() else {
                let what = format!("its key is {name}, an integer, and this is none");
                return Err(of_table(ErrorKind::Usage, &table.name, what)
                    .with_hint("a row is found by its key alone; a query finds its key"));
            };
            return Ok(vec![Cell::Integer(rowid)]);
        }
        let sql = "SELECT type FROM pragma_table_xinfo(?1) WHERE name = ?2";
        let cell = |(name, value): (&String, &KeyValue)| {
            let declared = db.query_row(sql, [&table.name, name], |row| row.get::<_, String>(0));
            declared.map(|declared| value.for_column(&declared)).map_err(|e| db.explain(e))
        };
        names.iter().zip(self.key).map(cell).collect()
    }

    /// Asks SQLite.
    fn ask(&mut self, opened: &Opened) -> Result<Option<Row>> {
        let Some(question) = &opened.question else { return Ok(None) };
        self.asked = self.asked.saturating_add(1);
        let Opened { db, .. } = opened;
        let read = |row: &rusqlite::Row<'_>| {
            let n = question.key.len();
            let key = Named { columns: question.key.clone(), values: cells(row, 0, n)? };
            let values = cells(row, n, question.columns.len())?;
            Ok(Row { key, values: Named { columns: question.columns.clone(), values } })
        };
        let row = db
            .prepare_cached(&question.sql)
            .and_then(|mut asked| {
                asked.query_row(params_from_iter(&question.bound), read).optional()
            })
            .map_err(|e| db.explain(e))?;
        match db.take_cause() {
            Some(cause) => Err(cause),
            None => Ok(row),
        }
    }

    /// The error of a table that no commit has.
    pub(super) fn unmet(&self) -> Error {
        let name = self.history.name();
        of_table(
            ErrorKind::NotFound,
            self.table,
            format!("is in no commit of {name} that was looked at"),
        )
        .with_hint("the newest commit is looked at first; look whether the name is right")
    }
}

/// The page that a row is on, or would be.
#[derive(Clone)]
struct Leaf {
    page: PageNo,
    /// How many bytes of each page count.
    usable: usize,
    rowid: i64,
    row: Option<Kept>,
}

impl Leaf {
    /// Whether of some pages this one alone has another content than it had.
    fn is_all_that_differs(&self, before: &[(PageNo, Digest)], now: &[(PageNo, Digest)]) -> bool {
        before.len() == now.len()
            && before.iter().zip(now).all(|(a, b)| a == b || (a.0 == b.0 && a.0 == self.page))
    }
}

/// An error about the table.
fn of_table(kind: ErrorKind, table: &str, what: impl Into<String>) -> Error {
    Error::new(kind, what).with_object(format!("table {table:?}"))
}

/// What else there is for a table without keys.
const NO_KEY: &str = "a question about its rows can be asked of each commit, and a search finds the one that changed the answer";
