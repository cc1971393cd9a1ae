//! The crate's one error type.
//!
//! [`Error`] is a single boxed struct: what happened, to which object, what to do next, and the
//! error underneath. What to do next names deeds and no flags: each front has its own words for a
//! [`Remedy`]. [`ErrorKind`] is chosen by what the caller does next, never by where the
//! error arose; the exit code and the retry question are each one exhaustive `match` on it.
//! `Display` never repeats the source: print the chain to see it all.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::remedy::{Advice, Remedy};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Anything that has no better kind.
    Failure,
    /// The request itself makes no sense; ask differently.
    Usage,
    /// A stored object is missing, altered or inconsistent.
    Damaged,
    /// The source database cannot be read, or is not a sound SQLite database.
    Source,
    /// There is no repository at the location.
    NoRepository,
    /// Somebody else holds it; try again later.
    Busy,
    /// Another writer took the history over: what this one captured since is not acknowledged.
    Superseded,
    /// No key slot opens with the key that was given.
    WrongKey,
    /// The storage is unreachable or denies access.
    Storage,
    /// No space left on the device.
    NoSpace,
    /// Written by a newer format or with a feature that this version does not know.
    TooNew,
    /// No history, commit, snapshot or slot matches.
    NotFound,
    /// Refused in order to protect data; the hint says how to insist.
    Refused,
    /// Stopped on request.
    Interrupted,
}

impl ErrorKind {
    /// The process exit code that stands for this kind.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Damaged => 4,
            Self::Source => 5,
            Self::NoRepository => 10,
            Self::Busy | Self::Superseded => 11,
            Self::WrongKey => 12,
            Self::Storage => 13,
            Self::NoSpace => 14,
            Self::TooNew => 15,
            Self::NotFound => 16,
            Self::Refused => 17,
            Self::Interrupted => 130,
        }
    }

    /// Whether the same call may succeed later without anybody changing the request.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Busy | Self::Superseded | Self::Storage | Self::NoSpace | Self::Interrupted => {
                true
            }
            Self::Failure
            | Self::Usage
            | Self::Damaged
            | Self::Source
            | Self::NoRepository
            | Self::WrongKey
            | Self::TooNew
            | Self::NotFound
            | Self::Refused => false,
        }
    }

    /// All of them.
    #[cfg(feature = "cli")]
    const ALL: [Self; 14] = [
        Self::Failure,
        Self::Usage,
        Self::Damaged,
        Self::Source,
        Self::NoRepository,
        Self::Busy,
        Self::Superseded,
        Self::WrongKey,
        Self::Storage,
        Self::NoSpace,
        Self::TooNew,
        Self::NotFound,
        Self::Refused,
        Self::Interrupted,
    ];

    /// The one of a name.
    #[cfg(feature = "cli")]
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// A stable lower-case name, as `--json` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Damaged => "damaged",
            Self::Source => "source",
            Self::NoRepository => "no-repository",
            Self::Busy => "busy",
            Self::Superseded => "superseded",
            Self::WrongKey => "wrong-key",
            Self::Storage => "storage",
            Self::NoSpace => "no-space",
            Self::TooNew => "too-new",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

/// An error of this crate.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    object: Option<String>,
    hint: Option<Advice>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that says what happened.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            object: None,
            hint: None,
            source: None,
        }))
    }

    /// A damaged stored object, named.
    pub fn damaged(object: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, message).with_object(object)
    }

    /// An operating-system error on a file that is ours to read or write, named.
    pub fn io(error: io::Error, what: impl Into<String>, object: impl Into<String>) -> Self {
        Self::new(io_kind(&error), what).with_object(object).with_source(error)
    }

    /// The same once more, for somebody else who has to hear of it; what lies beneath it as text.
    pub(crate) fn again(&self) -> Self {
        let Inner { kind, message, object, hint, source } = &*self.0;
        Self(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            object: object.clone(),
            hint: hint.clone(),
            source: source.as_ref().map(|source| source.to_string().into()),
        }))
    }

    /// Names the object: a path, an object name, a history.
    #[must_use]
    pub fn with_object(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    /// Says what to do next, and which deeds that takes.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Advice>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The object it happened to, if one is known.
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// What to do next, if there is something to say.
    pub fn hint(&self) -> Option<&Advice> {
        self.0.hint.as_ref()
    }

    /// What ends the trouble, if a deed does: the first that the hint names. Where several do, each
    /// for a case of its own, [`Advice::remedies`] has them all.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.hint().and_then(|hint| hint.remedies().next())
    }

    /// What happened, without the object.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.object {
            Some(object) => write!(f, "{}: {}", object, self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("object", &self.0.object)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| -> &(dyn StdError + 'static) { s.as_ref() })
    }
}

/// The kind that an operating-system error stands for.
pub fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        // A limit on the size of files is one that somebody raises, or that another folder does not
        // have.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::NoSpace
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => ErrorKind::Storage,
        // What is no file, or must not be used as one.
        io::ErrorKind::InvalidInput => ErrorKind::Refused,
        // What this file system can't do: trying again is in vain.
        io::ErrorKind::Unsupported => ErrorKind::Refused,
        io::ErrorKind::Interrupted => ErrorKind::Interrupted,
        _ => ErrorKind::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_object_and_leaves_the_source_to_the_chain() {
        let e = Error::io(io::Error::from(io::ErrorKind::StorageFull), "cannot write", "data/x");
        assert_eq!(e.to_string(), "data/x: cannot write");
        assert_eq!(e.kind(), ErrorKind::NoSpace);
        assert!(e.source().is_some());
        assert!(e.kind().is_retryable());
    }
}
