//! Which claims of turns are real. Names are untrusted: a file that somebody put among the claims
//! must neither take a turn nor use up the numbers of turns.
//!
//! Whoever claims a turn takes the one after the newest, so the claims that are there follow each
//! other without a gap, but for the old ones, which a prune deleted. So a claim that can't be
//! opened counts if it follows right behind one that can; what lies beyond a gap is junk.

use crate::error::{ErrorKind, Result};
use crate::format::writer::WriterClaim;
use crate::repo::chain::segment::Segment;
use crate::repo::history::handle::History;
use crate::store::Entry;
use crate::types::Term;

/// The claims of a history.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Those that count, in ascending order.
    pub(crate) listed: Vec<(Term, Entry)>,
    /// The newest that can be opened.
    pub(crate) authentic: Option<Term>,
    /// What nobody can have claimed.
    pub(crate) junk: Vec<Entry>,
}

impl Claims {
    /// Lists the claims.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::WrongKey`] when the keys were rotated meanwhile.
    pub(crate) fn list(history: &History) -> Result<Self> {
        let (store, names) = (history.repository().store(), history.names());
        let mut found: Vec<(Term, Entry)> = store
            .list(&names.writers())?
            .into_iter()
            .filter_map(|entry| names.parse_writer(&entry.name).map(|term| (term, entry)))
            .collect();
        found.sort_by_key(|(term, _)| *term);
        let mut authentic = None;
        for (term, entry) in found.iter().rev() {
            if opens(history, &entry.name)? {
                authentic = Some(*term);
                break;
            }
        }
        // Without any, a segment of the log tells how far the turns went.
        let mut newest = match authentic {
            Some(term) => term,
            None => newest_in_log(history, Term(0))?,
        };
        let behind = found.partition_point(|(term, _)| *term <= newest);
        let mut counting = behind;
        for (term, _) in found.get(behind..).unwrap_or_default() {
            if *term != newest.next() || *term == newest {
                break;
            }
            newest = *term;
            counting += 1;
        }
        let junk = found.split_off(counting).into_iter().map(|(_, entry)| entry).collect();
        Ok(Self { listed: found, authentic, junk })
    }

    /// The newest that counts.
    pub(crate) fn newest(&self) -> Term {
        self.listed.last().map(|(term, _)| *term).unwrap_or_default()
    }
}

/// The newest turn that somebody took, as far as claims and segments of the log tell that can be
/// opened.
///
/// # Errors
/// As [`Claims::list`].
pub(crate) fn newest_turn(history: &History) -> Result<Term> {
    let claimed = Claims::list(history)?.newest();
    newest_in_log(history, claimed)
}

/// The highest term of the log's segments that can be opened, or the one given if that is higher.
fn newest_in_log(history: &History, least: Term) -> Result<Term> {
    let names = history.names();
    let listed = history.repository().store().list(&names.log())?;
    let mut above: Vec<_> = listed
        .iter()
        .filter_map(|e| names.parse_segment(&e.name))
        .filter(|at| at.term > least)
        .collect();
    above.sort_by_key(|at| (at.term, at.first));
    for at in above.into_iter().rev() {
        match Segment::read_log(history, at) {
            Ok(Some(_)) => return Ok(at.term),
            Ok(None) => {}
            // What a newer version wrote is real.
            Err(e) if e.kind() == ErrorKind::TooNew => return Ok(at.term),
            Err(e) if e.kind() == ErrorKind::Damaged => {}
            Err(e) => return Err(e),
        }
    }
    Ok(least)
}

/// Whether a claim can be opened, or a newer version wrote it.
fn opens(history: &History, name: &str) -> Result<bool> {
    match history.repository().read_record::<WriterClaim>(name) {
        Ok(claim) => Ok(claim.is_some_and(|(_, claim)| {
            history.names().parse_writer(name).is_some_and(|term| term == claim.term)
        })),
        Err(e) if e.kind() == ErrorKind::TooNew => Ok(true),
        Err(e) if e.kind() == ErrorKind::Damaged => Ok(false),
        Err(e) => Err(e),
    }
}
