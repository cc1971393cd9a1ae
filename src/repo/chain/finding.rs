//! What is wrong with a chain: objects that can't be read, and holes.

use crate::error::{Error, ErrorKind};
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::history::handle::History;
use crate::types::Seq;

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether a newer version wrote it, so that it can't be told.
    pub too_new: bool,
}

impl Problem {
    pub(crate) fn of(e: &Error) -> Self {
        let mut message = e.message().to_owned();
        let mut source = std::error::Error::source(e);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        let object = e.object().unwrap_or("the history").to_owned();
        Self { object, message, too_new: e.kind() == ErrorKind::TooNew }
    }

    /// The same as an error of a history.
    pub(crate) fn error(&self, history: &History) -> Error {
        let (kind, hint) = match self.too_new {
            true => (ErrorKind::TooNew, Advice::from("update pagekeep to read it")),
            false => (ErrorKind::Damaged, hint(history.name())),
        };
        Error::new(kind, &*self.message).with_object(&*self.object).with_hint(hint)
    }
}

/// A place where segments of a history are missing or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The last commit below it.
    pub below: Option<Seq>,
    /// The first commit above it; `None` if the newest segments are what is missing.
    pub above: Option<Seq>,
    /// What is missing, or can't be read.
    pub problem: Problem,
    /// Others that can't be read, in the same place.
    pub besides: Vec<Problem>,
}

/// The next step after damage to what holds a history together.
pub(super) fn hint(history: &str) -> Advice {
    advice![Remedy::examine(history), " says what can be done about it, and what is lost"]
}
