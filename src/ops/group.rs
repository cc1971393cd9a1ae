//! One moment of several databases: a commit of each, so that no transaction that came before one
//! of them is missing in another.
//!
//! ```text
//! the write lock of each, in the order of their paths -> each follower says how far it is
//! -> all locks are released -> each commit becomes durable -> each gets the label
//! ```
//!
//! Invariants:
//! - All locks are held at one moment, and each follower sees all that was committed before it. So
//!   an application that commits to several of these databases while it has all their locks, as
//!   SQLite does for attached databases, is in all of them or in none.
//! - Writers wait for a moment only: what can't be locked within [`HELD`] is released and tried
//!   again later. Nothing is stored while a lock is held.
//! - All or none: without a commit of each, none is labelled; a label that was given already is
//!   taken back. What a machine that died in between left shows as a part: [`databases_of`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::capture::follow::Cutter;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, check_cancelled};
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::sqlite::gate::Gate;
use crate::types::{Digest, Seq, Timestamp};

/// How long to try for the first lock. Busy writers leave it for moments alone.
const FIRST: Duration = Duration::from_secs(1);
/// How long locks are held at most.
const HELD: Duration = Duration::from_millis(15);
/// How long to leave writers alone before locks are tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// How long to wait in all for a moment at which all locks can be had, and then for what was
/// captured to be durable.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: PathBuf,
    pub(crate) history: History,
    pub(crate) cutter: Cutter,
}

/// One moment of a group.
#[derive(Debug)]
pub(crate) struct Moment {
    /// What all of its commits are labelled with.
    pub(crate) label: String,
    /// The commits' labels, in the order of the members.
    pub(crate) labels: Vec<Snapshot>,
    /// How long writers waited at most.
    pub(crate) held: Duration,
}

/// The label of a moment of a group: `shop 2026-11-27T12:00:00Z of 2`. Its time is that at which
/// all locks were held, by this machine's clock, cut to the second. How many databases the moment
/// has stands in it, so that a part of it is known as one: a machine may die between two labels,
/// and a copy may have one and not yet the other.
pub(crate) fn moment_label(group: &str, at: Timestamp, databases: usize) -> String {
    match at.to_utc() {
        Some(time) => format!("{group} {} of {databases}", time.format("%Y-%m-%dT%H:%M:%SZ")),
        None => format!("{group} {at} of {databases}"),
    }
}

/// How many databases have the moment of a label, if it is one of a group.
pub(crate) fn databases_of(label: &str) -> Option<usize> {
    let (moment, databases) = label.rsplit_once(" of ")?;
    moment.ends_with('Z').then(|| databases.parse().ok()).flatten()
}

/// Labels one moment of several databases for a group, for as long as the label is to last.
///
/// # Errors
/// [`ErrorKind::Busy`] when the locks can't be had at one moment, or a follower does not catch up;
/// [`ErrorKind::Refused`] when one is not in WAL mode; store errors.
///
/// # Durability
/// When this returns, the commits and their labels are durable.
pub(crate) fn snapshot(
    members: &mut [Member],
    group: &str,
    keep: Option<Duration>,
    monitor: &dyn Monitor,
) -> Result<Moment> {
    // Everybody who takes several of these locks takes them in one order.
    members.sort_by(|a, b| a.path.cmp(&b.path));
    let Taken { commits, at, held } = cut(members, monitor)?;
    let label = &*moment_label(group, at, members.len());
    let until = keep.map(|keep| at.after(keep));
    let mut labels: Vec<Snapshot> = Vec::with_capacity(members.len());
    for (member, commit) in members.iter().zip(commits) {
        match member.history.label_until(commit, label, until) {
            Ok(given) => labels.push(given),
            Err(e) => {
                for (member, given) in members.iter().zip(&labels) {
                    // A label that stays names a moment that was; whoever looks for the others
                    // finds that they are not there.
                    if let Err(e) = member.history.remove_snapshot(given) {
                        monitor.warn(&format!("the label {label:?} stays: {e}"));
                    }
                }
                return Err(e);
            }
        }
    }
    Ok(Moment { label: label.to_owned(), labels, held })
}

/// The commit of each that is the last one at one moment.
struct Taken {
    commits: Vec<(Seq, Digest)>,
    /// When all locks were held, and how long.
    at: Timestamp,
    held: Duration,
}

fn cut(members: &[Member], monitor: &dyn Monitor) -> Result<Taken> {
    let until = Instant::now() + PATIENCE;
    let mut pause = PAUSES.0;
    loop {
        check_cancelled(monitor)?;
        // A file may be replaced between two tries.
        let gates: Vec<Gate> =
            members.iter().map(|member| Gate::open(&member.path)).collect::<Result<_>>()?;
        match try_cut(members, &gates) {
            Err(e) if e.kind() == ErrorKind::Busy && Instant::now() < until => {}
            done => return done,
        }
        drop(gates);
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn try_cut(members: &[Member], gates: &[Gate]) -> Result<Taken> {
    // While the first lock is waited for, nobody waits for us.
    let mut began: Option<Instant> = None;
    let captured = (|| {
        for (member, gate) in members.iter().zip(gates) {
            let of = |e: Error| e.with_object(member.path.display().to_string());
            let until = began.map_or_else(|| Instant::now() + FIRST, |began| began + HELD);
            let is_taken = gate.take(until).map_err(of)?;
            began.get_or_insert_with(Instant::now);
            if !is_taken {
                let busy = Error::new(ErrorKind::Busy, "its write lock could not be had");
                let hint = "all databases of a group are locked for a moment; it is tried again";
                return Err(of(busy.with_hint(hint)));
            }
        }
        let at = members.first().map(|member| member.history.repository().now());
        let cuts: Vec<_> = members.iter().map(|member| member.cutter.cut()).collect();
        for (member, cut) in members.iter().zip(&cuts) {
            let held = began.map_or(Duration::ZERO, |began| began.elapsed());
            let of = |e: Error| e.with_object(member.path.display().to_string());
            cut.wait_captured(HELD.saturating_sub(held)).map_err(of)?;
        }
        // What the followers looked at is what is locked here: nobody wrote to it meanwhile.
        for (member, gate) in members.iter().zip(gates) {
            if !gate.is_current() {
                let replaced = Error::new(ErrorKind::Busy, "was replaced meanwhile");
                return Err(replaced.with_object(member.path.display().to_string()));
            }
        }
        Ok((cuts, at.unwrap_or_default()))
    })();
    gates.iter().for_each(Gate::release);
    let held = began.map_or(Duration::ZERO, |began| began.elapsed());
    let deadline = Instant::now() + PATIENCE;
    let (cuts, at) = captured?;
    let commits = cuts
        .iter()
        .zip(members)
        .map(|(cut, member)| {
            let left = deadline.saturating_duration_since(Instant::now());
            let of = |e: Error| e.with_object(member.path.display().to_string());
            cut.wait_durable(left).map_err(of)
        })
        .collect::<Result<_>>()?;
    Ok(Taken { commits, at, held })
}

#[cfg(test)]
mod tests;
