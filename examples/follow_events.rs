//! A database that is followed, and an application that hears of it: commits that became durable,
//! a repository that can't be reached, and its return.
//!
//! ```text
//! $ cargo run --example follow_events
//! ```
//!
//! It works in a temporary folder. To make a fault, it moves the repository away for a moment. The
//! application commits all the same, and no transaction is lost. [`open`] is the part to copy.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use pagekeep::{Event, Keeper, KeeperOptions, Repository, RepositoryOptions, Secret, create_store};

/// How long the example waits for an event before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (sender, events) = mpsc::channel();
    let keeper = open(folder.path(), sender)?;
    let db = keeper.connect()?;

    println!("two transactions");
    db.execute_batch("CREATE TABLE note(text)")?;
    db.execute("INSERT INTO note VALUES('first')", [])?;
    let seq = keeper.wait_durable(PATIENCE)?;
    println!("durable up to seq:{seq}");

    println!("the repository is moved away");
    let (here, away) = (folder.path().join("repository"), folder.path().join("away"));
    std::fs::rename(&here, &away)?;
    // A commit never waits for the repository, and does not fail with it.
    db.execute("INSERT INTO note VALUES('second')", [])?;
    wait_for(&events, |event| matches!(event, Event::Fault(_)))?;

    println!("the repository is put back");
    std::fs::rename(&away, &here)?;
    wait_for(&events, |event| matches!(event, Event::Recovered))?;
    let seq = keeper.wait_durable(PATIENCE)?;
    println!("durable up to seq:{seq}");

    // Closing stops the threads. Their callback goes, and with it the channel's only sender.
    keeper.close()?;
    events.iter().for_each(|event| tell(&event));
    Ok(())
}

/// Opens a new repository, and follows the application's database into it.
fn open(folder: &Path, sender: Sender<Event>) -> pagekeep::Result<Keeper> {
    // A real application keeps the key in another place than the backups.
    let key = Secret::create_key_file(&folder.join("key"))?;
    let store = create_store(&folder.join("repository").display().to_string())?;
    let keys = [(&key, "first key")];
    let repository = Repository::init(
        store,
        &keys,
        Default::default(),
        &RepositoryOptions::new(folder.join("state")),
    )?;
    // The keeper calls this from its own threads. It has to be quick and must not call the keeper: so
    // it only hands the event on.
    let hand_on = move |event: &Event| {
        // An error means that the receiver is gone already. The event may be dropped then.
        let _ = sender.send(event.clone());
    };
    let options =
        KeeperOptions::default().interval(Duration::from_millis(20)).on_event(Arc::new(hand_on));
    Keeper::open(folder.join("app.db"), repository, options)
}

/// Prints events until one of a kind came.
fn wait_for(events: &Receiver<Event>, wanted: fn(&Event) -> bool) -> Result<(), Box<dyn Error>> {
    loop {
        let event = events.recv_timeout(PATIENCE)?;
        tell(&event);
        if wanted(&event) {
            return Ok(());
        }
    }
}

/// More kinds of events may come with later versions: hence the last arm.
fn tell(event: &Event) {
    match event {
        Event::Published { commits, .. } => {
            let seqs: Vec<String> = commits.iter().map(|c| format!("seq:{}", c.seq)).collect();
            println!("  published {}", seqs.join(", "));
        }
        Event::Scan { reason } => println!("  reads the whole database: {reason}"),
        Event::Fault(fault) => println!("  fault ({}): {}", fault.kind.name(), fault.message),
        Event::Recovered => println!("  it works again"),
        Event::Warning(text) => println!("  warning: {text}"),
        _ => {}
    }
}
