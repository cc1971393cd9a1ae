//! A history's description, which is kept twice: it has the only copy of the key of the history's
//! page digests, without which no page can be proven right.
//!
//! Invariants:
//! - `about` is created before `about-2`. A process that dies in between leaves a history that is
//!   whole, with one copy, as older versions leave all; whoever writes to it next adds the other.
//! - Either of the two is enough to read everything. That one is damaged or missing is for
//!   `verify`, `status` and `repair` to tell.
//! - Both say the same; of two that differ the first counts.

use crate::error::{Error, ErrorKind, Result};
use crate::format::about::About;
use crate::format::names::HistoryNames;
use crate::repo::history::handle::History;
use crate::repo::quarantine;
use crate::repo::repository::Repository;
use crate::types::HistoryId;

/// How the two copies of a description are.
#[derive(Debug, Default)]
pub struct Copies {
    /// Errors of them.
    pub faults: Vec<Error>,
    /// Whether there is no second one, as an older version leaves it. The next backup or prune adds
    /// it.
    pub kept_once: bool,
}

impl Copies {
    /// Whether both are as they should be.
    pub fn are_sound(&self) -> bool {
        self.faults.is_empty() && !self.kept_once
    }
}

impl Repository {
    /// The description of a history, from whichever of its copies can be read; `None` if there is
    /// neither.
    pub(crate) fn read_about(&self, id: HistoryId) -> Result<Option<About>> {
        let [first, second] = HistoryNames(id).abouts();
        let damage = match self.read_copy(id, &first) {
            Ok(Some(about)) => return Ok(Some(about)),
            Ok(None) => None,
            Err(e) if is_of_one_copy(&e) => Some(e),
            Err(e) => return Err(e),
        };
        match (self.read_copy(id, &second), damage) {
            (Err(e), _) if !is_of_one_copy(&e) => Err(e),
            (Ok(Some(about)), _) => Ok(Some(about)),
            (_, Some(e)) | (Err(e), None) => Err(e),
            (Ok(None), None) => Ok(None),
        }
    }

    fn read_copy(&self, id: HistoryId, name: &str) -> Result<Option<About>> {
        match self.read_record::<About>(name)? {
            Some((prefix, about)) if prefix.object == id.0 => Ok(Some(about)),
            Some(_) => Err(Error::damaged(name, "describes another history")),
            None => Ok(None),
        }
    }

    /// Describes a new history.
    pub(crate) fn describe(&self, id: HistoryId, about: About) -> Result<History> {
        self.create_record(&HistoryNames(id).about(), id.0, &about)?;
        let history = History::new(self.clone(), id, about);
        history.keep_twice()?;
        Ok(history)
    }
}

/// Whether the other copy may be better: not for a store that can't be reached.
fn is_of_one_copy(e: &Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Damaged | ErrorKind::TooNew | ErrorKind::WrongKey | ErrorKind::Failure
    )
}

impl History {
    /// How the copies of its description are.
    ///
    /// # Errors
    /// Store errors.
    #[doc(hidden)]
    pub fn copies(&self) -> Result<Copies> {
        let mut copies = Copies::default();
        let names = self.names().abouts();
        let [first, _] = &names;
        for name in &names {
            match self.repository().read_copy(self.id(), name) {
                Ok(Some(about)) if about == *self.about() => {}
                Ok(Some(_)) => {
                    copies.faults.push(Error::damaged(name, "differs from the other copy of it"));
                }
                Ok(None) if name == first => copies
                    .faults
                    .push(Error::damaged(name, "is missing; the other copy of it is read")),
                Ok(None) => copies.kept_once = true,
                Err(e) if is_of_one_copy(&e) => copies.faults.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok(copies)
    }

    /// Whether the first copy of its description is not there, though every version creates that
    /// first.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn first_copy_is_missing(&self) -> Result<bool> {
        match self.repository().store().head(&self.names().about()) {
            Ok(len) => Ok(len.is_none()),
            // Something else has its name.
            Err(e) if e.kind() == ErrorKind::Damaged => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes sure that both copies of the description are there, whatever they say.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn keep_twice(&self) -> Result<()> {
        for name in self.names().abouts() {
            match self.repository().store().head(&name) {
                Ok(None) => {}
                // What is in the way of one copy is told of elsewhere.
                Err(e) if e.kind() != ErrorKind::Damaged => return Err(e),
                _ => continue,
            }
            match self.repository().create_record(&name, self.id().0, self.about()) {
                // Somebody else does the same.
                Err(e) if e.kind() == ErrorKind::Busy => {}
                kept => kept?,
            }
        }
        Ok(())
    }

    /// Puts copies that are damaged or missing back from the other one. Damaged ones go to the
    /// quarantine. One that a newer version wrote stays.
    ///
    /// # Errors
    /// Store errors. It may be run again after any.
    pub(crate) fn mend_copies(&self, copies: &Copies) -> Result<()> {
        let damaged = copies.faults.iter().filter(|e| e.kind() == ErrorKind::Damaged);
        let store = self.repository().store();
        for name in damaged.filter_map(Error::object) {
            // Nothing moves what is no object.
            if store.head(name).is_err_and(|e| e.kind() == ErrorKind::Damaged) {
                continue;
            }
            // Only now, so that one of the two is there at every moment.
            if self.repository().read_about(self.id())?.is_some() {
                quarantine::put(store, name)?;
                self.keep_twice()?;
            }
        }
        self.keep_twice()
    }

    /// Makes sure that the history is still where it was.
    ///
    /// # Errors
    /// As [`Repository::check_there`]; [`ErrorKind::Damaged`] when the repository has no
    /// description of it any more.
    pub(crate) fn check_there(&self) -> Result<()> {
        let repository = self.repository();
        repository.check_there()?;
        for name in self.names().abouts() {
            match repository.store().head(&name) {
                Ok(None) => {}
                Err(e) if e.kind() != ErrorKind::Damaged => return Err(e),
                _ => return Ok(()),
            }
        }
        Err(Error::damaged(
            format!("history {:?} ({})", self.name(), self.id()),
            format!("is gone from {}", repository.store().location()),
        )
        .with_hint(format!(
            "put the folder histories/{} back, or set the repository right; what was captured since is not stored",
            self.id()
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::names::QUARANTINE;
    use crate::format::slot::KdfParams;
    use crate::repo::RepositoryOptions;
    use crate::repo::keys::secret::Secret;
    use crate::store::{Fault, FaultStore, MemoryStore, Store};

    const CHEAP: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

    fn repository(store: &MemoryStore, secret: &Secret, dir: &tempfile::TempDir) -> Repository {
        let store = Arc::new(store.clone());
        Repository::init(
            store,
            &[(secret, "x")],
            CHEAP,
            &RepositoryOptions::new(dir.path().join("state")),
        )
        .unwrap()
    }

    #[test]
    fn either_copy_is_enough_and_both_come_back() {
        let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
        let repository = repository(&store, &Secret::new_recovery().unwrap(), &dir);
        let history = repository.create_history("app", "app.db").unwrap();
        assert!(history.copies().unwrap().are_sound());
        for name in history.names().abouts() {
            let whole = store.get(&name, 9999).unwrap().unwrap();
            for damage in 0..3 {
                let mut bytes = whole.clone();
                match damage {
                    0 => store.delete(&name).unwrap(),
                    1 => {
                        bytes[60] ^= 1;
                        store.damage(&name, &bytes);
                    }
                    _ => store.damage(&name, b""),
                }
                let found = repository.history("app").unwrap();
                assert_eq!(found.about(), history.about());
                let copies = found.copies().unwrap();
                let second_missing = damage == 0 && name.ends_with("-2");
                assert_eq!(copies.kept_once, second_missing);
                let objects: Vec<_> = copies.faults.iter().filter_map(Error::object).collect();
                assert_eq!(objects.len(), usize::from(!second_missing));
                assert!(objects.iter().all(|object| *object == name));
                found.mend_copies(&copies).unwrap();
                assert!(found.copies().unwrap().are_sound());
                let kept = store.list(QUARANTINE).unwrap().into_iter();
                let kept = kept.filter(|e| {
                    let original = e.name.strip_prefix(QUARANTINE).unwrap();
                    original == name || original.starts_with(&format!("{name}."))
                });
                assert_eq!(kept.count(), damage, "each that was damaged");
            }
        }
        for name in history.names().abouts() {
            store.damage(&name, b"PGKP");
        }
        let (found, unreadable) = repository.readable_histories().unwrap();
        assert!(found.is_empty() && unreadable[0].object() == Some(&*history.names().about()));
        history.check_there().unwrap();
        for name in history.names().abouts() {
            store.delete(&name).unwrap();
        }
        let e = history.check_there().unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.to_string().contains("is gone"), "{e}");
    }

    #[test]
    fn whoever_dies_while_a_history_is_begun_leaves_none_or_a_whole_one() {
        let secret = Secret::new_recovery().unwrap();
        let (mut whole, mut half, mut none) = (0, 0, 0);
        for operation in 0..6 {
            let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
            let repository = repository(&store, &secret, &dir);
            let open = |store| {
                Repository::open(store, &secret, &RepositoryOptions::new(dir.path().join("state")))
                    .unwrap()
            };
            let counting = Arc::new(FaultStore::counting(Arc::new(store.clone())));
            open(counting.clone());
            let at = counting.operations() + operation;
            let faulty = Arc::new(FaultStore::new(Arc::new(store.clone()), at, Fault::Dead));
            let begun = open(faulty).create_history("app", "app.db");
            match repository.history("app") {
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::NotFound, "{operation}");
                    assert!(begun.is_err());
                    none += 1;
                }
                Ok(history) => {
                    let copies = history.copies().unwrap();
                    assert!(copies.faults.is_empty(), "{operation}");
                    half += usize::from(copies.kept_once);
                    whole += usize::from(begun.is_ok());
                    history.keep_twice().unwrap();
                    assert!(history.copies().unwrap().are_sound(), "{operation}");
                }
            }
            assert!(repository.census().unwrap().absent.is_empty(), "{operation}");
        }
        assert!(whole > 0 && half > 0 && none > 0, "{whole}, {half}, {none}");
    }
}
