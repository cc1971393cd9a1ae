//! The channels of a daemon's configuration, and whether they work.

use serde::Serialize;
use utoipa::ToSchema;

/// A channel by which a daemon tells people.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotifyChannel {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// `webhook`, `command`, `ntfy`, `slack`, `mattermost`, `discord`, `telegram`, `mail` or
    /// `apprise`.
    pub(crate) kind: String,
    /// Whether its target may be in a private network.
    pub(crate) allow_private: bool,
    /// Entries of the configuration whose databases it is told of.
    pub(crate) entries: u64,
}

/// A test of a channel that arrived.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotifyTestSummary {
    /// The channel's name.
    pub(crate) channel: String,
    /// Its kind.
    pub(crate) kind: String,
    /// What the other side answered.
    pub(crate) answer: String,
    /// How long it took.
    pub(crate) seconds: f64,
}
