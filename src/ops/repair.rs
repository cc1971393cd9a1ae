//! Repair a history: find out what is damaged, say which commits remain restorable, and make the best of it.
//!
//! | what is damaged | what is done |
//! |---|---|
//! | a label, a hold, a proof, a claim, an expiry | it goes to the quarantine |
//! | a segment on the way from the newest to the oldest | the segments that lead nowhere go there; the history ends earlier |
//! | pages within a merged segment, and what it replaced is there still | it goes there |
//! | pages within any other segment | the commits that need them expire: nobody is offered what can't be restored |
//!
//! With the live database at hand its present state becomes a commit, a base if pages of the newest commit are lost, so the
//! history goes on whole from there.
//!
//! Invariants:
//! - Nothing is deleted: what goes to the quarantine is copied there, and then removed from its place.
//! - What a newer version wrote is not understood, and stays where it is.
//! - Numbers of lost commits are not used again.
//! - Without `apply` nothing is changed, here or there.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::capture::commit::{CaptureOptions, capture};
use crate::error::{Error, ErrorKind, Result};
use crate::format::expiry::Expiry;
use crate::format::hold::HoldRecord;
use crate::format::proof::Proof;
use crate::format::record::Record;
use crate::format::segment::{CommitKind, CommitRecord, SegmentKind};
use crate::format::snapshot::SnapshotRecord;
use crate::format::writer::WriterClaim;
use crate::ops::audit;
use crate::ops::locate::Database;
use crate::ops::prune::{DELETED, pins};
use crate::ops::restore::Opener;
use crate::ops::verify::Finding;
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::repo::chain::{self, Chain, Segment, Survey};
use crate::repo::expired::Expired;
use crate::repo::history::History;
use crate::repo::merge::loss::{Loss, loss};
use crate::repo::merge::{Keep, Options, bury, merge};
use crate::repo::publish::{Outline, SegmentWriter};
use crate::repo::term::{Claim, PRUNE};
use crate::repo::writer::Writer;
use crate::repo::{seen, state};
use crate::sqlite::source::Source;
use crate::types::{Clock, SegmentId, Seq};

/// Where damaged objects go, in front of their names.
pub const QUARANTINE: &str = "quarantine/";
/// The largest object that is put there.
const MAX_OBJECT: u64 = 96 * 1024 * 1024;

/// How to repair.
#[derive(Clone, Debug)]
pub struct RepairOptions {
    /// Do it, and not only say what would be done.
    pub apply: bool,
    /// Open every batch; without it, only what holds the history together is looked at.
    pub data: bool,
    /// Worker threads.
    pub threads: usize,
    /// What time it is.
    pub clock: Clock,
}

/// Something that is wrong, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// What is done.
    pub action: Action,
}

/// What is done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The object goes to the quarantine.
    Quarantine,
    /// The commits that need it expire.
    Expire,
    /// Nothing: this version does not understand it, or nobody needs it.
    Leave,
}

impl Action {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Expire => "expire",
            Self::Leave => "leave",
        }
    }
}

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Commits that can be restored.
    pub restorable: BTreeSet<Seq>,
    /// Commits that the history had, as far as can be told, and that can't be restored any more.
    pub lost: BTreeSet<Seq>,
    /// The commit that the live database became.
    pub healed: Option<Seq>,
}

impl RepairReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.lost.is_empty()
    }
}

/// Repairs a history, or says how. `database` is the live database, if it is there.
///
/// # Errors
/// Store errors; [`ErrorKind::TooNew`] when a newer version wrote to the history: that one has to repair it;
/// [`ErrorKind::Busy`] when a process of this machine writes to the history.
///
/// # Durability
/// When this returns, what was done is durable.
pub fn repair(
    history: &History,
    database: Option<&Path>,
    options: &RepairOptions,
    monitor: &dyn Monitor,
) -> Result<RepairReport> {
    let mut report = RepairReport::default();
    let run = Run { history, options, monitor };
    // Whoever repairs holds the history like one who writes to it.
    let lock = state::StateDir::lock(history)?;
    run.records(&mut report)?;
    let survey = run.segments(&mut report)?;
    let loss = run.data(&survey.chain)?;
    let (survey, loss, replaced) = run.fall_back(survey, loss)?;
    for object in &replaced {
        let message = "is damaged, and what it replaced is there still".to_owned();
        report.faults.push(Fault { object: object.clone(), message, action: Action::Quarantine });
    }
    let sound: BTreeSet<Seq> = survey.chain.commits().map(|c| c.seq).collect();
    for error in &loss.findings {
        report.faults.push(fault(error, Action::Expire));
    }
    report.lost.extend(&loss.points);
    report.restorable = sound.difference(&loss.points).copied().collect();
    report.faults.sort();
    report.faults.dedup();
    drop(lock);
    if options.apply && !report.is_sound() {
        for object in &replaced {
            run.quarantine(object)?;
        }
        run.mend(&survey, &loss, &report)?;
    }
    if let (true, Some(path)) = (options.apply, database) {
        report.healed = run.heal(path, &report)?;
        report.restorable.extend(report.healed);
    }
    if options.apply {
        run.clear(&loss)?;
    }
    Ok(report)
}

fn fault(e: &Error, action: Action) -> Fault {
    let Finding { object, message, .. } = Finding::of(e);
    Fault { object, message, action }
}

struct Run<'a> {
    history: &'a History,
    options: &'a RepairOptions,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    /// Looks at the small records.
    fn records(&self, report: &mut RepairReport) -> Result<()> {
        let names = self.history.names();
        self.kind::<SnapshotRecord>(&names.snapshots(), report)?;
        self.kind::<HoldRecord>(&names.holds(), report)?;
        self.kind::<Proof>(&names.proofs(), report)?;
        self.kind::<WriterClaim>(&names.writers(), report)?;
        self.kind::<WriterClaim>(&names.signs(), report)?;
        self.kind::<Expiry>(&names.expiries(), report)
    }

    fn kind<R: Record>(&self, prefix: &str, report: &mut RepairReport) -> Result<()> {
        for entry in self.history.repository().store().list(prefix)? {
            check_cancelled(self.monitor)?;
            match self.history.repository().read_record::<R>(&entry.name) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Damaged => {
                    report.faults.push(fault(&e, Action::Quarantine));
                    self.quarantine(&entry.name)?;
                }
                Err(e) if e.kind() == ErrorKind::TooNew => {
                    report.faults.push(fault(&e, Action::Leave));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Finds the newest chain that is whole.
    fn segments(&self, report: &mut RepairReport) -> Result<Survey> {
        let seen = seen::read(self.history);
        let survey = match chain::survey(self.history, &HashSet::new()) {
            // An expiry that can't be read: in a dry run it is there still.
            Err(e) if e.kind() == ErrorKind::Damaged => {
                report.faults.push(fault(&e, Action::Quarantine));
                Survey::default()
            }
            survey => survey?,
        };
        for error in &survey.breaks {
            if error.kind() == ErrorKind::TooNew {
                return Err(Error::new(
                    ErrorKind::TooNew,
                    "a newer version of pagekeep wrote to it, and has to repair it",
                )
                .with_object(error.object().unwrap_or_default()));
            }
            report.faults.push(fault(error, Action::Quarantine));
        }
        for name in survey.chain.unreadable() {
            let message = "can't be read, and nothing needs it".to_owned();
            report.faults.push(Fault { object: name.clone(), message, action: Action::Quarantine });
        }
        // Which commits those had that are cut off is known where they can be read themselves.
        let end = survey.chain.states().next_back().map_or(Seq(0), |c| c.seq);
        let mut newest = end;
        for entry in &survey.cut_off {
            let Some(at) = self.history.names().parse_segment(&entry.name) else { continue };
            match Segment::read_log(self.history, at) {
                Ok(Some(segment)) => newest = newest.max(segment.end),
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::Damaged => newest = newest.max(at.first),
                Err(e) => return Err(e),
            }
        }
        report.lost.extend((end.0..newest.0).map(|seq| Seq(seq).next()));
        if survey.cut_off.is_empty()
            && let Err(e) = seen::check(self.history, &survey.chain, seen.as_ref())
        {
            report.faults.push(fault(&e, Action::Leave));
        }
        Ok(survey)
    }

    /// Opens every batch that a restore point needs, and adds up every restore point's digests.
    fn data(&self, chain: &Chain) -> Result<Loss> {
        if !self.options.data || chain.segments().is_empty() {
            return Ok(Loss::default());
        }
        let page_bytes = |s: &Arc<Segment>| {
            s.manifest.versions.saturating_mul(s.manifest.page_size.get().into())
        };
        let total = chain.segments().iter().map(page_bytes).sum();
        self.monitor.phase(Phase::Verify, Some(total));
        let mut loss = loss(
            chain,
            self.options.threads,
            &|| Opener::new(self.history),
            &|opener: &mut Opener, wanted| {
                check_cancelled(self.monitor)?;
                let bytes = opener.open(wanted, &mut |_, _, _| Ok(()))?;
                self.monitor.advance(bytes);
                Ok(())
            },
        )?;
        if loss.findings.is_empty() {
            // Every version is there; are they all?
            for finding in audit::commit_digests(chain, self.monitor)? {
                loss.findings.push(Error::damaged(finding.object, finding.message));
                loss.points.extend(finding.commit);
            }
        }
        Ok(loss)
    }

    /// Does without merged segments that are damaged where what they replaced is there still and loses less. Answers their names.
    fn fall_back(&self, survey: Survey, loss: Loss) -> Result<(Survey, Loss, Vec<String>)> {
        let is_bad = |id: &SegmentId| loss.spoilt.contains(id) || loss.unreadable.contains(id);
        let damaged: Vec<Arc<Segment>> = survey
            .chain
            .segments()
            .iter()
            .filter(|s| s.is_merged() && is_bad(&s.reference.id))
            .cloned()
            .collect();
        let points =
            |survey: &Survey| -> BTreeSet<Seq> { survey.chain.commits().map(|c| c.seq).collect() };
        let (mut best, mut least) = (survey, loss);
        let (mut without, mut replaced) = (HashSet::new(), Vec::new());
        for segment in damaged {
            let mut more = without.clone();
            more.insert(segment.reference.id);
            let other = chain::survey(self.history, &more)?;
            if !points(&other).is_superset(&points(&best)) {
                continue;
            }
            let loss = self.data(&other.chain)?;
            if loss.points.len() < least.points.len() {
                (best, least, without) = (other, loss, more);
                replaced.push(segment.name().to_owned());
            }
        }
        Ok((best, least, replaced))
    }

    /// Moves an object out of the way; in a dry run it stays.
    fn quarantine(&self, name: &str) -> Result<()> {
        if !self.options.apply {
            return Ok(());
        }
        let store = self.history.repository().store();
        let Some(bytes) = store.get(name, MAX_OBJECT)? else { return Ok(()) };
        // One that is there already is from a repair that was interrupted.
        store.create(&format!("{QUARANTINE}{name}"), &bytes)?;
        store.delete(name)
    }

    /// Puts away what leads nowhere, and lets expire what can't be restored.
    fn mend(&self, survey: &Survey, loss: &Loss, report: &RepairReport) -> Result<()> {
        for entry in &survey.cut_off {
            self.quarantine(&entry.name)?;
        }
        for name in survey.chain.unreadable() {
            self.quarantine(name)?;
        }
        if !survey.cut_off.is_empty() {
            // What this machine saw is gone for good.
            seen::forget(self.history)?;
        }
        for object in survey.breaks.iter().filter_map(Error::object) {
            if self.history.names().parse_merged(object).is_some() {
                self.quarantine(object)?;
            }
        }
        let Some(newest) = survey.chain.states().next_back() else { return Ok(()) };
        let beyond = report.lost.last().copied().unwrap_or_default();
        let mut lost = loss.points.clone();
        // The newest segment stays in the log whatever becomes of it: something has to stand behind a damaged one.
        if beyond > newest.seq || lost.contains(&newest.seq) {
            let mark = self.mark(beyond)?;
            // It shows what the newest commit before it does.
            lost.extend(mark.filter(|_| lost.contains(&newest.seq)));
        }
        if !lost.is_empty() {
            let claim = Claim::take(self.history, PRUNE)?;
            let chain = self.history.chain()?;
            let expired = |seq| lost.contains(&seq) || chain.expired().contains(seq);
            let states = chain.states().map(|c| (c.seq, expired(c.seq)));
            // Labels and holds do not bring back what is lost.
            let moment = (claim.term, self.options.clock.now());
            Expired::announce(self.history, moment, states, &[])?.decide(self.history)?;
        }
        Ok(())
    }

    /// Replaces segments whose damage nobody needs any more by what is left of them. The newest one stays.
    fn clear(&self, loss: &Loss) -> Result<()> {
        if loss.spoilt.is_empty() && loss.unreadable.is_empty() {
            return Ok(());
        }
        let claim = Claim::take(self.history, PRUNE)?;
        // What can't be read goes first, with all that is built on it: merging looks at what comes behind.
        let chain = self.history.chain()?;
        let end = chain.segments().len().saturating_sub(1);
        let mut at = 0;
        while at < end {
            let mut until = at + 1;
            if chain.segments().get(at).is_some_and(|s| loss.unreadable.contains(&s.reference.id)) {
                let is_base = |s: &Arc<Segment>| s.manifest.kind == SegmentKind::Base;
                while until < end && !chain.segments().get(until).is_some_and(is_base) {
                    until += 1;
                }
                bury(self.history, &chain, at..until, &claim)?;
            }
            at = until;
        }
        let chain = self.history.chain()?;
        // What a prune has just let expire may be taken back, when it sees what keeps it.
        let mut pinned: BTreeSet<Seq> =
            pins(self.history, DELETED, self.options.clock.now())?.into_keys().collect();
        pinned.retain(|seq| !loss.points.contains(seq));
        let chain = chain.allowing(&pinned);
        for (at, segment) in chain.segments().iter().enumerate().take(end) {
            if loss.spoilt.contains(&segment.reference.id) && at + 1 < chain.segments().len() {
                let options = self.merge_options();
                merge(self.history, &chain, at..at + 1, &claim, &options, self.monitor)?;
            }
        }
        Ok(())
    }

    fn merge_options(&self) -> Options {
        Options::new(Keep::Points, self.options.threads)
    }

    /// Publishes a commit without pages behind the lost ones, so that their numbers are not used again.
    fn mark(&self, beyond: Seq) -> Result<Option<Seq>> {
        let mut writer = Writer::open(self.history, "repair")?;
        writer.leave_out(beyond);
        let Some(head) = writer.head().cloned() else { return Ok(None) };
        let record = CommitRecord {
            seq: Seq(0),
            time: self.options.clock.now(),
            pages: head.pages,
            changed: 0,
            digest: head.digest,
            stored: 0,
            kind: CommitKind::Scan,
        };
        let outline = Outline {
            kind: SegmentKind::Delta,
            page_size: head.page_size,
            parent: Some(head.reference()),
            commits: vec![record],
        };
        let mut prepared = SegmentWriter::new(self.history)?.prepare(&writer, outline)?;
        prepared.publish(&mut writer)?;
        let head = prepared.head().clone();
        let seq = head.seq;
        writer.remember(Some(head), None, "")?;
        Ok(Some(seq))
    }

    /// Captures the live database: whole if pages of the newest commit are lost, else what differs.
    fn heal(&self, path: &Path, report: &RepairReport) -> Result<Option<Seq>> {
        let database = Database::at(path, Some(self.history.name()))?;
        let mut source = Source::open(path)?;
        let mut writer = Writer::open(self.history, "repair")?;
        let beyond = report.lost.last().copied().unwrap_or_default();
        writer.leave_out(beyond);
        let options = CaptureOptions {
            threads: self.options.threads,
            clock: self.options.clock.clone(),
            mark: true,
            ..CaptureOptions::default()
        };
        let captured =
            capture(&mut writer, source.pin()?, &database.place, &options, self.monitor)?;
        Ok(captured.commit.map(|commit| commit.seq))
    }
}

#[cfg(test)]
mod tests;
