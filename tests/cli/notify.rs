//! Who is told of what: a real daemon, with a clock that a test holds, and real receivers.

mod receiver;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use self::receiver::{MailServer, Manner, Receiver};
use crate::daemon::{Daemon, HeldClock, told, write};
use crate::support::cli::{Lab, flip};

/// Waits until the daemon remembers an alert, which still holds or is over.
fn remembers(daemon: &mut Daemon<'_>, lab: &Lab, of: &str, kind: &str, is_over: bool) {
    let db = lab.path("state/daemon.db");
    daemon.until(&format!("{kind} of {of} is remembered"), || {
        let Ok(db) = rusqlite::Connection::open(&db) else { return false };
        let sql = "SELECT count(*) FROM alert WHERE state ->> '$.key.kind' = ?1
                   AND (state ->> '$.over' IS NOT NULL) = ?2
                   AND instr(state -> '$.key.subject', json_quote(?3))";
        db.query_row(sql, (kind, is_over, of), |row| row.get::<_, i64>(0)).is_ok_and(|n| n > 0)
    });
}

/// What the alerts of a message say: `shop not-captured raised`.
fn alerts(message: &Value) -> Vec<String> {
    let alert = |alert: &Value| {
        let of = alert["database"].as_str().or(alert["repository"].as_str()).unwrap_or("daemon");
        format!("{of} {} {}", alert["kind"].as_str().unwrap(), alert["state"].as_str().unwrap())
    };
    message["alerts"].as_array().unwrap().iter().map(alert).collect()
}

/// All that a webhook got.
fn heard(hook: &Receiver) -> Vec<String> {
    hook.got().iter().flat_map(|request| alerts(&request.json())).collect()
}

fn waits(daemon: &mut Daemon<'_>, hook: &Receiver, expected: &[&str]) {
    daemon
        .until(&format!("{expected:?}, {:?}", heard(hook)), || heard(hook).len() >= expected.len());
    assert_eq!(heard(hook), expected);
}

fn hook(name: &str, at: &Receiver) -> String {
    let url = at.url("hook");
    format!("[channels.{name}]\nkind = \"webhook\"\nurl = \"{url}\"\nallow-private = true\n")
}

/// Nothing but what a test is about.
const CALM: &str = "low-space = \"1\"\nmax-lag = \"5000h\"\n";

#[test]
fn an_alert_is_told_to_each_channel_reminded_of_and_over() {
    let lab = Lab::new();
    let (web, phone) = (Receiver::start(), Receiver::start());
    lab.secret("hook.secret", "s3cret\n");
    lab.secret("token", "tk_1\n");
    write(
        &lab,
        &format!(
            "{}secret-file = \"hook.secret\"
             [channels.phone]\nkind = \"ntfy\"\nurl = \"{}\"\ntoken-file = \"token\"\nallow-private = true
             [channels.script]\nkind = \"command\"\ncommand = \"cat >> told; echo >> told\"
             [alerts]\nafter = \"1m\"\nremind = \"2h\"\n{CALM}
             [defaults]\nnotify = [\"web\", \"phone\", \"script\"]
             [[databases]]\npath = \"absent.db\"",
            hook("web", &web),
            phone.url("base/topic")
        ),
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-02T08:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    remembers(&mut daemon, &lab, "absent", "not-captured", false);
    clock.set("2026-03-02T08:00:59Z");
    clock.set("2026-03-02T08:02:00Z");
    waits(&mut daemon, &web, &["absent not-captured raised"]);
    // Whoever knows the secret knows who signed it, and when.
    let request = web.got().remove(0);
    let (signed, time) =
        (&request.headers["x-pagekeep-signature"], &request.headers["x-pagekeep-timestamp"]);
    assert_eq!(*signed, format!("sha256={}", hmac(b"s3cret", &format!("{time}.{}", request.body))));
    assert_eq!(time, "1772438520");
    daemon.until("the phone is told", || phone.got().len() == 1);
    let request = phone.got().remove(0);
    assert_eq!((&*request.path, &*request.headers["authorization"]), ("/base", "Bearer tk_1"));
    let told = request.json();
    assert_eq!((&told["topic"], &told["priority"]), (&"topic".into(), &4.into()));
    assert_eq!(told["title"], "[pagekeep] absent: can't be captured");
    let script = || fs::read_to_string(lab.path("told")).unwrap_or_default();
    daemon.until("the script is told", || script().lines().count() == 1);
    assert_eq!(alerts(&serde_json::from_str(&script()).unwrap()), ["absent not-captured raised"]);
    // A restart repeats nothing and forgets nothing.
    daemon.stop();
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    clock.set("2026-03-02T10:03:00Z");
    waits(&mut daemon, &web, &["absent not-captured raised", "absent not-captured reminder"]);
    lab.make("absent.db", 5);
    remembers(&mut daemon, &lab, "absent", "not-captured", true);
    clock.set("2026-03-02T10:10:00Z");
    daemon.until("the end", || heard(&web).len() == 3);
    assert_eq!(heard(&web)[2], "absent not-captured over");
    let text = web.got()[2].json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("is over after 2 h"), "{text}");
    daemon.stop();
}

/// An HMAC by hand, as RFC 2104 has it.
fn hmac(key: &[u8], text: &str) -> String {
    let mut padded = [0; 64];
    padded[..key.len()].copy_from_slice(key);
    let inner = padded.map(|b| b ^ 0x36);
    let outer = padded.map(|b| b ^ 0x5c);
    let hashed = Sha256::new().chain_update(inner).chain_update(text).finalize();
    let hashed = Sha256::new().chain_update(outer).chain_update(hashed).finalize();
    hashed.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_channel_that_fails_or_hangs_delays_no_other_and_gets_all_later() {
    let lab = Lab::new();
    let (broken, hanging, well) = (Receiver::start(), Receiver::start(), Receiver::start());
    broken.behave(Manner::Answers(500, None));
    hanging.behave(Manner::Hangs);
    write(
        &lab,
        &format!(
            "{}{}{}[alerts]\nafter = \"1m\"\n{CALM}
             [defaults]\nnotify = [\"broken\", \"hanging\", \"well\"]
             [[databases]]\npath = \"absent.db\"",
            hook("broken", &broken),
            hook("hanging", &hanging),
            hook("well", &well)
        ),
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-02T08:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    remembers(&mut daemon, &lab, "absent", "not-captured", false);
    clock.set("2026-03-02T08:02:00Z");
    waits(&mut daemon, &well, &["absent not-captured raised"]);
    daemon.until("it fails", || log(&lab).contains("answered 500"));
    daemon.until("it hangs", || hanging.got().len() == 1);
    // It ends before the other one has given up, and soon, and remembers whom it told.
    let began = Instant::now();
    daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(10));
    hanging.behave(Manner::Answers(200, None));
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon
        .until("it is told again, since nobody knows that it arrived", || hanging.got().len() == 2);
    // An hour of failures, each time a little later.
    for minute in 3..60 {
        clock.set(&format!("2026-03-02T08:{minute:02}:00Z"));
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.make("absent.db", 5);
    remembers(&mut daemon, &lab, "absent", "not-captured", true);
    broken.behave(Manner::Answers(200, None));
    clock.set("2026-03-02T09:30:00Z");
    // Nobody told it, so one message says both.
    waits(&mut daemon, &broken, &["absent not-captured passed"]);
    waits(&mut daemon, &well, &["absent not-captured raised", "absent not-captured over"]);
    assert_eq!(told_of_failure(&lab), 2, "{}", log(&lab));
    daemon.stop();
}

fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.path("run.log")).unwrap_or_default()
}

/// How often the log says that a channel does not deliver: once for each daemon.
fn told_of_failure(lab: &Lab) -> usize {
    log(lab)
        .lines()
        .filter(|line| line.contains("does not deliver") && line.contains("broken"))
        .count()
}

#[test]
fn a_repository_that_can_not_be_opened_is_told_once_and_not_for_each_database() {
    let lab = Lab::new();
    let web = Receiver::start();
    write(
        &lab,
        &format!(
            "{}[repositories.gone]\nlocation = \"elsewhere\"\nkey-file = \"key\"
             [alerts]\nafter = \"1m\"\nquiet = \"22:00-07:00\"\ntime-zone = \"Europe/Berlin\"\n{CALM}
             [defaults]\nnotify = [\"web\"]\nrepository = \"gone\"
             [[databases]]\npath = \"a.db\"\n[[databases]]\npath = \"b.db\"
             [[databases]]\npath = \"ticks.db\"\nrepository = \"main\"\nnotify = []\nmode = \"snapshots\"\nschedule = \"every 1m\"",
            hook("web", &web)
        ),
    );
    lab.make("ticks.db", 5);
    lab.make("a.db", 5);
    lab.make("b.db", 5);
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-02T22:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    remembers(&mut daemon, &lab, "gone", "unreachable", false);
    // It is 23 o'clock in Berlin, and quiet; also for what is over before the morning.
    let looked = told(&lab, "ticks", "backup: ");
    let times = ["2026-03-02T22:10:00Z", "2026-03-03T00:00:00Z", "2026-03-03T05:59:00Z"];
    for (n, time) in times.into_iter().enumerate() {
        clock.set(time);
        daemon.until("it looks", || told(&lab, "ticks", "backup: ") > looked + n);
    }
    daemon.stop();
    assert_eq!(heard(&web), [""; 0]);
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    clock.set("2026-03-03T06:00:00Z");
    waits(&mut daemon, &web, &["gone unreachable raised"]);
    let text = web.got()[0].json()["text"].as_str().unwrap().to_owned();
    for part in ["Repository gone", "elsewhere", "2026-03-02 "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    lab.ok(&["init", "-r", "elsewhere", "--key-file", "key"]);
    remembers(&mut daemon, &lab, "gone", "unreachable", true);
    clock.set("2026-03-03T06:10:00Z");
    waits(&mut daemon, &web, &["gone unreachable raised", "gone unreachable over"]);
    daemon.stop();
}

#[test]
fn what_happens_is_told_once_and_notices_are_collected() {
    let lab = Lab::new();
    let web = Receiver::start();
    lab.make("shop.db", 2000);
    lab.make("ticks.db", 5);
    write(
        &lab,
        &format!(
            "{}[alerts]\nafter = \"1m\"\ndigest = \"daily at 09:00\"\ntime-zone = \"UTC\"\n{CALM}
             [defaults]\nmode = \"snapshots\"\nverify.data = \"never\"\nverify.restore = \"never\"\ntime-zone = \"UTC\"
             [[databases]]\npath = \"shop.db\"\nschedule = \"daily at 02:30\"\nnotify = [\"web\"]
             [[databases]]\npath = \"ticks.db\"\nschedule = \"every 1m\"",
            hook("web", &web)
        ),
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-02T02:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("main", "is open");
    clock.set("2026-03-02T02:31:00Z");
    daemon.says("shop", "backup: stored seq:1");
    // Much is deleted: that is told at once, when it is captured.
    lab.sql("shop.db", "DELETE FROM t WHERE id > 100");
    clock.set("2026-03-03T02:31:00Z");
    waits(&mut daemon, &web, &["shop large-deletion happened"]);
    let text = web.got()[0].json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("before-large-delete-2"), "{text}");
    daemon.stop();
    // Nobody was there for two nights: that has time until nine, also over a restart.
    clock.set("2026-03-06T02:31:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("shop", "also for 2 times that were missed");
    remembers(&mut daemon, &lab, "shop", "missed-run", true);
    daemon.stop();
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    clock.set("2026-03-06T08:59:00Z");
    daemon.until("looks at 08:59", || told(&lab, "ticks", "backup: ") >= 4);
    assert_eq!(heard(&web).len(), 1);
    clock.set("2026-03-06T09:00:00Z");
    waits(&mut daemon, &web, &["shop large-deletion happened", "shop missed-run happened"]);
    daemon.stop();
}

#[test]
fn jobs_that_fail_again_and_again_and_damage_are_told() {
    let lab = Lab::new();
    let web = Receiver::start();
    lab.make("app.db", 50);
    write(
        &lab,
        &format!(
            "{}[alerts]\nafter = \"1m\"\nfailures = 2\ndigest = \"@yearly\"\n{CALM}
             [defaults]\nmode = \"snapshots\"\nschedule = \"every 1h\"\nverify.data = \"every 1h\"
             verify.sample = \"100%\"\nverify.restore = \"never\"
             [[databases]]\npath = \"app.db\"\nnotify = [\"web\"]",
            hook("web", &web)
        ),
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-02T08:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("main", "is open");
    clock.set("2026-03-02T09:30:00Z");
    daemon.says("app", "verify-data: ");
    fs::rename(lab.path("app.db"), lab.path("away.db")).unwrap();
    clock.set("2026-03-02T10:40:00Z");
    daemon.until("it failed once", || told(&lab, "app", "backup failed") == 1);
    clock.set("2026-03-02T10:50:00Z");
    daemon.until("it failed twice", || told(&lab, "app", "backup failed") == 2);
    remembers(&mut daemon, &lab, "app", "failing", false);
    clock.set("2026-03-02T10:52:00Z");
    waits(&mut daemon, &web, &["app failing raised"]);
    fs::rename(lab.path("away.db"), lab.path("app.db")).unwrap();
    clock.set("2026-03-02T12:00:00Z");
    remembers(&mut daemon, &lab, "app", "failing", true);
    clock.set("2026-03-02T12:02:00Z");
    waits(&mut daemon, &web, &["app failing raised", "app failing over"]);
    // Something that is stored is damaged.
    let segment = lab.segment_of(1);
    flip(&segment, fs::metadata(&segment).unwrap().len() / 2);
    clock.set("2026-03-02T13:05:00Z");
    daemon.says("app", "verify-data found");
    remembers(&mut daemon, &lab, "app", "damage", false);
    clock.set("2026-03-02T13:10:00Z");
    daemon.until("damage is told", || heard(&web).contains(&"app damage raised".to_owned()));
    let last = web.got().into_iter().map(|r| r.json()).find(|m| m["severity"] == "critical");
    assert_eq!(last.unwrap()["subject"], "[pagekeep] app: damage was found");
    daemon.stop();
}

/// What a test of a channel comes to, for a channel whose table says this.
fn test_of(lab: &Lab, channel: &str) -> crate::support::cli::Ended {
    write(lab, &format!("[channels.x]\n{channel}\n[[databases]]\npath = \"a.db\"\n"));
    lab.run(&["notify", "test", "x", "-c", "pagekeep.toml"])
}

#[test]
fn every_kind_of_channel_is_tested_as_its_service_wants_it() {
    let lab = Lab::new();
    let web = Receiver::start();
    lab.secret("url", format!("{}\n", web.url("secret-hook")));
    lab.secret("token", "123:abc\n");
    let private = "allow-private = true";
    let api = web.url("");
    for (channel, path, member) in [
        ("kind = \"webhook\"\nurl-file = \"url\"".to_owned(), "/secret-hook", "event"),
        ("kind = \"slack\"\nurl-file = \"url\"".to_owned(), "/secret-hook", "text"),
        ("kind = \"mattermost\"\nurl-file = \"url\"".to_owned(), "/secret-hook", "text"),
        ("kind = \"discord\"\nurl-file = \"url\"".to_owned(), "/secret-hook", "content"),
        (
            "kind = \"apprise\"\nurl-file = \"url\"\ntags = \"ops\"".to_owned(),
            "/secret-hook",
            "tag",
        ),
        (
            format!("kind = \"telegram\"\ntoken-file = \"token\"\nchat = \"42\"\nurl = \"{api}\""),
            "/bot123:abc/sendMessage",
            "chat_id",
        ),
        (format!("kind = \"ntfy\"\nurl = \"{api}alerts\""), "/", "topic"),
    ] {
        let ended = test_of(&lab, &format!("{channel}\n{private}"));
        assert_eq!(ended.code, Some(0), "{channel}: {ended:?}");
        assert!(ended.stdout.contains("200 OK: received"), "{ended:?}");
        let request = web.got().pop().unwrap();
        assert_eq!(request.path, path, "{channel}");
        assert!(request.json().get(member).is_some(), "{channel}: {request:?}");
        // Without leave nothing is sent to a private network.
        let before = web.got().len();
        let refused = test_of(&lab, &channel);
        refused.failed(1, &["private network", "allow-private = true"]);
        assert!(!refused.stderr.contains("secret-hook") && !refused.stderr.contains("123:abc"));
        assert_eq!(web.got().len(), before);
    }
    let template = "kind = \"webhook\"\nurl-file = \"url\"\nallow-private = true
        template = \"{{subject}} @ {{host}}\"\ncontent-type = \"text/plain\"";
    assert_eq!(test_of(&lab, template).code, Some(0));
    assert!(web.got().pop().unwrap().body.starts_with("[pagekeep] test of channel x @ "));
}

#[test]
fn no_redirect_is_followed_and_what_is_answered_is_told() {
    let lab = Lab::new();
    let (web, inner) = (Receiver::start(), Receiver::start());
    let channel = format!("kind = \"ntfy\"\nurl = \"{}\"\nallow-private = true", web.url("t"));
    for status in [301, 302, 307, 308] {
        web.behave(Manner::Answers(status, Some(inner.url("secret"))));
        test_of(&lab, &channel).failed(1, &[&status.to_string(), "no redirect is followed"]);
    }
    assert!(inner.got().is_empty());
    for (status, words) in [(403, "revoked"), (404, "nothing of this name"), (500, "answered 500")]
    {
        web.behave(Manner::Answers(status, None));
        test_of(&lab, &channel).failed(1, &[words]);
    }
    // A name that means this machine is a private one, too.
    let named = format!("kind = \"ntfy\"\nurl = \"http://localhost:{}/t\"", web.port);
    test_of(&lab, &named).failed(1, &["private network"]);
    let wrong = lab.run(&["notify", "test", "y", "-c", "pagekeep.toml"]);
    wrong.failed(16, &["is no channel", "there are x"]);
    let listed = lab.ok(&["notify", "list", "-c", "pagekeep.toml"]).stdout;
    assert!(listed.contains("ntfy") && listed.contains("no database"), "{listed}");
}

#[test]
fn mail_has_a_subject_of_any_alphabet_and_a_login() {
    let lab = Lab::new();
    let server = MailServer::start();
    lab.secret("password", "geheim\n");
    let mail = format!(
        "kind = \"mail\"\nserver = \"127.0.0.1\"\nport = {}\ntls = \"never\"\nuser = \"me\"
         password-file = \"password\"\nfrom = \"Keeper <keeper@example.com>\"\nto = [\"a@example.com\", \"b@example.com\"]\nallow-private = true",
        server.port
    );
    let ended = test_of(&lab, &mail);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("queued as 42"), "{ended:?}");
    let got = server.got().pop().unwrap();
    // base64 of "\0me\0geheim".
    for part in [
        "AUTH PLAIN AG1lAGdlaGVpbQ==",
        "MAIL FROM:<keeper@example.com>",
        "RCPT TO:<b@example.com>",
        "Auto-Submitted: auto-generated",
        "Subject: [pagekeep] test of channel x",
    ] {
        assert!(got.contains(part), "{part}: {got}");
    }
    test_of(&lab, &mail.replace("allow-private = true", "")).failed(1, &["private network"]);
    // An alert about a name that ASCII has not.
    write(
        &lab,
        &format!(
            "[channels.x]\n{mail}\n[alerts]\nafter = \"0s\"\n{CALM}
             [[databases]]\npath = \"lädchen.db\"\nnotify = [\"x\"]"
        ),
    );
    let mut daemon = Daemon::start_at(&lab, None);
    daemon.until("the mail comes", || server.got().len() == 2);
    let got = server.got().pop().unwrap();
    let subject = got.lines().find(|line| line.starts_with("Subject: ")).unwrap();
    assert!(subject.contains("=?utf-8?") && subject.is_ascii(), "{subject}");
    daemon.stop();
}

#[test]
fn a_service_hears_that_a_database_is_kept_and_that_it_is_not() {
    let lab = Lab::new();
    let service = Receiver::start();
    lab.make("followed.db", 5);
    lab.make("nightly.db", 5);
    let ping = format!(
        "ping = {{ url = \"{}\", every = \"5m\", allow-private = true }}",
        service.url("{name}?k=1")
    );
    write(
        &lab,
        &format!(
            "[defaults]\nverify.data = \"never\"\nverify.restore = \"never\"\ntime-zone = \"UTC\"\n{ping}
             [[databases]]\npath = \"followed.db\"
             [[databases]]\npath = \"nightly.db\"\nmode = \"snapshots\"\nschedule = \"daily at 02:30\""
        ),
    );
    let paths = |of: &str| -> Vec<String> {
        let got = service.got().into_iter().map(|request| request.path);
        got.filter(|path| path.contains(of) && !path.contains("start")).collect()
    };
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-03-02T02:00:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.until("it is well", || paths("followed") == ["/followed?k=1"]);
    clock.set("2026-03-02T02:04:00Z");
    // What is wrong is told at once, and what is well again, too.
    fs::rename(lab.path("followed.db"), lab.path("away.db")).unwrap();
    daemon.until("it is not well", || paths("followed").len() == 2);
    fs::rename(lab.path("away.db"), lab.path("followed.db")).unwrap();
    daemon.until("it is well again", || paths("followed").len() == 3);
    assert_eq!(paths("followed"), ["/followed?k=1", "/followed/fail?k=1", "/followed?k=1"]);
    assert_eq!(paths("nightly"), [""; 0]);
    clock.set("2026-03-02T02:31:00Z");
    daemon.until("the snapshot is told", || paths("nightly") == ["/nightly?k=1"]);
    daemon.until("it is still well", || paths("followed").len() == 4);
    // A service that does not answer hears the newest later.
    service.behave(Manner::Answers(500, None));
    fs::rename(lab.path("nightly.db"), lab.path("away.db")).unwrap();
    clock.set("2026-03-03T02:31:00Z");
    daemon.until("it fails", || told(&lab, "nightly", "backup failed") > 0);
    daemon.until("its ping fails", || log(&lab).contains("its ping fails"));
    service.behave(Manner::Answers(200, None));
    clock.set("2026-03-03T02:31:30Z");
    daemon.until("the failure is told", || {
        paths("nightly").last().is_some_and(|path| path == "/nightly/fail?k=1")
    });
    daemon.stop();
}

#[test]
fn what_is_wrong_with_a_channel_is_told_with_its_place() {
    let lab = Lab::new();
    let at = "[[databases]]\npath = \"a.db\"\n";
    for (text, words) in [
        ("[channels.a]\nkind = \"slak\"\n", "did you mean `slack`?"),
        (
            "[channels.a]\nkind = \"slack\"\nurl = \"https://hooks.slack.com/x\"\n",
            "url-file, url-env",
        ),
        ("[channels.a]\nkind = \"ntfy\"\n", "it is not said what the url is"),
        ("[channels.a]\nkind = \"ntfy\"\nurl = \"ftp://x/y\"\n", "no URL of http"),
        (
            "[channels.a]\nkind = \"ntfy\"\nurl = \"https://me:pw@x/y\"\n",
            "a user or a password before its host",
        ),
        (
            "[channels.a]\nkind = \"ntfy\"\nurl = \"https://x/y\"\ntokenfile = \"x\"\n",
            "did you mean `token-file`?",
        ),
        ("[channels.a]\nkind = \"ntfy\"\nurl = \"https://x/y\"\ntoken = \"x\"\n", "is a secret"),
        (
            "[channels.a]\nkind = \"mail\"\nserver = \"x\"\nfrom = \"x\"\nto = \"a@b.c\"\n",
            "no mail address",
        ),
        (
            "[channels.a]\nkind = \"webhook\"\nurl = \"https://x/\"\ntemplate = \"{{sbject}}\"\n",
            "there is nothing called",
        ),
        ("[alerts]\nquiet = \"22-7\"\n", "such as 22:00-07:00"),
        ("[alerts]\nremnd = \"1d\"\n", "did you mean `remind`?"),
        (
            "[defaults]\nnotify = [\"opx\"]\n[channels.ops]\nkind = \"command\"\ncommand = \"x\"\n",
            "did you mean `ops`?",
        ),
        ("[defaults]\nping = { every = \"5m\" }\n", "one URL is pinged"),
    ] {
        write(&lab, &format!("{text}{at}"));
        let wrong = lab.run(&["config", "check", "-c", "pagekeep.toml"]);
        wrong.failed(2, &["pagekeep.toml:", words]);
    }
    // What is shown says the same, and no secret.
    lab.secret("hook", "https://example.com/very-secret\n");
    lab.secret("password", "very-secret\n");
    write(
        &lab,
        "[channels.chat]\nkind = \"discord\"\nurl-file = \"hook\"
         [channels.post]\nkind = \"mail\"\nserver = \"mail.example.com\"\nuser = \"me\"\npassword-file = \"password\"\nfrom = \"a@example.com\"\nto = \"b@example.com\"
         [channels.hook]\nkind = \"webhook\"\nurl = \"https://example.com/x\"\nsecret-env = \"SECRET\"\ntemplate = \"{\\\"a\\\": \\\"{{text}}\\\"}\"
         [channels.bot]\nkind = \"telegram\"\ntoken-command = \"pass bot\"\nchat = \"-100\"
         [channels.relay]\nkind = \"apprise\"\nurl = \"http://apprise:8000/notify/x\"\ntags = \"ops\"\nallow-private = true
         [alerts]\nquiet = \"22:00-07:00\"\ndigest = \"@daily\"\nlow-space = \"10GiB\"\nremind = \"never\"
         [[databases]]\npath = \"a.db\"\nnotify = [\"chat\", \"hook\"]\nping = { url = \"https://hc-ping.com/{name}\" }",
    );
    let shown = lab.ok(&["config", "show", "-c", "pagekeep.toml"]).stdout;
    assert!(!shown.contains("very-secret"), "{shown}");
    fs::write(lab.path("shown.toml"), &shown).unwrap();
    assert_eq!(lab.ok(&["config", "show", "-c", "shown.toml"]).stdout, shown);
}

/// What was told of a disk that is nearly full is not told again by the next daemon, which does not
/// know at first how full it is.
#[test]
fn little_space_is_told_once_over_a_restart() {
    let lab = Lab::new();
    let web = Receiver::start();
    lab.make("app.db", 5);
    let text = |least: &str| {
        format!(
            "{}[alerts]\nafter = \"1m\"\nremind = \"never\"\nlow-space = \"{least}\"\nmax-lag = \"5000h\"
             [defaults]\nnotify = [\"web\"]
             [[databases]]\npath = \"app.db\"",
            hook("web", &web)
        )
    };
    write(&lab, &text("100%"));
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    let at = |minutes| (now + chrono::TimeDelta::minutes(minutes)).to_rfc3339();
    clock.set(&at(0));
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    remembers(&mut daemon, &lab, "daemon", "low-space", false);
    clock.set(&at(2));
    daemon.until("it is told", || !heard(&web).is_empty());
    let told = heard(&web);
    assert!(told.iter().all(|told| told.ends_with("low-space raised")), "{told:?}");
    daemon.stop();
    let db = lab.path("state/daemon.db");
    let remembered = || {
        let db = rusqlite::Connection::open(&db).unwrap();
        let sql = "SELECT count(*) FROM alert WHERE state ->> '$.key.kind' = 'low-space'";
        let n = db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        usize::try_from(n).unwrap()
    };
    assert_eq!(remembered(), told.len());
    for restart in 2..4 {
        let before = crate::daemon::told(&lab, "app", "proven");
        let mut daemon = Daemon::start_at(&lab, Some(&clock));
        daemon.until("it looked", || crate::daemon::told(&lab, "app", "proven") > before);
        clock.set(&at(2 * restart));
        // Whoever ends looks once more, and remembers what it knows.
        daemon.stop();
        assert_eq!(remembered(), told.len());
    }
    assert_eq!(heard(&web), told);
    // It ends, and that is told.
    write(&lab, &text("1"));
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    remembers(&mut daemon, &lab, "daemon", "low-space", true);
    clock.set(&at(20));
    daemon.until("it is over", || heard(&web).iter().any(|told| told.ends_with("over")));
    daemon.stop();
}

/// Damage of what a follower builds on is told as damage, with the commands that end it.
#[test]
fn damage_that_a_follower_meets_is_told_as_damage_with_the_way_out() {
    let lab = Lab::new();
    let web = Receiver::start();
    lab.make("app.db", 50);
    write(
        &lab,
        &format!(
            "{}[http]\nlisten = \"unix:http.sock\"\n[alerts]\nafter = \"1m\"\nremind = \"never\"\n{CALM}
             [defaults]\nnotify = [\"web\"]\nsleep-after = \"0s\"\nverify.data = \"never\"\nverify.restore = \"never\"
             [[databases]]\npath = \"app.db\"",
            hook("web", &web)
        ),
    );
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    clock.set(&now.to_rfc3339());
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.keeps("app", 1);
    let app = rusqlite::Connection::open(lab.path("app.db")).unwrap();
    app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
    daemon.keeps("app", 2);
    let newest = lab.segment_of(2);
    fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(100).unwrap();
    app.execute_batch("INSERT INTO t(x) VALUES('much more')").unwrap();
    daemon.says("app", "is at risk");
    remembers(&mut daemon, &lab, "app", "damage", false);
    clock.set(&(now + chrono::TimeDelta::minutes(2)).to_rfc3339());
    daemon.until("it is told", || heard(&web).contains(&"app damage raised".to_owned()));
    let told = web.got().iter().map(|request| request.body.clone()).collect::<String>();
    for words in ["stop the daemon", "pagekeep repair app --apply", "start the daemon again"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!heard(&web).iter().any(|told| told.contains("not-captured")), "{:?}", heard(&web));
    assert!(!told.contains("::") && !log(&lab).contains("History::"), "{told}");
    daemon.stop();
    // The way out is one.
    lab.run(&["repair", "app", "--apply"]);
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    app.execute_batch("INSERT INTO t(x) VALUES('most')").unwrap();
    let mut minutes = 10;
    daemon.until("it is over", || {
        minutes += 1;
        clock.set(&(now + chrono::TimeDelta::minutes(minutes)).to_rfc3339());
        heard(&web).iter().any(|told| told == "app damage over")
    });
    daemon.stop();
}
