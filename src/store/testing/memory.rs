//! Objects in memory, for tests and for trying things out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::store::contract::{
    Created, Entry, Store, Upload, already_there, check_name, check_prefix, too_large,
};
use crate::types::{Clock, Timestamp};

/// An object, and when it was created.
type Object = (Arc<[u8]>, Timestamp);
type Objects = BTreeMap<String, Object>;

/// A [`Store`] in memory. Clones share the objects.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<Objects>>,
    clock: Clock,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose objects are as old as a clock says.
    pub fn with_clock(clock: Clock) -> Self {
        Self { objects: Arc::default(), clock }
    }

    /// Replaces an object, or creates it: what no [`Store`] can do, and what damage does.
    pub fn damage(&self, name: &str, bytes: &[u8]) {
        self.lock().insert(name.to_owned(), (bytes.into(), self.clock.now()));
    }

    /// The same objects in a store of their own, whose objects are as old as a clock says.
    #[cfg(test)]
    pub(crate) fn branch(&self, clock: Clock) -> Self {
        Self { objects: Arc::new(Mutex::new(self.lock().clone())), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Option<Arc<[u8]>>> {
        check_name(name)?;
        Ok(self.lock().get(name).map(|(bytes, _)| bytes.clone()))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.find(name)?.map(|bytes| length(&bytes)))
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.find(name)? else { return Ok(None) };
        if length(&bytes) > limit {
            return Err(too_large(name, length(&bytes), limit));
        }
        Ok(Some(bytes.to_vec()))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.find(name)? else { return Ok(None) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(len).min(bytes.len());
        Ok(Some(bytes.get(start..end).unwrap_or_default().to_vec()))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        check_name(name)?;
        match self.lock().entry(name.to_owned()) {
            Slot::Occupied(_) => Ok(Created::Exists),
            Slot::Vacant(slot) => {
                slot.insert((bytes.into(), self.clock.now()));
                Ok(Created::New)
            }
        }
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        check_name(name)?;
        Ok(Box::new(Pending { store: self.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        let objects = self.lock();
        let below = objects.range(prefix.to_owned()..).take_while(|(n, _)| n.starts_with(prefix));
        let entry = |(name, (bytes, modified)): (&String, &Object)| Entry {
            name: name.clone(),
            len: length(bytes),
            modified: *modified,
        };
        Ok(below.map(entry).collect())
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let mut dirs: Vec<String> = self
            .list(prefix)?
            .iter()
            .filter_map(|entry| {
                let (dir, _) = entry.name.strip_prefix(prefix)?.split_once('/')?;
                Some(format!("{prefix}{dir}"))
            })
            .collect();
        dirs.dedup();
        Ok(dirs)
    }

    fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.lock().remove(name);
        Ok(())
    }

    fn sweep(&self, _before: Timestamp) -> Result<u64> {
        // An upload that is dropped is gone.
        Ok(0)
    }
}

struct Pending {
    store: MemoryStore,
    name: String,
    bytes: Vec<u8>,
}

impl Upload for Pending {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        match self.store.create(&self.name, &self.bytes)? {
            Created::New => Ok(()),
            Created::Exists => Err(already_there(&self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn conforms() {
        super::super::conformance::check(&super::MemoryStore::new());
    }
}
