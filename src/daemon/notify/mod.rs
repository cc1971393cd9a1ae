//! Who is told how everything stands: alerts go to channels, pings to services outside.
//!
//! ```text
//! board -> what holds -> book of alerts -> couriers, a thread for each channel
//!                              |
//!                            ledger
//! ```
//!
//! One thread looks at the newest overview, and waits for nobody. Invariant: an alert moves on only
//! when a channel delivered it; what was told is remembered, so that a restart repeats nothing and
//! forgets nothing.

mod apprise;
mod chat;
mod command;
mod courier;
mod deliver;
mod facts;
mod guard;
mod http;
mod mail;
mod message;
mod ntfy;
mod ping;
mod telegram;
mod tls;
mod webhook;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use self::courier::{Courier, Delivery};
use self::facts::{Audience, seen, subject};
use self::ping::Pinger;
use super::ledger::{Entry, Scribe};
use super::overview::{Board, Overview};
use super::pool::guarded;
use crate::count::span;
use crate::error::{Error, Result};
use crate::machine::host;
use crate::policy::alert::course::Book;
use crate::policy::alert::{Key, Kind, Subject};
use crate::types::{Clock, Timestamp};

pub(crate) use deliver::deliver;
pub(crate) use message::Message;
pub(crate) use tls::prepare as prepare_tls;

/// How often it is looked whether there is something to tell.
const TICK: Duration = Duration::from_millis(200);
/// How long a daemon that ends waits for deliveries that have begun.
const PATIENCE: Duration = Duration::from_secs(1);
/// By how much a clock is set back at least for somebody to be told.
const BACK: Duration = Duration::from_secs(60);

/// The thread that tells. It ends with this.
#[derive(Debug)]
pub(super) struct Notifier {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What it needs to know.
pub(super) struct Means {
    pub(super) board: Board,
    pub(super) clock: Clock,
    pub(super) ledger: Scribe,
    /// The alerts that were remembered.
    pub(super) alerts: Vec<String>,
    /// The database of the daemon itself, of which single transactions matter to nobody: after each
    /// restart one commit has what was remembered last.
    pub(super) own: PathBuf,
}

impl Notifier {
    /// Starts it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failure`] when the system starts no threads.
    pub(super) fn start(means: Means) -> Result<Self> {
        let (stop, stopped) = unbounded();
        let mut work = Work::new(means);
        let thread =
            std::thread::Builder::new().name("pagekeep-notify".to_owned()).spawn(move || {
                // A panic of ours is told: silence would look as if all were well.
                let ended = guarded(|| {
                    work.run(&stopped);
                    Ok(())
                });
                if let Err(e) = ended {
                    tracing::error!("nobody is told of anything any more: {e}");
                }
            });
        let thread =
            thread.map_err(|e| Error::io(e, "cannot be started", "a thread of the daemon"))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    board: Board,
    clock: Clock,
    ledger: Scribe,
    own: PathBuf,
    host: String,
    book: Book,
    couriers: BTreeMap<String, Courier>,
    /// The number of the next courier.
    next: u64,
    answer: Sender<Delivery>,
    answers: Receiver<Delivery>,
    pinger: Pinger,
    last: Arc<Overview>,
    audience: Audience,
    /// The newest thing that happened to each database and each group, of which the book knows.
    happened: HashMap<(Subject, String), u64>,
}

impl Work {
    fn new(means: Means) -> Self {
        let (book, lost) = Book::of(means.alerts);
        if lost > 0 {
            tracing::warn!("{lost} alerts that were remembered can't be read: they are told again");
        }
        let (answer, answers) = unbounded();
        Self {
            host: host(),
            book,
            couriers: BTreeMap::new(),
            next: 0,
            answer,
            answers,
            pinger: Pinger::new(means.clock.now()),
            last: means.board.newest().map(|(overview, _)| overview).unwrap_or_default(),
            audience: Audience::default(),
            happened: HashMap::new(),
            board: means.board,
            clock: means.clock,
            ledger: means.ledger,
            own: means.own,
        }
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            self.turn();
        }
        self.turn();
        // What is on its way may still arrive.
        let until = Instant::now() + PATIENCE;
        while self.couriers.values().any(Courier::is_busy) {
            let Ok(delivery) = self.answers.recv_deadline(until) else { break };
            self.take(delivery, self.clock.now());
        }
        self.remember();
    }

    /// Looks whether there is something new, and tells it.
    fn turn(&mut self) {
        let Some((overview, _)) = self.board.newest() else { return };
        let now = self.clock.now();
        if !Arc::ptr_eq(&overview, &self.last) {
            self.look(&overview, now);
            self.last = overview;
        }
        self.hear(now);
        self.tell(now);
        self.remember();
    }

    /// Looks at a newer overview.
    fn look(&mut self, overview: &Overview, now: Timestamp) {
        self.engage(overview);
        let manner = &overview.notices.alerts.manner;
        let seen = seen(overview, &self.book.subjects(), now);
        self.book.look(seen, manner, now);
        if overview.at.after(BACK) < self.last.at {
            let back = u64::try_from(self.last.at.0.saturating_sub(overview.at.0) / 1_000_000);
            let why = format!("this machine's clock was set back by {}", span(back.unwrap_or(0)));
            let (subject, kind) = (Subject::Daemon, Kind::WrongClock);
            self.book.happened(Key { subject, kind, detail: String::new() }, why, now);
        }
        let of_databases = overview.databases.iter().map(|view| {
            let is_own = view.path == self.own;
            (subject(view), String::new(), is_own, &*view.happened)
        });
        let of_groups = overview.groups.iter().map(|group| {
            (Subject::Daemon, format!("group {}", group.name), false, &*group.happened)
        });
        let mut known = HashMap::new();
        for (subject, detail, is_own, events) in of_databases.chain(of_groups) {
            let Some(newest) = events.last() else { continue };
            let of = (subject, detail);
            let before = self.happened.get(&of).copied().unwrap_or(0);
            for happened in events.iter().filter(|happened| happened.number > before) {
                let ((subject, detail), kind) = (of.clone(), happened.kind);
                if !(kind == Kind::Gap && is_own) {
                    let key = Key { subject, kind, detail };
                    self.book.happened(key, happened.why.clone(), now);
                }
            }
            known.insert(of, newest.number.max(before));
        }
        // Of what is kept no longer nothing is remembered.
        self.happened = known;
        self.audience = match self.book.is_empty() {
            true => Audience::default(),
            false => Audience::of(overview),
        };
        self.pinger.look(overview);
    }

    /// Has a courier for each channel of the configuration.
    fn engage(&mut self, overview: &Overview) {
        let channels = &overview.notices.channels;
        self.couriers.retain(|name, courier| channels.get(name) == Some(&courier.channel));
        for (name, channel) in channels {
            if self.couriers.contains_key(name) {
                continue;
            }
            self.next += 1;
            match Courier::start(name, channel.clone(), self.next, self.answer.clone()) {
                Ok(courier) => drop(self.couriers.insert(name.clone(), courier)),
                Err(e) => tracing::error!(channel = name, "tells nothing for now: {e}"),
            }
        }
    }

    fn hear(&mut self, now: Timestamp) {
        while let Ok(delivery) = self.answers.try_recv() {
            self.take(delivery, now);
        }
    }

    fn take(&mut self, delivery: Delivery, now: Timestamp) {
        let channel = delivery.channel.clone();
        let told = self.couriers.get_mut(&channel).and_then(|c| c.heard(delivery, now));
        if let Some(told) = told {
            self.book.delivered(&channel, &told, now);
        }
    }

    /// Gives the couriers what is to be told.
    fn tell(&mut self, now: Timestamp) {
        let manner = &self.last.notices.alerts.manner;
        let (book, audience) = (&mut self.book, &self.audience);
        for (name, courier) in &mut self.couriers {
            if !courier.is_ready(now) {
                continue;
            }
            let due = book.due(name, |subject| audience.has(name, subject), manner, now);
            if !due.is_empty() {
                courier.give(Message::of(&due, &self.host, now), due);
            }
        }
        let channels = self.couriers.keys().map(String::as_str);
        book.settle(channels, |channel, subject| audience.has(channel, subject), manner, now);
        self.pinger.go(&self.last, now);
    }

    fn remember(&mut self) {
        for (name, state) in self.book.take_changes() {
            self.ledger.enter(Entry::Alert { name, state });
        }
    }
}
