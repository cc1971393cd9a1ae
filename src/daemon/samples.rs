//! Views for tests of what is told from an overview.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, Plan};
use super::overview::{DatabaseView, Following, Phase, RepositoryView};
use super::room::{Measured, Room};
use crate::policy::verdict::{Standing, State, Verdict};

/// What counts where a configuration says nothing.
fn plan() -> Arc<Plan> {
    let text =
        "[repositories.main]\nlocation = \"r\"\nkey-file = \"k\"\n[[databases]]\npath = \"a.db\"";
    let config = Config::parse(Path::new("/pagekeep.toml"), text).unwrap();
    config.targets.first().unwrap().plan.clone()
}

/// A database that is followed, and of which all is well.
pub(super) fn followed(name: &str) -> DatabaseView {
    DatabaseView {
        path: PathBuf::from(format!("/srv/{name}.db")),
        name: name.to_owned(),
        repository: "main".to_owned(),
        phase: Phase::Followed,
        standing: Standing { looked: true, ..Standing::default() },
        verdict: Verdict { state: State::Proven, why: "it is".to_owned() },
        following: Some(Following {
            pending: 0,
            lag: Duration::ZERO,
            wal_bytes: 4152,
            scans: 0,
            looked: Some(Duration::ZERO),
            has_fault: false,
        }),
        published: 7,
        plan: plan(),
        went_back: false,
        happened: Vec::new(),
        copies: Vec::new(),
        job: None,
        wanted: Vec::new(),
        paused: None,
        runs: BTreeMap::new(),
    }
}

/// An open repository.
pub(super) fn open(name: &str) -> RepositoryView {
    RepositoryView {
        name: name.to_owned(),
        location: format!("/backups/{name}"),
        is_open: true,
        traffic: Arc::default(),
        room: Measured::Room(Room { of: 1, free: 5, size: 10 }),
        fault: None,
    }
}
