//! What a service manager is told: that the daemon is ready, how it stands, and that it moves.

use sd_notify::NotifyState;

/// The line to a service manager; without one it does nothing.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    is_ready: bool,
    told: String,
}

impl Systemd {
    /// Tells how it stands. `ready` is whether everything was tried once; `moves`, whether whoever
    /// waits for a sign of life may have one.
    pub(super) fn tell(&mut self, status: String, ready: bool, moves: bool) {
        let mut states = Vec::new();
        if ready && !self.is_ready {
            self.is_ready = true;
            states.push(NotifyState::Ready);
        }
        if moves {
            states.push(NotifyState::Watchdog);
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
