//! What a configuration says about alerts, as it is written: see [`super::text`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// The table `[alerts]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AlertsText {
    /// When nothing is told: a part of the day.
    pub(super) quiet: Option<Spanned<String>>,
    /// Whether what is critical is told all the same.
    pub(super) critical_breaks_quiet: Option<bool>,
    /// Whose clock that is, and the digest's.
    pub(super) time_zone: Option<Spanned<String>>,
    /// How long after it was told it is told again: a span, or `never`.
    pub(super) remind: Option<Spanned<String>>,
    /// When notices are told: a schedule, or `never` for at once.
    pub(super) digest: Option<Spanned<String>>,
    /// How many failures in a row are too many.
    pub(super) failures: Option<Spanned<u32>>,
    /// How long something has to hold, or to be over, before it is told: a span.
    pub(super) after: Option<Spanned<String>>,
    /// How much space has to be free: a size, or a percentage.
    pub(super) low_space: Option<Spanned<String>>,
    /// How long what is committed may wait for being stored: a span.
    pub(super) max_lag: Option<Spanned<String>>,
}

/// Who is told from outside that a database is well: a service that tells when it hears nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PingText {
    /// The URL of success; `{name}` stands for the history's name.
    pub(super) url: Option<Spanned<String>>,
    /// A file, a variable or a command that has it.
    pub(super) url_file: Option<Spanned<String>>,
    pub(super) url_env: Option<Spanned<String>>,
    pub(super) url_command: Option<Spanned<String>>,
    /// How often it hears of a database that is followed: a span.
    pub(super) every: Option<Spanned<String>>,
    /// Whether it may be in a private network.
    pub(super) allow_private: Option<bool>,
}

/// A value of a table whose keys depend on one of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum ValueText {
    Text(String),
    Flag(bool),
    Number(i64),
    List(Vec<String>),
}

/// A table whose keys depend on one of them.
pub(super) type TableText = BTreeMap<Spanned<String>, Spanned<ValueText>>;
