//! An async program that answers a request only when what it did is durable, without blocking a
//! thread of its runtime.
//!
//! ```text
//! $ cargo run --example async_wait
//! ```
//!
//! It works in a temporary folder. `Keeper::on_durable` calls back, and a channel makes a future of
//! that: [`durable`] is the part to copy. Nothing in Pagekeep needs a runtime.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pagekeep::{ErrorKind, Keeper, KeeperOptions, Repository, RepositoryOptions, Secret, Seq};
use tokio::sync::oneshot;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let key = Secret::create_key_file(&folder.path().join("key"))?;
    let location = folder.path().join("repository").display().to_string();
    let repository = Repository::open_or_create(
        &location,
        &key,
        &RepositoryOptions::new(folder.path().join("state")),
    )?;
    let options = KeeperOptions::default().interval(Duration::from_millis(20));
    let keeper = Arc::new(Keeper::open(folder.path().join("app.db"), repository, options)?);

    let db = keeper.connect()?;
    db.execute_batch("CREATE TABLE note(text)")?;
    // Two requests wait at the same time, on the only thread of the runtime.
    db.execute("INSERT INTO note VALUES('first')", [])?;
    let first = tokio::spawn(durable(keeper.clone()));
    db.execute("INSERT INTO note VALUES('second')", [])?;
    let second = tokio::spawn(durable(keeper.clone()));
    let (first, second) = (first.await??, second.await??);
    println!("the first is in seq:{first} or before, the second in seq:{second} or before");
    assert!(first <= second);

    keeper.close()?;
    // Who asks a keeper that has ended is told so.
    match durable(keeper).await {
        Err(e) => println!("afterwards: {e}"),
        Ok(seq) => return Err(format!("a keeper that has ended stored seq:{seq}").into()),
    }
    Ok(())
}

/// Waits until everything that was committed before the first poll is durable.
async fn durable(keeper: Arc<Keeper>) -> pagekeep::Result<Seq> {
    let (done, wait) = oneshot::channel();
    // Nobody listens any more when the request was given up.
    keeper.on_durable(|answer| drop(done.send(answer)));
    // A keeper always calls back.
    wait.await.map_err(|e| pagekeep::Error::new(ErrorKind::Failure, e.to_string()))?
}
