//! Long work of a follower: told to whoever listens, and ended when the follower's time is over.

use super::shared::Shared;
use super::status::{Event, Listener};
use crate::progress::{Monitor, Phase};
/// A listener that stops long work when a follower that is to stop has had its time.
pub(super) struct Stopping<'a> {
    pub(super) listener: &'a dyn Listener,
    pub(super) shared: &'a Shared,
}

impl Monitor for Stopping<'_> {
    fn phase(&self, phase: Phase, total: Option<u64>) {
        self.listener.phase(phase, total);
    }

    fn advance(&self, bytes: u64) {
        self.listener.advance(bytes);
    }

    fn warn(&self, message: &str) {
        self.listener.event(&Event::Warning(message.to_owned()));
    }

    fn cancelled(&self) -> bool {
        self.shared.lock().is_overdue()
    }
}
