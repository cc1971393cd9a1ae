//! Whether somebody else follows a history: a courtesy to people, who are asked before a second
//! follower supersedes the first. Nothing that is safe depends on it ([`super::term`] does that).
//!
//! A follower shows that it is there by claiming its term, by publishing in it, and while nothing
//! happens by leaving a *sign* now and then; the last sign of one that was stopped says so. A sign
//! is a claim once more, under another name.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::term::PRUNE;
use super::writer::Writer;
use crate::error::{ErrorKind, Result};
use crate::format::writer::WriterClaim;
use crate::machine::host;
use crate::repo::history::handle::History;
use crate::repo::local::state;
use crate::repo::write::claims::Claims;
use crate::types::{HistoryId, Term, Timestamp, WriterToken};

/// How recently somebody must have shown to count as there.
const ALIVE: Duration = Duration::from_secs(15 * 60);
/// How often a follower shows while it has nothing to publish.
const EVERY: Duration = Duration::from_secs(7 * 60);
/// The role of a follower.
pub(crate) const WATCH: &str = "watch";
/// The role in a follower's last sign.
pub(crate) const GONE: &str = "gone";

/// A follower of another machine, account or container that seems to be there, by the storage's
/// clock and ours.
///
/// # Errors
/// Store errors; [`ErrorKind::Damaged`] when the claim can't be opened.
pub(crate) fn rival(history: &History, now: Timestamp) -> Result<Option<WriterClaim>> {
    let (store, names) = (history.repository().store(), history.names());
    let state = state::peek(history)?;
    let mine = |object| {
        let object = WriterToken(object);
        state.as_ref().is_some_and(|s| s.token == object || s.claiming.contains(&object))
    };
    // The newest that is not a prune's.
    for (term, entry) in Claims::list(history)?.listed.into_iter().rev() {
        let Some((prefix, claim)) = history.repository().read_record::<WriterClaim>(&entry.name)?
        else {
            continue;
        };
        if claim.role == PRUNE {
            continue;
        }
        if mine(prefix.object) {
            return Ok(None);
        }
        // A follower may go on in a term that a backup claimed, or that it claimed itself before it
        // was started again. Then a sign says who it is now.
        let (shown_by, sign) = match last_sign(history, term)? {
            Some((Some(sign), at)) => (sign, at),
            Some((None, at)) => (claim, at),
            None => return Ok(None),
        };
        if shown_by.role != WATCH || is_dead(&shown_by, history.id()) {
            return Ok(None);
        }
        let published = store
            .list(&names.log())?
            .into_iter()
            .filter(|e| names.parse_segment(&e.name).is_some_and(|at| at.term == term));
        let shown = published.map(|e| e.modified).max().unwrap_or_default();
        return Ok((shown.max(sign).max(entry.modified) > now.before(ALIVE)).then_some(shown_by));
    }
    Ok(None)
}

/// The newest sign in a term, if it can be read, and when it was left, or long ago; `None` if it
/// says that its follower is gone.
fn last_sign(history: &History, term: Term) -> Result<Option<(Option<WriterClaim>, Timestamp)>> {
    let names = history.names();
    let listed = history.repository().store().list(&names.signs())?;
    let of_term = |name: &str| names.parse_sign(name).is_some_and(|(of, _)| of == term);
    let Some(entry) = listed.iter().rfind(|e| of_term(&e.name)) else {
        return Ok(Some((None, Timestamp::default())));
    };
    let sign = match history.repository().read_record::<WriterClaim>(&entry.name) {
        Ok(sign) => sign.map(|(_, sign)| sign),
        // Somebody left it; a repair puts it away.
        Err(e) if e.kind() == ErrorKind::Damaged => None,
        Err(e) => return Err(e),
    };
    let is_gone = sign.as_ref().is_some_and(|sign| sign.role == GONE);
    Ok((!is_gone).then_some((sign, entry.modified)))
}

/// The histories that this process follows, once for each follower.
static FOLLOWED: Mutex<Vec<HistoryId>> = Mutex::new(Vec::new());

/// The signs of a follower at work.
#[derive(Debug)]
pub(crate) struct Signs {
    shown: Timestamp,
    history: HistoryId,
}

impl Signs {
    /// A follower begins. In a term that was claimed before, by a backup or another run, the claim
    /// does not tell of it.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn begin(writer: &mut Writer, now: Timestamp) -> Result<Self> {
        let history = writer.history().id();
        FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner).push(history);
        let signs = Self { shown: now, history };
        if writer.goes_on() {
            sign(writer, false, now)?;
        }
        Ok(signs)
    }

    /// Something was published, which shows as well.
    pub(crate) fn published(&mut self, now: Timestamp) {
        self.shown = now;
    }

    /// Leaves a sign if it is time.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn tend(&mut self, writer: &mut Writer, now: Timestamp) -> Result<()> {
        if self.shown > now.before(EVERY) && self.shown <= now {
            return Ok(());
        }
        // Also if it fails: once more after a while.
        self.shown = now;
        sign(writer, false, now)
    }

    /// Leaves the last sign.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn end(writer: &mut Writer, now: Timestamp) -> Result<()> {
        sign(writer, true, now)
    }
}

/// As if another follower of this process were at work, which leaves no signs.
#[cfg(test)]
pub(crate) fn followed(history: HistoryId) -> Signs {
    FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner).push(history);
    Signs { shown: Timestamp(0), history }
}

impl Drop for Signs {
    fn drop(&mut self) {
        let mut followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = followed.iter().position(|history| *history == self.history) {
            followed.swap_remove(at);
        }
    }
}

/// Leaves a sign, and takes the one before away.
fn sign(writer: &mut Writer, gone: bool, now: Timestamp) -> Result<()> {
    let (term, token, before) = (writer.term(), writer.token(), writer.state.sign);
    let number = before.filter(|sign| sign.term == term).map_or(0, |sign| sign.number + 1);
    // First, so that no number is used twice.
    writer.state.sign = Some(state::Sign { term, number, gone });
    writer.dir.write(&writer.state)?;
    let claim = WriterClaim {
        term,
        since: now,
        process: std::process::id(),
        host: host(),
        role: if gone { GONE } else { writer.role() }.to_owned(),
    };
    let (repository, names) = (writer.history().repository(), writer.history().names());
    repository.create_record(&names.sign(term, number), token.0, &claim)?;
    match before {
        Some(before) => repository.store().delete(&names.sign(before.term, before.number)),
        None => Ok(()),
    }
}

/// Whether it was a process of this machine, which is gone: there is none of that number, or one
/// that began later. A claim in this process's own name is that of another process, which had the
/// number before, unless this process follows the history: the first process of a container always
/// has the number 1, and the one before it may have lived for a second only.
fn is_dead(claim: &WriterClaim, history: HistoryId) -> bool {
    if claim.host != host() {
        return false;
    }
    if claim.process == std::process::id() {
        let followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
        return !followed.contains(&history);
    }
    let processes = std::path::Path::new("/proc");
    if !processes.join("self").exists() {
        return false;
    }
    let process = processes.join(claim.process.to_string());
    !process.exists() || began(&process).is_some_and(|began| began > claim.since)
}

/// When a process began, or up to three seconds before: the kernel's times are rounded. Numbers of
/// processes are used again, in a container that starts anew even at once.
fn began(process: &std::path::Path) -> Option<Timestamp> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    let seconds =
        boot.trim().parse::<u64>().ok()? + ticks / rustix::param::clock_ticks_per_second();
    let seconds = i64::try_from(seconds.saturating_sub(2)).ok()?;
    Some(Timestamp(seconds.saturating_mul(1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(process: u32, since: Timestamp) -> WriterClaim {
        let role = WATCH.to_owned();
        WriterClaim { term: Term(1), since, process, host: host(), role }
    }

    #[test]
    fn a_process_that_began_after_a_claim_did_not_make_it() {
        let now = Timestamp::now();
        let long_ago = now.before(Duration::from_secs(365 * 24 * 3600 * 20));
        let parent = std::os::unix::process::parent_id();
        let history = HistoryId([9; 16]);
        assert!(!is_dead(&claim(parent, now), history));
        assert!(is_dead(&claim(parent, long_ago), history));
        assert!(is_dead(&claim(u32::MAX, now), history));
        let elsewhere = WriterClaim { host: "elsewhere".to_owned(), ..claim(u32::MAX, now) };
        assert!(!is_dead(&elsewhere, history));
    }

    /// The first process of a container that was started again has the number of the one before.
    #[test]
    fn a_claim_in_the_name_of_this_process_counts_only_while_it_follows() {
        let (now, me) = (Timestamp::now(), std::process::id());
        let [history, other] = [HistoryId([7; 16]), HistoryId([8; 16])];
        assert!(is_dead(&claim(me, now), history));
        let (first, second) = (followed(history), followed(history));
        assert!(!is_dead(&claim(me, now), history));
        assert!(is_dead(&claim(me, now), other));
        drop(first);
        assert!(!is_dead(&claim(me, now), history));
        drop(second);
        assert!(is_dead(&claim(me, now), history));
    }
}
