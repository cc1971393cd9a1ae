//! What a question to the past answers.

use std::fmt::Write as _;

use rusqlite::types::ValueRef;
use serde::Serialize;
use serde_json::{Map, Value, json};
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

/// A value of SQLite as JSON has it: a blob, or text that is no UTF-8, as `{"blob": "00ff"}`.
pub(crate) fn as_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => json!(n),
        // JSON has no infinity.
        ValueRef::Real(x) if x.is_finite() => json!(x),
        ValueRef::Real(x) => json!(if x > 0.0 { "Infinity" } else { "-Infinity" }),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => json!(text),
            Err(_) => json!({"blob": hex(text)}),
        },
        ValueRef::Blob(blob) => json!({"blob": hex(blob)}),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
