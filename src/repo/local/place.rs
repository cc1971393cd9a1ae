//! Which repository this machine knows at a place: one that was replaced by another is noticed.
//!
//! A repository that was created anew where another one lay, or a disk that is mounted in another
//! one's place, is a sound repository. Only who remembers the identity of the one before can tell.
//!
//! Invariant: a cache, like all local state; without it nothing is noticed, and nothing else is
//! lost.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::{Deserialize, Serialize};

use super::files;
use crate::disk;
use crate::error::{Error, Result};
use crate::format::repository::first_half;
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::absent;
use crate::repo::repository::Repository;
#[cfg(feature = "cli")]
use crate::types::HistoryId;
use crate::types::{Digest, RepositoryId};

/// The memory of a place.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    location: String,
    repository: RepositoryId,
}

/// Another repository than this machine knows at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The repository that was there before.
    pub before: RepositoryId,
    /// The one that is there now.
    pub now: RepositoryId,
    /// Where.
    pub location: String,
    /// The histories of the one before that this machine knows, and their newest commits, in words.
    pub histories: Vec<String>,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: is another repository than this machine knows here: ", self.location)?;
        write!(f, "it is {}, and was {}", self.now, self.before)?;
        if !self.histories.is_empty() {
            write!(f, " with {}", self.histories.join(", "))?;
        }
        f.write_str("; was it replaced, or is another disk mounted?")
    }
}

impl Replaced {
    /// The same, with what to do if that is meant.
    pub fn advice(&self) -> Advice {
        let accept = Remedy::AcceptRollback { history: None };
        advice![self.to_string(), " If that is meant: ", accept]
    }
}

/// The canonical place of a repository in a folder, and the file that remembers it.
fn place(repository: &Repository) -> Option<(String, PathBuf)> {
    let place = fs::canonicalize(repository.store().location()).ok()?;
    let file = file_of(&repository.0.options.state_dir, &place);
    Some((place.to_string_lossy().into_owned(), file))
}

fn file_of(state_dir: &Path, place: &Path) -> PathBuf {
    let digest = Digest(first_half(blake3::hash(place.as_os_str().as_encoded_bytes())));
    state_dir.join("places").join(digest.to_string())
}

/// The repository that this machine knows at a location, at which there may be nothing now.
pub(crate) fn expected(state_dir: &Path, location: &str) -> Option<RepositoryId> {
    let location = std::path::absolute(location).ok()?;
    // Of a disk that is not mounted any number of folders is missing.
    let place = location.ancestors().find_map(|there| {
        let rest = location.strip_prefix(there).ok()?;
        let there = fs::canonicalize(there).ok()?;
        // Not `join` with nothing, which would end in a slash.
        Some(if rest.as_os_str().is_empty() { there } else { there.join(rest) })
    })?;
    let bytes = files::read(&file_of(state_dir, &place)).ok()?;
    serde_json::from_slice::<Place>(&bytes).ok().map(|place| place.repository)
}

/// The history of a name that this machine knows in the repository at a location, at which there
/// may be nothing now; `None` if it knows none, or several.
#[cfg(feature = "cli")]
pub(crate) fn known_history(state_dir: &Path, location: &str, name: &str) -> Option<HistoryId> {
    let dir = state_dir.join(expected(state_dir, location)?.to_string());
    let known = absent::remembered(&dir).into_iter();
    let mut found = known
        .filter(|(_, memory)| memory.known.as_ref().is_some_and(|known| known.name == name))
        .map(|(id, _)| id);
    found.next().filter(|_| found.next().is_none())
}

/// Whether another repository was at this one's place when this machine last looked. Remembers this
/// one, if none was known.
pub fn check_place(repository: &Repository) -> Option<Replaced> {
    let (location, file) = place(repository)?;
    let known: Option<Place> =
        files::read(&file).ok().and_then(|b| serde_json::from_slice(&b).ok());
    match known {
        Some(known) if known.repository == repository.id() => None,
        Some(known) => {
            let dir = repository.0.options.state_dir.join(known.repository.to_string());
            let histories = absent::remembered(&dir).into_iter().filter_map(|(id, memory)| {
                let seen = memory.seen?;
                let name = memory.known.map_or(id.to_string(), |known| known.name);
                Some(format!("{name:?} up to {seen}"))
            });
            Some(Replaced {
                before: known.repository,
                now: repository.id(),
                location: repository.store().location(),
                histories: histories.collect(),
            })
        }
        None => {
            // A machine that can't remember notices less, and works all the same.
            let _ = remember(repository, location, file);
            None
        }
    }
}

/// Takes the repository at its place for the one that should be there.
///
/// # Errors
/// When that can't be remembered.
pub fn accept_place(repository: &Repository) -> Result<()> {
    let Some((location, file)) = place(repository) else { return Ok(()) };
    let name = file.display().to_string();
    remember(repository, location, file).map_err(|e| Error::io(e, "cannot be written", name))
}

fn remember(repository: &Repository, location: String, file: PathBuf) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        disk::make_dirs(dir)?;
    }
    let place = Place { location, repository: repository.id() };
    files::replace(&file, &serde_json::to_vec(&place).map_err(io::Error::other)?)
}
