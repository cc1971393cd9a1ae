//! A store in front of another one that fails on purpose: at operation *k*, in a chosen way.
//!
//! Run the work once with [`FaultStore::counting`] to learn how many operations it takes, then once
//! for each *k*. A torn write never shows under the name of a `create`, which is atomic by
//! contract; of an upload it leaves a truncated object, as a careless store would.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::store::contract::{Created, Entry, Store, Upload};
use crate::types::Timestamp;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done; an error comes back.
    Error,
    /// It is done, and an error comes back all the same.
    LostResponse,
    /// An upload leaves half of its bytes under its name, and an error comes back. Any other
    /// operation does nothing.
    Torn,
    /// A listing leaves out what was created through this store. Any other operation succeeds.
    StaleList,
    /// From here on every operation fails, as if the process or the network had died.
    Dead,
}

/// A [`Store`] that fails at one operation.
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: Arc<S>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    at: u64,
    fault: Fault,
    done: AtomicU64,
    created: Mutex<Vec<String>>,
}

impl Plan {
    /// Counts an operation and answers the fault that it meets.
    fn next(&self) -> Option<Fault> {
        let k = self.done.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Dead => (k >= self.at).then_some(Fault::Dead),
            fault => (k == self.at).then_some(fault),
        }
    }

    fn remember(&self, name: &str) {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
    }

    /// Runs an operation that has no way of failing of its own.
    fn run<T>(&self, name: &str, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.next() {
            None | Some(Fault::StaleList) => operation(),
            Some(Fault::Error | Fault::Torn | Fault::Dead) => Err(injected(name)),
            Some(Fault::LostResponse) => {
                operation()?;
                Err(injected(name))
            }
        }
    }
}

fn injected(name: &str) -> Error {
    Error::new(ErrorKind::Storage, "injected fault").with_object(name)
}

impl<S: Store> FaultStore<S> {
    /// A store that fails at operation `at`, counted from 0.
    pub fn new(inner: Arc<S>, at: u64, fault: Fault) -> Self {
        let plan = Plan { at, fault, done: AtomicU64::new(0), created: Mutex::default() };
        Self { inner, plan: Arc::new(plan) }
    }

    /// A store that only counts.
    pub fn counting(inner: Arc<S>) -> Self {
        Self::new(inner, u64::MAX, Fault::Error)
    }

    /// How many operations were asked for so far.
    pub fn operations(&self) -> u64 {
        self.plan.done.load(Ordering::SeqCst)
    }
}

impl<S: Store> Store for FaultStore<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.plan.run(name, || self.inner.head(name))
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.plan.run(name, || self.inner.get(name, limit))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.plan.run(name, || self.inner.get_range(name, offset, len))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.plan.run(name, || {
            let created = self.inner.create(name, bytes)?;
            if created == Created::New {
                self.plan.remember(name);
            }
            Ok(created)
        })
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        let inner = self.plan.run(name, || self.inner.upload(name))?;
        let plan = self.plan.clone();
        Ok(Box::new(FaultUpload { inner, plan, name: name.to_owned(), last: Vec::new() }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        match self.plan.next() {
            None => self.inner.list(prefix),
            Some(Fault::StaleList) => {
                let hidden =
                    self.plan.created.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let mut entries = self.inner.list(prefix)?;
                entries.retain(|e| !hidden.contains(&e.name));
                Ok(entries)
            }
            Some(_) => Err(injected(prefix)),
        }
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.plan.run(prefix, || self.inner.list_dirs(prefix))
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.plan.run(name, || self.inner.delete(name))
    }

    fn sync(&self, prefix: &str) -> Result<()> {
        self.plan.run(prefix, || self.inner.sync(prefix))
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.plan.run("unfinished writes", || self.inner.sweep(before))
    }
}

/// Holds back the last write, so that a torn finish can lose half of it.
struct FaultUpload {
    inner: Box<dyn Upload>,
    plan: Arc<Plan>,
    name: String,
    last: Vec<u8>,
}

impl Upload for FaultUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Self { inner, plan, name, last } = self;
        plan.run(name, || {
            inner.write(last)?;
            *last = bytes.to_vec();
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let half = self.last.len() / 2;
        match self.plan.next() {
            Some(Fault::Torn) => {
                self.last.truncate(half);
                self.inner.write(&self.last)?;
                self.inner.finish()?;
                Err(injected(&self.name))
            }
            Some(Fault::Error | Fault::Dead) => Err(injected(&self.name)),
            Some(Fault::LostResponse) => {
                self.inner.write(&self.last)?;
                self.inner.finish()?;
                Err(injected(&self.name))
            }
            None | Some(Fault::StaleList) => {
                self.inner.write(&self.last)?;
                self.inner.finish()?;
                self.plan.remember(&self.name);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn conforms_while_it_does_not_fail() {
        super::super::conformance::check(&FaultStore::counting(Arc::new(MemoryStore::new())));
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let inner = Arc::new(MemoryStore::new());
        let lost = FaultStore::new(inner.clone(), 0, Fault::LostResponse);
        assert!(lost.create("a/1", b"x").is_err());
        assert_eq!(inner.head("a/1").unwrap(), Some(1));
        assert_eq!(lost.create("a/1", b"x").unwrap(), Created::Exists);

        let torn = FaultStore::new(inner.clone(), 2, Fault::Torn);
        let mut upload = torn.upload("a/2").unwrap();
        upload.write(b"abcdef").unwrap();
        assert!(upload.finish().is_err());
        assert_eq!(inner.head("a/2").unwrap(), Some(3));

        let stale = FaultStore::new(inner.clone(), 1, Fault::StaleList);
        stale.create("a/3", b"x").unwrap();
        assert_eq!(stale.list("a/").unwrap().len(), 2);
        assert_eq!(stale.list("a/").unwrap().len(), 3);

        let dead = FaultStore::new(inner, 1, Fault::Dead);
        dead.head("a/1").unwrap();
        assert!(dead.head("a/1").is_err() && dead.list("a/").is_err());
        assert_eq!(dead.operations(), 3);
    }
}
