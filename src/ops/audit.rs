//! Whether every commit's pages, as the indexes list them, add up to its database digest.
//!
//! A window of pages at a time, the whole chain is replayed: the digest of each page in the window
//! after each commit, and their XOR. Memory is that of a window, and 16 bytes for each commit.

use std::sync::Arc;

use crate::codec::batch::Decoder;
use crate::error::Result;
use crate::format::segment::SegmentKind;
use crate::ops::finding::Finding;
use crate::progress::{Monitor, check_cancelled};
use crate::repo::chain::{Chain, Segment};
use crate::types::{Digest, PageNo};

/// Pages of a window.
const WINDOW: u32 = 128 * 1024;

/// Compares the sum of every restore point's pages with its digest, and their number with its size.
/// Commits that expired or are carried are replayed with the others, but what only they needed may
/// be gone.
///
/// # Errors
/// [`crate::error::ErrorKind::Damaged`] when an index block can't be opened; store errors.
pub(crate) fn commit_digests(chain: &Chain, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
    let records = || chain.segments().iter().flat_map(|s| &s.manifest.commits);
    let largest = records().map(|record| record.pages).max().unwrap_or(0);
    let mut totals = vec![(Digest::default(), 0u32); records().count()];
    let mut decoder = Decoder::new()?;
    let mut first = 1;
    while first <= largest {
        check_cancelled(monitor)?;
        let last = first.saturating_add(WINDOW - 1).min(largest);
        let mut window = Window::new(first, last);
        let mut commits = totals.iter_mut();
        for segment in chain.segments() {
            window.replay(segment, &mut decoder, &mut commits)?;
        }
        first = first.saturating_add(WINDOW);
    }
    let mut findings = Vec::new();
    for (record, (sum, pages)) in records().zip(totals) {
        let Some(commit) = chain.commit(record.seq) else { continue };
        let lock_page = commit.segment.manifest.page_size.lock_page();
        let expected = commit.record.pages - u32::from(commit.record.pages >= lock_page.0);
        let message = if pages != expected {
            format!("commit {} has {pages} page versions instead of {expected}", commit.seq)
        } else if sum != commit.record.digest {
            format!("the pages of commit {} do not add up to its database digest", commit.seq)
        } else {
            continue;
        };
        let object = commit.segment.name().to_owned();
        findings.push(Finding { object, message, commit: Some(commit.seq) });
    }
    Ok(findings)
}

struct Window {
    first: u32,
    last: u32,
    digests: Vec<Option<Digest>>,
    sum: Digest,
    /// Pages of the window that have a digest.
    pages: u32,
    /// Pages of the whole database after the commit before.
    size: u32,
}

impl Window {
    fn new(first: u32, last: u32) -> Self {
        let len = usize::try_from(last - first).unwrap_or(0) + 1;
        Self { first, last, digests: vec![None; len], sum: Digest::default(), pages: 0, size: 0 }
    }

    /// Applies a segment's commits one after the other, and adds the window's sum to each one's
    /// total.
    fn replay<'t>(
        &mut self,
        segment: &Arc<Segment>,
        decoder: &mut Decoder,
        totals: &mut impl Iterator<Item = &'t mut (Digest, u32)>,
    ) -> Result<()> {
        if segment.manifest.kind == SegmentKind::Base {
            *self = Self::new(self.first, self.last);
        }
        let last = self.last;
        let mut entries: Vec<(u32, PageNo, Digest)> = Vec::new();
        for (number, block) in segment.manifest.blocks.iter().enumerate() {
            if block.last_page >= self.first && block.first_page <= last {
                let index = segment.block(number, block, decoder)?;
                let inside =
                    index.entries.iter().filter(|e| (self.first..=last).contains(&e.page.0));
                entries.extend(inside.map(|e| (e.commit, e.page, e.digest)));
            }
        }
        entries.sort_unstable();
        let mut entries = entries.into_iter().peekable();
        for (commit, record) in (0u32..).zip(&segment.manifest.commits) {
            while let Some((_, page, digest)) = entries.next_if(|(c, ..)| *c == commit) {
                self.set(page.0, Some(digest));
            }
            self.truncate(record.pages);
            if let Some((sum, pages)) = totals.next() {
                sum.toggle(&self.sum);
                *pages += self.pages;
            }
        }
        Ok(())
    }

    fn set(&mut self, page: u32, digest: Option<Digest>) {
        let place = page.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        let Some(slot) = place.and_then(|i| self.digests.get_mut(i)) else { return };
        if let Some(old) = std::mem::replace(slot, digest) {
            self.sum.toggle(&old);
            self.pages -= 1;
        }
        if let Some(new) = digest {
            self.sum.toggle(&new);
            self.pages += 1;
        }
    }

    /// Forgets the pages beyond a commit's size; the ordinary commit is as large as the one before.
    fn truncate(&mut self, size: u32) {
        for page in size.saturating_add(1).max(self.first)..=self.size.min(self.last) {
            self.set(page, None);
        }
        self.size = size;
    }
}
