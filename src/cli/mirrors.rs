//! How far the mirrors of a repository are with its histories.

use std::collections::HashMap;

use super::asking::{SOON, ask_each};
use super::context::Context;
use super::output::counted;
use super::remedy::behind;
use crate::api::status::MirrorStatus;
use crate::count::number;
use crate::error::Result;
use crate::repo::Repository;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::types::{Digest, HistoryId, Seq};

/// The newest commit of each history, or why nobody knows; `None` where there is no commit.
type Heads = HashMap<HistoryId, std::result::Result<Option<(Seq, Digest)>, String>>;

/// What the mirrors of the configuration have, or why one does not say.
pub(super) struct Mirrors(Vec<(String, std::result::Result<Heads, String>)>);

impl Mirrors {
    /// Asks each mirror of the command's repository once.
    pub(super) fn of(context: &Context) -> Result<Self> {
        let mirrors = context.mirrors()?;
        if mirrors.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let answers = ask_each(&mirrors, &context.options()?, SOON, heads)?;
        let told = |(mirror, answer): (String, Result<Heads>)| {
            (mirror, answer.map_err(|e| format!("{e}{}", behind(&e))))
        };
        Ok(Self(answers.into_iter().map(told).collect()))
    }

    /// How far they are with a history of the first repository.
    pub(super) fn with(&self, history: &History, chain: &Chain) -> Vec<MirrorStatus> {
        let status = |(mirror, heads): &(String, std::result::Result<Heads, String>)| {
            let newest = match heads {
                Err(why) => Err(why.clone()),
                // One that was not begun has none of its commits.
                Ok(heads) => heads.get(&history.id()).cloned().unwrap_or(Ok(None)),
            };
            let (newest, behind, fault) = match newest {
                Err(why) => (None, None, Some(why)),
                Ok(newest) => {
                    let seq = newest.map(|(seq, _)| seq);
                    let lacks = chain.commits().filter(|commit| Some(commit.seq) > seq).count();
                    (seq, Some(number(lacks)), newest.and_then(|of| stray(of, chain)))
                }
            };
            MirrorStatus { mirror: mirror.clone(), newest, behind, fault }
        };
        self.0.iter().map(status).collect()
    }
}

/// What is wrong if a mirror's newest commit is none of the original's.
fn stray((seq, digest): (Seq, Digest), chain: &Chain) -> Option<String> {
    let newest = chain.latest().map(|commit| commit.seq);
    if newest.is_none_or(|newest| newest < seq) {
        return Some(format!("has commit {seq}, which the repository has not"));
    }
    let original = chain.commits().find(|commit| commit.seq == seq);
    let is_other = original.is_some_and(|commit| commit.record.digest != digest);
    is_other.then(|| format!("its commit {seq} is another one than the repository's"))
}

fn heads(repository: &Repository) -> Result<Heads> {
    let (histories, _) = repository.readable_histories()?;
    let head = |history: &History| {
        let chain = history.readable_chain().map_err(|e| e.to_string())?;
        Ok(chain.latest().map(|commit| (commit.seq, commit.record.digest)))
    };
    Ok(histories.iter().map(|history| (history.id(), head(history))).collect())
}

/// How far a mirror is, in words.
pub(super) fn in_words(status: &MirrorStatus) -> String {
    let MirrorStatus { mirror, newest, behind, fault } = status;
    let far = match (newest, behind) {
        (None, Some(_)) => "has no commit of it".to_owned(),
        (Some(_), Some(0)) => "has all of it".to_owned(),
        (Some(seq), Some(lacks)) => {
            format!("has it up to seq:{seq}, {} behind", counted(*lacks, "commit"))
        }
        (_, None) => "nobody knows how far it is".to_owned(),
    };
    let why = fault.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("{mirror}: {far}{why}")
}
