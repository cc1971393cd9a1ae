//! Metrics and health of a daemon, as monitors ask for them: through the real binary, over real
//! sockets, read by a reader of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, HeldClock, init, write};
use crate::support::cli::{self, Ended, Lab};

const HTTP: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";
/// How long a client waits for an answer.
const PATIENT: Duration = Duration::from_secs(30);

/// An answer: its code, its head, its body.
#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    /// All that a server says until it hangs up.
    fn of(mut stream: impl Read) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn reasons(&self) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let reasons = body["reasons"].as_array().into_iter().flatten();
        reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }
}

/// The newest address in the log.
fn address(lab: &Lab) -> Option<String> {
    let log = fs::read_to_string(lab.path("run.log")).unwrap();
    let (_, behind) = log.rsplit_once("told at http://")?;
    Some(behind.split('"').next().unwrap().to_owned())
}

/// Waits until the daemon tells where it listens.
fn listening(daemon: &mut Daemon<'_>, lab: &Lab) -> String {
    daemon.until("it listens", || address(lab).is_some());
    address(lab).unwrap()
}

fn connect(to: &str) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENT)).unwrap();
    stream
}

/// Sends something, and takes what comes until the server hangs up.
fn say(to: &str, text: &str) -> Answer {
    let mut stream = connect(to);
    stream.write_all(text.as_bytes()).unwrap();
    Answer::of(stream)
}

fn ask(to: &str, path: &str) -> Answer {
    say(to, &format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"))
}

fn ask_socket(path: &std::path::Path, what: &str) -> Answer {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENT)).unwrap();
    write!(stream, "GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    Answer::of(stream)
}

/// Metrics by their names and sorted labels, as the description of the format has it: whatever is
/// not in it fails.
#[derive(Debug)]
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn of(to: &str) -> Self {
        let answer = ask(to, "/metrics");
        assert_eq!(answer.code, 200, "{answer:?}");
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{answer:?}");
        assert!(answer.body.ends_with('\n'));
        let mut metrics = BTreeMap::new();
        let mut of = None;
        for line in answer.body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(["HELP", "TYPE"].contains(&what), "{line}");
                assert!(!words.next().unwrap().is_empty(), "{line}");
                of = Some(name);
                continue;
            }
            let (name, labels, value) = sample(line);
            assert_eq!(Some(name.as_str()), of, "{line}");
            let key =
                labels.iter().fold(name, |key, (label, text)| format!("{key} {label}={text}"));
            assert!(metrics.insert(key, value).is_none(), "twice: {line}");
        }
        Self(metrics)
    }

    /// The value of a metric with its labels, in the order of the alphabet.
    fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }
}

/// A line: the name, the labels, the value.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let mut chars = line.chars().peekable();
    let mut name = String::new();
    while let Some(c) = chars.next_if(is_word) {
        name.push(c);
    }
    assert!(!name.is_empty(), "{line}");
    let mut labels = BTreeMap::new();
    if chars.next_if_eq(&'{').is_some() {
        loop {
            let (mut label, mut text) = (String::new(), String::new());
            while let Some(c) = chars.next_if(is_word) {
                label.push(c);
            }
            assert_eq!((chars.next(), chars.next()), (Some('='), Some('"')), "{line}");
            loop {
                match chars.next().unwrap() {
                    '"' => break,
                    '\\' => match chars.next().unwrap() {
                        'n' => text.push('\n'),
                        c => {
                            assert!(['\\', '"'].contains(&c), "{line}");
                            text.push(c);
                        }
                    },
                    c => text.push(c),
                }
            }
            assert!(labels.insert(label, text).is_none(), "{line}");
            match chars.next() {
                Some(',') => {}
                end => {
                    assert_eq!(end, Some('}'), "{line}");
                    break;
                }
            }
        }
    }
    assert_eq!(chars.next(), Some(' '), "{line}");
    (name, labels, chars.collect::<String>().parse().unwrap())
}

#[test]
fn what_is_kept_and_proven_is_told_to_monitors() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(
        &lab,
        &format!(
            "{HTTP}[[databases]]\npath = \"app.db\"\nname = \"a \\\"b\\\\\"\nsleep-after = \"0s\""
        ),
    );
    let mut daemon = Daemon::start(&lab);
    let to = listening(&mut daemon, &lab);
    daemon.until("ready", || ask(&to, "/readyz").code == 200);
    assert_eq!(ask(&to, "/healthz").body, "{\"status\":\"ok\"}\n");
    let name = "database=a \"b\\";
    daemon.until("a restore has passed", || {
        let result = format!(
            "pagekeep_job_last_result {name} kind=verify-restore repository=main result=well"
        );
        Metrics::of(&to).get(&result) == Some(1.0)
    });
    let before = Metrics::of(&to);
    let commits = format!("pagekeep_database_commits_total {name} repository=main");
    assert!(before.get(&commits).unwrap() >= 1.0, "{before:?}");
    let app = rusqlite::Connection::open(lab.path("app.db")).unwrap();
    for _ in 0..3 {
        app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
    }
    daemon.until("three more", || {
        Metrics::of(&to).get(&commits).unwrap() >= before.get(&commits).unwrap() + 3.0
    });
    let after = Metrics::of(&to);
    let grows = |key: &str| after.get(key).unwrap() > before.get(key).unwrap();
    for key in [
        "pagekeep_store_written_bytes_total repository=main",
        "pagekeep_store_requests_total operation=create repository=main",
        "pagekeep_http_responses_total code=200",
        "pagekeep_overview_timestamp_seconds",
        "pagekeep_commits_total",
    ] {
        assert!(grows(key), "{key}: {before:?} {after:?}");
    }
    let of = |metric: &str| after.get(&format!("{metric} {name} repository=main"));
    assert!(of("pagekeep_database_last_stored_timestamp_seconds").unwrap() > 1.6e9);
    let newest = "pagekeep_database_last_commit_timestamp_seconds";
    let newest = |metrics: &Metrics| metrics.get(&format!("{newest} {name} repository=main"));
    assert!(newest(&after).unwrap() >= newest(&before).unwrap());
    assert!(of("pagekeep_database_wal_bytes").unwrap() > 0.0);
    assert_eq!(of("pagekeep_database_fault"), Some(0.0));
    for (key, value) in [
        ("pagekeep_repository_up repository=main", 1.0),
        ("pagekeep_jobs_total kind=verify-restore result=well", 1.0),
        ("pagekeep_databases_still", 0.0),
        ("pagekeep_databases_left_out", 0.0),
        // This one and the daemon's own.
        ("pagekeep_databases_in_phase phase=followed", 2.0),
    ] {
        assert!(after.get(key).unwrap() >= value, "{key}: {after:?}");
    }
    assert!(after.get("pagekeep_disk_free_bytes repository=main").unwrap() > 0.0);
    assert!(after.get("process_resident_memory_bytes").is_none_or(|bytes| bytes > 1e6));
    daemon.stop();
}

#[test]
fn a_repository_that_cannot_be_opened_is_told_and_ends_nothing() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(
        &lab,
        &format!(
            "[repositories.gone]\nlocation = \"elsewhere\"\nkey-file = \"key\"\n{HTTP}\
             [[databases]]\npath = \"app.db\"\nrepository = \"main\"\n\
             [[databases]]\npath = \"other.db\"\nrepository = \"gone\""
        ),
    );
    let mut daemon = Daemon::start(&lab);
    let to = listening(&mut daemon, &lab);
    daemon.says("gone", "it is tried again");
    daemon.keeps("app", 1);
    daemon.until("only the one repository is missing", || {
        let answer = ask(&to, "/readyz");
        let reasons = answer.reasons();
        answer.code == 503 && matches!(&*reasons, [one] if one.starts_with("repository gone: "))
    });
    assert_eq!(ask(&to, "/healthz").code, 200);
    let metrics = Metrics::of(&to);
    assert_eq!(metrics.get("pagekeep_repository_up repository=gone"), Some(0.0));
    assert_eq!(metrics.get("pagekeep_repository_up repository=main"), Some(1.0));
    let mut init = lab.command(&["init", "-r", "elsewhere", "--key-file", "key"]);
    assert_eq!(Ended::of(&mut init).code, Some(0));
    daemon.until("ready", || ask(&to, "/readyz").code == 200);
    daemon.stop();
}

#[test]
fn a_port_that_is_taken_is_waited_for_and_databases_are_kept_meanwhile() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let http = |more: &str| format!("[http]\nlisten = {more}\n[[databases]]\npath = \"app.db\"\n");
    write(&lab, &http(&format!("\"127.0.0.1:{port}\"")));
    let mut daemon = Daemon::start(&lab);
    daemon.says("", "nobody gets an answer at");
    daemon.keeps("app", 1);
    drop(taken);
    assert_eq!(listening(&mut daemon, &lab), format!("127.0.0.1:{port}"));
    // Another wish, while it answers: a socket, where a daemon that died left one.
    let socket = lab.path("http.sock");
    drop(UnixListener::bind(&socket).unwrap());
    write(&lab, &http("\"unix:http.sock\""));
    daemon.signal("-HUP");
    daemon.says("", "http.sock");
    assert_eq!(ask_socket(&socket, "/healthz").code, 200);
    assert_eq!(cli::mode(&socket), 0o600);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    // What is wrong changes nothing; none is none.
    write(&lab, &http("\"0.0.0.0:80\""));
    daemon.signal("-HUP");
    daemon.says("", "can be reached by other machines");
    assert_eq!(ask_socket(&socket, "/").code, 200);
    write(&lab, "[[databases]]\npath = \"app.db\"\n");
    daemon.signal("-HUP");
    daemon.until("the socket is gone", || !socket.exists());
    // A file that is no socket stays.
    fs::write(&socket, "precious").unwrap();
    write(&lab, &http("\"unix:http.sock\""));
    daemon.signal("-HUP");
    daemon.says("", "is there, and no socket");
    daemon.stop();
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn clients_that_are_slow_hostile_or_silent_cost_nobody_anything() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(
        &lab,
        "[http]\nlisten = \"127.0.0.1:0\"\nhosts = [\"Backup.example\"]\n[[databases]]\npath = \"app.db\"",
    );
    let mut daemon = Daemon::start(&lab);
    let to = listening(&mut daemon, &lab);
    daemon.keeps("app", 1);
    let get = |head: &str| say(&to, &format!("{head}\r\nConnection: close\r\n\r\n"));
    for (head, code) in [
        ("GET /metrics HTTP/1.1\r\nHost: evil.example", 421),
        ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example", 421),
        ("GET http://evil.example/metrics HTTP/1.1\r\nHost: 127.0.0.1", 421),
        ("GET /metrics HTTP/1.1\r\nHost: localhost:1@evil.example", 421),
        ("GET /metrics HTTP/1.1", 421),
        ("GET /metrics HTTP/1.1\r\nHost: LOCALHOST", 200),
        ("GET /metrics HTTP/1.1\r\nHost: backup.Example:80", 200),
        ("GET / HTTP/1.0", 200),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1", 404),
        ("POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999", 405),
        ("DELETE / HTTP/1.1\r\nHost: 127.0.0.1", 405),
        ("nonsense", 400),
    ] {
        let answer = get(head);
        assert_eq!(answer.code, code, "{head}: {answer:?}");
        assert!(code != 421 || !answer.body.contains("pagekeep_"), "{answer:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}", "x".repeat(100_000));
    let mut stream = connect(&to);
    // It may hang up before it heard all.
    let _ = stream.write_all(long.as_bytes());
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8(told));
    // Some say half of what they want, some nothing, some ask and read nothing.
    let silent: Vec<TcpStream> = (0..10).map(|_| connect(&to)).collect();
    let mut halves: Vec<TcpStream> = (0..10).map(|_| connect(&to)).collect();
    for half in &mut halves {
        half.write_all(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
    }
    let mut open = connect(&to);
    let question = format!("GET /metrics HTTP/1.1\r\nHost: {to}\r\n\r\n");
    open.write_all(question.as_bytes()).unwrap();
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    daemon.keeps("app", 2);
    assert_eq!(ask(&to, "/healthz").code, 200);
    // None of them holds the daemon's end up; they themselves would go on for a minute.
    let began = Instant::now();
    daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop((silent, halves, open));
    let log = fs::read_to_string(lab.path("run.log")).unwrap();
    assert_eq!(log.matches("a client asked by the name").count(), 1, "{log}");
    assert!(log.contains("GET /metrics: 421") && log.contains("\"request\":"), "{log}");
}

#[test]
fn a_service_manager_hears_that_it_is_ready_how_it_stands_and_that_it_moves() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"\nsleep-after = \"0s\"");
    let manager = UnixDatagram::bind(lab.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENT)).unwrap();
    let mut daemon = Daemon::start_with(&lab, |command| {
        command.env("NOTIFY_SOCKET", lab.path("notify"));
    });
    let mut heard = String::new();
    let mut hear = |words: &str| {
        while !heard.contains(words) {
            let mut message = [0; 4096];
            let n = manager.recv(&mut message).unwrap_or_else(|e| panic!("{words}: {e}: {heard}"));
            heard += &String::from_utf8_lossy(&message[..n]);
            heard.push('\n');
        }
        std::mem::take(&mut heard)
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("STATUS=2 followed");
    daemon.keeps("app", 1);
    hear("WATCHDOG=1");
    daemon.stop();
    hear("STOPPING=1");
}

/// A database that is written to all the time has always something that its mirror has not. The
/// mirror is complete as of when its last copy began, and nobody is alarmed.
#[test]
fn a_mirror_of_a_busy_database_is_complete_as_of_its_last_copy() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    let text = format!(
        "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"\nmirrors = [\"far\"]\ncopy-every = \"50ms\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         {HTTP}[[databases]]\npath = \"app.db\"\nsleep-after = \"0s\"\npromise.max-age = \"1m\"\nverify.data = \"never\"\nverify.restore = \"never\""
    );
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    init(&lab, "far");
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    clock.set(&now.to_rfc3339());
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    let to = listening(&mut daemon, &lab);
    let app = rusqlite::Connection::open(lab.path("app.db")).unwrap();
    let key = "pagekeep_mirror_complete_timestamp_seconds database=app mirror=far repository=main";
    for half in 0..6 {
        let time = now + chrono::TimeDelta::seconds(30 * half);
        clock.set(&time.to_rfc3339());
        daemon.until("the mirror is complete as of then", || {
            app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
            let complete = Metrics::of(&to).get(key);
            complete.is_some_and(|at| at + 1.0 >= time.timestamp() as f64)
        });
    }
    assert_eq!(crate::daemon::told(&lab, "app", "has not had everything"), 0);
    daemon.stop();
}
