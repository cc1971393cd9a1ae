//! Jobs: those that wait and run, from the overview; past ones, from the ledger; and new ones.

use std::collections::{HashMap, VecDeque};
use std::path::Path as File;
use std::sync::{Arc, PoisonError};

use axum::extract::{Extension, Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::access::Detail;
use super::ask::{Answered, Asked, Told, json};
use super::databases::{Which, running};
use super::{Api, BASE};
use crate::api::daemon::{Asker, DaemonJob, DaemonJobs, JobAccepted, ProblemDetails};
use crate::daemon::equivalent::Equivalent;
use crate::daemon::kind::Kind;
use crate::daemon::ledger::{self, key, past};
use crate::daemon::overview::{DatabaseView, Overview};
use crate::daemon::wanted::{Given, Named, Wanted};
use crate::daemon::words::instead;
use crate::error::{Error, ErrorKind, Result};

/// How many jobs a page has, unless asked for fewer, and at most.
const PAGE: u64 = 50;
const MOST: u64 = 1000;
/// The header by which a request that is sent twice begins one job.
const KEY: &str = "idempotency-key";
/// How many such keys are remembered, and how long one may be.
const KEYS: usize = 1000;
const LONGEST: usize = 200;
/// Who is asked about past jobs.
const LEDGER: &str = "the ledger";

/// Jobs that were asked for by a key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: HashMap<String, (u64, Named, Kind)>,
    order: VecDeque<String>,
}

impl Keys {
    fn remember(&mut self, key: String, job: (u64, Named, Kind)) {
        if self.order.len() >= KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.known.insert(key, job);
    }
}

/// Which jobs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsAsked {
    /// Only jobs of lower numbers.
    before: Option<u64>,
    /// How many at most, up to 1000; 50 if it is not said.
    limit: Option<u64>,
    /// Only those of this database, as `repository/name`.
    database: Option<String>,
    /// Only those of this kind.
    kind: Option<String>,
    /// Only those with this result.
    result: Option<String>,
}

/// Jobs, the newest first: those that wait, those that run, and past ones.
#[utoipa::path(get, path = "/jobs", params(JobsAsked), responses(
    (status = 200, body = DaemonJobs), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn list(State(api): State<Arc<Api>>, Asked(asked): Asked<JobsAsked>) -> Answered {
    let overview = api.overview()?;
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, MOST);
    let wanted = past::Wanted {
        id: None,
        before: asked.before,
        limit,
        database: asked.database.clone(),
        kind: asked.kind.clone(),
        result: asked.result.clone(),
    };
    let ledger = api.ledger.clone();
    let past = api.read(LEDGER, move |_| read(&ledger, &wanted)).await?;
    let fits = |job: &DaemonJob| {
        asked.before.is_none_or(|before| job.id < before)
            && asked.database.as_ref().is_none_or(|database| *database == job.database)
            && asked.kind.as_ref().is_none_or(|kind| *kind == job.kind)
            && asked.result.as_ref().is_none_or(|result| *result == job.result)
    };
    let mut jobs: Vec<DaemonJob> = present(&overview).into_iter().filter(fits).collect();
    // The ledger may have a present one, too, and says less of it.
    for job in past {
        if !jobs.iter().any(|known| known.id == job.id) {
            jobs.push(job);
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = jobs.len() >= limit;
    jobs.truncate(limit);
    let next = jobs.last().map(|job| job.id).filter(|id| more && *id > 1);
    json(&DaemonJobs { jobs, next })
}

/// A job.
#[utoipa::path(get, path = "/jobs/{id}", params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, body = DaemonJob), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn one(State(api): State<Arc<Api>>, Path(id): Path<u64>) -> Answered {
    let overview = api.overview()?;
    if let Some(job) = present(&overview).into_iter().find(|job| job.id == id) {
        return json(&job);
    }
    let wanted = past::Wanted { id: Some(id), limit: 1, ..past::Wanted::default() };
    let ledger = api.ledger.clone();
    let found = api.read(LEDGER, move |_| read(&ledger, &wanted)).await?;
    let unknown =
        || Error::new(ErrorKind::NotFound, "is not known").with_object(format!("job {id}"));
    json(&found.into_iter().next().ok_or_else(unknown)?)
}

/// Ends a job that waits or runs. It ends soon, and says so then.
#[utoipa::path(delete, path = "/jobs/{id}", params(("id" = u64, Path, description = "Its number.")),
    responses((status = 202), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<u64>,
) -> Answered {
    api.want(Wanted::Cancel(id)).await?;
    tracing::info!(job = id, "{} asked for its end", asker.name);
    let mut response = axum::response::Response::default();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// A job that somebody wants.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobWanted {
    /// `backup`, `files`, `verify-data`, `verify-restore`, `prune` or `drift`.
    kind: String,
}

/// Begins a job as soon as its turn comes. With the header `Idempotency-Key` a request that is sent
/// twice begins one.
#[utoipa::path(post, path = "/databases/{repository}/{name}/jobs", params(Which),
    request_body = JobWanted,
    responses((status = 202, body = JobAccepted), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    Extension(asker): Extension<Asker>,
    Path(which): Path<Which>,
    headers: HeaderMap,
    Told(JobWanted { kind }): Told<JobWanted>,
) -> Answered {
    let named: Named = which.into();
    let known = Kind::of(&kind).filter(|kind| *kind != Kind::Group).ok_or_else(|| {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Group).map(Kind::name);
        let hint = format!("it is one of {}", kinds.collect::<Vec<_>>().join(", "));
        let what = format!("{kind:?} is no kind of job");
        Error::new(ErrorKind::Usage, what).with_object("kind").with_hint(hint)
    })?;
    // Of two askers each has keys of their own.
    let key = headers.get(KEY).and_then(|key| key.to_str().ok());
    let key =
        key.map(|key| format!("{} {}", asker.name, key.chars().take(LONGEST).collect::<String>()));
    let before = key.as_ref().and_then(|key| {
        api.keys.lock().unwrap_or_else(PoisonError::into_inner).known.get(key).cloned()
    });
    let id = match before {
        Some((id, of, as_kind)) if of == named && as_kind == known => id,
        Some(_) => {
            return Err(Error::new(ErrorKind::Refused, "was used for another job")
                .with_object(format!("the header {KEY}"))
                .into());
        }
        None => match api.want(Wanted::Run(named.clone(), known)).await? {
            Given::Job(id) => id,
            Given::Done => return Err(Error::new(ErrorKind::Failure, "has no number").into()),
        },
    };
    if let Some(key) = key {
        let mut keys = api.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remember(key, (id, named.clone(), known));
    }
    let location = format!("{BASE}/jobs/{id}");
    let place = HeaderValue::from_str(&location).ok();
    let command = instead(&Equivalent::Job(named, known.name()));
    let mut response = json(&JobAccepted { id, location, command })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Some(place) = place {
        response.headers_mut().insert(LOCATION, place);
    }
    response.extensions_mut().insert(Detail(format!("job {id}, {kind}")));
    Ok(response)
}

/// Past jobs of the ledger.
fn read(ledger: &File, wanted: &past::Wanted) -> Result<Vec<DaemonJob>> {
    let failed = |e: rusqlite::Error| {
        Error::new(ErrorKind::Storage, format!("can't be read: {e}"))
            .with_object(ledger.display().to_string())
    };
    let connection = ledger::open(ledger).map_err(failed)?;
    past::read(&connection, wanted).map_err(failed)
}

/// The jobs that wait and run.
fn present(overview: &Overview) -> Vec<DaemonJob> {
    let of = |view: &DatabaseView| {
        let database = key(&view.repository, &view.name);
        let waiting = view.wanted.iter().map(|(id, kind)| DaemonJob {
            id: *id,
            database: database.clone(),
            kind: kind.name().to_owned(),
            scheduled: None,
            began: None,
            ended: None,
            result: "waiting".to_owned(),
            message: String::new(),
            progress: None,
        });
        let runs = view.job.as_ref().map(|job| DaemonJob {
            id: job.id,
            database: database.clone(),
            kind: job.kind.name().to_owned(),
            scheduled: None,
            began: Some(job.began),
            ended: None,
            result: "running".to_owned(),
            message: String::new(),
            progress: Some(running(job)),
        });
        waiting.chain(runs).collect::<Vec<_>>()
    };
    overview.databases.iter().flat_map(of).collect()
}
