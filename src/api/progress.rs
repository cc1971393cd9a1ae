//! How far long work is.

use serde::Serialize;
use utoipa::ToSchema;

use crate::progress::Phase;

/// How far a phase of the work is: one line when it begins, and then at most two a second.
#[derive(Serialize, ToSchema)]
pub(crate) struct Progress {
    /// The phase.
    phase: Phase,
    /// Bytes of database pages that are done.
    done_bytes: u64,
    /// Bytes of database pages that there are to do; null if that is not known.
    total_bytes: Option<u64>,
    /// Bytes done in each second, on average of the phase.
    bytes_per_second: u64,
    /// Seconds that are left at this rate; null if that can't be told.
    eta_seconds: Option<u64>,
}

impl Progress {
    /// So far is a phase that comes on at a rate.
    pub(crate) fn of(phase: Phase, done: u64, total: Option<u64>, rate: u64) -> Self {
        let left = total.map(|total| total.saturating_sub(done));
        Self {
            phase,
            done_bytes: done,
            total_bytes: total,
            bytes_per_second: rate,
            eta_seconds: left.and_then(|left| left.checked_div(rate)),
        }
    }
}
