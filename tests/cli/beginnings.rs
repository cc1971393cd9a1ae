//! A first repository that has less than its mirror: nothing is stored behind what it has, since
//! the mirror would take none of it.

use std::fs;

use crate::adopt::{by_config, commits_in, mirrored, own_name};
use crate::daemon::Daemon;
use crate::support::cli::{Lab, walk};

/// Copies a folder with all that is in it.
fn copy_folder(lab: &Lab, from: &str, to: &str) {
    let root = lab.path(from);
    for file in walk(&root).into_iter().filter(|file| file.is_file()) {
        let target = lab.path(to).join(file.strip_prefix(&root).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

fn is_description(file: &std::path::Path) -> bool {
    file.file_name().unwrap().to_str().unwrap().starts_with("about")
}

#[test]
fn a_copy_that_was_killed_is_finished_before_anything_is_stored() {
    let lab = Lab::new();
    mirrored(&lab, "");
    let before = commits_in(&lab, "far", "shop");
    for folder in ["repo", "state"] {
        fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    assert_eq!(by_config(&lab, &["init", "-c", "pagekeep.toml", "-r", "main"]).code, Some(0));
    let copy = ["copy", "far", "main", "-c", "pagekeep.toml"];
    assert_eq!(by_config(&lab, &copy).code, Some(0));
    // What a copy leaves that dies when it has begun each history.
    let histories = lab.path("repo/histories");
    for file in walk(&histories).into_iter().filter(|file| file.is_file() && !is_description(file))
    {
        fs::remove_file(file).unwrap();
    }
    fs::remove_dir_all(lab.path("state")).unwrap();
    let mut daemon = Daemon::start(&lab);
    for name in ["shop", "blog", &own_name()] {
        daemon.says(name, "the repository main has no commit of it");
    }
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('meanwhile')");
    assert_eq!(commits_in(&lab, "main", "shop"), 0);
    // Nobody holds what is copied back, and then the daemon goes on by itself.
    let copied = by_config(&lab, &copy);
    assert_eq!(copied.code, Some(0), "{copied:?}");
    daemon.until("main goes on", || commits_in(&lab, "main", "shop") > before);
    daemon.until("far goes on", || commits_in(&lab, "far", "shop") > before);
    daemon.stop();
}

#[test]
fn a_repository_that_was_set_back_gets_what_its_mirror_has_first() {
    let lab = Lab::new();
    mirrored(&lab, "");
    copy_folder(&lab, "repo", "older");
    let mut daemon = Daemon::start(&lab);
    let old = commits_in(&lab, "far", "shop");
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('lost in the first one')");
    daemon.until("far has it", || commits_in(&lab, "far", "shop") > old);
    daemon.stop();
    let before = commits_in(&lab, "far", "shop");
    // Nobody knows any more that there was more.
    for folder in ["repo", "state"] {
        fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    copy_folder(&lab, "older", "repo");
    let mut daemon = Daemon::start(&lab);
    daemon.says("shop", &format!("up to seq:{before}, and the repository main up to seq:{old}"));
    let copied = by_config(&lab, &["copy", "far", "main", "-c", "pagekeep.toml"]);
    assert!(copied.stdout.contains("shop: copied 1 commit"), "{copied:?}");
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('after that')");
    daemon.until("main goes on", || commits_in(&lab, "main", "shop") > before);
    daemon.until("far goes on", || commits_in(&lab, "far", "shop") > before);
    daemon.stop();
}

/// A fork that is there already keeps nothing from being stored, and its error names the way out.
#[test]
fn a_fork_is_told_with_the_way_out() {
    let lab = Lab::new();
    mirrored(&lab, "");
    copy_folder(&lab, "repo", "older");
    let old = commits_in(&lab, "far", "shop");
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('only in the mirror')");
    let mut daemon = Daemon::start(&lab);
    daemon.until("far has it", || commits_in(&lab, "far", "shop") > old);
    daemon.stop();
    for folder in ["repo", "state"] {
        fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    copy_folder(&lab, "older", "repo");
    lab.sql("srv/shop.db", "DELETE FROM t WHERE id % 2; INSERT INTO t(x) VALUES('only in main')");
    // By hand, where no rule holds it.
    assert_eq!(by_config(&lab, &["backup", "srv/shop.db", "-c", "pagekeep.toml"]).code, Some(0));
    let mut daemon = Daemon::start(&lab);
    let before = commits_in(&lab, "main", "shop");
    lab.sql("srv/shop.db", "INSERT INTO t(x) VALUES('more')");
    daemon.until("main goes on", || commits_in(&lab, "main", "shop") > before);
    daemon.says("shop", "a mirror gets another location in the configuration");
    daemon.stop();
    let way = ["which the original has not", "made with `pagekeep init"];
    by_config(&lab, &["copy", "far", "main", "--name", "shop", "-c", "pagekeep.toml"])
        .failed(17, &way);
    // The way out: another place for the mirror, beside the old one.
    let text = fs::read_to_string(lab.path("pagekeep.toml")).unwrap();
    let text = text.replace("location = \"far\"", "location = \"far2\"");
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    assert_eq!(by_config(&lab, &["init", "-c", "pagekeep.toml", "-r", "far"]).code, Some(0));
    let mut daemon = Daemon::start(&lab);
    let all = commits_in(&lab, "main", "shop");
    daemon.until("the new place has all", || commits_in(&lab, "far", "shop") >= all);
    daemon.stop();
    let old = ["log", "shop", "-r", "far", "--key-file", "far.key"];
    assert_eq!(lab.run(&old).code, Some(0));
}

/// The daemon's own history goes on where it was, though another repository comes first by its
/// name now.
#[test]
fn another_first_repository_takes_the_daemons_own_history_from_nobody() {
    let lab = Lab::new();
    mirrored(&lab, "");
    let before = commits_in(&lab, "far", &own_name());
    let text = fs::read_to_string(lab.path("pagekeep.toml")).unwrap();
    let text = text.replace("path = \"srv/*.db\"", "path = \"srv/*.db\"\nrepository = \"main\"");
    let archive = "[repositories.archive]\nlocation = \"archive\"\nkey-file = \"archive.key\"
         mirrors = [\"far\"]\ncopy-every = \"50ms\"";
    fs::write(lab.path("pagekeep.toml"), format!("{archive}\n{text}")).unwrap();
    assert_eq!(by_config(&lab, &["init", "-c", "pagekeep.toml", "-r", "archive"]).code, Some(0));
    let mut daemon = Daemon::start(&lab);
    daemon.until("it goes on", || commits_in(&lab, "far", &own_name()) > before);
    assert_eq!(commits_in(&lab, "archive", &own_name()), 0);
    daemon.stop();
}
