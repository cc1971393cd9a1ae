//! What the handlers of the API have in common.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::problem::Problem;
use crate::daemon::access::Access;
use crate::daemon::kind::Kind;
use crate::daemon::ledger::key;
use crate::daemon::overview::{Board, DatabaseView, Overview};
use crate::daemon::shelf::Shelf;
use crate::daemon::wanted::{Named, Wisher};
use crate::error::{Error, ErrorKind};
use crate::types::Clock;

/// The name of whoever may open the socket.
pub(super) const OWNER: &str = "the owner";
/// How many streams of events there are at most.
const STREAMS: usize = 256;
/// How many answers with rows there are at most until they are read.
const ANSWERS: usize = 8;
/// How many keys are remembered by which jobs were asked for.
const KEYS: usize = 1000;
/// How many entries an hour those get who were refused.
const STRANGERS: u32 = 100;
const HOUR: Duration = Duration::from_secs(3600);
/// What the ledger is called among those that are asked: by whoever reads it, and by this guard,
/// which nobody who reads keeps waiting.
pub(super) const LEDGER: &str = "the ledger";
pub(super) const DOOR: &str = "the tokens";

/// What the paths of the API begin with.
pub(crate) const BASE: &str = "/api/v1";

/// What handlers need to know.
#[derive(Debug)]
pub(crate) struct Api {
    pub(super) board: Board,
    pub(super) shelf: Shelf,
    pub(super) wisher: Wisher,
    pub(super) access: Arc<Access>,
    /// The configuration's file.
    pub(super) file: PathBuf,
    /// The ledger, where past jobs are.
    pub(super) ledger: PathBuf,
    pub(super) clock: Clock,
    /// How many may read one repository at once.
    pub(super) readers: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// How many answers with rows there are, until they are read.
    pub(super) answers: Arc<Semaphore>,
    /// How many streams of events there are.
    pub(super) streams: Arc<Semaphore>,
    /// Tells streams that the server ends, and work that nobody waits for it any more.
    pub(super) ending: watch::Sender<bool>,
    pub(super) ended: Arc<AtomicBool>,
    /// Those who could not say who they are.
    pub(super) strangers: Strangers,
    /// The number of the last event, and of the last request.
    pub(super) event: AtomicU64,
    pub(crate) request: AtomicU64,
    /// Jobs that were asked for by a key, which begin once.
    pub(super) keys: tokio::sync::Mutex<Keys>,
}

/// What an API is made of.
pub(crate) struct Means {
    pub(crate) board: Board,
    pub(crate) shelf: Shelf,
    pub(crate) wisher: Wisher,
    pub(crate) file: PathBuf,
    pub(crate) ledger: PathBuf,
    pub(crate) clock: Clock,
}

impl Api {
    pub(crate) fn of(means: Means) -> Arc<Self> {
        let Means { board, shelf, wisher, file, ledger, clock } = means;
        Arc::new(Self {
            board,
            shelf,
            wisher,
            access: Arc::new(Access::of(ledger.clone(), clock.clone())),
            file,
            ledger,
            clock,
            readers: Mutex::default(),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            ending: watch::Sender::new(false),
            ended: Arc::default(),
            strangers: Strangers::default(),
            event: AtomicU64::new(0),
            request: AtomicU64::new(0),
            keys: tokio::sync::Mutex::default(),
        })
    }

    /// Ends whatever is under way.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.ending.send_replace(true);
    }
}

impl Api {
    /// How everything stood at the last look.
    pub(super) fn overview(&self) -> Result<Arc<Overview>, Problem> {
        let newest = self.board.newest().map(|(overview, _)| overview);
        newest.ok_or_else(|| {
            let what = "has not looked at its databases yet";
            Error::new(ErrorKind::Interrupted, what).with_object("the daemon").into()
        })
    }
}

/// A database of an overview.
pub(super) fn found<'o>(
    overview: &'o Overview,
    which: &Named,
) -> Result<&'o DatabaseView, Problem> {
    let is_it =
        |view: &&DatabaseView| view.repository == which.repository && view.name == which.name;
    overview.databases.iter().find(is_it).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "is no database of this daemon")
            .with_object(key(&which.repository, &which.name))
            .into()
    })
}

/// How a client came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// By the socket in the state folder, which only this user may open.
    Owner,
    /// By a port or a socket of the configuration, like everybody.
    Anybody,
}

/// How many entries of the audit log are left for those who may not, or could not say who they are:
/// else they would fill it, and what others did would go.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Option<(Instant, u32)>>);

impl Strangers {
    pub(super) fn may_enter(&self) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match since.as_mut().filter(|(began, _)| began.elapsed() < HOUR) {
            Some((_, entered)) => {
                *entered = entered.saturating_add(1);
                *entered <= STRANGERS
            }
            None => {
                *since = Some((Instant::now(), 1));
                true
            }
        }
    }
}

/// Jobs that were asked for by a key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) known: HashMap<String, (u64, Named, Kind)>,
    order: VecDeque<String>,
}

impl Keys {
    pub(super) fn remember(&mut self, key: String, job: (u64, Named, Kind)) {
        if self.order.len() >= KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.known.insert(key, job);
    }
}
