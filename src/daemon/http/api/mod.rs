//! The API: everything that somebody may see and do of a running daemon, as JSON.
//!
//! ```text
//! guard: who asks, and may they?  ->  a handler  ->  the overview, a repository, the supervisor
//!                                 ->  the audit log
//! ```
//!
//! Invariants: nobody is told anything of the daemon before it is known who asks. What changes
//! something, and what
//! shows rows of databases, is in the audit log; where the log takes nothing, the daemon's log has
//! it. A repository that hangs takes a few threads of
//! this server, and nothing else.

mod access;
mod ask;
mod databases;
mod deeds;
mod events;
mod history;
mod jobs;
mod openapi;
mod problem;
mod rows;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use crossbeam_channel::Sender;
use tokio::sync::{Semaphore, watch};

use self::access::{Right, guard};
use self::problem::Problem;
use crate::daemon::access::Access;
use crate::daemon::desk::Message;
use crate::daemon::overview::Board;
use crate::daemon::shelf::Shelf;
use crate::error::{Error, ErrorKind};
use crate::types::Clock;

/// What the paths of the API begin with.
pub(super) const BASE: &str = "/api/v1";

pub(in crate::daemon::http) use self::access::Peer;

/// What handlers need to know.
#[derive(Debug)]
pub(in crate::daemon) struct Api {
    board: Board,
    shelf: Shelf,
    mailbox: Sender<Message>,
    access: Arc<Access>,
    /// The configuration's file.
    file: PathBuf,
    /// The ledger, where past jobs are.
    ledger: PathBuf,
    clock: Clock,
    /// How many may read one repository at once.
    readers: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// How many answers with rows there are, until they are read.
    answers: Arc<Semaphore>,
    /// How many streams of events there are.
    streams: Arc<Semaphore>,
    /// Tells streams that the server ends, and work that nobody waits for it any more.
    ending: watch::Sender<bool>,
    ended: Arc<AtomicBool>,
    /// Those who could not say who they are.
    strangers: access::Strangers,
    /// The number of the last event, and of the last request.
    event: AtomicU64,
    pub(super) request: AtomicU64,
    /// Jobs that were asked for by a key, which begin once.
    keys: tokio::sync::Mutex<jobs::Keys>,
}

/// What an API is made of.
pub(in crate::daemon) struct Means {
    pub(in crate::daemon) board: Board,
    pub(in crate::daemon) shelf: Shelf,
    pub(in crate::daemon) mailbox: Sender<Message>,
    pub(in crate::daemon) file: PathBuf,
    pub(in crate::daemon) ledger: PathBuf,
    pub(in crate::daemon) clock: Clock,
}

impl Api {
    pub(in crate::daemon) fn of(means: Means) -> Arc<Self> {
        let Means { board, shelf, mailbox, file, ledger, clock } = means;
        Arc::new(Self {
            board,
            shelf,
            mailbox,
            access: Arc::new(Access::of(ledger.clone(), clock.clone())),
            file,
            ledger,
            clock,
            readers: Mutex::default(),
            answers: Arc::new(Semaphore::new(rows::ANSWERS)),
            streams: Arc::new(Semaphore::new(events::MOST)),
            ending: watch::Sender::new(false),
            ended: Arc::default(),
            strangers: access::Strangers::default(),
            event: AtomicU64::new(0),
            request: AtomicU64::new(0),
            keys: tokio::sync::Mutex::default(),
        })
    }

    /// Ends whatever is under way.
    pub(in crate::daemon) fn end(&self) {
        self.ended.store(true, std::sync::atomic::Ordering::Relaxed);
        self.ending.send_replace(true);
    }
}

macro_rules! routes {
    ($($right:ident $method:ident $path:literal $handler:path;)+) => {
        /// All that can be asked: how, where, and who may.
        #[cfg(test)]
        const ROUTES: &[(&str, &str, Right)] =
            &[$((stringify!($method), $path, Right::$right)),+];

        /// The API, below its base.
        pub(super) fn routes(api: &Arc<Api>) -> Router {
            Router::new()
                $(.route(
                    $path,
                    $method($handler).layer(from_fn_with_state((api.clone(), Right::$right), guard)),
                ))+
                .fallback(async || unknown())
                .method_not_allowed_fallback(async || not_so())
                .with_state(api.clone())
        }
    };
}

routes! {
    See get "/about" databases::about;
    See get "/openapi.json" openapi::openapi;
    See get "/databases" databases::list;
    See get "/databases/{repository}/{name}" databases::one;
    See get "/databases/{repository}/{name}/commits" history::commits;
    See get "/databases/{repository}/{name}/commit" history::resolve;
    See get "/databases/{repository}/{name}/coverage" history::coverage;
    See get "/databases/{repository}/{name}/timeline" history::timeline;
    Look post "/databases/{repository}/{name}/query" rows::query;
    Operate post "/databases/{repository}/{name}/labels" deeds::label;
    Operate post "/databases/{repository}/{name}/jobs" jobs::begin;
    Operate post "/databases/{repository}/{name}/pause" deeds::pause;
    Operate post "/databases/{repository}/{name}/resume" deeds::resume;
    See get "/jobs" jobs::list;
    See get "/jobs/{id}" jobs::one;
    Operate delete "/jobs/{id}" jobs::cancel;
    See get "/events" events::stream;
    Administer post "/configuration/reload" deeds::reload;
    Administer get "/tokens" access::tokens;
    Administer post "/tokens" access::add;
    Administer delete "/tokens/{name}" access::remove;
    Administer get "/audit" access::audit;
}

fn unknown() -> Problem {
    let error = Error::new(ErrorKind::NotFound, "there is no such path");
    Problem::of(&error.with_hint(format!("{BASE}/openapi.json describes all")))
}

fn not_so() -> Problem {
    let error = Error::new(ErrorKind::Usage, "this path takes another method");
    Problem::of(&error.with_hint(format!("{BASE}/openapi.json describes all"))).with_status(405)
}

#[cfg(test)]
mod tests;
