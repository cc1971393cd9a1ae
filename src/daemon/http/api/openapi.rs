//! The description of the API (OpenAPI 3.1), made from the handlers and their answers.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Described, SecurityRequirement, Server};

use super::ask::Answered;
use super::state::BASE;
use super::{access, databases, deeds, events, history, jobs, rows};
use crate::error::{Error, ErrorKind};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "pagekeep",
        description = "What a running pagekeep daemon tells, and what it can be told. Times are RFC 3339 in UTC.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        databases::about,
        openapi,
        databases::list,
        databases::one,
        history::commits,
        history::resolve,
        history::coverage,
        history::timeline,
        rows::query,
        deeds::label,
        jobs::begin,
        deeds::pause,
        deeds::resume,
        jobs::list,
        jobs::one,
        jobs::cancel,
        events::stream,
        deeds::reload,
        access::tokens,
        access::add,
        access::remove,
        access::audit,
    )
)]
struct Description;

/// The description.
pub(crate) fn description() -> Described {
    let mut all = Description::openapi();
    all.servers = Some(vec![Server::new(BASE)]);
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    all.components.get_or_insert_default().add_security_scheme("token", bearer);
    all.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    all
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = String)))]
pub(super) async fn openapi() -> Answered {
    let json = description()
        .to_json()
        .map_err(|e| Error::new(ErrorKind::Failure, "can't be written as JSON").with_source(e))?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}
