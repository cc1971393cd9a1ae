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

/// Whatever is in a database's place stays, and is named: a new database, which the application made
/// when it came first, too.
#[test]
fn what_stands_in_the_place_of_a_database_is_named_and_stays() {
    let lab = Lab::new();
    fs::create_dir(lab.path("srv")).unwrap();
    let all = ["link", "empty", "pipe", "folder", "text", "fresh", "same", "gone"];
    for name in all {
        lab.make(&format!("srv/{name}.db"), 5);
    }
    write(&lab, "[[databases]]\npath = \"srv/*.db\"");
    let mut daemon = Daemon::start(&lab);
    for name in all {
        daemon.keeps(name, 1);
    }
    let known = || lab.run(&["query", &own_name(), "SELECT count(*) AS n FROM known"]).stdout;
    daemon.until("all are known", || known().contains('9'));
    daemon.stop();
    let at = |name: &str| lab.path(&format!("srv/{name}.db"));
    for name in all.iter().filter(|name| **name != "same") {
        for file in fs::read_dir(lab.path("srv")).unwrap().map(|file| file.unwrap()) {
            if file.file_name().to_str().unwrap().starts_with(*name) {
                fs::remove_file(file.path()).unwrap();
            }
        }
    }
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    fs::write(at("empty"), "").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("text"), "garbage".repeat(1000)).unwrap();
    lab.sql("srv/fresh.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)");
    let before = fs::read(at("fresh")).unwrap();
    let done = lab.run(&["adopt", "repo", "--key-file", "key", "--restore", "--json"]);
    assert_eq!(done.code, Some(3), "{done:?}");
    let objects = done.objects();
    let missing: Vec<&str> = objects.iter().filter_map(|line| line["object"].as_str()).collect();
    for (name, what) in [
        ("link", "a link that leads nowhere"),
        ("empty", "an empty file"),
        ("pipe", "no file"),
        ("folder", "a folder"),
        ("text", "no SQLite database"),
    ] {
        let shown = at(name).display().to_string();
        assert!(done.stderr.contains(&format!("{shown} is {what}")), "{name}: {done:?}");
        assert!(missing.contains(&&*shown), "{name}: {done:?}");
    }
    assert!(done.stderr.contains("fresh.db is there, and stays as it is; it differs"), "{done:?}");
    assert!(!done.stderr.contains("same.db"), "{done:?}");
    assert_eq!(last(&objects)["restored"], 1, "{done:?}");
    assert_eq!(lab.number("srv/gone.db", "SELECT count(*) FROM t"), 5);
    assert_eq!(fs::read(at("fresh")).unwrap(), before);
}

/// A repository that lies where the configuration has none may be any of two that have a history
/// of one name.
#[test]
fn a_history_that_two_repositories_have_is_restored_from_no_strange_place() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        fs::create_dir(lab.path(name)).unwrap();
        lab.make(&format!("{name}/app.db"), 5);
    }
    let text = "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
         [repositories.other]\nlocation = \"other\"\nkey-file = \"other.key\"
         [[databases]]\npath = \"a/app.db\"\nrepository = \"main\"
         [[databases]]\npath = \"b/app.db\"\nrepository = \"other\"";
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    assert_eq!(by_config(&lab, &["init", "-c", "pagekeep.toml", "-r", "other"]).code, Some(0));
    let mut daemon = Daemon::start(&lab);
    for repository in ["main", "other"] {
        daemon.until(repository, || commits_in(&lab, repository, "app") > 0);
    }
    daemon.until("it is known", || commits_in(&lab, "main", &own_name()) > 0);
    daemon.stop();
    for folder in ["a", "b", "state", "other"] {
        fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    fs::rename(lab.path("repo"), lab.path("rescue")).unwrap();
    let adopt = ["adopt", "rescue", "--key-file", "key", "--restore", "--json"];
    let done = by_config(&lab, &adopt);
    assert_eq!(last(&done.objects())["restored"], 0, "{done:?}");
    assert!(done.stdout.contains("several databases are called app"), "{done:?}");
    assert!(!lab.path("a").exists() && !lab.path("b").exists());
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
    // A pattern, a mirror and a channel are said in words, and with what they need.
    let more = "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"\nmirrors = [\"far\"]
         [repositories.far]\nlocation = \"far\"\npassword-file = \"far.pass\"
         [channels.ops]\nkind = \"webhook\"\nurl = \"https://example.org/\"\nsecret-file = \"hook.secret\"
         [[databases]]\npath = \"a*.db\"";
    fs::write(lab.path("more.toml"), more).unwrap();
    let text = lab.ok(&["disaster-kit", "-c", "more.toml"]).stdout;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let copy = format!("$ pagekeep copy far main -c {}", lab.path("more.toml").display());
    for needed in [
        "each under the name of its file without the extension, now app:",
        "hook.secret",
        "must not come back",
        "--password-file FILE --restore",
        &copy,
    ] {
        assert!(words.contains(needed), "{needed}: {text}");
    }
    assert!(!text.contains("{stem}"), "{text}");
    let taken = ["disaster-kit", "-c", "pagekeep.toml", "-o", "kit.html"];
    lab.fails(&taken, 1, &["kit.html", "name another file"]);
}

/// A daemon whose first repository has a mirror, with both databases in both.
pub fn mirrored(lab: &Lab, state: &str) {
    fs::create_dir(lab.path("srv")).unwrap();
    for name in ["shop", "blog"] {
        lab.make(&format!("srv/{name}.db"), 20);
    }
    let text = format!(
        "{state}[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
         mirrors = [\"far\"]\ncopy-every = \"50ms\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         [[databases]]\npath = \"srv/*.db\""
    );
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    assert_eq!(by_config(lab, &["init", "-c", "pagekeep.toml", "-r", "far"]).code, Some(0));
    let mut daemon = Daemon::start(lab);
    for name in ["shop", "blog", &own_name()] {
        daemon.until("far has it", || commits_in(lab, "far", name) > 0);
    }
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('the last')");
    daemon.until("far has the last", || commits_in(lab, "far", "shop") > 1);
    daemon.stop();
}

pub fn own_name() -> String {
    format!("pagekeep-daemon.{}", rustix::system::uname().nodename().to_string_lossy())
}

/// A command that knows nothing but what the configuration says.
pub fn by_config(lab: &Lab, args: &[&str]) -> Ended {
    let mut command = lab.command(args);
    Ended::of(command.env_remove("PAGEKEEP_KEY_FILE").env_remove("PAGEKEEP_REPO"))
}

pub fn commits_in(lab: &Lab, repository: &str, name: &str) -> usize {
    let ended = by_config(lab, &["log", name, "-c", "pagekeep.toml", "-r", repository, "--json"]);
    if ended.code == Some(0) { ended.objects().len() } else { 0 }
}

/// Loses everything but the mirror and its key.
fn burn(lab: &Lab) {
    for folder in ["srv", "state", "repo"] {
        fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    for file in ["pagekeep.toml", "key", "run.log"] {
        fs::remove_file(lab.path(file)).unwrap();
    }
}

/// Runs a command as it was printed.
fn paste(lab: &Lab, command: &str) -> Ended {
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[0], "pagekeep", "{command}");
    by_config(lab, &words[1..])
}

#[test]
fn a_mirror_alone_brings_everything_back_and_the_same_histories_go_on() {
    let lab = Lab::new();
    mirrored(&lab, "");
    // A history lies in a folder with its identity as the name.
    let histories = |repository: &str| {
        let folder = lab.path(&format!("{repository}/histories"));
        let ids = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    let before = commits_in(&lab, "far", "shop");
    let known = histories("far");
    burn(&lab);

    let dry = by_config(&lab, &["adopt", "far", "--key-file", "far.key", "-n", "--json"]);
    let what = |ended: &Ended| -> Vec<String> {
        let of = |line: &Value| line["what"].as_str().map(str::to_owned);
        ended.objects().iter().filter_map(of).collect()
    };
    assert_eq!(what(&dry), ["repository main", "key file", "database", "database"], "{dry:?}");
    // What it names brings a database back.
    let restore =
        dry.objects().iter().rfind(|line| line["what"] == "database").unwrap()["commands"][0]
            .as_str()
            .unwrap()
            .to_owned();
    let done = by_config(&lab, &["adopt", "far", "--key-file", "far.key", "--restore", "--json"]);
    assert_eq!(what(&done), ["repository main", "key file"], "{done:?}");
    assert_eq!(last(&done.objects())["restored"], 2, "{done:?}");
    assert_eq!(lab.number("srv/shop.db", "SELECT count(*) FROM t"), 21);
    fs::remove_file(lab.path("srv/shop.db")).unwrap();
    assert_eq!(paste(&lab, &restore).code, Some(0), "{restore}");
    assert_eq!(lab.number("srv/shop.db", "SELECT count(*) FROM t"), 21);

    // The way on, as it is printed.
    let objects = done.objects();
    let lost = objects.iter().find(|line| line["what"] == "repository main").unwrap();
    let commands = lost["commands"].as_array().unwrap();
    assert_eq!(commands.len(), 2, "{objects:?}");
    for command in commands {
        let command = command.as_str().unwrap();
        let ended = paste(&lab, command);
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
    }
    let run = last(&objects)["run"].as_str().unwrap().to_owned();
    assert!(run.starts_with("pagekeep run -c ") && !run.contains("state"), "{run}");
    let mut daemon = Daemon::start(&lab);
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('after the fire')");
    daemon.until("main goes on", || commits_in(&lab, "main", "shop") > before);
    daemon.until("far goes on", || commits_in(&lab, "far", "shop") > before);
    daemon.stop();
    assert_eq!(histories("far"), known);
    assert_eq!((histories("repo"), known.len()), (known, 3));
}

#[test]
fn no_history_is_begun_beside_the_one_that_a_mirror_has() {
    let lab = Lab::new();
    mirrored(&lab, "[daemon]\njobs = 2 # as ever\n");
    let before = commits_in(&lab, "far", "shop");
    fs::remove_dir_all(lab.path("repo")).unwrap();
    fs::remove_dir_all(lab.path("state")).unwrap();
    // The hint of a command does not end with an empty repository.
    let lost = by_config(&lab, &["log", "shop", "-c", "pagekeep.toml", "-r", "main"]);
    lost.failed(10, &["is its disk mounted?", "pagekeep copy far main -c FILE"]);
    assert_eq!(by_config(&lab, &["init", "-c", "pagekeep.toml", "-r", "main"]).code, Some(0));
    let mut daemon = Daemon::start(&lab);
    for name in ["shop", "blog", &own_name()] {
        daemon.says(name, "the mirror far has a history");
    }
    // What no mirror has is begun.
    lab.make("srv/new.db", 3);
    daemon.until("new is kept", || commits_in(&lab, "far", "new") > 0);
    assert_eq!(commits_in(&lab, "main", "shop"), 0);
    // Nobody holds the histories that are copied back.
    let copied = by_config(&lab, &["copy", "far", "main", "-c", "pagekeep.toml"]);
    // One that is followed is left alone, and no reason to leave others out.
    copied.failed(11, &["history \"new\"", "another process"]);
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('after the fire')");
    daemon.until("main goes on", || commits_in(&lab, "main", "shop") > before);
    daemon.until("far goes on", || commits_in(&lab, "far", "shop") > before);
    daemon.stop();
}

#[test]
fn another_state_folder_is_written_down_and_the_daemons_own_history_goes_on() {
    let lab = Lab::new();
    mirrored(&lab, "[daemon]\nstate-dir = \"state\" # as ever\n");
    let own = own_name();
    for folder in ["srv", "state"] {
        fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    fs::remove_file(lab.path("pagekeep.toml")).unwrap();
    let args = ["adopt", "repo", "--key-file", "key", "--state-dir", "new/state", "--restore"];
    let done = by_config(&lab, &[&args[..], &["--json"]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    let text = fs::read_to_string(lab.path("pagekeep.toml")).unwrap();
    let new = lab.path("new/state").display().to_string();
    assert!(text.contains(&format!("state-dir = \"{new}\" # as ever\n")), "{text}");
    assert!(!last(&done.objects())["run"].as_str().unwrap().contains("--state-dir"), "{done:?}");
    let before = commits_in(&lab, "main", &own);
    let mut daemon = Daemon::start_with(&lab, |command| {
        command.env_remove("PAGEKEEP_STATE_DIR");
    });
    daemon.says(&own, "goes on in another state folder");
    daemon.until("its own history goes on", || commits_in(&lab, "main", &own) > before);
    daemon.stop();
    // A file that is there keeps what it says, and the commands say the rest.
    let again = by_config(&lab, &args);
    assert!(again.stdout.contains(&format!("--state-dir {new}`")), "{again:?}");
}
