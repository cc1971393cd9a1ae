//! A repository that is open: its identity, its store, its keys, and where this machine keeps what
//! it remembers.

use std::path::PathBuf;
use std::sync::Arc;

use super::keyring::Keys;
use crate::store::Store;
use crate::types::{RepositoryId, Timestamp};

/// A repository that is open. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct Repository(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) id: RepositoryId,
    pub(super) created: Timestamp,
    pub(super) keys: Keys,
    pub(super) state_dir: PathBuf,
}

impl Repository {
    /// The same repository, opened by another process on another machine.
    #[cfg(test)]
    pub(crate) fn elsewhere(&self, store: Arc<dyn Store>, state_dir: PathBuf) -> Self {
        let Inner { id, created, keys, .. } = &*self.0;
        let (id, created, keys) = (*id, *created, keys.again());
        Self(Arc::new(Inner { store, id, created, keys, state_dir }))
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
        self.0.state_dir.join(self.0.id.to_string())
    }
}
