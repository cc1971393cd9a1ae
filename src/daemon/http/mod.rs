//! Answers over HTTP: metrics and health for monitors, and the [`api`] for people and programs.
//!
//! Invariants: monitors are answered from the overview that the supervisor puts up, and nothing
//! else of the daemon. So a supervisor that stands still is seen, and no question delays what is
//! kept. Whatever is wrong with it, a port that is taken above all, is told, tried again, and stops
//! nothing else.

#[expect(unused_qualifications, reason = "the macros of utoipa write them")]
pub(super) mod api;
mod health;
mod hosts;
mod lasting;
mod listen;
mod routes;
mod scrape;
mod serve;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use tokio::sync::watch;

use self::api::state::Api;
use super::config::HttpConfig;
use super::overview::Board;
use serve::{Wish, answer};

/// How long a daemon that ends waits for the server at most. It ends by itself before that.
const PATIENCE: Duration = Duration::from_millis(800);

/// The server, and the thread that it runs in once it is wished for.
#[derive(Debug)]
pub(super) struct Server {
    board: Board,
    api: Arc<Api>,
    wishes: watch::Sender<Wish>,
    running: Option<(JoinHandle<()>, Receiver<()>)>,
}

impl Server {
    /// A server that tells what stands on a board, and what an API has; nowhere yet.
    pub(super) fn of(board: Board, api: Arc<Api>) -> Self {
        Self { board, api, wishes: watch::Sender::new(Wish::Nothing), running: None }
    }

    /// Has it answer there from now on, and nowhere else. It need not be able to: it tries.
    pub(super) fn serve(&mut self, config: Option<HttpConfig>) {
        let wish = config.map_or(Wish::Nothing, Wish::Serve);
        let is_new = *self.wishes.borrow() != wish;
        if is_new {
            let is_wanted = matches!(wish, Wish::Serve(_));
            self.wishes.send_replace(wish);
            if is_wanted {
                self.start();
            }
        }
    }

    /// Has it end, soon.
    pub(super) fn stop(&self) {
        self.api.end();
        self.wishes.send_replace(Wish::End);
    }

    fn start(&mut self) {
        if self.running.as_ref().is_some_and(|(thread, _)| !thread.is_finished()) {
            return;
        }
        let (board, api, wishes) = (self.board.clone(), self.api.clone(), self.wishes.subscribe());
        // It is never sent anything: its end tells that of the thread.
        let (ends, ended) = bounded(1);
        let work = move || {
            let _ends = ends;
            answer(board, api, wishes);
        };
        match std::thread::Builder::new().name("pagekeep-http".to_owned()).spawn(work) {
            Ok(thread) => self.running = Some((thread, ended)),
            Err(e) => tracing::error!("nobody gets an answer over HTTP: no thread for it: {e}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some((_, ended)) = self.running.take() {
            // Whether it ended or not, nothing is lost with it.
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}
