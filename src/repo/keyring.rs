//! The master keys that are open, and how a process that runs for long comes to know of new ones.
//!
//! A rotation of keys brings in new master keys while others are at work. Whoever meets an object under a key that it
//! does not have looks at the slots again; so does a follower now and then, so that it seals under the new key.
//!
//! Invariants: a key that was open stays open; the last key of a keyring is the one that seals; a slot that was tried
//! once is not tried again, so that damaged objects cost no key derivations.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::keys::Secret;
use super::{Repository, slots};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::format::slot::MasterKey;
use crate::types::{KeyId, SlotId, Timestamp, random_bytes};

/// The master keys of a repository; the last one seals.
#[derive(Clone, Debug)]
pub struct Keyring(pub(super) Vec<MasterKey>);

impl Keyring {
    /// A keyring with one new key.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] without random bytes.
    pub fn new() -> Result<Self> {
        Ok(Self(vec![new_key(Timestamp::now())?]))
    }

    /// The key for new segments.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] for an empty keyring, which no decoder gives.
    pub fn newest(&self) -> Result<&MasterKey> {
        self.0.last().ok_or_else(|| Error::new(ErrorKind::Failure, "the keyring is empty"))
    }

    /// A key by its id.
    pub fn get(&self, id: KeyId) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// A new key, later than all that are here whatever the clock says.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when no more keys fit; [`ErrorKind::Failure`] without random bytes.
    pub(crate) fn next_key(&self) -> Result<MasterKey> {
        if self.count() >= limits::KEYRING {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the keyring has {} keys, and no more fit", self.count()),
            )
            .with_hint("begin a new repository: `pagekeep init`"));
        }
        let after = self.0.iter().map(|key| key.created.0.saturating_add(1)).max();
        new_key(Timestamp::now().max(Timestamp(after.unwrap_or(i64::MIN))))
    }

    /// This keyring with one more key: the one that seals from now on, or for the time being only one to open with.
    pub(crate) fn with(&self, key: &MasterKey, seals: bool) -> Self {
        let mut keys = Vec::with_capacity(self.count() + 1);
        let last = if seals { None } else { self.0.last() };
        let before = self.0.iter().filter(|key| last.is_none_or(|last| last.id != key.id));
        keys.extend(before.chain([key]).chain(last).cloned());
        Self(keys)
    }

    /// Adds the keys of another keyring. Of the two keys that seal, the later one does. `false` when the two have
    /// different keys of one id, which no honest program makes.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let conflict = |key: &MasterKey| self.get(key.id).is_some_and(|k| k.secret != key.secret);
        if other.0.iter().any(conflict) {
            return false;
        }
        let seals = [&*self, other].into_iter().max_by_key(|keyring| keyring.rank());
        let seals = seals.and_then(|keyring| keyring.0.last()).map(|key| key.id);
        // In one piece: a vector that grows leaves keys behind in memory.
        let mut keys = Vec::with_capacity(self.count() + other.count());
        keys.extend(self.0.iter().cloned());
        keys.extend(other.0.iter().filter(|key| self.get(key.id).is_none()).cloned());
        let at = keys.iter().position(|key| Some(key.id) == seals);
        if let Some(from) = at.and_then(|at| keys.get_mut(at..)) {
            from.rotate_left(1);
        }
        self.0 = keys;
        true
    }

    /// Whether two keyrings have the same keys in the same order.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// What makes one keyring's last key later than another's.
    pub(super) fn rank(&self) -> Option<(Timestamp, KeyId)> {
        self.0.last().map(|key| (key.created, key.id))
    }
}

pub(super) fn new_key(created: Timestamp) -> Result<MasterKey> {
    let secret = Zeroizing::new(random_bytes::<32>()?);
    Ok(MasterKey { id: KeyId::random()?, created, secret: *secret })
}

/// What a secret opens.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// The slots; first the one whose keyring seals.
    pub(crate) slots: Vec<SlotId>,
    /// All their keys.
    pub(crate) keyring: Keyring,
    /// All slots that there were, those of other secrets and those that can't be read, too.
    pub(crate) tried: BTreeSet<SlotId>,
    /// Errors of slots that can't be read.
    pub(crate) unread: Arc<[Error]>,
}

/// What is open now, and what opened it.
#[derive(Debug)]
pub(super) struct Keys {
    secret: Secret,
    opened: RwLock<Arc<Opened>>,
    /// One at a time looks for new keys: a passphrase takes a second and much memory.
    looking: Mutex<()>,
}

impl Keys {
    pub(super) fn new(secret: &Secret, opened: Opened) -> Self {
        let (secret, looking) = (secret.clone(), Mutex::new(()));
        Self { secret, opened: RwLock::new(Arc::new(opened)), looking }
    }

    /// The same keys, for a process of its own.
    #[cfg(test)]
    pub(super) fn again(&self) -> Self {
        Self::new(&self.secret, Opened::clone(&self.opened()))
    }

    pub(super) fn opened(&self) -> Arc<Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Repository {
    /// The slot that opened the repository.
    pub fn current_slot(&self) -> SlotId {
        self.0.keys.opened().slots.first().copied().unwrap_or_default()
    }

    /// All slots that the secret opened; more than one after a rotation that was interrupted.
    pub fn opened_slots(&self) -> Vec<SlotId> {
        self.0.keys.opened().slots.clone()
    }

    /// Why other slots could not be read when this one was opened: nobody can open the repository by them.
    pub fn unread_slots(&self) -> Arc<[Error]> {
        self.0.keys.opened().unread.clone()
    }

    /// Whether the slots that opened the repository were gone when somebody last looked. What is stored goes on being sealed, and can be read
    /// by whoever has a key; but the secret that opened the repository here does not open it again.
    pub(crate) fn is_locked_out(&self) -> bool {
        self.0.keys.opened().slots.is_empty()
    }

    /// The master keys that are open.
    pub(super) fn keyring(&self) -> Keyring {
        self.0.keys.opened().keyring.clone()
    }

    /// The key that seals.
    pub(crate) fn newest_key(&self) -> Result<MasterKey> {
        self.0.keys.opened().keyring.newest().cloned()
    }

    /// The key of an object.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when there is no such key; [`ErrorKind::WrongKey`] when the keys were rotated and the secret
    /// that opened the repository was not kept; store errors.
    pub(crate) fn master(&self, key: KeyId, name: &str) -> Result<MasterKey> {
        let known = || self.0.keys.opened().keyring.get(key).cloned();
        if let Some(master) = known() {
            return Ok(master);
        }
        match self.look_for_keys() {
            // Slots that can't be read are no reason to doubt what is open.
            Err(e) if e.kind() != ErrorKind::Damaged => Err(e),
            _ => known().ok_or_else(|| self.unknown_key(key, name)),
        }
    }

    /// Takes in the keys that rotations brought since. What is sealed from now on is sealed under the newest.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when new slots of this secret can't be opened. All keys so far stay open.
    pub(crate) fn look_for_keys(&self) -> Result<()> {
        let keys = &self.0.keys;
        let _looking = keys.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let before = keys.opened();
        let listed = slots::list_slots(self.store())?;
        let is_known = listed.iter().all(|id| before.tried.contains(id));
        if is_known && before.slots.iter().all(|id| listed.contains(id)) {
            return Ok(());
        }
        let mut read = slots::read_slots(self.store(), self.id())?;
        let mut after = Opened::clone(&before);
        after.slots.retain(|id| read.iter().any(|(other, _)| other == id));
        read.retain(|(id, _)| !before.tried.contains(id));
        // One that can't be read may be put back as it was.
        let whole = read.iter().filter(|(_, slot)| slot.is_ok());
        after.tried.extend(whole.map(|(id, _)| *id));
        let joined = slots::opened_by(&read, &keys.secret).and_then(|opened| {
            let slots = opened.iter().map(|(front, _)| front.id).chain(after.slots.clone());
            after.slots = slots.collect();
            let mut opened = opened.iter();
            opened.try_for_each(|(front, keys)| slots::join(&mut after.keyring, front, keys))
        });
        *keys.opened.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        joined
    }

    /// Whether a slot has more keys than are open. How many a slot has shows in its length; nothing authenticates that.
    pub(super) fn has_more_keys(&self, slots: &[slots::Read]) -> bool {
        let known = self.0.keys.opened().keyring.count();
        slots.iter().any(|(_, slot)| slot.as_ref().is_ok_and(|s| s.key_count() > known))
    }

    /// Why an object's key is not in the keyring. Its id stands in the plain and may be damaged; if slots have more keys,
    /// that is the likelier reason.
    fn unknown_key(&self, key: KeyId, name: &str) -> Error {
        let what = format!("is sealed under key {key}, which is not in the keyring");
        let damaged = Error::damaged(name, what);
        let slots = match slots::read_slots(self.store(), self.id()) {
            Ok(slots) => slots,
            // Whether it is damage can't be told.
            Err(e) => return e,
        };
        if self.is_locked_out() {
            let what = format!(
                "is sealed under key {key}, and the key that opened the repository here was removed from it"
            );
            return rotated(Error::new(ErrorKind::WrongKey, what).with_object(name));
        }
        if self.has_more_keys(&slots) {
            return rotated(damaged.with_kind(ErrorKind::WrongKey));
        }
        // A newer version may have rotated them.
        let errors = slots.into_iter().filter_map(|(_, slot)| slot.err());
        if let Some(e) = errors.into_iter().find(|e| e.kind() == ErrorKind::TooNew) {
            return e;
        }
        match super::recover::foreign_slots(self) {
            Some(hint) => damaged.with_hint(hint),
            None => damaged,
        }
    }
}

pub(super) fn rotated(e: Error) -> Error {
    e.with_hint(
        "the keys were rotated since the repository was opened: start again, with a key that was kept",
    )
}
