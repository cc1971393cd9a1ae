//! Marks the states before those commits of a writer that call for it.
//!
//! Invariant: the commits are durable before, whatever becomes of the marks. A writer that dies in
//! between, or can't give one, remembers no more than what was looked at; so the next one makes up
//! for it.

use std::time::Duration;

use crate::error::Result;
use crate::repo::history::handle::History;
use crate::repo::history::marks::Marked;
use crate::repo::history::unseen::{Found, look};
use crate::repo::write::noticed::Chore;
use crate::repo::write::writer::Writer;

/// Gives the marks that a chore calls for.
///
/// # Errors
/// As [`look`] and [`History::mark`]; it is to be done once more then.
pub(super) fn work_off(
    history: &History,
    chore: &Chore,
    lasts: Duration,
) -> Result<(Option<Found>, Marked)> {
    let found = chore.unseen.map(|unseen| look(history, &unseen)).transpose()?;
    let unseen = found.iter().flat_map(|found| &found.deeds);
    let mut deeds: Vec<_> = unseen.chain(&chore.deeds).cloned().collect();
    deeds.sort_by_key(|deed| deed.seq);
    deeds.dedup_by_key(|deed| deed.seq);
    if deeds.is_empty() {
        let earlier = chore.earlier.clone();
        return Ok((found, Marked { earlier, ..Marked::default() }));
    }
    let marked = history.mark(&deeds, lasts, chore.earlier.clone())?;
    Ok((found, marked))
}

/// Gives the marks that the commits of a writer call for, which last so long; none without a time.
///
/// # Errors
/// As [`work_off`].
pub(crate) fn settle(writer: &mut Writer, lasts: Option<Duration>) -> Result<Marked> {
    let Some(lasts) = lasts else {
        // Nor are they made up for.
        if writer.noticed.forget() {
            let _ = writer.remember_looked();
        }
        return Ok(Marked::default());
    };
    let Some(chore) = writer.noticed.take() else { return Ok(Marked::default()) };
    match work_off(writer.history(), &chore, lasts) {
        Ok((found, marked)) => {
            writer.noticed.done(found.as_ref(), marked.earlier.clone());
            // A state that can't be written costs the next run a look.
            let _ = writer.remember_looked();
            Ok(marked)
        }
        Err(e) => {
            writer.noticed.put_back(chore);
            Err(e)
        }
    }
}

/// A state that is no restore point any more, in words.
pub(crate) fn gone(e: &crate::error::Error) -> String {
    format!("a state that is worth a restore point could not be marked: {e}")
}
