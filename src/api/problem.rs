//! What goes wrong: errors, findings, warnings and notes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, ErrorKind};
use crate::ops;
use crate::remedy::{Advice, Remedy};
use crate::repo::absent::Absent;
use crate::repo::chain;
use crate::types::{HistoryId, Seq, Timestamp};

/// Why a command did not come to its end. It is the last line, and the exit code belongs to it.
///
/// `copy` prints one for each history that could not be copied, and goes on with the others. A
/// `verify` prints one before it verifies a whole history whose commit can't be selected.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    /// What kind of error it is.
    kind: ErrorKind,
    /// The exit code of its kind.
    exit_code: u8,
    /// The path, object or history that it is about; null if it is about none.
    object: Option<String>,
    /// What happened, in words.
    message: String,
    /// The errors underneath, the nearest first.
    cause: Vec<String>,
    /// What to do next, in words; null if nothing has to be done.
    hint: Option<String>,
    /// The stable names of the deeds that the hint names, in its order.
    remedies: Vec<&'static str>,
}

impl Failure {
    /// An error; `hint` is the next step in the words of a front.
    pub(crate) fn of(error: &Error, hint: Option<String>) -> Self {
        Self {
            kind: error.kind(),
            exit_code: error.kind().exit_code(),
            object: error.object().map(str::to_owned),
            message: error.message().to_owned(),
            cause: causes(error),
            hint,
            remedies: remedies(error),
        }
    }
}

/// The stable names of the deeds that an error's hint names.
pub(crate) fn remedies(error: &Error) -> Vec<&'static str> {
    error.hint().into_iter().flat_map(Advice::remedies).map(Remedy::name).collect()
}

/// The errors underneath, but for those that say again what the one above says.
pub(crate) fn causes(error: &Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        let above = causes.last().map_or(error.message(), String::as_str);
        // SQLite's are "database is locked", and below that "Error code 5: database is locked".
        if !text.ends_with(above) && !above.ends_with(&text) {
            causes.push(text);
        }
        source = cause.source();
    }
    causes
}

/// Something that the command went on with although it was not as it should be. The exit code is 3
/// if nothing worse happens.
#[derive(Serialize, ToSchema)]
pub(crate) struct Warning {
    /// What it is, in words.
    pub(crate) message: String,
}

/// Something that is as usual, and may be a surprise.
#[derive(Serialize, ToSchema)]
pub(crate) struct Note {
    /// What it is, in words.
    pub(crate) message: String,
}

/// Damage, loss, or something that is older than it was asked to be. The command goes on with the
/// rest; in the end the exit code is 4, 6 or 15.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// The name of the history that it is about; null if it is about none, or about one without a
    /// name.
    history: Option<String>,
    /// The path, object or history that it is about; null if it is about none.
    object: Option<String>,
    /// What is wrong, in words.
    message: String,
    /// What to do next, in words; null if there is none.
    hint: Option<String>,
    /// The stable names of the deeds that the hint names, in its order.
    remedies: Vec<&'static str>,
    /// True if the history is gone. This member and the next five are there only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    absent: Option<bool>,
    /// The identity of the history that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<HistoryId>,
    /// The path of the database that it followed; missing if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// The newest commit that this machine saw of it; missing if it saw none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<Seq>,
    /// When that was captured, or last confirmed; missing if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    time: Option<Timestamp>,
    /// Traces of it in the repository, in words; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    left: Option<String>,
    /// What is older than the options allow. This member and the next two are there only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    late: Option<Late>,
    /// How old it is, in seconds; missing if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    age_seconds: Option<u64>,
    /// How old it may be, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    max_seconds: Option<u64>,
}

/// What is too old: `age` for what is stored, `proof-age` for the last verification that passed.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Late {
    Age,
    ProofAge,
}

impl Finding {
    /// What an error says, of a history or of none.
    pub(crate) fn of(error: &Error, history: Option<&str>) -> Self {
        Self {
            history: history.map(str::to_owned),
            object: error.object().map(str::to_owned),
            message: error.message().to_owned(),
            hint: error.hint().map(ToString::to_string),
            remedies: remedies(error),
            absent: None,
            id: None,
            source: None,
            seq: None,
            time: None,
            left: None,
            late: None,
            age_seconds: None,
            max_seconds: None,
        }
    }

    /// The same, with its hint in the words of a front.
    pub(crate) fn with_hint(&self, hint: Option<String>) -> Self {
        Self { hint, ..self.clone() }
    }

    /// What a verification found.
    pub(crate) fn verified(history: &str, finding: &ops::finding::Finding) -> Self {
        let error = Error::damaged(&*finding.object, &*finding.message);
        Self::of(&error, Some(history))
    }

    /// A history that is gone.
    pub(crate) fn absent(gone: &Absent) -> Self {
        let (seq, time) = gone.newest.unzip();
        Self {
            absent: Some(true),
            id: Some(gone.id),
            source: gone.source.clone(),
            seq,
            time: time.flatten(),
            left: gone.left.clone(),
            ..Self::of(&gone.error(), gone.name.as_deref())
        }
    }

    /// Something that is too old.
    pub(crate) fn late(
        error: &Error,
        history: &str,
        late: Late,
        age_seconds: Option<u64>,
        max_seconds: u64,
    ) -> Self {
        Self {
            late: Some(late),
            age_seconds,
            max_seconds: Some(max_seconds),
            ..Self::of(error, Some(history))
        }
    }
}

/// An object that is not as it was written.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The object.
    pub(crate) object: String,
    /// What is wrong with it, in words.
    pub(crate) message: String,
}

impl From<&chain::Problem> for Problem {
    fn from(chain::Problem { object, message, .. }: &chain::Problem) -> Self {
        Self { object: object.clone(), message: message.clone() }
    }
}
