//! A store that counts what it is asked for, and what it answers. It changes nothing of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::contract::{Created, Entry, Nature, Store, Upload};
use crate::count::number;
use crate::error::{ErrorKind, Result};
use crate::types::Timestamp;

/// What a store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Whether an object is there.
    Head,
    /// An object, or a part of one.
    Get,
    /// To create an object, in one part or in several.
    Create,
    /// What there is.
    List,
    /// To delete an object.
    Delete,
    /// To make durable what others created.
    Sync,
    /// To remove what unfinished writes left.
    Sweep,
}

impl Request {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Head, Self::Get, Self::Create, Self::List, Self::Delete, Self::Sync, Self::Sweep];

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Get => "get",
            Self::Create => "create",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Sync => "sync",
            Self::Sweep => "sweep",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Head => 0,
            Self::Get => 1,
            Self::Create => 2,
            Self::List => 3,
            Self::Delete => 4,
            Self::Sync => 5,
            Self::Sweep => 6,
        }
    }
}

/// The kinds of errors that a store answers; any other one counts as the first.
pub(crate) const CLASSES: [ErrorKind; 5] = [
    ErrorKind::Failure,
    ErrorKind::Storage,
    ErrorKind::NoSpace,
    ErrorKind::Damaged,
    ErrorKind::Interrupted,
];

/// What went to and from a store so far.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: [AtomicU64; Request::ALL.len()],
    errors: [AtomicU64; CLASSES.len()],
    read: AtomicU64,
    written: AtomicU64,
}

impl Traffic {
    /// How many requests of each kind there were.
    pub(crate) fn requests(&self) -> [(Request, u64); Request::ALL.len()] {
        Request::ALL.map(|request| (request, load(self.requests.get(request.index()))))
    }

    /// How many errors of each class there were.
    pub(crate) fn errors(&self) -> [(ErrorKind, u64); CLASSES.len()] {
        CLASSES.map(|class| (class, load(self.errors.get(index_of(class)))))
    }

    /// Bytes that were read from it, and that were stored in it.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (load(Some(&self.read)), load(Some(&self.written)))
    }

    fn asked<T>(&self, request: Request, answer: Result<T>) -> Result<T> {
        add(self.requests.get(request.index()), 1);
        self.answered(answer)
    }

    fn answered<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(e) = &answer {
            add(self.errors.get(index_of(e.kind())), 1);
        }
        answer
    }

    fn read(&self, answer: Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
        if let Ok(Some(bytes)) = &answer {
            add(Some(&self.read), number(bytes.len()));
        }
        self.asked(Request::Get, answer)
    }
}

fn index_of(class: ErrorKind) -> usize {
    CLASSES.iter().position(|known| *known == class).unwrap_or(0)
}

fn add(counter: Option<&AtomicU64>, n: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

fn load(counter: Option<&AtomicU64>) -> u64 {
    counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
}

/// A store, and what went to and from it.
#[derive(Debug)]
pub(crate) struct MeteredStore {
    store: Arc<dyn Store>,
    traffic: Arc<Traffic>,
}

impl MeteredStore {
    /// Counts what a store is asked for.
    pub(crate) fn new(store: Arc<dyn Store>, traffic: Arc<Traffic>) -> Self {
        Self { store, traffic }
    }
}

impl Store for MeteredStore {
    fn location(&self) -> String {
        self.store.location()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.traffic.asked(Request::Head, self.store.head(name))
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.traffic.read(self.store.get(name, limit))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.traffic.read(self.store.get_range(name, offset, len))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let created = self.traffic.asked(Request::Create, self.store.create(name, bytes))?;
        if created == Created::New {
            add(Some(&self.traffic.written), number(bytes.len()));
        }
        Ok(created)
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        let upload = self.traffic.asked(Request::Create, self.store.upload(name))?;
        Ok(Box::new(MeteredUpload { upload, bytes: 0, traffic: self.traffic.clone() }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.traffic.asked(Request::List, self.store.list(prefix))
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.traffic.asked(Request::List, self.store.list_dirs(prefix))
    }

    fn look(&self, prefix: &str) -> Result<Vec<(String, Nature)>> {
        self.traffic.asked(Request::List, self.store.look(prefix))
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.traffic.asked(Request::Delete, self.store.delete(name))
    }

    fn sync(&self, prefix: &str) -> Result<()> {
        self.traffic.asked(Request::Sync, self.store.sync(prefix))
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.traffic.asked(Request::Sweep, self.store.sweep(before))
    }
}

struct MeteredUpload {
    upload: Box<dyn Upload>,
    bytes: u64,
    traffic: Arc<Traffic>,
}

impl Upload for MeteredUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.traffic.answered(self.upload.write(bytes))?;
        self.bytes = self.bytes.saturating_add(number(bytes.len()));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.traffic.answered(self.upload.finish())?;
        add(Some(&self.traffic.written), self.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MemoryStore, conformance};
    use super::*;

    #[test]
    fn it_is_a_store_like_the_one_that_it_counts_for() {
        let store = MeteredStore::new(Arc::new(MemoryStore::new()), Arc::default());
        conformance::check(&store);
    }

    #[test]
    fn requests_bytes_and_errors_are_counted() {
        let traffic = Arc::<Traffic>::default();
        let store = MeteredStore::new(Arc::new(MemoryStore::new()), traffic.clone());
        store.create("a/one", b"12345").unwrap();
        assert_eq!(store.create("a/one", b"again").unwrap(), Created::Exists);
        let mut upload = store.upload("a/two").unwrap();
        upload.write(b"123").unwrap();
        upload.write(b"4").unwrap();
        assert_eq!(traffic.bytes(), (0, 5));
        upload.finish().unwrap();
        assert_eq!(store.get_range("a/one", 1, 3).unwrap().unwrap(), b"234");
        assert_eq!(store.get("a/absent", 9).unwrap(), None);
        assert_eq!(traffic.bytes(), (3, 9));
        assert!(store.get("a/one", 1).is_err());
        let of = |request: Request| traffic.requests()[request.index()].1;
        assert_eq!((of(Request::Create), of(Request::Get), of(Request::List)), (3, 3, 0));
        for (at, request) in Request::ALL.into_iter().enumerate() {
            assert_eq!(request.index(), at);
        }
        let damaged = traffic.errors().into_iter().find(|(class, _)| *class == ErrorKind::Damaged);
        assert_eq!(damaged, Some((ErrorKind::Damaged, 1)));
        assert_eq!(traffic.errors().iter().map(|(_, n)| n).sum::<u64>(), 1);
    }
}
