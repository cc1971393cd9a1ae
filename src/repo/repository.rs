//! A repository that is open: its identity, its store, its keys, and where this machine keeps what
//! it remembers.

use std::path::PathBuf;
use std::sync::Arc;

use derive_setters::Setters;

use super::keys::keyring::Keys;
use crate::codec::pool::default_threads;
use crate::store::Store;
use crate::types::{Clock, RepositoryId, Timestamp};

/// How a repository is opened: what holds for all that is done with it and with its histories.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct RepositoryOptions {
    /// The state folder: where this machine keeps what it remembers of repositories. It is created
    /// when something is to be remembered. All programs of a machine that write to one history
    /// must name the same folder, since they find each other by it.
    #[setters(into)]
    pub state_dir: PathBuf,
    /// What time it is, wherever a time is stored, compared with one that is stored, or an age is
    /// told. How long something takes and waits is measured without it.
    pub clock: Clock,
    /// Worker threads of one operation; one for each core by default.
    pub threads: usize,
}

impl RepositoryOptions {
    /// The usual way to open a repository, with a state folder.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), clock: Clock::default(), threads: default_threads() }
    }
}

/// A repository that is open. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct Repository(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) id: RepositoryId,
    pub(super) created: Timestamp,
    pub(super) keys: Keys,
    pub(super) options: RepositoryOptions,
}

impl Repository {
    /// The same repository, opened by another process on another machine.
    #[cfg(test)]
    pub(crate) fn elsewhere(&self, store: Arc<dyn Store>, options: RepositoryOptions) -> Self {
        let Inner { id, created, keys, .. } = &*self.0;
        let (id, created, keys) = (*id, *created, keys.again());
        Self(Arc::new(Inner { store, id, created, keys, options }))
    }

    /// The repository's identity.
    pub fn id(&self) -> RepositoryId {
        self.0.id
    }

    /// When it was created.
    pub fn created(&self) -> Timestamp {
        self.0.created
    }

    /// Where it lives.
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// Where this machine keeps what it remembers of the repository.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.0.options.state_dir.join(self.0.id.to_string())
    }

    /// How it was opened.
    pub(crate) fn options(&self) -> &RepositoryOptions {
        &self.0.options
    }

    /// The time, by the clock that it was opened with.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.options.clock.now()
    }

    /// How many worker threads an operation has.
    pub(crate) fn threads(&self) -> usize {
        self.0.options.threads
    }
}
