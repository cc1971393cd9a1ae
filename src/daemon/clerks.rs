//! Threads for what is asked of a repository: each has its own, so that one that does not answer
//! keeps nobody else waiting.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::job::Mirror;
use super::kept::Kept;
use super::opened::Opened;
use super::pool::Pool;
use super::words::in_words;
use crate::error::Result;

/// The threads of one repository.
#[derive(Debug)]
pub(super) struct Clerks {
    /// Opens it, and asks it how histories stand.
    pub(super) asks: Pool,
    /// Copies to it, and looks at the copies, if it is a mirror.
    pub(super) copies: Option<Pool>,
}

/// Sees to it that each repository has the threads that it needs, and nobody else has. Whoever is
/// let go ends with what it is at.
pub(super) fn hire_all(clerks: &mut BTreeMap<String, Clerks>, config: &Config) {
    let repositories = &config.repositories;
    let mirrors: BTreeSet<&String> =
        repositories.values().flat_map(|repository| &repository.mirrors).collect();
    clerks.retain(|name, _| repositories.contains_key(name));
    for name in repositories.keys() {
        if let Err(e) = hire(clerks, name, mirrors.contains(name)) {
            tracing::error!(repository = name, "is not asked: {}", in_words(&e));
        }
    }
}

fn hire(clerks: &mut BTreeMap<String, Clerks>, name: &str, is_mirror: bool) -> Result<()> {
    if !clerks.contains_key(name) {
        let asks = Pool::start("pagekeep-ask", 1)?;
        clerks.insert(name.to_owned(), Clerks { asks, copies: None });
    }
    let Some(known) = clerks.get_mut(name) else { return Ok(()) };
    match (is_mirror, &known.copies) {
        (true, None) => known.copies = Some(Pool::start("pagekeep-copy", 1)?),
        (false, Some(_)) => known.copies = None,
        _ => {}
    }
    Ok(())
}

/// The mirrors of a database that are open.
pub(super) fn open_mirrors(
    repositories: &BTreeMap<String, Opened>,
    clerks: &BTreeMap<String, Clerks>,
    kept: &Kept,
) -> Vec<Mirror> {
    let open = |name: &String| {
        let repository = repositories.get(name).and_then(Opened::repository)?;
        let clerk = clerks.get(name)?.copies.as_ref()?.hand();
        Some(Mirror { name: name.clone(), repository, clerk })
    };
    kept.copies.keys().filter_map(open).collect()
}
