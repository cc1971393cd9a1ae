//! Jobs: those that wait and run, from the overview; past ones, from the ledger; and new ones.

use std::path::Path as File;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::time::sleep;
use utoipa::{IntoParams, ToSchema};

use super::access::detailed;
use super::ask::{Answered, Asked, At, Told, json};
use super::databases::{Which, running};
use super::problem::Problem;
use super::state::{Api, BASE, LEDGER};
use crate::api::daemon::{Asker, DaemonJob, DaemonJobs, JobAccepted, ProblemDetails};
use crate::daemon::equivalent::Equivalent;
use crate::daemon::kind::Kind;
use crate::daemon::ledger::{self, key, past};
use crate::daemon::overview::{DatabaseView, Overview};
use crate::daemon::wanted::{Given, Named, Wanted};
use crate::daemon::words::instead;
use crate::error::{Error, ErrorKind};

/// How many jobs a page has, unless asked for fewer, and at most.
const PAGE: u64 = 50;
const MOST: u64 = 1000;
/// The header by which a request that is sent twice begins one job.
const KEY: &str = "idempotency-key";
/// How long such a key may be.
const LONGEST: usize = 200;
/// How often a job is looked for that has just ended, and is on its way to the ledger.
const TRIES: usize = 10;
const AGAIN: Duration = Duration::from_millis(200);

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

/// The results that a job may have.
const RESULTS: [&str; 9] = [
    "waiting",
    "running",
    "well",
    "found",
    "failed",
    "unknown",
    "stopped",
    "cancelled",
    "interrupted",
];

impl JobsAsked {
    /// Refuses what no job has: an empty answer would say that nothing failed.
    fn check(&self) -> Result<(), Problem> {
        let one_of = |member: &str, given: &Option<String>, known: &[&str]| match given {
            Some(given) if !known.contains(&&**given) => {
                let hint = format!("it is one of {}", known.join(", "));
                let what = format!("{given:?} is none that there is");
                let error = Error::new(ErrorKind::Usage, what).with_object(member);
                Err(Problem::from(error.with_hint(hint)))
            }
            _ => Ok(()),
        };
        let kinds = Kind::ALL.map(Kind::name);
        one_of("kind", &self.kind, &kinds)?;
        one_of("result", &self.result, &RESULTS)?;
        match &self.database {
            Some(database) if !database.contains('/') => {
                Err(Error::new(ErrorKind::Usage, format!("{database:?} names no repository"))
                    .with_object("database")
                    .with_hint("write repository/name")
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// Jobs, the newest first: those that wait, those that run, and past ones.
#[utoipa::path(get, path = "/jobs", params(JobsAsked), responses(
    (status = 200, body = DaemonJobs), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn list(State(api): State<Arc<Api>>, Asked(asked): Asked<JobsAsked>) -> Answered {
    asked.check()?;
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
pub(super) async fn one(State(api): State<Arc<Api>>, At(id): At<u64>) -> Answered {
    json(&api.job(id).await?)
}

impl Api {
    /// A job.
    pub(super) async fn job(&self, id: u64) -> Result<DaemonJob, Problem> {
        let mut tries = 0;
        loop {
            let overview = self.overview()?;
            if let Some(job) = present(&overview).into_iter().find(|job| job.id == id) {
                return Ok(job);
            }
            let wanted = past::Wanted { id: Some(id), limit: 1, ..past::Wanted::default() };
            let ledger = self.ledger.clone();
            let found = self.read(LEDGER, move |_| read(&ledger, &wanted)).await?.pop();
            let is_over = found.as_ref().is_some_and(|job| job.ended.is_some());
            tries += 1;
            match found {
                Some(job) if is_over || tries >= TRIES => return Ok(job),
                None if tries >= TRIES => {
                    let error = Error::new(ErrorKind::NotFound, "is not known");
                    return Err(error.with_object(format!("job {id}")).into());
                }
                _ => sleep(AGAIN).await,
            }
        }
    }
}

/// Ends a job that waits or runs. It ends soon, and says so then.
#[utoipa::path(delete, path = "/jobs/{id}", params(("id" = u64, Path, description = "Its number.")),
    responses((status = 202), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(asker): Extension<Asker>,
    At(id): At<u64>,
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
    At(which): At<Which>,
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
    let key = match headers.get(KEY) {
        None => None,
        Some(key) => {
            let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= LONGEST);
            let key = key.ok_or_else(|| {
                let what = format!("has to be up to {LONGEST} plain characters");
                Error::new(ErrorKind::Usage, what).with_object(format!("the header {KEY}"))
            })?;
            Some(format!("{} {key}", asker.name))
        }
    };
    let answer = match key {
        None => api.begin(named, known).await,
        Some(key) => {
            // Of two requests at once with one key the second waits for the first.
            let mut keys = api.keys.lock().await;
            match keys.known.get(&key) {
                Some((id, of, as_kind)) if *of == named && *as_kind == known => {
                    accepted(*id, named, known)
                }
                Some(_) => Err(Error::new(ErrorKind::Refused, "was used for another job")
                    .with_object(format!("the header {KEY}"))
                    .into()),
                None => match api.want(Wanted::Run(named.clone(), known, None)).await {
                    Ok(Given::Job(id)) => {
                        keys.remember(key, (id, named.clone(), known));
                        accepted(id, named, known)
                    }
                    Ok(Given::Done) => Err(numberless()),
                    Err(problem) => Err(problem),
                },
            }
        }
    };
    detailed(kind, answer)
}

impl Api {
    async fn begin(&self, named: Named, kind: Kind) -> Answered {
        match self.want(Wanted::Run(named.clone(), kind, None)).await? {
            Given::Job(id) => accepted(id, named, kind),
            Given::Done => Err(numberless()),
        }
    }
}

fn numberless() -> Problem {
    Error::new(ErrorKind::Failure, "has no number").into()
}

fn accepted(id: u64, named: Named, kind: Kind) -> Answered {
    let location = format!("{BASE}/jobs/{id}");
    let place = HeaderValue::from_str(&location).ok();
    let command = instead(&Equivalent::Job(named, kind.name()));
    let mut response = json(&JobAccepted { id, location, command })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Some(place) = place {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// Past jobs of the ledger.
fn read(ledger: &File, wanted: &past::Wanted) -> crate::error::Result<Vec<DaemonJob>> {
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
