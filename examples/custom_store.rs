//! A store of one's own: [`Counting`] passes every call on to another store, and counts it.
//!
//! ```text
//! $ cargo run --example custom_store
//! ```
//!
//! It checks the store with the conformance suite, and then backs a database up into it, in a
//! temporary folder. A store for another kind of storage has the same shape: implement [`Store`]
//! and [`Upload`], and let `pagekeep::testing::conformance::check` judge it in a test.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use pagekeep::rusqlite::Connection;
use pagekeep::testing::{MemoryStore, conformance};
use pagekeep::{
    BackupOptions, Created, Entry, Nature, Repository, RepositoryOptions, Secret, Silent, Store,
    Timestamp, Upload,
};

/// A [`Store`] that counts the calls of each kind. Clones count together.
#[derive(Clone, Debug)]
struct Counting<S> {
    inner: S,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl<S> Counting<S> {
    fn new(inner: S) -> Self {
        Self { inner, calls: Arc::default() }
    }

    fn count(&self, call: &'static str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(call).or_default() += 1;
    }

    /// Returns the calls since the last `take`.
    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Store> Store for Counting<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn head(&self, name: &str) -> pagekeep::Result<Option<u64>> {
        self.count("head");
        self.inner.head(name)
    }

    fn get(&self, name: &str, limit: u64) -> pagekeep::Result<Option<Vec<u8>>> {
        self.count("get");
        self.inner.get(name, limit)
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> pagekeep::Result<Option<Vec<u8>>> {
        self.count("get_range");
        self.inner.get_range(name, offset, len)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> pagekeep::Result<Created> {
        self.count("create");
        self.inner.create(name, bytes)
    }

    fn upload(&self, name: &str) -> pagekeep::Result<Box<dyn Upload>> {
        // Its writes go to the inner store's upload. To see them, wrap that as well.
        self.count("upload");
        self.inner.upload(name)
    }

    fn list(&self, prefix: &str) -> pagekeep::Result<Vec<Entry>> {
        self.count("list");
        self.inner.list(prefix)
    }

    fn list_dirs(&self, prefix: &str) -> pagekeep::Result<Vec<String>> {
        self.count("list_dirs");
        self.inner.list_dirs(prefix)
    }

    fn delete(&self, name: &str) -> pagekeep::Result<()> {
        self.count("delete");
        self.inner.delete(name)
    }

    fn sweep(&self, before: Timestamp) -> pagekeep::Result<u64> {
        self.count("sweep");
        self.inner.sweep(before)
    }

    // The trait has defaults for the next two, which do nothing. A wrapper has to pass them on all
    // the same: with the default `sync`, objects would be acknowledged that are not durable yet.

    fn look(&self, prefix: &str) -> pagekeep::Result<Vec<(String, Nature)>> {
        self.count("look");
        self.inner.look(prefix)
    }

    fn sync(&self, prefix: &str) -> pagekeep::Result<()> {
        self.count("sync");
        self.inner.sync(prefix)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // The suite wants an empty store, and panics at the first promise that is not kept.
    conformance::check(&Counting::new(MemoryStore::new()));
    println!("the store keeps its promises");

    let folder = tempfile::tempdir()?;
    let database = folder.path().join("app.db");
    let app = Connection::open(&database)?;
    app.execute_batch("CREATE TABLE note(text); INSERT INTO note VALUES('first')")?;
    let store = Counting::new(MemoryStore::new());
    let key = Secret::create_key_file(&folder.path().join("key"))?;
    let repository = Repository::init(
        Arc::new(store.clone()),
        &[(&key, "first key")],
        Default::default(),
        &RepositoryOptions::new(folder.path().join("state")),
    )?;
    println!("init: {}", sentence(&store.take()));
    for _ in 0..2 {
        app.execute("INSERT INTO note VALUES('another')", [])?;
        let report = repository.backup(&database, &BackupOptions::default(), &Silent)?;
        println!("backup to seq:{}: {}", report.seq, sentence(&store.take()));
    }
    Ok(())
}

fn sentence(calls: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<String> = calls.iter().map(|(call, n)| format!("{n} {call}")).collect();
    parts.join(", ")
}
