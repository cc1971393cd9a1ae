//! A database that goes back in time between statements: one connection for all the commits that
//! are asked.
//!
//! Invariants:
//! - SQLite sees the pages of one commit during a statement. Page 1 tells it that the file changed
//!   whenever that is another commit, so that it keeps no page of the last one.
//! - Every page that SQLite read is noted, the first page included.
//! - Objects that a merge replaced are no damage: the chain is read again, and the commit is where
//!   it is now. A commit that was pruned is an error.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::ops::restore::{around, check_above_hole, still};
use crate::progress::Silent;
use crate::repo::chain::trail::Trail;
use crate::repo::chain::{Chain, Commit, retry_on_merge};
use crate::repo::history::handle::History;
use crate::sqlite::provider::PageProvider;
use crate::types::{Digest, PageNo, PageSize, Seq};

/// The database, as it was at the commit that it is at. Clones are the same.
#[derive(Clone)]
pub(super) struct Past(Arc<Shared>);

struct Shared {
    history: History,
    state: Mutex<State>,
}

struct State {
    trail: Trail,
    /// How often it went to another commit.
    moves: u32,
    noted: Vec<PageNo>,
}

impl Past {
    /// At a commit of a chain.
    pub(super) fn new(history: &History, chain: &Arc<Chain>, commit: &Commit) -> Result<Self> {
        let trail = Trail::new(history, chain.clone(), commit)?;
        let state = Mutex::new(State { trail, moves: 0, noted: Vec::new() });
        Ok(Self(Arc::new(Shared { history: history.clone(), state })))
    }

    /// Goes to a commit that is not newer.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it was pruned meanwhile.
    pub(super) fn go_back(&self, commit: &Commit) -> Result<()> {
        let mut state = self.lock();
        let now = still(state.trail.chain(), commit).map_err(again)?;
        state.trail.go_back(&now);
        state.moves = state.moves.wrapping_add(1);
        Ok(())
    }

    /// The pages that SQLite read since this was asked last; each once, ascending.
    pub(super) fn take_noted(&self) -> Vec<PageNo> {
        let mut noted = std::mem::take(&mut self.lock().noted);
        noted.sort_unstable();
        noted.dedup();
        noted
    }

    /// Which commit wrote the version of each of these pages, and its digest.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] naming the object; store errors.
    pub(super) fn find(&self, pages: &[PageNo]) -> Result<Vec<Option<(Seq, Digest)>>> {
        self.with_trail(&mut self.lock(), |trail| trail.find(pages))
    }

    /// The content of a page; `None` for the page of the lock byte.
    ///
    /// # Errors
    /// As [`Past::find`].
    pub(super) fn content(&self, page: PageNo) -> Result<Option<Arc<[u8]>>> {
        self.with_trail(&mut self.lock(), |trail| trail.content(page))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the trail. What can't be read is read again, with the chain as it is now
    /// if a merge replaced some of it, and around merged segments that are damaged; the trail goes
    /// on there.
    fn with_trail<T>(
        &self,
        state: &mut State,
        work: impl Fn(&mut Trail) -> Result<T>,
    ) -> Result<T> {
        let damage = match work(&mut state.trail) {
            Err(e) if e.kind() == ErrorKind::Damaged => e,
            done => return done,
        };
        let history = &self.0.history;
        let (chain, commit) = (state.trail.chain().clone(), state.trail.commit().clone());
        if chain.hole_below(commit.seq).is_some() {
            // It says which object that is.
            check_above_hole(history, &chain, &commit)?;
        }
        let found = RefCell::new(None);
        let again_with = |chain: &Chain| {
            let commit = still(chain, &commit)?;
            let mut trail = Trail::new(history, Arc::new(chain.clone()), &commit)?;
            let done = work(&mut trail)?;
            *found.borrow_mut() = Some((trail, done));
            Ok(())
        };
        let done = match retry_on_merge(history, &chain, again_with) {
            Err(e) if e.kind() == ErrorKind::Damaged => around(history, e, again_with, &Silent),
            done => done,
        };
        done.map_err(again)?;
        let (trail, done) = found.into_inner().ok_or(damage)?;
        state.trail = trail;
        Ok(done)
    }
}

/// What to do about a commit that was pruned.
fn again(e: Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound => e.with_hint("begin again: there are other restore points now"),
        _ => e,
    }
}

impl PageProvider for Past {
    fn page_size(&self) -> PageSize {
        self.lock().trail.commit().segment.manifest.page_size
    }

    fn pages(&self) -> u32 {
        self.lock().trail.commit().record.pages
    }

    fn moves(&self) -> bool {
        true
    }

    fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()> {
        let mut state = self.lock();
        state.noted.push(page);
        let content = self.with_trail(&mut state, |trail| trail.content(page))?;
        match content {
            // The page of the lock byte has nothing in it.
            None => into.fill(0),
            Some(content) if content.len() == into.len() => into.copy_from_slice(&content),
            Some(_) => {
                let what = format!("page {page} has another size than its commit says");
                return Err(Error::damaged(state.trail.commit().segment.name(), what));
            }
        }
        if page == PageNo(1) {
            as_changed(into, state.moves);
        }
        Ok(())
    }
}

/// Where page 1 has the change counter.
const COUNTER: usize = 24;
/// Where page 1 has the counter with which the number of pages was written.
const VALID_FOR: usize = 92;
/// Where page 1 says whether there is a WAL, for writers and for readers.
const JOURNAL: usize = 18;

/// Makes page 1 say that the file changed as often as this, and that there is no WAL.
fn as_changed(page: &mut [u8], moves: u32) {
    let counter = page.get(COUNTER..COUNTER + 4).map(<[u8]>::to_vec);
    let is_valid = counter.as_deref() == page.get(VALID_FOR..VALID_FOR + 4);
    let valid_for = if is_valid { moves } else { !moves };
    for (at, value) in [(COUNTER, moves), (VALID_FOR, valid_for)] {
        if let Some(place) = page.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
    if let Some(versions) = page.get_mut(JOURNAL..JOURNAL + 2)
        && versions == [2, 2]
    {
        versions.fill(1);
    }
}

/// What of page 1 means something to who reads: but for counters and the freelist.
pub(super) fn of_readers(page: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for range in [0..24, 40..48, 56..60, 72..92] {
        hasher.update(page.get(range).unwrap_or_default());
    }
    hasher.update(page.get(100..).unwrap_or_default());
    let mut digest = Digest::default();
    let bytes = hasher.finalize();
    digest.0.iter_mut().zip(bytes.as_bytes()).for_each(|(to, from)| *to = *from);
    digest
}
