//! Look into a restore point without restoring it: a read-only connection whose pages are fetched,
//! opened, and compared with their digests as SQL asks for them.
//!
//! Invariants:
//! - A row that comes back is made of pages whose digests were compared. Anything else is an SQL
//!   error, and [`DatabaseView::explain`] names the object behind it.
//! - Objects that a merge replaced are no damage: the chain is read again, and the view goes on
//!   with the same commit wherever it is now. A commit that was pruned is an error that says so.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, RwLock};

use derive_setters::Setters;
use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::restore::{around, check_above_hole, still};
use crate::progress::Silent;
use crate::repo::chain::pages::{Bounds, Cache, Pages};
use crate::repo::chain::{Between, Chain, Commit, retry_on_merge};
use crate::repo::history::handle::History;
use crate::sqlite::provider::PageProvider;
use crate::sqlite::view::View;
use crate::types::{Digest, PageNo, PageSize, Seq};

/// How to look into a restore point.
#[derive(Clone, Copy, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct ViewOptions {
    /// How many bytes of memory may hold pages and what finds them; at least 1 MiB. Each attached
    /// database has as much for itself.
    pub cache_bytes: usize,
    /// Whether the repository's threads read ahead of a scan.
    pub read_ahead: bool,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 * 1024 * 1024, read_ahead: true }
    }
}

impl ViewOptions {
    /// The smallest cache.
    const LEAST: usize = 1024 * 1024;

    fn bytes(&self) -> usize {
        self.cache_bytes.max(Self::LEAST)
    }

    /// What SQLite keeps for itself.
    fn of_sqlite(&self) -> usize {
        self.bytes() / 4
    }

    fn bounds(&self, threads: usize) -> Bounds {
        let index = self.bytes() / 8;
        let (contents, near) = (self.bytes() / 16, self.bytes() / 16);
        let batches = self.bytes() - self.of_sqlite() - index - contents - near;
        let threads = if self.read_ahead { threads } else { 0 };
        Bounds { index, batches, contents, near, threads }
    }
}

/// A restore point, opened as a read-only database: the connection to ask it by. Other restore
/// points can be [attached](Self::attach), also those of other histories and repositories.
///
/// It is one moment that never changes. Nothing can be written to it; temporary tables can be
/// made. What SQLite sorts and does not find room for in memory goes to temporary files, as with
/// any connection.
///
/// A page that can't be read makes a statement fail, and never gives another row.
/// [`explain`](Self::explain) tells the error behind the one that SQLite gives. Only `PRAGMA
/// integrity_check` and its like tell of such a page in a row; [`take_cause`](Self::take_cause)
/// knows of it all the same.
pub struct DatabaseView {
    view: View,
    options: ViewOptions,
}

impl RestorePoint {
    /// Opens it as a read-only database, without restoring it: pages are read as SQL asks for
    /// them. What SQL sees is what a restored file would show.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] naming the object, and [`ErrorKind::NotFound`] when the commit was
    /// pruned meanwhile; [`ErrorKind::Source`] when it is a commit that SQLite can't open; store
    /// errors.
    pub fn open(&self, options: &ViewOptions) -> Result<DatabaseView> {
        DatabaseView::of(Arc::new(Moment::of(self, options)?), options)
    }
}

impl DatabaseView {
    /// Opens the pages of a restore point.
    ///
    /// # Errors
    /// As [`RestorePoint::open`].
    pub(super) fn of(moment: Arc<Moment>, options: &ViewOptions) -> Result<Self> {
        let object = format!("{}@seq:{}", moment.history.name(), moment.commit.seq);
        Self::over(Box::new(moment), options).map_err(|e| match e.object() {
            Some(_) => e,
            None => e.with_object(object),
        })
    }

    /// Opens a database by whatever provides its pages.
    ///
    /// # Errors
    /// What the provider answers; [`ErrorKind::Source`] when SQLite can't open it.
    pub(super) fn over(pages: Box<dyn PageProvider>, options: &ViewOptions) -> Result<Self> {
        let view = View::open(pages, options.of_sqlite())?;
        Ok(Self { view, options: *options })
    }

    /// Attaches another restore point under a name, by which SQL calls it: `then.orders`.
    ///
    /// # Errors
    /// As [`RestorePoint::open`]; [`ErrorKind::Usage`] when the name is taken, there are ten
    /// already, or the text encoding is another one.
    pub fn attach(&mut self, name: &str, point: &RestorePoint) -> Result<()> {
        let moment = Arc::new(Moment::of(point, &self.options)?);
        self.view.attach(name, Box::new(moment), self.options.of_sqlite())
    }

    /// The error behind one that SQLite gave: why a page could not be read, if that is what it is
    /// about, and else the same.
    pub fn explain(&self, error: rusqlite::Error) -> Error {
        let cause = self.take_cause();
        match cause.filter(|_| may_be_of_a_page(&error)) {
            Some(cause) => cause,
            None => told(error),
        }
    }

    /// Why a page could not be read since this was asked last; `None` if every page could.
    pub fn take_cause(&self) -> Option<Error> {
        self.view.take_error()
    }
}

impl Deref for DatabaseView {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.view.connection()
    }
}

impl DerefMut for DatabaseView {
    fn deref_mut(&mut self) -> &mut Connection {
        self.view.connection_mut()
    }
}

impl fmt::Debug for DatabaseView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseView").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Whether SQLite may have given an error since a page could not be read. Some of its modules make
/// that a malformed database.
fn may_be_of_a_page(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)
    )
}

/// What SQLite says about a statement, as an error of ours.
fn told(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let said = match &error {
        rusqlite::Error::SqliteFailure(_, Some(said)) => said.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    let (kind, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            ErrorKind::Source,
            Some(
                "it is what was captured, page by page: the original was unsound then; try an earlier commit",
            ),
        ),
        Some(ErrorCode::OperationInterrupted) => (ErrorKind::Interrupted, None),
        Some(ErrorCode::ReadOnly) => (ErrorKind::Usage, Some("the past can only be read")),
        Some(ErrorCode::OutOfMemory | ErrorCode::TooBig | ErrorCode::DiskFull) => {
            (ErrorKind::NoSpace, None)
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => (ErrorKind::Failure, None),
        _ if said.starts_with("no such") => {
            (ErrorKind::Usage, Some("`SELECT sql FROM sqlite_schema` shows what there is"))
        }
        _ => (ErrorKind::Usage, None),
    };
    let error = Error::new(kind, said).with_object("SQL");
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The pages of a restore point, wherever its segments are now.
pub(super) struct Moment {
    history: History,
    commit: Commit,
    cache: Arc<Cache>,
    now: RwLock<Arc<Chained>>,
}

/// The pages as a chain has them.
struct Chained {
    chain: Arc<Chain>,
    pages: Pages,
}

impl Moment {
    pub(super) fn of(point: &RestorePoint, options: &ViewOptions) -> Result<Self> {
        let threads = point.history.repository().threads();
        Self::within(point, Cache::within(options.bounds(threads))?)
    }

    /// Another restore point of the same history, beside this one: what either of them read serves
    /// both.
    pub(super) fn beside(&self, point: &RestorePoint) -> Result<Self> {
        Self::within(point, self.cache.clone())
    }

    fn within(point: &RestorePoint, cache: Arc<Cache>) -> Result<Self> {
        let RestorePoint { history, chain, commit } = point;
        check_above_hole(history, chain, commit)?;
        let now = Arc::new(Chained::over(history, chain.clone(), commit, &cache)?);
        let (history, commit) = (history.clone(), commit.clone());
        Ok(Self { history, commit, cache, now: RwLock::new(now) })
    }

    /// Tells which pages were written behind an earlier restore point that this one was opened
    /// beside.
    pub(super) fn know_written(&self, since: Seq, between: Between) -> Arc<[PageNo]> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.pages.know_written(since, between)
    }

    /// The digest of each of these pages, which ascend; `None` for the page of the lock byte.
    ///
    /// # Errors
    /// As [`RestorePoint::open`]; also when a merge has replaced what leads to them.
    pub(super) fn digests(&self, pages: &[PageNo]) -> Result<Vec<Option<Digest>>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner).clone();
        now.pages.digests(pages)
    }

    /// Reads a page that could not be read: with the chain as it is now, if a merge replaced some
    /// of it, and around merged segments that are damaged. What leads to the page serves those
    /// that are read next, too.
    fn read_again(&self, chain: &Chain, page: PageNo, into: &mut [u8]) -> Result<()> {
        let room = std::cell::RefCell::new(into);
        let read = |chain: &Chain| {
            let commit = still(chain, &self.commit)?;
            self.cache.forget_places();
            let chained =
                Chained::over(&self.history, Arc::new(chain.clone()), &commit, &self.cache)?;
            chained.pages.read(page, &mut room.borrow_mut())?;
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chained);
            Ok(())
        };
        let done = match retry_on_merge(&self.history, chain, &read) {
            Err(e) if e.kind() == ErrorKind::Damaged => around(&self.history, e, read, &Silent),
            done => done,
        };
        done.map_err(|e| match e.kind() {
            ErrorKind::NotFound => e.with_hint("begin again with another commit"),
            _ => e,
        })
    }
}

impl Chained {
    fn over(
        history: &History,
        chain: Arc<Chain>,
        commit: &Commit,
        cache: &Arc<Cache>,
    ) -> Result<Self> {
        let pages = Pages::new(history, &chain, commit, cache)?;
        Ok(Self { chain, pages })
    }
}

impl PageProvider for Moment {
    fn page_size(&self) -> PageSize {
        self.commit.segment.manifest.page_size
    }

    fn pages(&self) -> u32 {
        self.commit.record.pages
    }

    fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner).clone();
        match now.pages.read(page, into) {
            Err(e) if e.kind() == ErrorKind::Damaged => self.read_again(&now.chain, page, into),
            done => done,
        }
    }

    fn content(&self, page: PageNo) -> Result<Arc<[u8]>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner).clone();
        match now.pages.content(page) {
            Err(e) if e.kind() == ErrorKind::Damaged => {
                let mut content = vec![0; self.page_size().bytes()];
                self.read_again(&now.chain, page, &mut content)?;
                Ok(content.into())
            }
            done => done,
        }
    }
}

#[cfg(test)]
mod tests;
