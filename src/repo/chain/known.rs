//! Where pages were found last, for whoever goes from commit to commit: a page that nothing wrote
//! in between is where it was.
//!
//! Invariant: a version is given for a commit only if it was found for that commit, or for one
//! before it, and nothing wrote the page in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::changed::Step;
use super::lookup::Version;
use crate::types::{PageNo, Seq};

/// How many pages are remembered.
const MOST: usize = 16 * 1024;

/// Pages, and the versions that some commits have of them.
pub(super) struct Known(Mutex<State>);

struct State {
    pages: LruCache<PageNo, Of>,
    last: Option<Last>,
}

/// The last step from a commit to the next one.
struct Last {
    from: Seq,
    to: Seq,
    /// The pages that were written in between; they ascend.
    written: Arc<[PageNo]>,
}

/// The newest version of a page for the commits from one on.
struct Of {
    version: Option<Version>,
    from: Seq,
    /// Up to which commit; `None` for as far as steps were made.
    to: Option<Seq>,
    /// What the commit before has of a page that the last step wrote.
    before: Option<(Option<Version>, Seq)>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { pages: LruCache::unbounded(), last: None }))
    }

    /// The version that a commit has of a page, if that is known.
    pub(super) fn get(&self, page: PageNo, seq: Seq) -> Option<Option<Version>> {
        let mut state = self.lock();
        let State { pages, last } = &mut *state;
        let of = pages.get(&page)?;
        let end = of.to.or(last.as_ref().map(|last| last.to)).unwrap_or(of.from);
        if (of.from..=end).contains(&seq) {
            return Some(of.version.clone());
        }
        let before = of.before.as_ref().filter(|(_, at)| *at == seq);
        before.map(|(version, _)| version.clone())
    }

    /// Remembers the version that a commit has of a page.
    pub(super) fn put(&self, page: PageNo, seq: Seq, version: Option<Version>) {
        let mut state = self.lock();
        let State { pages, last } = &mut *state;
        let was_written = |last: &Last| last.written.binary_search(&page).is_ok();
        let to = match last {
            Some(last) if seq == last.to || (seq == last.from && !was_written(last)) => None,
            Some(last) if seq == last.from => {
                if let Some(of) = pages.get_mut(&page).filter(|of| of.from == last.to) {
                    of.before = Some((version, seq));
                    return;
                }
                Some(seq)
            }
            _ => Some(seq),
        };
        pages.put(page, Of { version, from: seq, to, before: None });
        if pages.len() > MOST {
            pages.pop_lru();
        }
    }

    /// Goes from a commit to a later one, between which these pages were written and no others.
    /// Where `steps` are given they are of all of them.
    pub(super) fn step(
        &self,
        (from, to): (Seq, Seq),
        written: Arc<[PageNo]>,
        steps: Option<Vec<Step>>,
    ) {
        let mut state = self.lock();
        let State { pages, last } = &mut *state;
        let end = last.as_ref().map(|last| last.to);
        if end != Some(from) {
            // What is known goes as far as the steps before this one.
            for (_, of) in pages.iter_mut() {
                let upto = of.to.or(end).unwrap_or(of.from);
                of.to = Some(upto);
            }
        }
        let has_steps = steps.is_some();
        for Step { page, old, new } in steps.into_iter().flatten() {
            let holds = |of: &Of| of.from <= from && of.to.or(end).is_some_and(|end| from <= end);
            let known = pages.pop(&page).filter(holds).map(|of| of.version);
            let before = old.map(Some).or(known).map(|version| (version, from));
            pages.put(page, Of { version: Some(new), from: to, to: None, before });
            if pages.len() > MOST {
                pages.pop_lru();
            }
        }
        if !has_steps {
            for page in written.iter() {
                // As far as it was known.
                if let Some(of) = pages.peek_mut(page) {
                    of.to = of.to.or(Some(from.max(of.from)));
                }
            }
        }
        *last = Some(Last { from, to, written });
    }

    /// Forgets everything: the segments are others now.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.pages.clear();
        state.last = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
