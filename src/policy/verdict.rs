//! How a database stands, in one word that everybody uses: the command line, the daemon, alerts,
//! the console. Pure.
//!
//! The first state that fits counts, and the worst come first. No state is better than what is
//! known: a database that nobody looked at is unknown, and one that was never restored is kept and
//! not proven.

use std::time::Duration;

use crate::count::span;
use crate::types::Timestamp;

/// How a database stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum State {
    /// Nobody has looked yet.
    Unknown,
    /// It may not come back as it should: something is damaged, or nothing was stored for too long.
    AtRisk,
    /// Somebody should look: a promise is not kept, and nothing is lost.
    Look,
    /// Somebody paused it.
    Paused,
    /// It is stored, and no restore proved that yet.
    Kept,
    /// It is stored, and a restore proved that in time.
    Proven,
}

impl State {
    /// All of them, the worst first of those that can be known.
    pub(crate) const ALL: [Self; 6] =
        [Self::Unknown, Self::AtRisk, Self::Look, Self::Paused, Self::Kept, Self::Proven];

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::AtRisk => "at-risk",
            Self::Look => "look",
            Self::Paused => "paused",
            Self::Kept => "kept",
            Self::Proven => "proven",
        }
    }
}

/// What is known of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether anybody looked at it.
    pub(crate) looked: bool,
    /// Whether it is paused.
    pub(crate) paused: bool,
    /// What is damaged, or what the last verification found, until a later one passes.
    pub(crate) damage: Option<String>,
    /// Since when it is to be kept: what was never stored is no trouble before. Of one that nobody
    /// looked at, since when somebody tries.
    pub(crate) since: Option<Timestamp>,
    /// When everything in it was last known to be stored.
    pub(crate) stored: Option<Timestamp>,
    /// What keeps it from being stored now.
    pub(crate) fault: Option<String>,
    /// What is to be said of a mirror that lacks something for longer than was promised.
    pub(crate) uncopied: Option<String>,
    /// When a verification that opens what is stored last passed.
    pub(crate) verified: Option<Timestamp>,
    /// When a restore of it last passed.
    pub(crate) restored: Option<Timestamp>,
    /// When its newest commit was captured. A database that rests has an old one, and no verdict
    /// asks for it.
    pub(crate) newest: Option<Timestamp>,
}

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// How long ago everything may last have been known to be stored.
    pub(crate) max_age: Duration,
    /// How old the newest proof may be.
    pub(crate) max_proof_age: Duration,
}

impl Default for Promise {
    /// A day and two hours, and a week and a day: what runs daily and weekly may be a little late.
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { max_age: 26 * hour, max_proof_age: 8 * 24 * hour }
    }
}

/// A state, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    /// A sentence.
    pub(crate) why: String,
}

/// How a database stands.
pub(crate) fn verdict(standing: &Standing, promise: Promise, now: Timestamp) -> Verdict {
    let verdict = |state, why: String| Verdict { state, why };
    let is_over = |time: Option<Timestamp>, limit| time.is_none_or(|time| time.after(limit) < now);
    let is_new = standing.since.is_some() && !is_over(standing.since, promise.max_age);
    if !standing.looked {
        return match (standing.since.filter(|_| !is_new), &standing.fault) {
            // What is stored nobody knows, and nobody finds out.
            (Some(since), fault) => {
                let why = fault.as_ref().map_or(String::new(), |fault| format!(": {fault}"));
                let age = age(since, now);
                verdict(State::AtRisk, format!("nobody could look at it for {age}{why}"))
            }
            (None, _) => verdict(State::Unknown, "nobody has looked at it yet".to_owned()),
        };
    }
    if let Some(damage) = &standing.damage {
        return verdict(State::AtRisk, damage.clone());
    }
    if standing.paused {
        return verdict(State::Paused, "it is paused".to_owned());
    }
    if is_over(standing.stored, promise.max_age) && !(standing.stored.is_none() && is_new) {
        let when = match standing.stored {
            Some(time) => format!("not all was stored for {}", age(time, now)),
            None => "nothing was ever stored".to_owned(),
        };
        let why = standing.fault.as_ref().map_or(String::new(), |fault| format!(": {fault}"));
        return verdict(State::AtRisk, format!("{when}{why}"));
    }
    if let Some(fault) = &standing.fault {
        return verdict(State::Look, fault.clone());
    }
    if let Some(uncopied) = &standing.uncopied {
        return verdict(State::Look, uncopied.clone());
    }
    if standing.stored.is_none() {
        return verdict(State::Unknown, "nothing is stored yet".to_owned());
    }
    match (standing.verified.max(standing.restored), standing.restored) {
        (Some(proof), _) if is_over(Some(proof), promise.max_proof_age) => {
            verdict(State::Look, format!("the newest proof is {} old", age(proof, now)))
        }
        (_, Some(restored)) if !is_over(Some(restored), promise.max_proof_age) => {
            verdict(State::Proven, format!("a restore passed {} ago", age(restored, now)))
        }
        (_, Some(restored)) => {
            verdict(State::Kept, format!("the last restore passed {} ago", age(restored, now)))
        }
        (_, None) => verdict(State::Kept, "no restore of it was tried yet".to_owned()),
    }
}

/// How long ago a time was; one ahead, which a clock that is a little wrong makes, is now.
pub(crate) fn age(time: Timestamp, now: Timestamp) -> String {
    span(u64::try_from(now.0.saturating_sub(time.0) / 1_000_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(2_000_000_000_000_000);

    fn ago(hours: u64) -> Option<Timestamp> {
        Some(NOW.before(Duration::from_secs(hours * 3600)))
    }

    fn proven() -> Standing {
        Standing {
            looked: true,
            stored: ago(0),
            verified: ago(20),
            restored: ago(100),
            ..Standing::default()
        }
    }

    fn state(standing: &Standing) -> State {
        verdict(standing, Promise::default(), NOW).state
    }

    #[test]
    fn the_worst_that_is_known_counts() {
        assert_eq!(state(&proven()), State::Proven);
        let with = |change: &dyn Fn(&mut Standing)| {
            let mut standing = proven();
            change(&mut standing);
            state(&standing)
        };
        let text = || Some("trouble".to_owned());
        assert_eq!(with(&|s| s.looked = false), State::Unknown);
        assert_eq!(with(&|s| s.damage = text()), State::AtRisk);
        assert_eq!(with(&|s| s.stored = None), State::AtRisk);
        assert_eq!(with(&|s| s.stored = ago(27)), State::AtRisk);
        assert_eq!(with(&|s| s.stored = ago(25)), State::Proven);
        assert_eq!(with(&|s| s.fault = text()), State::Look);
        assert_eq!(with(&|s| s.uncopied = text()), State::Look);
        // What is new has time; what nobody could ever look at has not for ever.
        assert_eq!(with(&|s| (s.stored, s.since) = (None, ago(1))), State::Unknown);
        assert_eq!(with(&|s| (s.stored, s.since) = (None, ago(30))), State::AtRisk);
        assert_eq!(with(&|s| (s.looked, s.since) = (false, ago(1))), State::Unknown);
        let never = |s: &mut Standing| (s.looked, s.stored, s.since) = (false, None, ago(30));
        assert_eq!(with(&never), State::AtRisk);
        let mut unseen = Standing { since: ago(30), ..Standing::default() };
        let told = verdict(&unseen, Promise::default(), NOW);
        assert_eq!(told.why, "nobody could look at it for 30 h");
        // Somebody tries since the daemon began, however long it is known.
        (unseen.since, unseen.stored) = (ago(0), ago(30));
        assert_eq!(state(&unseen), State::Unknown);
        assert_eq!(with(&|s| (s.verified, s.restored) = (ago(300), ago(300))), State::Look);
        assert_eq!(with(&|s| s.restored = ago(300)), State::Kept);
        assert_eq!(with(&|s| s.restored = None), State::Kept);
        assert_eq!(with(&|s| (s.verified, s.restored) = (None, None)), State::Kept);
        // What is damaged is at risk, paused or not; whatever else is late matters to nobody then.
        assert_eq!(with(&|s| (s.paused, s.stored) = (true, ago(99))), State::Paused);
        assert_eq!(with(&|s| (s.paused, s.damage) = (true, text())), State::AtRisk);
        // A clock that runs ahead proves nothing bad.
        assert_eq!(with(&|s| s.stored = Some(NOW.after(Duration::from_secs(60)))), State::Proven);
    }
}
