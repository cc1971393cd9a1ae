//! A store in front of another one that asks a hook, before each operation, what is to become of it: for tests that let
//! something happen at the worst moment, or let operations fail while they say so. (To fail at operation *k* there is
//! `pagekeep::internals::store::FaultStore`.)

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use pagekeep::internals::store::{Created, Entry, Store, Upload};
use pagekeep::internals::types::Timestamp;
use pagekeep::{Error, Result};

/// An operation that a store is asked for. What is written to an upload under way, and its end, are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    Head,
    Get,
    GetRange,
    /// With the bytes that the object is to have.
    Create(&'a [u8]),
    Upload,
    List,
    ListDirs,
    Delete,
    Sync,
    Sweep,
}

/// What becomes of an operation.
pub enum Fate {
    /// It is passed on.
    PassOn,
    /// It is not done, and this error comes back.
    Fail(Error),
    /// It is done, and this error comes back all the same.
    LoseAnswer(Error),
    /// An object with other bytes is created, as if it were the one that was given. Only for [`Op::Create`].
    Garble(Vec<u8>),
}

impl Fate {
    fn meet<T>(self, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        match self {
            Self::PassOn => operation(),
            Self::Fail(error) => Err(error),
            Self::LoseAnswer(error) => operation().and(Err(error)),
            Self::Garble(_) => panic!("only what is created can be garbled"),
        }
    }
}

/// Answers the fate of an operation on a name, or on a prefix; a sweep has neither.
type Hook = dyn Fn(Op<'_>, &str) -> Fate + Send + Sync;

pub struct Hooked {
    inner: Arc<dyn Store>,
    hook: Box<Hook>,
}

impl Hooked {
    pub fn new(
        inner: Arc<dyn Store>,
        hook: impl Fn(Op<'_>, &str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self { inner, hook: Box::new(hook) }
    }

    /// Passes everything on; right before each operation something happens.
    pub fn with_event(
        inner: Arc<dyn Store>,
        event: impl Fn(Op<'_>, &str) + Send + Sync + 'static,
    ) -> Self {
        Self::new(inner, move |op, name| {
            event(op, name);
            Fate::PassOn
        })
    }

    fn run<T>(&self, op: Op<'_>, name: &str, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        (self.hook)(op, name).meet(operation)
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooked").field(&self.inner).finish()
    }
}

impl Store for Hooked {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.run(Op::Head, name, || self.inner.head(name))
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.run(Op::Get, name, || self.inner.get(name, limit))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.run(Op::GetRange, name, || self.inner.get_range(name, offset, len))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let (fate, bytes) = match (self.hook)(Op::Create(bytes), name) {
            Fate::Garble(other) => (Fate::PassOn, Cow::Owned(other)),
            fate => (fate, Cow::Borrowed(bytes)),
        };
        fate.meet(|| self.inner.create(name, &bytes))
    }

    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.run(Op::Upload, name, || self.inner.upload(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.run(Op::List, prefix, || self.inner.list(prefix))
    }

    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.run(Op::ListDirs, prefix, || self.inner.list_dirs(prefix))
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.run(Op::Delete, name, || self.inner.delete(name))
    }

    fn sync(&self, prefix: &str) -> Result<()> {
        self.run(Op::Sync, prefix, || self.inner.sync(prefix))
    }

    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.run(Op::Sweep, "", || self.inner.sweep(before))
    }
}
