//! The master keys that are open, as the repository uses them, and how it comes to know of new
//! ones.
//!
//! A rotation of keys brings in new master keys while others are at work. Whoever meets an object
//! under a key that it does not have looks at the slots again; so does a follower now and then, so
//! that it seals under the new key.
//!
//! Invariants: a key that was open stays open. A slot that was tried once is not tried again, so
//! that damaged objects cost no key derivations.

use std::sync::Arc;

use super::keyring::{Keyring, Opened};
use super::slots;
use crate::error::{Error, ErrorKind, Result};
use crate::format::slot::MasterKey;
use crate::repo::repository::Repository;
use crate::types::{KeyId, SlotId};

impl Repository {
    /// The slot that opened the repository.
    pub fn current_slot(&self) -> SlotId {
        self.0.keys.opened().slots.first().copied().unwrap_or_default()
    }

    /// All slots that the secret opened; more than one after a rotation that was interrupted.
    pub fn opened_slots(&self) -> Vec<SlotId> {
        self.0.keys.opened().slots.clone()
    }

    /// Why other slots could not be read when this one was opened: nobody can open the repository
    /// by them.
    pub fn unread_slots(&self) -> Arc<[Error]> {
        self.0.keys.opened().unread.clone()
    }

    /// Whether the slots that opened the repository were gone when somebody last looked. What is
    /// stored goes on being sealed, and can be read by whoever has a key; but the secret that
    /// opened the repository here does not open it again.
    pub(crate) fn is_locked_out(&self) -> bool {
        self.0.keys.opened().slots.is_empty()
    }

    /// The master keys that are open.
    pub(crate) fn keyring(&self) -> Keyring {
        self.0.keys.opened().keyring.clone()
    }

    /// The key that seals.
    pub(crate) fn newest_key(&self) -> Result<MasterKey> {
        self.0.keys.opened().keyring.newest().cloned()
    }

    /// The key of an object.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when there is no such key; [`ErrorKind::WrongKey`] when the keys were
    /// rotated and the secret that opened the repository was not kept; store errors.
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

    /// Takes in the keys that rotations brought since. What is sealed from now on is sealed under
    /// the newest.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when new slots of this secret can't be opened. All keys
    /// so far stay open.
    pub(crate) fn look_for_keys(&self) -> Result<()> {
        let keys = &self.0.keys;
        let _looking = keys.look();
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
        let joined = slots::opened_by(&read, keys.secret()).and_then(|opened| {
            let slots = opened.iter().map(|(front, _)| front.id).chain(after.slots.clone());
            after.slots = slots.collect();
            let mut opened = opened.iter();
            opened.try_for_each(|(front, keys)| slots::join(&mut after.keyring, front, keys))
        });
        keys.replace(after);
        joined
    }

    /// Whether a slot has more keys than are open. How many a slot has shows in its length; nothing
    /// authenticates that.
    pub(crate) fn has_more_keys(&self, slots: &[slots::Read]) -> bool {
        let known = self.0.keys.opened().keyring.count();
        slots.iter().any(|(_, slot)| slot.as_ref().is_ok_and(|s| s.key_count() > known))
    }

    /// Why an object's key is not in the keyring. Its id stands in the plain and may be damaged; if
    /// slots have more keys, that is the likelier reason.
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
        match crate::repo::recover::foreign_slots(self) {
            Some(hint) => damaged.with_hint(hint),
            None => damaged,
        }
    }
}

pub(crate) fn rotated(e: Error) -> Error {
    e.with_hint(
        "the keys were rotated since the repository was opened: start again, with a key that was kept",
    )
}
