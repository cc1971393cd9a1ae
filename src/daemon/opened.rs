//! A repository of the configuration: open, or tried again until it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::config::RepositoryConfig;
use super::overview::RepositoryView;
use super::pace::doubled;
use super::room::{At, Gauge};
use super::words::{in_words, said};
use crate::error::{ErrorKind, Result};
use crate::machine::host;
use crate::progress::Monitor;
use crate::remedy::{Advice, way_back};
use crate::repo::catalog::Descriptions;
use crate::repo::history::handle::History;
use crate::repo::local::place::check_place;
use crate::repo::recover::examine;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::metered::{MeteredStore, Traffic};
use crate::store::{Store, open_store};
use crate::types::Clock;

/// How long to wait before one that can't be opened is tried again: the first time, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How long somebody waits for the first answer of one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file in the state folder with what the daemon remembers.
pub(crate) const LEDGER: &str = "daemon.db";
/// The socket in the state folder.
const SOCKET: &str = "daemon.sock";
/// What the name of its history begins with; the name of the machine comes behind it.
pub(crate) const OWN_NAME: &str = "pagekeep-daemon.";

/// Where a daemon keeps what it remembers, and what time it is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// What time it is.
    pub(crate) clock: Clock,
}

impl Place {
    /// The database with what the daemon remembers.
    pub(super) fn ledger(&self) -> PathBuf {
        self.state_dir.join(LEDGER)
    }

    /// The socket by which this user's commands reach the daemon.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state_dir.join(SOCKET)
    }

    /// The name of that one's history: machines that share a repository have one each.
    pub(super) fn own_name(&self) -> String {
        format!("{OWN_NAME}{}", host())
    }
}

/// A repository, and how far it is with being opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) config: RepositoryConfig,
    state: State,
    failures: u32,
    /// Since when it is in the configuration.
    since: Instant,
    /// What histories there were when it was opened, by name: one look at all of them costs as
    /// much as looking for one.
    histories: HashMap<String, Option<History>>,
    /// What was read of them, for whoever begins others.
    described: Arc<Descriptions>,
    /// What keeps it from being opened, told once.
    fault: Option<String>,
    traffic: Arc<Traffic>,
    gauge: Gauge,
    /// Whether what opens it is given up: nobody wants it any more.
    given_up: Arc<AtomicBool>,
    /// Whether it is known to give no answers now, though it was opened.
    pub(super) is_silent: Arc<AtomicBool>,
}

#[derive(Debug)]
enum State {
    /// To be opened then.
    At(Instant),
    Opening,
    Open(Repository),
}

/// What is needed to open one.
pub(super) struct Opening {
    config: RepositoryConfig,
    options: RepositoryOptions,
    told: Telling,
    traffic: Arc<Traffic>,
}

impl Opened {
    pub(super) fn new(config: RepositoryConfig) -> Self {
        Self {
            config,
            state: State::At(Instant::now()),
            failures: 0,
            since: Instant::now(),
            histories: HashMap::new(),
            described: Arc::default(),
            fault: None,
            traffic: Arc::default(),
            gauge: Gauge::default(),
            given_up: Arc::default(),
            is_silent: Arc::default(),
        }
    }

    /// The repository, if it is open.
    pub(super) fn repository(&self) -> Option<Repository> {
        match &self.state {
            State::Open(repository) => Some(repository.clone()),
            _ => None,
        }
    }

    /// How long what is new is collected before it is copied to its mirrors.
    pub(super) fn copy_every(&self) -> Duration {
        self.config.copy_every
    }

    /// What keeps it from being opened, if something does.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// How it stands, under its name in the configuration.
    pub(super) fn view(&self, name: &str) -> RepositoryView {
        RepositoryView {
            name: name.to_owned(),
            location: self.config.location.clone(),
            is_open: self.is_open(),
            traffic: self.traffic.clone(),
            room: self.gauge.look(Path::new(&self.config.location), At::Path),
            fault: self.fault.clone(),
        }
    }

    /// The history of a name, if there was one and only one when the repository was opened.
    pub(super) fn history(&self, name: &str) -> Option<History> {
        self.histories.get(name).cloned().flatten()
    }

    /// Whether it had a history of a name, or several, when it was opened.
    pub(super) fn had(&self, name: &str) -> bool {
        self.histories.contains_key(name)
    }

    /// Whether it was opened once, or could not be, or took too long for anybody to wait for it.
    pub(super) fn has_answered(&self) -> bool {
        let is_open = matches!(self.state, State::Open(_));
        is_open || self.fault.is_some() || self.since.elapsed() > PATIENCE
    }

    /// Takes note of a history that was begun, or found, since it was opened.
    pub(super) fn knows(&mut self, history: &History) {
        if !self.histories.contains_key(history.name()) {
            self.described.remember(history);
            self.histories.insert(history.name().to_owned(), Some(history.clone()));
        }
    }

    /// What was read of its histories.
    pub(super) fn described(&self) -> Arc<Descriptions> {
        self.described.clone()
    }

    /// What is needed to open it, if it is to be opened now. Whoever gets that does it, and
    /// tells by [`Opened::heard`].
    pub(super) fn next(
        &mut self,
        place: &Place,
        threads: Option<usize>,
        stop: &Arc<AtomicBool>,
    ) -> Option<Opening> {
        let State::At(at) = self.state else { return None };
        if at > Instant::now() {
            return None;
        }
        self.state = State::Opening;
        Some(self.opening(place, threads, stop))
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// What is needed to open it, whether it is open or not. An earlier try is given up, with the
    /// command that it may wait for.
    pub(super) fn opening(
        &mut self,
        place: &Place,
        threads: Option<usize>,
        stop: &Arc<AtomicBool>,
    ) -> Opening {
        let mut options = RepositoryOptions::new(&place.state_dir);
        options.clock = place.clock.clone();
        options.threads = threads.unwrap_or(options.threads);
        self.given_up.store(true, Ordering::Relaxed);
        self.given_up = Arc::default();
        let told = Telling { ends: stop.clone(), given_up: self.given_up.clone() };
        let traffic = self.traffic.clone();
        Opening { config: self.config.clone(), options, told, traffic }
    }

    /// Takes what came of opening it.
    pub(super) fn heard(&mut self, name: &str, opened: Result<(Repository, Vec<History>)>) {
        match opened {
            Ok((repository, histories)) => {
                (self.histories, self.described) = (HashMap::new(), Arc::default());
                for history in histories {
                    self.described.remember(&history);
                    // Of several of one name none is meant: whoever asks is told.
                    let name = history.name().to_owned();
                    let known = self.histories.entry(name).or_insert_with(|| Some(history.clone()));
                    *known = known.take().filter(|known| known.id() == history.id());
                }
                tracing::info!(repository = name, "is open at {}", self.config.location);
                (self.failures, self.fault) = (0, None);
                self.state = State::Open(repository);
            }
            Err(e) => {
                let e = match self.config.mirrors.first() {
                    Some(mirror) if e.kind() == ErrorKind::NoRepository => {
                        e.with_hint(way_back(name, mirror))
                    }
                    _ => e,
                };
                let why = in_words(&e);
                if self.fault.as_deref() != Some(&why) {
                    tracing::error!(repository = name, "{why}; it is tried again");
                }
                self.fault = Some(why);
                let wait = doubled(FIRST, self.failures, LONGEST);
                self.failures = self.failures.saturating_add(1);
                let now = Instant::now();
                self.state = State::At(now.checked_add(wait).unwrap_or(now));
            }
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Opening {
    /// Opens it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongKey`], [`crate::ErrorKind::NoRepository`], store errors.
    pub(super) fn open(self) -> Result<(Repository, Vec<History>)> {
        let store = open_store(&self.config.location)?;
        let store: Arc<dyn Store> = Arc::new(MeteredStore::new(store, self.traffic));
        if let Some(e) = examine(&*store)? {
            return Err(e);
        }
        let secret = self.config.secret.read(&self.told)?;
        let repository =
            Repository::open(store, &secret, &self.options).map_err(|e| match e.object() {
                Some(_) => e,
                None => e.with_object(&*self.config.location),
            })?;
        if let Some(replaced) = check_place(&repository) {
            self.told.advise(&replaced.advice());
        }
        let census = repository.census()?;
        census.unreadable.iter().for_each(|e| self.told.warn(&in_words(e)));
        census.absent.iter().for_each(|gone| self.told.warn(&in_words(&gone.error())));
        Ok((repository, census.histories))
    }
}

/// Tells warnings in the log, and stops what takes long when the daemon ends, or when the
/// repository is another one.
struct Telling {
    ends: Arc<AtomicBool>,
    given_up: Arc<AtomicBool>,
}

impl Monitor for Telling {
    fn cancelled(&self) -> bool {
        self.ends.load(Ordering::Relaxed) || self.given_up.load(Ordering::Relaxed)
    }

    fn warn(&self, message: &str) {
        tracing::warn!("{message}");
    }

    fn advise(&self, advice: &Advice) {
        self.warn(&said(advice));
    }
}
