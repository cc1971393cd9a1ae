//! How far mirrors are with a history, asked of all at once and for a few seconds at most: a
//! restore does not wait for one that hangs.

use std::cmp::Reverse;
use std::time::Duration;

use crate::cli::asking::ask_each;
use crate::cli::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repository;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::types::{HistoryId, Seq};

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
        let meant = meant.clone();
        let look = move |repository: &Repository| {
            let history = meant.find(repository)?;
            let chain = history.readable_chain()?;
            Ok((history, chain))
        };
        let answers = ask_each(&context.mirrors()?, &context.options()?, patience, look)?;
        let mut heads = Self::default();
        for (mirror, answer) in answers {
            match answer {
                Ok((history, chain)) => heads.found.push(Head { mirror, history, chain }),
                Err(e) => heads.silent.push((mirror, e.to_string())),
            }
        }
        // Those that are equally far stay in the order of the configuration.
        heads.found.sort_by_key(|head| Reverse(head.newest()));
        Ok(heads)
    }
}
