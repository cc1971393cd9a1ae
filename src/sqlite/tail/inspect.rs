//! Whether the file below the WAL is SQLite's alone: asked before anything that was committed is
//! given away. See [`super::super::witness`].

use std::time::Instant;

use super::{MAX_RESETS, Tail, closed, resets_between};
use crate::error::Result;
use crate::sqlite::ffi::FileRef;
use crate::sqlite::overlay::{has_uncounted, walk};
use crate::sqlite::wal::WalIndex;
use crate::sqlite::witness::{AT_ONCE, Look, SENTINELS, Sentinels, Stat, TICK, Touched};
use crate::types::PageNo;

/// How often in a row a commit has to be found that is not counted. Its writer may wait for the
/// disk before it counts it.
const LOOKS: u32 = 3;

impl Tail {
    /// Whether nobody but SQLite wrote to the file since the last look, as far as that can be told;
    /// `None` if it has to be asked again. What is committed by `index` was written by somebody who
    /// read the file before, so it counts only if this was asked behind it.
    pub(super) fn inspect(&mut self, index: &WalIndex) -> Result<Option<bool>> {
        // Another file under the name is noticed elsewhere: what was captured of this one is sound.
        let Some(stat) = Stat::of(&self.path).filter(|stat| stat.file == self.file) else {
            return self.stands_apart(index).map(Some);
        };
        let Some(after) = self.header()? else { return Ok(None) };
        let now = Look::new(stat, *index, after);
        let touched = match self.look.until(&now, self.at.frame) {
            // Without witnesses the worst is believed.
            Touched::Perhaps
                if !self.look.stat().same_as(now.stat())
                    && (self.sentinels_of.is_none() || !self.sentinels.suffice()) =>
            {
                Touched::ByOthers
            }
            touched => touched,
        };
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        let Some(file) = FileRef::database(gate)? else { return Ok(Some(true)) };
        let is_ours = match touched {
            Touched::No => true,
            Touched::Perhaps => {
                let with_written = self.has_written(index);
                // While the time is fresh the next look asks again, and `vouch` asks all.
                let hasty = now.stat().is_fresh() && self.asked.elapsed() < TICK;
                if !hasty {
                    self.asked = Instant::now();
                }
                let stand = self.sentinels.stand(&file, self.page_size, with_written, hasty)?;
                // What was captured in haste before stays in doubt until all of them stand.
                self.hasty = hasty || (self.hasty && !stand);
                stand
            }
            Touched::ByOthers => false,
        };
        if is_ours {
            self.look = now;
            if self.sentinels_of.is_none() {
                self.learn_written(index)?;
                self.draw_all()?;
            } else if index.salts == self.at.salts {
                self.sentinels.draw(&file, self.page_size, self.pages, AT_ONCE)?;
            }
        }
        Ok(Some(is_ours))
    }

    /// Whether the file has what the sentinels know to be written. Until all is in the file, pages
    /// that have frames are read from the WAL, whatever the file has of them. Of a later generation
    /// than theirs nothing is in the file yet, and all of theirs is.
    fn has_written(&self, index: &WalIndex) -> bool {
        if self.sentinels_of != Some(index.salts) {
            return true;
        }
        let known = self.is_captured(index) || self.pinned_at == (index.salts, index.frames);
        known && index.backfilled >= index.frames
    }

    /// Whether the file stands that has the path no more: only if something of it was captured in
    /// haste that has to be asked.
    fn stands_apart(&mut self, index: &WalIndex) -> Result<bool> {
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        let Some(file) = FileRef::database(gate)?.filter(|_| self.hasty) else { return Ok(true) };
        let with_written = self.has_written(index);
        self.sentinels.stand(&file, self.page_size, with_written, false)
    }

    /// Whether all that was captured so far is of one database, by all sentinels: asked before any
    /// of it is published. Looks in quick succession ask only some of them. `None` if it has to be
    /// asked again.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Source`] when the file or the WAL can't be read.
    pub(crate) fn vouch(&mut self) -> Result<Option<bool>> {
        if !self.hasty {
            return Ok(Some(true));
        }
        let Some(index) = self.header()? else { return Ok(None) };
        // Long enough ago that all are asked.
        self.asked = self.asked.checked_sub(TICK).unwrap_or(self.asked);
        let stands = self.inspect(&index)?;
        if stands == Some(true) {
            self.hasty = false;
        }
        Ok(stands)
    }

    /// As if what was captured last was captured in haste.
    #[cfg(test)]
    pub(crate) fn be_hasty(&mut self) {
        self.hasty = true;
    }

    /// Whether somebody writes through another wal-index than ours: a commit stands in the WAL and
    /// is not counted, as it was the last times that this was asked. The file `-shm` was removed
    /// under an application.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Source`] when the WAL can't be read.
    pub(crate) fn is_bypassed(&mut self) -> Result<bool> {
        let Some(index) = self.header()? else { return Ok(false) };
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        let Some(wal) = FileRef::journal(gate)? else { return Ok(false) };
        let is_later = |salts| {
            index.salts == [0; 8] || (1..=MAX_RESETS).contains(&resets_between(index.salts, salts))
        };
        if !has_uncounted(&wal, self.page_size, &index, &is_later)? {
            self.uncounted = None;
            return Ok(false);
        }
        let before = self.uncounted.filter(|(then, _)| then.same_snapshot(&index));
        let looks = before.map_or(1, |(_, looks)| looks + 1);
        self.uncounted = Some((index, looks));
        Ok(looks >= LOOKS)
    }

    /// Tells the sentinels which pages have frames before the position.
    pub(super) fn learn_written(&mut self, index: &WalIndex) -> Result<()> {
        if index.salts != self.at.salts {
            // The next generation is seen from its first frame on.
            return Ok(());
        }
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        let learned = match FileRef::journal(gate)? {
            _ if index.frames == 0 => true,
            None => false,
            Some(wal) => {
                let (size, buffer) = (self.page_size, &mut self.buffer);
                let (sentinels, mut pages) = (&mut self.sentinels, u32::MAX);
                let sound = walk(&wal, size, index, None, buffer, &mut |frame| {
                    sentinels.wrote(PageNo(frame.header.page), frame.page);
                    let size = frame.header.commit_size;
                    if size > 0 {
                        if size < pages {
                            sentinels.resized(size);
                        }
                        pages = size;
                    }
                    Ok(())
                })?;
                sentinels.settle();
                // A checkpoint cuts off what lies beyond the end, whatever was written there.
                sentinels.resized(index.pages);
                sound
            }
        };
        match learned {
            true => self.sentinels_of = Some(index.salts),
            // Somebody resets the WAL: the last frames of some pages were not seen.
            false => self.sentinels = Sentinels::default(),
        }
        Ok(())
    }

    /// Begins to watch more pages at the beginning of a generation: most of those of the one
    /// before lay behind the end of a database that shrank, and a checkpoint may come before the
    /// next look.
    /// Nothing of this generation is in the file yet.
    pub(super) fn draw_more(&mut self) {
        // If the file can't be read, that shows again soon.
        let drawn = self.draw_all();
        let is_same = Stat::of(&self.path).is_some_and(|now| now.same_as(self.look.stat()));
        // Without any the worst is believed of the next change.
        if drawn.is_err() || !is_same {
            self.sentinels.forget_drawn();
        }
    }

    /// Begins to watch as many pages as there may be.
    pub(super) fn draw_all(&mut self) -> Result<()> {
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        match FileRef::database(gate)? {
            Some(file) if self.sentinels_of.is_some() => {
                self.sentinels.draw(&file, self.page_size, self.pages, SENTINELS)
            }
            _ => Ok(()),
        }
    }
}
