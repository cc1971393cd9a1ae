//! What a service manager is told: that the daemon is ready, how it stands, and that it moves.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::progress::LONG;

/// The line to a service manager; without one it does nothing.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    is_ready: bool,
    told: String,
    /// When a sign of life was last given.
    moved: Option<Instant>,
    /// Whether capture stands still, so that none is given.
    is_still: bool,
}

impl Systemd {
    /// Gives a sign of life, once a second, as long as capture makes progress.
    pub(super) fn moves(&mut self) {
        let now = Instant::now();
        if self.is_due(now) {
            self.moved = Some(now);
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }

    /// Whether a sign of life is due.
    fn is_due(&self, now: Instant) -> bool {
        let is_time =
            |moved: Instant| now.saturating_duration_since(moved) >= Duration::from_secs(1);
        !self.is_still && self.moved.is_none_or(is_time)
    }

    /// Hears which databases' followers stand still, and tells it once in the log.
    pub(super) fn progresses(&mut self, still: &[String]) {
        match (still, self.is_still) {
            ([first, ..], false) => tracing::error!(
                database = first,
                "capture stands still for {} min, and knows of no trouble: the service manager gets no sign of life",
                LONG.as_secs() / 60
            ),
            ([], true) => {
                tracing::info!("capture goes on, and the service manager gets signs of life again")
            }
            _ => {}
        }
        self.is_still = !still.is_empty();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_end_while_capture_stands_still_and_begin_again() {
        let mut systemd = Systemd::default();
        let mut now = Instant::now();
        let mut gives = |systemd: &mut Systemd| {
            now += Duration::from_secs(1);
            let is_due = systemd.is_due(now);
            systemd.moved = Some(now);
            is_due && !systemd.is_due(now)
        };
        assert!(gives(&mut systemd));
        systemd.progresses(&["app".to_owned()]);
        assert!(!gives(&mut systemd) && !gives(&mut systemd));
        systemd.progresses(&[]);
        assert!(gives(&mut systemd));
    }
}
