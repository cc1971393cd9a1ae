//! What can be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::api;
use super::api::state::{Api, BASE, Peer};
use super::health::{Health, is_ready, lives};
use super::hosts::Hosts;
use super::lasting::{Held, Lasting};
use super::listen::Door;
use super::scrape::Pages;
use crate::daemon::config::HttpConfig;
use crate::daemon::metrics::{self, Besides};
use crate::daemon::overview::Board;

/// What there is, for whoever looks in.
const INDEX: &str = "pagekeep
/metrics   for Prometheus
/healthz   whether the daemon lives
/readyz    whether its repositories are open, and it looked at its databases
/api/v1    everything else, for whoever has a token: /api/v1/openapi.json describes it
";

/// The number of a request, as the log has it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The codes that are counted; any other one counts as the last.
const CODES: [(u16, &str); 17] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (415, "415"),
    (421, "421"),
    (424, "424"),
    (500, "500"),
    (503, "503"),
];

/// What answers need to know.
#[derive(Debug)]
pub(super) struct Shared {
    board: Board,
    api: Arc<Api>,
    began: Instant,
    pages: Pages,
    answers: [AtomicU64; CODES.len()],
    /// Whether it was told that somebody asked by a name that is not known.
    told: AtomicBool,
}

impl Shared {
    /// Whatever stands on a board, and what an API has.
    pub(super) fn of(board: Board, api: Arc<Api>) -> Arc<Self> {
        Arc::new(Self {
            board,
            api,
            began: Instant::now(),
            pages: Pages::default(),
            answers: [const { AtomicU64::new(0) }; CODES.len()],
            told: AtomicBool::new(false),
        })
    }

    fn count(&self, code: u16) {
        let at = CODES.iter().position(|(known, _)| *known == code).unwrap_or(CODES.len() - 1);
        if let Some(counter) = self.answers.get(at) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted(&self) -> Besides {
        let counters = CODES.iter().zip(&self.answers);
        let answers = counters.map(|((_, name), n)| (*name, n.load(Ordering::Relaxed))).collect();
        Besides { answers }
    }
}

/// All that can be asked at a door, by whoever knows a name of this machine.
pub(super) fn routes(shared: Arc<Shared>, door: &Door, config: &HttpConfig) -> Router {
    let guard = from_fn_with_state((shared.clone(), Arc::new(door.hosts(config))), guarded);
    let peer = if config.is_own { Peer::Owner } else { Peer::Anybody };
    let monitors = Router::new()
        .route("/", get(async || text(INDEX)))
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || (StatusCode::NOT_FOUND, text("there is no such page: / lists all\n")))
        .with_state(shared.clone());
    let all = match config.metrics_only {
        true => monitors,
        false => monitors.nest(BASE, api::routes(&shared.api)),
    };
    // Behind all that they are to cover.
    all.layer(Extension(peer)).layer(guard)
}

/// Refuses whoever asks by a name that is not known; counts, and tells the log.
async fn guarded(
    State((shared, hosts)): State<(Arc<Shared>, Arc<Hosts>)>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let held = request.extensions().get::<Held>().cloned();
    let id = shared.api.request.fetch_add(1, Ordering::Relaxed) + 1;
    let asked = shown(&request);
    let mut response = match unknown_host(&request, &hosts) {
        None => next.run(request).await,
        Some(host) => {
            if !shared.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    request = id,
                    "a client asked by the name {host:?}, which `hosts` of [http] does not have: it gets no answer"
                );
            }
            (StatusCode::MISDIRECTED_REQUEST, text(MISDIRECTED)).into_response()
        }
    };
    if let (Some(held), Some(Lasting)) = (held, response.extensions().get()) {
        held.0.store(true, Ordering::Relaxed);
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::from(id));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let code = response.status().as_u16();
    shared.count(code);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(request = id, code, micros, "{asked}: {code}");
    response
}

const MISDIRECTED: &str = "this name is not known here: ask by an address or as localhost, or add the name to `hosts` \
                           of [http] in the configuration\n";

/// What was asked, short enough for a log.
fn shown(request: &Request) -> String {
    let path: String = request.uri().path().chars().take(80).collect();
    format!("{} {path}", request.method())
}

/// The name by which it was asked, if that is not known. A request of HTTP/1.0 need not have one;
/// browsers send it always.
fn unknown_host(request: &Request, hosts: &Hosts) -> Option<String> {
    let short = |host: &str| host.chars().take(80).collect::<String>();
    let mut names = request.headers().get_all(HOST).iter();
    let (first, second) = (names.next(), names.next());
    let named = match (first, second) {
        (Some(name), None) => Some(name.to_str().unwrap_or_default()),
        (None, None) if request.version() == Version::HTTP_10 => None,
        (None, None) if request.uri().authority().is_some() => None,
        // None where there has to be one, or several.
        _ => Some(""),
    };
    let by_uri = request.uri().authority().map(|authority| authority.as_str());
    let mut unknown = named.into_iter().chain(by_uri).filter(|name| !hosts.know(name));
    unknown.next().map(short)
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    let Some((overview, _)) = shared.board.newest() else {
        let why = "the daemon has not looked at its databases yet\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text(why)).into_response();
    };
    match shared.pages.page(&overview, &shared.counted(), Instant::now()) {
        Some(page) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], Body::from(page)).into_response(),
        None => {
            let why = "too many clients read their answers slowly\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], text(why)).into_response()
        }
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let newest = shared.board.newest();
    let seen = newest.as_ref().map(|(overview, ago)| (&**overview, *ago));
    told(&lives(seen, shared.began.elapsed()))
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let newest = shared.board.newest();
    let seen = newest.as_ref().map(|(overview, ago)| (&**overview, *ago));
    told(&is_ready(seen, shared.began.elapsed()))
}

fn told(health: &Health) -> Response {
    let code = if health.is_well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(health) {
        Ok(json) => (code, [(CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        // Texts can always be written.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}
