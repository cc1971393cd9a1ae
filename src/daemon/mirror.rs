//! Keeping mirrors up to date: what a database's history has is copied to the repositories that its
//! own one names as mirrors, soon after it was stored.
//!
//! Invariants: each mirror has a thread of its own, so trouble with one delays neither another one
//! nor capture. A copy takes nothing away: what was copied stays until the same policy removes it
//! that was applied to the first repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::{Message, Supervisor};
use super::job::{Control, in_words};
use super::kept::{Kept, Whose};
use super::opened::Opened;
use super::overview::CopyView;
use super::pace::doubled;
use super::pool::{Pool, guarded};
use crate::count::counted;
use crate::error::Result;
use crate::ops::copy::{CopyOptions, CopyReport};
use crate::ops::prune::PruneOptions;
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::types::Timestamp;

/// How long to wait before what failed is tried again: the first time, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// How often a copy is made though nothing is known to be new: labels come without a commit.
const AGAIN: Duration = Duration::from_secs(3600);

/// How far a mirror is with a database.
#[derive(Debug)]
pub(super) struct Copying {
    stage: Stage,
    failures: u32,
    /// The copy, once it was found.
    twin: Option<History>,
    /// How much had changed when the last copy began that was made, and when that was.
    copied: Option<u64>,
    began: Option<Instant>,
    /// How often the policy had been applied when it was last applied to the copy.
    pruned: u64,
    /// Since when it is to have a copy; when the copy was last known to have everything.
    since: Timestamp,
    complete: Option<Timestamp>,
    fault: Option<String>,
}

#[derive(Debug)]
enum Stage {
    /// It is not copied to before then.
    At(Instant),
    /// Somebody copies.
    Running { changes: u64, prunes: u64, control: Arc<Control> },
}

/// What a copy came to.
#[derive(Debug)]
pub(super) struct Copied {
    twin: History,
    report: CopyReport,
}

impl Copying {
    pub(super) fn new(since: Timestamp, now: Instant) -> Self {
        Self {
            stage: Stage::At(now),
            failures: 0,
            twin: None,
            copied: None,
            began: None,
            pruned: 0,
            since,
            complete: None,
            fault: None,
        }
    }

    /// Asks the copy that is being made to stop. Answers whether there is one.
    pub(super) fn stop(&self) -> bool {
        match &self.stage {
            Stage::Running { control, .. } => {
                control.stop();
                true
            }
            Stage::At(_) => false,
        }
    }

    fn is_due(&self, changes: u64, prunes: u64, now: Instant) -> bool {
        let Stage::At(at) = self.stage else { return false };
        let is_old = self.began.is_none_or(|began| now.duration_since(began) >= AGAIN);
        at <= now && (self.copied != Some(changes) || self.pruned != prunes || is_old)
    }

    /// How it stands, where so much has changed by now.
    pub(super) fn view(&mut self, mirror: &str, changes: u64, now: Timestamp) -> CopyView {
        if self.copied == Some(changes) && self.fault.is_none() {
            self.complete = Some(now);
        }
        CopyView {
            mirror: mirror.to_owned(),
            complete: self.complete,
            fault: self.fault.clone(),
            since: self.since,
        }
    }
}

/// What is needed to copy.
struct Order {
    from: History,
    to: Repository,
    twin: Option<History>,
    copy: CopyOptions,
    /// How the copy is pruned, if that is due.
    prune: Option<PruneOptions>,
}

impl Order {
    fn carry_out(self, control: &Control) -> Result<Copied> {
        let twin = self.twin.map_or_else(|| self.from.twin_in(&self.to), Ok)?;
        let report = self.from.copy_into(&twin, &self.copy, control)?;
        if let Some(prune) = &self.prune {
            twin.prune(prune, control)?;
        }
        Ok(Copied { twin, report })
    }
}

impl Kept {
    /// How much has changed since it is kept: what there is to copy.
    pub(super) fn changes(&self) -> u64 {
        self.ear.published().saturating_add(self.backups)
    }
}

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
                if copying.fault.as_deref() != Some(&why) {
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
