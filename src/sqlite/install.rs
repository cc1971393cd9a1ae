//! Put an image into a live database: SQLite's online backup API copies it as one transaction, and
//! the application's open connections see it next.
//!
//! The write lock is taken first, and the present state captured under it, so that nothing that was
//! committed is lost by being written over. In WAL mode readers go on while the lock is held. With
//! a rollback journal the copy needs the file to itself, and nobody could read for the capture
//! then: it is captured under a lock that only keeps writers away, which has to be let go for the
//! copy's own; if the change counter tells that somebody wrote in between, it is done again.
//!
//! Invariants:
//! - Until the last step commits, the database is as it was: an error, a stop or a crash rolls the
//!   copy back.
//! - The image is opened read-only and immutable.
//! - The lock is not held for longer than [`UNDER_LOCK`] while somebody is waited for.
//!
//! The backup API changes a few fields of page 1 on the way, so that other connections notice:
//! change counter (offset 24), schema cookie (40), and the counter and version that go with them
//! (92 to 100). Where the journal modes differ the target's stays (18 and 19): in WAL mode the API
//! sees to that, and for a target with a rollback journal the image is changed first.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::connection::{close, close_as_usual, connect};
use super::ffi::FileRef;
use super::journal::leave_wal;
use super::source_error;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::{Remedy, advice};

/// Pages that are copied between two looks at the monitor.
const STEP: i32 = 1024;
/// How long to wait for the database's locks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to begin again when somebody writes in between.
const TRIES: usize = 10;
/// How long others wait at most, under the lock, for what was committed to be captured.
pub(crate) const UNDER_LOCK: Duration = Duration::from_secs(1);

/// An image of a database in a file.
pub(crate) trait Image {
    /// Opens it, for reading only.
    fn open(&self) -> Result<Connection>;
    /// Its file, before it is opened.
    fn file(&self) -> &File;
}

/// What has to be done before anything is written over. Both are called while nobody can write.
pub(crate) trait Safety {
    /// Makes sure that everything committed so far is kept. It must not take long.
    fn capture(&mut self) -> Result<()>;
    /// What was captured last is what is about to be written over.
    fn keep(&mut self) -> Result<()>;
}

/// Replaces the content of the database at `path` by that of `image`.
///
/// # Errors
/// [`ErrorKind::Refused`] when the page sizes differ and the database is in WAL mode, or when the
/// encodings of text differ; [`ErrorKind::Busy`] when the locks can't be had; what `safety`
/// answers. After an error the database is as it was.
///
/// # Durability
/// As the application's own commits with `synchronous=FULL`.
pub(crate) fn install(
    path: &Path,
    image: &dyn Image,
    safety: &mut dyn Safety,
    monitor: &dyn Monitor,
) -> Result<()> {
    let name = || path.display().to_string();
    let mut target = connect(path).map_err(|e| e.with_object(name()))?;
    let mode = mode_of(&target).map_err(|e| e.with_object(name()))?;
    if mode == Mode::Rollback {
        leave_wal(image.file())?;
    }
    let image = image.open()?;
    let prepared = prepare(&target, image, mode).map_err(|e| e.with_object(name()));
    let (image, page_size) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => {
            close(target, Some(mode == Mode::Wal));
            return Err(e);
        }
    };
    let copy = Copy { image: &image, page_size, monitor };
    let installed = match mode {
        Mode::Wal => copy.run(&mut target, &mut || safety.capture().and_then(|()| safety.keep())),
        Mode::Rollback => copy_after_capture(&copy, &mut target, path, safety),
    };
    drop(image);
    match installed {
        // If nobody else has it open, one file is the database again.
        Ok(()) => close_as_usual(target),
        Err(_) => close(target, Some(mode == Mode::Wal)),
    }
    installed.map_err(|e| if e.object().is_none() { e.with_object(name()) } else { e })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Wal,
    Rollback,
}

fn mode_of(target: &Connection) -> Result<Mode> {
    let failed = |e| source_error(e, "cannot be read");
    target.busy_timeout(PATIENCE).map_err(failed)?;
    let mode: String =
        target.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    Ok(if mode == "wal" { Mode::Wal } else { Mode::Rollback })
}

/// Looks whether the image can be installed at all. Answers what to copy, and its page size.
fn prepare(target: &Connection, image: Connection, mode: Mode) -> Result<(Connection, u32)> {
    let failed = |e| source_error(e, "cannot be read");
    let number = |c: &Connection, what: &str| -> Result<u32> {
        c.query_row(&format!("PRAGMA {what}"), [], |row| row.get(0)).map_err(failed)
    };
    let encoding = |c: &Connection| -> Result<String> {
        c.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(failed)
    };
    let there = number(target, "page_size")?;
    if number(&image, "page_count")? == 0 {
        // SQLite's backup of nothing is over at once, before any lock is taken. An empty database
        // may as well have its first page.
        let empty = Connection::open_in_memory().map_err(failed)?;
        let encoding = encoding(target)?;
        empty
            .execute_batch(&format!(
                "PRAGMA page_size={there}; PRAGMA encoding='{encoding}'; CREATE TABLE t(x); DROP TABLE t; VACUUM"
            ))
            .map_err(failed)?;
        return Ok((empty, there));
    }
    if number(target, "page_count")? > 0 {
        let (old, new) = (encoding(target)?, encoding(&image)?);
        if old != new {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("keeps text as {old}, that commit as {new}, and the connections that are open could not go on"),
            )
            .with_hint(advice![
            "restore the commit to a new file instead: ",
            Remedy::Restore { history: None, file: None, force: false },
        ]));
        }
    }
    let new = number(&image, "page_size")?;
    if mode == Mode::Wal && there != new {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("has pages of {there} bytes, that commit has pages of {new}, and SQLite can't change that in WAL mode"),
        )
        .with_hint(advice![
            "restore the commit to a new file instead: ",
            Remedy::Restore { history: None, file: None, force: false },
        ]));
    }
    Ok((image, new))
}

/// What is copied.
struct Copy<'a> {
    image: &'a Connection,
    page_size: u32,
    monitor: &'a dyn Monitor,
}

impl Copy<'_> {
    /// Takes the write lock, calls `locked`, copies, commits.
    fn run(&self, target: &mut Connection, locked: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let failed = |e| source_error(e, "cannot be written to");
        let backup = Backup::new(self.image, target).map_err(failed)?;
        // Copies nothing, and takes the write lock of the target.
        if step(&backup, 0)? {
            return Err(Error::new(ErrorKind::Failure, "was copied before it was captured"));
        }
        locked()?;
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * u64::from(self.page_size);
        let mut left = backup.progress().remaining;
        self.monitor.phase(Phase::Install, Some(bytes(left)));
        loop {
            check_cancelled(self.monitor)?;
            if step(&backup, STEP)? {
                return Ok(());
            }
            let now = backup.progress().remaining;
            self.monitor.advance(bytes(left.saturating_sub(now)));
            left = now;
        }
    }
}

/// One step; answers whether it was the last.
fn step(backup: &Backup<'_, '_>, pages: i32) -> Result<bool> {
    match backup.step(pages) {
        Ok(StepResult::Done) => Ok(true),
        Ok(StepResult::More) => Ok(false),
        Ok(_) => Err(Error::new(ErrorKind::Busy, "stays locked by somebody else")
            .with_hint("end the transactions that are open on it, and try again")),
        Err(e) => Err(source_error(e, "cannot be written to")),
    }
}

fn copy_after_capture(
    copy: &Copy<'_>,
    target: &mut Connection,
    path: &Path,
    safety: &mut dyn Safety,
) -> Result<()> {
    let failed = |e| source_error(e, "cannot be locked");
    let gate = connect(path)?;
    gate.busy_timeout(PATIENCE).map_err(failed)?;
    for _ in 0..TRIES {
        gate.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let captured = safety.capture();
        let before = change_counter(&gate);
        gate.execute_batch("ROLLBACK").map_err(failed)?;
        captured?;
        let before = before?;
        let mut written = false;
        let copied = copy.run(target, &mut || {
            // The gate has no lock now, and reading through its handle takes none.
            written = change_counter(&gate)? != before;
            match written {
                true => Err(Error::new(ErrorKind::Busy, "was written to in between")),
                false => safety.keep(),
            }
        });
        if !written {
            return copied;
        }
    }
    Err(Error::new(ErrorKind::Busy, "is written to all the time")
        .with_hint("stop the application for a moment, or put the database into WAL mode"))
}

/// The fields that every transaction of a rollback-journal database changes, as they are in the
/// file.
fn change_counter(connection: &Connection) -> Result<([u8; 100], u64)> {
    let Some(file) = FileRef::database(connection)? else {
        return Err(Error::new(ErrorKind::Source, "has no file"));
    };
    let mut header = [0; 100];
    file.read_at(&mut header, 0)?;
    Ok((header, file.size()?))
}
