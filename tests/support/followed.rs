//! What the tests share that follow a database: its application, a follower that publishes at once, and who listens to it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pagekeep::internals::capture::follow::{Event, FollowOptions, Follower, Listener};
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::progress::Monitor;
use pagekeep::internals::repo::Repository;
use rusqlite::Connection;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what it hears that is no news of a commit: of those there may be millions.
#[derive(Default)]
pub struct Ear(Mutex<Vec<Event>>);

impl Monitor for Ear {}

impl Listener for Ear {
    fn event(&self, event: &Event) {
        if !matches!(event, Event::Published { .. }) {
            self.0.lock().unwrap().push(event.clone());
        }
    }
}

impl Ear {
    /// How many such events there were.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }

    /// All that was heard.
    pub fn heard(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

/// An application in WAL mode, with a table `t(id, x)`.
pub fn app(path: &Path) -> Connection {
    let app = Connection::open(path).unwrap();
    app.busy_timeout(Duration::from_secs(10)).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)",
    )
    .unwrap();
    app
}

/// What is captured is published without waiting for more.
pub fn at_once() -> FollowOptions {
    FollowOptions { interval: Duration::ZERO, ..FollowOptions::default() }
}

pub fn start(repository: &Repository, path: &Path, options: FollowOptions) -> (Follower, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let options = WatchOptions { follow: options, ..WatchOptions::default() };
    let (_, follower) = repository.follow(path, options, ear.clone()).unwrap();
    (follower, ear)
}
