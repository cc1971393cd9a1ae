//! The configuration of a daemon: which databases are kept where, and how.
//!
//! One TOML file is the only source. Invariants: it is taken whole or not at all; what is wrong
//! with it is told with the place, all mistakes at once; secrets are named in it and never stand in
//! it.

mod alerts;
mod channels;
mod databases;
mod files;
mod groups;
mod http;
mod keys;
mod mistake;
mod notify_text;
mod ping;
mod plan;
mod read;
mod repositories;
mod secret;
mod shown;
mod source;
mod text;
mod told;

pub(crate) use alerts::Notices;
pub(crate) use channels::{Channel, Mail, Tls, Way, check_url, read_url};
pub(crate) use databases::{Files, Target};
pub(crate) use groups::Group;
pub(crate) use http::{HttpConfig, Listen};
pub(crate) use mistake::Mistaken;
pub(crate) use ping::Ping;
pub(crate) use plan::{Mode, Plan};
pub(crate) use read::Config;
pub(crate) use repositories::RepositoryConfig;
pub(crate) use secret::SecretSource;
pub(crate) use shown::quoted;
pub(crate) use source::TextSource;

#[cfg(test)]
mod tests;
