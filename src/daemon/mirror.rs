//! Keeping mirrors up to date: what a database's history has is copied to the repositories that its
//! own one names as mirrors, soon after it was stored.
//!
//! Invariants: each mirror has a thread of its own, so trouble with one delays neither another one
//! nor capture. A copy takes nothing away: what was copied stays until the same policy removes it
//! that was applied to the first repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::copying::{Copied, Order, Stage};
use super::desk::{Message, Supervisor};
use super::job::{Control, in_words};
use super::kept::{Kept, Whose};
use super::opened::Opened;
use super::pace::doubled;
use super::pool::{Pool, guarded};
use crate::count::counted;
use crate::error::Result;
use crate::ops::copy::CopyOptions;
use crate::ops::prune::PruneOptions;
use crate::repo::Repository;

/// How long to wait before what failed is tried again: the first time, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5 * 60);

impl Supervisor {
    /// Sees to it that each mirror has a thread that copies, and nobody else has.
    pub(super) fn hire_couriers(&mut self) {
        let mirrors: BTreeSet<&String> =
            self.config.repositories.values().flat_map(|repository| &repository.mirrors).collect();
        let idle: Vec<String> =
            self.couriers.keys().filter(|name| !mirrors.contains(name)).cloned().collect();
        for mirror in mirrors {
            if self.couriers.contains_key(mirror) {
                continue;
            }
            match Pool::start("pagekeep-copy", 1) {
                Ok(pool) => drop(self.couriers.insert(mirror.clone(), pool)),
                Err(e) => tracing::error!(mirror, "nothing is copied: {}", in_words(&e)),
            }
        }
        // It ends when its copy does.
        for pool in idle.iter().filter_map(|name| self.couriers.remove(name)) {
            self.attendants.give(move || drop(pool));
        }
    }

    /// Has a database copied to the mirrors that have not all of it.
    pub(super) fn tend_mirrors(&mut self, path: &Path) {
        let now = Instant::now();
        let Some(kept) = self.kept.get_mut(path) else { return };
        // What is not there yet can't be copied.
        let Some(from) = kept.history.clone().filter(|_| kept.has_commit) else { return };
        let (changes, prunes, whose) = (kept.changes(), kept.prunes, kept.whose());
        for (mirror, copying) in &mut kept.copies {
            if !copying.is_due(changes, prunes, now) {
                continue;
            }
            let Some(opened) = self.repositories.get(mirror) else { continue };
            let (Some(to), Some(courier)) = (opened.repository(), self.couriers.get(mirror)) else {
                copying.fault = opened.fault().map(str::to_owned);
                continue;
            };
            let policy = kept.plan.retention.as_ref().filter(|_| copying.pruned != prunes);
            let prune = policy.map(|(policy, _)| {
                let mut options = PruneOptions::new(policy.clone(), kept.plan.zone);
                options.compression = kept.plan.compression;
                options
            });
            let copy = CopyOptions { compression: kept.plan.compression };
            let order = Order { from: from.clone(), to, twin: copying.twin.clone(), copy, prune };
            let control = Control::of(&kept.name, None, kept.ear.clone());
            copying.began = Some(now);
            copying.stage = Stage::Running { changes, prunes, control: control.clone() };
            let (whose, mirror) = (whose.clone(), mirror.clone());
            let mailbox = self.mailbox.clone();
            courier.give(move || {
                let copied = guarded(|| order.carry_out(&control));
                let _ = mailbox.send(Message::Copied(whose, mirror, copied));
            });
        }
    }

    pub(super) fn copied(&mut self, whose: &Whose, mirror: &str, copied: Result<Copied>) {
        let now = Instant::now();
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let Some(kept) = kept else { return };
        let every = self.repositories.get(&kept.plan.repository).map(Opened::copy_every);
        let Some(copying) = kept.copies.get_mut(mirror) else { return };
        let Stage::Running { changes, prunes, .. } = copying.stage else { return };
        let database = &*kept.name;
        let wait = match copied {
            Ok(Copied { twin, report }) => {
                let newest = report.newest.map_or(0, |seq| seq.0);
                let commits = counted(report.commits, "commit");
                match (copying.fault.take(), copying.copied) {
                    (Some(_), _) => {
                        tracing::info!(database, mirror, "is copied again, up to seq:{newest}");
                    }
                    (None, None) => {
                        tracing::info!(database, mirror, "is copied, up to seq:{newest}")
                    }
                    (None, Some(_)) => {
                        tracing::debug!(database, mirror, "copied {commits}, up to seq:{newest}");
                    }
                }
                (copying.failures, copying.twin) = (0, Some(twin));
                (copying.copied, copying.pruned) = (Some(changes), prunes);
                every.unwrap_or_default()
            }
            Err(e) => {
                let why = in_words(&e);
                // Each try may name another object.
                if copying.failures == 0 {
                    tracing::warn!(database, mirror, "is not copied: {why}; it is tried again");
                }
                copying.fault = Some(why);
                // Whatever is there by then is looked for again.
                copying.twin = None;
                let wait = doubled(FIRST, copying.failures, LONGEST);
                copying.failures = copying.failures.saturating_add(1);
                wait
            }
        };
        copying.stage = Stage::At(now.checked_add(wait).unwrap_or(now));
    }
}

/// The mirrors of a database that are open, by name.
pub(super) fn open_mirrors(
    repositories: &BTreeMap<String, Opened>,
    kept: &Kept,
) -> Vec<(String, Repository)> {
    let open =
        |name: &String| Some((name.clone(), repositories.get(name).and_then(Opened::repository)?));
    kept.copies.keys().filter_map(open).collect()
}
