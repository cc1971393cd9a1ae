//! A store that works, fails, hangs or loses its answers, as the test says from one moment to the next.

use std::sync::{Arc, Condvar, Mutex};

use pagekeep::error::{Error, ErrorKind, Result};
use pagekeep::store::{Created, Entry, MemoryStore, Store, Upload};
use pagekeep::types::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nothing is done; every operation answers this kind of error.
    Fails(ErrorKind),
    /// Operations wait until the mood is another.
    Hangs,
    /// Objects are created, and an error comes back.
    LosesAnswers,
}

#[derive(Clone, Debug)]
pub struct MoodyStore {
    inner: MemoryStore,
    mood: Arc<(Mutex<(Mood, u64)>, Condvar)>,
}

impl MoodyStore {
    pub fn new(inner: MemoryStore) -> Self {
        Self { inner, mood: Arc::new((Mutex::new((Mood::Well, 0)), Condvar::new())) }
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.0.lock().unwrap() = (mood, 0);
        self.mood.1.notify_all();
    }

    /// How many operations have met the present mood.
    pub fn met(&self) -> u64 {
        self.mood.0.lock().unwrap().1
    }

    fn ask(&self) -> Result<Mood> {
        let mut mood = self.mood.0.lock().unwrap();
        mood.1 += 1;
        while mood.0 == Mood::Hangs {
            mood = self.mood.1.wait(mood).unwrap();
        }
        match mood.0 {
            Mood::Fails(kind) => Err(Error::new(kind, "the store is in a bad mood")),
            mood => Ok(mood),
        }
    }
}

impl Store for MoodyStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.ask()?;
        self.inner.head(name)
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        // Reading back is what mends a lost answer: let that be in vain as well.
        if self.ask()? == Mood::LosesAnswers {
            return Err(Error::new(ErrorKind::Storage, "the answer was lost"));
        }
        self.inner.get(name, limit)
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.ask()?;
        self.inner.get_range(name, offset, len)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let mood = self.ask()?;
        let created = self.inner.create(name, bytes)?;
        match mood {
            Mood::LosesAnswers => Err(Error::new(ErrorKind::Storage, "the answer was lost")),
            _ => Ok(created),
        }
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.ask()?;
        self.inner.upload(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.ask()?;
        self.inner.list(prefix)
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.ask()?;
        self.inner.list_dirs(prefix)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.ask()?;
        self.inner.delete(name)
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.ask()?;
        self.inner.sweep(before)
    }
}
