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
pub(crate) mod state;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

use self::access::{Right, guard};
use self::problem::Problem;
use self::state::{Api, BASE};
use crate::error::{Error, ErrorKind};

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
