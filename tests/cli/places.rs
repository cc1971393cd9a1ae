//! From which repository a restore takes a commit that several may have.

use std::fs;

use serde_json::Value;

use crate::support::cli::{self, Ended, Lab, last};

/// A repository with a mirror, which has the first three commits of `app`; `old` is the repository
/// as it was with the first commit.
fn mirrored() -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 20);
    write(&lab, "");
    assert_eq!(by_config(&lab, &["init", "-r", "far"]).code, Some(0));
    lab.ok(&["backup", "app.db"]);
    let copied = lab.other("cp").args(["-r", "repo", "old"]).status().unwrap();
    assert!(copied.success());
    for _ in 0..2 {
        insert(&lab);
    }
    assert_eq!(by_config(&lab, &["copy", "main", "far"]).code, Some(0));
    lab
}

fn write(lab: &Lab, more: &str) {
    let names = if more.is_empty() { "\"far\"" } else { "\"far\", \"mute\"" };
    let text = format!(
        "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"\nmirrors = [{names}]
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         {more}\n[[databases]]\npath = \"app.db\""
    );
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
}

fn insert(lab: &Lab) {
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    lab.ok(&["backup", "app.db"]);
}

fn by_config(lab: &Lab, args: &[&str]) -> Ended {
    let mut command = lab.command(&[args, &["-c", "pagekeep.toml"]].concat());
    Ended::of(command.env_remove("PAGEKEEP_KEY_FILE").env_remove("PAGEKEEP_REPO"))
}

/// Restores; answers what came of it, and the commit, the mirror and the rows.
fn restored(lab: &Lab, source: &str) -> (Ended, u64, Value, i64) {
    let ended = by_config(lab, &["restore", source, "out.db", "--force", "--json"]);
    assert!(matches!(ended.code, Some(0 | 3)), "{source}: {ended:?}");
    let summary = last(&ended.objects()).clone();
    let rows = lab.number("out.db", "SELECT count(*) FROM t");
    (ended, summary["commit"]["seq"].as_u64().unwrap(), summary["mirror"].clone(), rows)
}

fn put_in_place(lab: &Lab, other: &str) {
    fs::remove_dir_all(lab.path("repo")).unwrap();
    fs::rename(lab.path(other), lab.path("repo")).unwrap();
}

/// Damages the newest object of the log.
fn damage_newest(lab: &Lab) {
    let is_log =
        |path: &std::path::PathBuf| path.is_file() && path.to_str().unwrap().contains("/log/");
    let mut log: Vec<_> =
        cli::walk(&lab.path("repo/histories")).into_iter().filter(is_log).collect();
    log.sort();
    let newest = log.last().unwrap();
    fs::write(newest, &fs::read(newest).unwrap()[..100]).unwrap();
}

#[test]
fn a_repository_that_was_set_back_gives_no_older_commit_in_silence() {
    let lab = mirrored();
    put_in_place(&lab, "old");
    fs::remove_dir_all(lab.path("state")).unwrap();
    let (ended, seq, mirror, rows) = restored(&lab, "app");
    assert_eq!((ended.code, seq, mirror, rows), (Some(3), 3, "far".into(), 22), "{ended:?}");
    assert!(ended.stderr.contains("was set back"), "{ended:?}");
    for (source, seq, rows) in [("app@latest~1", 2, 21), ("app@seq:2", 2, 21)] {
        let found = restored(&lab, source);
        assert_eq!((found.0.code, found.1, found.3), (Some(3), seq, rows), "{source}: {found:?}");
    }
    // One that it has is the same everywhere.
    let (ended, seq, mirror, rows) = restored(&lab, "app@seq:1");
    assert_eq!((ended.code, seq, mirror, rows), (Some(0), 1, Value::Null, 20), "{ended:?}");
}

#[test]
fn what_a_whole_repository_has_not_is_sought_nowhere_else() {
    let lab = mirrored();
    for source in ["ap", "app@seq:99", "app@2001-01-01", "app@nothing"] {
        let ended = by_config(&lab, &["restore", source, "new.db"]);
        assert_eq!(ended.code, Some(16), "{source}: {ended:?}");
        assert!(!ended.stderr.contains("mirror"), "{ended:?}");
    }
    // Nor does a mirror help where nothing can be written.
    fs::write(lab.path("file"), "no folder").unwrap();
    let ended = by_config(&lab, &["restore", "app", "file/new.db"]);
    assert!(ended.code != Some(0) && !ended.stderr.contains("mirror"), "{ended:?}");
    // A history that the mirror alone has is named.
    lab.make("blog.db", 3);
    lab.ok(&["backup", "blog.db"]);
    assert_eq!(by_config(&lab, &["copy", "main", "far"]).code, Some(0));
    put_in_place(&lab, "old");
    fs::remove_dir_all(lab.path("state")).unwrap();
    by_config(&lab, &["restore", "blog", "new.db"]).failed(16, &["-r far restores from it"]);
}

#[test]
fn of_all_commits_that_can_be_read_latest_is_the_newest() {
    let lab = mirrored();
    insert(&lab);
    insert(&lab);
    damage_newest(&lab);
    // The mirror has three, and the first repository four of five.
    let (ended, seq, mirror, rows) = restored(&lab, "app");
    assert_eq!((ended.code, seq, mirror, rows), (Some(3), 4, Value::Null, 23), "{ended:?}");
    assert!(ended.stderr.contains("newest commit that can be read anywhere"), "{ended:?}");

    let lab = mirrored();
    damage_newest(&lab);
    let (ended, seq, mirror, rows) = restored(&lab, "app");
    assert_eq!((ended.code, seq, mirror, rows), (Some(3), 3, "far".into(), 22), "{ended:?}");
}

#[test]
fn a_stranger_with_the_same_key_and_name_is_refused() {
    let lab = mirrored();
    lab.ok(&["init", "-r", "stranger"]);
    fs::create_dir(lab.path("other")).unwrap();
    lab.make("other/app.db", 3);
    lab.ok(&["backup", "other/app.db", "-r", "stranger"]);
    put_in_place(&lab, "stranger");
    let (ended, seq, mirror, rows) = restored(&lab, "app");
    assert_eq!((ended.code, seq, mirror, rows), (Some(3), 3, "far".into(), 22), "{ended:?}");
    fs::remove_dir_all(lab.path("far")).unwrap();
    let refused = by_config(&lab, &["restore", "app", "new.db"]);
    refused.failed(17, &["another one than this machine knows", "--accept-rollback"]);
    assert!(!lab.path("new.db").exists());
    // Who means it says so.
    by_config(&lab, &["repair", "--accept-rollback"]);
    assert_eq!(restored(&lab, "app").3, 3);
}

#[test]
fn one_moment_comes_from_one_repository_and_the_others_are_named() {
    let lab = mirrored();
    fs::remove_dir_all(lab.path("repo")).unwrap();
    by_config(&lab, &["restore-all", "all"]).failed(10, &["the same command with -r far"]);
    assert_eq!(by_config(&lab, &["restore-all", "all", "-r", "far"]).code, Some(0));
    assert_eq!(lab.number("all/app.db", "SELECT count(*) FROM t"), 22);
}

#[test]
fn a_mirror_that_does_not_answer_is_said_and_waited_for_no_longer() {
    let lab = mirrored();
    // It holds the standard error of whoever began it, as a command that asks for something does.
    let mute = "[repositories.mute]\nlocation = \"mute\"\npassword-command = \"echo $$ > mute.pid; exec sleep 86400\"";
    assert_eq!(by_config(&lab, &["init", "-r", "far"]).code, Some(17));
    lab.ok(&["init", "-r", "mute"]);
    write(&lab, mute);
    let (ended, seq, mirror, rows) = restored(&lab, "app");
    assert_eq!((ended.code, seq, mirror, rows), (Some(0), 3, Value::Null, 22), "{ended:?}");
    assert!(ended.stderr.contains("mute has newer commits is not known"), "{ended:?}");
    // Nobody waited for its command, and nothing of it is left.
    assert!(ended.stderr.contains("no answer within 5 s"), "{ended:?}");
    let id = fs::read_to_string(lab.path("mute.pid")).unwrap();
    assert!(!std::path::Path::new("/proc").join(id.trim()).exists(), "{id}");
}
