//! What the commits of a writer did to the database as a whole, and which of them call for a mark.
//!
//! Capture sees page 1 whenever it is written; so nothing has to be read for this, but where a run
//! died, an answer was lost, or nothing is remembered.
//!
//! Invariant: [`Noticed::looked`] passes no commit that may still call for a mark. It is remembered
//! beside the head; so whoever comes after a run that died knows where to look.

use crate::format::segment::CommitRecord;
use crate::policy::mark::{Cause, Front, Shape};
use crate::repo::history::marks::{Deed, Earlier};
use crate::repo::history::unseen::{Found, Unseen};
use crate::repo::local::state::{Head, Looked};
use crate::types::{Digest, PageSize, Seq, Timestamp};

/// So many marks are remembered: more than a day has.
const REMEMBERED: usize = 64;

/// What was noticed, and not marked yet.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// The newest commit.
    at: Option<(Seq, Digest)>,
    /// The database then, if that is known.
    shape: Option<Shape>,
    chore: Chore,
    /// Whether somebody is at a chore.
    is_under_way: bool,
    /// The marks that are known.
    earlier: Earlier,
}

/// What is to be marked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chore {
    pub(crate) deeds: Vec<Deed>,
    /// Commits that have to be looked at in the store.
    pub(crate) unseen: Option<Unseen>,
    /// The marks that are known.
    pub(crate) earlier: Earlier,
}

impl Chore {
    pub(crate) fn is_empty(&self) -> bool {
        self.deeds.is_empty() && self.unseen.is_none()
    }
}

impl Noticed {
    /// Nothing yet, of a writer that goes on from a head.
    pub(crate) fn begin(head: Option<&Head>, looked: Option<&Looked>) -> Self {
        let Some(head) = head else { return Self::default() };
        let mut noticed = Self { at: Some((head.seq, head.digest)), ..Self::default() };
        match looked {
            Some(looked) if noticed.at == Some((looked.seq, looked.digest)) => {
                noticed.shape = Some(looked.shape);
            }
            _ => {
                let after = looked.map(|looked| (looked.seq, looked.digest));
                noticed.chore.unseen = Some(Unseen { after, until: head.seq });
            }
        }
        noticed
    }

    /// Notes what was published behind the head: commits, each with its page 1 if it wrote that.
    pub(crate) fn note(
        &mut self,
        page_size: PageSize,
        commits: impl IntoIterator<Item = (CommitRecord, Option<Front>)>,
    ) {
        for (commit, front) in commits {
            let shape = match front {
                Some(front) => Some(front.shape(commit.pages, page_size)),
                None if commit.pages == 0 => Some(Shape::empty(page_size)),
                None => self.shape.map(|shape| shape.resized(commit.pages)),
            };
            match (self.at, &self.shape, &shape) {
                (Some(before), Some(then), Some(now)) => {
                    if let Some(deed) = Deed::of(before, then, &commit, now) {
                        self.expect(deed);
                    }
                }
                // A follower may come while an application makes its first tables.
                (None, _, Some(now)) if now.is_small() => {
                    self.earlier.push((Cause::SchemaChange, commit.time));
                }
                // What page 1 was before has to be looked up.
                (Some(before), None, Some(_)) => self.miss(before, commit.seq),
                _ => {}
            }
            (self.at, self.shape) = (Some((commit.seq, commit.digest)), shape);
        }
    }

    /// A mark may be called for.
    fn expect(&mut self, deed: Deed) {
        let due = |cause: &Cause| (*cause, deed.time);
        if deed.before.is_none() {
            self.earlier.extend(deed.causes.iter().map(due));
            self.forget_old();
            return;
        }
        // Those that are to come count, too.
        let to_come = self.chore.deeds.iter().flat_map(|d| d.causes.iter().map(|c| (*c, d.time)));
        let earlier: Earlier = self.earlier.iter().copied().chain(to_come).collect();
        if deed.is_due(&earlier) {
            self.chore.deeds.push(deed);
        }
    }

    /// Commits behind one were not looked at.
    fn miss(&mut self, after: (Seq, Digest), until: Seq) {
        let after = self.chore.unseen.map_or(Some(after), |unseen| unseen.after);
        self.chore.unseen = Some(Unseen { after, until });
    }

    /// Another head is remembered: it was noted, or nobody knows what its page 1 says.
    pub(crate) fn follow(&mut self, before: Option<&Head>, head: &Head) {
        let at = Some((head.seq, head.digest));
        if self.at == at {
            return;
        }
        if let Some(before) = before {
            self.miss((before.seq, before.digest), head.seq);
        }
        (self.at, self.shape) = (at, None);
    }

    /// The newest commit, if none before it may still call for a mark.
    pub(crate) fn looked(&self) -> Option<Looked> {
        let (seq, digest) = self.at.filter(|_| self.chore.is_empty() && !self.is_under_way)?;
        Some(Looked { seq, digest, shape: self.shape? })
    }

    /// What is to be marked; `None` if nothing is, or somebody is at it.
    pub(crate) fn take(&mut self) -> Option<Chore> {
        if self.chore.is_empty() || self.is_under_way {
            return None;
        }
        self.is_under_way = true;
        let chore = std::mem::take(&mut self.chore);
        Some(Chore { earlier: self.earlier.clone(), ..chore })
    }

    /// A chore was done.
    pub(crate) fn done(&mut self, found: Option<&Found>, earlier: &[(Cause, Timestamp)]) {
        self.is_under_way = false;
        // Others may have been noted meanwhile.
        self.earlier.extend_from_slice(earlier);
        self.forget_old();
        if let Some((seq, shape)) = found.and_then(|found| found.shape)
            && self.shape.is_none()
            && self.at.is_some_and(|(at, _)| at == seq)
        {
            self.shape = Some(shape);
        }
    }

    /// A chore could not be done: it is to be tried again.
    pub(crate) fn put_back(&mut self, chore: Chore) {
        self.is_under_way = false;
        let later = std::mem::replace(&mut self.chore, chore);
        self.chore.deeds.extend(later.deeds);
        if let Some(later) = later.unseen {
            self.chore.unseen = Some(match self.chore.unseen {
                Some(unseen) => Unseen { until: later.until, ..unseen },
                None => later,
            });
        }
    }

    /// No marks are wanted. Answers whether one may have been called for.
    pub(crate) fn forget(&mut self) -> bool {
        !std::mem::take(&mut self.chore).is_empty()
    }

    fn forget_old(&mut self) {
        self.earlier.sort_by_key(|(_, time)| *time);
        self.earlier.dedup();
        self.earlier.drain(..self.earlier.len().saturating_sub(REMEMBERED));
    }
}
