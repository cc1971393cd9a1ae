//! The object `repository`, when it is missing or damaged: it is written anew from the key slots.
//!
//! All that it says stands elsewhere, too: the repository id in plain in each slot, and every seal
//! binds it; the creation time is that of the oldest slot, to a second or so. So its loss loses
//! nothing. Another one must not be created in its place: then nothing that is stored opens any
//! more.
//!
//! Invariants: the slots decide, and one of them opens with the key that is given. Slots of
//! different repositories are a reason to refuse. Nothing is overwritten: a damaged object is
//! copied to the quarantine before it goes. A process that dies in between leaves the object
//! damaged, missing or whole, and the next one goes on.

use std::collections::BTreeMap;

use super::keys::secret::Secret;
use super::keys::slots;
use super::repository::Repository;
use super::{newer, quarantine};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::format::names::{self, QUARANTINE};
use crate::format::repository::RepositoryObject;
use crate::remedy::{Advice, Remedy, advice};
use crate::store::{Created, Store};
use crate::types::{RepositoryId, SlotId};

/// The plan for an object `repository` that is missing or damaged.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The object that is written.
    pub object: RepositoryObject,
    /// The slots that open with the key that was given.
    pub slots: Vec<SlotId>,
    /// Whether a damaged one is in its place.
    damaged: bool,
}

/// The object `repository`.
///
/// # Errors
/// [`ErrorKind::NoRepository`] when there is nothing of a repository; [`ErrorKind::Damaged`] when
/// the object is damaged, or missing and the rest is here; [`ErrorKind::TooNew`]; store errors.
pub(super) fn read_object(store: &dyn Store) -> Result<RepositoryObject> {
    if let Some(bytes) = store.get_range(names::REPOSITORY, 0, limits::PLAIN_OBJECT)? {
        return RepositoryObject::decode(&bytes).map_err(|e| {
            let e = newer::plain(e, names::REPOSITORY, &bytes);
            match e.kind() {
                ErrorKind::Damaged => e.with_hint(advice![
                    Remedy::Examine { history: None },
                    " says how it is written anew; nothing else is lost by that",
                ]),
                _ => e,
            }
        });
    }
    Err(match traces(store)? {
        Some(traces) => Error::damaged(
            store.location(),
            format!("the object `repository` is missing, the rest is here: {traces}"),
        )
        .with_hint(advice![
            Remedy::Examine { history: None },
            " says how it is written anew; do not create a repository here",
        ]),
        None => Error::new(ErrorKind::NoRepository, "is not a pagekeep repository")
            .with_object(store.location())
            .with_hint(advice![
                "is the right disk mounted? ",
                Remedy::CreateRepository,
                " creates a new repository",
            ]),
    })
}

/// The rest of a repository besides the object `repository`, in words.
fn traces(store: &dyn Store) -> Result<Option<String>> {
    let slots = slots::list_slots(store)?.len();
    let dirs = store.list_dirs(names::HISTORIES)?;
    let histories = dirs.iter().filter(|dir| names::parse_history(dir).is_some()).count();
    let buried = store.list(QUARANTINE)?.len();
    let words = [(slots, "key slot"), (histories, "histor"), (buried, "quarantined object")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| match (count, word) {
            (1, "histor") => "1 history".to_owned(),
            (n, "histor") => format!("{n} histories"),
            (1, word) => format!("1 {word}"),
            (n, word) => format!("{n} {word}s"),
        });
    let words: Vec<String> = words.collect();
    Ok((!words.is_empty()).then(|| words.join(", ")))
}

/// Makes sure that a repository may be created in a store: that there is none, and nothing of one.
///
/// # Errors
/// [`ErrorKind::Refused`] when there is; store errors.
pub fn check_free(store: &dyn Store) -> Result<()> {
    if store.head(names::REPOSITORY)?.is_some() {
        return Err(Error::new(ErrorKind::Refused, "is a repository already")
            .with_object(store.location())
            .with_hint("use it as it is, or choose another place"));
    }
    match traces(store)? {
        None => Ok(()),
        Some(traces) => Err(Error::new(
            ErrorKind::Refused,
            format!(
                "is a repository whose object `repository` is missing, with {traces}; a new one here would make \
                 all of it unreadable"
            ),
        )
        .with_object(store.location())
        .with_hint(advice![
            Remedy::Examine { history: None },
            " says how that object is written anew; it also completes the creation of a repository that was interrupted. \
             For a new repository choose another place",
        ])),
    }
}

/// The error of the object `repository`, if it has one that a recovery mends.
///
/// # Errors
/// As [`Repository::open`], but for what a recovery mends.
pub fn examine(store: &dyn Store) -> Result<Option<Error>> {
    match read_object(store) {
        Ok(_) => Ok(None),
        Err(e) if e.kind() == ErrorKind::Damaged => Ok(Some(e)),
        Err(e) => Err(e),
    }
}

/// Which repository lies in a store, as far as its object `repository` tells: no key is needed.
#[cfg(feature = "cli")]
pub(crate) fn identity(store: &dyn Store) -> Option<RepositoryId> {
    read_object(store).ok().map(|object| object.id)
}

/// Finds out what the object `repository` must be; writes nothing.
///
/// # Errors
/// [`ErrorKind::Refused`] when slots are of different repositories; [`ErrorKind::WrongKey`] when
/// none opens with the key; [`ErrorKind::Damaged`] when there are none that can be read; store
/// errors.
pub fn plan(store: &dyn Store, secret: &Secret) -> Result<Recovery> {
    let slots = slots::read_any(store)?;
    let mut owners: BTreeMap<RepositoryId, Vec<SlotId>> = BTreeMap::new();
    for (id, slot) in &slots {
        if let Ok(slot) = slot {
            owners.entry(slot.front.repository).or_default().push(*id);
        }
    }
    let mut all = owners.iter();
    let (repository, readable) = match (all.next(), all.next()) {
        (None, _) => return Err(slots::opens_none(store, secret, slots)),
        (Some(_), Some(_)) => return Err(mixed(store, &owners)),
        (Some(only), None) => only,
    };
    let opened = slots::opened_by(&slots, secret)?;
    if opened.is_empty() {
        return Err(slots::opens_none(store, secret, slots));
    }
    let front = |id: &SlotId| slots.iter().find(|(other, _)| other == id);
    let created = readable.iter().filter_map(front).filter_map(|(_, slot)| slot.as_ref().ok());
    let created = created.map(|slot| slot.front.created).min().unwrap_or_default();
    Ok(Recovery {
        object: RepositoryObject { id: *repository, created },
        slots: opened.iter().map(|(front, _)| front.id).collect(),
        damaged: store.head(names::REPOSITORY)?.is_some(),
    })
}

fn mixed(store: &dyn Store, owners: &BTreeMap<RepositoryId, Vec<SlotId>>) -> Error {
    let each = owners.iter().map(|(repository, slots)| {
        let slots: Vec<String> = slots.iter().map(SlotId::to_string).collect();
        format!("{} of repository {repository}", slots.join(" and "))
    });
    let each: Vec<String> = each.collect();
    Error::new(
        ErrorKind::Refused,
        format!("has key slots of different repositories: {}", each.join("; ")),
    )
    .with_object(store.location())
    .with_hint(
        "move those out of its folder keys/ that do not belong here: whoever created a repository here later made them, if they are the newer files; \
         then repair again",
    )
}

/// The way on where slots of another repository lie beside those of this one: somebody created this
/// one over that one.
pub(super) fn foreign_slots(repository: &Repository) -> Option<Advice> {
    let slots = slots::read_any(repository.store()).ok()?;
    let fronts = slots.iter().filter_map(|(_, slot)| slot.as_ref().ok().map(|s| &s.front));
    let (ours, theirs): (Vec<_>, Vec<_>) =
        fronts.partition(|front| front.repository == repository.id());
    let other = theirs.first()?.repository;
    let ours: Vec<String> = ours.iter().map(|front| names::slot(front.id)).collect();
    Some(advice![
        format!(
            "key slots of repository {other} are here, too: this one was created over it. If what is stored is of that one: \
             move the object `repository` and {} to another place, and ",
            ours.join(", ")
        ),
        Remedy::Repair { history: None, database: None },
        " writes its own anew",
    ])
}

/// Writes the object anew.
///
/// # Errors
/// [`ErrorKind::Busy`] when somebody else created another one meanwhile; store errors. It may be
/// run again after any.
///
/// # Durability
/// When this returns, the object survives a crash, and so do the slots.
pub fn recover(store: &dyn Store, recovery: &Recovery) -> Result<()> {
    // The process that added the slots may have died before they were durable.
    store.sync(names::KEYS)?;
    if recovery.damaged {
        quarantine::put(store, names::REPOSITORY)?;
    }
    if store.create(names::REPOSITORY, &recovery.object.encode())? == Created::Exists
        && read_object(store)?.id != recovery.object.id
    {
        return Err(Error::new(ErrorKind::Busy, "was created by somebody else meanwhile")
            .with_object(names::REPOSITORY)
            .with_hint(advice!["look at it again: ", Remedy::Examine { history: None }]));
    }
    Ok(())
}

impl Repository {
    /// Makes sure that the same repository is still where it was.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when nothing is there, so that it may come back: a disk that is not
    /// mounted, a folder that was moved; [`ErrorKind::Damaged`] when its object `repository` is
    /// missing or damaged, or another repository is in its place.
    pub(crate) fn check_there(&self) -> Result<()> {
        let object = match read_object(self.store()) {
            Err(e) if e.kind() == ErrorKind::NoRepository => {
                return Err(Error::new(ErrorKind::Storage, "is not there any more")
                    .with_object(self.store().location())
                    .with_hint("was it moved or emptied, or is its disk not mounted?"));
            }
            object => object?,
        };
        if object.id == self.id() {
            return Ok(());
        }
        Err(Error::damaged(
            self.store().location(),
            format!("was replaced: it is repository {} now, and was {}", object.id, self.id()),
        )
        .with_hint("put the one before back, or begin anew with the one that is there"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::slot::KdfParams;
    use crate::repo::RepositoryOptions;
    use crate::store::{Fault, FaultStore, MemoryStore};

    const CHEAP: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

    struct Lab {
        store: MemoryStore,
        secret: Secret,
        dir: tempfile::TempDir,
    }

    impl Lab {
        fn new() -> (Self, Repository) {
            let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
            let secret = Secret::new_recovery().unwrap();
            let lab = Self { store, secret, dir };
            let repository = lab.init(&lab.store, &lab.secret).unwrap();
            (lab, repository)
        }

        fn init(&self, store: &MemoryStore, secret: &Secret) -> Result<Repository> {
            let state = self.dir.path().join("state");
            Repository::init(
                Arc::new(store.clone()),
                &[(secret, "x")],
                CHEAP,
                &RepositoryOptions::new(state),
            )
        }

        fn open(&self) -> Result<Repository> {
            let state = self.dir.path().join("state");
            Repository::open(
                Arc::new(self.store.clone()),
                &self.secret,
                &RepositoryOptions::new(state),
            )
        }
    }

    #[test]
    fn the_object_comes_back_from_the_slots_and_init_buries_nothing() {
        for damaged in [false, true] {
            let (lab, repository) = Lab::new();
            repository.create_history("app", "app.db").unwrap();
            let bytes = lab.store.get(names::REPOSITORY, 100).unwrap().unwrap();
            lab.store.delete(names::REPOSITORY).unwrap();
            if damaged {
                let mut bad = bytes.clone();
                bad[20] ^= 1;
                lab.store.damage(names::REPOSITORY, &bad);
            }
            assert_eq!(lab.open().unwrap_err().kind(), ErrorKind::Damaged);
            assert_eq!(lab.init(&lab.store, &lab.secret).unwrap_err().kind(), ErrorKind::Refused);
            assert!(examine(&lab.store).unwrap().is_some());
            let stranger = Secret::new_recovery().unwrap();
            assert_eq!(plan(&lab.store, &stranger).unwrap_err().kind(), ErrorKind::WrongKey);
            let recovery = plan(&lab.store, &lab.secret).unwrap();
            assert_eq!(recovery.object.id, repository.id());
            let apart = recovery.object.created.0.abs_diff(repository.created().0);
            assert!(apart < 60_000_000, "{apart}");
            recover(&lab.store, &recovery).unwrap();
            recover(&lab.store, &Recovery { damaged: false, ..recovery }).unwrap();
            assert_eq!(lab.open().unwrap().history("app").unwrap().name(), "app");
            assert_eq!(lab.store.list(QUARANTINE).unwrap().len(), usize::from(damaged));
            assert!(examine(&lab.store).unwrap().is_none());
        }
    }

    #[test]
    fn a_recovery_that_died_anywhere_is_finished_by_the_next() {
        for damaged in [false, true] {
            let mut died = 0;
            for at in 0.. {
                let (lab, repository) = Lab::new();
                match damaged {
                    true => lab.store.damage(names::REPOSITORY, b"cut off"),
                    false => lab.store.delete(names::REPOSITORY).unwrap(),
                }
                let recovery = plan(&lab.store, &lab.secret).unwrap();
                let faulty = FaultStore::new(Arc::new(lab.store.clone()), at, Fault::Dead);
                let done = recover(&faulty, &recovery);
                if done.is_err() {
                    died += 1;
                    if examine(&lab.store).unwrap().is_some() {
                        let again = plan(&lab.store, &lab.secret).unwrap();
                        recover(&lab.store, &again).unwrap();
                    }
                }
                assert_eq!(lab.open().unwrap().id(), repository.id(), "{at}");
                let buried = lab.store.list(QUARANTINE).unwrap();
                assert_eq!(buried.len(), usize::from(damaged), "{at}: {buried:?}");
                if done.is_ok() {
                    break;
                }
            }
            assert!(died >= if damaged { 5 } else { 2 }, "{died}");
        }
    }

    #[test]
    fn slots_of_two_repositories_are_not_chosen_from() {
        let (lab, _) = Lab::new();
        let other = MemoryStore::new();
        let theirs = lab.init(&other, &lab.secret).unwrap();
        let slot = names::slot(theirs.current_slot());
        lab.store.create(&slot, &other.get(&slot, 9999).unwrap().unwrap()).unwrap();
        lab.store.delete(names::REPOSITORY).unwrap();
        let e = plan(&lab.store, &lab.secret).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Refused);
        assert!(e.message().contains(&theirs.id().to_string()), "{e}");
        assert!(e.message().contains(&theirs.current_slot().to_string()), "{e}");
        lab.store.delete(&slot).unwrap();
        recover(&lab.store, &plan(&lab.store, &lab.secret).unwrap()).unwrap();
        lab.open().unwrap();
    }

    #[test]
    fn a_repository_that_is_another_one_now_is_not_there() {
        let (lab, repository) = Lab::new();
        repository.check_there().unwrap();
        let bytes = lab.store.get(names::REPOSITORY, 100).unwrap().unwrap();
        let other = RepositoryObject { id: RepositoryId([7; 16]), created: repository.created() };
        lab.store.damage(names::REPOSITORY, &other.encode());
        let e = repository.check_there().unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.message().contains("replaced"), "{e}");
        lab.store.delete(names::REPOSITORY).unwrap();
        let e = repository.check_there().unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.message().contains("missing"), "{e}");
        lab.store.delete(&names::slot(repository.current_slot())).unwrap();
        assert_eq!(repository.check_there().unwrap_err().kind(), ErrorKind::Storage);
        lab.store.damage(names::REPOSITORY, &bytes);
        repository.check_there().unwrap();
    }
}
