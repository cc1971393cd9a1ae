//! What this machine has seen of a history, so that it notices a repository that was set back to an
//! earlier state.
//!
//! Nothing in a repository can tell that its newest objects were deleted, or that all of it is last
//! month's copy: seals and digests are those of then. What this machine saw can.
//!
//! Invariant: a cache; without it nothing is noticed, and nothing else is lost. `rollback` compares
//! a chain with it. Of a history that is gone as a whole [`crate::repo::absent`] tells.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::{Deserialize, Serialize};

use super::files;
use super::state::{self, Head};
use crate::disk;
use crate::error::{Error, Result};
use crate::policy::clock::local;
use crate::repo::history::handle::History;
use crate::types::{Digest, Seq, Term, Timestamp};

/// The newest commit that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) seq: Seq,
    /// The term of its segment.
    pub(crate) term: Term,
    pub(crate) digest: Digest,
    /// When it was captured, in microseconds; unknown of one that was acknowledged here and not
    /// looked at since.
    pub(crate) time: Option<i64>,
    /// When that one was last confirmed here.
    #[serde(skip)]
    pub(crate) confirmed: Option<i64>,
    /// The newest commit that was acknowledged here: it is on the chain for good, or a policy let
    /// it go.
    #[serde(skip)]
    pub(crate) acknowledged: Option<Head>,
}

impl Seen {
    /// The term of the newest segment that was seen.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// The commit, and when it was captured, or else last confirmed.
    pub(crate) fn newest(&self) -> (Seq, Option<Timestamp>) {
        (self.seq, self.time.or(self.confirmed).map(Timestamp))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {}", self.seq)?;
        match (self.time, self.confirmed) {
            (Some(time), _) => write!(f, " of {}", local(Timestamp(time))),
            (None, Some(time)) => write!(f, ", confirmed {}", local(Timestamp(time))),
            (None, None) => Ok(()),
        }
    }
}

/// Forgets what was seen and acknowledged: the repository is as it should be.
///
/// # Errors
/// [`crate::ErrorKind::Busy`] when a process of this machine writes to the history; when it can't
/// be removed.
pub(crate) fn forget(history: &History) -> Result<()> {
    forget_dir(state::dir_of(history), &format!("history {:?}", history.name()))
}

/// As [`forget`], of a history that may be gone.
pub(crate) fn forget_dir(dir: PathBuf, whose: &str) -> Result<()> {
    let _lock = state::StateDir::lock_dir(dir.clone(), whose)?;
    let written = |path: &Path, bytes: &[u8]| {
        files::replace(path, bytes)
            .map_err(|e| Error::io(e, "cannot be written", path.display().to_string()))
    };
    // Not the numbers, which are not used again.
    let highest = remembered(&dir)?;
    if floor(&dir)? < highest {
        written(&dir.join("numbers"), highest.0.to_string().as_bytes())?;
    }
    // Before the rest goes: whoever dies in between has not forgotten yet, and is asked again.
    written(&dir.join("accepted"), b"")?;
    ["seen", "state"].iter().try_for_each(|name| remove(&dir.join(name)))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(e, "cannot be removed", path.display().to_string()))
        }
        _ => Ok(()),
    }
}

/// The highest number that this machine remembers of a history, even if it forgot the rest, by the
/// history's folder.
///
/// # Errors
/// When what it remembers is there and can't be read.
pub(crate) fn remembered(dir: &Path) -> Result<Seq> {
    let seen = read_from(dir).map(|seen| seen.seq);
    // What was about to be published was told to nobody.
    let state = state::read_from(dir)?;
    let heads = state.into_iter().flat_map(|state| [state.head, state.acknowledged]).flatten();
    let highest = heads.map(|head| head.seq).chain(seen).max().unwrap_or_default();
    Ok(highest.max(floor(dir)?))
}

/// The highest number that this machine knew before it forgot what it saw.
fn floor(dir: &Path) -> Result<Seq> {
    let path = dir.join("numbers");
    match files::read(&path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).trim().parse().map(Seq).unwrap_or_default()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seq(0)),
        Err(e) => Err(Error::io(e, "cannot be read", path.display().to_string())),
    }
}

/// What was seen so far; what can't be read was not.
pub(crate) fn read(history: &History) -> Option<Seen> {
    read_from(&state::dir_of(history))
}

/// The newest commit that was seen or acknowledged, by the history's folder.
pub(crate) fn read_from(dir: &Path) -> Option<Seen> {
    let state = state::read_from(dir).ok().flatten();
    let confirmed = state.as_ref().and_then(|state| state.last_run);
    let head = state.and_then(|state| state.acknowledged);
    let acknowledged = head.clone().map(|head| {
        let (seq, term, digest) = (head.seq, head.term, head.digest);
        Seen { seq, term, digest, time: None, confirmed, acknowledged: None }
    });
    // Of equals the one from the file, which knows the time.
    let both = [acknowledged, read_file(dir)].into_iter().flatten();
    let newest = both.max_by_key(|seen| (seen.term, seen.seq))?;
    Some(Seen { acknowledged: head, ..newest })
}

/// Whether somebody said that the history of a folder is gone or set back on purpose, and no commit
/// of it was seen since.
pub(crate) fn is_accepted(dir: &Path) -> bool {
    files::read(&dir.join("accepted")).is_ok() && read_from(dir).is_none()
}

pub(crate) fn read_file(dir: &Path) -> Option<Seen> {
    serde_json::from_slice(&files::read(&dir.join("seen")).ok()?).ok()
}

pub(crate) fn write(history: &History, seen: &Seen) -> io::Result<()> {
    let dir = state::dir_of(history);
    disk::make_dirs(&dir)?;
    files::replace(&dir.join("seen"), &serde_json::to_vec(seen).map_err(io::Error::other)?)?;
    state::remember_name(history);
    Ok(())
}

/// Forgets what this machine saw of a history, so that one which was set back on purpose is taken
/// as it is.
///
/// # Errors
/// [`crate::ErrorKind::Busy`] when a process of this machine writes to the history; when the local
/// state can't be removed.
pub fn accept_rollback(history: &History) -> Result<()> {
    forget(history)
}
