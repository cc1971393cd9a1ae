//! How handlers ask: what a request says, repositories that may not answer, and the supervisor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::problem::Problem;
use super::state::{Api, found};
use crate::daemon::pool::guarded;
use crate::daemon::wanted::{Given, Named, Wanted, Wish};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Monitor;
use crate::repo::history::handle::History;

/// What a handler comes to.
pub(super) type Answered = std::result::Result<Response, Problem>;

/// How many may read one repository at once.
const READERS: usize = 4;
/// How long a reader may take, and how long somebody waits for their turn.
const PATIENCE: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_secs(5);
/// How long the supervisor may take. It waits for nobody.
const SOON: Duration = Duration::from_secs(20);
/// The longest body of a request, and how long it may take to come.
const BODY: usize = 1 << 20;
const COMING: Duration = Duration::from_secs(15);

/// An answer as JSON.
pub(super) fn json(answer: &impl Serialize) -> Answered {
    let json = serde_json::to_string(answer)
        .map_err(|e| Error::new(ErrorKind::Failure, "can't be written as JSON").with_source(e))?;
    Ok(([(CONTENT_TYPE, "application/json")], json + "\n").into_response())
}

/// What stands behind the `?` of a request.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Problem> {
        let Query(asked) = Query::try_from_uri(&parts.uri).map_err(|e| {
            let what = format!("can't be understood: {}", e.body_text());
            Problem::of(&Error::new(ErrorKind::Usage, what).with_object("the query"))
        })?;
        Ok(Self(asked))
    }
}

/// What the path of a request names.
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> std::result::Result<Self, Problem> {
        let Path(at) = Path::from_request_parts(parts, state).await.map_err(|e| {
            let what = format!("can't be understood: {}", e.body_text());
            Problem::of(&Error::new(ErrorKind::Usage, what).with_object("the path"))
        })?;
        Ok(Self(at))
    }
}

/// The body of a request, as JSON.
pub(super) struct Told<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Told<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> std::result::Result<Self, Problem> {
        let wrong =
            |what: String| Problem::of(&Error::new(ErrorKind::Usage, what).with_object("the body"));
        let declared = request.headers().get(CONTENT_TYPE).and_then(|t| t.to_str().ok());
        let media = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        // A form of some page in a browser can't send this.
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(wrong("has to be application/json".to_owned()).with_status(415));
        }
        let body = timeout(COMING, to_bytes(request.into_body(), BODY)).await;
        let body = body.map_err(|_| wrong("did not come in time".to_owned()).with_status(408))?;
        let body = body.map_err(|_| {
            wrong(format!("is longer than {BODY} bytes, or broke off")).with_status(413)
        })?;
        let told = serde_json::from_slice(&body)
            .map_err(|e| wrong(format!("can't be understood: {e}")))?;
        Ok(Self(told))
    }
}

/// Ends work when its time is over, or the server ends.
pub(super) struct Until {
    at: Instant,
    ended: Arc<AtomicBool>,
}

impl Monitor for Until {
    fn cancelled(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || Instant::now() >= self.at
    }
}

impl Until {
    /// The same, for a thread that outlives a borrow.
    pub(super) fn stop(&self) -> impl Fn() -> bool + Send + 'static {
        let (at, ended) = (self.at, self.ended.clone());
        move || ended.load(Ordering::Relaxed) || Instant::now() >= at
    }
}

impl Api {
    /// Asks the history of a database of the daemon in a thread of its own: its repository may not
    /// answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        named: Named,
        question: impl FnOnce(&History, &Until) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Problem> {
        // Its repository may have histories that are nobody's business here.
        found(&*self.overview()?, &named)?;
        let repository = match self.shelf.find(&named.repository) {
            Some(Some(repository)) => repository,
            Some(None) => {
                let error = Error::new(ErrorKind::Storage, "is not open")
                    .with_object(format!("repository {}", named.repository));
                return Err(Problem::of(&error.with_hint("the daemon's log says why")));
            }
            None => {
                let error = Error::new(ErrorKind::NotFound, "is not in the configuration")
                    .with_object(format!("repository {}", named.repository));
                return Err(error.into());
            }
        };
        let at = named.repository.clone();
        let work = move |until: &Until| question(&repository.history(&named.name)?, until);
        self.read(&at, work).await
    }

    /// Does what may hang with what `of` names, in a thread of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        of: &str,
        work: impl FnOnce(&Until) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Problem> {
        let readers = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(READERS));
            readers.entry(of.to_owned()).or_insert_with(new).clone()
        };
        let hangs = |what: &str| {
            Problem::of(&Error::new(ErrorKind::Busy, what).with_object(of)).with_status(503)
        };
        let turn = timeout(TURN, readers.acquire_owned()).await;
        let turn = turn.map_err(|_| hangs("is asked by too many at once, or does not answer"))?;
        let until = Until { at: Instant::now() + PATIENCE, ended: self.ended.clone() };
        let working = tokio::task::spawn_blocking(move || {
            // Given back when the work ends, and not when nobody waits any more.
            let _turn = turn;
            guarded(|| work(&until))
        });
        match timeout(PATIENCE + Duration::from_secs(1), working).await {
            Ok(Ok(done)) => done.map_err(Problem::from),
            Ok(Err(_)) => Err(hangs("was given up")),
            Err(_) => Err(hangs("gave no answer in time")),
        }
    }

    /// Has the supervisor do something.
    pub(super) async fn want(&self, wanted: Wanted) -> std::result::Result<Given, Problem> {
        let busy = |what: &str| {
            let error = Error::new(ErrorKind::Interrupted, what).with_object("the daemon");
            Problem::of(&error)
        };
        let (answer, given) = oneshot::channel();
        if !self.wisher.wish(Wish { wanted, answer }) {
            return Err(busy("ends"));
        }
        match timeout(SOON, given).await {
            Ok(Ok(given)) => given.map_err(Problem::from),
            Ok(Err(_)) => Err(busy("ends")),
            Err(_) => Err(busy("stands still")),
        }
    }
}
