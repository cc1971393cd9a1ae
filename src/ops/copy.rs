//! Copy histories from one repository to another, which has keys of its own: the second copy, in
//! another place.
//!
//! A copy is a history of the same identity with the same commits, packed and sealed anew. It has a
//! life of its own: what expires in the original stays in the copy until the copy is pruned.
//!
//! Invariants:
//! - Commits arrive in order, a stretch at a time, each acknowledged like a backup; whatever
//!   interrupts a copy, the next one goes on behind the last stretch that arrived.
//! - Every page is compared with its digest on the way, and every restore point's pages add up to
//!   its digest when all is there.
//! - A history that somebody wrote to is no copy any more, and is left alone.

use std::collections::BTreeSet;

use derive_setters::Setters;

use crate::codec::batch::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::format::hold::HoldRecord;
use crate::format::record::Record;
use crate::format::snapshot::SnapshotRecord;
use crate::ops::audit;
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::chain::{Chain, retry_on_merge};
use crate::repo::history::expired;
use crate::repo::history::handle::History;
use crate::repo::merge::compaction;
use crate::repo::merge::transfer::{Stretch, check_common, next_stretch, transfer};
use crate::repo::merge::{Keep, Options};
use crate::repo::write::standing::Standing;
use crate::repo::write::writer::Writer;
use crate::types::Seq;

/// How often a chain is read again that others went on from before it was known which of its
/// commits stay.
const REREADINGS: usize = 5;

/// How to copy.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct CopyOptions {
    /// How hard to compress.
    pub compression: Compression,
}

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Commits that were copied.
    pub commits: u64,
    /// The newest commit that the copy has.
    pub newest: Option<Seq>,
    /// Labels and holds that were copied.
    pub marks: u64,
    /// Whether the copy has every commit that the original had when it was last looked at. It has
    /// not while another writer may still displace the newest ones.
    pub is_whole: bool,
}

impl History {
    /// Copies what a history has and its copy has not.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the other repository has another history of this name, or
    /// somebody wrote to the copy; [`ErrorKind::Damaged`] when the original can't be read as it was
    /// stored, or the copy was there and is gone; [`ErrorKind::Busy`] when somebody else is
    /// copying; store errors of both.
    ///
    /// # Durability
    /// When this returns, all that is reported is durable in the other repository.
    pub fn copy_to(
        &self,
        to: &Repository,
        options: &CopyOptions,
        monitor: &dyn Monitor,
    ) -> Result<CopyReport> {
        self.copy_into(&self.twin_in(to)?, options, monitor)
    }

    /// Its copy in another repository, begun if there is none.
    ///
    /// # Errors
    /// As [`History::copy_to`].
    pub(crate) fn twin_in(&self, to: &Repository) -> Result<Self> {
        if self.repository().id() == to.id() {
            return Err(Error::new(ErrorKind::Usage, "is the same repository")
                .with_object(to.store().location())
                .with_hint(advice![
                    "a copy of a repository's folder has its identity; begin one with ",
                    Remedy::CreateRepository,
                ]));
        }
        twin(self, to)
    }

    /// As [`History::copy_to`], into the copy that [`History::twin_in`] answered.
    pub(crate) fn copy_into(
        &self,
        mine: &Self,
        options: &CopyOptions,
        monitor: &dyn Monitor,
    ) -> Result<CopyReport> {
        let to = mine.repository();
        let mut writer = Writer::open(mine, "copy")?;
        if let Some(text) = writer.forgets() {
            monitor.advise(&text);
        }
        let mut report = CopyReport::default();
        if let Some(head) = writer.head() {
            check_common(&self.chain()?, head, &to.store().location())?;
        }
        let mut rereadings = REREADINGS;
        loop {
            check_cancelled(monitor)?;
            // What it is copied self may be merged or pruned meanwhile.
            let chain = self.chain()?;
            // A commit that another writer may still displace is copied when it is there for good.
            let standing = Standing::of(self, &chain)?;
            standing.check(self)?;
            if standing.is_outdated() && rereadings > 0 {
                rereadings -= 1;
                continue;
            }
            let newest = chain.states().next_back().map(|commit| commit.seq);
            report.is_whole = newest == standing.settled();
            let Some(last) = standing.settled() else { break };
            let after = writer.head().map(|head| head.seq);
            let Some(stretch) = next_stretch(&chain, after, last) else { break };
            check_numbers(&chain, mine, after, stretch.until)?;
            monitor.phase(Phase::Copy, Some(stretch.bytes));
            let mut commits = 0;
            retry_on_merge(self, &chain, |chain| {
                let Some(stretch) = next_stretch(chain, after, last) else { return Ok(()) };
                commits = count(chain, stretch);
                transfer(chain, stretch, &mut writer, &merge_options(options), monitor)
            })?;
            report.commits += commits;
            if writer.upkeep_is_due() {
                let claim = writer.begin_upkeep(true)?;
                compaction::run(mine, claim, monitor)?;
            }
        }
        report.newest = writer.head().map(|head| head.seq);
        writer.confirm()?;
        // A backup publishes an anchor here (rule 7 of the format's section 10). A copy can't: the
        // next number is the original's next commit's. What may come late is the copy of another
        // process, which has the same commits and may end earlier; then the next copy goes on self
        // there. So it is said instead.
        if writer.needs_anchor() {
            monitor.warn(&format!(
            "another copy of {} was begun meanwhile, and may still take the newest commits back; copy again once there are new ones",
            mine.name()
        ));
        }
        if report.commits > 0 {
            check(mine, monitor)?;
        }
        report.marks = marks(self, mine)?;
        Ok(report)
    }
}

fn merge_options(options: &CopyOptions) -> Options {
    Options { keep: Keep::Points, compression: options.compression, repack: true }
}

fn count(chain: &Chain, stretch: Stretch) -> u64 {
    let inside = |seq: Seq| seq <= stretch.until && stretch.after.is_none_or(|a| seq > a);
    let commits = chain.commits().filter(|commit| inside(commit.seq)).count();
    u64::try_from(commits).unwrap_or(u64::MAX)
}

/// Makes sure that the copy takes none of the next commits for lost: they would never show.
fn check_numbers(chain: &Chain, mine: &History, after: Option<Seq>, until: Seq) -> Result<()> {
    let lost = mine.chain()?;
    let next = chain.commits().filter(|c| after.is_none_or(|after| c.seq > after));
    match next.take_while(|c| c.seq <= until).find(|c| lost.expired().contains(c.seq)) {
        None => Ok(()),
        Some(commit) => Err(Error::new(
            ErrorKind::Refused,
            format!("commit {} was lost in the copy, and a repair gave its number up", commit.seq),
        )
        .with_object(mine.repository().store().location())
        .with_hint("copy to another repository")),
    }
}

/// The copy of a history, begun if there is none.
fn twin(from: &History, to: &Repository) -> Result<History> {
    let census = to.census()?;
    if let Some(twin) = census.histories.iter().find(|h| h.id() == from.id()) {
        return Ok(twin.clone());
    }
    if let Some(gone) = census.absent.iter().find(|gone| gone.id == from.id()) {
        return Err(gone.error());
    }
    match census.find(from.name()) {
        Err(e) if e.kind() == ErrorKind::NotFound => to.adopt_history(from),
        Err(e) => Err(e),
        Ok(_) => Err(Error::new(
            ErrorKind::Refused,
            format!("has a history {:?} already, which is another one", from.name()),
        )
        .with_object(to.store().location())
        .with_hint("copy to a repository of its own")),
    }
}

/// Makes sure that every commit of the copy adds up.
fn check(mine: &History, monitor: &dyn Monitor) -> Result<()> {
    let chain = mine.chain()?;
    let findings = retry_on_merge(mine, &chain, |chain| audit::commit_digests(chain, monitor))?;
    match findings.first() {
        None => Ok(()),
        Some(finding) => {
            Err(Error::damaged(&*finding.object, &*finding.message).with_hint(advice![
                "this is the copy; ",
                Remedy::Verify { history: None, level: None },
                " shows all that is wrong with it",
            ]))
        }
    }
}

/// Copies the labels and holds that the copy has not.
fn marks(from: &History, mine: &History) -> Result<u64> {
    let names = from.names();
    let snapshots = records::<SnapshotRecord>(from, mine, &names.snapshots(), |name| {
        names.parse_snapshot(name).map(|(seq, _)| seq)
    })?;
    let holds = records::<HoldRecord>(from, mine, &names.holds(), |name| {
        names.parse_hold(name).map(|(seq, _)| seq)
    })?;
    Ok(snapshots + holds)
}

/// Copies the records below a prefix that belong to commits of the copy.
fn records<R: Record>(
    from: &History,
    mine: &History,
    prefix: &str,
    seq_of: impl Fn(&str) -> Option<Seq>,
) -> Result<u64> {
    let chain = mine.chain()?;
    let mut kept = BTreeSet::new();
    let there: Vec<String> =
        mine.repository().store().list(prefix)?.into_iter().map(|e| e.name).collect();
    let mut copied = 0;
    for entry in from.repository().store().list(prefix)? {
        let wanted = seq_of(&entry.name).is_some_and(|seq| chain.commit(seq).is_some());
        if !wanted {
            continue;
        }
        // Those that a copy brought which died right then count, too.
        kept.extend(seq_of(&entry.name));
        if there.binary_search(&entry.name).is_ok() {
            continue;
        }
        let Some((header, record)) = from.repository().read_record::<R>(&entry.name)? else {
            continue;
        };
        match mine.repository().create_record(&entry.name, header.object, &record) {
            Ok(()) => copied += 1,
            Err(e) if e.kind() == ErrorKind::Busy => {}
            Err(e) => return Err(e),
        }
    }
    // A prune of the copy that is at work sees them, or does not expire their commits.
    expired::withdraw(mine, |_, announced| {
        let lists = |(first, last): &(Seq, Seq)| kept.range(*first..=*last).next().is_some();
        announced.is_none_or(|announced| announced.ranges.iter().any(lists))
    })?;
    Ok(copied)
}

#[cfg(test)]
mod tests;
