//! The daemon: many databases, kept as one configuration file says, for years.
//!
//! ```text
//! configuration -> supervisor -> followers    every transaction
//!                             -> jobs         snapshots, verifications, prunes
//!                             -> clerks       the threads of each repository: questions, jobs, copies
//!                             -> ledger       what ran, in a database of its own
//!                             -> overview     how everything stands: metrics and health
//!                             -> board -> notifier    who is told how everything stands
//!                                      -> http        monitors, and the API
//! ```
//!
//! [`config`] reads the file. The supervisor is one thread that decides and never waits; followers
//! have threads of their own, and each repository has small pools for all else.

pub(crate) mod access;
mod agenda;
mod archive;
mod attend;
mod beginning;
mod clerks;
pub(crate) mod config;
mod copying;
mod desk;
mod drift;
mod ear;
mod end;
pub(crate) mod equivalent;
mod files;
mod grants;
mod grouped;
mod groups;
mod happened;
mod http;
mod job;
mod kept;
pub(crate) mod kind;
mod ledger;
mod lineage;
mod metrics;
mod mirror;
pub(crate) mod notify;
mod opened;
pub(crate) mod overview;
mod pace;
mod pool;
mod print;
mod progress;
mod promise;
mod registry;
mod room;
#[cfg(test)]
mod samples;
mod shelf;
mod supervisor;
mod systemd;
pub(crate) mod tested;
mod turns;
mod underway;
pub(crate) mod wanted;
pub(crate) mod words;

use config::Config;
use desk::Supervisor;
use ledger::{Entry, Ledger};
use notify::{Means, Notifier};
use registry::with_ledger;
use words::Words;

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::local::files::{check_folder, lock_file};

pub(crate) use desk::Done;
pub(crate) use ledger::key;
pub(crate) use opened::{LEDGER, OWN_NAME, Place};
pub(crate) use supervisor::Wishes;

/// The file that the daemon of a state folder holds locked.
const LOCK: &str = "daemon.lock";

/// Keeps what a configuration names, until it is wished that it ends. `text` is what the
/// configuration's file says, `words` how whoever runs it speaks to people.
///
/// # Errors
/// When the state folder can't be made, or the system starts no threads. Trouble with databases and
/// repositories is told in the log, and tried again.
pub(crate) fn run(
    config: Config,
    text: String,
    place: Place,
    words: Words,
    wishes: &dyn Wishes,
) -> Result<Done> {
    words::speak(words, &config.file);
    let _only = only_one(&place.state_dir)?;
    let now = place.clock.now();
    let ledger = Ledger::open(&place.ledger(), now);
    ledger.0.enter(Entry::Configured { path: config.file.clone(), text, at: now });
    // What the daemon remembers is kept as everything else is, so that a new machine gets it back.
    let config = with_ledger(config, &place, &ledger.1);
    let (clock, own) = (place.clock.clone(), place.ledger());
    let alerts = ledger.1.alerts.clone();
    let supervisor = Supervisor::new(config, place, ledger);
    let (board, ledger) = (supervisor.board.clone(), supervisor.ledger.scribe());
    let notifier = Notifier::start(Means { board, clock, ledger, alerts, own })?;
    let (done, ledger) = supervisor.run(wishes);
    // It ends before the ledger, in which it remembers what it told.
    drop(notifier);
    drop(ledger);
    Ok(done)
}

/// Makes the state folder, and makes sure that this is its only daemon, for as long as what comes
/// back is kept.
fn only_one(state_dir: &Path) -> Result<File> {
    let object = || state_dir.display().to_string();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    made.map_err(|e| Error::io(e, "cannot be made", object()))?;
    check_folder(state_dir)?;
    let file = lock_file(&state_dir.join(LOCK));
    let file = file.map_err(|e| Error::io(e, "takes nothing that is written", object()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Busy, "has a daemon at work already").with_object(object()))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(e, "cannot be locked", object())),
    }
}
