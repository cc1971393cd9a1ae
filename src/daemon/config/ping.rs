//! Who is told from outside that a database is well.

use std::time::Duration;

use super::source::TextSource;

/// A service that is told that a database is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) url: TextSource,
    /// How often it hears of a database that is followed.
    pub(crate) every: Duration,
    pub(crate) allow_private: bool,
}
