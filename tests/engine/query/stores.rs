//! Stores that count what is asked of them, and that take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pagekeep::{Created, Entry, Result, Store, Timestamp, Upload};

/// A store that counts requests and lets each of them take a while.
#[derive(Clone, Debug)]
pub struct Observed {
    inner: Arc<dyn Store>,
    latency: Duration,
    reads: Arc<AtomicU64>,
    lists: Arc<AtomicU64>,
}

impl Observed {
    pub fn new(inner: Arc<dyn Store>, latency: Duration) -> Self {
        Self { inner, latency, reads: Arc::default(), lists: Arc::default() }
    }

    /// How many objects, or ranges of objects, were read since this was asked last; and how many
    /// listings.
    pub fn take(&self) -> (u64, u64) {
        (self.reads.swap(0, Ordering::SeqCst), self.lists.swap(0, Ordering::SeqCst))
    }

    fn read(&self) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.latency);
    }

    fn listed(&self) {
        self.lists.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.latency);
    }
}

impl Store for Observed {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.read();
        self.inner.head(name)
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.read();
        self.inner.get(name, limit)
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.read();
        self.inner.get_range(name, offset, len)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(name, bytes)
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.inner.upload(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.listed();
        self.inner.list(prefix)
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.listed();
        self.inner.list_dirs(prefix)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name)
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.inner.sweep(before)
    }
}
