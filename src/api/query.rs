//! What a question to the past answers.

use std::fmt::Write as _;

use rusqlite::types::ValueRef;
use serde::{Serialize, Serializer};
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

/// A value of SQLite as JSON has it: a blob, or text that is no UTF-8, as `{"blob": "00ff"}`.
pub(crate) fn as_json(value: ValueRef<'_>) -> Value {
    // There is nothing in it that JSON does not have.
    serde_json::to_value(Stored(value)).unwrap_or_default()
}

/// A value of SQLite, which is written as [`as_json`] has it.
pub(super) struct Stored<'v>(pub(super) ValueRef<'v>);

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let blob = |to: S, bytes: &[u8]| to.collect_map([("blob", hex(bytes))]);
        match self.0 {
            ValueRef::Null => to.serialize_unit(),
            ValueRef::Integer(n) => to.serialize_i64(n),
            // JSON has no infinity.
            ValueRef::Real(x) if x.is_finite() => to.serialize_f64(x),
            ValueRef::Real(x) => to.serialize_str(if x > 0.0 { "Infinity" } else { "-Infinity" }),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => to.serialize_str(text),
                Err(_) => blob(to, text),
            },
            ValueRef::Blob(bytes) => blob(to, bytes),
        }
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
