//! Evidence of tests: what was written, and what a file says that was checked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::types::{HistoryId, Timestamp};

/// How many tests ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TestTally {
    /// All of them.
    pub(crate) tests: u64,
    /// What was looked at is sound.
    pub(crate) passed: u64,
    /// Something was found, or an assertion does not hold.
    pub(crate) failed: u64,
    /// It could not be done.
    pub(crate) not_done: u64,
    /// It was stopped.
    pub(crate) stopped: u64,
    /// The daemon ended meanwhile.
    pub(crate) interrupted: u64,
    /// It had not ended when this was written.
    pub(crate) running: u64,
    /// It ended in a way that this version does not know.
    pub(crate) unknown: u64,
}

/// Evidence that was written.
#[derive(Serialize, ToSchema)]
pub(crate) struct EvidenceSummary {
    /// The file.
    pub(crate) file: String,
    /// The name of the history.
    pub(crate) history: String,
    /// Its identity.
    pub(crate) id: HistoryId,
    /// The beginning of the time that it tells of.
    pub(crate) since: Timestamp,
    /// The end of it.
    pub(crate) until: Timestamp,
    /// How the tests ended.
    pub(crate) tally: TestTally,
    /// How many stretches it names that were too long without a test.
    pub(crate) gaps: u64,
    /// The public key of the one that signed it, 64 hex digits.
    pub(crate) public_key: String,
    /// SHA-256 of the whole file.
    pub(crate) sha256: String,
}

/// Evidence that was checked: its signature is right.
#[derive(Serialize, ToSchema)]
pub(crate) struct EvidenceChecked {
    /// The file.
    pub(crate) file: String,
    /// The public key of the one that signed it, 64 hex digits.
    pub(crate) public_key: String,
    /// Whether that is the key that was named; false when none was.
    pub(crate) compared: bool,
    /// SHA-256 of the whole file.
    pub(crate) sha256: String,
    /// What it says; null for a page for people.
    pub(crate) says: Option<EvidenceSays>,
}

/// What evidence says.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EvidenceSays {
    /// The name of the history.
    pub(crate) history: String,
    /// Its identity.
    pub(crate) id: String,
    /// The identity of its repository.
    pub(crate) repository: String,
    /// When it was made, by the clock of the machine.
    pub(crate) made: String,
    /// On which machine.
    pub(crate) host: String,
    /// The beginning of the time that it tells of.
    pub(crate) since: String,
    /// The end of it.
    pub(crate) until: String,
    /// How many restore points of that time there were.
    pub(crate) restore_points: u64,
    /// How the tests ended.
    pub(crate) tally: TestTally,
    /// How many stretches it names that were too long without a test.
    pub(crate) gaps: u64,
    /// How much of what it is made from could not be read.
    pub(crate) unread: u64,
}
