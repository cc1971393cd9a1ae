//! How to follow.

use std::time::Duration;

use super::priority::Priority;
use crate::capture::commit::CaptureOptions;
use crate::policy::mark::LASTS;

/// How to follow.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// How long to collect commits for one published object; zero to publish each at once.
    pub interval: Duration,
    /// The WAL is handed off at this size in bytes, even if that disturbs.
    pub wal_limit: u64,
    /// How many bytes of pages are kept aside while the repository can't be reached, before a scan
    /// has to do.
    pub spool_limit: u64,
    /// How long a follower that is told to stop goes on trying to reach the repository.
    pub stop_patience: Duration,
    /// Whether the application goes first when the machine is busy.
    pub priority: Priority,
    /// How long the marks last that states get by themselves before commits that matter; `None` for
    /// no marks.
    pub marks: Option<Duration>,
    /// How to compress.
    pub capture: CaptureOptions,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            wal_limit: 64 * 1024 * 1024,
            spool_limit: 1024 * 1024 * 1024,
            stop_patience: Duration::from_secs(5),
            priority: Priority::default(),
            marks: Some(LASTS),
            capture: CaptureOptions::default(),
        }
    }
}
