//! `files`: the plain files of an application beside its database, through the real binary and the
//! daemon.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::{Daemon, HeldClock, init, told};
use crate::support::cli::{self, Ended, Lab};

/// Where a file of the lab is in a folder that it was restored to.
fn restored(lab: &Lab, to: &str, name: &str) -> PathBuf {
    let whole = fs::canonicalize(lab.path("")).unwrap().join(name);
    lab.path(to).join(whole.strip_prefix("/").unwrap())
}

fn make(lab: &Lab) {
    for folder in ["app", "app/uploads"] {
        fs::create_dir(lab.path(folder)).unwrap();
    }
    fs::write(lab.path("app/shop.toml"), "port = 80\n").unwrap();
    fs::write(lab.path("app/uploads/picture"), [7; 100_000]).unwrap();
    fs::write(lab.path("app/uploads/half.tmp"), "half").unwrap();
    symlink("shop.toml", lab.path("app/current.toml")).unwrap();
    fs::set_permissions(lab.path("app/shop.toml"), fs::Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn files_are_kept_listed_and_brought_back_as_they_were() {
    let lab = Lab::new();
    make(&lab);
    let backup = ["files", "backup", "shop", "app", "--exclude", "*.tmp"];
    let first = lab.ok(&backup);
    first.says(&["shop.files@seq:1", "5 names changed", "2 files, 2 folders, 1 link"]);
    lab.ok(&backup).says(&["shop.files@seq:1", "unchanged, nothing stored"]);
    fs::write(lab.path("app/shop.toml"), "port = 8080\n").unwrap();
    fs::remove_file(lab.path("app/uploads/picture")).unwrap();
    let second = lab.summary(&backup);
    assert_eq!(second["seq"], 2, "{second}");
    assert_eq!((&second["names_removed"], &second["files"]), (&1.into(), &1.into()), "{second}");

    let listed = lab.ok(&["files", "list", "shop@seq:1"]);
    listed.says(&[
        "-rw-r-----",
        "97.6 KiB",
        "app/uploads/picture",
        "app/uploads/\n",
        "-> shop.toml",
    ]);
    assert!(!listed.stdout.contains("half.tmp"), "{listed:?}");
    let now = lab.ok(&["files", "list", "shop.files", "--json"]).objects();
    assert_eq!(now.len(), 4, "{now:?}");

    let before = fs::metadata(lab.path("app/uploads")).unwrap();
    lab.ok(&["files", "restore", "shop@seq:1", "out"]).says(&["restored shop.files@seq:1 to out"]);
    let there = |name| restored(&lab, "out", name);
    assert_eq!(fs::read(there("app/shop.toml")).unwrap(), b"port = 80\n");
    assert_eq!(cli::mode(&there("app/shop.toml")), 0o640);
    assert_eq!(fs::read(there("app/uploads/picture")).unwrap(), [7; 100_000]);
    assert_eq!(fs::read_link(there("app/current.toml")).unwrap(), Path::new("shop.toml"));
    assert_eq!(fs::metadata(there("app")).unwrap().uid(), before.uid());
    assert!(!there("app/uploads/half.tmp").exists());
    // Nothing replaces what is there.
    lab.run(&["files", "restore", "shop", "out"]).failed(17, &["out: exists already"]);
    lab.run(&["files", "restore", "shop", "no/where"]).failed(2, &["no: does not exist"]);
    assert_eq!(fs::read(there("app/shop.toml")).unwrap(), b"port = 80\n");
    // It is a history like any other one.
    lab.ok(&["verify", "shop.files", "--level", "restore"]);
    lab.run(&["diff", "shop.files@seq:1", "shop.files@seq:2"]).says(&["table sqlar"]);
}

#[test]
fn what_is_not_kept_is_told_by_name() {
    let lab = Lab::new();
    make(&lab);
    lab.make("app/other.db", 20);
    let path = lab.path("app/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
    let ended = lab.run(&["files", "backup", "shop", "app", "gone", "--json"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let objects = ended.objects();
    let reasons: Vec<(&str, &str)> = objects
        .iter()
        .filter(|object| object["type"] == "passed-over")
        .map(|object| (object["path"].as_str().unwrap(), object["reason"].as_str().unwrap()))
        .map(|(path, reason)| (path.rsplit('/').next().unwrap(), reason))
        .collect();
    assert_eq!(reasons, [("other.db", "database"), ("pipe", "special"), ("gone", "missing")]);
    lab.run(&["files", "backup", "shop", "app"]).failed(3, &["other.db: is a SQLite database"]);
    // One that has a history is nobody's trouble.
    lab.ok(&["backup", "app/other.db"]);
    let noted = lab.run(&["files", "backup", "shop", "app"]);
    noted.failed(0, &["note: ", "app/pipe: is a pipe"]);
    assert!(!noted.stderr.contains("other.db"), "{noted:?}");
    lab.run(&["files", "backup", "shop", "gone"]).failed(5, &["nothing of what is to be kept"]);
    lab.run(&["files", "backup", "shop", "a[/*"]).failed(2, &["is no pattern of files"]);
    lab.run(&["files", "list", "none"]).failed(16, &["`pagekeep files backup none PATH...`"]);
    // A history of a database has no files.
    lab.ok(&["backup", "app/other.db", "--name", "odd.files", "--adopt"]);
    lab.run(&["files", "list", "odd"]).failed(2, &["has no archive of files"]);
    lab.run(&["files", "backup", "odd", "app"]).failed(17, &["belongs to"]);
}

#[test]
fn what_can_not_be_read_is_told_and_stays_as_it_was() {
    let mut lab = Lab::new();
    make(&lab);
    // Root reads everything.
    lab.without_privileges();
    lab.ok(&["files", "backup", "shop", "app"]);
    fs::write(lab.path("app/shop.toml"), "port = 1\n").unwrap();
    fs::set_permissions(lab.path("app/shop.toml"), fs::Permissions::from_mode(0o0)).unwrap();
    let told = ["app/shop.toml: cannot be read", "what was stored of it before stays"];
    lab.run(&["files", "backup", "shop", "app"]).failed(3, &told);
    lab.ok(&["files", "restore", "shop", "out"]);
    let kept = restored(&lab, "out", "app/shop.toml");
    assert_eq!(fs::read(kept).unwrap(), b"port = 80\n");
}

#[test]
fn another_program_reads_what_is_restored_of_the_history() {
    let lab = Lab::new();
    make(&lab);
    lab.ok(&["files", "backup", "shop", "app"]);
    lab.ok(&["restore", "shop.files", "archive.sqlar"]);
    let script = "import sqlite3, stat
for name, mode, sz, data in sqlite3.connect('archive.sqlar').execute(
        'SELECT name, mode, sz, data FROM sqlar ORDER BY name'):
    print(name.rsplit('/', 1)[1], stat.filemode(mode), sz, data and data[:4])";
    let mut python = Command::new("python3");
    let read = python.args(["-c", script]).current_dir(lab.path("")).output().unwrap();
    let text = String::from_utf8(read.stdout).unwrap();
    for line in [
        "current.toml lrwxrwxrwx -1 shop",
        "shop.toml -rw-r----- 10 b'port'",
        "picture -rw-r--r-- 100000 b'\\x07\\x07\\x07\\x07'",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("uploads d") && text.contains(" 0 None"), "{text}");
}

fn write(lab: &Lab, more: &str) {
    let text = format!("[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"\n{more}");
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
}

fn names(lab: &Lab, repository: &str) -> Vec<String> {
    let args = ["files", "list", "app", "--json", "-c", "pagekeep.toml", "-r", repository];
    let ended = lab.run(&args);
    let objects = if ended.code == Some(0) { ended.objects() } else { Vec::new() };
    objects
        .iter()
        .map(|object| object["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_daemon_keeps_them_by_their_own_schedule_copies_them_and_says_what_is_missing() {
    let lab = Lab::new();
    make(&lab);
    lab.make("app.db", 20);
    write(
        &lab,
        "mirrors = [\"far\"]\ncopy-every = \"50ms\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         [[databases]]\npath = \"app.db\"\nfiles = [\"app\", \"gone\", \"app.db\"]\nexclude = [\"*.tmp\"]
         files-schedule = \"every 30m\"\npolicy = { keep-last = 1 }\nprune = \"every 2h\"
         promise.max-proof-age = \"400d\"",
    );
    init(&lab, "far");
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    clock.set(&now.to_rfc3339());
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    // The first time it waits for nothing.
    daemon.says("app", "files found: stored seq:1: 5 names changed, 0 gone; gone: is not there");
    daemon.until("far has them", || names(&lab, "far").len() == 5);
    assert_eq!(told(&lab, "app", "app.db: is a SQLite database"), 0);
    fs::write(lab.path("app/shop.toml"), "port = 8080\n").unwrap();
    clock.set(&(now + chrono::TimeDelta::minutes(40)).to_rfc3339());
    daemon.says("app", "files found: stored seq:2: 1 name changed, 0 gone");
    clock.set(&(now + chrono::TimeDelta::minutes(80)).to_rfc3339());
    daemon.says("app", "files found: nothing is new since seq:2");
    clock.set(&(now + chrono::TimeDelta::minutes(150)).to_rfc3339());
    // One that was at work while the clock was set takes itself for one that slept, and is tried
    // again.
    let (mut failed, mut minutes) = (0, 150);
    daemon.until("they are pruned", || {
        if told(&lab, "app", "prune failed") > failed {
            (failed, minutes) = (failed + 1, minutes + 30);
            clock.set(&(now + chrono::TimeDelta::minutes(minutes)).to_rfc3339());
        }
        told(&lab, "app", "files: 1 commit expired, 1 stay") > 0
    });
    daemon.until("far has the same", || names(&lab, "main") == names(&lab, "far"));
    daemon.stop();
    lab.ok(&["files", "restore", "app", "out"]);
    assert_eq!(fs::read(restored(&lab, "out", "app/shop.toml")).unwrap(), b"port = 8080\n");
    assert_eq!(lab.ok(&["log", "app.files", "--json"]).objects().len(), 1);
}

#[test]
fn a_label_keeps_files_in_the_mirrors_though_it_was_given_after_the_last_copy() {
    let lab = Lab::new();
    make(&lab);
    lab.make("app.db", 20);
    write(
        &lab,
        "mirrors = [\"far\"]\ncopy-every = \"50ms\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         [[databases]]\npath = \"app.db\"\nfiles = [\"app\"]\nfiles-schedule = \"every 300d\"
         policy = { keep-last = 1 }\nprune = \"every 2h\"\npromise.max-proof-age = \"400d\"",
    );
    init(&lab, "far");
    let copy = ["copy", "repo", "far", "--name", "app.files", "--to-key-file", "far.key"];
    let keep = |port: u32| {
        fs::write(lab.path("app/shop.toml"), format!("port = {port}\n")).unwrap();
        lab.ok(&["files", "backup", "app", "app"]);
    };
    for port in [1, 2] {
        keep(port);
        lab.ok(&copy);
    }
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    clock.set(&now.to_rfc3339());
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("app", "files: nothing is new since seq:2");
    // Nothing tells the daemon of these two.
    keep(3);
    lab.ok(&["label", "app.files@seq:1", "before the move"]);
    clock.set(&(now + chrono::TimeDelta::minutes(150)).to_rfc3339());
    daemon.says("app", "files: 1 commit expired, 2 stay");
    let seqs = |repository: &str| -> Vec<u64> {
        let mut log =
            lab.command(&["log", "app.files", "--json", "-c", "pagekeep.toml", "-r", repository]);
        let log = Ended::of(log.env_remove("PAGEKEEP_KEY_FILE")).objects();
        log.iter().map(|commit| commit["seq"].as_u64().unwrap()).collect()
    };
    daemon.until("far is pruned", || seqs("far").len() == 2);
    daemon.stop();
    for repository in ["main", "far"] {
        assert_eq!(seqs(repository), [1, 3], "{repository}");
    }
}

/// Damage of the files is damage of their database, until they are verified and whole.
#[test]
fn damage_of_the_files_shows_in_the_verdict_of_their_database() {
    let lab = Lab::new();
    make(&lab);
    lab.make("app.db", 20);
    write(
        &lab,
        "[[databases]]\npath = \"app.db\"\nfiles = [\"app\"]\nfiles-schedule = \"every 300d\"
         verify.data = \"every 30m\"\nverify.sample = \"100%\"\nverify.restore = \"never\"",
    );
    lab.ok(&["files", "backup", "app", "app"]);
    let is_segment = |path: &PathBuf| path.is_file() && path.to_str().unwrap().contains("/log/");
    let of_files: Vec<_> =
        cli::walk(&lab.path("repo/histories")).into_iter().filter(is_segment).collect();
    assert!(!of_files.is_empty());
    let flip = || {
        // A place that is no seal: what is listed is sound, and what is stored is not.
        of_files.iter().for_each(|path| cli::flip(path, fs::metadata(path).unwrap().len() / 3));
    };
    let clock = HeldClock(lab.path("clock"));
    let now = chrono::Utc::now();
    let at = |minutes| (now + chrono::TimeDelta::minutes(minutes)).to_rfc3339();
    clock.set(&at(0));
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    daemon.says("app", "files: nothing is new since seq:1");
    daemon.says("app", "is kept");
    flip();
    clock.set(&at(40));
    daemon.says("app", "is at risk: its files: ");
    flip();
    let before = told(&lab, "app", "is kept");
    clock.set(&at(80));
    daemon.until("it is kept again", || told(&lab, "app", "is kept") > before);
    daemon.stop();
}

#[test]
fn the_configuration_tells_what_is_wrong_with_them_with_a_picture() {
    let lab = Lab::new();
    let check = |more: &str| {
        write(&lab, more);
        lab.run(&["config", "check", "-c", "pagekeep.toml"])
    };
    for (keys, told) in [
        ("exclude = [\"*.tmp\"]", "no files are kept of this database"),
        ("files-schedule = \"@daily\"", "no files are kept of this database"),
        ("files = [\"a[/*\"]", "is no pattern of files"),
        ("files = [\"\"]", "names no file"),
        ("files = [\"{stm}/x\"]", "neither {stem} nor {folder}"),
        ("files = [\"x\"]\nexclude = [\"[\"]", "is no pattern of files"),
        ("files = [\"x\"]\nfiles-schedule = \"soon\"", "^^^^^^"),
        ("file = [\"x\"]", "did you mean `files`?"),
    ] {
        let ended = check(&format!("[[databases]]\npath = \"app.db\"\n{keys}"));
        assert_eq!(ended.code, Some(2), "{keys}: {ended:?}");
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains(told) && all.contains("^"), "{keys}: {ended:?}");
    }
    let ended = check("[[databases]]\npath = \"*.db\"\nfiles = [\"x\"]");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    assert!(all.contains("would keep the same files"), "{ended:?}");
    let ended = check("[defaults]\nfiles = [\"x\"]\n[[databases]]\npath = \"app.db\"");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    lab.make("app.db", 20);
    let ended =
        check("[[databases]]\npath = \"app.db\"\nfiles = [\"x/*.toml\"]\nexclude = [\"*.tmp\"]");
    ended.says(&["files: "]);
    let shown = lab.ok(&["config", "show", "-c", "pagekeep.toml"]);
    shown.says(&[
        "files = [\"x/*.toml\"]",
        "exclude = [\"*.tmp\"]",
        "files-schedule = \"every 1h\"",
    ]);
}
