//! What somebody has the daemon do at once: labels, pauses, the configuration.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::access::detailed;
use super::ask::{Answered, At, Told, json};
use super::databases::{Which, told};
use super::history::chosen;
use super::problem::Problem;
use super::state::{Api, BASE, LEDGER, found};
use crate::api::daemon::{Asker, DaemonDatabase, JobAccepted, LabelGiven, ProblemDetails};
use crate::daemon::equivalent::Equivalent;
use crate::daemon::kind::Kind;
use crate::daemon::ledger::{self, key, past};
use crate::daemon::wanted::{Given, Named, Wanted};
use crate::daemon::words::instead;
use crate::error::{Error, ErrorKind};
use crate::format::snapshot::SnapshotKind;
use crate::repo::history::handle::History;
use crate::repo::history::labels::sound_label;

/// How long the answer waits for a state to be stored, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(50);
/// How long the ledger may take to remember something.
const REMEMBERED: Duration = Duration::from_secs(3);

/// A label that somebody wants to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelWanted {
    label: String,
    /// Which commit gets it, as on the command line behind the `@`. If it is not said: the state
    /// of the database now, which is stored when the answer comes.
    when: Option<String>,
}

/// Gives a label: to a commit, or to the state now, once that is stored. Storing it is a job, as it
/// is when its time comes: where it takes long, the answer is 202 and tells its number.
#[utoipa::path(post, path = "/databases/{repository}/{name}/labels", params(Which),
    request_body = LabelWanted,
    responses((status = 201, body = LabelGiven), (status = 202, body = JobAccepted),
        (status = "4XX", body = ProblemDetails)))]
pub(super) async fn label(
    State(api): State<Arc<Api>>,
    At(which): At<Which>,
    Told(LabelWanted { label, when }): Told<LabelWanted>,
) -> Answered {
    let detail = format!("{label:?} {}", when.as_deref().unwrap_or("now"));
    let named: Named = which.into();
    let answer = match when {
        Some(when) => label_commit(&api, named, label, when).await,
        None => label_now(&api, named, label).await,
    };
    detailed(detail, answer)
}

async fn label_commit(api: &Api, named: Named, label: String, when: String) -> Answered {
    let (of, clock) = (named.clone(), api.clock.clone());
    let given = api.ask(named.clone(), move |history: &History, _: &_| {
        let commit = chosen(history, &when, &clock)?.1.commit;
        let commit = (commit.seq, commit.record.digest);
        let given = history.label(commit, &label, SnapshotKind::Manual)?;
        let command = instead(&Equivalent::Label(of, given.seq, given.label.clone()));
        Ok(LabelGiven { seq: given.seq, label: given.label, command })
    });
    let given = given.await?;
    let database = &*named.name;
    tracing::info!(database, "seq:{} was labelled {:?}", given.seq, given.label);
    api.want(Wanted::Labelled(named)).await?;
    created(&given)
}

async fn label_now(api: &Api, named: Named, label: String) -> Answered {
    let path = found(&*api.overview()?, &named)?.path.display().to_string();
    // One that nobody could select by is refused before anything is stored.
    let label = sound_label(&label)?.to_owned();
    let wanted = Wanted::Run(named.clone(), Kind::Backup, Some(label.clone()));
    let Given::Job(id) = api.want(wanted).await? else {
        return Err(Error::new(ErrorKind::Failure, "has no number").into());
    };
    let command = instead(&Equivalent::LabelNow(named.clone(), path, label.clone()));
    let until = Instant::now() + PATIENCE;
    let job = loop {
        let job = api.job(id).await?;
        if job.ended.is_some() {
            break job;
        }
        if Instant::now() >= until {
            let location = format!("{BASE}/jobs/{id}");
            let mut response = json(&JobAccepted { id, location, command })?;
            *response.status_mut() = StatusCode::ACCEPTED;
            return Ok(response);
        }
        sleep(LOOK).await;
    };
    if job.result != "well" {
        let what = format!("{}: {}", job.result, job.message);
        let error = Error::new(ErrorKind::Storage, what).with_object(format!("job {id}"));
        return Err(error.with_hint("nothing was labelled").into());
    }
    let of = label.clone();
    let seq = api.ask(named, move |history: &History, _: &_| {
        let labels = history.readable_snapshots()?.0;
        let newest = labels.iter().filter(|given| given.label == of).map(|given| given.seq).max();
        newest.ok_or_else(|| Error::new(ErrorKind::NotFound, "is gone already").with_object(of))
    });
    created(&LabelGiven { seq: seq.await?, label, command })
}

fn created(given: &LabelGiven) -> Answered {
    let mut response = json(given)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Does nothing with a database any more, until it is resumed: it is not captured either.
#[utoipa::path(post, path = "/databases/{repository}/{name}/pause", params(Which), responses(
    (status = 200, body = DaemonDatabase), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(asker): Extension<Asker>,
    At(which): At<Which>,
) -> Answered {
    api.want(Wanted::Pause(which.clone().into(), asker.name)).await?;
    api.is_remembered(which.clone().into(), true).await?;
    json(&told(found(&*api.overview()?, &which.into())?))
}

/// Goes on with a database that was paused.
#[utoipa::path(post, path = "/databases/{repository}/{name}/resume", params(Which), responses(
    (status = 200, body = DaemonDatabase), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn resume(State(api): State<Arc<Api>>, At(which): At<Which>) -> Answered {
    api.want(Wanted::Resume(which.clone().into())).await?;
    api.is_remembered(which.clone().into(), false).await?;
    json(&told(found(&*api.overview()?, &which.into())?))
}

impl Api {
    /// Makes sure that the next daemon will know whether a database is paused.
    async fn is_remembered(&self, named: Named, paused: bool) -> Result<(), Problem> {
        let database = key(&named.repository, &named.name);
        let until = Instant::now() + REMEMBERED;
        loop {
            let (ledger, of) = (self.ledger.clone(), database.clone());
            let known = self.read(LEDGER, move |_| {
                let known = ledger::open(&ledger).and_then(|open| past::is_paused(&open, &of));
                known.map_err(|e| Error::new(ErrorKind::Storage, e.to_string()))
            });
            if known.await.is_ok_and(|known| known == paused) {
                return Ok(());
            }
            if Instant::now() >= until {
                let what = if paused { "it is paused" } else { "it goes on" };
                let what = format!("{what}, and the ledger can't be written: a restart forgets it");
                let error = Error::new(ErrorKind::Storage, what).with_object(database);
                let hint = "look at the daemon's log; it is written as soon as it can be";
                return Err(error.with_hint(hint).into());
            }
            sleep(LOOK).await;
        }
    }
}

/// Reads the configuration again. One that is wrong changes nothing, and is told in the log.
#[utoipa::path(post, path = "/configuration/reload", responses(
    (status = 204), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn reload(State(api): State<Arc<Api>>) -> Answered {
    api.want(Wanted::Reload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
