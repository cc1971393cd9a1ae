//! Repositories of the configuration, asked all at once and for a limited time: no command waits
//! for ever for one that hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, unbounded};

use super::progress::stop_requested;
use crate::daemon::config::RepositoryConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, stopped};
use crate::repo::{Repository, RepositoryOptions};
use crate::store::open_store;

/// How long one may take to answer when it is only asked how it is, or whether it has more.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// How long it may take when nobody else has what is wanted.
pub(crate) const LONG: Duration = Duration::from_secs(5 * 60);

/// How soon a stop is noticed.
const TICK: Duration = Duration::from_millis(100);
/// How long those that are not waited for any more have for taking the commands with them that they
/// began: a command outlives this process otherwise, and holds what its caller waits for.
const END: Duration = Duration::from_millis(500);

/// Tells those who ask that nobody waits any more.
struct Waits(Arc<AtomicBool>);

impl Monitor for Waits {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) || stop_requested()
    }
}

/// Opens each of these repositories, asks it, and waits so long for the answers. What one of them
/// answers, or why it does not, is in the order of `asked`.
///
/// # Errors
/// When the system starts no threads; [`ErrorKind::Interrupted`].
pub(crate) fn ask_each<T: Send + 'static>(
    asked: &[(&str, &RepositoryConfig)],
    options: &RepositoryOptions,
    patience: Duration,
    question: impl Fn(&Repository) -> Result<T> + Clone + Send + 'static,
) -> Result<Vec<(String, Result<T>)>> {
    let (sender, answers) = unbounded();
    let given_up = Arc::new(AtomicBool::new(false));
    for (name, config) in asked {
        let (config, options, question) = ((*config).clone(), options.clone(), question.clone());
        let (of, sender) = ((*name).to_owned(), sender.clone());
        let waits = Waits(given_up.clone());
        // One that hangs ends with the process.
        let begun = std::thread::Builder::new().name("pagekeep-look".to_owned()).spawn(move || {
            let _ = sender.send((of, open(&config, &options, &waits).and_then(|of| question(&of))));
        });
        begun.map_err(|e| Error::io(e, "cannot be looked at", *name))?;
    }
    drop(sender);
    let until = Instant::now() + patience;
    let mut heard = BTreeMap::new();
    while heard.len() < asked.len() && Instant::now() < until && !stop_requested() {
        match answers.recv_deadline(until.min(Instant::now() + TICK)) {
            Ok((of, answer)) => drop(heard.insert(of, answer)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    given_up.store(true, Ordering::Relaxed);
    let end = Instant::now() + END;
    let mut left = asked.len().saturating_sub(heard.len());
    while left > 0 && answers.recv_deadline(end).is_ok() {
        left -= 1;
    }
    if stop_requested() {
        return Err(stopped());
    }
    let answer = |(name, config): &(&str, &RepositoryConfig)| {
        let silent = || {
            let what = format!("no answer within {} s", patience.as_secs());
            Err(Error::new(ErrorKind::Storage, what).with_object(&*config.location))
        };
        ((*name).to_owned(), heard.remove(*name).unwrap_or_else(silent))
    };
    Ok(asked.iter().map(answer).collect())
}

fn open(
    config: &RepositoryConfig,
    options: &RepositoryOptions,
    monitor: &dyn Monitor,
) -> Result<Repository> {
    let store = open_store(&config.location)?;
    let secret = config.secret.read(monitor)?;
    Repository::open(store, &secret, options).map_err(|e| match e.object() {
        Some(_) => e,
        None => e.with_object(&*config.location),
    })
}
