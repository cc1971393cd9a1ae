//! A database that is not there though its history is: nothing empty becomes the newest state unless somebody says so.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::cli::{self, Lab};
use pagekeep::ErrorKind;
use pagekeep::internals::keeper::{Keeper, KeeperOptions, Missing};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use rusqlite::Connection;

fn repository(lab: &Lab) -> Repository {
    let store =
        pagekeep::internals::store::open_store(&lab.path("repo").display().to_string()).unwrap();
    let secret = Secret::read_key_file(&lab.path("key")).unwrap();
    Repository::open(store, &secret, &RepositoryOptions::new(lab.path("other state"))).unwrap()
}

fn keep(lab: &Lab, path: &Path, missing: Missing) -> pagekeep::Result<Keeper> {
    let options = KeeperOptions::default().missing(missing).adopt(true).name("app");
    Keeper::open(path, repository(lab), options)
}

fn rows(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

#[test]
fn a_keeper_begins_nothing_empty_where_its_history_has_commits() {
    let lab = Lab::with_history();
    let path = lab.path("new/app.db");
    fs::create_dir(lab.path("new")).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            fs::write(&path, "").unwrap();
        }
        let error = keep(&lab, &path, Missing::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let text = format!("{error}");
        assert!(text.contains("app.db") && text.contains("seq:2"), "{text}");
        assert_eq!(lab.seqs(), [1, 2], "nothing was stored");
        assert_eq!(path.exists(), is_empty, "nothing was made");
    }

    let keeper = keep(&lab, &path, Missing::Restore).unwrap();
    let db = keeper.connect().unwrap();
    assert_eq!(rows(&db), Ok(200));
    keeper.wait_durable(Duration::from_secs(60)).unwrap();
    keeper.close().unwrap();
    drop(db);
    fs::remove_file(&path).unwrap();

    let keeper = keep(&lab, &path, Missing::StartEmpty).unwrap();
    assert!(rows(&keeper.connect().unwrap()).is_err());
    keeper.wait_durable(Duration::from_secs(60)).unwrap();
    keeper.close().unwrap();
    lab.ok(&["restore", "app@seq:2", "out.db"]);
}

#[test]
fn a_keeper_of_a_history_without_commits_makes_the_database() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let keeper = keep(&lab, &path, Missing::default()).unwrap();
    keeper.connect().unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    keeper.close().unwrap();
    assert!(path.exists());
}

/// For what runs before an application starts: a restart restores nothing over what is there.
#[test]
fn a_restore_if_missing_restores_once() {
    let lab = Lab::with_history();
    let restore = ["restore", "app", "live.db", "--if-missing"];
    assert_eq!(lab.summary(&restore)["restored"], true);
    lab.sql("live.db", "DELETE FROM t");
    assert_eq!(lab.summary(&restore)["restored"], false);
    assert_eq!(lab.number("live.db", "SELECT count(*) FROM t"), 0, "it is as it was");
    fs::write(lab.path("live.db"), "").unwrap();
    lab.ok(&restore);
    assert_eq!(lab.number("live.db", "SELECT count(*) FROM t"), 200);
    lab.misused(&["restore", "app", "live.db", "--if-missing", "--force"], &["--force"]);
    // No such history is no reason to begin with nothing.
    lab.fails(&["restore", "apq", "other.db", "--if-missing"], 16, &["apq"]);
}

#[test]
fn a_watch_restores_what_is_missing_when_it_is_told_to() {
    let lab = Lab::with_history();
    fs::remove_file(lab.path("app.db")).unwrap();
    lab.fails(&["watch", "app.db"], 5, &["app.db", "restore app"]);
    let mut command = lab.command(&["watch", "app.db", "--restore-if-missing", "--json"]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut watch = command.spawn().unwrap();
    cli::wait_until_caught(&watch, 15);
    let began = std::time::Instant::now();
    while !lab.path("app.db").exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    cli::signal("-TERM", &watch.id().to_string());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM t"), 200);
}

/// A store that was full when the history was begun leaves one behind.
#[test]
fn a_history_without_commits_says_so() {
    let lab = Lab::new();
    let history = repository(&lab).create_history("app", "/srv/app.db").unwrap();
    assert!(history.latest().unwrap().is_none() && history.restore_points().unwrap().is_empty());
    let e = history.point(pagekeep::Seq(1)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let told = lab.ok(&["verify", "app", "--level", "restore"]).stdout;
    assert!(told.contains("app  restore has no commits yet, "), "{told}");
    lab.fails(&["restore", "app", "out.db"], 16, &["has no commits yet", "pagekeep backup"]);
}

/// A disk that is not mounted is no reason for another repository.
#[test]
fn a_repository_is_created_once_and_not_anew_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (location, state) = (dir.path().join("mnt/disk/backups/repo"), dir.path().join("state"));
    let secret = Secret::create_key_file(&dir.path().join("key")).unwrap();
    let open = || {
        Repository::open_or_create(
            &location.display().to_string(),
            &secret,
            &RepositoryOptions::new(&state),
        )
        .map(|repository| repository.id())
    };
    fs::create_dir_all(location.parent().unwrap()).unwrap();
    let id = open().unwrap();
    assert_eq!(open().unwrap(), id);
    fs::rename(dir.path().join("mnt/disk"), dir.path().join("mnt/unmounted")).unwrap();
    let e = open().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused);
    assert!(
        e.to_string().contains("is gone") && e.hint().unwrap().to_string().contains("mounted"),
        "{e}"
    );
    assert!(!location.exists(), "nothing was begun");
    fs::rename(dir.path().join("mnt/unmounted"), dir.path().join("mnt/disk")).unwrap();
    assert_eq!(open().unwrap(), id);
    // One that was created by other means is known from the first time that it was opened like this.
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(open().unwrap(), id);
    fs::rename(&location, dir.path().join("aside")).unwrap();
    assert_eq!(open().unwrap_err().kind(), ErrorKind::Refused);
    fs::rename(dir.path().join("aside"), &location).unwrap();
    // Another key is no reason either.
    let other = Secret::create_key_file(&dir.path().join("other")).unwrap();
    let e = Repository::open_or_create(
        &location.display().to_string(),
        &other,
        &RepositoryOptions::new(&state),
    );
    assert_eq!(e.unwrap_err().kind(), ErrorKind::WrongKey);
}
