//! One backup of a live database, and what a second one finds when nothing has changed.
//!
//! ```text
//! $ cargo run --example backup_once
//! ```
//!
//! It works in a temporary folder, with a small database of its own. It shows how a program makes a
//! repository, backs up a database that an application has open, and gives the commit a label.
//! [`backup_once`] is the part to copy.

use std::error::Error;
use std::path::Path;

use pagekeep::rusqlite::Connection;
use pagekeep::{
    BackupOptions, BackupReport, ErrorKind, Monitor, Repository, RepositoryOptions, Secret,
    create_store, open_store,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("app.db");
    // The application keeps its connection open all the time.
    let app = Connection::open(&database)?;
    app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE note(text)")?;
    app.execute("INSERT INTO note VALUES('first')", [])?;

    create_repository(folder.path())?;
    tell(&backup_once(folder.path(), &database, Some("first note"))?);
    tell(&backup_once(folder.path(), &database, None)?);
    app.execute("INSERT INTO note VALUES('second')", [])?;
    tell(&backup_once(folder.path(), &database, None)?);
    Ok(())
}

/// Creates the repository and its key: once in the life of an application.
fn create_repository(folder: &Path) -> pagekeep::Result<()> {
    // Keep the key in another place than the backups. Without it nobody can read them.
    let key = Secret::create_key_file(&folder.join("key"))?;
    let store = create_store(&folder.join("repository").display().to_string())?;
    Repository::init(
        store,
        &[(&key, "first key")],
        Default::default(),
        &RepositoryOptions::new(folder.join("state")),
    )?;
    Ok(())
}

/// Backs the database up as the next commit of its history, which has the name of the file.
fn backup_once(
    folder: &Path,
    database: &Path,
    label: Option<&str>,
) -> pagekeep::Result<BackupReport> {
    let key = Secret::read_key_file(&folder.join("key"))?;
    let store = open_store(&folder.join("repository").display().to_string())?;
    // The state folder remembers what this machine saw. It makes the next backup quick.
    let repository = Repository::open(store, &key, &RepositoryOptions::new(folder.join("state")))?;
    let mut options = BackupOptions::default();
    options.label = label.map(str::to_owned);
    let mut done = repository.backup(database, &options, &Warnings);
    // Of the errors that may pass, a busy history is the usual one: another backup is at work.
    if done.as_ref().is_err_and(|e| e.kind() == ErrorKind::Busy) {
        std::thread::sleep(std::time::Duration::from_secs(1));
        done = repository.backup(database, &options, &Warnings);
    }
    done
}

/// Prints warnings, and ignores progress.
struct Warnings;

impl Monitor for Warnings {
    fn warn(&self, message: &str) {
        eprintln!("warning: {message}");
    }
}

fn tell(report: &BackupReport) {
    let name = report.history.name();
    match &report.commit {
        Some(commit) => println!(
            "{name}@seq:{}: {} of {} pages changed, {} bytes stored",
            commit.seq, commit.changed, commit.pages, commit.stored
        ),
        None => println!("{name}@seq:{}: nothing changed", report.seq),
    }
    if let Some(snapshot) = &report.snapshot {
        println!("seq:{} has the label {:?}", snapshot.seq, snapshot.label);
    }
}
