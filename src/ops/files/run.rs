//! One run: the archive on this machine is brought up to date, and captured.
//!
//! Invariants: one run at a time works on an archive. An archive that is lost or damaged is made
//! again, from the newest commit if that can be restored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::chosen::Chosen;
use super::gather::Gather;
use super::report::{FilesReport, PassedOver, Tally};
use super::walk::Walk;
use crate::codec::batch::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::backup::BackupOptions;
use crate::ops::locate::Database;
use crate::ops::restore::RestoreOptions;
use crate::progress::{Monitor, Silent};
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::catalog::check_history_name;
use crate::repo::local::files::{read, replace};
use crate::repo::local::state::StateDir;
use crate::types::Timestamp;

/// The name of the history that has the files beside a database's.
pub(crate) fn history_of(name: &str) -> String {
    format!("{name}.files")
}

/// How files are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilesOptions {
    /// How hard to compress.
    pub(crate) compression: Compression,
    /// Go on with a history that another machine, or another state folder, began.
    pub(crate) adopt: bool,
    /// Databases that are kept by themselves, besides those that the repository has.
    pub(crate) kept: BTreeSet<PathBuf>,
}

impl Repository {
    /// Brings the archive of a database's files up to date and captures it as the next commit of
    /// its history.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when nothing of what is chosen is there; [`ErrorKind::Busy`] when
    /// another run is at it; as [`Repository::backup`].
    ///
    /// # Durability
    /// When this returns, the commit is durable in the repository.
    pub(crate) fn back_up_files(
        &self,
        name: &str,
        chosen: &Chosen,
        options: &FilesOptions,
        monitor: &dyn Monitor,
    ) -> Result<FilesReport> {
        let history = history_of(name);
        check_history_name(&history)?;
        let dir = self.state_dir().join("files").join(&history);
        let lock = StateDir::lock_dir(dir.clone(), &format!("the archive of {history:?}"))?;
        if lock.is_stand_in() {
            return Err(Error::new(ErrorKind::NoSpace, "takes no archive of files")
                .with_object(dir.display().to_string()));
        }
        let run = Run { repository: self, history, dir, chosen, options, monitor };
        match run.once() {
            Err(e) if run.is_of_archive(&e) => {
                monitor.warn(&format!("{e}; the archive is made anew"));
                run.forget()?;
                run.once()
            }
            done => done,
        }
    }
}

/// One run, with the archive's folder locked.
struct Run<'a> {
    repository: &'a Repository,
    history: String,
    dir: PathBuf,
    chosen: &'a Chosen,
    options: &'a FilesOptions,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    fn path(&self) -> PathBuf {
        self.dir.join("archive.db")
    }

    fn looked(&self) -> PathBuf {
        self.dir.join("looked")
    }

    /// Whether an error is about the archive on this machine, which can be made again.
    fn is_of_archive(&self, e: &Error) -> bool {
        let path = self.path();
        let is_it = |object: &str| Path::new(object).file_name() == path.file_name();
        matches!(e.kind(), ErrorKind::Damaged | ErrorKind::Source) && e.object().is_some_and(is_it)
    }

    fn forget(&self) -> Result<()> {
        Archive::remove(&self.path())?;
        match std::fs::remove_file(self.looked()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(e, "cannot be removed", self.looked().display().to_string()))
            }
            _ => Ok(()),
        }
    }

    fn once(&self) -> Result<FilesReport> {
        let path = self.path();
        if std::fs::symlink_metadata(&path).is_err() {
            self.forget()?;
            self.seed()?;
        }
        // Files that change from here on may have the times that they had.
        let began = Timestamp::now();
        let archive = Archive::open(&path)?;
        let (tally, passed_over) = self.gather(&archive)?;
        archive.close()?;
        let looked = began.0.to_string();
        replace(&self.looked(), looked.as_bytes())
            .map_err(|e| Error::io(e, "cannot be written", self.looked().display().to_string()))?;
        let backup = BackupOptions {
            name: Some(self.history.clone()),
            compression: self.options.compression,
            adopt: self.options.adopt,
            marks: None,
            ..BackupOptions::default()
        };
        let backup = self.repository.backup(&path, &backup, self.monitor)?;
        Ok(FilesReport { backup, tally, passed_over })
    }

    /// Goes on from the newest commit, so that what can't be read now stays, and what is stored
    /// already stays where it is.
    fn seed(&self) -> Result<()> {
        let history = match self.repository.history(&self.history) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            history => history?,
        };
        let folder = std::fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let place = folder.join("archive.db").display().to_string();
        Database { name: self.history.clone(), place }
            .check(&history, self.options.adopt)
            .map_err(|e| {
                e.with_hint(advice![
                    "keep the files under another name; or go on with this history: ",
                    Remedy::Adopt,
                    ", once"
                ])
            })?;
        let newest = history
            .find("latest")
            .and_then(|point| point.restore(&self.path(), &RestoreOptions::default(), &Silent));
        match newest {
            Err(e) if e.kind() == ErrorKind::Interrupted => Err(e),
            Err(e) => {
                self.monitor.warn(&format!("{e}; the archive of files is made anew"));
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn gather(&self, archive: &Archive) -> Result<(Tally, Vec<PassedOver>)> {
        let looked = read(&self.looked())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok().map(Timestamp));
        let (kept, barred) = (self.kept()?, self.barred());
        archive.run("BEGIN IMMEDIATE")?;
        let mut gather = Gather::new(archive, &kept, looked, archive.largest()?);
        let there = Walk::new(self.chosen, &mut gather, &barred, self.monitor).run()?;
        if there == 0 {
            return Err(Error::new(ErrorKind::Source, "nothing of what is to be kept is there")
                .with_object(format!("history {:?}", self.history))
                .with_hint("check the paths, and whether their disk is mounted"));
        }
        let done = gather.finish()?;
        archive.run("COMMIT")?;
        Ok(done)
    }

    /// The databases that are kept by themselves.
    fn kept(&self) -> Result<BTreeSet<PathBuf>> {
        let (histories, _) = self.repository.readable_histories()?;
        let sources = histories.iter().map(|history| PathBuf::from(&history.about().source));
        let named = self.options.kept.iter().filter_map(|path| std::fs::canonicalize(path).ok());
        Ok(sources.chain(named).collect())
    }

    /// The folders that are this program's own.
    fn barred(&self) -> Vec<PathBuf> {
        std::fs::canonicalize(&self.repository.options().state_dir).into_iter().collect()
    }
}
