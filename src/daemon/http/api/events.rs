//! One stream of events for whoever watches: which databases stand otherwise than before, and that
//! others came or went. It is a sign to ask again, and holds no more than the newest state.
//!
//! Invariants: a stream ends at once when the server does. One that is slow, or was away, misses
//! states in between, and never the newest: a stream that begins tells how all databases stand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::ask::Answered;
use super::databases::told;
use super::problem::Problem;
use super::state::{Api, DOOR, OWNER};
use crate::api::daemon::{Asker, DaemonDatabase, ProblemDetails};
use crate::daemon::http::lasting::Lasting;
use crate::daemon::ledger::key;
use crate::daemon::overview::Overview;
use crate::error::{Error, ErrorKind};

/// How often it is looked whether the token of a stream still opens.
const ASK: Duration = Duration::from_secs(5);
/// How often to look whether something changed.
const LOOK: Duration = Duration::from_millis(500);
/// After how long something is sent, so that nobody in between takes the stream for dead.
const QUIET: Duration = Duration::from_secs(15);

/// What a stream knows.
struct Watching {
    api: Arc<Api>,
    ending: watch::Receiver<bool>,
    /// What was told of each database, and the overview that it was of.
    told: BTreeMap<String, String>,
    seen: Option<Arc<Overview>>,
    last: Instant,
    /// When its token was last looked for, which the owner does without.
    asked: Instant,
    token: Option<String>,
    _place: OwnedSemaphorePermit,
}

/// What happens from now on, as server-sent events. `database` has how one stands now, `gone` the
/// key of one that is kept no longer; `begin` comes first.
#[utoipa::path(get, path = "/events", responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(asker): Extension<Asker>,
) -> Answered {
    let place = api.streams.clone().try_acquire_owned().map_err(|_| {
        let error = Error::new(ErrorKind::Busy, "there are too many streams of events");
        Problem::of(&error).with_status(503)
    })?;
    let ending = api.ending.subscribe();
    let watching = Watching {
        api,
        ending,
        told: BTreeMap::new(),
        seen: None,
        last: Instant::now(),
        asked: Instant::now(),
        token: (asker.name != OWNER).then_some(asker.name),
        _place: place,
    };
    let begin = Bytes::from_static(b"event: begin\ndata: {}\n\n");
    let events = unfold((Some(begin), watching), |(first, mut watching)| async move {
        let event = match first {
            Some(first) => first,
            None => watching.next().await?,
        };
        Some((Ok::<_, Infallible>(event), (None, watching)))
    });
    let mut response: Response =
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response();
    // Its connection lasts for as long as somebody listens.
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

impl Watching {
    /// The next events, once there are some; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if *self.ending.borrow() || !self.may_go_on().await {
                return None;
            }
            let text = self.news();
            if !text.is_empty() {
                self.last = Instant::now();
                return Some(Bytes::from(text));
            }
            if self.last.elapsed() >= QUIET {
                self.last = Instant::now();
                return Some(Bytes::from_static(b": still here\n\n"));
            }
            tokio::select! {
                // An error is that the server has gone.
                _ = self.ending.changed() => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Whether whoever listens still may.
    async fn may_go_on(&mut self) -> bool {
        let Some(name) = self.token.clone().filter(|_| self.asked.elapsed() >= ASK) else {
            return true;
        };
        self.asked = Instant::now();
        let access = self.api.access.clone();
        // Whoever can't be known any more asks anew.
        self.api.read(DOOR, move |_| access.opens(&name)).await.unwrap_or(false)
    }

    /// What is otherwise than it was told.
    fn news(&mut self) -> String {
        let Some((overview, _)) = self.api.board.newest() else { return String::new() };
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &overview)) {
            return String::new();
        }
        let mut text = String::new();
        let mut known = std::mem::take(&mut self.told);
        for view in &overview.databases {
            let key = key(&view.repository, &view.name);
            let mut database = told(view);
            // Texts and numbers can always be written.
            let Ok(now) = serde_json::to_string(&database) else { continue };
            still(&mut database);
            let Ok(lasting) = serde_json::to_string(&database) else { continue };
            if known.remove(&key).as_ref() != Some(&lasting) {
                self.event("database", &now, &mut text);
            }
            self.told.insert(key, lasting);
        }
        for key in known.into_keys() {
            let Ok(json) = serde_json::to_string(&key) else { continue };
            self.event("gone", &json, &mut text);
        }
        self.seen = Some(overview);
        text
    }

    fn event(&self, kind: &str, json: &str, text: &mut String) {
        let id = self.api.event.fetch_add(1, Ordering::Relaxed) + 1;
        text.push_str(&format!("id: {id}\nevent: {kind}\ndata: {json}\n\n"));
    }
}

/// Leaves out what moves with the clock alone: that all is well still is no event.
fn still(database: &mut DaemonDatabase) {
    (database.stored, database.lag_seconds) = (None, None);
    database.mirrors.iter_mut().for_each(|mirror| mirror.complete = None);
    database.verdict.why.clear();
}
