//! Which conditions hold, from what is known of a database, a repository, a disk. Pure.
//!
//! Invariant: nothing is over because nobody could look. A condition of which nothing is known
//! stays as it was.

use std::time::Duration;

use super::{Kind, Known};
use crate::count::{bytes, span};
use crate::policy::verdict::{Promise, Standing, State, verdict};
use crate::types::Timestamp;

/// From when on something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many failures in a row are too many.
    pub(crate) failures: u32,
    /// How long what is committed may wait for being stored.
    pub(crate) max_lag: Duration,
    /// How much space has to be free.
    pub(crate) low_space: Room,
}

impl Default for Limits {
    fn default() -> Self {
        let max_lag = Duration::from_secs(15 * 60);
        Self { failures: 3, max_lag, low_space: Room::Share(50_000) }
    }
}

/// An amount of free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// So many bytes.
    Bytes(u64),
    /// So many millionths of the whole.
    Share(u32),
}

/// What is known of a database.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseFacts<'a> {
    pub(crate) standing: &'a Standing,
    pub(crate) promise: Promise,
    /// Whether its repository can be asked.
    pub(crate) is_reachable: bool,
    /// Whether it is being taken up or left: what keeps it from being captured is not known.
    pub(crate) is_moving: bool,
    /// Whether verifications are scheduled.
    pub(crate) is_verified: bool,
    /// Whether its history is known to have been set back.
    pub(crate) went_back: bool,
    /// How long the oldest transaction waits for being stored, if it is followed.
    pub(crate) lag: Option<Duration>,
    /// How the last job of each kind ended.
    pub(crate) jobs: Vec<JobFacts<'a>>,
}

/// How the last job of a kind ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobFacts<'a> {
    pub(crate) name: &'a str,
    /// Whether it verifies.
    pub(crate) verifies: bool,
    /// Whether it compares the live database with what was captured.
    pub(crate) compares: bool,
    pub(crate) at: Timestamp,
    /// Whether it found something wrong.
    pub(crate) found: bool,
    /// How many in a row failed or found something.
    pub(crate) failures: u32,
    pub(crate) message: &'a str,
}

/// A condition: what it is, which of several, and what is known of it.
pub(crate) type Judged = (Kind, String, Known);

/// The conditions of a database. Those that make no sense for it now are left out.
pub(crate) fn database(facts: &DatabaseFacts<'_>, limits: &Limits, now: Timestamp) -> Vec<Judged> {
    let standing = facts.standing;
    let mut judged = damage(facts);
    if standing.paused {
        return judged;
    }
    let mut add = |kind, known| judged.push((kind, String::new(), known));
    // What is damaged may be late, too.
    let bare = Standing { damage: None, ..standing.clone() };
    let late = verdict(&bare, facts.promise, now);
    add(
        Kind::NotStored,
        match late.state {
            // What a repository has that nobody asked is not known, however old the database is.
            _ if !standing.looked => Known::Unknown,
            State::AtRisk => Known::Holds(late.why),
            State::Unknown => Known::Unknown,
            _ => Known::Over,
        },
    );
    add(
        Kind::NotCaptured,
        match &standing.fault {
            // The repository's trouble is told once, and not for each of its databases.
            _ if !facts.is_reachable => Known::Unknown,
            // Damage that keeps it from being captured is told as that.
            Some(fault) if standing.damage.as_ref().is_some_and(|why| why.starts_with(fault)) => {
                Known::Over
            }
            Some(fault) if !facts.went_back => Known::Holds(fault.clone()),
            None if facts.is_moving => Known::Unknown,
            _ => Known::Over,
        },
    );
    add(
        Kind::NotCopied,
        match &standing.uncopied {
            _ if !standing.looked => Known::Unknown,
            Some(why) => Known::Holds(why.clone()),
            None => Known::Over,
        },
    );
    add(Kind::ProofOverdue, proof(facts, now));
    add(
        Kind::Lag,
        match facts.lag {
            Some(lag) if lag > limits.max_lag => {
                Known::Holds(format!("the oldest transaction waits for {}", span(lag.as_secs())))
            }
            None if facts.is_moving => Known::Unknown,
            _ => Known::Over,
        },
    );
    for job in &facts.jobs {
        if job.compares {
            let drift = match (job.found, job.failures) {
                (true, _) => Known::Holds(job.message.to_owned()),
                (false, 0) => Known::Over,
                // Nobody could look.
                (false, _) => Known::Unknown,
            };
            judged.push((Kind::Drift, String::new(), drift));
        }
        // What a verification found is damage, and none of its failures.
        let is_told = (job.verifies || job.compares) && job.found;
        let fails = job.failures >= limits.failures && !is_told;
        let known = match fails {
            true => Known::Holds(format!(
                "{} failed {} times in a row, at last with: {}",
                job.name, job.failures, job.message
            )),
            false => Known::Over,
        };
        judged.push((Kind::Failing, job.name.to_owned(), known));
    }
    judged
}

fn damage(facts: &DatabaseFacts<'_>) -> Vec<Judged> {
    let standing = facts.standing;
    let newest = facts.jobs.iter().filter(|job| job.verifies).max_by_key(|job| job.at);
    let found = newest.filter(|job| job.found).map(|job| job.message);
    let why = standing.damage.as_deref().or(found);
    let (damage, back) = match (why, facts.went_back) {
        (why, true) => {
            let why = why.or(standing.fault.as_deref()).unwrap_or("its history was set back");
            (Known::Unknown, Known::Holds(why.to_owned()))
        }
        (Some(why), false) => (Known::Holds(why.to_owned()), Known::Over),
        (None, false) if standing.looked => (Known::Over, Known::Over),
        (None, false) => (Known::Unknown, Known::Unknown),
    };
    vec![(Kind::Damage, String::new(), damage), (Kind::Rollback, String::new(), back)]
}

fn proof(facts: &DatabaseFacts<'_>, now: Timestamp) -> Known {
    let standing = facts.standing;
    let is_over = |time: Timestamp| time.after(facts.promise.max_proof_age) < now;
    let age = |time: Timestamp| {
        span(u64::try_from(now.0.saturating_sub(time.0) / 1_000_000).unwrap_or(0))
    };
    match standing.verified.max(standing.restored) {
        _ if !standing.looked => Known::Unknown,
        Some(proof) if is_over(proof) => {
            Known::Holds(format!("the newest proof is {} old", age(proof)))
        }
        None if facts.is_verified && standing.since.is_some_and(is_over) => {
            Known::Holds("no verification of it ever passed".to_owned())
        }
        _ => Known::Over,
    }
}

/// Whether a repository can be reached: what keeps it from being opened, whether it is open, and
/// what came of looking at its place, if anybody looked.
pub(crate) fn repository(fault: Option<&str>, is_open: bool, place: Option<&str>) -> Known {
    match fault.or(place) {
        Some(why) => Known::Holds(why.to_owned()),
        None if is_open => Known::Over,
        None => Known::Unknown,
    }
}

/// Whether there is little space left.
pub(crate) fn space(free: u64, whole: u64, least: Room) -> Known {
    let is_little = match least {
        Room::Bytes(bytes) => free < bytes,
        Room::Share(ppm) => u128::from(free) * 1_000_000 < u128::from(whole) * u128::from(ppm),
    };
    match is_little {
        true => Known::Holds(format!("{} of {} are free", bytes(free), bytes(whole))),
        false => Known::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(2_000_000_000_000_000);

    fn ago(hours: u64) -> Option<Timestamp> {
        Some(NOW.before(Duration::from_secs(hours * 3600)))
    }

    fn well() -> Standing {
        Standing {
            looked: true,
            since: ago(1000),
            stored: ago(0),
            verified: ago(20),
            restored: ago(100),
            ..Standing::default()
        }
    }

    fn facts(standing: &Standing) -> DatabaseFacts<'_> {
        DatabaseFacts {
            standing,
            promise: Promise::default(),
            is_reachable: true,
            is_moving: false,
            is_verified: true,
            went_back: false,
            lag: None,
            jobs: Vec::new(),
        }
    }

    fn holds(facts: &DatabaseFacts<'_>) -> Vec<Kind> {
        let judged = database(facts, &Limits::default(), NOW).into_iter();
        judged.filter(|(.., known)| matches!(known, Known::Holds(_))).map(|j| j.0).collect()
    }

    #[test]
    fn what_is_wrong_is_told_by_its_own_name() {
        let with = |change: &dyn Fn(&mut Standing)| {
            let mut standing = well();
            change(&mut standing);
            holds(&facts(&standing))
        };
        let text = || Some("trouble".to_owned());
        assert_eq!(with(&|_| ()), []);
        assert_eq!(with(&|s| s.damage = text()), [Kind::Damage]);
        assert_eq!(with(&|s| s.stored = ago(27)), [Kind::NotStored]);
        // One does not hide the other.
        let both = with(&|s| (s.damage, s.stored) = (text(), ago(27)));
        assert_eq!(both, [Kind::Damage, Kind::NotStored]);
        assert_eq!(with(&|s| s.fault = text()), [Kind::NotCaptured]);
        assert_eq!(with(&|s| s.uncopied = text()), [Kind::NotCopied]);
        assert_eq!(
            with(&|s| (s.verified, s.restored) = (ago(300), ago(300))),
            [Kind::ProofOverdue]
        );
        assert_eq!(with(&|s| (s.verified, s.restored) = (None, None)), [Kind::ProofOverdue]);
        assert_eq!(with(&|s| (s.verified, s.restored, s.since) = (None, None, ago(1))), []);
        let met = |s: &mut Standing| {
            (s.damage, s.fault) = (Some("trouble; repair it".to_owned()), text());
        };
        assert_eq!(with(&met), [Kind::Damage]);
        // Of one that is paused only damage counts.
        assert_eq!(with(&|s| (s.paused, s.stored, s.fault) = (true, ago(99), text())), []);
        assert_eq!(with(&|s| (s.paused, s.damage) = (true, text())), [Kind::Damage]);
    }

    #[test]
    fn what_nobody_looked_at_is_neither_wrong_nor_over() {
        let standing = Standing { since: ago(1000), ..Standing::default() };
        let facts = DatabaseFacts { is_moving: true, ..facts(&standing) };
        let judged = database(&facts, &Limits::default(), NOW);
        assert_eq!(judged.len(), 7);
        assert!(judged.iter().all(|(.., known)| *known == Known::Unknown), "{judged:?}");
        // The trouble of a repository is none of its databases.
        let standing = Standing { fault: Some("no such file".to_owned()), ..well() };
        assert_eq!(holds(&DatabaseFacts { is_reachable: false, ..self::facts(&standing) }), []);
    }

    #[test]
    fn jobs_that_fail_and_verifications_that_find_something_are_two_things() {
        let standing = well();
        let job = |name, verifies, found, failures, hours: u64| {
            let at = NOW.before(Duration::from_secs(hours * 3600));
            let compares = name == "drift";
            JobFacts { name, verifies, compares, at, found, failures, message: "why" }
        };
        let with = |jobs: Vec<JobFacts<'_>>| holds(&DatabaseFacts { jobs, ..facts(&standing) });
        assert_eq!(with(vec![job("backup", false, false, 2, 1)]), []);
        assert_eq!(with(vec![job("backup", false, false, 3, 1)]), [Kind::Failing]);
        assert_eq!(with(vec![job("verify-data", true, true, 1, 1)]), [Kind::Damage]);
        assert_eq!(with(vec![job("verify-data", true, true, 9, 1)]), [Kind::Damage]);
        // Drift is told as such, once; it is over when nothing differs, and not by a failure.
        assert_eq!(with(vec![job("drift", false, true, 1, 1)]), [Kind::Drift]);
        assert_eq!(with(vec![job("drift", false, true, 9, 1)]), [Kind::Drift]);
        assert_eq!(with(vec![job("drift", false, false, 0, 1)]), []);
        assert_eq!(with(vec![job("drift", false, false, 3, 1)]), [Kind::Failing]);
        let failed =
            DatabaseFacts { jobs: vec![job("drift", false, false, 1, 1)], ..facts(&standing) };
        let judged = database(&failed, &Limits::default(), NOW);
        assert!(judged.contains(&(Kind::Drift, String::new(), Known::Unknown)), "{judged:?}");
        // A later verification that passed cleared it.
        let passed = job("verify-restore", true, false, 0, 0);
        assert_eq!(with(vec![job("verify-data", true, true, 1, 1), passed]), []);
    }

    #[test]
    fn a_history_that_went_back_is_a_rollback_and_no_damage() {
        let mut standing = well();
        standing.damage = Some("went backwards".to_owned());
        let back = DatabaseFacts { went_back: true, ..facts(&standing) };
        assert_eq!(holds(&back), [Kind::Rollback]);
    }

    #[test]
    fn lag_and_space_have_limits() {
        let standing = well();
        let lag = |minutes: u64| DatabaseFacts {
            lag: Some(Duration::from_secs(60 * minutes)),
            ..facts(&standing)
        };
        assert_eq!((holds(&lag(15)), holds(&lag(16))), (vec![], vec![Kind::Lag]));
        assert_eq!(space(5, 100, Room::Share(50_000)), Known::Over);
        assert!(matches!(space(4, 100, Room::Share(50_000)), Known::Holds(_)));
        assert!(matches!(space(4095, u64::MAX, Room::Bytes(4096)), Known::Holds(_)));
        assert_eq!(space(u64::MAX, u64::MAX, Room::Share(1_000_000)), Known::Over);
        assert_eq!(repository(None, true, None), Known::Over);
        assert_eq!(repository(None, false, None), Known::Unknown);
        assert!(matches!(repository(None, true, Some("gone")), Known::Holds(_)));
    }
}
