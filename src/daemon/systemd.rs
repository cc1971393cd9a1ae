//! What a service manager is told: that the daemon is ready, how it stands, and that it moves.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The line to a service manager; without one it does nothing.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    is_ready: bool,
    told: String,
    /// When a sign of life was last given.
    moved: Option<Instant>,
}

impl Systemd {
    /// Gives a sign of life, once a second.
    pub(super) fn moves(&mut self) {
        if self.moved.is_none_or(|moved| moved.elapsed() >= Duration::from_secs(1)) {
            self.moved = Some(Instant::now());
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }

    /// Tells how it stands, and whether it is ready.
    pub(super) fn tell(&mut self, status: String, ready: bool) {
        let mut states = Vec::new();
        if ready && !self.is_ready {
            self.is_ready = true;
            states.push(NotifyState::Ready);
        }
        if self.told != status {
            states.push(NotifyState::Status(&status));
        }
        // Where nobody listens nothing is sent.
        let _ = sd_notify::notify(&states);
        self.told = status;
    }

    /// Tells that it ends.
    pub(super) fn stopping(&self) {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }
}
