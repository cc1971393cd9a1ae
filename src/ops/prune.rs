//! Prune a history: decide which commits stay restore points, expire the others, and reclaim their
//! room by merging.
//!
//! ```text
//! claim a term -> read the chain -> check it -> end marks -> decide -> publish what expired -> merge
//!   -> compare digests -> delete what is superfluous
//! ```
//!
//! Invariants:
//! - What the policy promises, a label or a hold keeps, stays a restore point at every moment.
//! - So does the commit that a writer which claimed its turn may be building on, until it
//!   published. What that one may displace counts as there and as gone: whichever comes, what the
//!   policy promises is there.
//! - A mark keeps its commit until this prune, or another one, has taken it back.
//! - What expires is announced before labels and holds are read once more, and published before
//!   anything is merged: no commit expires that somebody was told is labelled or held.
//! - Only what this prune itself found expired is left out of merges.
//! - Nothing expires while what would remain is damaged; nor while it was found to be, unless
//!   somebody insists.
//! - Before anything is deleted, the pages of every restore point add up to its digest, by the
//!   indexes of the new chain.
//! - It may be killed anywhere: the next one goes on, and until then everything promised is there,
//!   only not smaller.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use derive_setters::Setters;

use crate::codec::batch::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::format::proof::Level;
use crate::format::snapshot::SnapshotKind;
use crate::ops::audit;
use crate::ops::finding::few;
use crate::ops::soundness::{Look, judge_now};
use crate::ops::verify::VerifyOptions;
use crate::policy::clock::local_day;
#[cfg(any(test, feature = "cli"))]
use crate::policy::retention::Reason;
use crate::policy::retention::{Kept, Plan, Point, Policy, Zone};
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::chain::{Chain, retry_on_merge};
use crate::repo::history::doubt::{About, doubt};
use crate::repo::history::expired::Expired;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::repo::merge::plan::{many, stale};
use crate::repo::merge::{Keep, Options, merge, needed, newest_bytes, pieces};
use crate::repo::merge::{compaction, gc};
use crate::repo::write::standing::Standing;
use crate::repo::write::term::{Claim, PRUNE};
use crate::types::{Seq, Timestamp};

/// How long what a merge replaced stays, for readers that are at it.
pub const GRACE: Duration = compaction::GRACE;
/// How long a commit whose label was removed stays, so that the label can be given back.
pub const DELETED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a label that was made before something risky keeps its commit.
pub const SAFETY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a commit stays that another writer may still displace.
const UNSETTLED: &str = "another writer may go on before it";

/// How to prune.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct PruneOptions {
    /// What to keep.
    pub policy: Policy,
    /// The time zone of its days.
    pub zone: Zone,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Let commits expire although the last verification failed.
    pub in_doubt: bool,
    /// How long what was replaced stays.
    pub grace: Duration,
    /// How long a commit whose label was removed stays.
    pub deleted: Duration,
    /// How hard to compress what is packed anew.
    pub compression: Compression,
}

impl PruneOptions {
    /// The usual way to prune by a policy.
    pub fn new(policy: Policy, zone: Zone) -> Self {
        Self {
            policy,
            zone,
            dry_run: false,
            in_doubt: false,
            grace: GRACE,
            deleted: DELETED,
            compression: Compression::default(),
        }
    }
}

/// What a history takes in its repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of all its objects.
    pub bytes: u64,
    /// How many objects those are.
    pub objects: u64,
    /// Segments on the chain.
    pub segments: u64,
    /// Restore points.
    pub commits: u64,
}

/// What a prune came to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PruneReport {
    /// What stays, and why.
    pub kept: Vec<Kept>,
    /// What stays no longer.
    pub dropped: Vec<Point>,
    /// The marks that were over, and were taken back before it was decided what stays.
    pub ended: Vec<Snapshot>,
    /// Before, and after; of a dry run, an estimate once the grace period is over.
    pub before: Usage,
    /// See `before`.
    pub after: Usage,
    /// Segments that were written to stand for others.
    pub merges: u64,
    /// Bytes of batches that were copied as they were.
    pub copied_bytes: u64,
    /// Objects that were deleted.
    pub deleted_objects: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Bytes that a later prune deletes, when their grace period is over.
    pub waiting_bytes: u64,
    /// Why the prune itself would be refused, of a dry run.
    pub refusal: Option<Arc<Error>>,
}

impl PruneReport {
    /// How many commits stay for no other reason than that another writer may go on before them:
    /// the policy expires them once that is decided.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn unsettled(&self) -> usize {
        let is_it = |reason: &Reason| matches!(reason, Reason::Pinned(why) if why == UNSETTLED);
        self.kept.iter().filter(|kept| kept.reasons.iter().all(is_it)).count()
    }
}

impl History {
    /// Prunes a history.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for a policy that keeps nothing, and when the last verification
    /// failed; [`ErrorKind::Damaged`] when it is found to be; store errors.
    ///
    /// # Durability
    /// When this returns, what expired did so for good.
    pub fn prune(&self, options: &PruneOptions, monitor: &dyn Monitor) -> Result<PruneReport> {
        if options.dry_run {
            let refusal = refusal(self, options, monitor)?.map(Arc::new);
            return retry_on_merge(self, &self.chain()?, |chain| {
                let ended = self.marks_over(self.repository().now())?;
                let mut report = PruneReport { ended, ..PruneReport::default() };
                let plan = decide(self, chain, options, &report.ended)?;
                report.before = usage(self, chain)?;
                report.after = estimate(chain, &plan, report.before, monitor)?;
                (report.kept, report.dropped) = (plan.kept, plan.dropped);
                report.refusal = refusal.clone();
                Ok(report)
            });
        }
        let mut report = PruneReport::default();
        // A policy that makes no sense is refused before anything is written.
        options.zone.plan(&options.policy, &[], &BTreeMap::new(), self.repository().now())?;
        // Nothing is written to one that went backwards.
        self.chain()?;
        let claim = Claim::take(self, PRUNE)?;
        self.keep_twice()?;
        let chain = self.chain()?;
        if chain.segments().is_empty() {
            return Ok(report);
        }
        claim.check_clock(self)?;
        report.before = usage(self, &chain)?;
        sound(self, options, monitor)?;
        report.ended = self.marks_over(self.repository().now())?;
        for mark in &report.ended {
            self.remove_snapshot(mark)?;
        }
        let (plan, expired) = expire(self, claim, options)?;
        (report.kept, report.dropped) = (plan.kept, plan.dropped);
        Run { history: self, claim, expired, options, monitor }.reclaim(&mut report)?;
        Ok(report)
    }
}

/// Why nothing may expire: the last verification failed.
fn in_doubt(history: &History) -> Result<Option<Error>> {
    let Some(doubt) = doubt(history)? else { return Ok(None) };
    let again = Remedy::verify(history.name(), doubt.level.name());
    let (what, hint) = match doubt.about {
        About::Database | About::Data => (
            "its last verification found the database itself unsound",
            advice![
                "an older commit may be the last sound one, so nothing expires: mend the database, back it up and verify it again: ",
                again,
                "; or let commits expire all the same with ",
                Remedy::PruneInDoubt,
            ],
        ),
        About::Backup => (
            "its last verification failed",
            advice![
                "nothing expires while what would remain is in doubt; ",
                again,
                " verifies it again, ",
                Remedy::examine(history.name()),
                " tells what can be done; or let commits expire all the same with ",
                Remedy::PruneInDoubt,
            ],
        ),
    };
    let object = format!("history {:?}", history.name());
    let error = Error::new(ErrorKind::Refused, format!("{what}: {}", doubt.failure));
    Ok(Some(error.with_object(object).with_hint(hint)))
}

/// Makes sure that what would remain is whole, as far as that can be told quickly.
fn sound(history: &History, options: &PruneOptions, monitor: &dyn Monitor) -> Result<()> {
    if !options.in_doubt
        && let Some(refusal) = in_doubt(history)?
    {
        return Err(refusal);
    }
    let options = VerifyOptions::new(Level::Chain, std::env::temp_dir());
    let report = history.verify(None, &options, monitor)?;
    for remark in few(report.remarks.iter().map(|f| format!("{}: {}", f.object, f.message))) {
        monitor.warn(&remark);
    }
    match report.findings.first() {
        None => Ok(()),
        Some(finding) => Err(damaged(&finding.object, &finding.message)),
    }
}

fn damaged(object: &str, message: &str) -> Error {
    Error::damaged(object, message).with_hint(advice![
        "nothing was pruned; ",
        Remedy::Verify { history: None, level: None },
        " shows all that is damaged"
    ])
}

/// Why a prune would not begin; nothing is written.
fn refusal(
    history: &History,
    options: &PruneOptions,
    monitor: &dyn Monitor,
) -> Result<Option<Error>> {
    if let Some(refusal) = in_doubt(history)?.filter(|_| !options.in_doubt) {
        return Ok(Some(refusal));
    }
    let (_, judged) = judge_now(history, Look::Close, monitor)?;
    Ok(judged.damage.first().map(|problem| damaged(&problem.object, &problem.message)))
}

/// What keeps a commit besides the policy, but for marks that are `over`. Whether the end of a mark
/// has come is not asked here: it keeps its commit as long as it is there.
pub(crate) fn pins(
    history: &History,
    deleted: Duration,
    now: Timestamp,
    over: &[Snapshot],
) -> Result<BTreeMap<Seq, Vec<String>>> {
    let mut pins: BTreeMap<Seq, Vec<String>> = BTreeMap::new();
    let mut pin = |seq, text| {
        let reasons = pins.entry(seq).or_default();
        // A label may have been given twice.
        if !reasons.contains(&text) {
            reasons.push(text);
        }
    };
    for hold in history.holds()? {
        pin(hold.seq, format!("held: {}", hold.reason));
    }
    for (snapshot, gone) in history.all_snapshots()? {
        let label = &snapshot.label;
        match (snapshot.kind, gone) {
            (SnapshotKind::Manual, None) => pin(snapshot.seq, format!("labelled {label:?}")),
            (SnapshotKind::Mark, None) if !over.contains(&snapshot) => {
                let until = snapshot.until.map(local_day).unwrap_or_default();
                pin(snapshot.seq, format!("marked {label:?}, until {until}"));
            }
            (SnapshotKind::Manual | SnapshotKind::Mark, Some(gone))
                if gone > now.before(deleted) && snapshot.until.is_none_or(|end| gone < end) =>
            {
                pin(snapshot.seq, format!("its label {label:?} was just removed"));
            }
            (SnapshotKind::Safety, None) if snapshot.time > now.before(SAFETY) => {
                pin(snapshot.seq, format!("labelled {label:?}, for 30 days"));
            }
            _ => {}
        }
    }
    Ok(pins)
}

pub(crate) fn points(chain: &Chain) -> Vec<Point> {
    chain.commits().map(|c| Point { seq: c.seq, time: c.record.time }).collect()
}

fn decide(
    history: &History,
    chain: &Chain,
    options: &PruneOptions,
    over: &[Snapshot],
) -> Result<Plan> {
    let now = history.repository().now();
    let mut pins = pins(history, options.deleted, now, over)?;
    // Others may go on from the last settled commit, with other content for the numbers behind it.
    let standing = Standing::of(history, chain)?;
    standing.check(history)?;
    let (open, newest) = (standing.settled(), chain.states().next_back().map(|c| c.seq));
    let points = points(chain);
    if open == newest {
        return options.zone.plan(&options.policy, &points, &pins, now);
    }
    for point in points.iter().filter(|point| open.is_none_or(|seq| seq <= point.seq)) {
        pins.entry(point.seq).or_default().push(UNSETTLED.to_owned());
    }
    let plan = options.zone.plan(&options.policy, &points, &pins, now)?;
    // What others may displace takes nobody's place: once it is gone, those that the policy keeps
    // without it have to be there.
    let certain = points.partition_point(|point| open.is_some_and(|seq| point.seq <= seq));
    let certain = points.get(..certain).unwrap_or_default();
    Ok(plan.with(options.zone.plan(&options.policy, certain, &pins, now)?))
}

/// Publishes what expires. Labels and holds that come in between count. Returns what expired for
/// good.
fn expire(history: &History, claim: Claim, options: &PruneOptions) -> Result<(Plan, Expired)> {
    for _ in 0..5 {
        let chain = history.chain()?;
        let plan = decide(history, &chain, options, &[])?;
        let dropped: HashSet<Seq> = plan.dropped.iter().map(|p| p.seq).collect();
        let expired = |seq| dropped.contains(&seq) || chain.expired().contains(seq);
        let states = || chain.states().map(|c| (c.seq, expired(c.seq)));
        let records = chain.expired().records();
        // What was merged is there for a while, and must not come back if the merged segment is
        // lost. So must not numbers behind the end, which a repair lost.
        let end = chain.states().next_back().map_or(Seq(0), |c| c.seq);
        let beyond = chain.expired().beyond(end);
        let besides = if chain.strays() > 0 { chain.expired().ranges() } else { beyond };
        let superfluous = besides.is_empty() && !states().any(|(_, expired)| expired);
        let settled = records.len() <= 1 && !superfluous || records.is_empty();
        let for_good = chain.expired().with(dropped.iter().copied());
        if dropped.is_empty() && settled {
            return Ok((plan, for_good));
        }
        let now = history.repository().now();
        let announced = Expired::announce(history, (claim.term, now), states(), besides)?;
        let late = pins(history, options.deleted, history.repository().now(), &[])?;
        if dropped.iter().any(|seq| late.contains_key(seq)) {
            announced.take_back(history)?;
            continue;
        }
        if !announced.decide(history)? {
            // Somebody labels or holds one of those.
            continue;
        }
        // The new record has all that is still there.
        for (name, _) in records.iter().filter(|(_, term)| *term < claim.term) {
            history.repository().store().delete(name)?;
        }
        return Ok((plan, for_good));
    }
    Err(Error::new(ErrorKind::Busy, "is being labelled all the time")
        .with_object(format!("history {:?}", history.name()))
        .with_hint("run it again"))
}

/// What all objects of a history take.
fn usage(history: &History, chain: &Chain) -> Result<Usage> {
    let listed = history.repository().store().list(&history.names().all())?;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Ok(Usage {
        bytes: listed.iter().map(|e| e.len).sum(),
        objects: count(listed.len()),
        segments: count(chain.segments().len()),
        commits: count(chain.commits().count()),
    })
}

/// What would remain, roughly: dead versions take as much as the others of their segment.
fn estimate(chain: &Chain, plan: &Plan, before: Usage, monitor: &dyn Monitor) -> Result<Usage> {
    let chain = chain.without(plan.dropped.iter().map(|p| p.seq));
    let needed = needed(&chain, monitor)?;
    let newest = newest_bytes(&chain, &needed);
    let pieces = pieces(&chain, Some(&needed));
    let stored: u64 = pieces.iter().map(|p| p.bytes).sum();
    let strays = chain.off_chain().iter().map(|e| e.len).sum::<u64>();
    let reclaimed: u64 = stale(&pieces, newest)
        .into_iter()
        .filter_map(|range| pieces.get(range))
        .flatten()
        .map(|p| p.dead)
        .sum();
    let commits = u64::try_from(plan.kept.len()).unwrap_or(u64::MAX);
    let segments = u64::try_from(pieces.len()).unwrap_or(u64::MAX);
    let other = before.bytes.saturating_sub(stored).saturating_sub(strays);
    let bytes = stored.saturating_sub(reclaimed).saturating_add(other);
    Ok(Usage { bytes, objects: before.objects, segments, commits })
}

/// What a rewriting came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewriteReport {
    /// Segments that are sealed under the newest key now.
    pub segments: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Whether the newest segment is still under an older key; it is carried over once another one
    /// stands behind it.
    pub newest_left: bool,
}

impl History {
    /// Seals everything anew that is not under the repository's newest key, but for the newest
    /// segment. No commit goes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when something can't be read as it was stored; store errors.
    pub fn rewrite(&self, monitor: &dyn Monitor) -> Result<RewriteReport> {
        self.chain()?;
        let claim = Claim::take(self, PRUNE)?;
        let newest_key = self.repository().newest_key()?.id;
        let options = Options::new(Keep::All);
        let mut report = RewriteReport::default();
        let chain = self.chain()?;
        retry_on_merge(self, &chain, |chain| {
            let old: Vec<usize> = (0..chain.segments().len())
                .filter(|at| {
                    chain.segments().get(*at).is_some_and(|s| s.has_other_keys(newest_key))
                })
                .collect();
            let end = chain.segments().len().saturating_sub(1);
            let bytes =
                old.iter().filter_map(|at| chain.segments().get(*at)).map(|s| s.stored_len());
            monitor.phase(Phase::Merge, Some(bytes.sum()));
            for at in &old {
                check_cancelled(monitor)?;
                let Some(segment) = chain.segments().get(*at).filter(|_| *at < end) else {
                    report.newest_left = true;
                    continue;
                };
                merge(self, chain, *at..*at + 1, &claim, &options, monitor)?;
                report.segments += 1;
                report.bytes += segment.stored_len();
            }
            Ok(())
        })?;
        Ok(report)
    }
}

struct Run<'a> {
    history: &'a History,
    claim: Claim,
    /// What expired for good.
    expired: Expired,
    options: &'a PruneOptions,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    /// Merges what is worth it, and deletes what is superfluous.
    fn reclaim(&self, report: &mut PruneReport) -> Result<()> {
        let chain = self.history.chain()?;
        // Another prune may replace what this one is at.
        retry_on_merge(self.history, &chain, |chain| self.reclaim_from(chain.clone(), report))
    }

    fn reclaim_from(&self, mut chain: Chain, report: &mut PruneReport) -> Result<()> {
        loop {
            let ranges = many(&pieces(&chain, None));
            if ranges.is_empty() {
                break;
            }
            let merged = self.merge(&chain, ranges, report)?;
            // A merge that the chain does not come to would be made again and again.
            let shorter = merged.segments().len() < chain.segments().len();
            chain = merged;
            if !shorter {
                break;
            }
        }
        let settled = chain.agreeing(&self.expired);
        let needed = needed(&settled, self.monitor)?;
        let newest = newest_bytes(&settled, &needed);
        let ranges = stale(&pieces(&settled, Some(&needed)), newest);
        chain = self.merge(&chain, ranges, report)?;
        if report.merges > 0 {
            self.compare(&chain)?;
        }
        check_cancelled(self.monitor)?;
        let garbage = gc::find(self.history, &chain, self.claim, self.options.grace)?;
        report.waiting_bytes = garbage.waiting;
        let collected = garbage.delete(self.history)?;
        report.deleted_objects = collected.objects;
        report.deleted_bytes = collected.bytes;
        let repository = self.history.repository();
        repository.store().sweep(repository.now().before(gc::ORPHANS))?;
        report.after = usage(self.history, &chain)?;
        Ok(())
    }

    /// Merges ranges of a chain, and answers the chain that comes of it.
    fn merge(
        &self,
        chain: &Chain,
        ranges: Vec<std::ops::Range<usize>>,
        report: &mut PruneReport,
    ) -> Result<Chain> {
        let options =
            Options { keep: Keep::Points, compression: self.options.compression, repack: false };
        let bytes = |range: &std::ops::Range<usize>| -> u64 {
            let segments = chain.segments().get(range.clone()).unwrap_or_default();
            segments
                .iter()
                .map(|s| {
                    s.manifest
                        .page_size
                        .file_len(u32::try_from(s.manifest.versions).unwrap_or(u32::MAX))
                })
                .sum()
        };
        let total = ranges.iter().map(bytes).sum();
        if !ranges.is_empty() {
            self.monitor.phase(Phase::Merge, Some(total));
        }
        let settled = chain.agreeing(&self.expired);
        for range in ranges {
            check_cancelled(self.monitor)?;
            let merged = merge(self.history, &settled, range, &self.claim, &options, self.monitor)?;
            report.merges += 1;
            report.copied_bytes += merged.copied;
        }
        self.history.chain()
    }

    /// Compares every restore point's pages with its digest, by the indexes.
    fn compare(&self, chain: &Chain) -> Result<()> {
        match audit::commit_digests(chain, self.monitor)?.first() {
            None => Ok(()),
            Some(finding) => {
                Err(Error::damaged(&*finding.object, &*finding.message).with_hint(advice![
                    "nothing was deleted; ",
                    Remedy::Verify { history: None, level: Some("data") },
                    " shows all that is damaged",
                ]))
            }
        }
    }
}

#[cfg(test)]
mod tests;
