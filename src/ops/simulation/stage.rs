//! The store as one actor sees it, and the actor's world: each operation is a point of the
//! [`Schedule`].
//!
//! A listing takes time: what is created or deleted meanwhile may be in it or not, each for itself.
//! Everything else happens at one moment, so that other moments are other schedules.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::observer::Observer;
use super::schedule::{Failure, Kind, Schedule};
use crate::chance::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::simulated::World;
use crate::store::{Created, Entry, MemoryStore, Store, Upload};
use crate::types::Timestamp;

/// A store in which one actor works.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) inner: MemoryStore,
    pub(super) schedule: Arc<Schedule>,
    pub(super) observer: Arc<Observer>,
    pub(super) me: usize,
    /// How the stories call it.
    pub(super) place: &'static str,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage(..)")
    }
}

fn failed(name: &str) -> Error {
    Error::new(ErrorKind::Storage, "simulated fault").with_object(name)
}

impl Stage {
    fn point(&self, verb: &str, name: &str, kind: Kind) -> Option<Failure> {
        self.schedule.point(self.me, &format!("{verb} {}{}", self.place, short(name)), kind)
    }

    fn read<T>(&self, verb: &str, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.point(verb, name, Kind::Read) {
            None => run(),
            Some(_) => Err(failed(name)),
        }
    }

    /// Does something now, later or never, and looks whether all is well after it.
    fn write<T>(
        &self,
        verb: &str,
        name: &str,
        run: impl FnOnce(&MemoryStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let how = self.point(verb, name, Kind::Write);
        let (stage, what) = (self.clone(), format!("{verb} {}{}", self.place, short(name)));
        let done = move || {
            let result = run(&stage.inner);
            stage.observer.look(&stage.schedule);
            result
        };
        match how {
            None => done(),
            Some(Failure::Error | Failure::Kill) => Err(failed(name)),
            Some(Failure::Lost | Failure::KillDone) => {
                done()?;
                Err(failed(name))
            }
            Some(Failure::Late | Failure::KillLate) => {
                let later = move || {
                    // Nobody is there to hear of it.
                    let _ = done();
                };
                self.schedule.later(what, Box::new(later));
                Err(failed(name))
            }
        }
    }
}

/// A name as people can read it in a story.
fn short(name: &str) -> String {
    let rest = name.strip_prefix("histories/").and_then(|r| r.split_once('/'));
    let name = rest.map_or(name, |(_, rest)| rest);
    let parts = name.split('/').map(|part| {
        let numbers = part.split('-').map(|n| match u64::from_str_radix(n, 16) {
            Ok(number) if n.len() == 16 => number.to_string(),
            _ => n.chars().take(6).collect(),
        });
        numbers.collect::<Vec<_>>().join("-")
    });
    parts.collect::<Vec<_>>().join("/")
}

impl Store for Stage {
    fn location(&self) -> String {
        "the stage".to_owned()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.read("asks for", name, || self.inner.head(name))
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.read("reads", name, || self.inner.get(name, limit))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.read("reads", name, || self.inner.get_range(name, offset, len))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let (owned, bytes) = (name.to_owned(), bytes.to_vec());
        self.write("creates", name, move |store| store.create(&owned, &bytes))
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        let upload = Uploading { stage: self.clone(), name: name.to_owned(), bytes: Vec::new() };
        Ok(Box::new(upload))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let before = self.read("lists", prefix, || self.inner.list(prefix))?;
        let after = self.read("has listed", prefix, || self.inner.list(prefix))?;
        if before == after {
            return Ok(after);
        }
        let (was, is) = (before.clone(), after.clone());
        let all: BTreeMap<String, Entry> =
            before.into_iter().chain(after).map(|e| (e.name.clone(), e)).collect();
        // The same for the same moment, whatever else is decided.
        let mut coin = Random::new(u64::from(self.schedule.steps()));
        let seen = all.into_values().filter(|entry| {
            let lasting = was.contains(entry) && is.contains(entry);
            coin.below(2) == 0 || lasting
        });
        Ok(seen.collect())
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.read("lists", prefix, || self.inner.list_dirs(prefix))
    }

    fn delete(&self, name: &str) -> Result<()> {
        let owned = name.to_owned();
        self.write("deletes", name, move |store| store.delete(&owned))
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.inner.sweep(before)
    }
}

struct Uploading {
    stage: Stage,
    name: String,
    bytes: Vec<u8>,
}

impl Upload for Uploading {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { stage, name, bytes } = *self;
        let owned = name.clone();
        let created = stage.write("uploads", &name, move |store| store.create(&owned, &bytes))?;
        assert_eq!(created, Created::New, "{name}");
        Ok(())
    }
}

/// What an actor takes for chance, time and its local disk.
pub(super) struct Mind {
    pub(super) schedule: Arc<Schedule>,
    pub(super) me: usize,
    pub(super) random: Mutex<Random>,
    pub(super) fan: usize,
    pub(super) inline: usize,
}

impl World for Mind {
    fn random(&self, bytes: &mut [u8]) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.fill_with(|| u8::try_from(random.below(256)).unwrap());
    }

    fn local(&self, what: &str) -> io::Result<()> {
        match self.schedule.point(self.me, what, Kind::Local) {
            None => Ok(()),
            Some(_) => Err(io::Error::other("simulated fault")),
        }
    }

    fn fan(&self) -> usize {
        self.fan
    }

    fn inline(&self) -> usize {
        self.inline
    }
}
