//! The frames of a WAL that a pin sees, laid over the database file.
//!
//! Invariant: frames are used only if their salts are the snapshot's and each one's checksum
//! continues the one before, up to the checksum that the wal-index has for the last; and not at all
//! if the file has everything already (see `pin`).

use super::ffi::FileRef;
use super::pages::CHUNK_LEN;
use super::pin::{Journal, Pin};
use super::wal::{FRAME_HEADER_LEN, FrameHeader, HEADER_LEN, WalHeader, WalIndex, WalPosition};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{PageNo, PageSize};

/// How many frames are looked at for a commit that nobody counts.
const UNCOUNTED: u32 = 4096;

/// A frame of the WAL, and the page in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frame {
    pub(super) page: PageNo,
    pub(super) number: u32,
}

/// The newest frame of each page, sorted by page; empty when the file has everything already.
#[derive(Debug)]
pub(super) struct Overlay(Vec<Frame>);

impl Overlay {
    pub(super) fn new(index: &WalIndex, frames: Vec<Frame>) -> Self {
        // See the invariants of `pin`: a pin on a fully backfilled WAL must not read the WAL.
        if index.backfilled >= index.frames { Self(Vec::new()) } else { Self(frames) }
    }

    pub(super) fn whole(pin: &Pin<'_>) -> Result<Self> {
        match pin.journal {
            Journal::Wal(index) if index.backfilled < index.frames => {
                let frames = read_frames(pin, &index, None)?.ok_or_else(|| {
                    Error::new(ErrorKind::Source, "has a WAL with a broken checksum")
                })?;
                Ok(Self::new(&index, frames))
            }
            _ => Ok(Self(Vec::new())),
        }
    }

    pub(super) fn frame(&self, page: PageNo) -> Option<u32> {
        let at = self.0.binary_search_by_key(&page, |f| f.page).ok()?;
        self.0.get(at).map(|f| f.number)
    }

    /// The frames of the pages from `first` on that come before `end`.
    pub(super) fn between(&self, first: u32, end: u32) -> impl Iterator<Item = &Frame> {
        let from = self.0.partition_point(|f| f.page.0 < first);
        self.0.iter().skip(from).take_while(move |f| f.page.0 < end)
    }
}

/// Reads the frames behind `from`, or all of them, up to the pinned snapshot, and checks that each
/// one's checksum continues the one before. `None` when they do not.
pub(super) fn read_frames(
    pin: &Pin<'_>,
    index: &WalIndex,
    from: Option<WalPosition>,
) -> Result<Option<Vec<Frame>>> {
    let Some(wal) = FileRef::journal(pin.connection())? else { return Ok(None) };
    let mut frames = Vec::new();
    let walked = walk(&wal, pin.page_size(), index, from, &mut Vec::new(), &mut |frame| {
        frames.push(Frame { page: PageNo(frame.header.page), number: frame.number });
        Ok(())
    })?;
    Ok(walked.then(|| newest_of_each_page(frames)))
}

/// A frame that was read, its checksum compared.
pub(super) struct Walked<'b> {
    pub(super) number: u32,
    pub(super) header: FrameHeader,
    pub(super) page: &'b [u8],
}

/// Gives every frame behind `from`, or from the first on, up to the last that `index` counts, to
/// `each`. Answers whether they continue each other's checksums from there up to the index's own;
/// if not, what was given away up to the last commit is sound all the same. `buffer` is room to
/// read into; whoever walks often keeps it.
pub(super) fn walk(
    wal: &FileRef<'_>,
    page_size: PageSize,
    index: &WalIndex,
    from: Option<WalPosition>,
    buffer: &mut Vec<u8>,
    each: &mut dyn FnMut(Walked<'_>) -> Result<()>,
) -> Result<bool> {
    let mut header = [0; HEADER_LEN];
    wal.read_at(&mut header, 0)?;
    let Some(header) = WalHeader::parse(&header) else { return Ok(false) };
    if header.page_size != page_size || header.salts != index.salts {
        return Ok(false);
    }
    let (mut sum, mut number) = (header.checksum, 0);
    if let Some(from) = from.filter(|from| from.frame > 0) {
        let mut last = [0; FRAME_HEADER_LEN];
        wal.read_at(&mut last, WalHeader::frame_offset(page_size, from.frame))?;
        let same = FrameHeader::parse(&last)
            .is_some_and(|f| f.salts == from.salts && f.checksum == from.checksum);
        if !same {
            return Ok(false);
        }
        (sum, number) = (from.checksum, from.frame);
    }
    let frame_len = FRAME_HEADER_LEN + page_size.bytes();
    while number < index.frames {
        let left = usize::try_from(index.frames - number).unwrap_or(usize::MAX);
        let count = (CHUNK_LEN / frame_len).max(1).min(left);
        buffer.resize(count * frame_len, 0);
        wal.read_at(buffer, WalHeader::frame_offset(page_size, number + 1))?;
        for bytes in buffer.chunks_exact(frame_len) {
            number += 1;
            let sound = FrameHeader::parse(bytes).filter(|f| f.salts == index.salts);
            let (Some(frame), Some(expected)) =
                (sound, FrameHeader::expected(sum, header.order, bytes))
            else {
                return Ok(false);
            };
            if frame.checksum != expected {
                return Ok(false);
            }
            sum = expected;
            let page = bytes.get(FRAME_HEADER_LEN..).unwrap_or_default();
            each(Walked { number, header: frame, page })?;
        }
    }
    Ok(sum == index.checksum)
}

/// Whether a commit stands in the WAL behind the frames that `index` counts: whole, and continuing
/// their checksums. Its writer is about to count it, or counts in another wal-index. `is_later`
/// tells whether salts are those of a later generation than the index has: what is left in the file
/// of an earlier one means nothing.
pub(super) fn has_uncounted(
    wal: &FileRef<'_>,
    page_size: PageSize,
    index: &WalIndex,
    is_later: &dyn Fn([u8; 8]) -> bool,
) -> Result<bool> {
    let mut header = [0; HEADER_LEN];
    if wal.read_at(&mut header, 0)? {
        return Ok(false);
    }
    let Some(header) = WalHeader::parse(&header).filter(|header| header.page_size == page_size)
    else {
        return Ok(false);
    };
    let (mut sum, first) = match (header.salts == index.salts, index.frames) {
        (true, 1..) => (index.checksum, index.frames.saturating_add(1)),
        (true, 0) => (header.checksum, 1),
        (false, _) if is_later(header.salts) => (header.checksum, 1),
        (false, _) => return Ok(false),
    };
    let mut bytes = vec![0; FRAME_HEADER_LEN + page_size.bytes()];
    for number in first..first.saturating_add(UNCOUNTED) {
        if wal.read_at(&mut bytes, WalHeader::frame_offset(page_size, number))? {
            return Ok(false);
        }
        let sound = FrameHeader::parse(&bytes).filter(|frame| frame.salts == header.salts);
        let (Some(frame), Some(expected)) =
            (sound, FrameHeader::expected(sum, header.order, &bytes))
        else {
            return Ok(false);
        };
        if frame.checksum != expected {
            return Ok(false);
        }
        if frame.commit_size > 0 {
            return Ok(true);
        }
        sum = expected;
    }
    Ok(false)
}

fn newest_of_each_page(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.sort_unstable();
    frames.dedup_by(|later, kept| {
        let same = later.page == kept.page;
        if same {
            kept.number = later.number;
        }
        same
    });
    frames
}

/// Reads the page in a frame of the WAL.
pub(super) fn read_frame(pin: &Pin<'_>, number: u32, page: &mut [u8]) -> Result<()> {
    let wal = FileRef::journal(pin.connection())?
        .ok_or_else(|| Error::new(ErrorKind::Source, "has lost its WAL while it was read"))?;
    let at = WalHeader::frame_offset(pin.page_size(), number) + FRAME_HEADER_LEN as u64;
    if wal.read_at(page, at)? {
        return Err(Error::new(ErrorKind::Source, "has a WAL that ends inside a frame"));
    }
    Ok(())
}
