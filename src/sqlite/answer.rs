//! What a check of a database answers, and what a query of ours comes to.

use rusqlite::{ErrorCode, ffi};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::source_error;

/// How many findings of a check are kept.
pub(super) const FINDINGS: usize = 10;

/// What a check answers: nothing at all if the database is sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What is wrong with the database.
    pub unsound: Vec<String>,
    /// Rows that break a rule of the application's own. SQLite lets an application store them, so
    /// nothing is damaged.
    pub broken_rules: Vec<String>,
    /// What could not be checked, and why.
    pub unchecked: Vec<String>,
}

/// What a query of ours comes to.
pub(super) enum Told<T> {
    /// The answer.
    All(T),
    /// SQLite can't answer it here, for this reason.
    Nothing(String),
}

/// What came of a query of ours. That the database is unsound is a finding.
pub(super) fn tell<T: Default>(
    read: rusqlite::Result<T>,
    what: &str,
    answer: &mut Answer,
) -> Result<Told<T>> {
    match read {
        Ok(told) => Ok(Told::All(told)),
        Err(e) if is_unsound(&e) => {
            answer.unsound.push(message(&e));
            Ok(Told::All(T::default()))
        }
        Err(e) if is_unanswered(&e) => Ok(Told::Nothing(message(&e))),
        Err(e) => Err(failed_to(e, what)),
    }
}

/// A text of a row. A name need not be UTF-8.
pub(crate) fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    let value = row.get_ref(column)?;
    Ok(String::from_utf8_lossy(value.as_bytes_or_null()?.unwrap_or_default()).into_owned())
}

/// Whether an error says that a query of ours, which is a right one, can't be answered here:
/// nothing about the database.
fn is_unanswered(e: &rusqlite::Error) -> bool {
    let code = match e {
        // Where SQLite tells at which place of a query it is.
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code & 0xff),
        e => e.sqlite_error().map(|e| e.extended_code & 0xff),
    };
    matches!(code, Some(ffi::SQLITE_ERROR | ffi::SQLITE_TOOBIG))
}

/// What SQLite says, without the query.
pub(crate) fn message(e: &rusqlite::Error) -> String {
    match e {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        e => e.to_string(),
    }
}

/// Whether an error says that the database is unsound.
pub(super) fn is_unsound(e: &rusqlite::Error) -> bool {
    matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

pub(super) fn failed_to(e: rusqlite::Error, what: &str) -> Error {
    let unsound = is_unsound(&e);
    let error = source_error(e, what);
    match error.kind() {
        ErrorKind::Source if unsound => error.with_kind(ErrorKind::Damaged),
        // The file is ours.
        ErrorKind::Source | ErrorKind::Busy => error.with_kind(ErrorKind::Failure),
        _ => error,
    }
}
