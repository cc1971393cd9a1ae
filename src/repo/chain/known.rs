//! Where pages were found last, for whoever goes from commit to commit: a page that nothing wrote
//! in between is where it was.
//!
//! Of some pages the content is at hand, too: those that lead to rows are read at every commit.
//!
//! Invariant: a version or a content is given for a commit only if it was found for that commit, or
//! for one before it, and nothing wrote the page in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::changed::Step;
use super::lookup::Version;
use crate::types::{PageNo, Seq};

/// How many pages are remembered.
const MOST: usize = 16 * 1024;

/// Of how many pages the content is at hand, at most.
const NEAR: usize = 1024;
/// Of how many pages that the last step wrote the content before it is at hand.
const BEFORE: usize = 64;

/// Pages, and the versions that some commits have of them.
pub(super) struct Known(Mutex<State>);

struct State {
    pages: LruCache<PageNo, Of>,
    last: Option<Last>,
    /// Contents as the commit has them that the last step led to. Each page has one place, which it
    /// shares with others.
    near: Vec<Option<(PageNo, Arc<[u8]>)>>,
    /// Contents of pages that the last step wrote, as they were before.
    before: Vec<(PageNo, Arc<[u8]>)>,
    /// How many bytes `near` may have.
    room: usize,
}

/// The last step from a commit to the next one.
struct Last {
    from: Seq,
    to: Seq,
    /// The pages that were written in between; they ascend.
    written: Arc<[PageNo]>,
}

impl Last {
    /// Whether it wrote a page.
    fn wrote(&self, page: PageNo) -> bool {
        self.written.binary_search(&page).is_ok()
    }
}

/// The place of a page among so many; `None` if there are none.
fn place(page: PageNo, places: usize) -> Option<usize> {
    usize::try_from(page.0).ok()?.checked_rem(places)
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
    /// Nothing yet, and room for contents of so many bytes.
    pub(super) fn new(room: usize) -> Self {
        let (pages, last) = (LruCache::unbounded(), None);
        Self(Mutex::new(State { pages, last, near: Vec::new(), before: Vec::new(), room }))
    }

    /// The content that a commit has of a page, if that is at hand. Only steps make it so.
    pub(super) fn content(&self, page: PageNo, seq: Seq) -> Option<Arc<[u8]>> {
        let state = self.lock();
        let last = state.last.as_ref()?;
        if seq == last.from {
            if let Some((_, content)) = state.before.iter().find(|(of, _)| *of == page) {
                return Some(content.clone());
            }
            if last.wrote(page) {
                return None;
            }
        } else if seq != last.to {
            return None;
        }
        let (of, content) = state.near.get(place(page, state.near.len())?)?.as_ref()?;
        (*of == page).then(|| content.clone())
    }

    /// Has the content of a page at hand that a commit has. It was compared with its digest.
    pub(super) fn put_content(&self, page: PageNo, seq: Seq, content: &Arc<[u8]>) {
        let mut state = self.lock();
        let State { last: Some(last), near, before, room, .. } = &mut *state else { return };
        if seq == last.from && last.wrote(page) {
            if before.len() < BEFORE {
                before.push((page, content.clone()));
            }
            return;
        }
        if seq != last.from && seq != last.to {
            return;
        }
        if near.is_empty() {
            near.resize(NEAR.min(*room / content.len().max(1)), None);
        }
        if let Some(near) = place(page, near.len()).and_then(|place| near.get_mut(place)) {
            *near = Some((page, content.clone()));
        }
    }

    /// The version that a commit has of a page, if that is known.
    pub(super) fn get(&self, page: PageNo, seq: Seq) -> Option<Option<Version>> {
        let mut state = self.lock();
        let State { pages, last, .. } = &mut *state;
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
        let State { pages, last, .. } = &mut *state;
        let was_written = |last: &Last| last.wrote(page);
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
        let State { pages, last, near, before, .. } = &mut *state;
        let end = last.as_ref().map(|last| last.to);
        before.clear();
        if end == Some(from) && written.len() <= BEFORE {
            for page in written.iter() {
                let at = place(*page, near.len()).and_then(|place| near.get_mut(place));
                before.extend(at.and_then(|at| at.take_if(|(of, _)| of == page)));
            }
        } else {
            near.clear();
        }
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
        state.near.clear();
        state.before.clear();
        state.last = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(byte: u8) -> Arc<[u8]> {
        vec![byte; 4].into()
    }

    fn pages(pages: &[u32]) -> Arc<[PageNo]> {
        pages.iter().copied().map(PageNo).collect()
    }

    #[test]
    fn a_content_is_at_hand_for_the_commits_that_have_it_and_for_no_other() {
        let known = Known::new(100);
        let at = |page, seq| known.content(PageNo(page), Seq(seq)).map(|content| content[0]);
        // Without a step nobody asks again.
        known.put_content(PageNo(1), Seq(1), &content(1));
        assert_eq!(at(1, 1), None);
        known.step((Seq(1), Seq(2)), pages(&[3]), None);
        known.put_content(PageNo(1), Seq(1), &content(1));
        known.put_content(PageNo(3), Seq(1), &content(3));
        known.put_content(PageNo(3), Seq(2), &content(4));
        assert_eq!([at(1, 1), at(1, 2), at(3, 1), at(3, 2)], [1, 1, 3, 4].map(Some));
        assert_eq!([at(1, 3), at(2, 2), at(28, 2)], [None; 3]);
        known.step((Seq(2), Seq(4)), pages(&[1]), None);
        assert_eq!([at(1, 2), at(1, 4), at(3, 4)], [Some(1), None, Some(4)]);
        // What was read too slowly is of a commit that is gone.
        known.put_content(PageNo(5), Seq(1), &content(5));
        assert_eq!([at(1, 1), at(5, 2), at(5, 4)], [None; 3]);
        // A step from elsewhere.
        known.step((Seq(7), Seq(8)), pages(&[]), None);
        assert_eq!([at(3, 7), at(3, 8), at(1, 7)], [None; 3]);
        known.put_content(PageNo(3), Seq(8), &content(9));
        known.clear();
        assert_eq!(at(3, 8), None);
    }

    #[test]
    fn contents_take_no_more_than_their_room() {
        let known = Known::new(12);
        known.step((Seq(1), Seq(2)), (100..1000).map(PageNo).collect(), None);
        for page in 0..1000 {
            known.put_content(PageNo(page), Seq(1), &content(1));
            known.put_content(PageNo(page), Seq(2), &content(2));
        }
        let at = |seq| (0..1000).filter(|page| known.content(PageNo(*page), seq).is_some()).count();
        assert_eq!(at(Seq(2)), 3);
        assert!(at(Seq(1)) <= 3 + BEFORE);
    }
}
