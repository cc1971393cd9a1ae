//! The thread of the server: opens the door, and serves whoever comes in.
//!
//! Invariants: a client may be slow, silent or hostile; it costs a place among [`CLIENTS`] for at
//! most [`LIFE`], and nothing else. A stream of events lasts for as long as its client listens.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::api::state::Api;
use super::lasting::Held;
use super::listen::{Door, Stream};
use super::routes::{Shared, routes};
use crate::daemon::config::HttpConfig;
use crate::daemon::overview::Board;

/// How many clients are served at once.
const CLIENTS: usize = 320;
/// How long a client may take to ask, and to ask again.
const ASKING: Duration = Duration::from_secs(15);
/// How long a connection lasts, and how long then until its last answer is read.
const LIFE: Duration = Duration::from_secs(60);
const LAST: Duration = Duration::from_secs(5);
/// How long answers that are under way have when the server ends.
const GRACE: Duration = Duration::from_millis(300);
/// The longest head of a request, and how many lines it has.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 64;
/// How long to wait before a door that can't be opened is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long to wait after a client that could not be let in.
const BREATH: Duration = Duration::from_millis(200);

/// What the server is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To answer there.
    Serve(HttpConfig),
    /// To wait.
    Nothing,
    /// To end.
    End,
}

/// Does what is wished, until the end is.
pub(super) fn answer(board: Board, api: Arc<Api>, mut wishes: watch::Receiver<Wish>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return tracing::error!("nobody gets an answer over HTTP: {e}"),
    };
    let shared = Shared::of(board, api);
    runtime.block_on(async {
        loop {
            let wish = wishes.borrow_and_update().clone();
            match wish {
                Wish::End => break,
                Wish::Nothing => {
                    if wishes.changed().await.is_err() {
                        break;
                    }
                }
                Wish::Serve(config) => serve(&config, &mut wishes, &shared).await,
            }
        }
    });
    // Whoever asks a repository that hangs is not waited for.
    runtime.shutdown_background();
}

/// Serves until something else is wished.
async fn serve(config: &HttpConfig, wishes: &mut watch::Receiver<Wish>, shared: &Arc<Shared>) {
    let Some(door) = open(config, wishes).await else { return };
    match config.is_own {
        true => tracing::debug!("commands are answered at {}", door.shown()),
        false => tracing::info!("metrics and health are told at {}", door.shown()),
    }
    let mut told = false;
    let router = routes(shared.clone(), &door, config);
    let places = Arc::new(Semaphore::new(CLIENTS));
    let (ends, ending) = watch::channel(());
    let mut clients = JoinSet::new();
    loop {
        let come = async {
            // Who finds no place waits outside, and takes no memory.
            let place = places.clone().acquire_owned().await;
            (place, door.next().await)
        };
        tokio::select! {
            // An error is that the daemon has gone.
            _ = wishes.changed() => break,
            Some(_) = clients.join_next() => {}
            (place, client) = come => match client {
                Ok(stream) => {
                    let held = Held::default();
                    let router = router.clone().layer(Extension(held.clone()));
                    let ending = ending.clone();
                    clients.spawn(async move {
                        let _place = place;
                        entertain(stream, router, held, ending).await;
                    });
                }
                Err(e) => {
                    if !told {
                        tracing::warn!("a client could not be let in: {e}");
                    }
                    told = true;
                    sleep(BREATH).await;
                }
            },
        }
    }
    drop((door, ends));
    let all_left = async { while clients.join_next().await.is_some() {} };
    // Those that are left then are cut off.
    let _ = timeout(GRACE, all_left).await;
}

/// Opens the door, and tries for as long as nothing else is wished.
async fn open(config: &HttpConfig, wishes: &mut watch::Receiver<Wish>) -> Option<Door> {
    let (mut wait, mut told) = (RETRY.0, None);
    loop {
        match Door::open(&config.listen).await {
            Ok(door) => return Some(door),
            Err(e) => {
                let why = e.to_string();
                if told.as_ref() != Some(&why) {
                    let listen = &config.listen;
                    tracing::warn!("nobody gets an answer at {listen}: {why}; it is tried again");
                    told = Some(why);
                }
            }
        }
        tokio::select! {
            _ = wishes.changed() => return None,
            () = sleep(wait) => wait = (wait * 2).min(RETRY.1),
        }
    }
}

/// Serves one client.
async fn entertain(
    stream: Box<dyn Stream>,
    router: Router,
    held: Held,
    mut ending: watch::Receiver<()>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(ASKING);
    builder.max_buf_size(HEAD).max_headers(HEADERS).half_close(false);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What goes wrong with a client is the client's: it asks again.
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ending.changed() => break,
            () = sleep(LIFE) => if !held.0.load(Ordering::Relaxed) { break },
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST, connection).await;
}
