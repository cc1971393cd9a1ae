//! A daemon that comes back on a bare machine, and the page that says how.

use std::fs;

use serde_json::Value;

use crate::daemon::{Daemon, write};
use crate::support::cli::{Ended, Lab, last};

#[test]
fn a_bare_machine_gets_the_daemon_and_its_databases_back() {
    let lab = Lab::new();
    fs::create_dir(lab.path("srv")).unwrap();
    for name in ["shop", "blog"] {
        lab.make(&format!("srv/{name}.db"), 20);
    }
    write(&lab, "[[databases]]\npath = \"srv/*.db\"");
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("shop", 1);
    daemon.keeps("blog", 1);
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('the last')");
    daemon.keeps("shop", 2);
    daemon.stop();
    let configuration = fs::read_to_string(lab.path("pagekeep.toml")).unwrap();

    // Another machine, which has the repository and a key, and nothing else.
    fs::remove_dir_all(lab.path("srv")).unwrap();
    fs::remove_dir_all(lab.path("state")).unwrap();
    fs::remove_file(lab.path("pagekeep.toml")).unwrap();
    fs::rename(lab.path("key"), lab.path("elsewhere")).unwrap();
    let adopt = |more: &[&str]| {
        let args = [&["adopt", "repo", "--key-file", "elsewhere", "--json"], more].concat();
        let mut command = lab.command(&args);
        Ended::of(command.env_remove("PAGEKEEP_KEY_FILE").env_remove("PAGEKEEP_REPO"))
    };
    let missing = |ended: &Ended| -> Vec<String> {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let of = |line: &Value| line["what"].as_str().map(str::to_owned);
        ended.objects().iter().filter_map(of).collect()
    };
    let dry = adopt(&["-n"]);
    assert_eq!(missing(&dry), ["key file", "database", "database"]);
    assert!(dry.stdout.contains("pagekeep restore shop"), "{dry:?}");
    assert!(!lab.path("pagekeep.toml").exists() && !lab.path("srv").exists());
    let done = adopt(&["--restore"]);
    assert_eq!(missing(&done), ["key file"]);
    let objects = done.objects();
    let summary = last(&objects);
    assert_eq!((&summary["restored"], &summary["missing"]), (&2.into(), &1.into()));
    assert_eq!(fs::read_to_string(lab.path("pagekeep.toml")).unwrap(), configuration);
    assert_eq!(lab.number("srv/shop.db", "SELECT count(*) FROM t"), 21);
    assert!(lab.path("state/daemon.db").exists());
    // Nothing that is there is replaced.
    lab.sql("srv/shop.db", "DELETE FROM t");
    let again = adopt(&["--restore"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!(lab.number("srv/shop.db", "SELECT count(*) FROM t"), 0);
    // And the daemon goes on where the other one was.
    fs::rename(lab.path("elsewhere"), lab.path("key")).unwrap();
    let before = lab.json(&["log", "shop"]).len();
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("shop", before + 1);
    daemon.stop();
}

#[test]
fn a_repository_without_a_daemon_is_said_to_have_none() {
    let lab = Lab::with_history();
    lab.fails(&["adopt", "repo"], 16, &["has no daemon's own database", "another repository"]);
}

#[test]
fn the_page_for_the_safe_has_what_is_needed_and_no_secret() {
    let lab = Lab::new();
    lab.make("app.db", 2);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    let text = lab.ok(&["disaster-kit", "-c", "pagekeep.toml"]).stdout;
    let repo = lab.path("repo").display().to_string();
    for needed in [&*repo, "key file", "pagekeep adopt", "--restore", "app.db", "____"] {
        assert!(text.contains(needed), "{needed}: {text}");
    }
    let key = fs::read_to_string(lab.path("key")).unwrap();
    assert!(key.lines().all(|line| line.len() < 8 || !text.contains(line)), "{text}");
    lab.ok(&["disaster-kit", "-c", "pagekeep.toml", "--format", "html", "-o", "kit.html"]);
    let html = fs::read_to_string(lab.path("kit.html")).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("<pre>$ pagekeep adopt"));
    let taken = ["disaster-kit", "-c", "pagekeep.toml", "-o", "kit.html"];
    lab.fails(&taken, 1, &["kit.html", "name another file"]);
}
