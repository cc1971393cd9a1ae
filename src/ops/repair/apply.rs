//! Doing what a plan says.
//!
//! ```text
//! claim a term -> publish what is lost -> bridge the holes -> move what leads nowhere -> go on behind the newest -> write anew what is damaged
//! ```
//!
//! After each step the history is as good as before or better, and what is left to do is found again: the expiry of what is lost keeps its
//! numbers, a bridge makes the chain whole that was shown around the hole, and what moves was read by nobody.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::plan::Plan;
use super::{QUARANTINE, RepairOptions};
use crate::capture::commit::{CaptureOptions, capture};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SPARSE;
use crate::format::segment::{CommitKind, CommitRecord, SegmentKind};
use crate::ops::locate::Database;
use crate::ops::prune::{DELETED, pins};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::{Segment, bridge};
use crate::repo::data::SegmentData;
use crate::repo::expired::Expired;
use crate::repo::history::History;
use crate::repo::merge::{Keep, Options, bury, merge};
use crate::repo::publish::{Outline, SegmentWriter};
use crate::repo::term::{Claim, PRUNE};
use crate::repo::writer::Writer;
use crate::sqlite::source::Source;
use crate::store::{Created, Store};
use crate::types::Seq;

/// The largest object that is copied in one piece.
const PIECE: usize = 16 * 1024 * 1024;
/// How many objects of one name the quarantine keeps.
const SAME_NAME: usize = 1000;

impl Plan {
    /// Does it. Answers the commit that the live database became, if it is given.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Busy`] when a process of this machine writes to the history. What was done then counts, and the next
    /// repair does the rest.
    ///
    /// # Durability
    /// When this returns, what was done is durable.
    pub fn apply(
        &self,
        history: &History,
        database: Option<&Path>,
        options: &RepairOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<Seq>> {
        let run = Run { history, plan: self, options, monitor };
        let idle = self.report.is_sound() && self.report.remarks.is_empty();
        if idle && database.is_none() {
            return Ok(None);
        }
        if !idle {
            // Its turn is above every one that a damaged claim may stand for, so none is taken twice.
            let claim = Claim::take(history, PRUNE)?;
            run.record(&claim)?;
            run.bridge(&claim)?;
            for name in &self.away {
                check_cancelled(monitor)?;
                run.put_away(name)?;
            }
        }
        let healed = match database {
            Some(path) => run.heal(path)?,
            None => {
                run.mark()?;
                None
            }
        };
        run.clear()?;
        Ok(healed)
    }
}

struct Run<'a> {
    history: &'a History,
    plan: &'a Plan,
    options: &'a RepairOptions,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    /// Publishes which commits are lost. From then on nobody is offered them, and their numbers are not used again.
    fn record(&self, claim: &Claim) -> Result<()> {
        let at = (claim.term, self.options.clock.now());
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

    /// Moves an object to the quarantine: copies it, and then removes it from its place. One that is there already is from a repair that
    /// was interrupted, or another one that had the name.
    fn put_away(&self, name: &str) -> Result<()> {
        let store = self.history.repository().store();
        let Some(len) = store.head(name)? else { return Ok(()) };
        for n in 0..SAME_NAME {
            let to = match n {
                0 => format!("{QUARANTINE}{name}"),
                n => format!("{QUARANTINE}{name}.{n}"),
            };
            if copy(store, name, &to, len)? || same(store, name, &to, len)? {
                return store.delete(name);
            }
        }
        Err(Error::new(ErrorKind::Failure, "is in the quarantine too often").with_object(name))
    }

    /// Publishes a commit without pages behind a newest segment that is damaged: something has to stand behind it before it can be written anew. It
    /// shows what is lost, so it expires at once.
    fn mark(&self) -> Result<()> {
        let loss = &self.plan.loss;
        let Some(newest) = self.plan.chain.newest() else { return Ok(()) };
        let id = &newest.reference.id;
        if !loss.spoilt.contains(id) && !loss.unreadable.contains(id) {
            return Ok(());
        }
        let mut writer = Writer::open(self.history, "repair")?;
        let Some(head) = writer.head().cloned() else { return Ok(()) };
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
        let shows_lost = writer.needs_base();
        let mut prepared = SegmentWriter::new(self.history)?.prepare(&writer, outline)?;
        prepared.publish(&mut writer)?;
        let head = prepared.head().clone();
        let seq = head.seq;
        writer.remember(Some(head), None, "")?;
        drop(writer);
        if shows_lost {
            let claim = Claim::take(self.history, PRUNE)?;
            let at = (claim.term, self.options.clock.now());
            Expired::publish_lost(self.history, at, &[(seq, seq)])?;
        }
        Ok(())
    }

    /// Captures the live database: whole if pages of the newest commit are lost, else what differs.
    fn heal(&self, path: &Path) -> Result<Option<Seq>> {
        let database = Database::at(path, Some(self.history.name()))?;
        let mut source = Source::open(path)?;
        let mut writer = Writer::open(self.history, "repair")?;
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

    /// Replaces segments whose damage nobody needs any more by what is left of them, and those whose objects go on behind their end. The newest one
    /// stays.
    fn clear(&self) -> Result<()> {
        let loss = &self.plan.loss;
        if loss.spoilt.is_empty() && loss.unreadable.is_empty() && self.plan.too_long.is_empty() {
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
            if at + 1 >= chain.segments().len() {
                break;
            }
            let keep = match loss.spoilt.contains(&segment.reference.id) {
                true => Keep::Points,
                false if self.is_too_long(segment) => Keep::All,
                false => continue,
            };
            let options = Options::new(keep, self.options.threads);
            merge(self.history, &chain, at..at + 1, &claim, &options, self.monitor)?;
            // Behind a gap the original counts while it is there.
            let gap = chain
                .segments()
                .get(at + 1)
                .is_some_and(|s| s.manifest.first != segment.end.next());
            if gap {
                self.put_away(segment.name())?;
            }
        }
        Ok(())
    }

    fn is_too_long(&self, segment: &Segment) -> bool {
        let parts = 0..u32::try_from(segment.manifest.parts.len()).unwrap_or(u32::MAX);
        let id = segment.reference.id;
        let part = |n| self.plan.too_long.contains(&self.history.names().part(id, n));
        self.plan.too_long.contains(segment.name()) || parts.into_iter().any(part)
    }
}

/// Copies an object if there is none of the other name; whether there was none.
fn copy(store: &dyn Store, from: &str, to: &str, len: u64) -> Result<bool> {
    if store.head(to)?.is_some() {
        return Ok(false);
    }
    if len <= u64::try_from(PIECE).unwrap_or(u64::MAX) {
        let bytes = store.get_range(from, 0, PIECE)?.unwrap_or_default();
        return Ok(store.create(to, &bytes)? == Created::New);
    }
    let mut upload = store.upload(to)?;
    let mut at = 0;
    while at < len {
        let bytes = store.get_range(from, at, PIECE)?.filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes else { break };
        at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        upload.write(&bytes)?;
    }
    upload.finish()?;
    Ok(true)
}

/// Whether two objects have the same bytes.
fn same(store: &dyn Store, one: &str, other: &str, len: u64) -> Result<bool> {
    if store.head(other)? != Some(len) {
        return Ok(false);
    }
    let mut at = 0;
    while at < len {
        let (a, b) = (store.get_range(one, at, PIECE)?, store.get_range(other, at, PIECE)?);
        if a != b || a.as_ref().is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        at = at.saturating_add(u64::try_from(PIECE).unwrap_or(u64::MAX));
    }
    Ok(true)
}
