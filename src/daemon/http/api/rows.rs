//! Rows of the past: SQL on any commit, which only reads, within limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use rusqlite::Row;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::access::Detail;
use super::ask::{Answered, Told, Until, json};
use super::databases::Which;
use super::history::chosen;
use crate::api::daemon::{PastRows, ProblemDetails};
use crate::api::query::as_json;
use crate::daemon::equivalent::Equivalent;
use crate::daemon::wanted::Named;
use crate::daemon::words::instead;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::query::{Answers, Asked, Limits, Next};
use crate::ops::view::ViewOptions;
use crate::repo::history::handle::History;
use crate::types::Clock;

/// How many rows an answer has, unless asked for fewer, and at most.
const ROWS: u64 = 1000;
const MOST_ROWS: u64 = 100_000;
/// How long SQL may run, unless it is asked for less, and at most, in seconds.
const SECONDS: u64 = 5;
const MOST_SECONDS: u64 = 25;
/// How large an answer may be, and a value of it, in bytes.
const ANSWER: usize = 32 << 20;
const VALUE: usize = 8 << 20;
/// How much of the database is held in memory.
const CACHE: usize = 32 << 20;

/// A question to the past.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// One statement that only reads.
    sql: String,
    /// Which commit, as on the command line behind the `@`; the newest if it is not said.
    #[serde(default = "newest")]
    when: String,
    /// How many rows at most, up to 100,000; 1000 if it is not said.
    max_rows: Option<u64>,
    /// How many seconds it may take, up to 25; 5 if it is not said.
    seconds: Option<u64>,
}

fn newest() -> String {
    "latest".to_owned()
}

/// Asks a commit of a database.
#[utoipa::path(post, path = "/databases/{repository}/{name}/query", params(Which),
    request_body = Question,
    responses((status = 200, body = PastRows), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn query(
    State(api): State<Arc<Api>>,
    Path(which): Path<Which>,
    Told(question): Told<Question>,
) -> Answered {
    let (named, clock): (Named, _) = (which.into(), api.clock.clone());
    let detail = format!("@{}: {}", question.when, question.sql);
    let of = named.clone();
    let work = move |history: &History, until: &Until| question.answer(history, of, &clock, until);
    // What was asked is told whatever became of it.
    let answer = api.ask(named, work).await.and_then(|rows| json(&rows));
    let mut response = answer.unwrap_or_else(axum::response::IntoResponse::into_response);
    response.extensions_mut().insert(Detail(detail));
    Ok(response)
}

impl Question {
    fn answer(
        &self,
        history: &History,
        named: Named,
        clock: &Clock,
        until: &Until,
    ) -> Result<PastRows> {
        let began = Instant::now();
        let (chain, chosen) = chosen(history, &self.when, clock)?;
        let commit = chosen.commit;
        let point = RestorePoint::of(history, &chain, &commit);
        let view = point.open(&ViewOptions::default().cache_bytes(CACHE))?;
        let seconds = self.seconds.unwrap_or(SECONDS).clamp(1, MOST_SECONDS);
        let limits = Limits { time: Some(Duration::from_secs(seconds)), value_bytes: VALUE };
        let asked = Asked::new(view, limits, until.stop())?;
        let mut given = Rows {
            most: self.max_rows.unwrap_or(ROWS).clamp(1, MOST_ROWS),
            columns: None,
            rows: Vec::new(),
            bytes: 0,
            is_cut: false,
        };
        asked.run(&self.sql, &mut given)?;
        Ok(PastRows {
            seq: commit.seq,
            time: commit.record.time,
            columns: given.columns.unwrap_or_default(),
            rows: given.rows,
            truncated: given.is_cut,
            seconds: began.elapsed().as_secs_f64(),
            command: instead(&Equivalent::Query(named, commit.seq, self.sql.clone())),
        })
    }
}

/// Takes rows, as many as are wanted and as there is room for.
struct Rows {
    most: u64,
    columns: Option<Vec<String>>,
    rows: Vec<Vec<Value>>,
    bytes: usize,
    is_cut: bool,
}

impl Answers for Rows {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        if self.columns.replace(columns.to_vec()).is_some() {
            return Err(Error::new(ErrorKind::Usage, "is more than one statement")
                .with_object("sql")
                .with_hint("ask one at a time"));
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> rusqlite::Result<Next> {
        if self.rows.len() as u64 >= self.most || self.bytes >= ANSWER {
            self.is_cut = true;
            return Ok(Next::Enough);
        }
        let columns = self.columns.as_ref().map_or(0, Vec::len);
        let values: Vec<Value> =
            (0..columns).map(|at| row.get_ref(at).map(as_json)).collect::<rusqlite::Result<_>>()?;
        self.bytes += values.iter().map(size).sum::<usize>();
        self.rows.push(values);
        Ok(Next::Row)
    }

    fn end(&mut self) {}
}

/// About how many bytes a value takes.
fn size(value: &Value) -> usize {
    const EACH: usize = 16;
    EACH + match value {
        Value::String(text) => text.len(),
        Value::Object(blob) => blob.values().map(size).sum(),
        _ => 0,
    }
}
