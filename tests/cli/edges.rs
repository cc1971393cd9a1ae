//! What a tour of the edges found: requests that destroy, hide or mean something else than they seem to, refused or done right.

use std::fs;

use crate::support::cli::{self, Ended, Lab};

/// After the last close one file is the database, also after a rewind.
#[test]
fn a_rewind_of_a_closed_database_leaves_one_file() {
    let lab = Lab::new();
    lab.sql("app.db", "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    lab.ok(&["backup", "app.db"]);
    lab.sql("app.db", "INSERT INTO t VALUES(2)");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["rewind", "app.db", "--to", "seq:1"]);
    assert!(!lab.path("app.db-wal").exists() && !lab.path("app.db-shm").exists());
    fs::copy(lab.path("app.db"), lab.path("alone.db")).unwrap();
    assert_eq!(lab.number("alone.db", "SELECT count(*) FROM t"), 1);
    let again = lab.ok(&["backup", "app.db"]);
    assert!(again.stdout.contains("unchanged"), "{again:?}");
}

#[test]
fn a_restore_replaces_neither_the_repository_nor_its_key() {
    let lab = Lab::with_history();
    fs::create_dir(lab.path("folder")).unwrap();
    let refused = |target: &str, code, told: &str| {
        for force in [&["--force"][..], &[]] {
            lab.fails(&[&["restore", "app", target], force].concat(), code, &[told]);
        }
    };
    lab.fails(&["restore", "app", "repo/repository"], 17, &["exists already"]);
    let over = ["restore", "app", "repo/repository", "--force"];
    lab.fails(&over, 17, &["is in the repository"]);
    refused("repo/histories/plain.db", 17, "is in the repository");
    refused("new/", 2, "is a directory that does not exist");
    let key = lab.path("key").to_str().unwrap().to_owned();
    lab.fails(&["restore", "app", &key, "--force"], 17, &["is the key that opens"]);
    lab.fails(&["restore", "app", "folder", "--if-missing"], 2, &["folder: is a directory"]);
    lab.ok(&["verify"]);
}

#[test]
fn a_key_does_not_lie_in_the_repository_that_it_opens() {
    let lab = Lab::new();
    let told = ["is in the repository that it opens", "another folder"];
    lab.fails(&["init", "-r", "second", "--key-file", "second/key"], 17, &told);
    fs::create_dir_all(lab.path("third/deep")).unwrap();
    lab.fails(&["init", "-r", "third", "--key-file", "third/deep/../key"], 17, &told);
    lab.fails(&["key", "add", "--new-key-file", "repo/key"], 17, &told);
    assert!(!lab.path("repo/key").exists());
    lab.fails(&["init", "-r", "second", "--key-file", "no/key"], 2, &["folder does not exist"]);
}

/// `M` is months for systemd and strftime; here it would be minutes.
#[test]
fn an_upper_case_m_is_no_minute() {
    let lab = Lab::with_history();
    lab.fails(&["prune", "app", "--keep-window", "6M", "-n"], 2, &["6M"]);
    lab.misused(&["status", "--max-age", "1M"], &["1M"]);
    lab.fails(&["restore", "app@6M ago", "out.db"], 2, &["6M ago"]);
    lab.ok(&["prune", "app", "--keep-window", "6mo", "-n"]);
}

#[test]
fn a_state_folder_is_a_folder_wherever_one_stands() {
    let lab = Lab::with_history();
    let hint = ["is no folder", "--state-dir", "PAGEKEEP_STATE_DIR"];
    lab.fails(&["status", "--state-dir", "key"], 2, &hint);
    lab.fails(&["status", "--state-dir", "key/below"], 2, &hint);
    let with = |home: &str, xdg: &str| {
        let mut command = lab.command(&["status"]);
        command.env("PAGEKEEP_STATE_DIR", "").env("HOME", home).env("XDG_STATE_HOME", xdg);
        Ended::of(&mut command)
    };
    with("/dev/null", "").failed(2, &hint);
    with("relative", "relative").failed(2, &["no home directory", "PAGEKEEP_STATE_DIR"]);
    assert!(!lab.path("relative").exists());
}

#[test]
fn names_have_no_space_around_them_and_one_label_is_one_record() {
    let lab = Lab::with_history();
    for name in [" ", " app", "a@b"] {
        lab.fails(&["backup", "app.db", "--name", name], 2, &["history's name", "--name NAME"]);
    }
    for _ in 0..2 {
        lab.ok(&["label", "app@seq:1", "twice"]);
    }
    let shown = lab.json(&["show", "app@seq:1"]);
    assert_eq!(shown[0]["labels"].to_string().matches("twice").count(), 1, "{shown:?}");
}

/// What ails one history leaves the others with their copies.
#[test]
fn a_copy_goes_on_behind_a_history_that_can_not_be_copied() {
    let lab = Lab::new();
    for name in ["a.db", "b.db", "c.db"] {
        lab.make(name, 3);
        lab.ok(&["backup", name]);
    }
    lab.ok(&["init", "-r", "off", "--key-file", "offkey"]);
    lab.ok(&["-r", "off", "--key-file", "offkey", "backup", "a.db", "--state-dir", "offstate"]);
    let copy = ["copy", "repo", "off", "--to-key-file", "offkey"];
    let ended = lab.run(&copy);
    ended.failed(17, &["has a history \"a\" already"]);
    assert!(ended.stdout.contains("b: copied") && ended.stdout.contains("c: copied"), "{ended:?}");
    lab.fails(&["copy", "repo", "off"], 12, &["off", "--to-key-file"]);
    lab.fails(&["copy", "repo", "off", "--to-key-file", "key"], 12, &["off", "--to-key-file"]);
    lab.fails(&["copy", "nowhere", "off"], 10, &["nowhere", "the repository to copy from"]);
}

/// An empty file is what a new container or a disk that was not mounted has, not what an application left.
#[test]
fn an_empty_file_does_not_become_the_newest_state() {
    let lab = Lab::with_history();
    fs::write(lab.path("app.db"), "").unwrap();
    let told = ["is an empty file", "up to seq:2", "--if-missing", "--start-empty"];
    for args in [&["backup", "app.db"][..], &["watch", "app.db"]] {
        lab.fails(args, 17, &told);
    }
    assert_eq!(lab.seqs(), [1, 2]);
    lab.ok(&["restore", "app", "app.db", "--if-missing"]);
    lab.ok(&["backup", "app.db"]);
    fs::write(lab.path("app.db"), "").unwrap();
    lab.ok(&["backup", "app.db", "--start-empty"]);
    // Nothing is emptied any more.
    lab.ok(&["backup", "app.db"]);
    fs::write(lab.path("new.db"), "").unwrap();
    lab.ok(&["backup", "new.db"]);
}

/// A repair with a live database asks whose history it is, as a backup does.
#[test]
fn a_repair_takes_no_other_database_for_the_historys() {
    let lab = Lab::with_history();
    lab.make("other.db", 3);
    let repair = ["repair", "app", "--apply", "--database", "other.db"];
    lab.run(&repair).failed(17, &["other.db", "belongs to", "app.db", "--adopt"]);
    assert_eq!(lab.seqs(), [1, 2]);
    lab.ok(&["repair", "app", "--apply", "--database", "app.db"]);
    lab.ok(&["backup", "app.db"]);
    lab.ok(&[&repair[..], &["--adopt"]].concat());
}

/// Assertions come from configuration, which others may write.
#[test]
fn an_assertion_makes_and_opens_no_file() {
    let lab = Lab::with_history();
    let out = lab.path("plain.db");
    for sql in [format!("VACUUM INTO '{}'", out.display()), "ATTACH 'app.db' AS other".to_owned()] {
        let ended = lab.run(&["verify", "app", "--level", "restore", "--assert", &sql]);
        ended.failed(2, &["the assertion is not a query that can run"]);
        assert!(!out.exists());
    }
}

/// What would not be followed is not restored.
#[test]
fn a_database_that_is_missing_is_not_restored_from_the_history_of_another() {
    let lab = Lab::with_history();
    let watch = ["watch", "other.db", "--name", "app", "--restore-if-missing"];
    lab.fails(&watch, 17, &["other.db", "belongs to", "--adopt"]);
    assert!(!lab.path("other.db").exists());
    // A link to where the database was is the database.
    fs::create_dir(lab.path("links")).unwrap();
    std::os::unix::fs::symlink("../app.db", lab.path("links/app.db")).unwrap();
    fs::remove_file(lab.path("app.db")).unwrap();
    let mut child =
        lab.command(&["watch", "links/app.db", "--restore-if-missing"]).spawn().unwrap();
    let began = std::time::Instant::now();
    while !lab.path("app.db").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        assert!(began.elapsed().as_secs() < 60, "nothing was restored");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    cli::signal("-TERM", &child.id().to_string());
    child.wait().unwrap();
}

#[test]
fn a_repository_among_other_files_is_told_of() {
    let lab = Lab::empty();
    fs::create_dir(lab.path("repo")).unwrap();
    fs::write(lab.path("repo/letter.txt"), "dear").unwrap();
    let told = lab.run(&["init"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("letter.txt"), "{told:?}");
}
