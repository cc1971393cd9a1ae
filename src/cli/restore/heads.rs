//! How far mirrors are with a history, asked of all at once and for a few seconds at most: a
//! restore does not wait for one that hangs.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, unbounded};

use crate::cli::context::Context;
use crate::daemon::config::RepositoryConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Silent;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::open_store;
use crate::types::{HistoryId, Seq};

/// How long a mirror may take to answer: when it is only asked whether it has more, and when nobody
/// else has what is wanted.
pub(super) const SOON: Duration = Duration::from_secs(5);
pub(super) const LONG: Duration = Duration::from_secs(5 * 60);

/// What a mirror has of a history.
pub(super) struct Head {
    pub(super) mirror: String,
    pub(super) history: History,
    pub(super) chain: Chain,
}

impl Head {
    /// The number of its newest commit.
    pub(super) fn newest(&self) -> Seq {
        self.chain.latest().map_or(Seq(0), |commit| commit.seq)
    }
}

/// What the mirrors have, the newest first, and those that did not say.
#[derive(Default)]
pub(super) struct Heads {
    pub(super) found: Vec<Head>,
    pub(super) silent: Vec<(String, String)>,
}

/// Which history is meant: by its identity, or else by its name.
#[derive(Clone)]
pub(super) struct Meant {
    pub(super) id: Option<HistoryId>,
    pub(super) name: String,
}

impl Meant {
    /// The history in a repository.
    pub(super) fn find(&self, repository: &Repository) -> Result<History> {
        let Some(id) = self.id else { return repository.history(&self.name) };
        let (histories, _) = repository.readable_histories()?;
        histories.into_iter().find(|history| history.id() == id).ok_or_else(|| {
            let what = match repository.history(&self.name) {
                Ok(_) => format!("its history {:?} is of another database", self.name),
                Err(_) => format!("has no history {:?}", self.name),
            };
            Error::new(ErrorKind::NotFound, what).with_object(repository.store().location())
        })
    }
}

impl Heads {
    /// Asks them, and waits so long for their answers.
    pub(super) fn of(context: &Context, meant: &Meant, patience: Duration) -> Result<Self> {
        let options = context.options()?;
        let (sender, answers) = unbounded();
        let mut waited: Vec<String> = Vec::new();
        for (name, config) in context.mirrors()? {
            let ask = (config.clone(), options.clone(), meant.clone());
            let (mirror, sender) = (name.to_owned(), sender.clone());
            // One that hangs ends with the process.
            let begun = std::thread::Builder::new().name("pagekeep-look".to_owned());
            let begun = begun.spawn(move || {
                let (config, options, meant) = ask;
                let _ = sender.send((mirror, look(&config, &options, &meant)));
            });
            begun.map_err(|e| Error::io(e, "cannot be looked at", name))?;
            waited.push(name.to_owned());
        }
        drop(sender);
        let order = waited.clone();
        let until = Instant::now() + patience;
        let mut heads = Self::default();
        while !waited.is_empty() {
            match answers.recv_deadline(until) {
                Ok((mirror, answer)) => {
                    waited.retain(|name| *name != mirror);
                    match answer {
                        Ok((history, chain)) => heads.found.push(Head { mirror, history, chain }),
                        Err(e) => heads.silent.push((mirror, e.to_string())),
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let why = format!("no answer within {} s", patience.as_secs());
                    heads.silent.extend(waited.drain(..).map(|name| (name, why.clone())));
                }
            }
        }
        // Of those that are equally far, in the order of the configuration.
        let rank = |head: &Head| order.iter().position(|name| *name == head.mirror);
        heads.found.sort_by_key(|head| (Reverse(head.newest()), rank(head)));
        Ok(heads)
    }
}

fn look(
    config: &RepositoryConfig,
    options: &RepositoryOptions,
    meant: &Meant,
) -> Result<(History, Chain)> {
    let store = open_store(&config.location)?;
    let secret = config.secret.read(&Silent)?;
    let history = meant.find(&Repository::open(store, &secret, options)?)?;
    let chain = history.readable_chain()?;
    Ok((history, chain))
}
