//! Where pages were found last, for whoever goes from commit to commit: a page that nothing wrote
//! in between is where it was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::lookup::Version;
use crate::types::{PageNo, Seq};

/// How many pages are remembered.
const MOST: usize = 16 * 1024;

/// Pages, and the versions that some commits have of them.
pub(super) struct Known(Mutex<LruCache<PageNo, Of>>);

/// The newest version of a page for the commits from one to another, both included.
struct Of {
    version: Option<Version>,
    from: Seq,
    to: Seq,
}

/// An earlier commit, and all pages that were written behind it.
pub(super) struct Since {
    pub(super) seq: Seq,
    /// They ascend.
    pub(super) written: Arc<[PageNo]>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }

    /// The version that a commit has of a page, if that is known.
    pub(super) fn get(
        &self,
        page: PageNo,
        seq: Seq,
        since: Option<&Since>,
    ) -> Option<Option<Version>> {
        let mut known = self.lock();
        let of = known.get_mut(&page)?;
        let holds = |seq: Seq| (of.from..=of.to).contains(&seq);
        if !holds(seq) {
            let since = since.filter(|since| since.seq < seq && holds(since.seq))?;
            if since.written.binary_search(&page).is_ok() {
                return None;
            }
            of.to = of.to.max(seq);
        }
        Some(of.version.clone())
    }

    /// Remembers the version that a commit has of a page.
    pub(super) fn put(&self, page: PageNo, seq: Seq, version: Option<Version>) {
        let mut known = self.lock();
        known.put(page, Of { version, from: seq, to: seq });
        if known.len() > MOST {
            known.pop_lru();
        }
    }

    /// Forgets everything: the segments are others now.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<PageNo, Of>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
