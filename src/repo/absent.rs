//! Histories that existed and are gone.
//!
//! Nothing in a repository says which histories it should have. Two remember: this machine, which
//! saw commits of a history (`repo::local::rollback_guard`) and knows what it was called; and the
//! repository itself, where labels, holds, proofs, expiries, claims and what a repair put into the
//! quarantine are of a history that had commits.
//!
//! Invariants:
//! - Nothing that is gone is begun anew before somebody said that it is gone on purpose.
//! - The memory of this machine is a cache; without it less is noticed, and nothing else is lost.
//! - Whose memory there is is asked before the store is listed, and traces of commits are read
//!   before segments; whom only the memory knows is looked for once more. So whatever comes about
//!   meanwhile is not taken for gone.
//!
//! Deliberately absent: a list of histories in the repository. Somebody who can delete a history
//! can delete that, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use super::local::rollback_guard::{self, Seen};
use super::local::state::{self, Known};
use super::quarantine;
use super::repository::Repository;
use super::strangers::Strangers;
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::{self, HistoryNames, QUARANTINE};
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::catalog::{Descriptions, Folders};
use crate::repo::history::handle::History;
use crate::types::{HistoryId, Seq, Timestamp, parse_hex};

/// How many names an error lists.
const MAX_NAMES: usize = 10;

/// A history that existed and is gone: all of it, or all that could be restored.
#[derive(Clone, Debug)]
pub struct Absent {
    /// Its identity.
    pub id: HistoryId,
    /// Its name, if that is known.
    pub name: Option<String>,
    /// The database that it followed, if that is known.
    pub source: Option<String>,
    /// The newest commit that this machine saw of it, and when that was captured, or else last
    /// confirmed.
    pub newest: Option<(Seq, Option<Timestamp>)>,
    /// The same in words.
    seen: Option<String>,
    /// Its traces in the repository, in words.
    pub left: Option<String>,
    /// Where the repository is.
    location: String,
}

/// The histories that a repository has, and those that it should have.
#[derive(Debug)]
pub struct Census {
    /// The histories whose descriptions can be read, oldest first.
    pub histories: Vec<History>,
    /// Errors of the descriptions of others.
    pub unreadable: Vec<Error>,
    /// The histories that are gone.
    pub absent: Vec<Absent>,
    /// What lies among the folders of histories and is nothing that is known.
    pub strangers: Strangers,
}

impl Absent {
    /// Its name and id, for people.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("history {name:?} ({})", self.id),
            None => format!("history {}", self.id),
        }
    }

    /// Whether a name or an id means it.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.id.to_string() == name
    }

    /// Whether it may have been any history.
    pub(crate) fn is_nameless(&self) -> bool {
        self.name.is_none()
    }

    /// That it is gone, as an error that names it and says what to do.
    pub fn error(&self) -> Error {
        // As a shell takes it without quotes.
        let plain = |name: &&String| {
            name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !name.starts_with('-')
        };
        let called = self.name.as_ref().filter(plain).cloned();
        Error::new(ErrorKind::Damaged, self.to_string()).with_object(self.title()).with_hint(advice![
            format!(
                "put the folder histories/{} back into {}, or mount the right disk; if it is gone on purpose: ",
                self.id, self.location,
            ),
            Remedy::AcceptRollback { history: Some(called.unwrap_or_else(|| self.id.to_string())) },
            " forgets it, and a new one may begin",
        ])
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        match (&self.seen, &self.left) {
            (Some(seen), left) => {
                write!(f, "is gone: this machine has seen {seen}, and {location} has ")?;
                match left {
                    Some(left) => write!(f, "{left} and no commit of it"),
                    None => f.write_str("nothing of it"),
                }
            }
            (None, left) => {
                let left = left.as_deref().unwrap_or("traces");
                write!(f, "is gone: {location} has {left} and no commit of it")
            }
        }
    }
}

/// Which objects show that a history had commits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// A history with a description: not those that a writer leaves before its first commit.
    Described,
    /// One without, which no history under creation is.
    Nameless,
}

/// What the quarantine has.
const BURIED: &str = "quarantined objects";

/// The traces of a history, by the names of objects: how many of each kind.
#[derive(Default)]
struct Left(BTreeMap<&'static str, usize>);

impl Left {
    fn add(&mut self, id: HistoryId, name: &str, of: Of) {
        let (names, original) = (HistoryNames(id), quarantine::original(name));
        let buried = original.is_some();
        let object = original.unwrap_or(name);
        let kind = if names.parse_snapshot(object).is_some() {
            "labels"
        } else if names.parse_hold(object).is_some() {
            "holds"
        } else if names.parse_proof(object).is_some() {
            "proofs"
        } else if names.parse_expiry(object).is_some() || names.parse_announcement(object).is_some()
        {
            "expiries"
        } else if names.parse_segment(object).is_some() || names.parse_merged(object).is_some() {
            "segments"
        } else if of == Of::Described {
            return;
        } else if names.parse_writer(object).is_some()
            || names.parse_head(object).is_some()
            || names.parse_sign(object).is_some()
        {
            "claims"
        } else {
            return;
        };
        let kind = if buried { BURIED } else { kind };
        *self.0.entry(kind).or_default() += 1;
    }

    fn words(&self) -> Option<String> {
        let words = |(kind, count): (&&str, &usize)| match count {
            1 => format!("1 {}", singular(kind)),
            n => format!("{n} {kind}"),
        };
        let all: Vec<String> = self.0.iter().map(words).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

fn singular(kind: &str) -> String {
    match kind.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => kind.trim_end_matches('s').to_owned(),
    }
}

/// The memory that this machine has of a history.
pub(super) struct Remembered {
    pub(super) known: Option<Known>,
    source: Option<String>,
    pub(super) seen: Option<Seen>,
    accepted: bool,
}

/// All that this machine remembers of the histories of a repository, by its state folder.
pub(super) fn remembered(dir: &Path) -> BTreeMap<HistoryId, Remembered> {
    read_memories(dir, remembered_ids(dir))
}

/// The histories that this machine remembers something of.
fn remembered_ids(dir: &Path) -> Vec<HistoryId> {
    // A file that can't be read remembers nothing.
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str().and_then(parse_hex).map(HistoryId)).collect()
}

fn read_memories(
    dir: &Path,
    ids: impl IntoIterator<Item = HistoryId>,
) -> BTreeMap<HistoryId, Remembered> {
    let mut all = BTreeMap::new();
    for id in ids {
        let dir = dir.join(id.to_string());
        let known = state::known_from(&dir);
        // Where it lay when it was last written from here.
        let state = state::read_from(&dir).ok().flatten();
        let source = state.map(|state| state.source).filter(|source| !source.is_empty());
        let source = source.or_else(|| known.as_ref().map(|known| known.source.clone()));
        let seen = rollback_guard::read_from(&dir);
        let accepted = rollback_guard::is_accepted(&dir);
        all.insert(id, Remembered { known, source, seen, accepted });
    }
    all
}

impl Repository {
    /// Which histories there are, and which are gone.
    ///
    /// # Errors
    /// Store errors.
    #[doc(hidden)]
    pub fn census(&self) -> Result<Census> {
        self.census_after(None)
    }

    /// As [`Repository::census`], where the descriptions that were read before need not be read
    /// again.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn census_after(&self, before: Option<&Descriptions>) -> Result<Census> {
        let ids = remembered_ids(&self.state_dir());
        let Folders { histories, mut unreadable, bare, mut known } = self.folders(before)?;
        // Of thousands of histories nearly all are there: nobody needs the memory of those.
        let ids = ids.into_iter().filter(|id| !known.contains(id));
        let mut remembered = read_memories(&self.state_dir(), ids);
        known.extend(unreadable.iter().map(|(id, _)| *id));
        let strangers = self.strangers(&bare)?;
        let mut gone: BTreeMap<HistoryId, Left> = BTreeMap::new();
        for id in bare {
            let left = gone.entry(id).or_default();
            for entry in self.store().list(&HistoryNames(id).all())? {
                left.add(id, &entry.name, Of::Nameless);
            }
        }
        let buried = match self.store().list_dirs(&format!("{QUARANTINE}{}", names::HISTORIES)) {
            // Only what was moved there is not known.
            Err(e) if e.kind() == ErrorKind::Damaged => {
                unreadable.push((HistoryId::default(), e));
                Vec::new()
            }
            buried => buried?,
        };
        for dir in buried {
            let id = dir.strip_prefix(QUARANTINE).and_then(names::parse_history);
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            let left = gone.entry(id).or_default();
            for entry in self.store().list(&format!("{QUARANTINE}{}", HistoryNames(id).all()))? {
                left.add(id, &entry.name, Of::Nameless);
            }
        }
        // A folder with nothing in it that this version knows says nothing.
        gone.retain(|_, left| !left.0.is_empty());
        for (id, memory) in &remembered {
            // One that was begun since the store was listed is not gone.
            if memory.seen.is_some() && !known.contains(id) && self.read_about(*id)?.is_none() {
                gone.entry(*id).or_default();
            }
        }
        let location = self.store().location();
        let mut absent = Vec::new();
        for (id, left) in gone {
            let memory = remembered.remove(&id);
            if memory.as_ref().is_some_and(|memory| memory.accepted) {
                continue;
            }
            let (known, source, seen) =
                memory.map_or((None, None, None), |m| (m.known, m.source, m.seen));
            absent.push(Absent {
                id,
                name: known.map(|known| known.name),
                source,
                newest: seen.as_ref().map(Seen::newest),
                seen: seen.map(|seen| seen.to_string()),
                left: left.words(),
                location: location.clone(),
            });
        }
        let unreadable = unreadable.into_iter().map(|(id, e)| {
            let known = remembered.get(&id).and_then(|memory| memory.known.as_ref());
            if e.hint().is_some() {
                return e;
            }
            let whose = known.map_or(String::new(), |known| {
                format!("; this machine knows the history as {:?}", known.name)
            });
            let stranger = match known.is_none() && self.has_no_traces(id) {
                true => format!(
                    "; nothing of a history is in {}: it may never have been one",
                    HistoryNames(id).all()
                ),
                false => String::new(),
            };
            e.with_hint(advice![
                format!(
                    "put about or about-2 back from a copy of the repository{whose}{stranger}; if there is no copy, move that folder \
                     out of the repository, and "
                ),
                Remedy::AcceptRollback { history: Some(id.to_string()) },
                " forgets it",
            ])
        });
        Ok(Census { unreadable: unreadable.collect(), histories, absent, strangers })
    }
}

impl Repository {
    /// Whether nothing tells that a history had commits, as far as that can be seen.
    fn has_no_traces(&self, id: HistoryId) -> bool {
        let mut left = Left::default();
        let Ok(listed) = self.store().list(&HistoryNames(id).all()) else { return false };
        listed.iter().for_each(|entry| left.add(id, &entry.name, Of::Nameless));
        left.0.is_empty()
    }
}

impl Census {
    /// The history of that name or id.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; [`ErrorKind::Damaged`] when it is gone, or may
    /// be one that can't be told; [`ErrorKind::Usage`] when several have the name.
    pub fn find(mut self, name: &str) -> Result<History> {
        let known: Vec<String> = self.histories.iter().map(|h| h.name().to_owned()).collect();
        self.histories.retain(|h| h.name() == name || h.id().to_string() == name);
        match (self.histories.pop(), self.histories.len()) {
            (Some(history), 0) => Ok(history),
            (Some(last), _) => {
                self.histories.push(last);
                let ids: Vec<String> = self.histories.iter().map(|h| h.id().to_string()).collect();
                Err(Error::new(ErrorKind::Usage, "several histories have this name")
                    .with_object(name)
                    .with_hint(format!("use an id instead: {}", ids.join(", "))))
            }
            (None, _) => Err(self.why_not(name, &known)),
        }
    }

    fn why_not(mut self, name: &str, known: &[String]) -> Error {
        if let Some(gone) = self.absent.iter().find(|gone| gone.is_called(name)) {
            return gone.error();
        }
        if !self.unreadable.is_empty() {
            return self.unreadable.swap_remove(0);
        }
        // It may be the one.
        if let Some(gone) = self.absent.iter().find(|gone| gone.is_nameless()) {
            return gone.error();
        }
        Error::new(ErrorKind::NotFound, "no history of this name").with_object(name).with_hint(
            if known.is_empty() {
                advice!["the repository has no histories yet; ", Remedy::Backup, " begins one"]
            } else {
                there_are(known)
            },
        )
    }

    /// Makes sure that a database may be backed up under a name: that no history of this name is
    /// gone, and, unless there is one of the name, none of this database.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when one is.
    pub(crate) fn check_name(&self, name: &str, source: &str) -> Result<()> {
        let is_new = !self.histories.iter().any(|h| h.name() == name || h.id().to_string() == name);
        let gone = self.absent.iter().find(|gone| {
            gone.is_called(name) || (is_new && gone.source.as_deref() == Some(source))
        });
        gone.map_or(Ok(()), |gone| Err(gone.error()))
    }
}

/// The names that there are, as many as one reads.
fn there_are(known: &[String]) -> Advice {
    let (some, others) = known.split_at(known.len().min(MAX_NAMES));
    match others.len() {
        0 => advice![format!("there are: {}", some.join(", "))],
        n => advice![
            format!("there are {} and {n} others; ", some.join(", ")),
            Remedy::ListHistories,
            " shows all",
        ],
    }
}

/// Makes sure that a history without segments never had any, as far as the repository tells. `lost`
/// says that whatever this machine saw of it is recorded as lost or expired.
///
/// # Errors
/// [`ErrorKind::Damaged`] when it had; store errors.
pub(super) fn check_empty(history: &History, lost: bool) -> Result<()> {
    if rollback_guard::is_accepted(&state::dir_of(history)) {
        return Ok(());
    }
    let (store, names) = (history.repository().store(), history.names());
    let mut left = Left::default();
    for prefix in [names.all(), format!("{QUARANTINE}{}", names.all())] {
        for entry in store.list(&prefix)? {
            left.add(history.id(), &entry.name, Of::Described);
        }
    }
    if lost && left.0.contains_key(BURIED) {
        // A repair put the rest away, and said that all is lost.
        return Ok(());
    }
    // A first commit may have come about since the segments were listed.
    left.0.remove("segments");
    let Some(words) = left.words() else { return Ok(()) };
    let is_segment = |name: &str| names.parse_segment(name).is_some();
    if store.list(&names.log())?.iter().any(|entry| is_segment(&entry.name)) {
        return Ok(());
    }
    Err(Absent {
        id: history.id(),
        name: Some(history.name().to_owned()),
        source: Some(history.about().source.clone()),
        newest: None,
        seen: None,
        left: Some(words),
        location: store.location(),
    }
    .error())
}

/// Forgets what this machine remembers of a history that is gone: it is so on purpose. A new one of
/// its name may begin.
///
/// # Errors
/// [`ErrorKind::Busy`] when a process of this machine writes to it; when the local state can't be
/// removed.
pub fn accept_absence(repository: &Repository, gone: &Absent) -> Result<()> {
    rollback_guard::forget_dir(repository.state_dir().join(gone.id.to_string()), &gone.title())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::names::LogName;
    use crate::format::slot::KdfParams;
    use crate::repo::RepositoryOptions;
    use crate::repo::keys::secret::Secret;
    use crate::store::{MemoryStore, Store};
    use crate::types::{HoldId, SegmentId, SnapshotId, Term, WriterToken};

    #[test]
    fn what_is_left_shows_by_names_and_foreign_names_show_nothing() {
        let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let state = dir.path().join("state");
        let repository = Repository::init(
            Arc::new(store.clone()),
            &[(&secret, "x")],
            kdf,
            &RepositoryOptions::new(state),
        )
        .unwrap();
        let ids = [1, 2, 3].map(|n| HistoryId([n; 16]));
        let [claimed, labelled, buried] = ids.map(HistoryNames);
        let label = |n| labelled.snapshot(Seq(7), SnapshotId([n; 8]));
        let segment = buried.segment(LogName { term: Term(1), first: Seq(9) });
        for name in [
            claimed.writer(Term(3)),
            label(1),
            label(2),
            labelled.hold(Seq(9), HoldId([1; 8])),
            format!("{QUARANTINE}{segment}"),
            // These say nothing: a first upload that died, and what is no object.
            HistoryNames(HistoryId([4; 16])).part(SegmentId([1; 16]), 0),
            format!("{}snapshots/junk", HistoryNames(HistoryId([5; 16])).all()),
            format!("{QUARANTINE}histories/junk/x"),
        ] {
            store.create(&name, b"x").unwrap();
        }
        let census = repository.census().unwrap();
        let found: Vec<_> =
            census.absent.iter().map(|a| (a.id, a.left.as_deref().unwrap())).collect();
        let words = ["1 claim", "1 hold, 2 labels", "1 quarantined object"];
        assert!(found.into_iter().eq(ids.into_iter().zip(words)));
        assert!(census.absent.iter().all(|gone| gone.is_nameless() && gone.newest.is_none()));
        // None of them may be the one that is asked for.
        assert_eq!(repository.history("app").unwrap_err().kind(), ErrorKind::Damaged);
        census.check_name("app", "app.db").unwrap();
        for gone in &census.absent {
            accept_absence(&repository, gone).unwrap();
        }
        assert!(repository.census().unwrap().absent.is_empty());
        assert_eq!(repository.history("app").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_history_without_commits_is_empty_only_if_nothing_is_left_of_any() {
        let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let state = dir.path().join("state");
        let repository = Repository::init(
            Arc::new(store.clone()),
            &[(&secret, "x")],
            kdf,
            &RepositoryOptions::new(state),
        )
        .unwrap();
        let history = repository.create_history("app", "app.db").unwrap();
        check_empty(&history, false).unwrap();
        let names = history.names();
        let segment = names.segment(LogName { term: Term(1), first: Seq(12) });
        store.create(&names.writer(Term(1)), b"x").unwrap();
        store.create(&names.head(Term(1), WriterToken([1; 16])), b"x").unwrap();
        check_empty(&history, false).unwrap();
        let label = names.snapshot(Seq(12), SnapshotId([1; 8]));
        store.create(&label, b"x").unwrap();
        // That something expired is no reason to think that a repair was here.
        for lost in [false, true] {
            let e = check_empty(&history, lost).unwrap_err();
            assert!(e.kind() == ErrorKind::Damaged && e.message().contains("1 label"), "{e}");
        }
        store.delete(&label).unwrap();
        store.create(&format!("{QUARANTINE}{segment}.1"), b"x").unwrap();
        let e = check_empty(&history, false).unwrap_err();
        assert!(e.message().contains("1 quarantined object"), "{e}");
        check_empty(&history, true).unwrap();
        // A first commit that came about while it was looked at.
        store.create(&segment, b"x").unwrap();
        check_empty(&history, false).unwrap();
    }

    #[test]
    fn a_census_after_another_sees_what_came_and_what_went() {
        let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let repository = Repository::init(
            Arc::new(store.clone()),
            &[(&secret, "x")],
            kdf,
            &RepositoryOptions::new(dir.path().join("state")),
        )
        .unwrap();
        let [a, b] = ["a", "b"].map(|name| repository.create_history(name, "/db").unwrap());
        let before = Descriptions::default();
        let names = |before| {
            let census = repository.census_after(before).unwrap();
            let mut names: Vec<_> = census.histories.iter().map(|h| h.name().to_owned()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(Some(&before)), "a b");
        repository.create_history("c", "/db").unwrap();
        assert_eq!(names(Some(&before)), "a b c");
        for entry in store.list(&HistoryNames(a.id()).all()).unwrap() {
            store.delete(&entry.name).unwrap();
        }
        assert_eq!((names(Some(&before)), names(None)), ("b c".to_owned(), "b c".to_owned()));
        assert!(!repository.has_history(&a) && repository.has_history(&b));
    }
}
