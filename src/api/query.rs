//! What a question to the past answers.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::repo::chain::Commit;
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// One row of an answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Row {
    /// The columns by name; of two of one name the second is `name:2`. Blobs are
    /// `{"blob": "00ff"}`, infinite numbers the texts `Infinity` and `-Infinity`.
    #[schema(value_type = Object)]
    pub(crate) values: Map<String, Value>,
}

/// What a question came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuerySummary {
    /// The name of the history.
    history: String,
    /// The commit that was asked.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    /// How many rows were printed.
    rows: u64,
    /// Whether there were more rows than were allowed.
    truncated: bool,
    /// How long it took, in seconds.
    seconds: f64,
}

impl QuerySummary {
    /// A question to a commit, and how many rows it gave.
    pub(crate) fn of(
        (history, commit): (&History, &Commit),
        (rows, truncated): (u64, bool),
        seconds: f64,
    ) -> Self {
        let (seq, time) = (commit.seq, commit.record.time);
        Self { history: history.name().to_owned(), seq, time, rows, truncated, seconds }
    }
}
