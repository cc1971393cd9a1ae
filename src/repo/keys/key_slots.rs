//! The key slots of an open repository: listed, added and removed.
//!
//! Invariants: the last slot that opens, or that has the newest keys, can't be removed. A new slot
//! opens all that is stored from then on, or it is not added.

use super::master::rotated;
use super::secret::Secret;
use super::slots::{Read, make_slot, opened_by, read_slots, store_slot};
use crate::error::{Error, ErrorKind, Result};
use crate::format::names;
use crate::format::slot::{KdfParams, SlotFront, SlotObject};
use crate::remedy::{Remedy, advice};
use crate::repo::repository::Repository;
use crate::types::SlotId;

/// A slot, as a listing shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlotInfo {
    /// The slot's identity.
    pub id: SlotId,
    /// Its front, or why it can't be read.
    pub front: Result<SlotFront, String>,
    /// Whether it is the one that opened the repository.
    pub current: bool,
}

impl Repository {
    /// The key slots, oldest first.
    ///
    /// # Errors
    /// Store errors. A slot that can't be read is in the list and says why.
    pub fn slots(&self) -> Result<Vec<SlotInfo>> {
        let slots = read_slots(self.store(), self.id())?;
        Ok(slots
            .into_iter()
            .map(|(id, slot)| SlotInfo {
                id,
                front: slot.map(|s| s.front).map_err(|e| e.to_string()),
                current: id == self.current_slot(),
            })
            .collect())
    }

    /// The slots that a secret opens.
    ///
    /// # Errors
    /// Store errors.
    pub fn slots_of(&self, secret: &Secret) -> Result<Vec<SlotId>> {
        let slots = read_slots(self.store(), self.id())?;
        match opened_by(&slots, secret) {
            Ok(opened) => Ok(opened.iter().map(|(slot, _)| slot.id).collect()),
            // Its slots are broken, and open nothing.
            Err(e) if e.kind() == ErrorKind::Damaged => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Adds a slot for another secret.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::WrongKey`] when the keys were rotated since the repository was
    /// opened, so that the new slot would not open what is stored from now on. Then there is none.
    pub fn add_slot(&self, secret: &Secret, label: &str, kdf: KdfParams) -> Result<SlotId> {
        let slot = make_slot((self.id(), self.now()), &self.keyring(), secret, label, kdf)?;
        store_slot(self.store(), &slot)?;
        // Only now: a rotation that this does not see yet sees the new slot, and stops.
        if self.has_more_keys(&read_slots(self.store(), self.id())?) {
            self.store().delete(&names::slot(slot.front.id))?;
            return Err(rotated(
                Error::new(ErrorKind::WrongKey, "other slots have newer keys")
                    .with_object(self.store().location()),
            ));
        }
        Ok(slot.front.id)
    }

    /// Removes a slot. Whoever had its secret before may have kept the keys: removing keeps others
    /// from coming in, it does not throw anybody out; see [`Repository::rotate`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of that id; [`ErrorKind::Refused`] when no other
    /// readable slot would remain, or none with as many keys; [`ErrorKind::Busy`] when the others
    /// were removed meanwhile, and this one was put back for that.
    pub fn remove_slot(&self, id: SlotId) -> Result<()> {
        let slots = read_slots(self.store(), self.id())?;
        let name = names::slot(id);
        let Some((_, removed)) = slots.iter().find(|(other, _)| *other == id) else {
            return Err(Error::new(ErrorKind::NotFound, "no such key slot")
                .with_object(name)
                .with_hint(advice![Remedy::ListKeys, " shows them"]));
        };
        let keys = removed.as_ref().map_or(0, SlotObject::key_count);
        let mut remaining = others(&slots, id);
        if others(&slots, id).next().is_none() {
            return Err(Error::new(
                ErrorKind::Refused,
                "is the last slot that opens; without it nobody could read the repository",
            )
            .with_object(name)
            .with_hint(advice!["add another key first: ", Remedy::AddKey]));
        }
        if !remaining.any(|slot| slot.key_count() >= keys) {
            return Err(Error::new(
                ErrorKind::Refused,
                "is the last slot with the newest keys; without it nobody could read the newest backups",
            )
            .with_object(name)
            .with_hint(advice![Remedy::RotateKeys, ", opened with this key, puts all slots in order"]));
        }
        // Whoever added the ones that remain may have died before they were durable.
        self.store().sync(names::KEYS)?;
        self.store().delete(&name)?;
        // Who removed the others meanwhile looked before this one was gone. Of two, the one that
        // looks last sees both go.
        let Ok(removed) = removed else { return Ok(()) };
        if others(&read_slots(self.store(), self.id())?, id).any(|slot| slot.key_count() >= keys) {
            return Ok(());
        }
        store_slot(self.store(), removed)?;
        Err(Error::new(
            ErrorKind::Busy,
            "is the last slot that opens, since others were removed at the same time: it was put back",
        )
        .with_object(name)
        .with_hint(advice![Remedy::ListKeys, " shows which slots there are now"]))
    }
}

/// The slots that can be read, but for one.
fn others(slots: &[Read], id: SlotId) -> impl Iterator<Item = &SlotObject> {
    slots.iter().filter(move |(other, _)| *other != id).filter_map(|(_, slot)| slot.as_ref().ok())
}
