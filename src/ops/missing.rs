//! A database that is not there though its history is: a new container, a disk that was not
//! mounted. Whoever begins an empty one in its place has that stored as the newest state.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::locate::{Database, name_of};
use crate::ops::point::RestorePoint;
use crate::ops::restore::RestoreOptions;
use crate::progress::Monitor;
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::handle::History;
use crate::types::Seq;

/// What to do about a database that is not there, though its history has commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Missing {
    /// Nothing: it is an error.
    #[default]
    Refuse,
    /// Restore the newest commit.
    Restore,
    /// Begin with an empty database, which becomes the newest commit.
    StartEmpty,
}

/// Sees to it that a database which is not there, or is an empty file, is what `missing` says, if
/// its history has a commit. Answers the commit that was restored.
///
/// # Errors
/// [`ErrorKind::Refused`] when it is missing and that is what `missing` says, or when it would be
/// restored from the history of another database and `adopt` does not say that this is meant; as
/// [`RestorePoint::restore`]; [`ErrorKind::Damaged`] when the history is gone or its newest commit
/// can't be restored; store errors.
///
/// # Durability
/// As [`RestorePoint::restore`].
pub fn if_missing(
    repository: &Repository,
    path: &Path,
    name: Option<&str>,
    missing: Missing,
    adopt: bool,
    monitor: &dyn Monitor,
) -> Result<Option<Seq>> {
    let Some(is_empty) = is_missing(path)? else { return Ok(None) };
    let Some((history, chain, commit)) = newest(repository, &name_of(path, name)?)? else {
        return Ok(None);
    };
    match missing {
        Missing::StartEmpty => Ok(None),
        Missing::Restore => {
            Database::absent_or_at(path, name)?.check(&history, adopt)?;
            let options = RestoreOptions { force: is_empty, ..RestoreOptions::default() };
            RestorePoint::of(&history, &chain, &commit).restore(path, &options, monitor)?;
            Ok(Some(commit.seq))
        }
        Missing::Refuse => {
            Err(emptied(&history, &commit, is_empty, path).with_hint(
                "is its disk mounted? to go on from the newest commit, restore it; in a program, that is what `Missing::Restore` \
                 does, and `Missing::StartEmpty` begins an empty one",
            ))
        }
    }
}

/// Makes sure that an empty file does not follow on commits with pages: SQLite leaves none of a
/// database that had any.
///
/// # Errors
/// [`ErrorKind::Refused`] when it would; as [`if_missing`].
pub(crate) fn refuse_emptied(repository: &Repository, path: &Path, name: &str) -> Result<()> {
    if is_missing(path)? != Some(true) {
        return Ok(());
    }
    let Some((history, _, commit)) = newest(repository, name)? else { return Ok(()) };
    Err(emptied(&history, &commit, true, path).with_hint(advice![
        "is its disk mounted? ",
        Remedy::RestoreMissing { history: name.to_owned(), file: path.display().to_string() },
        " brings the newest commit back; if it is meant to be empty, ",
        Remedy::StartEmpty,
        " says so",
    ]))
}

fn emptied(history: &History, commit: &Commit, is_empty: bool, path: &Path) -> Error {
    let what = if is_empty { "is an empty file" } else { "is not there" };
    let name = history.name();
    let what = format!("{what}, though history {name:?} has commits up to seq:{}", commit.seq);
    Error::new(ErrorKind::Refused, what).with_object(path.display().to_string())
}

/// Whether a database is not there, or is an empty file (`Some(true)`).
///
/// # Errors
/// When that can't be told.
pub(crate) fn is_missing(path: &Path) -> Result<Option<bool>> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == 0 => Ok(Some(true)),
        // Whoever mounts a file that is not there into a container gets a folder.
        Ok(meta) if meta.is_dir() => Err(Error::new(ErrorKind::Usage, "is a directory")
            .with_object(path.display().to_string())
            .with_hint("name the database file; an empty folder in its place can be removed")),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Some(false)),
        Err(e) => Err(Error::io(e, "cannot be looked at", path.display().to_string())
            .with_kind(ErrorKind::Source)),
    }
}

/// The newest commit of a history, if there is one that has pages.
fn newest(repository: &Repository, name: &str) -> Result<Option<(History, Chain, Commit)>> {
    let history = match repository.history(name) {
        Ok(history) => history,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let chain = history.chain()?;
    let commit = chain.latest().filter(|commit| commit.record.pages > 0);
    Ok(commit.map(|commit| (history, chain, commit)))
}
