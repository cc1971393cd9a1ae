//! What happens to a database, and does not last.

use crate::policy::alert;

/// Something that happened to a database, and does not last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    /// What happened later has a higher number, as long as this process runs.
    pub(crate) number: u64,
    pub(crate) kind: alert::Kind,
    pub(crate) why: String,
}
