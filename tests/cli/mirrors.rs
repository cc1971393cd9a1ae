//! Mirrors: the second copies that the daemon keeps, and what they are good for.

use std::fs;

use rusqlite::Connection;

use crate::daemon::{Daemon, HeldClock, init, told};
use crate::support::cli::{self, Ended, Lab};

fn write(lab: &Lab, databases: &str) {
    let text = format!(
        "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
         mirrors = [\"far\", \"gone\"]\ncopy-every = \"50ms\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         [repositories.gone]\nlocation = \"gone\"\nkey-file = \"gone.key\"
         {databases}"
    );
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
}

/// How many commits a repository of the configuration has of `app`.
fn commits_in(lab: &Lab, repository: &str) -> usize {
    let ended = lab.run(&["log", "app", "-c", "pagekeep.toml", "-r", repository, "--json"]);
    if ended.code == Some(0) { ended.objects().len() } else { 0 }
}

fn rows(lab: &Lab) -> i64 {
    lab.number("restored.db", "SELECT count(*) FROM t")
}

#[test]
fn each_mirror_gets_everything_whatever_ails_another_and_a_restore_goes_on_from_it() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    init(&lab, "far");
    let mut daemon = Daemon::start(&lab);
    let app = Connection::open(lab.path("app.db")).unwrap();
    for _ in 0..3 {
        app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
    }
    daemon.keeps("app", 1);
    daemon.until("far has it", || commits_in(&lab, "far") == commits_in(&lab, "main"));
    let before = commits_in(&lab, "far");
    app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
    daemon.until("far has more", || commits_in(&lab, "far") > before);
    daemon.says("gone", "it is tried again");
    daemon.says("app", "nobody could ask the mirror gone");
    assert_eq!(told(&lab, "app", "is not copied"), 0);
    // One that comes later gets all there was.
    init(&lab, "gone");
    daemon.says("gone", "is open");
    let all = commits_in(&lab, "main");
    daemon.until("gone has it", || commits_in(&lab, "gone") == all);
    daemon.until("far has all", || commits_in(&lab, "far") == all);
    daemon.stop();

    // A command that knows the configuration reads what is damaged from a mirror.
    let restore = ["restore", "app", "restored.db", "--force", "-c", "pagekeep.toml"];
    assert_eq!(lab.summary(&restore)["mirror"], serde_json::Value::Null);
    assert_eq!(rows(&lab), 24);
    fs::remove_file(lab.path("restored.db")).unwrap();
    let is_segment =
        |path: &std::path::PathBuf| path.is_file() && path.to_str().unwrap().contains("/log/");
    let segments: Vec<_> =
        cli::walk(&lab.path("repo/histories")).into_iter().filter(is_segment).collect();
    assert!(!segments.is_empty());
    for object in &segments {
        // A place that is no seal: what is listed is sound, and what is stored is not.
        cli::flip(object, fs::metadata(object).unwrap().len() / 3);
    }
    let ended = lab.run(&[&restore[..], &["--json"]].concat());
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_eq!(cli::last(&ended.objects())["mirror"], "far");
    assert_eq!(rows(&lab), 24);
    // Without it, the same is an error, which names the object.
    assert_eq!(lab.run(&["restore", "app", "other.db"]).code, Some(4));
    assert!(!lab.path("other.db").exists());

    // The daemon says which mirror has it.
    write(&lab, "[[databases]]\npath = \"app.db\"\nverify.restore = \"every 1m\"");
    let clock = HeldClock(lab.path("clock"));
    let later = chrono::Utc::now() + chrono::TimeDelta::minutes(5);
    clock.set(&later.to_rfc3339());
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("app", "the mirror far is sound");
    daemon.stop();

    // A repository that is gone, and a mirror that is, too.
    fs::remove_dir_all(lab.path("repo")).unwrap();
    fs::remove_dir_all(lab.path("far")).unwrap();
    let ended = lab.run(&restore);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("mirror far") && ended.stderr.contains("gone has"), "{ended:?}");
    assert_eq!(rows(&lab), 24);
}

#[test]
fn what_the_policy_removes_goes_from_the_mirrors_as_well() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    let entry = "[[databases]]\npath = \"app.db\"\npolicy = { keep-last = 2 }\nprune = \"every 1h\"\nmarks = \"off\"";
    write(&lab, entry);
    init(&lab, "far");
    let clock = HeldClock(lab.path("clock"));
    // A prune goes by no clock that is days away from the storage's.
    let now = chrono::Utc::now();
    clock.set(&now.to_rfc3339());
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.keeps("app", 1);
    for n in 0..5 {
        lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
        daemon.until("it is copied", || commits_in(&lab, "far") > n + 1);
    }
    clock.set(&(now + chrono::TimeDelta::minutes(150)).to_rfc3339());
    daemon.says("app", "expired");
    daemon.until("main is pruned", || commits_in(&lab, "main") == 2);
    daemon.until("far is pruned", || commits_in(&lab, "far") == 2);
    // And it goes on from there.
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    daemon.until("far has the next", || commits_in(&lab, "far") == 3);
    daemon.stop();
}

#[test]
fn a_configuration_names_the_repository_for_every_command() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    init(&lab, "far");
    let run = |args: &[&str]| {
        let mut command = lab.command(&[args, &["-c", "pagekeep.toml"]].concat());
        command.env_remove("PAGEKEEP_REPO").env_remove("PAGEKEEP_KEY_FILE");
        Ended::of(&mut command)
    };
    assert_eq!(run(&["backup", "app.db"]).code, Some(0));
    assert_eq!(run(&["copy", "main", "far"]).code, Some(0));
    assert_eq!(run(&["log", "app", "-r", "far"]).code, Some(0));
    run(&["log", "app", "-r", "fra"])
        .failed(2, &["pagekeep.toml: has no repository \"fra\"", "it has far, gone, main"]);
    lab.run(&["run"]).failed(2, &["no configuration was named", "-c FILE"]);
    // A mirror takes only copies: with anything of its own it would be no copy any more.
    let before = cli::walk(&lab.path("far"));
    let app = "app@latest";
    for writing in [
        &["backup", "app.db"][..],
        &["watch", "app.db"],
        &["label", app, "a label"],
        &["hold", "add", app, "a reason"],
        &["prune", "app", "--keep-last", "1"],
        &["rewind", "app.db", "--to", "latest"],
        &["undo", "app.db", "latest"],
        &["undelete", "app"],
        &["files", "backup", "app", "key"],
    ] {
        for far in ["far", lab.path("far").to_str().unwrap()] {
            let hint = ["is the mirror far of main in", "-r main"];
            run(&[writing, &["-r", far]].concat()).failed(17, &hint);
        }
    }
    // However it is spelt; and what the configuration has may be a link, too.
    std::os::unix::fs::symlink(lab.path("far"), lab.path("link")).unwrap();
    fs::create_dir(lab.path("sub")).unwrap();
    let text = fs::read_to_string(lab.path("pagekeep.toml")).unwrap();
    for configured in ["far", "link"] {
        let location = format!("location = \"{configured}\"");
        let text = text.replace("location = \"far\"", &location);
        fs::write(lab.path("pagekeep.toml"), text).unwrap();
        for spelt in ["link", "sub/../far", "./link/", "far"] {
            let place = lab.path("").join(spelt);
            let far = ["label", app, "a label", "-r", place.to_str().unwrap()];
            run(&far).failed(17, &["is the mirror far of main in", "-r main"]);
        }
    }
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    // A copy of its folder is the same repository.
    let (far, copy) = (lab.path("far"), lab.path("cp"));
    let copied = std::process::Command::new("cp").arg("-r").arg(far).arg(copy).status();
    assert!(copied.unwrap().success());
    let copy = ["label", app, "a label", "--key-file", "far.key", "-r", "./cp"];
    run(&copy).failed(17, &["is the mirror far of main in"]);
    assert_eq!(cli::walk(&lab.path("far")), before);
    let app = ["restore", "app", "far.db"];
    for reading in [&["prune", "app", "--keep-last", "1", "-n"][..], &["hold", "list"], &app] {
        let read = run(&[reading, &["-r", "far"]].concat()[..]);
        assert_eq!(read.code, Some(0), "{reading:?}: {read:?}");
    }
    // What is typed counts more than what the file says.
    let other = run(&["log", "app", "--key-file", "far.key"]);
    assert_eq!(other.code, Some(12), "{other:?}");
}

/// How far each mirror is, is told beside the history, and whatever keeps one from saying so.
#[test]
fn status_tells_how_far_each_mirror_is() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    init(&lab, "far");
    let backup = || {
        lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
        lab.ok(&["backup", "app.db", "-c", "pagekeep.toml"]);
    };
    let status = |told: &[&str]| {
        let ended = lab.run(&["status", "-c", "pagekeep.toml"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for words in told {
            assert!(ended.stdout.contains(words), "{words}: {ended:?}");
        }
    };
    backup();
    status(&["far: has no commit of it", "gone: nobody knows how far it is"]);
    lab.ok(&["copy", "main", "far", "-c", "pagekeep.toml"]);
    status(&["far: has all of it"]);
    backup();
    backup();
    status(&["far: has it up to seq:1, 2 commits behind"]);
    let told = lab.run(&["status", "-c", "pagekeep.toml", "--json"]).objects();
    let mirrors = &told[0]["mirrors"];
    assert_eq!((&mirrors[0]["newest"], &mirrors[0]["behind"]), (&1.into(), &2.into()), "{told:?}");
    assert!(mirrors[1]["behind"].is_null() && mirrors[1]["fault"].is_string(), "{told:?}");
    // One that went on by itself is no copy.
    let foreign = ["backup", "app.db", "-r", "far", "--key-file", "far.key"];
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    lab.ok(&foreign);
    status(&["far: has it up to seq:2", "its commit 2 is another one than the repository's"]);
    // A mirror itself has none.
    let of_mirror = lab.ok(&["status", "-c", "pagekeep.toml", "-r", "far"]);
    assert!(!of_mirror.stdout.contains("nobody knows"), "{of_mirror:?}");
}

/// A key that does not open its repository is noticed before a daemon needs it.
#[test]
fn a_key_that_opens_nothing_is_noticed_when_the_configuration_is_checked() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    init(&lab, "far");
    let check = || lab.run(&["config", "check", "-c", "pagekeep.toml"]);
    let fine = check();
    assert_eq!(fine.code, Some(3), "{fine:?}");
    assert!(fine.stderr.contains("gone is not there"), "{fine:?}");
    fs::rename(lab.path("far.key"), lab.path("old.key")).unwrap();
    let absent = check();
    absent.failed(12, &["far.key"]);
    fs::copy(lab.path("key"), lab.path("far.key")).unwrap();
    let wrong = check();
    wrong.failed(12, &["far"]);
    assert!(!wrong.stdout.contains("can be used"), "{wrong:?}");
    // What is no repository at all is told, too.
    fs::copy(lab.path("key"), lab.path("gone.key")).unwrap();
    fs::rename(lab.path("old.key"), lab.path("far.key")).unwrap();
    fs::create_dir(lab.path("gone")).unwrap();
    let empty = check();
    assert_eq!(empty.code, Some(3), "{empty:?}");
    assert!(empty.stderr.contains("repository gone: "), "{empty:?}");
}

/// Mirrors that do not answer, and come first by their names, keep nobody else waiting: the first
/// repository is opened, what is committed is kept, and the daemon ends when it is told to.
#[test]
fn mirrors_that_hang_delay_nothing() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    let hangs = |name: &str| {
        format!(
            "[repositories.{name}]\nlocation = \"{name}\"\npassword-command = \"sleep 86400\"\n"
        )
    };
    let text = format!(
        "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
         mirrors = [\"a\", \"b\", \"far\", \"z\"]\ncopy-every = \"50ms\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         {}{}{}[[databases]]\npath = \"app.db\"",
        hangs("a"),
        hangs("b"),
        hangs("z")
    );
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    init(&lab, "far");
    // Whoever looks for these finds a repository, and waits for its passphrase.
    for name in ["a", "b", "z"] {
        fs::create_dir(lab.path(name)).unwrap();
        fs::copy(lab.path("far/repository"), lab.path(name).join("repository")).unwrap();
    }
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    let before = commits_in(&lab, "main");
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    daemon.until("it is kept", || commits_in(&lab, "main") > before);
    daemon.until("it is copied", || commits_in(&lab, "far") == commits_in(&lab, "main"));
    daemon.stop();
}

/// A mirror that moves has nothing at its new place, whatever was copied to the old one.
#[test]
fn a_mirror_that_moves_is_filled_at_its_new_place() {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "[[databases]]\npath = \"app.db\"");
    init(&lab, "far");
    let mut daemon = Daemon::start(&lab);
    daemon.keeps("app", 1);
    daemon.until("far has it", || commits_in(&lab, "far") == commits_in(&lab, "main"));
    let before = commits_in(&lab, "far");
    let text = fs::read_to_string(lab.path("pagekeep.toml")).unwrap();
    let moved = text.replace("location = \"far\"", "location = \"further\"");
    assert_ne!(text, moved);
    fs::write(lab.path("pagekeep.toml"), moved).unwrap();
    init(&lab, "far");
    assert_eq!(commits_in(&lab, "far"), 0);
    daemon.signal("-HUP");
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    daemon.until("main has more", || commits_in(&lab, "main") > before);
    daemon.until("the new place has all", || commits_in(&lab, "far") == commits_in(&lab, "main"));
    daemon.stop();
    // Nothing was copied to the old one any more.
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    assert_eq!(commits_in(&lab, "far"), before);
}

/// What an earlier configuration asks for is given up, with the command that it waits for.
#[test]
fn a_command_that_hangs_ends_with_its_configuration() {
    let lab = Lab::new();
    lab.make("app.db", 2);
    let write = |pid: &str| {
        let text = format!(
            "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"\nmirrors = [\"far\"]
             [repositories.far]\nlocation = \"far\"\npassword-command = \"echo $$ > {pid}; exec sleep 86400\"
             [[databases]]\npath = \"app.db\""
        );
        fs::write(lab.path("pagekeep.toml"), text).unwrap();
    };
    lab.ok(&["init", "-r", "far", "--key-file", "far.key"]);
    write("0.pid");
    let mut daemon = Daemon::start(&lab);
    let id = |n: usize| {
        let text = fs::read_to_string(lab.path(&format!("{n}.pid"))).unwrap_or_default();
        text.trim().parse::<u32>().ok()
    };
    let lives = |n: usize| std::path::Path::new("/proc").join(id(n).unwrap().to_string()).exists();
    daemon.until("the first one waits", || id(0).is_some());
    for n in 1..4 {
        write(&format!("{n}.pid"));
        daemon.signal("-HUP");
        daemon.until("the next one waits", || id(n).is_some());
        daemon.until("the one before is gone", || !lives(n - 1));
    }
    daemon.stop();
    assert!(!lives(3));
}
