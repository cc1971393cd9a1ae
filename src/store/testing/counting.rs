//! A store in front of another one that keeps a list of what it is asked for.
//!
//! With object storage each call costs money and a round trip. So tests hold budgets: how many
//! calls of which kind a commit, a restore or a label may take.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::store::contract::{Created, Entry, Nature, Store, Upload};
use crate::types::Timestamp;

/// What a store was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// [`Store::head`].
    Head,
    /// [`Store::get`].
    Get,
    /// [`Store::get_range`].
    GetRange,
    /// [`Store::create`].
    Create,
    /// [`Store::upload`], from its beginning to [`Upload::finish`].
    Upload,
    /// [`Store::list`].
    List,
    /// [`Store::list_dirs`].
    ListDirs,
    /// [`Store::look`].
    Look,
    /// [`Store::delete`].
    Delete,
    /// [`Store::sync`].
    Sync,
    /// [`Store::sweep`].
    Sweep,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub verb: Verb,
    /// The object's name, or the prefix.
    pub name: String,
    /// How many bytes of objects the call brought or took; 0 if it failed.
    pub bytes: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} ({} bytes)", self.verb, self.name, self.bytes)
    }
}

/// A [`Store`] that remembers every call.
#[derive(Debug)]
pub struct CountingStore {
    inner: Arc<dyn Store>,
    calls: Calls,
}

type Calls = Arc<Mutex<Vec<Call>>>;

impl CountingStore {
    /// A store that passes every call on to `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, calls: Calls::default() }
    }

    /// The calls since the last time that they were taken, oldest first. An upload is one call,
    /// from the moment of its end.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, verb: Verb, name: &str, bytes: usize) {
        note(&self.calls, verb, name, bytes);
    }

    /// Notes a call and how many bytes its result has.
    fn of<T>(
        &self,
        verb: Verb,
        name: &str,
        result: Result<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Result<T> {
        self.note(verb, name, result.as_ref().map_or(0, bytes));
        result
    }
}

fn note(calls: &Calls, verb: Verb, name: &str, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let call = Call { verb, name: name.to_owned(), bytes };
    calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
}

impl Store for CountingStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.of(Verb::Head, name, self.inner.head(name), |_| 0)
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let got = self.inner.get(name, limit);
        self.of(Verb::Get, name, got, |got| got.as_ref().map_or(0, Vec::len))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        let got = self.inner.get_range(name, offset, len);
        self.of(Verb::GetRange, name, got, |got| got.as_ref().map_or(0, Vec::len))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.of(Verb::Create, name, self.inner.create(name, bytes), |_| bytes.len())
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        let inner = self.inner.upload(name)?;
        Ok(Box::new(Counted { inner, name: name.to_owned(), bytes: 0, calls: self.calls.clone() }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.of(Verb::List, prefix, self.inner.list(prefix), |_| 0)
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.of(Verb::ListDirs, prefix, self.inner.list_dirs(prefix), |_| 0)
    }

    fn look(&self, prefix: &str) -> Result<Vec<(String, Nature)>> {
        self.of(Verb::Look, prefix, self.inner.look(prefix), |_| 0)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.of(Verb::Delete, name, self.inner.delete(name), |()| 0)
    }

    fn sync(&self, prefix: &str) -> Result<()> {
        self.of(Verb::Sync, prefix, self.inner.sync(prefix), |()| 0)
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.of(Verb::Sweep, "", self.inner.sweep(before), |_| 0)
    }
}

struct Counted {
    inner: Box<dyn Upload>,
    name: String,
    bytes: usize,
    calls: Calls,
}

impl Upload for Counted {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { inner, name, bytes, calls } = *self;
        let finished = inner.finish();
        note(&calls, Verb::Upload, &name, if finished.is_ok() { bytes } else { 0 });
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{MemoryStore, conformance};

    #[test]
    fn it_is_a_store_and_tells_what_it_was_asked_for() {
        let store = CountingStore::new(Arc::new(MemoryStore::new()));
        conformance::check(&store);
        store.take();
        store.create("a/x", b"12345").unwrap();
        store.get("a/x", 100).unwrap();
        store.get("a/none", 100).unwrap();
        let mut upload = store.upload("a/large").unwrap();
        upload.write(b"123").unwrap();
        upload.finish().unwrap();
        store.list("a/").unwrap();
        let told: Vec<String> = store.take().iter().map(Call::to_string).collect();
        assert_eq!(
            told,
            [
                "Create a/x (5 bytes)",
                "Get a/x (5 bytes)",
                "Get a/none (0 bytes)",
                "Upload a/large (3 bytes)",
                "List a/ (0 bytes)",
            ]
        );
        assert!(store.take().is_empty());
    }
}
