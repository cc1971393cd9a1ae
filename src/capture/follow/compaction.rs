//! Merging small segments beside a follower, on a thread of its own: publishing never waits for it.
//!
//! Merging costs about as much as publishing did, and what waits is merged at less cost: a hundred
//! segments at once are rewritten once, sixteen at a time some of them twice. So it waits while
//! groups are published before their time, and, with a low priority, while the machine is busy and
//! for nine times as long as the last one took; but not beyond [`MOST`] segments, for a history of
//! many is slow to open.
//!
//! Invariants: one at a time; it is told to stop, and waited for, when the follower ends; what goes
//! wrong in it is told once and tried again later.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::priority::{Priority, is_machine_busy};
use super::status::{Event, Listener, describe};
use crate::codec::pool::panicked;
use crate::error::{ErrorKind, Result};
use crate::progress::Stoppable;
use crate::repo::merge::compaction;
use crate::repo::write::writer::Writer;
use crate::types::Timestamp;

/// How often to claim a new term, which deleting needs.
const RENEWAL: Duration = Duration::from_secs(3600);

/// How many segments are left alone at most.
const MOST: u32 = 256;
/// How many times as long as one upkeep took to wait for the next.
const REST: u32 = 9;

/// How long an upkeep took, and how it ended.
type Took = (Duration, Result<()>);

/// An upkeep under way, or none.
#[derive(Default)]
pub(super) struct Compactor {
    work: Option<(JoinHandle<Took>, Arc<Stoppable>)>,
    /// Until when nothing is merged for the last one's sake.
    rests: Option<Instant>,
    renewed: Option<Timestamp>,
    /// What was told last.
    told: Option<String>,
    /// Whether it was told that the key is gone.
    told_of_key: bool,
}

impl Compactor {
    /// Begins an upkeep if one is due, and looks how the last one ended. `rushed` tells whether
    /// groups are published before their time, since they are full.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when another writer took over the history.
    pub(super) fn tend(
        &mut self,
        writer: &mut Writer,
        now: Timestamp,
        priority: Priority,
        rushed: bool,
        listener: &dyn Listener,
    ) -> Result<()> {
        if self.work.as_ref().is_some_and(|(thread, _)| !thread.is_finished()) {
            return Ok(());
        }
        if let Some((thread, _)) = self.work.take() {
            let (took, ended) = thread.join().unwrap_or_else(|_| (Duration::ZERO, Err(panicked())));
            self.rests = Instant::now().checked_add(took * REST);
            self.tell(ended, listener);
        }
        let waits = || {
            let is_low = priority == Priority::Low;
            let rests = self.rests.is_some_and(|until| Instant::now() < until);
            rushed || (is_low && (rests || is_machine_busy()))
        };
        if !writer.upkeep_is_due() || (writer.state.since_upkeep < MOST && waits()) {
            return Ok(());
        }
        let renew = self.renewed.is_none_or(|then| then <= now.before(RENEWAL) || then > now);
        let claim = match writer.begin_upkeep(renew) {
            Ok(claim) => claim,
            Err(e) if e.kind() == ErrorKind::Superseded => return Err(e),
            Err(e) => {
                self.tell(Err(e), listener);
                return Ok(());
            }
        };
        if renew {
            self.renewed = Some(now);
        }
        let is_locked_out = writer.history().repository().is_locked_out();
        if is_locked_out && !self.told_of_key {
            listener.event(&Event::Warning(
                "the key that opened the repository was removed from it: this process goes on, and none that is started with that \
                 key does; give it another one, and start it again"
                    .to_owned(),
            ));
        }
        self.told_of_key = is_locked_out;
        let stop = Arc::new(Stoppable::default());
        let (history, monitor) = (writer.history().clone(), stop.clone());
        let work = move || {
            priority.apply();
            let began = Instant::now();
            let ended = compaction::run(&history, claim, &*monitor).map(|_| ());
            (began.elapsed(), ended)
        };
        // Without a thread the next one does it.
        let thread = std::thread::Builder::new().name("pagekeep-compact".to_owned()).spawn(work);
        self.work = thread.ok().map(|thread| (thread, stop));
        Ok(())
    }

    fn tell(&mut self, ended: Result<()>, listener: &dyn Listener) {
        let fault = ended.err().map(|e| describe(&e));
        if let Some(fault) = &fault
            && self.told.as_ref() != Some(fault)
        {
            listener
                .event(&Event::Warning(format!("old segments could not be put together: {fault}")));
        }
        self.told = fault;
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        if let Some((thread, stop)) = self.work.take() {
            stop.stop();
            // What it was at is done by the next one.
            let _ = thread.join();
        }
    }
}
