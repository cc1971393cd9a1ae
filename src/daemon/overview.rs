//! How everything stands at a look of the supervisor. The service manager, metrics, alerts and
//! whoever asks are told from this, so that all of them tell the same. It is a copy: whoever reads
//! it holds the supervisor up in nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Notices, Plan};
use super::happened::Happened;
use super::job::Ended;
use super::kind::Kind;
use super::room::Measured;
use super::underway::Far;
use crate::policy::verdict::{Standing, State, Verdict, age};
use crate::store::metered::Traffic;
use crate::types::Timestamp;

/// How everything stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overview {
    /// When it stood so.
    pub(crate) at: Timestamp,
    /// The databases, sorted by their files.
    pub(crate) databases: Vec<DatabaseView>,
    /// The groups, sorted by name.
    pub(crate) groups: Vec<GroupView>,
    /// The repositories, sorted by name.
    pub(crate) repositories: Vec<RepositoryView>,
    /// Who is told of it.
    pub(crate) notices: Arc<Notices>,
    /// Databases whose followers stand still.
    pub(crate) still: Vec<String>,
    /// What was done since the daemon began.
    pub(crate) tally: Tally,
    /// How many databases wait for their turn for a job.
    pub(crate) waiting: usize,
    /// The room in the folders where the daemon writes: of what it remembers, first, and of scratch
    /// files.
    pub(crate) folders: Vec<(PathBuf, Measured)>,
}

/// What a daemon did since it began. No number ever goes down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Commits that followers published.
    pub(crate) commits: u64,
    /// Jobs that ended, by kind and end.
    pub(crate) jobs: BTreeMap<(Kind, Ended), u64>,
}

impl DatabaseView {
    /// Whether a job of a kind runs.
    pub(crate) fn does(&self, kind: Kind) -> bool {
        self.job.is_some_and(|job| job.kind == kind)
    }
}

impl Overview {
    /// How many databases have each verdict.
    pub(crate) fn states(&self) -> BTreeMap<State, usize> {
        let mut states = BTreeMap::new();
        for database in &self.databases {
            *states.entry(database.verdict.state).or_default() += 1;
        }
        states
    }

    /// How many databases something is true of.
    pub(crate) fn count(&self, is: impl Fn(&DatabaseView) -> bool) -> usize {
        self.databases.iter().filter(|database| is(database)).count()
    }
}

/// How a group of databases stands.
#[derive(Clone, Debug)]
pub(crate) struct GroupView {
    pub(crate) name: String,
    /// When one moment of it was last labelled.
    pub(crate) made: Option<Timestamp>,
    /// How the last moment of it that was tried came out.
    pub(crate) run: Option<LastRun>,
    /// Whether one is being made.
    pub(crate) is_running: bool,
    /// What happened lately, oldest first.
    pub(crate) happened: Vec<Happened>,
}

/// How a database stands.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseView {
    pub(crate) path: PathBuf,
    /// The name of its history.
    pub(crate) name: String,
    /// The name of its repository in the configuration.
    pub(crate) repository: String,
    /// How it is kept.
    pub(crate) plan: Arc<Plan>,
    /// What is done to capture it now.
    pub(crate) phase: Phase,
    /// What is known of it.
    pub(crate) standing: Standing,
    /// What that comes to.
    pub(crate) verdict: Verdict,
    /// How far its follower is, if it has one.
    pub(crate) following: Option<Following>,
    /// Commits that its followers published since the daemon began.
    pub(crate) published: u64,
    /// How far its mirrors are.
    pub(crate) copies: Vec<CopyView>,
    /// The job that runs.
    pub(crate) job: Option<JobView>,
    /// Jobs that somebody asked for, and that have not begun: their numbers and kinds.
    pub(crate) wanted: Vec<(u64, Kind)>,
    /// Who paused it, if it is paused.
    pub(crate) paused: Option<Paused>,
    /// How the last job of each kind ended.
    pub(crate) runs: BTreeMap<Kind, LastRun>,
    /// Whether its history is known to have been set back to an earlier state.
    pub(crate) went_back: bool,
    /// What happened lately, oldest first.
    pub(crate) happened: Vec<Happened>,
}

/// A job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobView {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// When it began.
    pub(crate) began: Timestamp,
    /// How far it is, if it can tell.
    pub(crate) far: Option<Far>,
}

/// Who paused a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    /// Somebody, or the configuration.
    pub(crate) by: String,
    /// Since when; the configuration does not tell.
    pub(crate) since: Option<Timestamp>,
}

/// What is done to capture a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing: it is paused, or captured by a schedule.
    Idle,
    /// Nothing now: it is tried again soon.
    Waiting,
    /// Its follower starts, or stops.
    Moving,
    /// It is followed.
    Followed,
    /// All is captured, and it is closed until it changes.
    Asleep,
}

impl Phase {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Idle, Self::Waiting, Self::Moving, Self::Followed, Self::Asleep];

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Moving => "moving",
            Self::Followed => "followed",
            Self::Asleep => "asleep",
        }
    }
}

/// How far a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Following {
    /// Transactions that are captured and not published yet, and how long the oldest waits.
    pub(crate) pending: u64,
    pub(crate) lag: Duration,
    /// Bytes of the WAL's present generation.
    pub(crate) wal_bytes: u64,
    /// How often this follower read the whole database.
    pub(crate) scans: u64,
    /// How long ago it last looked at the WAL, if it follows that now.
    pub(crate) looked: Option<Duration>,
    /// Whether something keeps it from going on, of which it knows.
    pub(crate) has_fault: bool,
}

/// How the last job of a kind ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastRun {
    pub(crate) at: Timestamp,
    pub(crate) ended: Ended,
    pub(crate) message: String,
    /// How many in a row failed or found something.
    pub(crate) failures: u32,
}

/// How far a mirror is with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyView {
    /// The mirror's name in the configuration.
    pub(crate) mirror: String,
    /// When it was last known to have everything; since when it is to have.
    pub(crate) complete: Option<Timestamp>,
    pub(crate) since: Timestamp,
    /// What keeps it from having everything, if something does.
    pub(crate) fault: Option<String>,
}

impl CopyView {
    /// What is to be said of it, if it lacks something for longer than was promised.
    pub(super) fn lateness(&self, max_age: Duration, now: Timestamp) -> Option<String> {
        let whole = self.complete.unwrap_or(self.since);
        if whole.after(max_age) >= now {
            return None;
        }
        let why = self.fault.as_ref().map_or(String::new(), |fault| format!(": {fault}"));
        let (mirror, age) = (&self.mirror, age(whole, now));
        Some(format!("the mirror {mirror} has not had everything for {age}{why}"))
    }
}

/// How a repository stands.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryView {
    /// Its name in the configuration.
    pub(crate) name: String,
    pub(crate) location: String,
    /// Whether it is open.
    pub(crate) is_open: bool,
    /// What went to and from it.
    pub(crate) traffic: Arc<Traffic>,
    /// The room where it is.
    pub(crate) room: Measured,
    /// What keeps it from being opened, if something does.
    pub(crate) fault: Option<String>,
}

/// The newest overview, for other threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    newest: Arc<Overview>,
    /// When that was put up.
    since: Option<Instant>,
}

impl Board {
    /// Puts a newer one up.
    pub(super) fn put(&self, overview: Arc<Overview>) {
        let shown = Shown { newest: overview, since: Some(Instant::now()) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// The newest one, and how long it has been that: none if there never was one.
    pub(crate) fn newest(&self) -> Option<(Arc<Overview>, Duration)> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some((shown.newest.clone(), shown.since?.elapsed()))
    }
}
