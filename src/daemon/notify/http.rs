//! Requests: one at a time, within a time limit, without redirects and without a proxy, so that
//! nothing but the address that was checked is reached.

use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use super::guard::Guard;
use super::message::cleaned;
use crate::daemon::config::check_url;
use crate::error::{Error, ErrorKind, Result};

/// How long a request may take, with all that belongs to it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of an answer is read, and how much of it is told.
const ANSWER: u64 = 16 << 10;
const SHOWN: usize = 200;

/// A request.
pub(super) struct Post<'a> {
    pub(super) url: &'a str,
    pub(super) content_type: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: &'a str,
    pub(super) allow_private: bool,
}

impl<'a> Post<'a> {
    /// One with JSON.
    pub(super) fn json(url: &'a str, body: &'a str, allow_private: bool) -> Self {
        Self { url, content_type: "application/json", headers: Vec::new(), body, allow_private }
    }

    /// Sends it. Returns what was answered, in a few words.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`], with the host alone: a path may be a secret.
    pub(super) fn send(self) -> Result<String> {
        check_url(self.url).map_err(|why| Error::new(ErrorKind::Failure, why))?;
        let uri: Uri = self.url.parse().unwrap_or_default();
        let place = place(&uri);
        let failed = |e: ureq::Error| failure(&e).with_object(&*place);
        let agent = agent(uri.scheme_str() == Some("https"), self.allow_private);
        let mut request = agent.post(uri).header("content-type", self.content_type);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let mut answer = request.send(self.body).map_err(failed)?;
        let status = answer.status();
        let told = told(answer.body_mut());
        let shown = if told.is_empty() { String::new() } else { format!(": {told}") };
        if status.is_success() {
            return Ok(format!("{status}{shown}"));
        }
        let error = Error::new(ErrorKind::Failure, format!("answered {status}{shown}"));
        let error = error.with_object(&*place);
        Err(match status.as_u16() {
            300..=399 => error.with_hint("no redirect is followed: write the URL that it leads to"),
            401 | 403 => error.with_hint("check the token or the URL, which may have been revoked"),
            404 | 410 => error.with_hint("check the URL: there is nothing of this name"),
            429 => error.with_hint("it has too much to do; it is tried again"),
            _ => error.with_hint("see what the log of the other side says"),
        })
    }
}

/// Scheme, host and port of a URL.
fn place(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

/// What makes a request.
fn agent(is_tls: bool, allow_private: bool) -> Agent {
    let mut tls = TlsConfig::builder();
    if is_tls {
        tls = tls.root_certs(roots());
    }
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("pagekeep/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build();
    let guard = Guard { allow_private, resolver: Default::default() };
    Agent::with_parts(config, DefaultConnector::default(), guard)
}

/// The authorities that this machine trusts.
fn roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map_or(String::new(), |e| format!(": {e}"));
        tracing::warn!("this machine trusts no authority, so nothing of https can be reached{why}");
    }
    let owned = |der: &rustls::pki_types::CertificateDer<'_>| Certificate::from_der(der).to_owned();
    found.certs.iter().map(owned).collect::<Vec<_>>().into()
}

/// What an answer says, in a few words; nothing if it can't be read.
fn told(body: &mut Body) -> String {
    let text = body.with_config().limit(ANSWER).lossy_utf8(true).read_to_string();
    cleaned(&text.unwrap_or_default(), SHOWN).trim().to_owned()
}

/// An error of a request, without its URL.
fn failure(e: &ureq::Error) -> Error {
    let wrong = |what: String| {
        let hint = "check the URL, and whether its host can be reached from here";
        Error::new(ErrorKind::Failure, what).with_hint(hint)
    };
    match e {
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            wrong(e.to_string()).with_hint("allow-private = true lets it")
        }
        ureq::Error::Io(e) => wrong(format!("cannot be reached: {e}")),
        ureq::Error::Timeout(_) => wrong(format!("did not answer within {} s", PATIENCE.as_secs())),
        ureq::Error::HostNotFound => wrong("is a host that nobody knows".to_owned()),
        ureq::Error::BadUri(_) => wrong("is no URL".to_owned()),
        e => wrong(format!("cannot be reached: {}", cleaned(&e.to_string(), SHOWN))),
    }
}
