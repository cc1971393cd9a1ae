//! A channel at work: a thread of its own delivers, one message at a time, so that one that hangs
//! delays no other. What was not delivered is tried again, later each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::deliver::deliver;
use super::message::Message;
use crate::daemon::config::Channel;
use crate::daemon::pace::doubled;
use crate::daemon::pool::guarded;
use crate::daemon::words::said;
use crate::error::{Error, Result};
use crate::policy::alert::course::Telling;
use crate::progress::Monitor;
use crate::remedy::Advice;
use crate::types::Timestamp;

/// How long to wait before a delivery that failed is tried again: the first time, and at most.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);

/// What came of a delivery by the channel of a name. The number tells one that is replaced from its
/// successor.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) channel: String,
    number: u64,
    result: Result<String>,
}

/// A channel, and what it is at.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) channel: Channel,
    number: u64,
    messages: Sender<Message>,
    stop: Arc<AtomicBool>,
    /// What is being delivered.
    carries: Option<Vec<Telling>>,
    /// How often in a row it failed, and when it did so last.
    failures: u32,
    failed: Option<Timestamp>,
}

impl Courier {
    /// Starts the thread of a channel. It ends with this, or when what it is at is done.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failure`] when the system starts none.
    pub(super) fn start(
        name: &str,
        channel: Channel,
        number: u64,
        answers: Sender<Delivery>,
    ) -> Result<Self> {
        let (messages, queue) = bounded::<Message>(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (by, told, stopped) = (channel.clone(), name.to_owned(), Stop(stop.clone()));
        let work = move || {
            while let Ok(message) = queue.recv() {
                let result = guarded(|| deliver(&by, &message, &stopped));
                let delivery = Delivery { channel: told.clone(), number, result };
                if answers.send(delivery).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("pagekeep-tell".to_owned()).spawn(work);
        thread.map_err(|e| Error::io(e, "cannot be started", "a thread of the daemon"))?;
        Ok(Self { channel, number, messages, stop, carries: None, failures: 0, failed: None })
    }

    /// Whether it can deliver something now.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        let waits = self.failed.is_some_and(|failed| {
            let wait = doubled(FIRST, self.failures.saturating_sub(1), LONGEST);
            // A clock that was set back ends the wait.
            failed <= now && now < failed.after(wait)
        });
        self.carries.is_none() && !waits
    }

    /// Whether it is at something.
    pub(super) fn is_busy(&self) -> bool {
        self.carries.is_some()
    }

    /// Has a message delivered that tells these.
    pub(super) fn give(&mut self, message: Message, tellings: Vec<Telling>) {
        if self.messages.try_send(message).is_ok() {
            self.carries = Some(tellings);
        }
    }

    /// Takes what came of a delivery. Returns what was told, if it was.
    pub(super) fn heard(&mut self, delivery: Delivery, now: Timestamp) -> Option<Vec<Telling>> {
        if delivery.number != self.number {
            return None;
        }
        let channel = &*delivery.channel;
        let carried = self.carries.take()?;
        match delivery.result {
            Ok(answer) => {
                if self.failures > 0 {
                    tracing::info!(channel, "channel {channel} delivers again");
                }
                tracing::debug!(channel, "delivered {}: {answer}", carried.len());
                (self.failures, self.failed) = (0, None);
                Some(carried)
            }
            Err(e) => {
                if self.failures == 0 {
                    let why = crate::daemon::words::in_words(&e);
                    tracing::error!(
                        channel,
                        "channel {channel} does not deliver: {why}; it is tried again"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                self.failed = Some(now);
                None
            }
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Stops what can be stopped when the courier is let go.
struct Stop(Arc<AtomicBool>);

impl Monitor for Stop {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn warn(&self, message: &str) {
        tracing::warn!("{message}");
    }

    fn advise(&self, advice: &Advice) {
        self.warn(&said(advice));
    }
}
