//! What somebody asks of the daemon while it runs: a job now, the end of one, a pause.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::kind::Kind;
use crate::error::Result;

/// A database, by the names of its repository and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) repository: String,
    pub(crate) name: String,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A job of a database, as soon as its turn comes; a backup may give a label.
    Run(Named, Kind, Option<String>),
    /// That the labels of a database are others now is to be known.
    Labelled(Named),
    /// The end of a job that waits or runs.
    Cancel(u64),
    /// That nothing is done with a database any more, until somebody wants that again.
    Pause(Named, String),
    /// That it goes on.
    Resume(Named),
    /// That the configuration is read again.
    Reload,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// It is done.
    Done,
    /// There is a job of this number.
    Job(u64),
}

/// A wish, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) wanted: Wanted,
    pub(super) answer: oneshot::Sender<Result<Given>>,
}

/// Brings wishes to the supervisor, which decides at once. Answers whether there still is one.
#[derive(Clone)]
pub(super) struct Wisher(Arc<dyn Fn(Wish) -> bool + Send + Sync>);

impl Wisher {
    pub(super) fn new(bring: impl Fn(Wish) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(bring))
    }

    /// Brings one.
    pub(super) fn wish(&self, wish: Wish) -> bool {
        (self.0)(wish)
    }
}

impl fmt::Debug for Wisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wisher")
    }
}
