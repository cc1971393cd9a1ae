//! Keeping mirrors up to date: what a database's history has is copied to the repositories that its
//! own one names as mirrors, soon after it was stored.
//!
//! Invariants: each mirror has threads of its own, so trouble with one delays neither another one,
//! nor capture, nor jobs. A copy takes nothing away: what was copied stays until the same policy
//! removes it that was applied to the first repository.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::beginning::{Mirrored, Rival};
use super::clerks::Clerks;
use super::copying::{Copied, FIRST, LONGEST, Order, Running, Stage};
use super::desk::{Message, Supervisor};
use super::job::Control;
use super::kept::Whose;
use super::opened::Opened;
use super::pace::doubled;
use super::pool::guarded;
use super::promise::{Promise, undone};
use super::words::in_words;
use crate::count::counted;
use crate::error::Result;
use crate::ops::copy::CopyOptions;
use crate::ops::prune::PruneOptions;
use crate::repo::history::handle::History;
use crate::repo::local::state::is_captured_here;

/// How long to wait for commits that another writer may still displace.
const UNSETTLED: Duration = Duration::from_secs(30);

impl Supervisor {
    /// Has a database copied to the mirrors that have not all of it.
    pub(super) fn tend_mirrors(&mut self, path: &Path) {
        let (now, at) = (Instant::now(), self.place.clock.now());
        let Some(kept) = self.kept.get_mut(path) else { return };
        // What is not there yet can't be copied.
        let Some(from) = kept.history.clone().filter(|_| kept.has_commit) else { return };
        let (changes, prunes, whose) = (kept.changes(), kept.prunes, kept.whose());
        for (mirror, copying) in &mut kept.copies {
            if !copying.is_due(changes, prunes, now) {
                continue;
            }
            let Some(opened) = self.repositories.get(mirror) else { continue };
            let courier = self.clerks.get(mirror).and_then(|clerks| clerks.copies.as_ref());
            let (Some(to), Some(courier)) = (opened.repository(), courier) else {
                copying.fault = opened.fault().map(str::to_owned);
                continue;
            };
            let may_prune = copying.may_prune(prunes, now);
            let policy = kept.plan.retention.as_ref().filter(|_| may_prune);
            let prune = policy.map(|(policy, _)| {
                let mut options = PruneOptions::new(policy.clone(), kept.plan.zone);
                options.compression = kept.plan.compression;
                options
            });
            let copy = CopyOptions { compression: kept.plan.compression };
            let (from, twin, has_files) =
                (from.clone(), copying.twin.clone(), kept.plan.files.is_some());
            let order = Order { from, to, twin, copy, has_files, prune };
            let control = Control::of(&kept.name, None, kept.ear.clone());
            copying.began = Some(now);
            let prunes = may_prune.then_some(prunes);
            let running = Running { changes, prunes, at, control: control.clone() };
            copying.stage = Stage::Running(running);
            let (whose, mirror) = (whose.clone(), mirror.clone());
            let (theirs, name) = (control.clone(), mirror.clone());
            let otherwise = Message::Copied(whose.clone(), name, theirs, undone());
            let promise = Promise::new(&self.mailbox, otherwise);
            courier.give(move || {
                let copied = guarded(|| order.carry_out(&control));
                promise.keep(Message::Copied(whose, mirror, control, copied));
            });
        }
    }

    pub(super) fn copied(
        &mut self,
        whose: &Whose,
        mirror: &str,
        control: &Arc<Control>,
        copied: Result<Copied>,
    ) {
        let now = Instant::now();
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let Some(kept) = kept else { return };
        let every = self.repositories.get(&kept.plan.repository).map(Opened::copy_every);
        let Some(copying) = kept.copies.get_mut(mirror) else { return };
        // Of a mirror that is another one by now nothing is noted.
        let Stage::Running(running) = &copying.stage else { return };
        if !Arc::ptr_eq(&running.control, control) {
            return;
        }
        let (changes, prunes, began) = (running.changes, running.prunes, running.at);
        let database = &*kept.name;
        let done = copied.and_then(|Copied { twin, report, files, unpruned }| {
            let newest = report.newest.map_or(0, |seq| seq.0);
            let commits = counted(report.commits, "commit");
            match (&copying.fault, &copying.twin) {
                (None, None) => {
                    tracing::info!(database, mirror, "is copied to {mirror}, up to seq:{newest}");
                }
                _ => tracing::debug!(
                    database,
                    mirror,
                    "copied {commits} to {mirror}, up to seq:{newest}"
                ),
            }
            copying.twin = Some(twin);
            // What ails the files is told, whatever the database's copy is.
            let are_files_whole = files?;
            let is_whole = report.is_whole && are_files_whole;
            if is_whole {
                copying.complete = Some(began);
            }
            Ok((newest, is_whole, unpruned))
        });
        let wait = match done {
            Ok((newest, is_whole, unpruned)) => {
                if copying.fault.take().is_some() {
                    tracing::info!(
                        database,
                        mirror,
                        "is copied to {mirror} again, up to seq:{newest}"
                    );
                }
                copying.failures = 0;
                // What another writer may still displace is copied once it can't be.
                copying.copied = is_whole.then_some(changes);
                let every = every.unwrap_or_default();
                let wait = if is_whole { every } else { every.max(UNSETTLED) };
                if let Some(prunes) = prunes
                    && copying.was_pruned(prunes, unpruned.is_none(), now)
                {
                    match unpruned.as_ref().map(in_words) {
                        Some(why) => tracing::warn!(
                            database,
                            mirror,
                            "is copied to {mirror}, where what the policy removes stays: {why}; it is tried again"
                        ),
                        None => tracing::info!(
                            database,
                            mirror,
                            "the policy is applied in {mirror} again"
                        ),
                    }
                }
                wait
            }
            Err(e) => {
                let why = in_words(&e);
                // Each try may name another object.
                if copying.failures == 0 {
                    tracing::warn!(
                        database,
                        mirror,
                        "is not copied to the mirror {mirror}: {why}; it is tried again"
                    );
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

/// Finds out which mirrors have a history of a name; `None` while one of them is still to answer.
/// `known` is the history, if it was found before.
pub(super) fn mirrored(
    repositories: &BTreeMap<String, Opened>,
    clerks: &BTreeMap<String, Clerks>,
    (first, name): (&str, &str),
    known: Option<&History>,
) -> Option<Mirrored> {
    let mirrors = repositories.get(first).map_or(&[][..], |opened| &opened.config.mirrors);
    let mut mirrored = Mirrored { first: first.to_owned(), ..Mirrored::default() };
    if mirrors.is_empty() || known.is_some_and(is_captured_here) {
        return Some(mirrored);
    }
    for mirror in mirrors {
        let Some(opened) = repositories.get(mirror) else { continue };
        if !opened.has_answered() {
            return None;
        }
        if !opened.is_open() {
            mirrored.closed.push(mirror.clone());
        } else if opened.had(name) {
            let is_of = |(name, of): &(&String, &Opened)| {
                *name != first && of.config.mirrors.contains(mirror)
            };
            let others = repositories.iter().filter(is_of).map(|(name, _)| name.clone());
            mirrored.rivals.push(Rival {
                mirror: mirror.clone(),
                others: others.collect(),
                history: opened.history(name),
                clerk: clerks.get(mirror).map(|clerks| clerks.asks.hand()),
                is_silent: opened.is_silent.clone(),
            });
        }
    }
    Some(mirrored)
}
