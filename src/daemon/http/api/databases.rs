//! The daemon itself, and how its databases stand, from the overview.

use std::sync::Arc;

use axum::extract::{Extension, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ask::{Answered, At, json};
use super::state::{Api, found};
use crate::api::daemon::{
    Asker, DaemonAbout, DaemonDatabase, DaemonDatabases, DaemonMirror, LastJob, PausedBy,
    ProblemDetails, RunningJob, WaitingJob,
};
use crate::daemon::overview::{CopyView, DatabaseView, JobView};
use crate::daemon::wanted::Named;
use crate::machine::host;

/// Which database.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// The name of its repository in the configuration.
    pub(super) repository: String,
    /// The name of its history.
    pub(super) name: String,
}

impl From<Which> for Named {
    fn from(Which { repository, name }: Which) -> Self {
        Self { repository, name }
    }
}

/// The daemon, and who asks.
#[utoipa::path(get, path = "/about", responses(
    (status = 200, body = DaemonAbout), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn about(
    State(api): State<Arc<Api>>,
    Extension(asked_by): Extension<Asker>,
) -> Answered {
    json(&DaemonAbout {
        version: env!("CARGO_PKG_VERSION"),
        host: host(),
        at: api.clock.now(),
        configuration: api.file.display().to_string(),
        asked_by,
    })
}

/// How all databases stand.
#[utoipa::path(get, path = "/databases", responses(
    (status = 200, body = DaemonDatabases), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Answered {
    let overview = api.overview()?;
    let mut views: Vec<&DatabaseView> = overview.databases.iter().collect();
    views.sort_by_key(|view| (&view.repository, &view.name));
    let databases = views.into_iter().map(told).collect();
    json(&DaemonDatabases { at: overview.at, databases })
}

/// How a database stands.
#[utoipa::path(get, path = "/databases/{repository}/{name}", params(Which), responses(
    (status = 200, body = DaemonDatabase), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn one(State(api): State<Arc<Api>>, At(which): At<Which>) -> Answered {
    let overview = api.overview()?;
    json(&told(found(&overview, &which.into())?))
}

/// A database as the API tells it.
pub(super) fn told(view: &DatabaseView) -> DaemonDatabase {
    let standing = &view.standing;
    DaemonDatabase {
        repository: view.repository.clone(),
        name: view.name.clone(),
        path: view.path.display().to_string(),
        verdict: view.verdict.clone().into(),
        phase: view.phase.name().to_owned(),
        paused: view.paused.as_ref().map(|p| PausedBy { by: p.by.clone(), since: p.since }),
        newest: standing.newest,
        stored: standing.stored,
        verified: standing.verified,
        restored: standing.restored,
        lag_seconds: view.following.map(|following| following.lag.as_secs_f64()),
        job: view.job.as_ref().map(running),
        waiting: view.wanted.iter().map(|(id, kind)| waiting(*id, kind.name())).collect(),
        last_jobs: view
            .runs
            .iter()
            .map(|(kind, run)| LastJob {
                kind: kind.name().to_owned(),
                ended: run.at,
                result: run.ended.name().to_owned(),
                message: run.message.clone(),
                failures: run.failures,
            })
            .collect(),
        mirrors: view.copies.iter().map(mirror).collect(),
    }
}

fn mirror(copy: &CopyView) -> DaemonMirror {
    let CopyView { mirror, complete, fault, .. } = copy;
    DaemonMirror { mirror: mirror.clone(), complete: *complete, fault: fault.clone() }
}

fn waiting(id: u64, kind: &str) -> WaitingJob {
    WaitingJob { id, kind: kind.to_owned() }
}

/// A job that runs, as the API tells it.
pub(super) fn running(job: &JobView) -> RunningJob {
    let far = job.far;
    RunningJob {
        id: job.id,
        kind: job.kind.name().to_owned(),
        began: job.began,
        phase: far.map(|far| far.phase.name().to_owned()),
        done_bytes: far.map_or(0, |far| far.done),
        total_bytes: far.and_then(|far| far.total),
        bytes_per_second: far.map_or(0, |far| far.rate()),
        eta_seconds: far.and_then(|far| far.seconds_left()),
    }
}
