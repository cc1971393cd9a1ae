//! Asks the daemon of a state folder, by its socket.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, Request};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::context::Context;
use crate::daemon::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Clock;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer.
const LONGEST: usize = 64 << 20;
/// What the paths begin with.
const BASE: &str = "/api/v1";

/// The daemon of a state folder.
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The one that the options and the configuration name.
    pub(super) fn of(context: &Context) -> Result<Self> {
        let place = Place { state_dir: context.state_dir()?, clock: Clock::default() };
        Ok(Self { socket: place.socket() })
    }

    /// What the daemon answers.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when none runs; what the daemon says.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.read(self.ask(Method::GET, path, None)?)
    }

    /// The same, for something that is to be done.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        self.read(self.ask(Method::POST, path, Some(body))?)
    }

    /// The same, where the answer says nothing.
    pub(super) fn delete(&self, path: &str) -> Result<()> {
        self.ask(Method::DELETE, path, None).map(|_| ())
    }

    fn read<T: DeserializeOwned>(&self, bytes: Vec<u8>) -> Result<T> {
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(ErrorKind::Failure, "answers what is not understood here")
                .with_source(e)
                .with_object(self.socket.display().to_string())
                .with_hint("the daemon may be of another version: start it again")
        })
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| self.failed(&e))?;
        let mut request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        request = request.header(HOST, "localhost").header(CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).map_err(|e| self.failed(&e))?;
        let answer = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.exchange(request)).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Busy, "gave no answer in time")
                    .with_object(self.socket.display().to_string()))
            })
        });
        let (status, bytes) = answer?;
        match status {
            200..=299 => Ok(bytes),
            _ => Err(self.told(status, &bytes)),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(u16, Vec<u8>)> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.absent(&e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.failed(&e))?;
        let talking = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| self.failed(&e))?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), LONGEST).await;
        talking.abort();
        Ok((status, body.map_err(|e| self.failed(&e))?.to_vec()))
    }

    /// Nobody listens.
    fn absent(&self, e: &std::io::Error) -> Error {
        let there = self.socket.display().to_string();
        match e.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                Error::new(ErrorKind::NotFound, "is the socket of no daemon that runs")
                    .with_object(there)
                    .with_hint("start one by `pagekeep run -c FILE`, or name its configuration by -c or its folder by --state-dir")
            }
            _ => Error::new(ErrorKind::Failure, format!("can't be opened: {e}"))
                .with_object(there)
                .with_hint("a daemon answers commands of its own user"),
        }
    }

    fn failed(&self, e: &dyn std::fmt::Display) -> Error {
        Error::new(ErrorKind::Failure, format!("gave no answer: {e}"))
            .with_object(self.socket.display().to_string())
            .with_hint("the daemon's log may say why")
    }

    /// An error as the daemon tells it.
    fn told(&self, status: u16, bytes: &[u8]) -> Error {
        let Ok(problem) = serde_json::from_slice::<Value>(bytes) else {
            return self.failed(&format_args!("status {status}"));
        };
        let text = |member: &str| problem.get(member).and_then(Value::as_str);
        let kind = text("kind").and_then(ErrorKind::of).unwrap_or(ErrorKind::Failure);
        let mut error = Error::new(kind, text("detail").unwrap_or("it failed"));
        if let Some(object) = text("object") {
            error = error.with_object(object);
        }
        match (text("hint"), kind) {
            (Some(hint), _) => error.with_hint(hint),
            (None, ErrorKind::NotFound) => error.with_hint(
                "`pagekeep job list` and `pagekeep token list` show the jobs and the tokens",
            ),
            (None, _) => error,
        }
    }
}

/// A part of a path.
pub(super) fn part(text: &str) -> String {
    let mut part = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                part.push(char::from(byte));
            }
            _ => part += &format!("%{byte:02X}"),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere() {
        assert_eq!(part("shop-1_2.x~"), "shop-1_2.x~");
        assert_eq!(part("../a b/?#%é"), "..%2Fa%20b%2F%3F%23%25%C3%A9");
    }
}
