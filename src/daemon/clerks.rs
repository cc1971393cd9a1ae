//! The threads of each repository: what is asked of it, done with databases that are kept in it,
//! and copied to it. Each repository has its own, so that one that does not answer keeps nobody
//! else waiting, also when it answered before.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::job::Mirror;
use super::kept::Kept;
use super::opened::Opened;
use super::pool::Pool;
use super::words::in_words;
use crate::error::Result;

/// How many databases of one repository are taken up or left at once.
const ATTENDANTS: usize = 4;

/// The threads of one repository.
#[derive(Debug)]
pub(super) struct Clerks {
    /// Opens it, and asks it how histories stand.
    pub(super) asks: Pool,
    /// Those of its databases, if any are kept in it.
    pub(super) keeps: Option<Keepers>,
    /// Copies to it, and looks at the copies, if it is a mirror.
    pub(super) copies: Option<Pool>,
}

/// The threads of the databases of one repository.
#[derive(Debug)]
pub(super) struct Keepers {
    /// Takes databases up and leaves them.
    pub(super) attends: Pool,
    /// Does jobs, so many at once.
    pub(super) works: Pool,
    jobs: usize,
}

impl Keepers {
    fn start(jobs: usize) -> Result<Self> {
        let attends = Pool::start("pagekeep-attend", ATTENDANTS)?;
        Ok(Self { attends, works: Pool::start("pagekeep-job", jobs)?, jobs })
    }
}

impl Clerks {
    /// All of them.
    pub(super) fn into_pools(self) -> impl Iterator<Item = Pool> {
        let keeps = self.keeps.map(|keeps| [keeps.attends, keeps.works]);
        [Some(self.asks), self.copies].into_iter().flatten().chain(keeps.into_iter().flatten())
    }
}

/// Sees to it that each repository has the threads that it needs, and nobody else has. Whoever is
/// let go ends with what it is at, and with what it was given.
pub(super) fn hire_all(clerks: &mut BTreeMap<String, Clerks>, config: &Config) {
    let repositories = &config.repositories;
    let mirrors: BTreeSet<&String> =
        repositories.values().flat_map(|repository| &repository.mirrors).collect();
    let firsts: BTreeSet<&String> =
        config.targets.iter().map(|target| &target.plan.repository).collect();
    clerks.retain(|name, _| repositories.contains_key(name));
    for name in repositories.keys() {
        let jobs = firsts.contains(name).then_some(config.jobs);
        if let Err(e) = hire(clerks, name, jobs, mirrors.contains(name)) {
            tracing::error!(repository = name, "is not asked: {}", in_words(&e));
        }
    }
}

/// Sees to it that one repository has its threads; `jobs` is how many jobs it may have at once, if
/// databases are kept in it.
fn hire(
    clerks: &mut BTreeMap<String, Clerks>,
    name: &str,
    jobs: Option<usize>,
    is_mirror: bool,
) -> Result<()> {
    if !clerks.contains_key(name) {
        let asks = Pool::start("pagekeep-ask", 1)?;
        clerks.insert(name.to_owned(), Clerks { asks, keeps: None, copies: None });
    }
    let Some(known) = clerks.get_mut(name) else { return Ok(()) };
    match (jobs, &mut known.keeps) {
        (Some(jobs), None) => known.keeps = Some(Keepers::start(jobs)?),
        // The old threads end when their jobs do.
        (Some(jobs), Some(keeps)) if keeps.jobs != jobs => {
            (keeps.works, keeps.jobs) = (Pool::start("pagekeep-job", jobs)?, jobs);
        }
        (None, Some(_)) => known.keeps = None,
        _ => {}
    }
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
