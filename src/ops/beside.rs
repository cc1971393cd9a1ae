//! What writers do beside a follower: ask whether one of another machine is there, and have one of
//! this machine do the work.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::policy::clock::local;
use crate::progress::{Monitor, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::history::handle::History;
use crate::repo::local::state;
use crate::repo::write::presence::rival;
use crate::sqlite::source::Source;
use crate::types::Seq;

/// How often to look whether a follower caught up.
const LOOK: Duration = Duration::from_millis(20);

/// Makes sure that no follower of another machine, account or container seems to be at work, which
/// would be superseded.
///
/// # Errors
/// [`ErrorKind::Busy`], naming it, when one does; store errors.
pub(crate) fn check_rival(history: &History) -> Result<()> {
    let Some(rival) = rival(history, history.repository().now())? else { return Ok(()) };
    Err(Error::new(
        ErrorKind::Busy,
        format!(
            "is followed by process {} on {}, since {}",
            rival.process,
            rival.host,
            local(rival.since)
        ),
    )
    .with_object(format!("history {:?}", history.name()))
    .with_hint(advice![
        "stop it there first; on the same machine, use the same account and state folder, and it does the work; \
         if it is gone for good, or should be superseded: ",
        Remedy::TakeOver,
    ]))
}

/// Waits until the follower of another process of this machine has captured what is there now; what
/// is committed meanwhile does not count. Answers the newest commit, or `None` when the follower is
/// gone.
///
/// # Errors
/// [`ErrorKind::Busy`] when it does not catch up within `at_most`; when the database can't be read.
pub(crate) fn wait_for_follower(
    history: &History,
    path: &Path,
    at_most: Duration,
    monitor: &dyn Monitor,
) -> Result<Option<Seq>> {
    let began = Instant::now();
    let mut source = Source::open(path)?;
    let mut moment = source.pin()?.moment();
    loop {
        check_cancelled(monitor)?;
        // Asked first: what it remembers from then on is of its own time.
        let is_followed = state::is_followed(history)?;
        if let Some(state) = state::peek(history)?
            && let (Some(head), Some(position)) = (state.head, state.position)
            && (moment.is_at(&position) || (is_followed && moment.is_before(&position)))
        {
            return Ok(Some(head.seq));
        }
        if !state::is_locked(history)? {
            return Ok(None);
        }
        if began.elapsed() >= at_most {
            return Err(Error::new(
                ErrorKind::Busy,
                "is followed by another process, which does not catch up",
            )
            .with_object(path.display().to_string())
            .with_hint("look at what the follower says; or stop it, and try again"));
        }
        std::thread::sleep(LOOK);
        if !moment.counts() {
            // Without a count of commits only the very same moment will do.
            moment = source.pin()?.moment();
        }
    }
}
