//! What a search for the change of an answer says.

use rusqlite::types::ValueRef;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::query::as_json;
use crate::ops::find::{Search, Turn};
use crate::ops::question;
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// What the question came to at one commit.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reply {
    /// The commit.
    seq: Seq,
    /// When it was captured.
    time: Timestamp,
    /// How many rows the answer has; null if there is no answer.
    rows: Option<u64>,
    /// The values of the first row; null if there is none.
    first: Option<Vec<Value>>,
    /// Why there is no answer, in SQLite's words; null if there is one.
    nothing: Option<String>,
}

impl Reply {
    /// A reply to a question.
    pub(crate) fn of(question::Reply { seq, time, answer }: &question::Reply) -> Self {
        let (rows, first, nothing) = match answer {
            question::Answer::Nothing(said) => (None, None, Some(said.clone())),
            question::Answer::Rows(rows) => {
                let values = || rows.first.iter().map(|value| as_json(ValueRef::from(value)));
                (Some(rows.count), (rows.count > 0).then(|| values().collect()), None)
            }
        };
        Self { seq: *seq, time: *time, rows, first, nothing }
    }
}

/// The two commits between which the answer changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct FindSummary {
    /// The name of the history.
    history: String,
    /// The last commit with the old answer; null if the first one has the new answer.
    before: Option<Reply>,
    /// The first commit with the new answer.
    after: Reply,
    /// How many restore points there were to ask.
    restore_points: u64,
    /// How many of them were asked.
    asked: u64,
}

impl FindSummary {
    /// A search that found a change.
    pub(crate) fn of(history: &History, search: &Search, turn: &Turn) -> Self {
        Self {
            history: history.name().to_owned(),
            before: turn.before.as_ref().map(Reply::of),
            after: Reply::of(&turn.after),
            restore_points: search.restore_points,
            asked: search.asked,
        }
    }
}
