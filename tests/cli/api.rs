//! The API of a daemon, through the real binary: by its socket, by a port, and by the commands that
//! ask it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, commits_of, told, write};
use crate::support::cli::Lab;

/// How long a client waits for an answer.
const PATIENT: Duration = Duration::from_secs(60);
const BASE: &str = "/api/v1/databases/main/app";
const CONFIG: &str = "[http]\nlisten = \"127.0.0.1:0\"\n[defaults]\nverify.data = \"never\"\nverify.restore = \"never\"\n\
    marks = \"off\"\n[[databases]]\npath = \"app.db\"\n";

/// An answer: its code, its head, its body.
#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: Value,
}

/// Sends a request, and reads what comes until the server hangs up.
fn say(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    Answer { code, head: head.to_ascii_lowercase(), body }
}

fn request(method: &str, path: &str, token: &str, body: Option<&Value>) -> String {
    let body = body.map(Value::to_string);
    let told = body.as_ref().map_or(String::new(), |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let token = if token.is_empty() { "" } else { &*format!("Authorization: Bearer {token}\r\n") };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}{told}\r\n{}",
        body.unwrap_or_default()
    )
}

/// Where the daemon's port is.
struct Port(String);

impl Port {
    fn of(daemon: &mut Daemon<'_>, lab: &Lab) -> Self {
        let address = || {
            let log = fs::read_to_string(lab.path("run.log")).unwrap();
            let (_, behind) = log.rsplit_once("told at http://")?;
            Some(behind.split('"').next().unwrap().to_owned())
        };
        daemon.until("it listens", || address().is_some());
        Self(address().unwrap())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.0).unwrap();
        stream.set_read_timeout(Some(PATIENT)).unwrap();
        stream
    }

    fn get(&self, token: &str, path: &str) -> Answer {
        say(self.connect(), &request("GET", path, token, None))
    }

    fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        say(self.connect(), &request("POST", path, token, Some(&body)))
    }
}

fn scene() -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 50);
    write(&lab, CONFIG);
    lab
}

fn token(lab: &Lab, args: &[&str]) -> String {
    let ended = lab.run(&[&["token", "add"], args].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.trim().to_owned()
}

#[test]
fn commands_reach_the_daemon_by_a_socket_of_this_user_alone() {
    let lab = scene();
    lab.run(&["job", "list"]).failed(16, &["daemon.sock", "pagekeep run"]);
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let socket = lab.path("state/daemon.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(PATIENT)).unwrap();
    let about = say(stream, &request("GET", "/api/v1/about", "", None));
    assert_eq!((about.code, &about.body["asked_by"]["role"]), (200, &json!("admin")));
    assert!(about.head.contains("x-request-id: "), "{about:?}");
    // A job, now.
    let ended = lab.run(&["job", "start", "app", "verify-restore", "--wait"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.says(&["verify-restore: well", "was restored and is sound"]);
    let jobs = lab.json(&["job", "list", "app", "--result", "well"]);
    assert_eq!(
        (&jobs[0]["kind"], &jobs[0]["database"]),
        (&json!("verify-restore"), &json!("main/app"))
    );
    lab.run(&["job", "start", "app", "prune"]).failed(17, &["no policy"]);
    lab.run(&["job", "start", "app", "nonsense"]).failed(2, &["verify-data"]);
    lab.run(&["job", "start", "other", "backup"]).failed(16, &["other"]);
    lab.run(&["job", "stop", "999999"]).failed(16, &["999999", "job list"]);
    lab.run(&["job", "list", "--result", "bad"]).failed(2, &["bad", "interrupted"]);
    lab.ok(&["job", "list", "main/app", "--repository", "main"]);
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn a_paused_database_is_left_alone_until_it_is_resumed_also_over_a_restart() {
    let lab = scene();
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let paused = lab.summary(&["pause", "app"]);
    assert_eq!(paused["paused"]["by"], "the owner");
    daemon.until("it is paused", || told(&lab, "app", "is paused") > 0);
    lab.sql("app.db", "INSERT INTO t(x) VALUES('meanwhile')");
    lab.run(&["job", "start", "app", "backup"]).failed(17, &["paused by the owner"]);
    daemon.stop();
    let mut daemon = Daemon::start(&lab);
    daemon.keeps(&own(&lab), 1);
    let jobs = lab.run(&["job", "start", "app", "backup"]);
    jobs.failed(17, &["paused by the owner"]);
    assert_eq!(commits_of(&lab, "app"), 1);
    let resumed = lab.summary(&["resume", "app"]);
    assert_eq!(resumed["paused"], Value::Null);
    daemon.keeps("app", 2);
    lab.sql("app.db", "INSERT INTO t(x) VALUES('and on')");
    daemon.keeps("app", 3);
    daemon.stop();
}

/// The name of the daemon's own history.
fn own(lab: &Lab) -> String {
    let known = lab.json(&["snapshots"]);
    let mut names = known.iter().filter_map(|commit| commit["history"].as_str());
    names.rfind(|name| name.starts_with("pagekeep-daemon.")).unwrap().to_owned()
}

#[test]
fn a_token_opens_what_its_role_may_and_nothing_once_it_is_taken_away() {
    let lab = scene();
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let port = Port::of(&mut daemon, &lab);
    let viewer = token(&lab, &["grafana"]);
    let looker = token(&lab, &["support", "--looks"]);
    let operator = token(&lab, &["deploy", "--role", "operator", "--days", "90"]);
    for nobody in ["", "pagekeep_0", &viewer[..viewer.len() - 1]] {
        let refused = port.get(nobody, "/api/v1/databases");
        assert_eq!((refused.code, &refused.body["kind"]), (401, &json!("refused")), "{nobody}");
    }
    let all = port.get(&viewer, "/api/v1/databases").body;
    assert!(all["databases"].as_array().unwrap().iter().any(|of| of["name"] == "app"), "{all}");
    // A label for the state now, which is durable with the answer.
    lab.sql("app.db", "INSERT INTO t(x) VALUES('before the deployment')");
    let label = json!({"label": "before-deploy"});
    assert_eq!(port.post(&viewer, &format!("{BASE}/labels"), label.clone()).code, 403);
    let given = port.post(&operator, &format!("{BASE}/labels"), label);
    assert_eq!(given.code, 201, "{given:?}");
    assert!(given.body["command"].as_str().unwrap().contains("--label before-deploy"), "{given:?}");
    lab.ok(&["restore", "app@before-deploy", "back.db"]);
    // What it means, what there is, and when.
    let found = port.get(&viewer, &format!("{BASE}/commit?when=before-deploy"));
    let seq = given.body["seq"].as_u64().unwrap();
    assert_eq!((found.code, found.body["commit"]["seq"].as_u64()), (200, Some(seq)));
    let command = found.body["command"].as_str().unwrap();
    let shown: Vec<&str> = command.split(' ').skip(1).collect();
    lab.ok(&shown);
    // A label that nobody could select by stores nothing.
    let bad = port.post(&operator, &format!("{BASE}/labels"), json!({"label": "latest"}));
    assert_eq!(bad.code, 400, "{bad:?}");
    let known = json!({"label": "known", "when": "seq:1"});
    let known = port.post(&operator, &format!("{BASE}/labels"), known);
    assert_eq!((known.code, &known.body["seq"]), (201, &json!(1)));
    assert_eq!(port.get(&viewer, &format!("{BASE}/commit?when=nowhere")).code, 404);
    let page = port.get(&viewer, &format!("{BASE}/commits?limit=1")).body;
    assert_eq!(page["commits"][0]["seq"].as_u64(), Some(seq));
    let older = port.get(&viewer, &format!("{BASE}/commits?before={}", page["next"])).body;
    let count = u64::try_from(older["commits"].as_array().unwrap().len()).unwrap();
    assert_eq!((count, &older["next"]), (seq - 1, &Value::Null));
    let timeline = port.get(&viewer, &format!("{BASE}/timeline?buckets=10")).body;
    let buckets = timeline["buckets"].as_array().unwrap();
    let commits: u64 = buckets.iter().map(|bucket| bucket["commits"].as_u64().unwrap()).sum();
    assert_eq!(commits, seq);
    let labelled = timeline["labelled"].as_array().unwrap();
    let labels: Vec<&Value> = labelled.iter().map(|commit| &commit["label"]).collect();
    assert_eq!(labels, ["known", "before-deploy"]);
    assert_eq!(port.get(&viewer, &format!("{BASE}/coverage")).code, 200);
    for wrong in ["commits?since=yesterday", "commits?x=1", "commit", "timeline?buckets=x"] {
        let refused = port.get(&viewer, &format!("{BASE}/{wrong}"));
        assert_eq!(refused.code, 400, "{wrong}: {refused:?}");
    }
    // Rows are for those who may look.
    let rows = |token: &str, sql: &str| {
        port.post(token, &format!("{BASE}/query"), json!({"sql": sql, "when": "before-deploy"}))
    };
    let sql = "SELECT x, count(*) OVER () FROM t WHERE x LIKE 'before%'";
    assert_eq!((rows(&viewer, sql).code, rows(&operator, sql).code), (403, 403));
    let answer = rows(&looker, sql);
    assert_eq!(answer.body["rows"], json!([["before the deployment", 1]]), "{answer:?}");
    for refused in ["DELETE FROM t", "ATTACH 'x' AS y", "SELECT load_extension('x')"] {
        assert!([400, 409].contains(&rows(&looker, refused).code), "{refused}");
    }
    assert_eq!(rows(&looker, "SELECT 1; SELECT 2").code, 400);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let large = "SELECT count(*) FROM (SELECT DISTINCT randomblob(1000000) FROM t, t a, t b)";
    assert!([400, 409, 503].contains(&rows(&looker, large).code));
    let cut = rows(&looker, endless).body;
    assert_eq!((cut["rows"].as_array().unwrap().len(), &cut["truncated"]), (1000, &json!(true)));
    // All of it is in the audit log, and the secret nowhere.
    let audit = token(&lab, &["boss", "--role", "admin", "--looks"]);
    // The daemon's own database has who may do what: it is for admins.
    let own_rows = |token: &str| {
        let path = format!("/api/v1/databases/main/{}/query", own(&lab));
        port.post(token, &path, json!({"sql": "SELECT name FROM token"}))
    };
    assert_eq!((own_rows(&looker).code, own_rows(&audit).code), (403, 200));
    // Histories that are no databases of the daemon are nobody's business.
    lab.make("stray.db", 1);
    lab.ok(&["backup", "stray.db"]);
    assert_eq!(port.get(&audit, "/api/v1/databases/main/stray/commits").code, 404);
    let entries = port.get(&audit, "/api/v1/audit?limit=1000").body;
    assert_eq!(entries["whole"], true);
    let entries = entries["entries"].to_string();
    for part in ["before-deploy", "DELETE FROM t", "nobody", "grafana", "POST /api/v1/tokens"] {
        assert!(entries.contains(part), "{part}: {entries}");
    }
    lab.ok(&["token", "remove", "support"]);
    assert_eq!(rows(&looker, sql).code, 401);
    let log = fs::read_to_string(lab.path("run.log")).unwrap();
    for secret in [&viewer, &looker, &operator, &audit] {
        assert!(!log.contains(secret.as_str()) && !entries.contains(secret.as_str()));
    }
    lab.run(&["token", "add", "grafana"]).failed(17, &["grafana"]);
    daemon.stop();
}

/// A socket of the configuration is a door like a port: other programs stand before it.
#[test]
fn a_socket_of_the_configuration_asks_for_a_token() {
    let lab = scene();
    write(&lab, &CONFIG.replace("127.0.0.1:0", "unix:http.sock"));
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let viewer = token(&lab, &["proxy"]);
    let ask = |token: &str| {
        let stream = UnixStream::connect(lab.path("http.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENT)).unwrap();
        say(stream, &request("GET", "/api/v1/about", token, None))
    };
    assert_eq!(ask("").code, 401);
    assert_eq!(ask(&viewer).body["asked_by"]["role"], "viewer");
    daemon.stop();
}

/// Who hangs up has done it all the same.
#[test]
fn a_client_that_hangs_up_is_in_the_audit_log() {
    let lab = scene();
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let port = Port::of(&mut daemon, &lab);
    let operator = token(&lab, &["deploy", "--role", "operator"]);
    let mut stream = port.connect();
    let label = json!({"label": "left"});
    let ask = request("POST", &format!("{BASE}/labels"), &operator, Some(&label));
    stream.write_all(ask.as_bytes()).unwrap();
    daemon.says("app", "backup begins");
    drop(stream);
    let boss = token(&lab, &["boss", "--role", "admin"]);
    let entries = || port.get(&boss, "/api/v1/audit").body["entries"].to_string();
    daemon.until("the entry", || entries().contains("left"));
    daemon.stop();
}

/// A stream tells what changed, and keeps no daemon from ending.
#[test]
fn a_stream_of_events_tells_how_databases_stand_and_ends_with_the_daemon() {
    let lab = scene();
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let port = Port::of(&mut daemon, &lab);
    let viewer = token(&lab, &["watcher"]);
    let streams: Vec<TcpStream> = (0..5)
        .map(|_| {
            let mut stream = port.connect();
            let ask = format!(
                "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {viewer}\r\n\r\n"
            );
            stream.write_all(ask.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut lines = BufReader::new(streams[0].try_clone().unwrap()).lines();
    let mut next = |kind: &str, part: &str| {
        let mut is_kind = false;
        loop {
            let line = lines.next().unwrap().unwrap();
            if line.starts_with("event: ") {
                is_kind = line == format!("event: {kind}");
            } else if is_kind && line.starts_with("data: ") && line.contains(part) {
                return line;
            }
        }
    };
    next("begin", "{}");
    next("database", "\"name\":\"app\"");
    lab.ok(&["pause", "app"]);
    next("database", "\"state\":\"paused\"");
    daemon.stop();
    for mut stream in streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
}
