//! The repositories that are open, for threads that read them beside the supervisor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::repo::Repository;

/// The repositories of the configuration, by name; `None` for one that is not open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<BTreeMap<String, Option<Repository>>>>);

impl Shelf {
    /// These are the ones that there are now.
    pub(super) fn put(&self, all: BTreeMap<String, Option<Repository>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// One of them; `None` if there is none of the name.
    pub(crate) fn find(&self, name: &str) -> Option<Option<Repository>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}
