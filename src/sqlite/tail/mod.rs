//! The gapless follower of a WAL: every transaction that anybody commits, in order, and a proof
//! that none was missed.
//!
//! # Position and proof
//!
//! A *generation* is what is written to the WAL between two resets; its salts name it. The
//! wal-index header tells the last valid frame, its checksum, and `changes`, a count of commits
//! that survives resets. The position up to which everything was captured is salts, frame,
//! checksum, and the count of commits that it stands for. Continuity holds if and only if
//!
//! - (a) the salts are still ours, the frame at our position has our checksum, and the frames
//!   behind it continue it; or
//! - (b) the generation changed, and our count plus the commits in the new generation, from its
//!   first frame on, equals the header's count: then no commit lies in between.
//!
//! This is checked at every change of generation, pinned or not, and when a saved position is taken
//! up again ([`Tail::prove`]). Without a proof the tail says [`Step::Lost`], and somebody has to
//! scan.
//!
//! A wal-index that SQLite rebuilt by recovery counts from zero. While we watch, our open
//! connections keep it from being made anew, and a rebuilt count differs from ours. A *saved*
//! position might meet a rebuilt count by coincidence. So after a restart (b) counts only above
//! [`COUNT_FLOOR`], and only if the new salts descend from the old ones; or else
//!
//! - (c) the new salts come one reset after ours, and the file itself still shows that our
//!   generation ended at our frame: the new one has not come as far, our frame stands where it
//!   stood, and behind it is none of our generation; or
//! - (d) the database file had everything up to our place, and nobody wrote to it since (`rest`):
//!   then no later generation can have come to its end, and all that was committed since is in the
//!   present one.
//!
//! What keeps the proof from failing, and the WAL from growing, is in `handoff`.
//!
//! # Invariants
//! - The user's database is never written to but by checkpoints, which move what is committed.
//! - Frames are read up to the header's last one, never past it, and each one's salts and chained
//!   checksum are compared.
//! - The position is always the end of a commit that the sink was given.

pub(crate) mod handoff;
mod inspect;
mod rest;
mod unwritten;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::beside::full_path;
use super::connection::{close, close_as_usual, connect, wal_index};
use super::ffi::{FileRef, keep_wal_on_close};
use super::held::Held;
use super::overlay::walk;
use super::pin::begin_wal;
use super::position::{FileIdentity, Position};
use super::source_error;
use super::wal::{FRAME_HEADER_LEN, FrameHeader, WalHeader, WalIndex, WalPosition};
use super::witness::{Look, OVERWRITTEN, Sentinels, Stat};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{PageNo, PageSize};

/// A saved count of commits below this proves nothing about another generation: a rebuilt wal-index
/// might happen to have counted as many.
const COUNT_FLOOR: u32 = 1000;
/// A saved position is not taken up over more resets than this.
const MAX_RESETS: u32 = 1 << 16;
/// How often to look again at a header that somebody is changing.
const HEADER_TRIES: usize = 200;
/// Takes what the tail finds.
pub(crate) trait FrameSink {
    /// A page that the transaction under way wrote; the same page again replaces it.
    fn page(&mut self, page: PageNo, content: &[u8]) -> Result<()>;
    /// The transaction ends, and the database has so many pages; those beyond are not part of it.
    fn commit(&mut self, pages: u32, position: Position) -> Result<()>;
    /// The pages of the transaction under way did not come to a commit: forget them.
    fn abandon(&mut self);
}

/// What a look at the WAL came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing new.
    Still,
    /// New commits or a new generation, all captured.
    Moved,
    /// Perhaps not everything that was committed before the look is captured yet: look again.
    Behind,
    /// Continuity can't be proven, for this reason.
    Lost(&'static str),
}

/// What the tail counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailStats {
    /// Commits captured.
    pub commits: u64,
    /// Frames captured.
    pub frames: u64,
    /// Generations that began while the tail watched, each proven.
    pub generations: u64,
    /// Handoffs that were completed.
    pub handoffs: u64,
    /// Times the pin was moved to mark zero for somebody's checkpoint.
    pub yields: u64,
    /// Times a rebuilt wal-index began to count anew.
    pub rebuilt: u64,
    /// The longest that the write lock was held, in microseconds.
    pub lock_max_micros: u64,
}

/// A follower of one database's WAL.
pub(crate) struct Tail {
    path: PathBuf,
    /// Two connections for pins.
    pins: [Option<Connection>; 2],
    /// Takes the write lock in a handoff; reads the WAL and the header all the time.
    gate: Option<Connection>,
    /// Which of the two holds the pin.
    pinned: usize,
    /// Whether the pin is at mark zero, as far as the header told.
    at_zero: bool,
    /// The generation and the last frame that the pin sees.
    pinned_at: ([u8; 8], u32),
    file: FileIdentity,
    /// The WAL and the wal-index, which nobody may remove while we have them open.
    beside: [(PathBuf, Option<FileIdentity>); 2],
    page_size: PageSize,
    at: WalPosition,
    /// Pages of the database at the position.
    pages: u32,
    /// What the file looked like when it was last known to be SQLite's alone.
    look: Look,
    sentinels: Sentinels,
    /// When all sentinels were asked.
    asked: Instant,
    /// Whether only some of them were asked since.
    hasty: bool,
    /// The generation of which the sentinels know what pages it has frames of, up to the pin at
    /// least. Beside a position that is taken up it may be the one that is to come.
    sentinels_of: Option<[u8; 8]>,
    /// What the header said when a commit stood in the WAL that it does not count.
    uncounted: Option<(WalIndex, u32)>,
    /// Whether it came to rest: see `rest`.
    rests: bool,
    /// Room to read frames into.
    buffer: Vec<u8>,
    pub(crate) stats: TailStats,
    /// How long the write lock was held, each time since it was last asked for.
    pub(crate) locks: Vec<Duration>,
    /// Nothing else of this process opens it under another name meanwhile.
    _held: Held,
}

impl Tail {
    /// Opens a database in WAL mode and pins it. The position is that of the pinned snapshot until
    /// [`Tail::prove`] or [`Tail::start_at`] say otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when it can't be read or is not in WAL mode; [`ErrorKind::Busy`] when
    /// it is locked.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_unnamed(path).map_err(|e| e.with_object(path.display().to_string()))
    }

    fn open_unnamed(path: &Path) -> Result<Self> {
        let held = Held::take(path)?;
        let gate = connect(path)?;
        let pins = [connect(path)?, connect(path)?];
        let failed = |e| source_error(e, "cannot be read");
        // The first read opens the WAL on each connection.
        for connection in [&gate, &pins[1]] {
            connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
                .map_err(failed)?;
        }
        let index = begin_wal(&pins[0])?.ok_or_else(|| {
            Error::new(ErrorKind::Source, "has no wal-index that could be followed")
        })?;
        // Behind the wal-index: what checkpoints write from here on shows in it later.
        let stat = Stat::of(path).ok_or_else(|| Error::new(ErrorKind::Source, "is gone"))?;
        let page_size: u32 =
            gate.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(failed)?;
        let page_size = PageSize::new(page_size)
            .ok_or_else(|| Error::new(ErrorKind::Source, "has no sound page size"))?;
        for connection in pins.iter().chain([&gate]) {
            // From here on nothing waits for others.
            connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        }
        let mut tail = Self {
            path: path.to_owned(),
            pins: pins.map(Some),
            gate: Some(gate),
            pinned: 0,
            at_zero: false,
            pinned_at: (index.salts, index.frames),
            file: stat.file,
            beside: side_files(path),
            page_size,
            at: WalPosition::of(&index),
            pages: index.pages,
            look: Look::new(stat, index, index),
            sentinels: Sentinels::default(),
            asked: Instant::now(),
            hasty: false,
            sentinels_of: None,
            uncounted: None,
            rests: false,
            buffer: Vec::new(),
            stats: TailStats::default(),
            locks: Vec::new(),
            _held: held,
        };
        // Before anything is read of it by others: what they read, and what is looked at later, is
        // compared with this.
        tail.learn_written(&index)?;
        if index.backfilled >= index.frames
            && let Some(file) = FileRef::database(tail.gate.as_ref().ok_or_else(closed)?)?
        {
            tail.sentinels.adopt(&file, page_size)?;
        }
        tail.draw_all()?;
        Ok(tail)
    }

    /// Up to where everything is captured.
    pub(crate) fn position(&self) -> Position {
        Position::in_wal(self.file, self.at)
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Whether the pin sees all that is captured. At mark zero it is in nobody's way then; once
    /// more was committed, it keeps that from being backfilled.
    pub(crate) fn is_current(&self) -> bool {
        self.pinned_at == (self.at.salts, self.at.frame)
    }

    /// Whether the pin is at mark zero.
    pub(crate) fn is_at_zero(&self) -> bool {
        self.at_zero
    }

    /// Bytes of the present generation's captured frames.
    pub(crate) fn wal_bytes(&self) -> u64 {
        WalHeader::frame_offset(self.page_size, self.at.frame.saturating_add(1))
    }

    /// Frames of the present generation that are captured.
    pub(crate) fn wal_frames(&self) -> u32 {
        self.at.frame
    }

    /// Whether the path still leads to the file that is being followed, with the WAL and the
    /// wal-index beside it that we have open. Whoever copies another database over the file and
    /// removes those two goes on in new ones, which we would never look at.
    pub(crate) fn same_file(&self) -> bool {
        FileIdentity::of(&self.path) == Some(self.file)
            && self.beside.iter().all(|(path, known)| FileIdentity::of(path) == *known)
    }

    /// Takes up a saved position, where the database had `pages` pages, if continuity from there
    /// can be proven.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the WAL can't be read.
    pub(crate) fn prove(&mut self, saved: &Position, pages: u32) -> Result<bool> {
        let (Some((file, then)), Some(now)) = (saved.wal(), self.header()?) else {
            return Ok(false);
        };
        if file != self.file {
            return Ok(false);
        }
        let same = now.salts == then.salts && then.frame > 0;
        let Some(commits) = self.count(&now, same.then_some(then))? else { return Ok(false) };
        let resets = resets_between(then.salts, now.salts);
        let counted = || {
            then.changes >= COUNT_FLOOR
                && (1..=MAX_RESETS).contains(&resets)
                && then.changes.wrapping_add(commits) == now.changes
        };
        let proven = if same {
            now.frames >= then.frame
        } else {
            then.frame > 0 && (counted() || (resets == 1 && self.ended_at(&then, &now)?))
        };
        let at = match proven {
            true => then,
            false if !same && self.is_at_rest(saved)? => WalPosition::before_all(&now),
            false => return Ok(false),
        };
        self.start_at(at, pages);
        // A rebuilt wal-index counts otherwise than the one that was saved from.
        self.at.changes = now.changes.wrapping_sub(commits);
        Ok(true)
    }

    /// Whether the file still shows that a generation ended at a place: the next one has not come
    /// as far, our last frame stands where it stood, and behind it is none of that generation.
    fn ended_at(&self, then: &WalPosition, now: &WalIndex) -> Result<bool> {
        let Some(wal) = FileRef::journal(self.gate()?)? else { return Ok(false) };
        let frame = |number: u32| -> Result<Option<FrameHeader>> {
            let mut header = [0; FRAME_HEADER_LEN];
            let at = WalHeader::frame_offset(self.page_size, number);
            let beyond = wal.read_at(&mut header, at)?;
            Ok(FrameHeader::parse(&header).filter(|_| !beyond))
        };
        let ours = frame(then.frame)?
            .is_some_and(|f| f.salts == then.salts && f.checksum == then.checksum);
        let more = frame(then.frame.saturating_add(1))?.is_some_and(|f| f.salts == then.salts);
        Ok(now.frames < then.frame && ours && !more)
    }

    /// Begins at the position of a snapshot that is scanned, and that somebody still pins.
    pub(crate) fn start_at(&mut self, at: WalPosition, pages: u32) {
        self.at = at;
        self.pages = pages;
    }

    /// The header of the wal-index; `None` while somebody is changing it, or died changing it.
    fn header(&self) -> Result<Option<WalIndex>> {
        for _ in 0..HEADER_TRIES {
            if let Some(index) = wal_index(self.gate()?)? {
                return Ok(Some(index));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn is_captured(&self, index: &WalIndex) -> bool {
        index.salts == self.at.salts
            && index.frames == self.at.frame
            && (index.frames == 0 || index.checksum == self.at.checksum)
    }

    /// Captures everything that was committed since the position and before the call. What others
    /// commit meanwhile is left for the next look: under load each further round would find a frame
    /// or two, and cost as much as a look at fifty.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the WAL can't be read; what the sink answers.
    pub(crate) fn capture(&mut self, sink: &mut dyn FrameSink) -> Result<Step> {
        // Without a pin the WAL may be reset while it is read; then the header tells, and it is
        // read again.
        for _ in 0..10 {
            let Some(index) = self.header()? else {
                self.recover();
                return Ok(Step::Behind);
            };
            if self.is_captured(&index) {
                self.adopt_count(&index);
                return Ok(match self.inspect(&index)? {
                    Some(false) => Step::Lost(OVERWRITTEN),
                    _ => Step::Still,
                });
            }
            match self.inspect(&index)? {
                Some(true) => {}
                Some(false) => return Ok(Step::Lost(OVERWRITTEN)),
                None => return Ok(Step::Behind),
            }
            if index.salts != self.at.salts {
                match self.count(&index, None)? {
                    None => continue,
                    Some(commits) => {
                        if let Err(reason) = self.begin_generation(&index, commits) {
                            return Ok(Step::Lost(reason));
                        }
                    }
                }
            } else if index.frames < self.at.frame {
                return Ok(Step::Lost("the WAL has fewer frames than were captured of it"));
            }
            match self.read(&index, sink) {
                Ok(true) => return Ok(Step::Moved),
                read => {
                    sink.abandon();
                    read?;
                }
            }
        }
        let Some(index) = self.header()? else { return Ok(Step::Behind) };
        // It moves faster than we read, which is fine, or its frames do not belong together.
        let from = (self.at.frame > 0).then_some(self.at);
        match index.salts == self.at.salts && self.count(&index, from)?.is_some() {
            true => Ok(Step::Behind),
            false => Ok(Step::Lost("the WAL's frames do not continue those that were captured")),
        }
    }

    /// Goes over to a new generation, if it is proven that no commit lies in between.
    fn begin_generation(&mut self, index: &WalIndex, commits: u32) -> Result<(), &'static str> {
        if self.at.changes.wrapping_add(commits) != index.changes {
            return Err("commits were made and the WAL reset while it was not watched");
        }
        self.at = WalPosition {
            salts: index.salts,
            frame: 0,
            checksum: [0; 2],
            changes: index.changes.wrapping_sub(commits),
        };
        if self.sentinels_of != Some(index.salts) {
            self.sentinels.next_generation(self.pages);
            if self.sentinels_of.replace(index.salts).is_none() {
                // If the file can't be read, that shows again soon.
                let _ = self.draw_all();
            } else if !self.sentinels.suffice() {
                self.draw_more();
            }
        }
        self.stats.generations += 1;
        Ok(())
    }

    /// Counts the commits behind a place, or all of the generation's; `None` if the frames do not
    /// continue each other.
    fn count(&self, index: &WalIndex, from: Option<WalPosition>) -> Result<Option<u32>> {
        if index.frames == from.map_or(0, |f| f.frame) {
            let same = from.is_none_or(|f| f.checksum == index.checksum);
            return Ok(same.then_some(0));
        }
        let Some(wal) = FileRef::journal(self.gate()?)? else { return Ok(None) };
        let mut commits = 0;
        let sound = walk(&wal, self.page_size, index, from, &mut Vec::new(), &mut |frame| {
            commits += u32::from(frame.header.commit_size > 0);
            Ok(())
        })?;
        Ok(sound.then_some(commits))
    }

    /// Gives the frames behind the position to the sink. Answers `false` when they do not continue
    /// it.
    fn read(&mut self, index: &WalIndex, sink: &mut dyn FrameSink) -> Result<bool> {
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        let Some(wal) = FileRef::journal(gate)? else { return Ok(index.frames == 0) };
        let (file, page_size) = (self.file, self.page_size);
        let from = (self.at.frame > 0).then_some(self.at);
        if index.frames == self.at.frame {
            return Ok(true);
        }
        let (mut at, mut pages, mut stats) = (self.at, self.pages, self.stats);
        let (sentinels, mut shrank) = (&mut self.sentinels, false);
        // Pages beyond the present size that the transaction wrote.
        let mut added: Vec<u32> = Vec::new();
        let sound = walk(&wal, page_size, index, from, &mut self.buffer, &mut |frame| {
            let header = frame.header;
            sink.page(PageNo(header.page), frame.page)?;
            sentinels.wrote(PageNo(header.page), frame.page);
            stats.frames += 1;
            if header.page > pages {
                added.push(header.page);
            }
            if header.commit_size > 0 {
                if header.commit_size > pages {
                    added.sort_unstable();
                    let missing = (pages + 1..=header.commit_size).map(PageNo).filter(|p| {
                        *p != page_size.lock_page() && added.binary_search(&p.0).is_err()
                    });
                    for page in missing {
                        let content = unwritten::read(gate, page_size, index, frame.number, page)?;
                        sink.page(page, &content)?;
                    }
                }
                added.clear();
                at = WalPosition {
                    salts: index.salts,
                    frame: frame.number,
                    checksum: header.checksum,
                    changes: at.changes.wrapping_add(1),
                };
                if header.commit_size < pages {
                    sentinels.resized(header.commit_size);
                    shrank = true;
                }
                pages = header.commit_size;
                stats.commits += 1;
                sink.commit(pages, Position::in_wal(file, at))?;
            }
            Ok(())
        });
        self.sentinels.settle();
        (self.at, self.pages, self.stats) = (at, pages, stats);
        if shrank {
            // Few may be left, and a checkpoint may come before the next look. If the file can't be
            // read, that shows again soon.
            let _ = self.draw_all();
        }
        if sound.is_ok() && self.is_captured(index) {
            self.adopt_count(index);
        }
        sound
    }

    /// Where the frames are without a gap and the count is another one, it is the count that is
    /// new: somebody rebuilt the wal-index. The next change of generation is proven by the new
    /// count.
    fn adopt_count(&mut self, index: &WalIndex) {
        if self.at.changes != index.changes {
            self.at.changes = index.changes;
            self.stats.rebuilt += 1;
            // It also forgot what was backfilled.
            self.at_zero = false;
        }
    }

    /// Lets SQLite rebuild a wal-index whose writer died in the middle: any reader does.
    fn recover(&self) {
        let idle = 1 - self.pinned;
        if let Ok(connection) = self.pin(idle) {
            // A failure shows again at the next look.
            let _ = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        }
    }

    fn gate(&self) -> Result<&Connection> {
        self.gate.as_ref().ok_or_else(closed)
    }

    fn pin(&self, which: usize) -> Result<&Connection> {
        self.pins.get(which).and_then(Option::as_ref).ok_or_else(closed)
    }

    fn end(&self, which: usize) {
        if let Ok(connection) = self.pin(which) {
            // Ending a read changes nothing; it can only fail when there is none.
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.rests {
            // The file has everything, and somebody remembers what it looks like. So the last close
            // may do as SQLite's users know it.
            let all = self.pins.iter_mut().chain([&mut self.gate]);
            all.filter_map(Option::take).for_each(close_as_usual);
            return;
        }
        for connection in self.pins.iter_mut().filter_map(Option::take) {
            close(connection, Some(true));
        }
        let Some(gate) = self.gate.take() else { return };
        let frames =
            wal_index(&gate).is_ok_and(|index| index.is_some_and(|index| index.frames > 0));
        if frames && keep_wal_on_close(&gate).is_ok() {
            // If nobody else has the database open this checkpoints, as the application's own last
            // close would have done, so that the file alone has everything; and yet the WAL stays,
            // and with it the proof for the next run.
            close_as_usual(gate);
        } else {
            close(gate, Some(true));
        }
    }
}

/// The WAL and the wal-index: SQLite has them beside the file that a link leads to.
fn side_files(path: &Path) -> [(PathBuf, Option<FileIdentity>); 2] {
    let real = full_path(path);
    ["-wal", "-shm"].map(|suffix| {
        let path = super::beside::beside(&real, suffix);
        let known = FileIdentity::of(&path);
        (path, known)
    })
}

fn closed() -> Error {
    Error::new(ErrorKind::Failure, "the follower's connection is closed")
}

/// How many resets lie between two generations, if one comes after the other: the first salt grows
/// by one with each.
fn resets_between(old: [u8; 8], new: [u8; 8]) -> u32 {
    let first = |salts: [u8; 8]| {
        let [a, b, c, d, ..] = salts;
        u32::from_be_bytes([a, b, c, d])
    };
    first(new).wrapping_sub(first(old))
}

#[cfg(test)]
mod tests;
