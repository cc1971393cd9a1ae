//! Pings: a service outside hears that a database is kept, and tells somebody when it hears
//! nothing. So it also tells of a machine that is off, and of a daemon that is not there.
//!
//! Invariant: success is never told of what is not stored. Of several that are to be told the
//! newest counts, so a service that was not reached hears how it is now.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::http::Post;
use super::message::cleaned;
use crate::daemon::config::{Mode, Ping, read_url};
use crate::daemon::job::Ended;
use crate::daemon::kind::Kind;
use crate::daemon::overview::{DatabaseView, Overview};
use crate::daemon::pace::doubled;
use crate::daemon::pool::guarded;
use crate::daemon::words::in_words;
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::types::Timestamp;

/// How many are told at once.
const THREADS: usize = 4;
/// How many wait for that.
const QUEUE: usize = 64;
/// How long to wait before a ping that failed is tried again: the first time, and at most.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// The longest text that is sent along.
const TEXT: usize = 2000;
/// How long ago all may have been stored for a database to be well.
const FRESH: Duration = Duration::from_secs(60);

/// What a service is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Start,
    Success(String),
    Failure(String),
}

impl Sign {
    /// What is put behind the URL's path.
    const fn path(&self) -> &'static str {
        match self {
            Self::Start => "/start",
            Self::Success(_) => "",
            Self::Failure(_) => "/fail",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Start => "",
            Self::Success(text) | Self::Failure(text) => text,
        }
    }
}

/// What a database's service was told, and is to be told.
#[derive(Debug, Default)]
struct Pinged {
    /// The job that was running when last looked at, and when the last one ended.
    running: bool,
    ended: Option<Timestamp>,
    /// When it was last told how a database is that is followed, and whether it was well.
    told: Option<(Timestamp, bool)>,
    waiting: Option<Sign>,
    is_busy: bool,
    failures: u32,
    failed: Option<Timestamp>,
}

/// A ping on its way.
struct Trip {
    path: PathBuf,
    name: String,
    ping: Ping,
    sign: Sign,
}

/// What came of a ping.
type Answer = (PathBuf, Sign, Result<String>);

/// Whoever pings.
#[derive(Debug)]
pub(super) struct Pinger {
    /// The threads' queue, once there are threads.
    trips: Option<Sender<Trip>>,
    answer: Sender<Answer>,
    answers: Receiver<Answer>,
    pinged: HashMap<PathBuf, Pinged>,
    /// When the daemon began.
    began: Timestamp,
}

impl std::fmt::Debug for Trip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trip").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pinger {
    /// One that has no threads yet. `began` is when the daemon did.
    pub(super) fn new(began: Timestamp) -> Self {
        let (answer, answers) = unbounded();
        Self { trips: None, answer, answers, pinged: HashMap::new(), began }
    }

    /// Starts the threads, which end with this.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failure`] when the system starts none.
    fn start(&self) -> Result<Sender<Trip>> {
        let (trips, queue) = bounded::<Trip>(QUEUE);
        for _ in 0..THREADS {
            let (queue, answer) = (queue.clone(), self.answer.clone());
            let work = move || {
                while let Ok(trip) = queue.recv() {
                    let result = guarded(|| send(&trip.ping, &trip.name, &trip.sign));
                    if answer.send((trip.path, trip.sign, result)).is_err() {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().name("pagekeep-ping".to_owned()).spawn(work);
            thread.map_err(|e| Error::io(e, "cannot be started", "a thread of the daemon"))?;
        }
        Ok(trips)
    }

    /// Looks at how databases are.
    pub(super) fn look(&mut self, overview: &Overview) {
        if !self.pinged.is_empty() {
            let there: HashSet<&PathBuf> = overview.databases.iter().map(|v| &v.path).collect();
            self.pinged.retain(|path, _| there.contains(path));
        }
        for view in &overview.databases {
            let Some(ping) = view.plan.ping.as_ref().filter(|_| view.paused.is_none()) else {
                continue;
            };
            let pinged = self.pinged.entry(view.path.clone()).or_default();
            let sign = match view.plan.mode {
                Mode::Follow { .. } => pinged.of_state(view, ping, overview.at),
                Mode::Snapshots(_) => pinged.of_jobs(view, self.began),
            };
            if let Some(sign) = sign {
                (pinged.waiting, pinged.failed) = (Some(sign), None);
            }
        }
    }

    /// Sends what waits, and takes answers.
    pub(super) fn go(&mut self, overview: &Overview, now: Timestamp) {
        while let Ok((path, sign, result)) = self.answers.try_recv() {
            let Some(pinged) = self.pinged.get_mut(&path) else { continue };
            pinged.is_busy = false;
            match result {
                Ok(_) => (pinged.failures, pinged.failed) = (0, None),
                Err(e) => {
                    if pinged.failures == 0 {
                        let path = path.display();
                        tracing::warn!(
                            "{path}: its ping fails: {}; it is tried again",
                            in_words(&e)
                        );
                    }
                    pinged.failures = pinged.failures.saturating_add(1);
                    pinged.failed = Some(now);
                    // Unless there is something newer.
                    pinged.waiting.get_or_insert(sign);
                }
            }
        }
        if self.pinged.is_empty() {
            return;
        }
        if self.trips.is_none() {
            match self.start() {
                Ok(trips) => self.trips = Some(trips),
                Err(e) => return tracing::error!("nobody is pinged for now: {e}"),
            }
        }
        let Some(trips) = &self.trips else { return };
        for view in &overview.databases {
            let (Some(ping), Some(pinged)) =
                (view.plan.ping.as_ref(), self.pinged.get_mut(&view.path))
            else {
                continue;
            };
            let waits = pinged.failed.is_some_and(|failed| {
                let wait = doubled(FIRST, pinged.failures.saturating_sub(1), LONGEST);
                failed <= now && now < failed.after(wait)
            });
            if pinged.is_busy || waits {
                continue;
            }
            let Some(sign) = pinged.waiting.take() else { continue };
            let (path, name) = (view.path.clone(), view.name.clone());
            let trip = Trip { path, name, ping: ping.clone(), sign: sign.clone() };
            match trips.try_send(trip) {
                Ok(()) => pinged.is_busy = true,
                Err(_) => pinged.waiting = Some(sign),
            }
        }
    }
}

impl Pinged {
    /// What is told of a database that is captured by jobs: each beginning and each end.
    fn of_jobs(&mut self, view: &DatabaseView, began_at: Timestamp) -> Option<Sign> {
        let began = view.does(Kind::Backup) && !self.running;
        self.running = view.does(Kind::Backup);
        let last = view.runs.get(&Kind::Backup);
        let ended = last.filter(|run| self.ended != Some(run.at));
        if let Some(run) = ended {
            self.ended = Some(run.at);
            // What an earlier daemon did that one told.
            if run.at < began_at {
                return None;
            }
            let text = cleaned(&run.message, TEXT);
            return Some(match run.ended {
                Ended::Well => Sign::Success(text),
                _ => Sign::Failure(text),
            });
        }
        began.then_some(Sign::Start)
    }

    /// What is told of a database that is followed: now and then that it is well, and at once that
    /// it is not.
    fn of_state(&mut self, view: &DatabaseView, ping: &Ping, now: Timestamp) -> Option<Sign> {
        let standing = &view.standing;
        let why = standing.damage.as_ref().or(standing.fault.as_ref());
        let is_fresh = standing.stored.is_some_and(|stored| stored.after(FRESH) >= now);
        let sign = match why {
            Some(why) => Sign::Failure(cleaned(why, TEXT)),
            None if is_fresh => Sign::Success("all is stored".to_owned()),
            // It is busy: nothing is told of what is not known.
            None => return None,
        };
        let is_well = matches!(sign, Sign::Success(_));
        let is_due = self.told.is_none_or(|(at, was_well)| {
            was_well != is_well || at > now || at.after(ping.every) <= now
        });
        if !is_due {
            return None;
        }
        self.told = Some((now, is_well));
        Some(sign)
    }
}

/// Tells a service.
fn send(ping: &Ping, name: &str, sign: &Sign) -> Result<String> {
    let url = read_url(&ping.url, &Silent)?;
    let url = aimed(&url, name, sign.path());
    let (content_type, headers) = ("text/plain; charset=utf-8", Vec::new());
    let allow_private = ping.allow_private;
    Post { url: &url, content_type, headers, body: sign.text(), allow_private }.send()
}

/// The URL of a sign: in its path, before what is asked for.
fn aimed(url: &str, name: &str, path: &str) -> String {
    let url = url.replace("{name}", &encoded(name));
    match url.split_once('?') {
        Some((before, query)) => format!("{}{path}?{query}", before.trim_end_matches('/')),
        None if path.is_empty() => url,
        None => format!("{}{path}", url.trim_end_matches('/')),
    }
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => {
                text.push(char::from(b));
            }
            b => text.push_str(&format!("%{b:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_in_the_path() {
        for (url, path, aimed_at) in [
            ("https://hc-ping.com/uuid", "/start", "https://hc-ping.com/uuid/start"),
            ("https://hc-ping.com/key/{name}", "/fail", "https://hc-ping.com/key/a%2Fb/fail"),
            ("https://x.io/ping/?a=1", "/fail", "https://x.io/ping/fail?a=1"),
            ("https://x.io/ping/", "", "https://x.io/ping/"),
        ] {
            assert_eq!(aimed(url, "a/b", path), aimed_at);
        }
    }
}
