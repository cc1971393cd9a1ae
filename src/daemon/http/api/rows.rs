//! Rows of the past: SQL on any commit, which only reads, within limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use rusqlite::Row;
use rusqlite::limits::Limit;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::access::detailed;
use super::ask::{Answered, At, Told, Until};
use super::databases::Which;
use super::history::chosen;
use super::problem::Problem;
use super::state::Api;
use crate::api::daemon::{Asker, PastRows, ProblemDetails, Role};
use crate::api::query::as_json;
use crate::daemon::equivalent::Equivalent;
use crate::daemon::opened::OWN_NAME;
use crate::daemon::wanted::Named;
use crate::daemon::words::instead;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::query::{Answers, Asked, Limits, Next};
use crate::ops::view::ViewOptions;
use crate::repo::history::handle::History;
use crate::sqlite::view::memory_used;
use crate::types::Clock;

/// How many rows an answer has, unless asked for fewer, and at most.
const ROWS: u64 = 1000;
const MOST_ROWS: u64 = 100_000;
/// How long SQL may run, unless it is asked for less, and at most, in seconds.
const SECONDS: u64 = 5;
const MOST_SECONDS: u64 = 25;
/// How large an answer may be, and a value of it, in bytes.
const ANSWER: usize = 16 << 20;
const VALUE: usize = 1 << 20;
/// How many columns a statement may have.
const COLUMNS: i32 = 200;
/// By how much all of SQLite's memory in this process may grow while somebody asks: captures need
/// the rest.
const MEMORY: u64 = 256 << 20;
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
    Extension(asker): Extension<Asker>,
    At(which): At<Which>,
    Told(question): Told<Question>,
) -> Answered {
    let (named, clock): (Named, _) = (which.into(), api.clock.clone());
    let detail = format!("@{}: {}", question.when, question.sql);
    // It has who may do what, and what was asked.
    if named.name.starts_with(OWN_NAME) && asker.role != Role::Admin {
        let error = Error::new(ErrorKind::Refused, "is the daemon's own database");
        let error = error.with_object(named.name).with_hint("it needs a token of the role admin");
        return detailed(detail, Err(Problem::of(&error).with_status(403)));
    }
    let of = named.clone();
    let work = move |history: &History, until: &Until| question.answer(history, of, &clock, until);
    let Ok(place) = api.answers.clone().try_acquire_owned() else {
        let error = Error::new(ErrorKind::Busy, "too many answers are being made and read");
        return detailed(detail, Err(Problem::of(&error).with_status(503)));
    };
    detailed(detail, api.ask(named, work).await.and_then(|rows| large(&rows, place)))
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
        let failed = |e| Error::new(ErrorKind::Failure, "SQLite takes no limits").with_source(e);
        view.set_limit(Limit::SQLITE_LIMIT_COLUMN, COLUMNS).map_err(failed)?;
        let (stop, most) = (until.stop(), memory_used().saturating_add(MEMORY));
        let is_large = Arc::<AtomicBool>::default();
        let grows = is_large.clone();
        let asked = Asked::new(view, limits, move || {
            if memory_used() > most {
                grows.store(true, Ordering::Relaxed);
            }
            grows.load(Ordering::Relaxed) || stop()
        })?;
        let mut given = Rows {
            most: self.max_rows.unwrap_or(ROWS).clamp(1, MOST_ROWS),
            columns: None,
            rows: Vec::new(),
            bytes: 0,
            is_cut: false,
        };
        if let Err(e) = asked.run(&self.sql, &mut given) {
            if is_large.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Refused, "takes too much memory")
                    .with_object("sql")
                    .with_hint("ask for less at a time, or ask the command line"));
            }
            if began.elapsed() >= Duration::from_secs(seconds) {
                let what = format!("takes longer than {seconds} s");
                let hint =
                    format!("ask for less, or let it take more `seconds`, up to {MOST_SECONDS}");
                return Err(Error::new(ErrorKind::Refused, what)
                    .with_object("sql")
                    .with_hint(hint));
            }
            return Err(e);
        }
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

/// An answer that may be large: there are a few of them at most until clients have read them.
fn large(rows: &PastRows, place: OwnedSemaphorePermit) -> Answered {
    struct Held(
        String,
        #[expect(dead_code, reason = "held until it is read")] OwnedSemaphorePermit,
    );
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    let json = serde_json::to_string(rows)
        .map_err(|e| Error::new(ErrorKind::Failure, "can't be written as JSON").with_source(e))?;
    let body = Body::from(Bytes::from_owner(Held(json + "\n", place)));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
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
