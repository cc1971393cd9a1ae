//! Terms: whose turn it is at a history, claimed with nothing but create-if-absent.
//!
//! Whoever writes claims the next term by creating `writers/<term>`, and only then looks at the
//! chain. A term is in force while the next one is absent and its own claim is there; old claims
//! are deleted in ascending order, so both can't be missed.
//!
//! Who only merges and deletes claims a term too, under the role `prune`, which is a promise:
//! nothing is ever published to the log in it.

use crate::error::{Error, ErrorKind, Result};
use crate::format::writer::WriterClaim;
use crate::format::{ObjectKind, SealedPrefix, limits};
use crate::machine::{CLOCK, host};
use crate::policy::clock::local;
use crate::repo::history::handle::History;
use crate::repo::write::claims::{Claims, newest_turn};
use crate::types::{Term, WriterToken};

/// The role of those who publish no commits.
pub(crate) const PRUNE: &str = "prune";

/// How far this machine's clock and the storage's may be apart, in microseconds.
const DAY: u64 = 24 * 3600 * 1_000_000;

/// A claimed term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) term: Term,
    pub(crate) token: WriterToken,
}

impl Claim {
    /// Claims the term after the newest that can be seen.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when too many others do the same; store errors.
    pub(crate) fn take(history: &History, role: &str) -> Result<Self> {
        Self::take_as(history, role, WriterToken::random()?)
    }

    /// As [`Claim::take`], with a token that was remembered before.
    ///
    /// # Errors
    /// As [`Claim::take`].
    pub(crate) fn take_as(history: &History, role: &str, token: WriterToken) -> Result<Self> {
        let names = history.names();
        // A log whose claims were lost must not be written into again.
        let mut term = newest_turn(history)?;
        for _ in 0..100 {
            term = term.next();
            let claim = WriterClaim {
                term,
                since: history.repository().now(),
                process: std::process::id(),
                host: host(),
                role: role.to_owned(),
            };
            match history.repository().create_record(&names.writer(term), token.0, &claim) {
                Ok(()) => return Ok(Self { term, token }),
                Err(e) if e.kind() == ErrorKind::Busy => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(ErrorKind::Busy, "too many writers claim this history at once")
            .with_object(names.writers()))
    }

    /// Makes sure that this machine's clock is not far from the storage's, which tells when a claim
    /// was made that is not old. With a clock that is wrong by months everything would expire, and
    /// what is being written would be deleted as if it were left behind.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is; store errors.
    pub(crate) fn check_clock(&self, history: &History) -> Result<()> {
        let now = history.repository().now();
        let names = history.names();
        let name = names.writer(self.term);
        let listed = history.repository().store().list(&names.writers())?;
        let theirs = listed.iter().find(|e| e.name == name).map(|e| e.modified);
        match theirs {
            Some(theirs) if theirs.0.abs_diff(now.0) > DAY => Err(Error::new(
                ErrorKind::Refused,
                format!("{CLOCK} says {}, the storage's {}", local(now), local(theirs)),
            )
            .with_object(format!("history {:?}", history.name()))
            .with_hint(
                "what expires and what is deleted depends on the time: set the clock first",
            )),
            _ => Ok(()),
        }
    }
}

/// Whether the claim is the newest: the next term is absent, and this one is there, and ours. A
/// claim that another one lost the race with may still come after both were deleted.
pub(crate) fn in_force(history: &History, claim: Claim) -> Result<bool> {
    let store = history.repository().store();
    let names = history.names();
    if store.head(&names.writer(claim.term.next()))?.is_some() {
        return Ok(false);
    }
    let front = store.get_range(&names.writer(claim.term), 0, SealedPrefix::LEN)?;
    Ok(front.is_some_and(|front| {
        // What is damaged was there in time.
        let prefix = SealedPrefix::decode(&front, ObjectKind::Writer, limits::RECORD_BODY);
        prefix.map_or(true, |prefix| prefix.object == claim.token.0)
    }))
}

/// Whether nobody claimed a turn since a term, as [`quiet_after`] counts.
pub(crate) fn quiet_since(history: &History, term: Term, mine: &[WriterToken]) -> Result<bool> {
    let newest = Claims::list(history)?.newest();
    Ok(quiet_after(history, term, newest.next(), mine)? >= newest)
}

/// The highest term up to which, from one on, nobody claimed a turn but prunes, and writers of the
/// tokens `mine`, which died before they did anything in it: no segment of the log can come from
/// the terms in between.
pub(crate) fn quiet_after(
    history: &History,
    term: Term,
    own: Term,
    mine: &[WriterToken],
) -> Result<Term> {
    let mut quiet = term;
    while quiet.next() < own {
        let name = history.names().writer(quiet.next());
        match history.repository().read_record::<WriterClaim>(&name) {
            Ok(Some((prefix, claim)))
                if claim.role == PRUNE || mine.contains(&WriterToken(prefix.object)) =>
            {
                quiet = quiet.next();
            }
            // Nobody knows whose turn it was: somebody's, who may have published.
            Err(e) if !matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => return Err(e),
            _ => break,
        }
    }
    Ok(quiet)
}

/// The newest claim of a history, for people.
///
/// # Errors
/// Store errors; [`ErrorKind::Damaged`].
pub fn newest_claim(history: &History) -> Result<Option<WriterClaim>> {
    let Some((_, entry)) = Claims::list(history)?.listed.pop() else { return Ok(None) };
    Ok(history.repository().read_record::<WriterClaim>(&entry.name)?.map(|(_, claim)| claim))
}
