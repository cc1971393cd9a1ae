//! Marks the states before those commits of a writer that call for it.
//!
//! Invariant: the commits are durable before, whatever becomes of the marks. A writer that dies in
//! between, or can't give one, remembers no more than what was looked at; so the next one makes up
//! for it.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Monitor;
use crate::repo::history::handle::History;
use crate::repo::history::marks::Marked;
use crate::repo::history::unseen::{Found, look};
use crate::repo::write::noticed::Chore;
use crate::repo::write::writer::Writer;

/// Gives the marks that a chore calls for. What can't be read of older commits is told with what
/// could not be marked; it would be no other the next time.
///
/// # Errors
/// Store errors, and as [`History::mark`]; [`ErrorKind::Interrupted`]. It is to be done once more
/// then.
pub(super) fn work_off(
    history: &History,
    chore: &Chore,
    lasts: Duration,
    monitor: &dyn Monitor,
) -> Done {
    let (found, unread) = match chore.unseen.map(|unseen| look(history, &unseen, monitor)) {
        None => (None, None),
        Some(Ok(found)) => (Some(found), None),
        Some(Err(e)) if UNREAD.contains(&e.kind()) => (None, Some(e)),
        Some(Err(e)) => return Err(e),
    };
    let unseen = found.iter().flat_map(|found| &found.deeds);
    let mut deeds: Vec<_> = unseen.chain(&chore.deeds).cloned().collect();
    deeds.sort_by_key(|deed| deed.seq);
    deeds.dedup_by_key(|deed| deed.seq);
    let mut marked = match deeds.is_empty() {
        true => Marked { earlier: chore.earlier.clone(), ..Marked::default() },
        false => history.mark(&deeds, lasts, chore.earlier.clone(), monitor)?,
    };
    // Whoever gave them may have told nobody; but not where nothing is known of the time before.
    if chore.unseen.is_none_or(|unseen| unseen.after.is_some()) {
        marked.given.append(&mut marked.there);
    }
    marked.gone.extend(unread);
    marked.gone.extend(found.iter().flat_map(|found| &found.late).map(|seq| {
        let what = format!("a prune dropped the state before seq:{seq}");
        Error::new(ErrorKind::NotFound, what).with_object(format!("history {:?}", history.name()))
    }));
    Ok((found, marked))
}

/// Kinds of errors that come again however often the same is read.
const UNREAD: [ErrorKind; 3] = [ErrorKind::Damaged, ErrorKind::TooNew, ErrorKind::NotFound];

/// Gives the marks that the commits of a writer call for, which last so long; none without a time.
///
/// # Errors
/// As [`work_off`].
pub(crate) fn settle(
    writer: &mut Writer,
    lasts: Option<Duration>,
    monitor: &dyn Monitor,
) -> Result<Marked> {
    let Some(lasts) = lasts else {
        // Nor are they made up for, if it is known what page 1 says.
        if writer.noticed.forget() {
            let _ = writer.remember_looked();
        }
        return Ok(Marked::default());
    };
    let Some(chore) = writer.noticed.take() else { return Ok(Marked::default()) };
    let done = work_off(writer.history(), &chore, lasts, monitor);
    note(writer, chore, done)
}

/// How a chore ended.
pub(super) type Done = Result<(Option<Found>, Marked)>;

/// Notes how a chore ended: one that failed is to be done once more.
///
/// # Errors
/// What it ended with.
pub(super) fn note(writer: &mut Writer, chore: Chore, done: Done) -> Result<Marked> {
    match done {
        Ok((found, marked)) => {
            writer.noticed.done(found.as_ref(), &marked.earlier);
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
pub(crate) fn gone(e: &Error) -> String {
    format!("a state that is worth a restore point could not be marked: {e}")
}
