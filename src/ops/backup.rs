//! Back up a live database: capture it as the next commit of its history, and label the commit if
//! asked.

use std::path::Path;
use std::time::{Duration, Instant};

use derive_setters::Setters;
use rusqlite::Connection;

use crate::capture::commit::{CaptureOptions, Captured, capture};
use crate::capture::marks::{gone, settle};
use crate::codec::batch::{Compression, SelfCheck};
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::CommitRecord;
use crate::format::snapshot::SnapshotKind;
use crate::ops::beside::{check_rival, wait_for_follower};
use crate::ops::locate::{Database, Known};
use crate::ops::missing::refuse_emptied;
use crate::ops::soundness::{before_writing, dated_back};
use crate::policy::mark::LASTS;
use crate::progress::Monitor;
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::repo::history::labels::{Snapshot, sound_label};
use crate::repo::merge::compaction;
use crate::repo::write::writer::{Writer, is_written_here};
use crate::sqlite::beside::{LOCKED_OUT, give_to_group};
use crate::sqlite::elsewhere::check_one_name;
use crate::sqlite::image::Method;
use crate::sqlite::pin::Pin;
use crate::sqlite::source::Source;
use crate::types::{Seq, Timestamp};

/// How to back up.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct BackupOptions {
    /// The history's name; the file's stem if `None`.
    #[setters(into)]
    pub name: Option<String>,
    /// A label for the commit.
    #[setters(into)]
    pub label: Option<String>,
    /// How hard to compress.
    pub compression: Compression,
    /// How much of what was encoded is decoded again before it is published.
    pub self_check: SelfCheck,
    /// How to read a full image.
    pub method: Method,
    /// Go on with the history although its database lay elsewhere before.
    pub adopt: bool,
    /// Go on although a follower of another machine, account or container seems to be at work,
    /// which is superseded by that.
    pub takeover: bool,
    /// Go on although the file is empty and the history has pages.
    pub start_empty: bool,
    /// How long to wait for a follower of this machine, which does the work then.
    pub patience: Duration,
    /// How long the label lasts that the state before gets by itself if the new commit changes the
    /// schema or frees much of the database; `None` for no such label.
    #[setters(strip_option = false)]
    pub marks: Option<Duration>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            name: None,
            label: None,
            compression: Compression::default(),
            self_check: SelfCheck::default(),
            method: Method::default(),
            adopt: false,
            takeover: false,
            start_empty: false,
            patience: Duration::from_secs(60),
            marks: Some(LASTS),
        }
    }
}

/// What a backup came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// The history.
    pub history: History,
    /// Its newest commit.
    pub seq: Seq,
    /// The new commit; `None` when nothing had changed.
    pub commit: Option<CommitRecord>,
    /// The label, if one was asked for.
    pub snapshot: Option<Snapshot>,
    /// The labels that states got by themselves before commits that matter: the state before the
    /// new commit, or before one that an earlier run stored and died.
    pub marks: Vec<Snapshot>,
    /// Bytes of pages that were read to find out.
    pub read_bytes: u64,
    /// Whether a follower of this machine did the work: everything that was committed before is in
    /// `seq`, or before it.
    pub followed: bool,
}

/// A rollback-journal database makes its writers wait for us; longer than this is worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

impl Repository {
    /// Backs up a database file.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the file can't be read as a database, [`ErrorKind::Refused`] when
    /// the history belongs to another file, or has pages and the file is empty, [`ErrorKind::Busy`]
    /// when another writer is at work, or a follower of this machine does not catch up,
    /// [`ErrorKind::Damaged`] when the newest commit can't be restored, whether or not there is
    /// anything new; store errors.
    ///
    /// # Durability
    /// When this returns, the commit and its label are durable in the repository.
    pub fn backup(
        &self,
        path: &Path,
        options: &BackupOptions,
        monitor: &dyn Monitor,
    ) -> Result<BackupReport> {
        self.backup_known(path, Known::default(), options, monitor)
    }

    /// As [`Repository::backup`], where something is known of the histories.
    pub(crate) fn backup_known(
        &self,
        path: &Path,
        known: Known<'_>,
        options: &BackupOptions,
        monitor: &dyn Monitor,
    ) -> Result<BackupReport> {
        let mut source = Source::open(path)?;
        let database = Database::at(path, options.name.as_deref())?;
        if !options.start_empty {
            refuse_emptied(self, path, &database.name)?;
        }
        // Look at the source before a history is made for it: what is no database begins none.
        let elsewhere = check_one_name(&source.pin()?, path, monitor);
        if let Err(e) = elsewhere {
            monitor.warn(&e.to_string());
        }
        if !give_to_group(path) {
            monitor.warn(LOCKED_OUT);
        }
        let history = database.known_or_new(self, known, options.adopt)?;
        let newest = before_writing(&history, Some(&database.place), monitor)?;
        let began = Instant::now();
        loop {
            if is_written_here(&history)? {
                let left = options.patience.saturating_sub(began.elapsed());
                // One that is gone is not waited for.
                let Some(seq) = wait_for_follower(&history, path, left, monitor)? else { continue };
                let label = |label| history.add_snapshot(seq, label, SnapshotKind::Manual);
                let snapshot = options.label.as_deref().map(label).transpose()?;
                return Ok(BackupReport {
                    history,
                    seq,
                    commit: None,
                    snapshot,
                    marks: Vec::new(),
                    read_bytes: 0,
                    followed: true,
                });
            }
            match run((&history, newest), &database, options, monitor, || source.pin()) {
                // A follower began just now.
                Err(e) if e.kind() == ErrorKind::Busy && is_written_here(&history)? => {}
                done => return done,
            }
        }
    }
}

impl Repository {
    /// Backs up the main database of a connection: one in memory, or on a VFS of the application's
    /// own. `source` names it, as a path names a file.
    ///
    /// # Errors
    /// As [`Repository::backup`]; [`ErrorKind::Busy`] when the connection is in a transaction;
    /// [`ErrorKind::Usage`] without a name.
    ///
    /// # Durability
    /// As [`Repository::backup`].
    pub fn backup_connection(
        &self,
        connection: &mut Connection,
        source: &str,
        options: &BackupOptions,
        monitor: &dyn Monitor,
    ) -> Result<BackupReport> {
        let name = options
            .name
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::Usage, "a connection's history needs a name"))?;
        drop(Pin::on_connection(connection)?);
        let database = Database { name, place: source.to_owned() };
        let history = database.history_or_new(self, options.adopt)?;
        let newest = before_writing(&history, Some(source), monitor)?;
        run((&history, newest), &database, options, monitor, || Pin::on_connection(connection))
    }
}

fn run<'c>(
    (history, newest): (&History, Option<(Seq, Timestamp)>),
    database: &Database,
    options: &BackupOptions,
    monitor: &dyn Monitor,
    pin: impl FnOnce() -> Result<Pin<'c>>,
) -> Result<BackupReport> {
    // Before anything is stored that is then not labelled.
    let label = options.label.as_deref().map(sound_label).transpose()?;
    let source = &*database.place;
    if !options.takeover {
        check_rival(history)?;
    }
    let mut writer = Writer::open(history, "backup")?;
    if let Some(text) = writer.forgets() {
        monitor.advise(&text);
    }
    let pin = pin()?;
    let (began, blocks) = (Instant::now(), pin.blocks_writers());
    let capture_options = CaptureOptions {
        compression: options.compression,
        self_check: options.self_check,
        method: options.method,
        ..CaptureOptions::default()
    };
    let Captured { seq, commit, read } =
        capture(&mut writer, pin, source, &capture_options, monitor)
            .map_err(|e| name_source(e, source))?;
    if let Some(text) = commit.and_then(|commit| dated_back(commit.time, newest)) {
        monitor.warn(&text);
    }
    if blocks && began.elapsed() > PATIENCE {
        monitor.warn(&format!(
            "{source} is not in WAL mode: its writers had to wait {:.1} s while it was read; \
             `PRAGMA journal_mode=WAL` would let them go on",
            began.elapsed().as_secs_f64()
        ));
    }
    let marks = mark(&mut writer, options.marks, monitor);
    if writer.upkeep_is_due() {
        tidy(&mut writer, monitor);
    }
    let snapshot = match label {
        Some(label) => Some(match writer.head().filter(|head| head.seq == seq) {
            Some(head) => history.label((seq, head.digest), label, SnapshotKind::Manual)?,
            None => history.add_snapshot(seq, label, SnapshotKind::Manual)?,
        }),
        None => None,
    };
    Ok(BackupReport {
        history: history.clone(),
        seq,
        commit,
        snapshot,
        marks,
        read_bytes: read,
        followed: false,
    })
}

/// Marks the states before commits that matter. The commit is stored whatever becomes of that.
fn mark(writer: &mut Writer, lasts: Option<Duration>, monitor: &dyn Monitor) -> Vec<Snapshot> {
    match settle(writer, lasts, monitor) {
        Ok(marked) => {
            marked.gone.iter().for_each(|e| monitor.warn(&gone(e)));
            marked.given
        }
        Err(e) => {
            monitor.warn(&format!(
                "the commit is stored, but a state that is worth a restore point could not be \
                 marked, which the next backup tries again: {e}"
            ));
            Vec::new()
        }
    }
}

/// Merges small segments now and then. The commit is stored whatever becomes of that.
fn tidy(writer: &mut Writer, monitor: &dyn Monitor) {
    let history = writer.history().clone();
    let done =
        writer.begin_upkeep(true).and_then(|claim| compaction::run(&history, claim, monitor));
    match done {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::Interrupted => {}
        Err(e) => monitor.warn(&format!(
            "the commit is stored, but old segments could not be put together: {e}"
        )),
    }
}

fn name_source(e: Error, source: &str) -> Error {
    match (e.kind(), e.object()) {
        (ErrorKind::Source, None) => e.with_object(source),
        _ => e,
    }
}
