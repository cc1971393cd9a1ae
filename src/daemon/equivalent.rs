//! What does the same as a request of the API, in the words of the front that runs the daemon.

use super::wanted::Named;
use crate::types::Seq;

/// What somebody did or saw by the API.
#[derive(Clone, Debug)]
pub(crate) enum Equivalent {
    /// A commit.
    Show(Named, Seq),
    /// What can be reached.
    Coverage(Named),
    /// Rows of a commit.
    Query(Named, Seq, String),
    /// A label for a commit.
    Label(Named, Seq, String),
    /// A label for the state now, of the database in this file.
    LabelNow(Named, String, String),
    /// A job, by the name of its kind.
    Job(Named, &'static str),
}
