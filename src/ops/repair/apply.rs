//! Doing what a plan says.
//!
//! ```text
//! put copies of the description back -> claim a term -> publish what is lost -> bridge the holes
//!   -> go on below newest segments that can't be read -> move what leads nowhere
//!   -> go on behind the newest -> move heads -> write anew what is damaged
//! ```
//!
//! After each step the history is as good as before or better, and what is left to do is found
//! again: the expiry of what is lost keeps its numbers, a bridge makes the chain whole that was
//! shown around the hole, and what moves was read by nobody.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::plan::RepairPlan;
use super::report::{Action, Fault, RepairOptions};
use crate::capture::commit::{CaptureOptions, capture};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SPARSE;
use crate::format::segment::{CommitKind, CommitRecord, SegmentKind};
use crate::ops::locate::Database;
use crate::ops::missing::refuse_emptied;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::links::Links;
use crate::repo::chain::{Chain, Segment, bridge};
use crate::repo::history::expired::Expired;
use crate::repo::history::handle::History;
use crate::repo::local::{rollback, rollback_guard};
use crate::repo::merge::{Keep, Options, merge, tombstone};
use crate::repo::quarantine;
use crate::repo::write::segment_data::SegmentData;
use crate::repo::write::segment_writer::{Outline, SegmentWriter};
use crate::repo::write::standing;
use crate::repo::write::term::{Claim, PRUNE};
use crate::repo::write::writer::Writer;
use crate::sqlite::source::Source;
use crate::types::{SegmentId, Seq, Timestamp};

impl RepairPlan {
    /// Does it. Answers the commit that the live database became, if it is given.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when the history went backwards: then nothing is done;
    /// [`ErrorKind::Busy`] when a process of this machine writes to the history. What was done then
    /// counts, and the next repair does the rest.
    ///
    /// # Durability
    /// When this returns, what was done is durable.
    pub fn apply(
        &self,
        database: Option<&Path>,
        options: &RepairOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<Seq>> {
        let history = &self.history;
        if self.report.set_back {
            rollback::check(history, &self.chain, rollback_guard::read(history).as_ref())?;
        }
        let run = Run { history, plan: self, monitor };
        if let Some(path) = database {
            // Before anything is given up for it.
            let database = Database::at(path, Some(history.name()))?;
            database.check(history, options.adopt)?;
            refuse_emptied(history.repository(), path, history.name())?;
            Source::open(path)?.pin()?;
        }
        history.mend_copies(&self.copies)?;
        let acts = |fault: &Fault| fault.action != Action::Leave;
        let idle = self.report.is_sound() && !self.report.remarks.iter().any(acts);
        if idle && database.is_none() {
            return Ok(None);
        }
        if !idle {
            // Its turn is above every one that a damaged claim may stand for, so none is taken
            // twice. Whoever builds on what is lost is told of nothing any more.
            let role = if self.lost.is_empty() { PRUNE } else { "repair" };
            let claim = Claim::take(history, role)?;
            run.unchanged()?;
            run.record(&claim)?;
            run.bridge(&claim)?;
            run.stand_in(&claim)?;
            run.go_on_below()?;
            for name in self.away.iter().filter(|name| !run.is_head(name)) {
                check_cancelled(monitor)?;
                run.end_turns_below(name)?;
                quarantine::put(history.repository().store(), name)?;
            }
            run.take_as_lost()?;
        }
        let healed = match database {
            Some(path) => {
                if run.is_newest_lost() {
                    run.anchor()?;
                }
                run.heal(path)?
            }
            None => {
                run.mark()?;
                None
            }
        };
        run.put_heads_away()?;
        run.clear()?;
        Ok(healed)
    }
}

struct Run<'a> {
    history: &'a History,
    plan: &'a RepairPlan,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    fn now(&self) -> Timestamp {
        self.history.repository().now()
    }

    /// Makes sure that the plan is still one for this history. Others may have written to it since
    /// it was made, and what they were told is safe must not be taken for lost.
    fn unchanged(&self) -> Result<()> {
        let without = self.plan.replaced.iter().map(|s| s.reference.id).collect();
        let now = Chain::load_readable(self.history, &without)?;
        let ids = |chain: &Chain| -> Vec<SegmentId> {
            chain.stored().map(|segment| segment.reference.id).collect()
        };
        if ids(&now) == ids(&self.plan.chain) {
            return Ok(());
        }
        Err(self.written_to("nothing was changed; run it again when no other process works on it"))
    }

    fn written_to(&self, hint: &str) -> Error {
        Error::new(ErrorKind::Busy, "was written to, or pruned, since it was looked at")
            .with_object(format!("history {:?}", self.history.name()))
            .with_hint(hint)
    }

    /// Merges anew what damaged merged segments replaced, before those go: whatever else deletes
    /// the originals meanwhile, the commits stay.
    fn stand_in(&self, claim: &Claim) -> Result<()> {
        let segments = self.plan.chain.segments();
        for merged in &self.plan.replaced {
            let (first, last) = (merged.manifest.first, merged.end);
            let from = segments.partition_point(|s| s.manifest.first < first);
            let until = segments.partition_point(|s| s.end <= last);
            let whole = segments.get(from..until).is_some_and(|s| s.iter().all(|s| !s.is_bridge()));
            if from < until && whole {
                let options = Options::new(Keep::All);
                let range = from..until;
                match merge(self.history, &self.plan.chain, range, claim, &options, self.monitor) {
                    // The originals have damage of their own, which is dealt with later.
                    Err(e) if e.kind() == ErrorKind::Damaged => {}
                    merged => drop(merged?),
                }
            }
        }
        Ok(())
    }

    /// Before a damaged claim goes, those below it go, in ascending order: whoever holds one of
    /// them would take his own turn for the newest.
    fn end_turns_below(&self, name: &str) -> Result<()> {
        let names = self.history.names();
        let Some(damaged) = names.parse_writer(name) else { return Ok(()) };
        let store = self.history.repository().store();
        for entry in store.list(&names.writers())? {
            if names.parse_writer(&entry.name).is_some_and(|term| term < damaged) {
                store.delete(&entry.name)?;
            }
        }
        Ok(())
    }

    /// Publishes which commits are lost. From then on nobody is offered them, and their numbers are
    /// not used again.
    fn record(&self, claim: &Claim) -> Result<()> {
        let at = (claim.term, self.now());
        if !self.plan.lost.is_empty() {
            Expired::publish_lost(self.history, at, &self.plan.lost)?;
        }
        Ok(())
    }

    /// Puts a segment without pages in the place of each hole.
    fn bridge(&self, claim: &Claim) -> Result<()> {
        let chain = &self.plan.chain;
        let mut below: Option<&Arc<Segment>> = None;
        let mut segments = chain.segments().iter().peekable();
        while let Some(segment) = segments.next() {
            if let (true, Some(above)) = (segment.is_bridge(), segments.peek()) {
                let by = (claim.term, claim.token);
                if let Some(manifest) = bridge(self.history, below.map(|s| &**s), above, by) {
                    let mut data = SegmentData::new(self.history)?;
                    let (first, last) = (manifest.first, segment.end);
                    let name = self.history.names().merged_segment(first, last, data.id());
                    let (_, bytes, _) = data.finish(&name, manifest, SPARSE)?;
                    self.history.repository().store().create(&name, &bytes)?;
                    below = Some(segment);
                    continue;
                }
            }
            below = Some(segment);
        }
        Ok(())
    }

    /// Takes a history of which nothing is left for what it is, if a repair recorded that: other
    /// machines ask. Its numbers are not used again all the same.
    fn take_as_lost(&self) -> Result<()> {
        if !self.plan.chain.segments().is_empty() {
            return Ok(());
        }
        let chain = Chain::load_readable(self.history, &HashSet::new())?;
        let is_empty = chain.segments().is_empty() && chain.holes().is_empty();
        let highest = self.history.highest_number(&chain)?;
        if is_empty && chain.expired().contains(highest) {
            crate::repo::accept_rollback(self.history)?;
        }
        Ok(())
    }

    /// Publishes a commit without pages behind a newest segment that is damaged: something has to
    /// stand behind it before it can be written anew. It shows what is lost, so it expires at once.
    fn mark(&self) -> Result<()> {
        let loss = &self.plan.loss;
        let Some(newest) = self.plan.chain.newest() else { return Ok(()) };
        let id = &newest.reference.id;
        if self.is_newest_lost()
            || self.plan.behind_newest
            || loss.spoilt.contains(id)
            || loss.unreadable.contains(id)
        {
            self.anchor()?;
        }
        Ok(())
    }

    /// Whether the newest commit is among what is lost. Somebody may have built on it until just
    /// now: nobody was told that this is safe, and whatever of it comes late must not count.
    fn is_newest_lost(&self) -> bool {
        let newest = self.plan.chain.newest().map(|segment| segment.end);
        newest.is_some_and(|end| {
            self.plan.lost.iter().any(|(first, last)| (first..=last).contains(&&end))
        })
    }

    fn is_head(&self, name: &str) -> bool {
        self.history.names().parse_head(name).is_some()
    }

    /// Moves heads that can't be read. Whoever published one that counts may be at work, and what
    /// it builds on is kept because of it; so something of a higher term is published first. Then
    /// nothing that is built on it is the newest any more.
    fn put_heads_away(&self) -> Result<()> {
        let heads: Vec<&String> = self.plan.away.iter().filter(|n| self.is_head(n)).collect();
        if heads.is_empty() {
            return Ok(());
        }
        let chain = self.history.chain()?;
        if !standing::unread(self.history, &chain)?.counting.is_empty() {
            self.anchor()?;
        }
        for name in heads {
            check_cancelled(self.monitor)?;
            quarantine::put(self.history.repository().store(), name)?;
        }
        Ok(())
    }

    /// Where the newest segments can't be read, another one than that which is read around them may
    /// be the newest once they moved: one that was displaced, or one below what is merged. Then
    /// something of a higher term is published behind the right one first.
    fn go_on_below(&self) -> Result<()> {
        let chain = &self.plan.chain;
        let Some(newest) = chain.newest() else { return Ok(()) };
        if chain.holes().iter().all(|hole| hole.above.is_some()) {
            return Ok(());
        }
        let names = self.history.names();
        let listed = self.history.repository().store().list(&names.log())?;
        let stays = |name: &String| !self.plan.away.contains(name) && !chain.junk().contains(name);
        let next = listed.iter().map(|entry| &entry.name).filter(|name| stays(name));
        let next = next.filter_map(|name| names.parse_segment(name)).max();
        if !newest.is_merged() && next == Some(newest.log_name()) {
            return Ok(());
        }
        let load = || {
            let without = self.plan.replaced.iter().map(|s| s.reference.id).collect();
            let now = Chain::load_readable(self.history, &without)?;
            let id = |chain: &Chain| chain.newest().map(|segment| segment.reference.id);
            if id(&now) == id(chain) { Ok(now) } else { Err(self.written_to("run it again")) }
        };
        self.publish_behind(Writer::open_below(self.history, "repair", &load)?)
    }

    /// Publishes a commit without pages behind the newest one.
    fn anchor(&self) -> Result<()> {
        self.publish_behind(Writer::open(self.history, "repair")?)
    }

    fn publish_behind(&self, mut writer: Writer) -> Result<()> {
        // What it is built on may be what is damaged.
        writer.links = Links::new(self.now());
        let Some(head) = writer.head().cloned() else { return Ok(()) };
        let record = CommitRecord {
            seq: Seq(0),
            time: self.now(),
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
        let is_lost = self.is_newest_lost();
        let shows_lost = writer.needs_base() || is_lost;
        // What others published behind it since.
        let end = self.plan.chain.newest().map_or(head.seq, |segment| segment.end);
        let behind = (is_lost && head.seq > end).then(|| (end.next(), head.seq));
        let mut prepared = SegmentWriter::new(self.history)?.prepare(&writer, outline)?;
        prepared.publish(&mut writer)?;
        let head = prepared.head().clone();
        let seq = head.seq;
        writer.remember(Some(head), None, "")?;
        drop(writer);
        if shows_lost {
            let claim = Claim::take(self.history, PRUNE)?;
            let at = (claim.term, self.now());
            let lost: Vec<(Seq, Seq)> = behind.into_iter().chain([(seq, seq)]).collect();
            Expired::publish_lost(self.history, at, &lost)?;
        }
        Ok(())
    }

    /// Captures the live database: whole if pages of the newest commit are lost, else what differs.
    fn heal(&self, path: &Path) -> Result<Option<Seq>> {
        let database = Database::at(path, Some(self.history.name()))?;
        let mut source = Source::open(path)?;
        let mut writer = Writer::open(self.history, "repair")?;
        writer.links = Links::new(self.now());
        let options = CaptureOptions { mark: true, ..CaptureOptions::default() };
        let captured =
            capture(&mut writer, source.pin()?, &database.place, &options, self.monitor)?;
        Ok(captured.commit.map(|commit| commit.seq))
    }

    /// Replaces segments whose damage nobody needs any more by what is left of them, and those
    /// whose objects go on behind their end. The newest one stays.
    fn clear(&self) -> Result<()> {
        let loss = &self.plan.loss;
        if loss.spoilt.is_empty() && loss.unreadable.is_empty() && self.plan.to_replace.is_empty() {
            return Ok(());
        }
        let claim = Claim::take(self.history, PRUNE)?;
        // What can't be read goes first, with all that is built on it: merging looks at what comes
        // behind.
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
                // A writer at work built on what is lost, and was told that it is safe: the next
                // plan sees that.
                let covered = chain.segments().get(at..until).unwrap_or_default();
                let mut commits = covered.iter().flat_map(|s| s.manifest.states());
                if commits.any(|c| chain.commit(c.seq).is_some()) {
                    return Err(self.written_to("run it again when no other process works on it"));
                }
                tombstone(self.history, &chain, at..until, &claim)?;
            }
            at = until;
        }
        let chain = self.history.chain()?;
        for (at, segment) in chain.segments().iter().enumerate().take(end) {
            if at + 1 >= chain.segments().len() {
                break;
            }
            let keep = match loss.spoilt.contains(&segment.reference.id) {
                true => Keep::Points,
                false if self.is_to_be_replaced(segment) => Keep::All,
                false => continue,
            };
            let options = Options::new(keep);
            merge(self.history, &chain, at..at + 1, &claim, &options, self.monitor)?;
        }
        Ok(())
    }

    fn is_to_be_replaced(&self, segment: &Segment) -> bool {
        let parts = 0..u32::try_from(segment.manifest.parts.len()).unwrap_or(u32::MAX);
        let id = segment.reference.id;
        let part = |n| self.plan.to_replace.contains(&self.history.names().part(id, n));
        self.plan.to_replace.contains(segment.name()) || parts.into_iter().any(part)
    }
}
