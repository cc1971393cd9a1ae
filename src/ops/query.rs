//! Whatever SQL somebody types, asked of a view: it reads that view, and nothing else happens.
//!
//! Invariants:
//! - An authorizer allows what only reads, and refuses the rest: other files (`ATTACH`,
//!   `VACUUM INTO`), extensions, settings, tables of its own. It allows by name, so what a newer
//!   SQLite can do is refused.
//! - Each statement ends: by itself, by its time, or when a stop is asked for.
//! - No answer hides that a page could not be read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Batch, Connection, Row, Statement};

use crate::error::{Error, ErrorKind, Result};
use crate::ops::view::DatabaseView;
use crate::progress::stopped;
use crate::remedy::{Remedy, advice};

/// How many steps of SQLite's machine lie between two looks at the clock: some microseconds.
const STEPS: i32 = 1000;
/// The longest statement, in bytes.
const SQL_BYTES: i32 = 1024 * 1024;
/// The longest pattern of LIKE and GLOB, in bytes: they are not interrupted, and take time that
/// grows with its square.
const PATTERN_BYTES: i32 = 1000;

/// What a statement may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may run; `None` for no limit.
    pub time: Option<Duration>,
    /// How large a value or a row may be, in bytes.
    pub value_bytes: usize,
}

/// What becomes of the rows behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// They are wanted.
    Row,
    /// They are not: the statement ends.
    Enough,
}

/// Takes what statements answer.
pub trait Answers {
    /// A statement begins to answer, with these columns.
    ///
    /// # Errors
    /// What it can't do with them.
    fn begin(&mut self, columns: &[String]) -> Result<()>;

    /// A row.
    ///
    /// # Errors
    /// SQLite's, of a value.
    fn row(&mut self, row: &Row<'_>) -> rusqlite::Result<Next>;

    /// The statement has answered.
    fn end(&mut self);
}

/// A view that takes any SQL.
#[derive(Debug)]
pub struct Asked {
    view: DatabaseView,
    limits: Limits,
    watch: Arc<Watch>,
}

/// What ends a statement.
#[derive(Debug, Default)]
struct Watch {
    until: Mutex<Option<Instant>>,
    /// Whether its time was up.
    was_late: AtomicBool,
}

impl Asked {
    /// Restricts a view to what only reads it, for good. `stop` is asked all the time.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when SQLite takes no limits.
    pub fn new(
        mut view: DatabaseView,
        limits: Limits,
        stop: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self> {
        let watch = Arc::<Watch>::default();
        let look = watch.clone();
        restrict(&mut view, limits.value_bytes, move || look.is_over() || stop())
            .map_err(|e| Error::new(ErrorKind::Failure, "SQLite takes no limits").with_source(e))?;
        Ok(Self { view, limits, watch })
    }

    /// Runs statements one after the other.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for what SQLite does not understand, [`ErrorKind::Refused`] for what
    /// does not only read, [`ErrorKind::Interrupted`] when a stop was asked for; what keeps a page
    /// from being read, such as [`ErrorKind::Damaged`].
    pub fn run(&self, sql: &str, answers: &mut dyn Answers) -> Result<()> {
        if sql.contains('\0') {
            return Err(Error::new(
                ErrorKind::Usage,
                "has a NUL character, where SQLite would end it",
            )
            .with_object("SQL")
            .with_hint("take it out; nothing was asked"));
        }
        let mut batch = Batch::new(&self.view, sql);
        loop {
            self.watch.begin(self.limits.time);
            let Some(mut statement) = batch.next().map_err(|e| self.told(e))? else {
                return Ok(());
            };
            self.answer(&mut statement, answers)?;
            if let Some(cause) = self.view.take_cause() {
                // Whatever SQLite made of it.
                return Err(cause);
            }
        }
    }

    fn answer(&self, statement: &mut Statement<'_>, answers: &mut dyn Answers) -> Result<()> {
        if !statement.readonly() {
            return Err(refused("the past can only be read"));
        }
        let name = |i| statement.column_name(i).map(str::to_owned);
        let columns: rusqlite::Result<Vec<String>> =
            (0..statement.column_count()).map(name).collect();
        let columns = columns.map_err(|e| self.told(e))?;
        answers.begin(&columns)?;
        let mut rows = statement.query([]).map_err(|e| self.told(e))?;
        loop {
            let row = rows.next().map_err(|e| self.told(e))?;
            match row.map(|row| answers.row(row)).transpose().map_err(|e| self.told(e))? {
                Some(Next::Row) => {}
                Some(Next::Enough) | None => break,
            }
        }
        answers.end();
        Ok(())
    }

    /// An error of SQLite's, and what is behind it.
    fn told(&self, error: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if self.watch.was_late() => {
                let most = self.limits.time.unwrap_or_default();
                Error::new(ErrorKind::Failure, format!("took longer than {most:?}"))
                    .with_object("SQL")
                    .with_hint(advice![
                        "give it more time: ",
                        Remedy::MoreTime,
                        "; or ask for less"
                    ])
            }
            Some(ErrorCode::OperationInterrupted) => stopped(),
            Some(ErrorCode::AuthorizationForStatementDenied) => {
                refused("this statement does more than read the moments that are open")
            }
            Some(ErrorCode::TooBig | ErrorCode::OutOfMemory) => {
                self.view.explain(error).with_hint(advice!["allow more: ", Remedy::MoreMemory])
            }
            _ => self.view.explain(error),
        }
    }

    /// The connection, for questions of ours.
    pub fn connection(&self) -> &Connection {
        self.watch.begin(self.limits.time);
        &self.view
    }
}

impl Watch {
    fn begin(&self, time: Option<Duration>) {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        self.was_late.store(false, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = until.is_some_and(|until| Instant::now() >= until);
        self.was_late.fetch_or(is_late, Ordering::Relaxed);
        is_late
    }

    fn was_late(&self) -> bool {
        self.was_late.load(Ordering::Relaxed)
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Refused, what).with_object("SQL").with_hint(advice![
        Remedy::Restore { history: None, file: None, force: false },
        " makes a file of the moment, with which anything can be done"
    ])
}

fn restrict(
    connection: &mut Connection,
    value_bytes: usize,
    is_over: impl Fn() -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    // One more of none.
    let attached = connection.query_row(
        "SELECT count(*) FROM pragma_database_list WHERE seq > 1",
        [],
        |r| r.get(0),
    )?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, i32::try_from(value_bytes).unwrap_or(i32::MAX)),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES),
        (Limit::SQLITE_LIMIT_ATTACHED, attached),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    connection.progress_handler(STEPS, Some(is_over))?;
    connection.authorizer(Some(|context: AuthContext<'_>| match allows(&context.action) {
        true => Authorization::Allow,
        false => Authorization::Deny,
    }))
}

/// Pragmas that tell something about what is there, and change nothing. Those with an argument take
/// a name.
const PRAGMAS: [&str; 26] = [
    "application_id",
    "auto_vacuum",
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "journal_mode",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "quick_check",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Those among them whose argument is a setting.
const SETTINGS: [&str; 7] = [
    "application_id",
    "auto_vacuum",
    "encoding",
    "journal_mode",
    "page_size",
    "schema_version",
    "user_version",
];

/// Whether something only reads what is open.
fn allows(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        // R-trees and full-text tables prepare what they write with when they are opened. Nothing
        // can be written to a view, there are no temporary tables, and a statement that is not
        // read-only is refused besides.
        AuthAction::Insert { .. } | AuthAction::Update { .. } | AuthAction::Delete { .. } => true,
        AuthAction::Function { function_name } => !["load_extension", "fts3_tokenizer"]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(function_name)),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let is = |name: &&str| name.eq_ignore_ascii_case(pragma_name);
            PRAGMAS.iter().any(&is) && (pragma_value.is_none() || !SETTINGS.iter().any(is))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
