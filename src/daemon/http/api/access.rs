//! Who asks, and may they: the guard before each handler; tokens, and the audit log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::ask::{Answered, Asked, At, Told, json};
use super::problem::Problem;
use super::state::{Api, DOOR, LEDGER, OWNER, Peer};
use crate::api::daemon::{Asker, AuditPage, ProblemDetails, Role, TokenMade, Tokens};
use crate::daemon::access::Deed;
use crate::error::{Error, ErrorKind};

/// Who could not say who they are.
const NOBODY: &str = "nobody";
/// How many entries a page of the audit log has, unless asked for fewer, and at most.
const PAGE: u64 = 100;
const MOST: u64 = 1000;
/// The longest that a token lasts, in days.
const LONGEST: u32 = 36_500;

/// Who may ask something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Whoever may ask anything.
    See,
    /// Who may read the rows of databases.
    Look,
    Operate,
    Administer,
}

impl Right {
    const fn is_of(self, asker: &Asker) -> bool {
        match self {
            Self::See => true,
            Self::Look => asker.looks,
            Self::Operate => matches!(asker.role, Role::Operator | Role::Admin),
            Self::Administer => matches!(asker.role, Role::Admin),
        }
    }

    /// What to do if somebody has it not.
    const fn needs(self) -> &'static str {
        match self {
            Self::See => "a token",
            Self::Look => "a token that may look into databases",
            Self::Operate => "a token of the role operator or admin",
            Self::Administer => "a token of the role admin",
        }
    }
}

/// What an answer was about, for the audit log.
#[derive(Clone, Debug)]
pub(super) struct Detail(pub(super) String);

/// An answer, also one that is refused, with what it was about.
pub(super) fn detailed(detail: String, answer: Answered) -> Answered {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(Detail(detail));
    Ok(response)
}

/// Lets those through who may, and enters in the audit log what they did.
pub(super) async fn guard(
    State((api, right)): State<(Arc<Api>, Right)>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<OriginalUri>().map(|uri| uri.0.path().to_owned());
    let path = path.unwrap_or_else(|| request.uri().path().to_owned());
    let what = format!("{} {path}", request.method());
    let said = Said::of(&request);
    let asker = match asker(&api, said).await {
        Ok(asker) => asker,
        Err(problem) => {
            let response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED && api.strangers.may_enter() {
                note(&api, NOBODY, what, Noted::of(&response)).await;
            }
            return response;
        }
    };
    let is_seen = right == Right::See;
    let who = asker.name.clone();
    if !right.is_of(&asker) {
        let error = Error::new(ErrorKind::Refused, format!("{who:?} may not do this"));
        let problem = Problem::of(&error.with_hint(format!("it needs {}", right.needs())));
        let response = problem.with_status(403).into_response();
        if api.strangers.may_enter() {
            note(&api, &who, what, Noted::of(&response)).await;
        }
        return response;
    }
    request.extensions_mut().insert(asker);
    if is_seen {
        return next.run(request).await;
    }
    // A client that hangs up meanwhile stops neither the deed nor its entry.
    let doing = tokio::spawn(async move {
        let response = next.run(request).await;
        note(&api, &who, what, Noted::of(&response)).await;
        response
    });
    doing.await.unwrap_or_else(|_| {
        Problem::of(&Error::new(ErrorKind::Failure, "was given up")).into_response()
    })
}

/// What the audit log has of an answer.
struct Noted {
    status: u16,
    detail: String,
}

impl Noted {
    fn of(response: &Response) -> Self {
        let detail = response.extensions().get::<Detail>();
        let detail = detail.map_or(String::new(), |detail| detail.0.clone());
        Self { status: response.status().as_u16(), detail }
    }
}

async fn note(api: &Api, who: &str, what: String, Noted { status, detail }: Noted) {
    let deed = Deed { who: who.to_owned(), what: what.clone(), detail, status };
    let access = api.access.clone();
    let entered = api.read(DOOR, move |_| access.enter(deed)).await;
    if let Err(problem) = entered {
        // Whoever did it has done it: the log of the daemon has it, at least.
        tracing::error!("the audit log lacks {what:?} of {who:?} ({status}): {problem:?}");
    }
}

/// What a request says of who asks.
enum Said {
    /// It came by the owner's socket.
    Owner,
    /// Nothing, or not one thing.
    Nothing,
    /// A token.
    Token(String),
    /// Something else.
    Other,
}

impl Said {
    fn of(request: &Request) -> Self {
        if request.extensions().get::<Peer>() == Some(&Peer::Owner) {
            return Self::Owner;
        }
        let mut headers = request.headers().get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else { return Self::Nothing };
        let text = header.to_str().unwrap_or_default();
        match text.split_once(' ').filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer")) {
            Some((_, secret)) => Self::Token(secret.trim().to_owned()),
            None => Self::Other,
        }
    }
}

/// Who asks.
async fn asker(api: &Api, said: Said) -> Result<Asker, Problem> {
    let refused = |what: &str| {
        let error = Error::new(ErrorKind::Refused, what);
        let hint = "ask with the header `Authorization: Bearer` and a token of this daemon";
        Problem::of(&error.with_hint(hint)).with_status(401)
    };
    let secret = match said {
        Said::Owner => {
            return Ok(Asker { name: OWNER.to_owned(), role: Role::Admin, looks: true });
        }
        Said::Nothing => return Err(refused("nobody says who asks")),
        Said::Other => return Err(refused("this is no token")),
        Said::Token(secret) => secret,
    };
    let access = api.access.clone();
    match api.read(DOOR, move |_| access.who(&secret)).await? {
        Some(asker) => Ok(asker),
        None => Err(refused("this token opens nothing, or not any more")),
    }
}

/// The tokens, without what opens.
#[utoipa::path(get, path = "/tokens", responses(
    (status = 200, body = Tokens), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn tokens(State(api): State<Arc<Api>>) -> Answered {
    let access = api.access.clone();
    let tokens = api.read(LEDGER, move |_| access.tokens()).await?;
    json(&Tokens { tokens })
}

/// A token that somebody wants.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenWanted {
    /// Its name: letters, digits, and any of - _ . @
    name: String,
    /// What whoever has it may do.
    role: Role,
    /// Whether it may read the rows of databases.
    #[serde(default)]
    looks: bool,
    /// After how many days it ends; without it does not.
    #[schema(minimum = 1, maximum = 36_500)]
    days: Option<u32>,
}

/// Makes a token, and tells what opens, once.
#[utoipa::path(post, path = "/tokens", request_body = TokenWanted, responses(
    (status = 201, body = TokenMade), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn add(State(api): State<Arc<Api>>, Told(wanted): Told<TokenWanted>) -> Answered {
    let TokenWanted { name, role, looks, days } = wanted;
    if days.is_some_and(|days| !(1..=LONGEST).contains(&days)) {
        let what = format!("has to be from 1 to {LONGEST}");
        return Err(Error::new(ErrorKind::Usage, what).with_object("days").into());
    }
    let lasts = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
    let (access, of) = (api.access.clone(), name.clone());
    let made = api.read(LEDGER, move |_| access.add(&of, (role, looks), lasts)).await;
    let looks = if looks { ", looks" } else { "" };
    let detail = format!("token {name}, {}{looks}", role.name());
    detailed(
        detail,
        made.and_then(|(token, secret)| {
            tracing::info!("a token {name:?} of the role {} was made", role.name());
            let mut response = json(&TokenMade { token, secret })?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }),
    )
}

/// Takes a token away.
#[utoipa::path(delete, path = "/tokens/{name}", params(("name", description = "Its name.")),
    responses((status = 204), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn remove(State(api): State<Arc<Api>>, At(name): At<String>) -> Answered {
    let (access, of) = (api.access.clone(), name.clone());
    api.read(LEDGER, move |_| access.remove(&of)).await?;
    tracing::info!("the token {name:?} was taken away");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which entries of the audit log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditAsked {
    /// Only entries of lower numbers.
    before: Option<u64>,
    /// How many at most, up to 1000; 100 if it is not said.
    limit: Option<u64>,
}

/// Who did what, the newest first.
#[utoipa::path(get, path = "/audit", params(AuditAsked), responses(
    (status = 200, body = AuditPage), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn audit(
    State(api): State<Arc<Api>>,
    Asked(AuditAsked { before, limit }): Asked<AuditAsked>,
) -> Answered {
    let (access, limit) = (api.access.clone(), limit.unwrap_or(PAGE).clamp(1, MOST));
    let (entries, whole) = api.read(LEDGER, move |_| access.entries(before, limit)).await?;
    let next = entries.last().map(|entry| entry.id).filter(|id| *id > 1);
    let next = next.filter(|_| entries.len() as u64 == limit);
    json(&AuditPage { entries, next, whole })
}
