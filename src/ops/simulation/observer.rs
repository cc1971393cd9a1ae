//! A fresh reader, after each change of the store: what was promised is there.
//!
//! | promise | by |
//! |---|---|
//! | the chain reads, and the pages of every restore point add up to its digest | every history |
//! | an acknowledged commit has its digest, until a prune lets it go | writers |
//! | a label or a hold keeps its commit, with its digest | whoever was told that it is given |
//! | a mark does, until it is over | writers |
//! | of a policy's newest commits none goes | prunes |
//! | a seq never names two contents | writers |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::schedule::Schedule;
use crate::codec::batch::Decoder;
use crate::error::{Error, ErrorKind, Result};
use crate::format::segment::SegmentKind;
use crate::repo::chain::{Chain, Segment};
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::repo::keys::secret::Secret;
use crate::repo::write::segment_data::missing_part;
use crate::simulated;
use crate::types::{Digest, SegmentId, Seq, Timestamp};

/// The versions of a segment, by commit: page and digest.
type Versions = Arc<Vec<(usize, u32, Digest)>>;

/// What was promised of a history.
#[derive(Default)]
struct Book {
    acknowledged: BTreeMap<Seq, Digest>,
    /// Restore points that were there at some time, and those that a prune let go, acknowledged or
    /// not yet.
    points: BTreeMap<Seq, Digest>,
    gone: BTreeMap<Seq, Digest>,
    /// What labels and holds keep; the key is whatever the giver knows them by.
    kept: BTreeMap<Vec<u8>, (Seq, Digest)>,
    /// When marks among those are over.
    ends: BTreeMap<Vec<u8>, Timestamp>,
    /// Once there was damage, the acknowledged commits that were whole after it
    /// ([`super::damage`]).
    whole: Option<BTreeSet<Seq>>,
    /// Of each prune at work so far, how many of the newest commits it keeps; the fewest.
    last: Option<usize>,
    versions: HashMap<SegmentId, Versions>,
    /// The chain whose digests were added up last.
    seen: Vec<SegmentId>,
    seen_expired: Vec<(Seq, Seq)>,
}

/// Watches one history.
pub(super) struct Observer {
    name: &'static str,
    /// The history, opened with the keys that there were when it was looked at last.
    history: Mutex<History>,
    secret: Arc<Secret>,
    book: Mutex<Book>,
}

impl Observer {
    pub(super) fn new(
        name: &'static str,
        history: History,
        secret: Arc<Secret>,
        acknowledged: BTreeMap<Seq, Digest>,
    ) -> Self {
        let book = Book { acknowledged, ..Book::default() };
        Self { name, history: Mutex::new(history), secret, book: Mutex::new(book) }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A writer was told that a commit is durable.
    pub(super) fn acknowledge(&self, schedule: &Schedule, seq: Seq, digest: Digest) {
        let known = self.book().acknowledged.insert(seq, digest);
        if known.is_some_and(|known| known != digest) {
            schedule.violated(format!("two commits were acknowledged as seq {seq}"));
        }
        self.look(schedule);
    }

    /// Somebody was told that a commit is kept.
    pub(super) fn keep(&self, schedule: &Schedule, key: &[u8], seq: Seq, digest: Digest) {
        self.book().kept.insert(key.to_vec(), (seq, digest));
        self.look(schedule);
    }

    /// A writer was told that a state is marked.
    pub(super) fn mark(&self, schedule: &Schedule, mark: &Snapshot) {
        let (Some(digest), Some(until)) = (mark.digest, mark.until) else {
            return schedule.violated(format!("{mark:?} is no mark"));
        };
        self.book().ends.insert(mark.id.0.to_vec(), until);
        self.keep(schedule, &mark.id.0, mark.seq, digest);
    }

    /// Somebody is about to let a commit go.
    pub(super) fn release(&self, key: &[u8]) {
        self.book().kept.remove(key);
    }

    /// A prune begins that keeps so many of the newest commits.
    pub(super) fn prune_begins(&self, last: usize) {
        let mut book = self.book();
        book.last = Some(book.last.map_or(last, |known| known.min(last)));
    }

    /// Something was damaged, and so much is whole.
    pub(super) fn damaged(&self, schedule: &Schedule, whole: &BTreeSet<Seq>) {
        let mut book = self.book();
        let acknowledged: BTreeSet<Seq> = book.acknowledged.keys().copied().collect();
        book.whole = Some(&acknowledged & whole);
        drop(book);
        self.look(schedule);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.book().whole.is_some()
    }

    /// What must be whole after damage; `None` if there was none.
    pub(super) fn whole(&self) -> Option<BTreeSet<Seq>> {
        self.book().whole.clone()
    }

    /// What a reader finds now.
    pub(super) fn look(&self, schedule: &Schedule) {
        let _free = simulated::enter(None);
        let mut history = self.history();
        if Chain::load(&history).is_err_and(|e| e.kind() == ErrorKind::WrongKey) {
            match self.reopen() {
                Ok(reopened) => history = reopened,
                Err(e) => return schedule.violated(format!("{}no key opens: {e:?}", self.name)),
            }
        }
        let mut book = self.book();
        let over = book.ends.iter().filter(|(_, until)| **until <= schedule.now());
        for key in over.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            book.kept.remove(&key);
        }
        if let Err(what) = book.check(&history) {
            drop(book);
            schedule.violated(format!("{}{what}", self.name));
        }
    }

    /// A copy has nothing but what its original has, or had until it let it go.
    pub(super) fn compare(&self, original: &Self, schedule: &Schedule) {
        let _free = simulated::enter(None);
        let chains = || Ok((self.reopen()?.chain()?, original.reopen()?.chain()?));
        let (copied, there) = match chains() {
            Ok(chains) => chains,
            Err::<_, Error>(e) => {
                return schedule.violated(format!("the copy can't be compared: {e:?}"));
            }
        };
        let book = original.book();
        for commit in copied.commits() {
            let (seq, digest) = (commit.seq, commit.record.digest);
            let known = there.commit(seq).map(|c| c.record.digest);
            let known = known.or_else(|| book.gone.get(&seq).copied());
            if known != Some(digest) {
                return schedule.violated(format!("the copy has a seq {seq} that never was"));
            }
        }
    }

    /// The history with the keys that there are now.
    pub(super) fn reopen(&self) -> Result<History> {
        let history = self.history();
        let opened = history.repository().again(&self.secret)?;
        let reopened = History::new(opened, history.id(), history.about().clone());
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = reopened.clone();
        Ok(reopened)
    }

    fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Book {
    fn check(&mut self, history: &History) -> std::result::Result<(), String> {
        if let Some(whole) = &self.whole {
            return self.check_damaged(history, whole);
        }
        let chain =
            Chain::load(history).map_err(|e| format!("the history does not read: {e:?}"))?;
        self.add_up(history, &chain)?;
        let newest = chain.commits().next_back().map(|c| c.seq);
        let gone = self.gone.keys().next_back();
        if gone.is_some_and(|gone| newest.is_none_or(|newest| newest < *gone)) {
            return Err(format!("the newest commit is {newest:?}, though later ones expired"));
        }
        self.points.extend(chain.commits().map(|c| (c.seq, c.record.digest)));
        for (seq, digest) in &self.points {
            let is_new = !self.acknowledged.contains_key(seq);
            if is_new && chain.commit(*seq).is_none() && chain.expired().contains(*seq) {
                self.gone.insert(*seq, *digest);
            }
        }
        for (seq, digest) in &self.acknowledged {
            match chain.commit(*seq) {
                Some(commit) if commit.record.digest == *digest => {}
                Some(_) => {
                    return Err(format!("seq {seq} names other content than was acknowledged"));
                }
                None if self.gone.get(seq) == Some(digest) => {}
                None if chain.expired().contains(*seq) => {
                    let newer = chain.commits().filter(|c| c.seq > *seq).count();
                    if self.last.is_none_or(|last| newer < last) {
                        return Err(format!(
                            "seq {seq} expired, one of the newest {:?} that every policy keeps",
                            self.last
                        ));
                    }
                    self.gone.insert(*seq, *digest);
                }
                None => return Err(format!("acknowledged seq {seq} is gone")),
            }
        }
        for (seq, digest) in self.kept.values() {
            match chain.commit(*seq) {
                Some(commit) if commit.record.digest == *digest => {}
                Some(_) => return Err(format!("what is kept of seq {seq} names other content")),
                None => return Err(format!("seq {seq} is labelled or held, and no restore point")),
            }
        }
        Ok(())
    }

    /// What is left of the promises after damage.
    fn check_damaged(
        &self,
        history: &History,
        whole: &BTreeSet<Seq>,
    ) -> std::result::Result<(), String> {
        let chain = Chain::load_readable(history, &HashSet::new())
            .map_err(|e| format!("the damaged history does not read: {e:?}"))?;
        for commit in chain.commits() {
            let known = self.acknowledged.get(&commit.seq);
            if known.is_some_and(|known| *known != commit.record.digest) {
                return Err(format!("seq {} names other content", commit.seq));
            }
        }
        for (seq, digest) in self.kept.values() {
            if chain.commit(*seq).is_some_and(|commit| commit.record.digest != *digest) {
                return Err(format!("what is kept of seq {seq} names other content"));
            }
        }
        match whole.iter().find(|seq| chain.commit(**seq).is_none()) {
            None => Ok(()),
            Some(lost) => Err(format!("seq {lost} was whole after the damage, and is gone")),
        }
    }

    /// Adds up the pages of every restore point, if the chain is another one than before.
    fn add_up(&mut self, history: &History, chain: &Chain) -> std::result::Result<(), String> {
        for segment in chain.segments() {
            let missing = missing_part(history, segment.reference.id, &segment.manifest.parts);
            if let Some(part) = missing.map_err(|e| format!("{e:?}"))? {
                return Err(format!("{} lacks its part {part}", segment.name()));
            }
        }
        let ids: Vec<SegmentId> = chain.segments().iter().map(|s| s.reference.id).collect();
        if ids == self.seen && chain.expired().ranges() == self.seen_expired {
            return Ok(());
        }
        let mut pages: BTreeMap<u32, Digest> = BTreeMap::new();
        let mut sum = Digest::default();
        for segment in chain.segments() {
            if segment.manifest.kind == SegmentKind::Base {
                pages.clear();
                sum = Digest::default();
            }
            let versions = self.versions(segment)?;
            let mut versions = versions.iter().peekable();
            for (at, record) in segment.manifest.commits.iter().enumerate() {
                while let Some((_, page, digest)) = versions.next_if(|(commit, ..)| *commit == at) {
                    if let Some(old) = pages.insert(*page, *digest) {
                        sum.toggle(&old);
                    }
                    sum.toggle(digest);
                }
                for (_, old) in pages.split_off(&(record.pages + 1)) {
                    sum.toggle(&old);
                }
                let wanted = chain.commit(record.seq).is_some();
                if wanted && (sum != record.digest || pages.len() != record.pages as usize) {
                    return Err(format!("the pages of seq {} do not add up", record.seq));
                }
            }
        }
        self.seen = ids;
        self.seen_expired = chain.expired().ranges().to_vec();
        Ok(())
    }

    fn versions(&mut self, segment: &Arc<Segment>) -> std::result::Result<Versions, String> {
        if let Some(known) = self.versions.get(&segment.reference.id) {
            return Ok(known.clone());
        }
        let mut decoder = Decoder::new().map_err(|e| format!("{e:?}"))?;
        let mut versions = Vec::new();
        for (number, block) in segment.manifest.blocks.iter().enumerate() {
            let index = segment.block(number, block, &mut decoder).map_err(|e| format!("{e:?}"))?;
            versions.extend(index.entries.iter().map(|e| (e.commit as usize, e.page.0, e.digest)));
        }
        versions.sort_unstable();
        let versions = Arc::new(versions);
        self.versions.insert(segment.reference.id, versions.clone());
        Ok(versions)
    }
}
