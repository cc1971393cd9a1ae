//! Put an image into a live database: SQLite's online backup API copies it as one transaction, and the application's open
//! connections see it next.
//!
//! The write lock is taken first, and the present state captured under it, so that nothing that was committed is lost by being written
//! over. In WAL mode readers go on while the lock is held. With a rollback journal the copy needs the file to itself, and
//! nobody could read for the capture then: it is captured under a lock that only keeps writers away, which has to be let go for the
//! copy's own; if the change counter tells that somebody wrote in between, it is done again.
//!
//! Invariants:
//! - Until the last step commits, the database is as it was: an error, a stop or a crash rolls the copy back.
//! - The image is opened read-only and immutable.
//!
//! The backup API changes a few fields of page 1 on the way, so that other connections notice: change counter (offset 24), schema cookie
//! (40), and the counter and version that go with them (92 to 100); and where the journal modes differ the target's stays (18 and 19).

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::ffi::FileRef;
use super::{check, source, source_error};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, Phase, check_cancelled};

/// Pages that are copied between two looks at the monitor.
const STEP: i32 = 1024;
/// How long to wait for the database's locks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to begin again when somebody writes in between.
const TRIES: usize = 10;

/// Replaces the content of the database at `path` by that of `image`. `capture` is called while nobody can write, before anything is
/// copied.
///
/// # Errors
/// [`ErrorKind::Refused`] when the page sizes differ and the database is in WAL mode; [`ErrorKind::Busy`] when the locks can't be had;
/// what `capture` answers. After an error the database is as it was.
///
/// # Durability
/// As the application's own commits with `synchronous=FULL`.
pub(crate) fn install(
    path: &Path,
    image: &Path,
    capture: &mut dyn FnMut() -> Result<()>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let name = || path.display().to_string();
    let image = check::connect_immutable(image)?;
    let mut target = source::connect(path).map_err(|e| e.with_object(name()))?;
    let (mode, page_size) = prepare(&target, &image).map_err(|e| e.with_object(name()))?;
    let copy = Copy { image: &image, page_size, monitor };
    let installed = match mode {
        Mode::Wal => copy.run(&mut target, &mut || capture()),
        Mode::Rollback => copy_after_capture(&copy, &mut target, path, capture),
    };
    source::close(target, Some(mode == Mode::Wal));
    installed.map_err(|e| if e.object().is_none() { e.with_object(name()) } else { e })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Wal,
    Rollback,
}

/// Looks whether the image can be installed at all.
fn prepare(target: &Connection, image: &Connection) -> Result<(Mode, u32)> {
    let failed = |e| source_error(e, "cannot be read");
    target.busy_timeout(PATIENCE).map_err(failed)?;
    let mode: String =
        target.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    let size = |c: &Connection| -> Result<u32> {
        c.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(failed)
    };
    let there = size(target)?;
    let pages: u32 = image.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(failed)?;
    if pages == 0 {
        // An empty database has no page size of its own yet.
        image.execute_batch(&format!("PRAGMA page_size={there}")).map_err(failed)?;
    }
    let new = size(image)?;
    if mode != "wal" {
        return Ok((Mode::Rollback, new));
    }
    if there != new {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("has pages of {there} bytes, that commit has pages of {new}, and SQLite can't change that in WAL mode"),
        )
        .with_hint("restore the commit to a new file instead: `pagekeep restore`"));
    }
    Ok((Mode::Wal, new))
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
        step(&backup, 0)?;
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
    capture: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let failed = |e| source_error(e, "cannot be locked");
    let gate = source::connect(path)?;
    gate.busy_timeout(PATIENCE).map_err(failed)?;
    for _ in 0..TRIES {
        gate.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let captured = capture();
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
                false => Ok(()),
            }
        });
        if !written {
            return copied;
        }
    }
    Err(Error::new(ErrorKind::Busy, "is written to all the time")
        .with_hint("stop the application for a moment, or put the database into WAL mode"))
}

/// The fields that every transaction of a rollback-journal database changes, as they are in the file.
fn change_counter(connection: &Connection) -> Result<([u8; 100], u64)> {
    let Some(file) = FileRef::database(connection)? else {
        return Err(Error::new(ErrorKind::Source, "has no file"));
    };
    let mut header = [0; 100];
    file.read_at(&mut header, 0)?;
    Ok((header, file.size()?))
}
