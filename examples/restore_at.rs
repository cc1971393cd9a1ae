//! A database of the past: the commit of a moment, and the commit of a label.
//!
//! ```text
//! $ cargo run --example restore_at
//! ```
//!
//! It works in a temporary folder. It backs a small database up three times, and restores two of
//! the commits to new files. [`restore_at`] is the part to copy.

use std::error::Error;
use std::path::Path;

use pagekeep::rusqlite::Connection;
use pagekeep::{
    BackupOptions, Repository, RepositoryOptions, RestoreOptions, Secret, Selector, Seq, Silent,
    Timestamp, create_store,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("shop.db");
    let app = Connection::open(&database)?;
    app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE orders(cents INT)")?;
    let key = Secret::create_key_file(&folder.path().join("key"))?;
    let store = create_store(&folder.path().join("repository").display().to_string())?;
    let keys = [(&key, "first key")];
    let state = folder.path().join("state");
    let repository =
        Repository::init(store, &keys, Default::default(), &RepositoryOptions::new(state))?;

    // Three commits: one order with a label, two orders, and none after a mistake.
    app.execute("INSERT INTO orders VALUES(1000)", [])?;
    let labelled = BackupOptions::default().label("one order");
    repository.backup(&database, &labelled, &Silent)?;
    app.execute("INSERT INTO orders VALUES(2500)", [])?;
    repository.backup(&database, &BackupOptions::default(), &Silent)?;
    let before_the_mistake = Timestamp::now();
    app.execute("DELETE FROM orders", [])?;
    repository.backup(&database, &BackupOptions::default(), &Silent)?;

    // By time: the last commit at or before the moment.
    let target = folder.path().join("before-the-mistake.db");
    let seq = restore_at(&repository, "shop", &Selector::at(before_the_mistake), &target)?;
    println!("the time chose seq:{seq}, orders: {}", orders(&target)?);

    // By label. `Selector::parse` reads what a person types, such as "2h ago" or "latest~1".
    let target = folder.path().join("one-order.db");
    let by_label = Selector::Label("one order".to_owned());
    let seq = restore_at(&repository, "shop", &by_label, &target)?;
    println!("the label chose seq:{seq}, orders: {}", orders(&target)?);

    // A target that exists is never replaced, unless `RestoreOptions::force` says so.
    match restore_at(&repository, "shop", &by_label, &target) {
        Err(e) => println!("once more: {} ({e})", e.kind().name()),
        Ok(_) => return Err("a restore replaced a file that was there".into()),
    }
    println!("in the live database, orders: {}", orders(&database)?);
    Ok(())
}

/// Restores the commit that a selector means, and returns its number. The target gets its name only
/// after every page was compared with its digest and SQLite found the file sound.
fn restore_at(
    repository: &Repository,
    name: &str,
    selector: &Selector,
    target: &Path,
) -> pagekeep::Result<Seq> {
    let history = repository.history(name)?;
    // What is damaged can't be chosen, and does not hide the rest.
    let chosen = history.select(selector)?;
    // They say, for example, that a clock was wrong, or that commits of that time expired.
    let warnings = chosen.warnings.iter().map(ToString::to_string);
    for text in chosen.notes.iter().cloned().chain(warnings) {
        eprintln!("note: {text}");
    }
    chosen.point.restore(target, &RestoreOptions::default(), &Silent)?;
    Ok(chosen.point.seq())
}

fn orders(database: &Path) -> Result<i64, Box<dyn Error>> {
    let connection = Connection::open(database)?;
    Ok(connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?)
}
