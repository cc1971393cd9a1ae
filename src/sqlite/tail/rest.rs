//! The end of following: everything is in the database file, and what the file looks like then
//! proves the place later, whatever becomes of the WAL. So the last close may remove the WAL, as
//! SQLite's users know it.
//!
//! Only checkpoints write to the file. A generation of the WAL that comes to its end was written to
//! it, and so the file's time of modification tells whether there was any.

use std::time::Duration;

use super::Tail;
use super::handoff::Checkpoint;
use crate::error::Result;
use crate::sqlite::pin::change_counter;
use crate::sqlite::position::{ChangeCounter, Position};
use crate::sqlite::witness::Stat;

/// How often to try, and how long to wait in between: until the next write to the file would show
/// in its time of modification.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(2);

impl Tail {
    /// Brings everything that is captured into the database file, and answers the place with what
    /// the file looks like then. `None` when something new is to be captured first, or somebody is
    /// in the way: an open transaction that sees an older moment.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Source`] when the database can't be read.
    pub(crate) fn come_to_rest(&mut self) -> Result<Option<Position>> {
        for _ in 0..TRIES {
            let Some(before) = self.header()? else { return Ok(None) };
            if !self.is_captured(&before) || self.inspect(&before)? != Some(true) {
                return Ok(None);
            }
            if before.backfilled < before.frames {
                self.exchange()?;
                if self.checkpoint()? != (Checkpoint::Ran { whole: true }) {
                    std::thread::sleep(PAUSE);
                }
                continue;
            }
            // What was inspected, and not something that came in between.
            let stat = *self.look.stat();
            if !stat.is_settled() {
                std::thread::sleep(PAUSE);
                continue;
            }
            let Some(rest) = self.file_now(&stat)? else { return Ok(None) };
            if self.header()?.is_some_and(|after| after == before) {
                self.rests = true;
                return Ok(Some(Position::in_wal(self.file, self.at).at_rest(rest)));
            }
        }
        Ok(None)
    }

    /// Whether the file is as a saved position knows it, from when the file had everything. Asked
    /// under a pin, so whoever writes to it from now on writes what the present generation has.
    pub(super) fn is_at_rest(&self, saved: &Position) -> Result<bool> {
        let stat = *self.look.stat();
        Ok(saved.rest.is_some() && saved.rest == self.file_now(&stat)?)
    }

    /// What changes with every write to the file, if it looks as it did then.
    fn file_now(&self, then: &Stat) -> Result<Option<ChangeCounter>> {
        let counter = change_counter(self.gate()?, then.modified())?;
        let is_same = Stat::of(&self.path).is_some_and(|now| now.same_as(then));
        Ok(counter.filter(|_| is_same))
    }
}
