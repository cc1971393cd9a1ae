//! The embedding API: an application's SQLite database as a state that is kept, every transaction
//! of it.
//!
//! Invariants:
//! - A backup fault never fails the application's own commit. It shows in [`Keeper::status`] and
//!   goes to the callback, and capture resumes by itself.
//! - Nothing of ours is written to the database: no tables, and no pragma that persists, but for a
//!   file that the keeper creates itself, which it puts into WAL mode.
//! - No globals: any number of keepers, for any number of databases, live side by side.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use derive_setters::Setters;
use rusqlite::Connection;

use crate::capture::commit::CaptureOptions;
use crate::capture::follow::{Event, FollowOptions, Follower, Listener, Priority, Status};
use crate::codec::batch::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::apply::report::Applied;
use crate::ops::follow::WatchOptions;
use crate::ops::missing::if_missing;
use crate::ops::point::RestorePoint;
use crate::ops::recover::RecoverOptions;
use crate::ops::rewind::{RewindOptions, Rewound, rewind_capturing};
use crate::ops::undo::UndoOptions;
use crate::progress::{Monitor, Silent};
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::repo::local::place::check_place;
use crate::sqlite::source_error;
use crate::types::Seq;

pub use crate::ops::missing::Missing;

/// Hears what happens: published commits, faults, recoveries. Called from the keeper's threads: to
/// be quick, and not to call the keeper.
pub type Callback = Arc<dyn Fn(&Event) + Send + Sync>;

/// How to keep a database.
#[derive(Clone, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct KeeperOptions {
    /// The history's name; the file's stem if `None`.
    #[setters(into)]
    pub name: Option<String>,
    /// Go on with a history whose database lay elsewhere before.
    pub adopt: bool,
    /// What to do when the database is not there, or is an empty file, though its history has
    /// commits: a new container, a disk that is not mounted. Begun anew, it would become the newest
    /// state.
    pub missing: Missing,
    /// How long to collect commits for one published object; zero to publish each at once.
    pub interval: Duration,
    /// How large the WAL may become in bytes before it is handed off even if that disturbs.
    pub wal_limit: u64,
    /// How many bytes of pages are kept aside while the repository can't be reached; beyond them
    /// single transactions are given up, and a scan captures what they came to.
    pub spool_limit: u64,
    /// How hard to compress.
    pub compression: Compression,
    /// Whether the application goes first when the machine is busy. None of its own threads is
    /// lowered.
    pub priority: Priority,
    /// How long the labels last that states get by themselves before commits that change the schema
    /// or free much of the database; `None` for no such labels.
    #[setters(strip_option = false)]
    pub marks: Option<Duration>,
    /// How long a snapshot or a rewind waits for the repository.
    pub patience: Duration,
    /// Hears what happens.
    pub on_event: Option<Callback>,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        let follow = FollowOptions::default();
        Self {
            name: None,
            adopt: false,
            missing: Missing::default(),
            interval: follow.interval,
            wal_limit: follow.wal_limit,
            spool_limit: follow.spool_limit,
            compression: Compression::default(),
            priority: follow.priority,
            marks: follow.marks,
            patience: Duration::from_secs(60),
            on_event: None,
        }
    }
}

impl fmt::Debug for KeeperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperOptions")
            .field("name", &self.name)
            .field("interval", &self.interval)
            .field("wal_limit", &self.wal_limit)
            .finish_non_exhaustive()
    }
}

/// Keeps one database. Dropping it stops it as [`Keeper::close`] does, without telling how that
/// went.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let (path, state) = (dir.path().join("app.db"), dir.path().join("state"));
/// # let location = dir.path().join("repo").display().to_string();
/// # let secret = pagekeep::Secret::create_key_file(&dir.path().join("key"))?;
/// # let options = pagekeep::RepositoryOptions::new(state);
/// # let repository = pagekeep::Repository::open_or_create(&location, &secret, &options)?;
/// use pagekeep::{Keeper, KeeperOptions, RestoreOptions, Silent};
/// use std::time::Duration;
///
/// let keeper = Keeper::open(&path, repository, KeeperOptions::default())?;
/// let db = keeper.connect()?;                         // a rusqlite connection, as usual
/// db.execute_batch("CREATE TABLE note(text); INSERT INTO note VALUES('first')")?;
/// keeper.wait_durable(Duration::from_secs(30))?;      // everything committed so far is in the repository
///
/// let point = keeper.snapshot("before the migration")?;
/// db.execute("DELETE FROM note", [])?;
/// point.restore(&dir.path().join("a-look-back.db"), &RestoreOptions::default(), &Silent)?;
/// let rewound = keeper.rewind(&point)?;               // `db` stays open, and sees it
/// assert_eq!(db.query_row("SELECT count(*) FROM note", [], |row| row.get(0)), Ok(1));
/// keeper.rewind(&keeper.history().point(rewound.before.seq)?)?; // and that undoes it
/// assert_eq!(db.query_row("SELECT count(*) FROM note", [], |row| row.get(0)), Ok(0));
/// keeper.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    history: History,
    patience: Duration,
    follower: Follower,
}

impl Keeper {
    /// Follows the database at a path from here on. A file that is not there is created, empty and
    /// in WAL mode, if its history has no commit yet; otherwise [`KeeperOptions::missing`] decides.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the file is not there and its history has commits;
    /// [`ErrorKind::Source`] when it can't be read as a database; [`ErrorKind::Busy`] when another
    /// process keeps it; [`ErrorKind::Refused`] when the history belongs to another file;
    /// [`ErrorKind::Damaged`] when its history is gone; store errors.
    pub fn open(
        path: impl AsRef<Path>,
        repository: Repository,
        options: KeeperOptions,
    ) -> Result<Self> {
        // The application may change its working directory later.
        let path = &std::path::absolute(path)
            .map_err(|e| Error::io(e, "is no path", "the database").with_kind(ErrorKind::Usage))?;
        if_missing(
            &repository,
            path,
            options.name.as_deref(),
            options.missing,
            options.adopt,
            &Silent,
        )?;
        create_if_absent(path)?;
        let watch = WatchOptions {
            // What that means was asked above.
            start_empty: true,
            name: options.name,
            adopt: options.adopt,
            // The application that opens its state is the one that counts: one that was here before
            // in another container must not keep it out.
            takeover: true,
            follow: FollowOptions {
                interval: options.interval,
                wal_limit: options.wal_limit,
                spool_limit: options.spool_limit,
                priority: options.priority,
                marks: options.marks,
                capture: CaptureOptions {
                    compression: options.compression,
                    ..CaptureOptions::default()
                },
                ..FollowOptions::default()
            },
        };
        let listener = Arc::new(Telling(options.on_event));
        if let Some(replaced) = check_place(&repository) {
            listener.event(&Event::Warning(replaced.advice().to_string()));
        }
        let (history, follower) = repository.follow(path, watch, listener)?;
        Ok(Self { path: path.to_owned(), history, patience: options.patience, follower })
    }

    /// Opens a connection for the application. Commits on it are captured without delay; those on
    /// other connections, of this process or another, are noticed from outside.
    ///
    /// The connection's `commit_hook` is taken: it wakes the keeper. Without the hook commits are
    /// noticed from outside.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when SQLite can't open the file.
    pub fn connect(&self) -> Result<Connection> {
        let open = || {
            #[allow(unused_mut, reason = "the oldest rusqlite sets a hook on a shared connection")]
            let mut connection = Connection::open(&self.path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            let waker = self.follower.waker();
            // Not the hook of the WAL, which would take the place of SQLite's automatic checkpoint.
            // The commit follows at once, and the keeper looks again and again for a while.
            connection.commit_hook(Some(move || {
                waker.wake();
                false
            }))?;
            Ok(connection)
        };
        open().map_err(|e| {
            source_error(e, "cannot be opened").with_object(self.path.display().to_string())
        })
    }

    /// Waits until everything that was committed before the call, by anybody, is durable in the
    /// repository. Answers the newest of those commits.
    ///
    /// # Errors
    /// After `at_most`: [`ErrorKind::Busy`], or the kind of what keeps it from being stored.
    /// Nothing is lost then; the keeper goes on trying.
    pub fn wait_durable(&self, at_most: Duration) -> Result<Seq> {
        self.follower.wait_durable(at_most)
    }

    /// Calls `done` once everything that was committed before the call, by anybody, is durable in
    /// the repository, with the newest of those commits: for programs that must not block a thread,
    /// such as those with an async runtime, which hand it the sending end of a channel.
    ///
    /// It is called once, from a thread of its own. Of an error it hears when the keeper ended
    /// before; a repository that can't be reached is tried again until it can.
    pub fn on_durable(&self, done: impl FnOnce(Result<Seq>) + Send + 'static) {
        self.follower.on_durable(done);
    }

    /// Makes everything committed so far durable, and gives it a label.
    ///
    /// # Errors
    /// As [`Keeper::wait_durable`]; [`ErrorKind::Usage`] for a label that can't be one.
    pub fn snapshot(&self, label: &str) -> Result<RestorePoint> {
        let seq = self.wait_durable(self.patience)?;
        let point = self.history.point(seq)?;
        point.label(label)?;
        Ok(point)
    }

    /// Makes a point's content the database's present one, as one transaction, while the
    /// application's connections stay open and see it next. The state before is captured and
    /// labelled first, and rewinding to that undoes it.
    ///
    /// The calling thread must not have a transaction open on the database: the rewind waits for
    /// the write lock.
    ///
    /// # Errors
    /// As [`RestorePoint::rewind`]; after an error the database is as it was.
    pub fn rewind(&self, point: &RestorePoint) -> Result<Rewound> {
        self.check_own(point)?;
        rewind_capturing(
            &self.history,
            &self.path,
            point.seq(),
            &RewindOptions::default(),
            &mut |at_most| self.wait_durable(self.patience.min(at_most)),
            &Silent,
        )
    }

    /// Puts back the rows that a point has and the database has not, as one transaction beside the
    /// application, and keeps all that came since. The state before is labelled first, and
    /// [`Keeper::undo`] of the commit that this makes undoes it. Triggers do not run.
    ///
    /// The calling thread must not have a transaction open on the database.
    ///
    /// # Errors
    /// As [`RestorePoint::recover`].
    pub fn recover(&self, point: &RestorePoint, options: &RecoverOptions) -> Result<Applied> {
        self.check_own(point)?;
        let mut capture = |at_most| self.wait_durable(self.patience.min(at_most));
        point.recover_capturing(&self.path, options, &mut capture, &Silent)
    }

    /// Takes back what the commits from one number to another did to rows, as one transaction
    /// beside the application, and keeps all that came since. The state before is labelled first.
    /// Triggers do not run.
    ///
    /// The calling thread must not have a transaction open on the database.
    ///
    /// # Errors
    /// As [`History::undo`].
    pub fn undo(&self, commits: (Seq, Seq), options: &UndoOptions) -> Result<Applied> {
        let mut capture = |at_most| self.wait_durable(self.patience.min(at_most));
        self.history.undo_capturing(&self.path, commits, options, &mut capture, &Silent)
    }

    /// Points of other histories are of other databases.
    fn check_own(&self, point: &RestorePoint) -> Result<()> {
        if point.history().id() == self.history.id() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "is a restore point of another history")
            .with_object(format!("{}@seq:{}", point.history().name(), point.seq())))
    }

    /// How capture stands.
    pub fn status(&self) -> Status {
        self.follower.status()
    }

    /// The history that it keeps.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Makes everything committed durable, and stops.
    ///
    /// # Errors
    /// What kept the last commits from being stored. They are still in the WAL; the next keeper
    /// goes on from there.
    pub fn close(&self) -> Result<()> {
        self.follower.stop()
    }
}

/// Programs hand these from thread to thread, and use them from several at once.
const _: () = {
    const fn are_shared<T: Send + Sync>() {}
    are_shared::<Keeper>();
    are_shared::<Repository>();
    are_shared::<History>();
    are_shared::<RestorePoint>();
};

/// A database of our own making is in WAL mode from the start.
fn create_if_absent(path: &Path) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
        return Ok(());
    }
    let create = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))
    };
    create().map_err(|e: rusqlite::Error| {
        source_error(e, "cannot be created").with_object(path.display().to_string())
    })
}

/// Passes events on to the application.
struct Telling(Option<Callback>);

impl Monitor for Telling {}

impl Listener for Telling {
    fn event(&self, event: &Event) {
        if let Some(callback) = &self.0 {
            callback(event);
        }
    }
}
