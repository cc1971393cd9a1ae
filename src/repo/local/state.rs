//! What this machine remembers of a history: the term that it writes in, the head that it
//! published, where in the source it left off. All of it is a cache; deleting it costs a scan and a
//! new term, never data.
//!
//! ```text
//! <state dir>/<repository id>/<history id>/
//!   lock      held by the one process that writes to the history from here
//!   state     JSON, replaced atomically
//!   digests   the head's page digests (see `digests`)
//!   seen      the newest commit that was seen (see `seen`)
//!   following locked by a follower while the position in `state` is of its own time
//!   numbers   the highest number that was known before a rollback or an absence was accepted
//!   known     the history's name and source, so that one that is gone can be named (see `absent`)
//!   accepted  there once somebody said that the history is gone or set back on purpose; counts while no commit of it was seen since
//! <state dir>/places/<digest of a location>
//!             which repository was there (see `place`)
//! ```
//!
//! Invariant: but for its `next`, the state is written after what it speaks of was published and
//! acknowledged. A state that is older than the repository is noticed when it is used.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::SegmentRef;
use crate::policy::mark::Shape;
use crate::repo::history::handle::History;
use crate::repo::local::files;
use crate::sqlite::source::Position;
use crate::types::{Digest, PageSize, SegmentId, Seq, Term, Timestamp, WriterToken};

/// The version of the state file; another one is ignored.
const VERSION: u32 = 1;

/// The newest commit of a history, and its segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) segment: SegmentId,
    pub(crate) segment_digest: [u8; 32],
    /// The term and first seq in the segment's name.
    pub(crate) term: Term,
    pub(crate) first: Seq,
    pub(crate) seq: Seq,
    pub(crate) page_size: PageSize,
    pub(crate) pages: u32,
    pub(crate) digest: Digest,
}

impl Head {
    pub(crate) fn reference(&self) -> SegmentRef {
        SegmentRef { id: self.segment, digest: self.segment_digest }
    }
}

/// A sign that a follower left; see [`crate::repo::write::presence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sign {
    pub(crate) term: Term,
    pub(crate) number: u64,
    /// Whether it said that the follower is gone.
    pub(crate) gone: bool,
}

/// A commit up to which every one was looked at, and marked if that was called for; and what page 1
/// says there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Looked {
    pub(crate) seq: Seq,
    pub(crate) digest: Digest,
    pub(crate) shape: Shape,
}

/// How long to wait for a lock, and how often to look.
const LOCK_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 100 });
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    pub(crate) term: Term,
    pub(crate) token: WriterToken,
    /// Tokens of terms that were about to be claimed. Nothing was published in those terms by this
    /// machine; whoever has a copy of this state may be at work in one of them, and goes on from
    /// `head`, or from what came behind it.
    #[serde(default)]
    pub(crate) claiming: Vec<WriterToken>,
    /// The highest term up to which, from the head's on, only prunes claimed a turn.
    #[serde(default)]
    pub(crate) quiet: Term,
    /// The last sign that a follower was there.
    #[serde(default)]
    pub(crate) sign: Option<Sign>,
    /// Up to where commits were looked at for marks; behind it some may be called for.
    #[serde(default)]
    pub(crate) looked: Option<Looked>,
    /// Segments published since the last upkeep.
    #[serde(default)]
    pub(crate) since_upkeep: u32,
    pub(crate) head: Option<Head>,
    /// The next commit's number is at least this: numbers of lost commits are not used again.
    #[serde(default)]
    pub(crate) at_least: Seq,
    /// Whether the head can't be restored any more: what comes next must not be built on it.
    #[serde(default)]
    pub(crate) head_lost: bool,
    /// The newest head that was acknowledged here: it is on the chain for good.
    #[serde(default)]
    pub(crate) acknowledged: Option<Head>,
    pub(crate) position: Option<Position>,
    /// Whether transactions may have come and gone between the head and the position: they left
    /// nothing that differs.
    #[serde(default)]
    pub(crate) gap: bool,
    /// What was about to be published, and where in the source that ends: a run that dies before it
    /// remembers the new head finds its place all the same.
    #[serde(default)]
    pub(crate) next: Option<(Head, Option<Position>)>,
    /// The database that the history follows on this machine.
    pub(crate) source: String,
    /// When a backup last ran to its end here, in microseconds, whether or not it published
    /// anything.
    pub(crate) last_run: Option<i64>,
}

impl State {
    pub(crate) fn new(term: Term, token: WriterToken, head: Option<Head>) -> Self {
        Self {
            version: VERSION,
            term,
            token,
            claiming: Vec::new(),
            quiet: Term(0),
            sign: None,
            looked: None,
            since_upkeep: 0,
            head,
            at_least: Seq(0),
            head_lost: false,
            acknowledged: None,
            position: None,
            gap: false,
            next: None,
            source: String::new(),
            last_run: None,
        }
    }
}

/// The state directory of one history, locked for writing.
#[derive(Debug)]
pub(crate) struct StateDir {
    dir: PathBuf,
    /// Unlocked when closed.
    lock: File,
    /// The folder is another one, of this run only, since nothing could be written in the right
    /// one. Nothing is lost by that but what a cache is for.
    stand_in: Option<TempDir>,
}

impl StateDir {
    /// Opens and locks the directory, creating it if need be.
    pub(crate) fn lock(history: &History) -> Result<Self> {
        let locked = Self::lock_dir(dir_of(history), &format!("history {:?}", history.name()))?;
        remember_name(history);
        Ok(locked)
    }

    /// As [`StateDir::lock`], of a history that may be gone. `whose` is for the error.
    pub(crate) fn lock_dir(dir: PathBuf, whose: &str) -> Result<Self> {
        let path = dir.join("lock");
        let failed = |e: io::Error| Error::io(e, "cannot be opened", path.display().to_string());
        files::operation("locks its state").map_err(failed)?;
        let lock = match disk::make_dirs(&dir).and_then(|()| files::lock_file(&path)) {
            Ok(lock) => lock,
            Err(e) if takes_nothing(&e) => return Self::in_stand_in().map_err(failed),
            Err(e) => return Err(failed(e)),
        };
        // A child process that was just forked has the file of a lock that was let go, until it
        // runs its program.
        let until = Instant::now() + LOCK_PATIENCE;
        let mut locked = lock.try_lock();
        while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < until && waits() {
            std::thread::sleep(LOCK_PAUSE);
            locked = lock.try_lock();
        }
        match locked {
            Ok(()) => Ok(Self { dir, lock, stand_in: None }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::Busy,
                "is being written by another process on this machine",
            )
            .with_object(whose)
            .with_hint("wait until it is done; a follower goes on until somebody stops it")),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// A folder for this run only, which nobody else knows: whoever can't lock the right one can't
    /// be told from others there, and the turns of the history do without.
    fn in_stand_in() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let lock = files::lock_file(&folder.path().join("lock"))?;
        lock.lock()?;
        Ok(Self { dir: folder.path().to_owned(), lock, stand_in: Some(folder) })
    }

    /// The same lock with a folder for this run only, if nothing can be written here; the error
    /// else.
    pub(crate) fn or_stand_in(self, e: Error) -> Result<Self> {
        if self.stand_in.is_some() || e.kind() != ErrorKind::NoSpace {
            return Err(e);
        }
        let folder = tempfile::tempdir()
            .map_err(|e| Error::io(e, "cannot be created", "a temporary folder"))?;
        Ok(Self { dir: folder.path().to_owned(), lock: self.lock, stand_in: Some(folder) })
    }

    /// Whether nothing that this run remembers outlives it.
    pub(crate) fn is_stand_in(&self) -> bool {
        self.stand_in.is_some()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Shows that a follower is at work whose position is remembered, as long as the answer lives:
    /// see [`is_followed`].
    pub(crate) fn show_following(&self) -> Result<File> {
        let path = self.path("following");
        let show = || {
            let file = files::lock_file(&path)?;
            file.lock()?;
            Ok(file)
        };
        show().map_err(|e: io::Error| Error::io(e, "cannot be locked", path.display().to_string()))
    }

    /// The remembered state; `None` when there is none that this version can use.
    pub(crate) fn read(&self) -> Result<Option<State>> {
        read_from(&self.dir)
    }

    /// Replaces the state. Not durable: a crash of the machine may bring back an older one.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let path = self.path("state");
        let written = serde_json::to_vec_pretty(state)
            .map_err(io::Error::other)
            .and_then(|bytes| files::replace(&path, &bytes));
        written.map_err(|e| Error::io(e, "cannot be written", path.display().to_string()))
    }
}

/// Whether a folder takes nothing that is written: it is full, or can only be read.
fn takes_nothing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Whether a follower is at work, and has remembered a position since it began.
pub(crate) fn is_followed(history: &History) -> Result<bool> {
    // Shared, so that those who ask at the same time don't take each other for the follower.
    is_held(history, "following", File::try_lock_shared)
}

/// Whether somebody holds the lock right now. A child that was just forked may hold one that was
/// let go.
pub(crate) fn is_locked(history: &History) -> Result<bool> {
    is_held(history, "lock", File::try_lock)
}

fn is_held(
    history: &History,
    name: &str,
    try_lock: fn(&File) -> std::result::Result<(), TryLockError>,
) -> Result<bool> {
    let path = dir_of(history).join(name);
    let failed = |e: io::Error| Error::io(e, "cannot be opened", path.display().to_string());
    match files::open(&path) {
        Ok(file) => Ok(matches!(try_lock(&file), Err(TryLockError::WouldBlock))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// Whether this machine captured the newest commit of a history that it knows of, from its database
/// and not from a copy: then it notices by itself if the history is set back.
#[cfg(feature = "cli")]
pub(crate) fn is_captured_here(history: &History) -> bool {
    // What can't be read is not known.
    peek(history).ok().flatten().is_some_and(|state| !state.source.is_empty())
}

/// What this machine remembers, looked at without locking.
pub(crate) fn peek(history: &History) -> Result<Option<State>> {
    read_from(&dir_of(history))
}

pub(crate) fn dir_of(history: &History) -> PathBuf {
    history.repository().state_dir().join(history.id().to_string())
}

/// A history's name, and the database that it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) source: String,
}

/// Remembers what a history is called.
pub(crate) fn remember_name(history: &History) {
    let dir = dir_of(history);
    let about = history.about();
    let known = Known { name: about.name.clone(), source: about.source.clone() };
    if known_from(&dir).as_ref() == Some(&known) {
        return;
    }
    // A machine that can't remember notices less, and works all the same.
    let written = serde_json::to_vec(&known).map_err(io::Error::other);
    let _ = written.and_then(|bytes| files::replace(&dir.join("known"), &bytes));
}

/// A history's name and database, as far as this machine knows.
pub(crate) fn known_from(dir: &Path) -> Option<Known> {
    serde_json::from_slice(&files::read(&dir.join("known")).ok()?).ok()
}

pub(crate) fn read_from(dir: &Path) -> Result<Option<State>> {
    let path = dir.join("state");
    match files::operation("reads its state").and_then(|()| files::read(&path)) {
        // What doesn't parse was cut off by a crash, or is of another version: a cache, so do
        // without.
        Ok(bytes) => Ok(serde_json::from_slice::<State>(&bytes)
            .ok()
            .filter(|state| state.version == VERSION)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(e, "cannot be read", path.display().to_string())),
    }
}

/// Whether this thread may wait. In a simulation nobody else goes on meanwhile.
fn waits() -> bool {
    #[cfg(test)]
    if crate::simulated::world().is_some() {
        return false;
    }
    true
}

/// When a backup of the history last ran to its end on this machine, whether or not there was
/// anything new.
///
/// # Errors
/// When the local state can't be read.
pub fn last_run_here(history: &History) -> Result<Option<Timestamp>> {
    Ok(peek(history)?.and_then(|state| state.last_run).map(Timestamp))
}
