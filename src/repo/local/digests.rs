//! The page digests of the head, in a local file: what a scan compares the database with.
//!
//! ```text
//!  0  4  magic PKDG      8  16  history id     32  4  page size    40  16  database digest
//!  4  4  version 1      24   8  seq            36  4  pages        56   8  reserved, zero
//! 64  .  16 bytes for each page; zeros for the lock-byte page
//! ```
//!
//! Invariants: a cache. It is used only if it names the head's commit and digest, and the XOR of
//! its digests is that digest; so a file torn by a crash is never believed. It is changed in place
//! only with its seq set to zero first. It stays on disk: memory does not grow with the database.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files::{self, Unfinished};
use super::state::Head;
use crate::error::{Error, Result};
use crate::types::{Digest, HistoryId, PageNo};

const HEADER_LEN: u64 = 64;
const DIGEST_LEN: usize = 16;
/// How many digests to read at once.
const SLAB: usize = 64 * 1024;

/// The digests of the head's pages.
#[derive(Debug)]
pub(crate) struct HeadDigests {
    file: File,
    path: PathBuf,
    history: HistoryId,
    pages: u32,
}

fn at(page: PageNo) -> u64 {
    HEADER_LEN + u64::from(page.0.saturating_sub(1)) * DIGEST_LEN as u64
}

fn header(history: HistoryId, head: &Head) -> [u8; 64] {
    let mut bytes = [0; 64];
    let fields: [&[u8]; 7] = [
        b"PKDG\x01\0\0\0",
        &history.0,
        &head.seq.0.to_le_bytes(),
        &head.page_size.get().to_le_bytes(),
        &head.pages.to_le_bytes(),
        &head.digest.0,
        &[0; 8],
    ];
    for (to, from) in bytes.iter_mut().zip(fields.iter().flat_map(|f| f.iter())) {
        *to = *from;
    }
    bytes
}

impl HeadDigests {
    /// Opens the file if it is the head's; `None` when it has to be rebuilt.
    pub(crate) fn open(path: &Path, history: HistoryId, head: &Head) -> Result<Option<Self>> {
        let file = match files::operation("reads page digests").and_then(|()| files::open(path)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e, path)),
        };
        let mut found = [0; 64];
        let expected_len = at(PageNo(head.pages.saturating_add(1)));
        let len = file.metadata().map_err(|e| failed(e, path))?.len();
        if len != expected_len {
            return Ok(None);
        }
        file.read_exact_at(&mut found, 0).map_err(|e| failed(e, path))?;
        if found != header(history, head) {
            return Ok(None);
        }
        let digests = Self { file, path: path.to_owned(), history, pages: head.pages };
        let sound = digests.sum(1, head.pages)? == head.digest;
        Ok(sound.then_some(digests))
    }

    /// The digests of consecutive pages; `None` for one beyond the head's size.
    pub(crate) fn read(&self, first: PageNo, out: &mut [Option<Digest>]) -> Result<()> {
        let known = self.pages.saturating_add(1).saturating_sub(first.0.max(1));
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(out.len());
        let mut bytes = vec![[0; DIGEST_LEN]; known];
        self.file
            .read_exact_at(bytes.as_flattened_mut(), at(first))
            .map_err(|e| failed(e, &self.path))?;
        let digests = bytes.into_iter().map(|b| Some(Digest(b))).chain(std::iter::repeat(None));
        for (slot, digest) in out.iter_mut().zip(digests) {
            *slot = digest;
        }
        Ok(())
    }

    /// The XOR of the digests of pages `first` to `last`.
    pub(crate) fn sum(&self, first: u32, last: u32) -> Result<Digest> {
        let mut sum = Digest::default();
        let left =
            |page| usize::try_from(last - page).unwrap_or(usize::MAX).saturating_add(1).min(SLAB);
        let mut slab = if first <= last { vec![None; left(first)] } else { Vec::new() };
        let mut page = first;
        while page <= last {
            let n = left(page);
            let slab = slab.get_mut(..n).unwrap_or_default();
            self.read(PageNo(page), slab)?;
            for digest in slab.iter().flatten() {
                sum.toggle(digest);
            }
            page = page.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        }
        Ok(sum)
    }

    /// Turns the file into the new head's: puts in the changed pages' digests, cuts or extends it.
    pub(crate) fn patch(&mut self, head: &Head, changed: &[(PageNo, Digest)]) -> Result<()> {
        self.pages = head.pages;
        let write = || {
            files::operation("changes page digests")?;
            let mut invalid = header(self.history, head);
            if let Some(seq) = invalid.get_mut(24..32) {
                seq.fill(0);
            }
            self.file.write_all_at(&invalid, 0)?;
            self.file.set_len(at(PageNo(head.pages.saturating_add(1))))?;
            for (page, digest) in changed {
                self.file.write_all_at(&digest.0, at(*page))?;
            }
            self.file.write_all_at(&header(self.history, head), 0)
        };
        write().map_err(|e| failed(e, &self.path))
    }
}

/// A new file of digests, written from page 1 on; it takes the old one's place at the end.
#[derive(Debug)]
pub(crate) struct DigestsWriter {
    out: BufWriter<Unfinished>,
    path: PathBuf,
    next: u32,
}

impl DigestsWriter {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let create = || {
            let mut out = BufWriter::with_capacity(1 << 16, Unfinished::create(path)?);
            out.write_all(&[0; 64])?;
            Ok(out)
        };
        let out = create().map_err(|e| failed(e, path))?;
        Ok(Self { out, path: path.to_owned(), next: 1 })
    }

    /// Adds the next page's digest; pages that were left out in between get zeros.
    pub(crate) fn push(&mut self, page: PageNo, digest: &Digest) -> Result<()> {
        self.fill_to(page.0)?;
        self.out.write_all(&digest.0).map_err(|e| failed(e, &self.path))?;
        self.next = page.0.saturating_add(1);
        Ok(())
    }

    fn fill_to(&mut self, page: u32) -> Result<()> {
        while self.next < page {
            self.out.write_all(&[0; DIGEST_LEN]).map_err(|e| failed(e, &self.path))?;
            self.next += 1;
        }
        Ok(())
    }

    /// Completes the file for the head and puts it in place.
    pub(crate) fn finish(mut self, history: HistoryId, head: &Head) -> Result<()> {
        self.fill_to(head.pages.saturating_add(1))?;
        let Self { out, path, .. } = self;
        let finish = || {
            files::operation("writes page digests")?;
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.file().write_all_at(&header(history, head), 0)?;
            file.finish()
        };
        finish().map_err(|e| failed(e, &path))
    }
}

fn failed(e: io::Error, path: &Path) -> Error {
    Error::io(e, "the page digests of the last backup cannot be used", path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::types::{PageSize, SegmentId, Seq};

    fn digest(n: u32) -> Digest {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes());
        Digest(bytes)
    }

    fn head(seq: u64, digests: &[Digest]) -> Head {
        let mut sum = Digest::default();
        digests.iter().for_each(|d| sum.toggle(d));
        Head {
            segment: SegmentId([1; 16]),
            segment_digest: [2; 32],
            term: crate::types::Term(1),
            first: Seq(seq),
            seq: Seq(seq),
            page_size: PageSize::DEFAULT,
            pages: u32::try_from(digests.len()).unwrap(),
            digest: sum,
        }
    }

    #[test]
    fn patched_digests_are_those_of_the_new_head_and_torn_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("digests");
        let history = HistoryId([7; 16]);
        let mut digests: Vec<Digest> = (1..100u32).map(|n| digest(n % 1000)).collect();
        let first = head(1, &digests);
        assert!(HeadDigests::open(&path, history, &first).unwrap().is_none());
        let mut writer = DigestsWriter::create(&path).unwrap();
        for (n, d) in (1..).zip(&digests) {
            writer.push(PageNo(n), d).unwrap();
        }
        writer.finish(history, &first).unwrap();
        let mut cache = HeadDigests::open(&path, history, &first).unwrap().unwrap();
        let mut out = [None; 3];
        cache.read(PageNo(98), &mut out).unwrap();
        assert_eq!(out, [Some(digests[97]), Some(digests[98]), None]);

        digests.truncate(50);
        digests[9] = digest(777);
        let second = head(2, &digests);
        cache.patch(&second, &[(PageNo(10), digests[9])]).unwrap();
        assert!(HeadDigests::open(&path, history, &first).unwrap().is_none());
        assert!(HeadDigests::open(&path, HistoryId([8; 16]), &second).unwrap().is_none());
        assert!(HeadDigests::open(&path, history, &second).unwrap().is_some());

        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(HeadDigests::open(&path, history, &second).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
