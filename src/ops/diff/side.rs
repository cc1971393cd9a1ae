//! One of the two moments that are compared: a restore point, a live database, a file of our own,
//! or nothing.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::view::{DatabaseView, Moment, ViewOptions};
use crate::sqlite::pin::Pin;
use crate::sqlite::source_error;

/// A moment.
pub(crate) enum Side<'s> {
    /// A restore point.
    Point(Box<Lazy>),
    /// A live database.
    Live(Pin<'s>),
    /// A file that nobody changes, or in memory what is before the first commit: nothing.
    Own(Connection),
}

/// A restore point that is opened when SQLite is asked for the first time: most of what a commit
/// changed can be told without.
pub(crate) struct Lazy {
    moment: Arc<Moment>,
    options: ViewOptions,
    view: OnceCell<DatabaseView>,
}

impl Lazy {
    fn view(&self) -> Result<&DatabaseView> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = DatabaseView::of(self.moment.clone(), &self.options)?;
        Ok(self.view.get_or_init(|| view))
    }
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

    /// A restore point.
    pub(crate) fn point(moment: Arc<Moment>, options: &ViewOptions) -> Self {
        let (options, view) = (*options, OnceCell::new());
        Self::Point(Box::new(Lazy { moment, options, view }))
    }

    /// What asks it.
    ///
    /// # Errors
    /// As [`crate::RestorePoint::open`].
    pub(crate) fn connection(&self) -> Result<&Connection> {
        match self {
            Self::Point(point) => point.view().map(|view| &**view),
            Self::Live(pin) => Ok(pin.connection()),
            Self::Own(connection) => Ok(connection),
        }
    }

    /// The error behind one that SQLite gave.
    pub(crate) fn explain(&self, error: rusqlite::Error) -> Error {
        match self {
            Self::Point(point) => match point.view() {
                Ok(view) => view.explain(error),
                Err(e) => e,
            },
            Self::Live(_) | Self::Own(_) => source_error(error, "cannot be compared"),
        }
    }

    /// Why a page could not be read, if SQLite made something else of it than an error.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Point(point) => {
                let cause = point.view.get().and_then(DatabaseView::take_cause);
                cause.map_or(Ok(()), Err)
            }
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
