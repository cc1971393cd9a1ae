//! One of the two moments that are compared: a restore point, a live database, a file of our own,
//! or nothing.

use std::fmt;

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::view::DatabaseView;
use crate::sqlite::pin::Pin;
use crate::sqlite::source_error;

/// A moment.
pub(crate) enum Side<'s> {
    /// A restore point.
    Point(Box<DatabaseView>),
    /// A live database.
    Live(Pin<'s>),
    /// A file that nobody changes, or in memory what is before the first commit: nothing.
    Own(Connection),
}

impl Side<'_> {
    /// What is before the first commit.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when SQLite makes no database in memory.
    pub(crate) fn nothing() -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Failure, "SQLite opens nothing").with_source(e);
        Connection::open_in_memory().map(Self::Own).map_err(failed)
    }

    pub(crate) fn connection(&self) -> &Connection {
        match self {
            Self::Point(view) => view,
            Self::Live(pin) => pin.connection(),
            Self::Own(connection) => connection,
        }
    }

    /// The error behind one that SQLite gave.
    pub(crate) fn explain(&self, error: rusqlite::Error) -> Error {
        match self {
            Self::Point(view) => view.explain(error),
            Self::Live(_) | Self::Own(_) => source_error(error, "cannot be compared"),
        }
    }

    /// Why a page could not be read, if SQLite made something else of it than an error.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Point(view) => view.take_cause().map_or(Ok(()), Err),
            Self::Live(_) | Self::Own(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Point(_) => "Point",
            Self::Live(_) => "Live",
            Self::Own(_) => "Own",
        })
    }
}
