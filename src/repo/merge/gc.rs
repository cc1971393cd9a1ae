//! Deleting what nobody needs: segments that a merge replaced, late writes of superseded writers,
//! parts that no segment names, old claims and signs, proofs of commits that are gone or were
//! proven often since, writes that never finished.
//!
//! Invariants:
//! - Whoever deletes holds a term that was claimed before the chain was read, and an object of the
//!   log goes only if its own term is lower: no retry of its writer can bring it back.
//! - The chains of the heads that other writers may build on stay, too
//!   ([`crate::repo::write::standing`]); all segments, if one of those heads can't be read.
//! - The newest segment of the log stays, whatever becomes of it: late writes are measured against
//!   it.
//! - A segment goes before its parts, and the newest first: whoever reads meanwhile finds a chain
//!   at every step, and lists again when an object is gone.
//! - What a merge replaced is deleted only while the merged segment and all its parts have their
//!   lengths.
//! - What can't be read is not deleted, and while there is any, neither are parts that no segment
//!   seems to name.
//! - A grace period keeps what readers may be at. It is a courtesy, by the storage's clock; no
//!   reader relies on it.
//! - Nothing is deleted on the strength of a chain that was listed longer ago than that period, or
//!   ten minutes: what came late since may need it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::proof::Proof;
use crate::repo::chain::{Chain, Segment};
use crate::repo::history::expired;
use crate::repo::history::handle::History;
use crate::repo::write::standing::Standing;
use crate::repo::write::term::Claim;
use crate::store::Entry;
use crate::types::{SegmentId, Seq, Term, Timestamp};

/// How long what no segment names is kept: it may be of a segment that is being written.
pub(crate) const ORPHANS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long what can go may be deleted after it was found, or for the grace period if that is
/// longer.
const FRESH: Duration = Duration::from_secs(600);

/// How many proofs of one commit are kept without a look at them; of more the newest quarter of
/// each level stays.
const OFTEN: usize = 16;

/// What can go, in the order in which it goes.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    objects: Vec<(String, u64)>,
    /// Bytes that can go once their grace period is over.
    pub(crate) waiting: u64,
    /// Until when what was found says something, by the repository's clock.
    until: Timestamp,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl Garbage {
    fn add(&mut self, name: impl Into<String>, len: u64) {
        self.objects.push((name.into(), len));
    }

    /// Deletes it, unless too much time went by since it was found.
    ///
    /// # Errors
    /// Store errors; what was not deleted then is found again.
    pub(crate) fn delete(self, history: &History) -> Result<Collected> {
        let mut collected = Collected::default();
        if self.objects.is_empty() {
            return Ok(collected);
        }
        // What takes the place of what goes: whoever published it may have died before it was
        // durable.
        for prefix in [history.names().log(), history.names().merged()] {
            history.repository().store().sync(&prefix)?;
        }
        for (name, len) in self.objects {
            // Whoever slept since knows nothing of what others built on it, or deleted since.
            if history.repository().now() > self.until {
                break;
            }
            history.repository().store().delete(&name)?;
            collected.objects += 1;
            collected.bytes += len;
        }
        Ok(collected)
    }
}

/// A segment that is not on the chain, and what its name tells.
struct Stray<'e> {
    entry: &'e Entry,
    first: Seq,
    /// The last seq; of a segment of the log the first, since its name does not tell.
    last: Seq,
    /// The term, for a segment of the log.
    at: Option<LogName>,
    id: Option<SegmentId>,
}

/// What is there.
struct Scene<'a> {
    history: &'a History,
    chain: &'a Chain,
    /// The lengths of parts.
    lens: HashMap<&'a str, u64>,
    /// The commits that each merged segment off the chain stands for, from the first to the last.
    merges: Vec<(Seq, Seq)>,
    /// What other writers may build on.
    standing: Standing,
}

/// Finds what can go. The chain was read after the claim.
///
/// # Errors
/// Store errors.
pub(crate) fn find(
    history: &History,
    chain: &Chain,
    claim: Claim,
    grace: Duration,
) -> Result<Garbage> {
    let now = history.repository().now();
    let until = chain.listed().after(grace.max(FRESH));
    let mut garbage = Garbage { until, ..Garbage::default() };
    let data = history.repository().store().list(&history.names().data())?;
    let mut strays = strays(history, chain);
    let scene = Scene {
        history,
        chain,
        lens: data.iter().map(|e| (&*e.name, e.len)).collect(),
        merges: strays.iter().filter(|s| s.at.is_none()).map(|s| (s.first, s.last)).collect(),
        // Heads are listed after the chain was read.
        standing: Standing::of(history, chain)?,
    };
    // The newest first.
    strays.sort_by_key(|s| std::cmp::Reverse((s.last, s.at.is_some(), s.first)));
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    for stray in strays {
        let needed = scene.standing.needs(&stray.entry.name);
        if needed || stray.at.is_some_and(|at| at.term >= claim.term) {
            staying.push(stray);
        } else if is_due(&scene, &stray, now, grace) {
            going.push(stray);
        } else {
            garbage.waiting = garbage.waiting.saturating_add(stray.entry.len);
            staying.push(stray);
        }
    }
    for stray in &going {
        garbage.add(&*stray.entry.name, stray.entry.len);
    }
    drop(scene);
    parts(history, chain, data, (&going, &staying), now, &mut garbage)?;
    claims(history, chain, claim, &mut garbage)?;
    announcements(history, chain, now, &mut garbage)?;
    proofs(history, chain, &mut garbage)?;
    Ok(garbage)
}

fn strays<'c>(history: &History, chain: &'c Chain) -> Vec<Stray<'c>> {
    let names = history.names();
    let readable = |entry: &&Entry| !chain.unreadable().contains(&entry.name);
    let stray = |entry: &'c Entry| {
        if let Some(at) = names.parse_segment(&entry.name) {
            return Some(Stray { entry, first: at.first, last: at.first, at: Some(at), id: None });
        }
        let (first, last, id) = names.parse_merged(&entry.name)?;
        Some(Stray { entry, first, last, at: None, id: Some(id) })
    };
    chain.off_chain().iter().filter(readable).filter_map(stray).collect()
}

/// Whether a segment off the chain has been superfluous for long enough.
fn is_due(scene: &Scene<'_>, stray: &Stray<'_>, now: Timestamp, grace: Duration) -> bool {
    let chain = scene.chain;
    let covers =
        |s: &Segment| s.is_merged() && s.manifest.first <= stray.first && stray.last <= s.end;
    let cover = chain.segments().iter().find(|s| covers(s));
    // A merge that slept for longer than parts wait for their segment may have lost them.
    if cover.is_some_and(|s| !is_whole(scene, s)) {
        return false;
    }
    if cover.is_some_and(|s| is_undermined(scene, s)) {
        return false;
    }
    match cover.and_then(|s| chain.listed_as(s.name())).map(|e| e.modified) {
        Some(since) => since <= now.before(grace) && stray.entry.modified <= now.before(grace),
        // A late write of a superseded writer: the chain can't come to it any more.
        None if stray.at.is_some() => stray.entry.modified <= now.before(grace),
        // A merge that nobody will ever follow.
        None => stray.entry.modified <= now.before(ORPHANS.max(grace)),
    }
}

/// Whether somebody else may be deleting what a merged segment is built on. Two may merge at once,
/// and their ranges may overlap: who read the chain before the later one was published found the
/// earlier one on it, and deletes what that covers. Then the chain leads through the earlier one
/// again, and on from it through what the later one covers.
fn is_undermined(scene: &Scene<'_>, cover: &Segment) -> bool {
    let first = cover.manifest.first;
    scene.merges.iter().any(|(from, last)| *from < first && first <= *last && *last < cover.end)
}

/// Whether a segment and all of its parts are there, as far as their lengths tell.
fn is_whole(scene: &Scene<'_>, segment: &Segment) -> bool {
    let object = scene.chain.listed_as(segment.name());
    if object.is_none_or(|entry| entry.len < segment.object_len()) {
        return false;
    }
    let names = scene.history.names();
    let there = |(part, len): (u32, &u64)| {
        scene.lens.get(&*names.part(segment.reference.id, part)).is_some_and(|found| found >= len)
    };
    (0..).zip(&segment.manifest.parts).all(there)
}

/// Parts of segments that go, and parts that no segment names.
fn parts(
    history: &History,
    chain: &Chain,
    data: Vec<Entry>,
    (going, staying): (&[Stray<'_>], &[Stray<'_>]),
    now: Timestamp,
    garbage: &mut Garbage,
) -> Result<()> {
    let names = history.names();
    let on_chain: HashSet<SegmentId> = chain.segments().iter().map(|s| s.reference.id).collect();
    let unnamed: Vec<(Entry, SegmentId)> = data
        .into_iter()
        .filter_map(|entry| names.parse_part(&entry.name).map(|(id, _)| (entry, id)))
        .filter(|(_, id)| !on_chain.contains(id))
        .collect();
    if unnamed.is_empty() {
        return Ok(());
    }
    let mut understood = chain.unreadable().is_empty();
    let mut ids = |strays: &[Stray<'_>]| -> Result<HashSet<SegmentId>> {
        let mut ids = HashSet::new();
        for stray in strays {
            let id = match (stray.id, stray.at) {
                (Some(id), _) => Some(id),
                (None, Some(at)) => id_of(history, at)?,
                (None, None) => None,
            };
            understood &= id.is_some();
            ids.extend(id);
        }
        Ok(ids)
    };
    let (going, staying) = (ids(going)?, ids(staying)?);
    // A segment under way is as old as its last part.
    let mut touched: HashMap<SegmentId, Timestamp> = HashMap::new();
    for (entry, id) in &unnamed {
        let last = touched.entry(*id).or_insert(entry.modified);
        *last = (*last).max(entry.modified);
    }
    for (entry, id) in unnamed {
        let last = touched.get(&id).copied().unwrap_or(entry.modified);
        let orphan = understood && last <= now.before(ORPHANS);
        if going.contains(&id) || (orphan && !staying.contains(&id)) {
            garbage.add(entry.name, entry.len);
        } else {
            garbage.waiting = garbage.waiting.saturating_add(entry.len);
        }
    }
    Ok(())
}

/// The identity of a segment of the log; `None` if it can't be read, or is gone.
fn id_of(history: &History, at: LogName) -> Result<Option<SegmentId>> {
    match Segment::read_log(history, at) {
        Ok(segment) => Ok(segment.map(|s| s.reference.id)),
        Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Claims below the newest segment's term, in ascending order: who holds one of them finds its own
/// gone first. And the signs of their followers.
fn claims(history: &History, chain: &Chain, claim: Claim, garbage: &mut Garbage) -> Result<()> {
    let names = history.names();
    let newest = chain.segments().iter().rev().find(|s| !s.is_merged());
    let keep = newest.map_or(Term(0), |s| s.manifest.term).min(claim.term);
    for entry in history.repository().store().list(&names.writers())? {
        if names.parse_writer(&entry.name).is_some_and(|term| term < keep) {
            garbage.add(entry.name, entry.len);
        }
    }
    for entry in history.repository().store().list(&names.signs())? {
        if names.parse_sign(&entry.name).is_some_and(|(term, _)| term < keep) {
            garbage.add(entry.name, entry.len);
        }
    }
    for entry in history.repository().store().list(&names.heads())? {
        if names.parse_head(&entry.name).is_some_and(|term| term < keep) {
            garbage.add(entry.name, entry.len);
        }
    }
    Ok(())
}

/// Announced expiries that were decided about, or whose prune died; and decisions that only
/// forestalled others.
fn announcements(
    history: &History,
    chain: &Chain,
    now: Timestamp,
    garbage: &mut Garbage,
) -> Result<()> {
    let (store, names) = (history.repository().store(), history.names());
    let listed = store.list(&names.announcements())?;
    if !listed.is_empty() {
        // A prune that is at work decides within moments; one that wakes up later starts over.
        let dead: HashSet<String> = listed
            .iter()
            .filter(|entry| entry.modified <= now.before(FRESH))
            .filter_map(|entry| names.parse_announcement(&entry.name))
            .map(|(_, decision)| decision)
            .collect();
        expired::withdraw(history, |decision, _| dead.contains(decision))?;
        let decided: HashSet<String> =
            store.list(&names.expiries())?.into_iter().map(|entry| entry.name).collect();
        for entry in listed {
            let decision = names.parse_announcement(&entry.name).map(|(_, decision)| decision);
            if decision.is_some_and(|decision| decided.contains(&decision)) {
                garbage.add(entry.name, entry.len);
            }
        }
    }
    for (name, made) in chain.expired().withdrawn() {
        if *made <= now.before(ORPHANS) {
            garbage.add(&**name, 0);
        }
    }
    Ok(())
}

/// Proofs of commits that no segment has any more, but for the newest ones, and old ones of commits
/// that were proven often.
fn proofs(history: &History, chain: &Chain, garbage: &mut Garbage) -> Result<()> {
    let names = history.names();
    let listed = history.repository().store().list(&names.proofs())?;
    if listed.is_empty() {
        return Ok(());
    }
    let there: HashSet<Seq> = chain.states().map(|c| c.seq).collect();
    let newest = there.iter().max().copied().unwrap_or_default();
    let mut proofs: BTreeMap<Seq, Vec<Entry>> = BTreeMap::new();
    let mut dead = Vec::new();
    for entry in listed {
        let Some(seq) = names.parse_proof(&entry.name) else { continue };
        if seq <= newest && !there.contains(&seq) {
            dead.push(entry);
        } else {
            proofs.entry(seq).or_default().push(entry);
        }
    }
    superseded(history, dead, garbage)?;
    // Names do not tell levels, so each is read; but never many of one commit twice.
    for entries in proofs.into_values().filter(|entries| entries.len() > OFTEN) {
        outdated(history, entries, garbage)?;
    }
    Ok(())
}

/// All proofs of gone commits but the newest of each level and outcome: when something was last
/// proven stays known, though the commit went.
fn superseded(history: &History, dead: Vec<Entry>, garbage: &mut Garbage) -> Result<()> {
    let mut newest: BTreeMap<(u8, bool), (Timestamp, Entry)> = BTreeMap::new();
    for entry in dead {
        let proof = match history.repository().read_record::<Proof>(&entry.name) {
            Ok(Some((_, proof))) => proof,
            Ok(None) => continue,
            Err(e) if e.kind() == ErrorKind::TooNew => continue,
            // Of a gone commit nobody needs it.
            Err(e) if e.kind() == ErrorKind::Damaged => {
                garbage.add(entry.name, entry.len);
                continue;
            }
            Err(e) => return Err(e),
        };
        let kind = (proof.level as u8, proof.failure.is_none());
        let older = match newest.get(&kind) {
            Some((started, _)) if *started > proof.started => Some(entry),
            _ => newest.insert(kind, (proof.started, entry)).map(|(_, older)| older),
        };
        if let Some(older) = older {
            garbage.add(older.name, older.len);
        }
    }
    Ok(())
}

/// All but the newest few proofs of each level.
fn outdated(history: &History, entries: Vec<Entry>, garbage: &mut Garbage) -> Result<()> {
    let mut levels: BTreeMap<u8, Vec<(Timestamp, Entry)>> = BTreeMap::new();
    for entry in entries {
        match history.repository().read_record::<Proof>(&entry.name) {
            Ok(Some((_, proof))) => {
                levels.entry(proof.level as u8).or_default().push((proof.started, entry));
            }
            Ok(None) => {}
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {}
            Err(e) => return Err(e),
        }
    }
    for mut proofs in levels.into_values() {
        proofs.sort();
        for (_, entry) in proofs.into_iter().rev().skip(OFTEN / 4) {
            garbage.add(entry.name, entry.len);
        }
    }
    Ok(())
}
