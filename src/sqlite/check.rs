//! SQLite's own opinion of a restored file, and assertions in SQL.
//!
//! A check has three answers: the database is sound, it is unsound, or it could not be checked. The
//! last one is about this program, which lacks a collation, a function or a module that the
//! application has; it is told apart, and everything else is still checked, table by table. What
//! breaks a rule of the application's own, such as a foreign key, is told apart, too: it says
//! nothing of the file.
//!
//! Invariant: the file is opened read-only and immutable, so no `-wal`, `-shm` or journal appears
//! beside it and not a byte of it changes; but for [`Checker::of_scratch`], which has a file that
//! nobody else wants. A database that is too unsound to be checked to the end is a finding like any
//! other, not an error.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};

use super::accounting;
use super::answer::{FINDINGS, Told, failed_to, is_unsound, message, tell, text};
use super::ffi::forbid_other_files;
use super::journal::leave_wal;
use crate::error::{Error, ErrorKind, Result};

pub use super::answer::Answer;

/// How often a long check looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// What became of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asserted {
    /// It holds.
    Holds,
    /// It does not hold, for this reason.
    Fails(String),
    /// The database is too unsound to answer it.
    Unsound(String),
    /// This program lacks something that the answer needs.
    Unanswered(String),
}

/// What SQLite finds unsound in a database that may be in use; nothing if it can't be asked.
///
/// # Errors
/// When SQLite can't finish it for another reason than the database.
pub(crate) fn unsound(connection: &Connection) -> Result<Vec<String>> {
    let mut answer = Answer::default();
    for pragma in [FULL, QUICK] {
        let pragma = format!("PRAGMA {pragma}({FINDINGS})");
        if let Told::All(()) = findings(connection, &pragma, &mut answer)? {
            break;
        }
    }
    Ok(answer.unsound)
}

/// What ends the queries of some connections.
#[derive(Default)]
struct Handles(Mutex<Vec<InterruptHandle>>);

impl Handles {
    fn add(&self, connection: &Connection) {
        let mut handles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handles.push(connection.get_interrupt_handle());
    }

    fn each(&self, work: impl Fn(&InterruptHandle)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(work);
    }
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handles")
    }
}

/// A restored database, opened for checks.
#[derive(Debug)]
pub struct Checker {
    path: PathBuf,
    connection: Connection,
    /// SQLite forgets CHECK constraints where it may not write.
    writable: Option<Connection>,
    /// What ends the queries of all its connections.
    handles: Handles,
}

impl Checker {
    /// Opens a file that nobody changes. CHECK constraints are not checked.
    ///
    /// # Errors
    /// When SQLite can't open it.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = connect_immutable(path)?;
        let handles = Handles::default();
        handles.add(&connection);
        Ok(Self { path: path.to_owned(), connection, writable: None, handles })
    }

    /// Opens a file that is only there to be checked. CHECK constraints are checked, too. A
    /// database in WAL mode is taken out of it, so that no WAL appears beside it.
    ///
    /// # Errors
    /// When SQLite can't open it, or the file can't be written to.
    pub fn of_scratch(path: &Path, file: &File) -> Result<Self> {
        leave_wal(file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writable = Connection::open_with_flags(path, flags)
            .map_err(|e| failed_to(e, "SQLite cannot open the restored database"))?;
        let checker = Self::open(path)?;
        checker.handles.add(&writable);
        Ok(Self { writable: Some(writable), ..checker })
    }

    /// The connection, for reading.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does something that `stop` can end, however long a query takes: it is asked all the time,
    /// and once it says so every query ends with [`ErrorKind::Interrupted`].
    pub(crate) fn until<T>(
        &self,
        stop: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&Self) -> T,
    ) -> T {
        let (working, over) = crossbeam_channel::bounded::<()>(0);
        std::thread::scope(|scope| {
            let handles = &self.handles;
            scope.spawn(move || {
                while over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    if stop() {
                        handles.each(InterruptHandle::interrupt);
                    }
                }
            });
            let done = work(self);
            drop(working);
            done
        })
    }

    /// `PRAGMA quick_check`, and what it leaves out of the pages.
    ///
    /// # Errors
    /// When SQLite can't finish it for another reason than the database.
    pub fn quick_check(&self) -> Result<Answer> {
        let stand_ins = self.stand_ins()?;
        self.check(&[(&stand_ins, QUICK)])
    }

    /// `PRAGMA integrity_check`, and what it leaves out of the pages.
    ///
    /// # Errors
    /// When SQLite can't finish it for another reason than the database.
    pub fn integrity_check(&self) -> Result<Answer> {
        let stand_ins = self.stand_ins()?;
        let mut ways = vec![(&self.connection, FULL), (&stand_ins, QUICK)];
        ways.splice(0..0, self.writable.as_ref().map(|writable| (writable, FULL)));
        self.check(&ways)
    }

    /// `PRAGMA foreign_key_check`: rows that refer to nothing break a rule of the application's.
    ///
    /// # Errors
    /// When SQLite can't finish it for another reason than the database.
    pub fn foreign_key_check(&self) -> Result<Answer> {
        let mut answer = Answer::default();
        if let Told::All(()) = self.orphans("PRAGMA foreign_key_check", &mut answer)? {
            return Ok(answer);
        }
        // One table is enough to keep SQLite from looking at the others.
        answer = Answer::default();
        for table in self.tables(&mut answer)? {
            let pragma = format!("PRAGMA foreign_key_check({})", quote(&table.name));
            if let Told::Nothing(why) = self.orphans(&pragma, &mut answer)? {
                answer.unchecked.push(format!("foreign keys of {}: {why}", table.name));
            }
        }
        Ok(answer)
    }

    /// Runs a user's assertion: a query whose first row's first column must be true, that is, a
    /// number other than zero.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when the SQL is not a query that can run.
    pub fn assertion(&self, sql: &str) -> Result<Asserted> {
        let value = self.connection.query_row(sql, [], |row| row.get::<_, Value>(0));
        let answers = |what: &str| Ok(Asserted::Fails(format!("`{sql}` answers {what}")));
        match value {
            Ok(Value::Integer(n)) if n != 0 => Ok(Asserted::Holds),
            Ok(Value::Real(x)) if x != 0.0 => Ok(Asserted::Holds),
            Ok(Value::Text(text)) => answers(&format!("{text:?}, which is not true")),
            Ok(Value::Blob(_)) => answers("a blob, which is not true"),
            Ok(Value::Integer(n)) => answers(&n.to_string()),
            Ok(Value::Real(x)) => answers(&x.to_string()),
            Ok(Value::Null) => answers("NULL"),
            Err(rusqlite::Error::QueryReturnedNoRows) => answers("no row"),
            Err(e) if is_unsound(&e) => {
                Ok(Asserted::Unsound(format!("`{sql}` cannot be answered: {}", message(&e))))
            }
            Err(e) if lacks(&message(&e)) => {
                Ok(Asserted::Unanswered(format!("`{sql}`: {}", message(&e))))
            }
            // A table that is gone is what assertions are for.
            Err(e) if is_about_schema(&message(&e)) => {
                Ok(Asserted::Fails(format!("`{sql}`: {}", message(&e))))
            }
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                Err(failed_to(e, "was stopped").with_object(format!("the assertion `{sql}`")))
            }
            Err(e) => {
                Err(Error::new(ErrorKind::Usage, "the assertion is not a query that can run")
                    .with_object(sql)
                    .with_source(e))
            }
        }
    }

    /// Asks about the whole database, or, where SQLite can't answer that, about one table after the
    /// other. The first way is the most thorough one; the others are for tables that it can't
    /// check.
    fn check(&self, ways: &[(&Connection, &str)]) -> Result<Answer> {
        let Some((first, pragma)) = ways.first() else { return Ok(Answer::default()) };
        let mut answer = Answer::default();
        let whole = findings(first, &format!("PRAGMA {pragma}({FINDINGS})"), &mut answer)?;
        if !answer.unsound.is_empty() {
            return Ok(answer);
        }
        let partial = matches!(whole, Told::Nothing(_));
        let tables = self.tables(&mut answer)?;
        let unknown = self.unknown_modules(&tables, &mut answer)?;
        let wanted = |t: &&Table| partial && !t.is_view && !unknown.contains(&t.name);
        for table in tables.iter().filter(wanted) {
            let mut reason = None;
            for (connection, pragma) in ways {
                let pragma = format!("PRAGMA {pragma}({})", quote(&table.name));
                match findings(connection, &pragma, &mut answer)? {
                    Told::All(()) => break,
                    Told::Nothing(why) => reason = reason.or(Some(why)),
                }
            }
            let reason = reason.map(|why| self.reason(table, why));
            answer.unchecked.extend(reason.map(|why| format!("{}: {why}", table.name)));
        }
        // SQLite's own accounting is left out then.
        let is_left_out = partial || tables.iter().any(|t| t.is_rootless);
        if answer.unsound.is_empty()
            && is_left_out
            && let Told::Nothing(why) = accounting::account(&self.connection, &mut answer)?
        {
            answer.unchecked.push(format!("pages that are used twice or never: {why}"));
        }
        Ok(answer)
    }

    /// Tables and views, as the schema names them.
    fn tables(&self, answer: &mut Answer) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        let mut read = || {
            let mut statement = self.connection.prepare(
                "SELECT name, coalesce(rootpage, 0) = 0, type = 'view' FROM sqlite_schema
                 WHERE type IN ('table', 'view') ORDER BY name",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let name = text(row, 0)?;
                tables.push(Table { name, is_rootless: row.get(1)?, is_view: row.get(2)? });
            }
            Ok(())
        };
        match tell(read(), "SQLite's check did not finish", answer)? {
            Told::All(()) => {}
            Told::Nothing(why) => answer.unchecked.push(format!("the schema: {why}")),
        }
        Ok(tables)
    }

    /// Virtual tables whose module this program does not have, or that lacks something. SQLite
    /// passes over some of them in silence.
    fn unknown_modules(&self, tables: &[Table], answer: &mut Answer) -> Result<Vec<String>> {
        let mut unknown = Vec::new();
        for table in tables.iter().filter(|t| t.is_rootless && !t.is_view) {
            let sql = format!("SELECT 1 FROM {} LIMIT 0", quote(&table.name));
            let read = self.connection.prepare(&sql).map(|_| ());
            if let Told::Nothing(why) = tell(read, "SQLite's check did not finish", answer)? {
                answer.unchecked.push(format!("{}: {why}", table.name));
                unknown.push(table.name.clone());
            }
        }
        Ok(unknown)
    }

    /// What a table lacks. SQLite's check of a full-text table loses that; a search tells it.
    fn reason(&self, table: &Table, lost: String) -> String {
        let name = quote(&table.name);
        let sql = format!("SELECT 1 FROM {name} WHERE {name} MATCH 'a' LIMIT 1");
        let searched = self.connection.query_row(&sql, [], |_| Ok(()));
        let told = searched.err().map(|e| message(&e)).filter(|told| lacks(told));
        if table.is_rootless { told.unwrap_or(lost) } else { lost }
    }

    fn orphans(&self, pragma: &str, answer: &mut Answer) -> Result<Told<()>> {
        let mut found = Vec::new();
        let mut read = || {
            let mut statement = self.connection.prepare(pragma)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if found.len() == FINDINGS {
                    found.push("and more".to_owned());
                    break;
                }
                let (table, parent) = (text(row, 0)?, text(row, 2)?);
                let rowid: Option<i64> = row.get(1)?;
                let row = rowid.map_or_else(|| "a row".to_owned(), |id| format!("row {id}"));
                found.push(format!("{row} of {table} refers to nothing in {parent}"));
            }
            Ok(())
        };
        let told = tell(read(), "the foreign key check did not finish", answer)?;
        let more = (FINDINGS + 1).saturating_sub(answer.broken_rules.len());
        answer.broken_rules.extend(found.into_iter().take(more));
        Ok(told)
    }

    /// A connection of its own that compares bytes where the application has a collation. It is for
    /// checks that don't look at the order which collations define: SQLite wants to know them all
    /// the same.
    fn stand_ins(&self) -> Result<Connection> {
        let connection = connect_immutable(&self.path)?;
        self.handles.add(&connection);
        connection
            .collation_needed(|connection, name| connection.create_collation(name, |a, b| a.cmp(b)))
            .map_err(|e| failed_to(e, "SQLite's check did not begin"))?;
        Ok(connection)
    }
}

const QUICK: &str = "quick_check";
const FULL: &str = "integrity_check";

struct Table {
    name: String,
    /// Whether it has no pages of its own: a view, or a virtual table.
    is_rootless: bool,
    is_view: bool,
}

/// What one of SQLite's checks finds.
fn findings(connection: &Connection, pragma: &str, answer: &mut Answer) -> Result<Told<()>> {
    let mut found = Vec::new();
    let mut read = || {
        let mut statement = connection.prepare(pragma)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // A finding about pages has a headline, which says nothing, and a line for each page.
            let text = text(row, 0)?;
            let lines = text.lines().filter(|line| *line != "ok" && !line.starts_with("*** in "));
            found.extend(lines.map(str::to_owned));
        }
        Ok(())
    };
    let told = tell(read(), "SQLite's check did not finish", answer)?;
    // An application may store such rows, by a pragma or before it had the constraint.
    // `NULL value in t.x`, `TEXT value in t.x`: of a column whose declaration was changed later.
    let is_rule = |text: &String| {
        text.starts_with("CHECK constraint failed in ") || text.contains(" value in ")
    };
    let (rules, unsound): (Vec<String>, Vec<String>) = found.into_iter().partition(is_rule);
    answer.broken_rules.extend(rules);
    answer.unsound.splice(0..0, unsound);
    answer.broken_rules.truncate(FINDINGS);
    answer.unsound.truncate(FINDINGS);
    Ok(told)
}

/// Opens a file that nobody changes, without leaving anything beside it.
pub(crate) fn connect_immutable(path: &Path) -> Result<Connection> {
    let uri = format!("file:{}?immutable=1", percent_encode(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)
        .map_err(|e| failed_to(e, "SQLite cannot open the restored database"))?;
    // Assertions come from files that others may write.
    forbid_other_files(&connection);
    Ok(connection)
}

/// Whether SQLite says that a query names a table or a column that the database does not have.
pub(crate) fn is_about_schema(message: &str) -> bool {
    ["no such table", "no such column"].iter().any(|what| message.starts_with(what))
}

/// Whether this program lacks what somebody else's query needs.
fn lacks(message: &str) -> bool {
    let of = ["collation", "function", "tokenizer", "module"];
    let starts = |start: &str| of.iter().any(|what| message.contains(&format!("{start} {what}")));
    starts("no such") || starts("unknown")
}

/// A name in SQL.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A path for a `file:` URI.
fn percent_encode(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
