//! All routes: each is described, and each is closed to whoever may not.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::{Extension, Router};
use crossbeam_channel::{Receiver, unbounded};
use serde_json::Value;
use tower_service::Service;

use super::state::{Means, Peer};
use super::*;
use crate::api::daemon::Role;
use crate::daemon::overview::Board;
use crate::daemon::samples::followed;
use crate::daemon::shelf::Shelf;
use crate::daemon::wanted::{Given, Named, Wanted, Wish, Wisher};
use crate::types::Clock;

struct Scene {
    _dir: tempfile::TempDir,
    api: Arc<Api>,
    inbox: Receiver<Wish>,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mailbox, inbox) = unbounded();
        let board = Board::default();
        board.put(Arc::new(crate::daemon::overview::Overview {
            databases: vec![followed("shop")],
            ..Default::default()
        }));
        let api = Api::of(Means {
            board,
            shelf: Shelf::default(),
            wisher: Wisher::new(move |wish| mailbox.send(wish).is_ok()),
            file: dir.path().join("pagekeep.toml"),
            ledger: dir.path().join("daemon.db"),
            clock: Clock::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { _dir: dir, api, inbox, runtime }
    }

    fn router(&self, peer: Peer) -> Router {
        routes(&self.api).layer(Extension(peer))
    }

    fn token(&self, name: &str, role: Role, looks: bool) -> String {
        self.api.access.add(name, (role, looks), None).unwrap().1
    }

    fn ask(&self, peer: Peer, request: Request<Body>) -> Response {
        let mut router = self.router(peer);
        self.runtime.block_on(async { router.call(request).await.unwrap() })
    }

    fn body(&self, response: Response) -> Value {
        let bytes = self.runtime.block_on(to_bytes(response.into_body(), 1 << 20)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// A path with something in each of its places.
fn filled(path: &str) -> String {
    path.replace("{repository}", "main").replace("{name}", "shop").replace("{id}", "7")
}

fn request(method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(&*method.to_uppercase()).uri(path);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_owned()))).unwrap()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let described = openapi::description();
    let mut all = BTreeSet::new();
    for (path, item) in &described.paths.paths {
        let item = serde_json::to_value(item).unwrap();
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                all.insert((method.to_owned(), path.clone()));
            }
        }
    }
    let routes: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(all, routes);
}

/// Compared with what is committed; `PAGEKEEP_WRITE_JSON=1` writes it.
#[test]
fn the_description_is_the_one_that_is_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let now = openapi::description().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("PAGEKEEP_WRITE_JSON").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == now, "docs/openapi.json is not what the routes say");
}

#[test]
fn every_route_is_closed_to_whoever_may_not() {
    let scene = Scene::new();
    let viewer = scene.token("viewer", Role::Viewer, false);
    let operator = scene.token("operator", Role::Operator, false);
    let admin = scene.token("admin", Role::Admin, false);
    let asked = std::cell::Cell::new(0);
    for (method, path, right) in ROUTES {
        let path = filled(path);
        let ask = |token: Option<&str>| {
            asked.set(asked.get() + 1);
            scene.ask(Peer::Anybody, request(method, &path, token, None))
        };
        for nobody in [None, Some("pagekeep_0"), Some("")] {
            let refused = ask(nobody);
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(refused.headers()["www-authenticate"], "Bearer");
            assert_eq!(scene.body(refused)["kind"], "refused");
        }
        // Who may not is refused before anything is looked at.
        let too_low: &[&str] = match right {
            Right::See => &[],
            Right::Look => &[&viewer, &operator, &admin],
            Right::Operate => &[&viewer],
            Right::Administer => &[&viewer, &operator],
        };
        for token in too_low {
            let refused = ask(Some(token));
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    assert!(scene.inbox.is_empty(), "the supervisor was asked");
    // All of it is in the log, since that was fewer than a hundred.
    let (entries, whole) = scene.api.access.entries(None, 1000).unwrap();
    assert_eq!((entries.len(), whole), (asked.get(), true));
    assert!(entries.iter().any(|entry| entry.who == "viewer" && entry.status == 403));
}

#[test]
fn what_changes_something_is_in_the_audit_log_and_what_only_tells_is_not() {
    let scene = Scene::new();
    for (method, path, right) in ROUTES.iter().filter(|(_, path, _)| *path != "/events") {
        let (path, before) = (filled(path), scene.api.access.entries(None, 1000).unwrap().0.len());
        // Nobody answers for the supervisor.
        scene.inbox.try_iter().for_each(drop);
        let inbox = scene.inbox.clone();
        let refuser = std::thread::spawn(move || {
            while let Ok(message) = inbox.recv_timeout(std::time::Duration::from_millis(300)) {
                drop(message);
            }
        });
        let response = scene.ask(Peer::Owner, request(method, &path, None, Some("{}")));
        refuser.join().unwrap();
        let status = response.status();
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{method} {path}");
        let after = scene.api.access.entries(None, 1000).unwrap().0.len();
        assert_eq!(after - before, usize::from(*right != Right::See), "{method} {path}");
    }
}

#[test]
fn the_supervisor_is_told_what_somebody_wants_and_by_whom() {
    let scene = Scene::new();
    let operator = scene.token("ci", Role::Operator, false);
    let inbox = scene.inbox.clone();
    let ledger = crate::daemon::ledger::open(&scene.api.ledger).unwrap();
    let supervisor = std::thread::spawn(move || {
        let mut heard = Vec::new();
        while let Ok(wish) = inbox.recv_timeout(std::time::Duration::from_secs(60)) {
            let is_end = matches!(wish.wanted, Wanted::Reload);
            let given = match &wish.wanted {
                Wanted::Run(..) => Given::Job(9),
                Wanted::Pause(_, by) => {
                    let sql = "INSERT INTO paused(database, by, since) VALUES('main/shop', ?1, 0)";
                    ledger.execute(sql, [by]).unwrap();
                    Given::Done
                }
                Wanted::Resume(_) => {
                    ledger.execute("DELETE FROM paused", []).unwrap();
                    Given::Done
                }
                _ => Given::Done,
            };
            heard.push(wish.wanted);
            wish.answer.send(Ok(given)).unwrap();
            if is_end {
                break;
            }
        }
        heard
    });
    let base = "/databases/main/shop";
    let ask = |path: &str, body: Option<&str>| {
        scene.ask(Peer::Anybody, request("post", &format!("{base}{path}"), Some(&operator), body))
    };
    let begun = ask("/jobs", Some(r#"{"kind":"verify-data"}"#));
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    assert_eq!(begun.headers()["location"], "/api/v1/jobs/9");
    assert_eq!(ask("/pause", None).status(), StatusCode::OK);
    assert_eq!(ask("/resume", None).status(), StatusCode::OK);
    // The same key begins nothing twice, and no other job.
    let keyed = |kind: &str| {
        let body = format!("{{\"kind\":\"{kind}\"}}");
        let mut request = request("post", &format!("{base}/jobs"), Some(&operator), Some(&body));
        request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
        scene.ask(Peer::Anybody, request)
    };
    assert_eq!(keyed("prune").status(), StatusCode::ACCEPTED);
    assert_eq!(scene.body(keyed("prune"))["id"], 9);
    assert_eq!(keyed("backup").status(), StatusCode::CONFLICT);
    let wrong = ["{", "{}", r#"{"kind":"group"}"#, r#"{"kind":"x"}"#, r#"{"kind":"prune","x":1}"#];
    for body in wrong {
        assert_eq!(ask("/jobs", Some(body)).status(), StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(ask("/jobs", None).status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let reload = request("post", "/configuration/reload", None, None);
    assert_eq!(scene.ask(Peer::Owner, reload).status(), StatusCode::NO_CONTENT);
    let shop = || Named { repository: "main".to_owned(), name: "shop".to_owned() };
    let heard = supervisor.join().unwrap();
    assert_eq!(
        heard,
        [
            Wanted::Run(shop(), crate::daemon::kind::Kind::VerifyData, None),
            Wanted::Pause(shop(), "ci".to_owned()),
            Wanted::Resume(shop()),
            Wanted::Run(shop(), crate::daemon::kind::Kind::Prune, None),
            Wanted::Reload,
        ]
    );
}

/// Whoever has no token can't push out of the log what others did.
#[test]
fn strangers_do_not_fill_the_audit_log() {
    let scene = Scene::new();
    for _ in 0..300 {
        let refused = scene.ask(Peer::Anybody, request("get", "/about", None, None));
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(scene.api.access.entries(None, 1000).unwrap().0.len(), 100);
}
