//! Errors as answers (RFC 9457): an error of the engine, its object, and what helps.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::api::daemon::ProblemDetails;
use crate::api::problem::{causes, remedies};
use crate::daemon::words::said;
use crate::error::{Error, ErrorKind};

/// The type of such an answer.
const PROBLEM: &str = "application/problem+json";

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    /// What it says; boxed, since it is seldom needed.
    details: Box<ProblemDetails>,
}

impl Problem {
    /// What an error says.
    pub(super) fn of(error: &Error) -> Self {
        let (kind, status) = (error.kind(), status_of(error.kind()));
        // What it is about has a member of its own.
        let mut detail = error.message().to_owned();
        for cause in causes(error) {
            detail += ": ";
            detail += &cause;
        }
        let details = ProblemDetails {
            r#type: format!("urn:pagekeep:problem:{}", kind.name()),
            title: title_of(kind).to_owned(),
            status,
            detail,
            kind,
            object: error.object().map(str::to_owned),
            hint: error.hint().map(said),
            remedies: remedies(error),
        };
        Self { status, details: Box::new(details) }
    }

    /// The same with another status.
    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self.details.status = status;
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FAILED_DEPENDENCY);
        // Texts can always be written.
        let json = serde_json::to_string(&self.details).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, PROBLEM)], json + "\n").into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

/// The status that stands for a kind. What the daemon needs and has not is no fault of its own.
const fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Usage => 400,
        ErrorKind::NotFound => 404,
        ErrorKind::Busy | ErrorKind::Superseded | ErrorKind::Refused => 409,
        ErrorKind::Interrupted => 503,
        ErrorKind::Failure => 500,
        ErrorKind::Damaged
        | ErrorKind::Source
        | ErrorKind::NoRepository
        | ErrorKind::WrongKey
        | ErrorKind::Storage
        | ErrorKind::NoSpace
        | ErrorKind::TooNew => 424,
    }
}

const fn title_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Failure => "it failed",
        ErrorKind::Usage => "the request makes no sense",
        ErrorKind::Damaged => "what is stored is damaged",
        ErrorKind::Source => "the database can't be read",
        ErrorKind::NoRepository => "there is no repository",
        ErrorKind::Busy => "somebody else holds it",
        ErrorKind::Superseded => "another writer took it over",
        ErrorKind::WrongKey => "the key does not open it",
        ErrorKind::Storage => "the storage can't be reached",
        ErrorKind::NoSpace => "there is no room left",
        ErrorKind::TooNew => "a newer version wrote it",
        ErrorKind::NotFound => "it is not there",
        ErrorKind::Refused => "it is refused",
        ErrorKind::Interrupted => "it was stopped",
    }
}
