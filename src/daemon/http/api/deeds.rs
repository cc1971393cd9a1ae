//! What somebody has the daemon do at once: labels, pauses, the configuration.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::access::Detail;
use super::ask::{Answered, Told, Until, json};
use super::databases::{Which, found, told};
use super::history::chosen;
use crate::api::daemon::{Asker, DaemonDatabase, LabelGiven, ProblemDetails};
use crate::daemon::equivalent::Equivalent;
use crate::daemon::wanted::{Named, Wanted};
use crate::daemon::words::instead;
use crate::format::snapshot::SnapshotKind;
use crate::ops::backup::BackupOptions;
use crate::repo::history::handle::History;

/// A label that somebody wants to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelWanted {
    label: String,
    /// Which commit gets it, as on the command line behind the `@`. If it is not said: the state
    /// of the database now, which is stored when the answer comes.
    when: Option<String>,
}

/// Gives a label: to a commit, or to the state now, once that is stored.
#[utoipa::path(post, path = "/databases/{repository}/{name}/labels", params(Which),
    request_body = LabelWanted,
    responses((status = 201, body = LabelGiven), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn label(
    State(api): State<Arc<Api>>,
    Path(which): Path<Which>,
    Told(LabelWanted { label, when }): Told<LabelWanted>,
) -> Answered {
    let path = found(&*api.overview()?, &which)?.path.clone();
    let (named, clock): (Named, _) = (which.into(), api.clock.clone());
    let (of, wanted) = (named.clone(), label.clone());
    let work = move |history: &History, until: &Until| match when {
        Some(when) => {
            let commit = chosen(history, &when, &clock)?.1.commit;
            let commit = (commit.seq, commit.record.digest);
            let given = history.label(commit, &wanted, SnapshotKind::Manual)?;
            let command = instead(&Equivalent::Label(of, given.seq, given.label.clone()));
            Ok(LabelGiven { seq: given.seq, label: given.label, command })
        }
        None => {
            let options = BackupOptions::default().name(history.name()).label(&wanted);
            let report = history.repository().backup(&path, &options, until)?;
            let at = path.display().to_string();
            let command = instead(&Equivalent::LabelNow(of, at, wanted.clone()));
            Ok(LabelGiven { seq: report.seq, label: wanted, command })
        }
    };
    let given = api.ask(named, work).await?;
    tracing::info!("seq:{} was labelled {:?}", given.seq, given.label);
    let mut response = json(&given)?;
    *response.status_mut() = StatusCode::CREATED;
    response.extensions_mut().insert(Detail(format!("seq:{} {label:?}", given.seq)));
    Ok(response)
}

/// Does nothing with a database any more, until it is resumed: it is not captured either.
#[utoipa::path(post, path = "/databases/{repository}/{name}/pause", params(Which), responses(
    (status = 200, body = DaemonDatabase), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(asker): Extension<Asker>,
    Path(which): Path<Which>,
) -> Answered {
    api.want(Wanted::Pause(which.clone().into(), asker.name)).await?;
    json(&told(found(&*api.overview()?, &which)?))
}

/// Goes on with a database that was paused.
#[utoipa::path(post, path = "/databases/{repository}/{name}/resume", params(Which), responses(
    (status = 200, body = DaemonDatabase), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn resume(State(api): State<Arc<Api>>, Path(which): Path<Which>) -> Answered {
    api.want(Wanted::Resume(which.clone().into())).await?;
    json(&told(found(&*api.overview()?, &which)?))
}

/// Reads the configuration again. One that is wrong changes nothing, and is told in the log.
#[utoipa::path(post, path = "/configuration/reload", responses(
    (status = 204), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn reload(State(api): State<Arc<Api>>) -> Answered {
    api.want(Wanted::Reload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
