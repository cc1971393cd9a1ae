//! The one judgement of a history: whether it is sound, and what is wrong with it. `verify`,
//! `status`, `prune` and `repair` show it, `backup` and `watch` ask it before they begin; so none
//! of them calls sound what another one calls damaged.
//!
//! It is cheap: manifests, lists and small records. Batches are another level's business.
//!
//! | what is found | is |
//! |---|---|
//! | a segment or an expiry is missing or can't be read | damage |
//! | a segment's object or a part is missing or too short, or a part is another one | damage |
//! | a label, hold, proof, claim, sign or announced expiry can't be read | damage |
//! | a head can't be read, and a writer may still build on what it names | damage |
//! | a head can't be read that nobody needs any more | a remark; a repair puts it away |
//! | one copy of the description can't be read, differs, or the first is missing | damage, though the other one is read |
//! | there is no second copy of the description, as older versions left it | told apart; the next writer adds it |
//! | an object goes on behind its end: nobody reads what is there | a remark; a repair replaces it, but for small records |
//! | a segment can't be read that nothing needs | a remark; a repair puts it away |
//! | a merged segment off the chain is not whole | a remark; damage if the next commit would bring it onto the chain; a repair puts it away |
//! | an object that nobody can have written, among segments or claims | a remark; a repair puts it away |
//! | something that has the name of an object and is no file | damage; nothing moves it |
//! | something that has no name of an object | a remark; nothing moves it |

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};
use crate::format::expiry::Expiry;
use crate::format::hold::HoldRecord;
use crate::format::proof::Proof;
use crate::format::record::Record;
use crate::format::segment::{PART_HEADER_LEN, PartHeader};
use crate::format::snapshot::SnapshotRecord;
use crate::format::writer::WriterClaim;
use crate::machine::CLOCK;
use crate::ops::finding::{FEW, few};
use crate::ops::restore::check_above_hole;
use crate::policy::clock::local;
use crate::progress::{Monitor, check_cancelled};
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::chain::page_map::PageMap;
use crate::repo::chain::{Chain, Commit, Problem, Segment, until_still};
use crate::repo::history::described::Copies;
use crate::repo::history::doubt::{About, doubt};
use crate::repo::history::handle::History;
use crate::repo::strangers;
use crate::repo::write::claims::Claims;
use crate::repo::write::standing;
use crate::store::Entry;
use crate::types::{Seq, Timestamp};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// At manifests and lists.
    Quick,
    /// At the small records, both copies of the description and the fronts of parts, too.
    Close,
}

/// What is wrong with a history.
#[derive(Debug, Default)]
pub struct Soundness {
    /// What is damaged.
    pub damage: Vec<Problem>,
    /// What is not as it was written, and harms nobody.
    pub remarks: Vec<Problem>,
    /// Why the newest commit can't be restored.
    pub newest: Option<Problem>,
    /// How the copies of the description are; what is wrong with them is among the damage, too.
    /// Sound after a quick look.
    pub copies: Copies,
    /// Why the next commit would be built on damage, though the newest one can be restored.
    pub next: Option<Problem>,
    /// Objects that go on behind their end, or parts with another header: all that is read of them
    /// is there, and a repair writes it anew.
    pub(crate) to_replace: HashSet<String>,
    /// What nothing moves: what is not known here, what is no file, and records that go on behind
    /// their end.
    pub(crate) stays: HashSet<String>,
    /// What is damaged and can go, since nothing needs it.
    pub(crate) spare: HashSet<String>,
}

impl Soundness {
    /// The remarks for people: the first few, and how many more there are.
    pub(crate) fn remarked(&self) -> Vec<String> {
        few(self.remarks.iter().map(|p| format!("{}: {}", p.object, p.message)))
    }
}

/// Judges a history by its chain, which was read the tolerant way.
///
/// # Errors
/// Store errors; a stop.
pub(crate) fn judge(
    history: &History,
    chain: &Chain,
    look: Look,
    monitor: &dyn Monitor,
) -> Result<Soundness> {
    let mut found = Soundness::default();
    for hole in chain.holes() {
        found.damage.push(hole.problem.clone());
        found.damage.extend(hole.besides.iter().cloned());
    }
    found.damage.extend(chain.bad_expiries().iter().cloned());
    found
        .remarks
        .extend(chain.junk().iter().map(|name| remark(name, "is nothing that pagekeep wrote")));
    for Problem { object, message, too_new } in chain.unread() {
        let message = format!("{message}; nothing needs it while what it stands for is there");
        found.remarks.push(Problem { object: object.clone(), message, too_new: *too_new });
    }
    let lens = objects(history, chain, &mut found)?;
    merged_off_chain(history, chain, look, &mut found)?;
    if look == Look::Close {
        for segment in chain.stored() {
            check_cancelled(monitor)?;
            let fronts = part_headers(history, segment)?;
            found.to_replace.extend(fronts.iter().map(|p| p.object.clone()));
            found.damage.extend(fronts);
        }
        let claims = Claims::list(history)?;
        let junk = claims.junk.iter().map(|e| remark(&e.name, "is nothing that pagekeep wrote"));
        found.remarks.extend(junk);
        let strangers = strangers::of_history(history)?;
        if let Some((name, told)) = strangers.told() {
            found.remarks.push(remark(name, told));
            found.stays.insert(name.to_owned());
        }
        records(history, monitor, &mut found)?;
        let heads = standing::unread(history, chain)?;
        found.damage.extend(heads.counting);
        for Problem { object, message, too_new } in heads.idle {
            let message = format!("{message}; nobody builds on it");
            found.remarks.push(Problem { object, message, too_new });
        }
        found.copies = history.copies()?;
        found.damage.extend(found.copies.faults.iter().map(Problem::of));
    }
    let store = history.repository().store();
    for Problem { object, .. } in found.damage.iter().chain(&found.remarks) {
        // What is no file can't be moved: what it is for is not known here.
        if store.head(object).is_err_and(|e| e.kind() == ErrorKind::Damaged) {
            found.stays.insert(object.clone());
        }
    }
    found.newest = newest(history, chain, &lens)?;
    found.damage.sort();
    found.damage.dedup();
    found.remarks.sort();
    Ok(found)
}

/// Judges a history as it is now: what a merge replaced meanwhile is not missing. Returns the chain
/// that was judged.
///
/// # Errors
/// [`ErrorKind::Busy`] when segments are replaced all the time; store errors;
/// [`ErrorKind::Damaged`].
pub(crate) fn judge_now(
    history: &History,
    look: Look,
    monitor: &dyn Monitor,
) -> Result<(Chain, Soundness)> {
    until_still(
        history,
        || history.readable_chain(),
        |chain| {
            let found = judge(history, chain, look, monitor)?;
            let is_clean = found.damage.is_empty() && found.newest.is_none();
            Ok((found, is_clean))
        },
    )
}

/// What a backup or a follower asks before it begins: whether what it stores can be restored. It
/// answers the newest commit and its time.
///
/// # Errors
/// [`ErrorKind::Damaged`] when the newest commit can't be; store errors.
pub(crate) fn before_writing(
    history: &History,
    database: Option<&str>,
    monitor: &dyn Monitor,
) -> Result<Option<(Seq, Timestamp)>> {
    let (chain, found) = judge_now(history, Look::Quick, monitor)?;
    let database = database.unwrap_or("DB");
    described(history, monitor)?;
    let next = || Remedy::Repair {
        history: Some(history.name().to_owned()),
        database: Some(database.to_owned()),
    };
    if let Some(problem) = &found.newest {
        let error = problem.error(history);
        if problem.too_new {
            return Err(error);
        }
        let what = format!("the newest commit can't be restored: {}", problem.message);
        return Err(Error::damaged(&*problem.object, what).with_hint(advice![
            "nothing was stored; ",
            next(),
            " makes the history whole"
        ]));
    }
    if let Some(problem) = &found.next {
        return Err(Error::damaged(&*problem.object, &*problem.message).with_hint(advice![
            "nothing was stored; ",
            Remedy::repair(history.name()),
            " puts it away"
        ]));
    }
    for text in found.remarked() {
        monitor.warn(&text);
    }
    if let Some(doubt) = doubt(history)? {
        let (failure, level) = (&doubt.failure, doubt.level.name());
        let again = Remedy::verify(history.name(), level);
        monitor.advise(&match doubt.about {
            About::Database | About::Data => advice![
                format!(
                    "its last verification found the database itself unsound: {failure}; it is stored as it is, and an older \
                     commit may be sound; once it is mended, "
                ),
                again,
                " looks again",
            ],
            About::Backup => advice![
                format!(
                    "its last verification failed: {failure}; what is stored now may be built on damage; "
                ),
                again,
                " looks again, ",
                next(),
                " makes the history whole",
            ],
        });
    }
    for problem in found.damage.iter().take(FEW) {
        monitor.advise(&advice![
            format!("{}: {}; older commits can't be restored, ", problem.object, problem.message),
            next(),
            " makes the history whole",
        ]);
    }
    Ok(chain.latest().map(|commit| (commit.seq, commit.record.time)))
}

/// That what is captured at a time is dated earlier than the newest commit: a time will not mean
/// there what it says.
pub(crate) fn dated_back(time: Timestamp, newest: Option<(Seq, Timestamp)>) -> Option<String> {
    let (seq, before) = newest.filter(|(_, before)| time < *before)?;
    Some(format!(
        "{CLOCK} shows {}, which is before seq:{seq} of {}, the newest commit: one of the two clocks is wrong, and \
         a time may not choose the commit that you expect; see to the clock",
        local(time),
        local(before)
    ))
}

/// Puts back a copy of the description that is missing, and tells of one that is damaged. That
/// there never was a second one is no news: the writer adds it.
fn described(history: &History, monitor: &dyn Monitor) -> Result<()> {
    let missing = history.first_copy_is_missing()?;
    let copies = history.copies()?;
    let [first, _] = history.names().abouts();
    if missing && copies.faults.iter().all(|e| e.object() == Some(&first)) {
        history.keep_twice()?;
        monitor.warn(&format!("{first}: was missing, and was put back from the other copy of it"));
        return Ok(());
    }
    for e in &copies.faults {
        let Problem { object, message, too_new } = Problem::of(e);
        let next = match (too_new, e.hint()) {
            (true, _) => Advice::from("a newer pagekeep can read it"),
            (false, Some(hint)) => hint.clone(),
            (false, None) => advice![Remedy::repair(history.name()), " puts it back"],
        };
        monitor.advise(&advice![
            format!("{object}: {message}; the other copy of it is read, "),
            &next,
        ]);
    }
    Ok(())
}

fn remark(object: &str, message: impl Into<String>) -> Problem {
    Problem { object: object.to_owned(), message: message.into(), too_new: false }
}

/// Every object of the chain is there and has its length. Answers the lengths of those that are
/// there.
fn objects(
    history: &History,
    chain: &Chain,
    found: &mut Soundness,
) -> Result<HashMap<String, u64>> {
    let (store, names) = (history.repository().store(), history.names());
    let mut lens = HashMap::new();
    let mut prefixes = vec![names.log(), names.merged()];
    if chain.stored().any(|s| !s.manifest.parts.is_empty()) {
        prefixes.push(names.data());
    }
    for prefix in prefixes {
        lens.extend(store.list(&prefix)?.into_iter().map(|e| (e.name, e.len)));
    }
    for segment in chain.stored() {
        let id = segment.reference.id;
        let parts = (0..).zip(&segment.manifest.parts).map(|(n, len)| (names.part(id, n), *len));
        let object = (segment.name().to_owned(), segment.object_len());
        for (name, expected) in std::iter::once(object).chain(parts) {
            match lens.get(&name).copied() {
                Some(len) if len == expected => {}
                Some(len) if len > expected => {
                    let more = len - expected;
                    found.remarks.push(remark(&name, behind_its_end(more)));
                    found.to_replace.insert(name);
                }
                Some(len) => {
                    let message = format!("has {len} bytes instead of {expected}");
                    found.damage.push(remark(&name, message));
                }
                None => found.damage.push(remark(&name, "is missing")),
            }
        }
    }
    Ok(lens)
}

fn part_headers(history: &History, segment: &Segment) -> Result<Vec<Problem>> {
    let (store, names) = (history.repository().store(), history.names());
    let len = usize::try_from(PART_HEADER_LEN).unwrap_or(0);
    let mut found = Vec::new();
    for (number, _) in (0..).zip(&segment.manifest.parts) {
        let name = names.part(segment.reference.id, number);
        let bytes = match store.get_range(&name, 0, len) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            Err(e) if e.kind() == ErrorKind::Damaged => {
                found.push(Problem::of(&e));
                continue;
            }
            Err(e) => return Err(e),
        };
        match PartHeader::decode(&bytes) {
            Ok(header) if header.segment == segment.reference.id && header.part == number => {}
            Ok(_) => found.push(remark(&name, "is another part under this one's name")),
            Err(e) => found.push(Problem::of(&e.of(&name))),
        }
    }
    Ok(found)
}

/// Merged segments off the chain that are not whole. What they stand for is there, so they harm
/// nobody; but one that ends where the chain does would be what the next commit is built on.
fn merged_off_chain(
    history: &History,
    chain: &Chain,
    look: Look,
    found: &mut Soundness,
) -> Result<()> {
    let (names, newest) = (history.names(), chain.newest());
    for entry in chain.off_chain() {
        let Some((first, last, id)) = names.parse_merged(&entry.name) else { continue };
        let is_known = chain.unread().iter().any(|problem| problem.object == entry.name);
        let ends_last = newest.is_some_and(|newest| newest.end == last);
        if is_known || (look == Look::Quick && !ends_last) {
            continue;
        }
        let segment = match Segment::read_merged(history, (first, last, id)) {
            Ok(Some(segment)) => segment,
            Ok(None) => continue,
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                let Problem { message, too_new, .. } = Problem::of(&e);
                let message = format!("{message}; nothing needs it");
                found.remarks.push(Problem { object: entry.name.clone(), message, too_new });
                continue;
            }
            Err(e) => return Err(e),
        };
        let Some(message) = too_short(history, &segment, entry.len)? else { continue };
        let comes_next = newest
            .is_some_and(|newest| newest.end == last && newest.as_parent() == segment.as_parent());
        if comes_next {
            let problem = remark(&entry.name, format!("{message}; the next commit would need it"));
            found.spare.insert(entry.name.clone());
            found.next = Some(problem.clone());
            found.damage.push(problem);
        } else {
            let message = format!("{message}; nothing needs it while what it stands for is there");
            found.remarks.push(remark(&entry.name, message));
        }
    }
    Ok(())
}

/// What a segment lacks by its own words; nothing if it is gone by now.
fn too_short(history: &History, segment: &Segment, len: u64) -> Result<Option<String>> {
    let (store, names) = (history.repository().store(), history.names());
    if len < segment.object_len() {
        return Ok(Some(format!("has {len} bytes instead of {}", segment.object_len())));
    }
    for (number, expected) in (0..).zip(&segment.manifest.parts) {
        let part = names.part(segment.reference.id, number);
        let found = match store.head(&part) {
            Ok(Some(len)) if len >= *expected => continue,
            Ok(Some(len)) => format!("its part {part} has {len} bytes instead of {expected}"),
            Ok(None) => format!("its part {part} is missing"),
            Err(e) if e.kind() == ErrorKind::Damaged => format!("its part {part} {}", e.message()),
            Err(e) => return Err(e),
        };
        // A segment that is deleted goes before its parts.
        return Ok(store.head(segment.name())?.map(|_| found));
    }
    Ok(None)
}

/// The small records that can't be read, and those that go on behind their end. Expiries that can't
/// be read are the chain's.
fn records(history: &History, monitor: &dyn Monitor, found: &mut Soundness) -> Result<()> {
    let names = history.names();
    of_kind::<SnapshotRecord>(history, &names.snapshots(), monitor, found)?;
    of_kind::<HoldRecord>(history, &names.holds(), monitor, found)?;
    of_kind::<Proof>(history, &names.proofs(), monitor, found)?;
    of_kind::<WriterClaim>(history, &names.signs(), monitor, found)?;
    of_kind::<Expiry>(history, &names.announcements(), monitor, found)?;
    for (_, entry) in Claims::list(history)?.listed {
        one::<WriterClaim>(history, &entry, found)?;
    }
    Ok(())
}

fn of_kind<R: Record>(
    history: &History,
    prefix: &str,
    monitor: &dyn Monitor,
    found: &mut Soundness,
) -> Result<()> {
    for entry in history.repository().store().list(prefix)? {
        check_cancelled(monitor)?;
        // Names of any other form are not objects.
        if history.names().is_object(&entry.name) {
            one::<R>(history, &entry, found)?;
        }
    }
    Ok(())
}

fn one<R: Record>(history: &History, entry: &Entry, found: &mut Soundness) -> Result<()> {
    let name = &entry.name;
    match history.repository().read_record::<R>(name) {
        Ok(None) => Ok(()),
        Ok(Some((prefix, _))) => {
            let more = entry.len.saturating_sub(prefix.object_len());
            if more > 0 {
                found.remarks.push(remark(name, behind_its_end(more)));
                found.stays.insert(name.clone());
            }
            Ok(())
        }
        Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
            found.damage.push(Problem::of(&e));
            Ok(())
        }
        Err(e) => Err(e),
    }
}

fn behind_its_end(more: u64) -> String {
    format!("has {more} bytes behind its end, which nobody reads")
}

/// Why the newest commit can't be restored, as far as lists and indexes tell.
fn newest(
    history: &History,
    chain: &Chain,
    lens: &HashMap<String, u64>,
) -> Result<Option<Problem>> {
    if let Some(hole) = chain.holes().last().filter(|hole| hole.above.is_none()) {
        return Ok(Some(hole.problem.clone()));
    }
    let Some(commit) = chain.latest() else { return Ok(None) };
    let found = check_above_hole(history, chain, &commit)
        .and_then(|()| check_places(history, chain, &commit, lens));
    match found {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == ErrorKind::Damaged => Ok(Some(Problem::of(&e))),
        Err(e) => Err(e),
    }
}

/// Every batch that a commit needs lies in an object that is there and long enough. The indexes are
/// read only if one is not.
fn check_places(
    history: &History,
    chain: &Chain,
    commit: &Commit,
    lens: &HashMap<String, u64>,
) -> Result<()> {
    let names = history.names();
    let lineage = chain.lineage(commit.seq);
    let whole = |segment: &Segment| {
        let parts = (0..).zip(&segment.manifest.parts);
        let at_least = |name: &str, len: u64| lens.get(name).is_some_and(|there| *there >= len);
        at_least(segment.name(), segment.object_len())
            && parts
                .into_iter()
                .all(|(n, len)| at_least(&names.part(segment.reference.id, n), *len))
    };
    // What stands in place of lost segments has no pages: the commit must have all of its own.
    let below =
        lineage.first().is_some_and(|s| s.manifest.versions == 0) && commit.record.pages > 0;
    if !below && lineage.iter().filter(|s| !s.is_bridge()).all(|s| whole(s)) {
        return Ok(());
    }
    let mut map = PageMap::new(commit, lineage)?;
    while let Some(wanted) = map.next_window()? {
        for wanted in wanted {
            let name = wanted.segment.object_of(wanted.batch.at);
            let end = wanted.segment.end_of(wanted.batch.at);
            match lens.get(&name) {
                Some(len) if *len >= end => {}
                Some(len) => {
                    return Err(Error::damaged(name, format!("has only {len} bytes")));
                }
                None => return Err(Error::damaged(name, "is missing")),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
