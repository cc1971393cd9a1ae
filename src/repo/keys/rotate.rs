//! Rotation of keys: a new master key seals what is stored from now on.
//!
//! A slot can be written anew only with its secret, since it wraps the keyring symmetrically. So a
//! rotation needs every secret that is to go on opening the repository. It has two steps, so that
//! nobody ever seals under a key that another one lacks:
//!
//! 1. *Announce*: every secret gets a slot that also has the new key, behind which the old one
//!    still seals.
//! 2. *Complete*: every secret gets a slot in which the new key seals; these are read back and
//!    opened; then all that was there before goes, and the slots of the first step.
//!
//! Invariants:
//! - At every moment each secret opens everything that is stored, a secret whose slot is removed
//!   excepted.
//! - Nobody seals under the new key before every secret has it. So until the second step begins it
//!   can be withdrawn.
//! - Once it has announced, a rotation lists the slots. Of two that race at least one sees the
//!   other's, withdraws its own and answers [`ErrorKind::Busy`]. One that begins later takes over
//!   the key that the other announced. So no key that was used is lost, however slow either is; but
//!   slots of the slower one may remain besides, and it answers `Busy`: the next rotation removes
//!   them.
//! - Of others' slots, none goes that was not there when the rotation began.

use std::collections::BTreeSet;

use super::keyring::Keyring;
use super::secret::Secret;
use super::slots;
use crate::error::{Error, ErrorKind, Result};
use crate::format::names;
use crate::format::slot::{KdfParams, MasterKey, SecretKind, SlotObject};
use crate::remedy::{Remedy, advice};
use crate::repo::repository::Repository;
use crate::types::{KeyId, SlotId};

/// The label of recovery keys.
pub(crate) const RECOVERY_LABEL: &str = "recovery key";

/// What becomes of the slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct RotateOptions<'a> {
    /// The secrets that go on opening the repository, the one that opened it included; with what to
    /// call them in errors.
    pub secrets: &'a [(&'a Secret, &'a str)],
    /// A recovery key that takes the place of all recovery keys so far, of those among the secrets
    /// too.
    pub new_recovery: Option<&'a Secret>,
    /// Whether slots that none of the secrets opens are removed. Otherwise they are a reason to
    /// refuse.
    pub remove_others: bool,
}

/// A rotation that was announced: every secret has the new key, and nothing was sealed under it
/// yet.
#[derive(Debug)]
pub struct Rotation<'a> {
    repository: Repository,
    wraps: Vec<Wrap<'a>>,
    /// The keys so far.
    keyring: Keyring,
    key: MasterKey,
    replaced: BTreeSet<SlotId>,
    removed: BTreeSet<SlotId>,
    /// What the first step published, or perhaps did.
    announced: BTreeSet<SlotId>,
}

/// What a slot is made of.
#[derive(Debug)]
struct Wrap<'a> {
    secret: &'a Secret,
    label: String,
    kdf: KdfParams,
}

/// What a rotation did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// The new master key.
    pub key: KeyId,
    /// The slots that there are now.
    pub added: Vec<SlotId>,
    /// The slots in whose places they are.
    pub replaced: Vec<SlotId>,
    /// The slots that were removed, since no secret was given for them.
    pub removed: Vec<SlotId>,
}

impl Repository {
    /// Begins to bring in a new master key: every secret gets to know it. It is used once
    /// [`Rotation::complete`] is called; a rotation that is dropped instead leaves slots behind
    /// that do no harm, and that the next one removes.
    ///
    /// Whoever has the repository open takes in the new key when it meets an object that is sealed
    /// under it, and a writer now and then by itself; until then it goes on under the key so far.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when one of the secrets opens no slot; [`ErrorKind::Refused`] when
    /// there are slots that none of them opens, or ones that have keys which none of them has, or
    /// when the keyring is full; [`ErrorKind::Busy`] when slots come or go meanwhile; store errors.
    /// After any of them everything is as before, but for slots that could not be withdrawn because
    /// the store failed.
    pub fn rotate<'a>(&self, options: &RotateOptions<'a>) -> Result<Rotation<'a>> {
        self.rotate_once_shown(options, || Ok(()))
    }

    /// As [`Repository::rotate`]; `show` is called when nothing is known to stand in its way and
    /// nothing was written. A new recovery key has to be shown by then: one that a kill left behind
    /// unseen would be the only one with the newest keys, and nobody could rotate again.
    ///
    /// # Errors
    /// As [`Repository::rotate`], and those of `show`.
    pub fn rotate_once_shown<'a>(
        &self,
        options: &RotateOptions<'a>,
        show: impl FnOnce() -> Result<()>,
    ) -> Result<Rotation<'a>> {
        let mut rotation = self.plan(options)?;
        show()?;
        let announced = rotation.announce();
        if let Err(e) = announced {
            for id in &rotation.announced {
                // Nobody sealed under the new key, so nobody needs them.
                let _ = self.store().delete(&names::slot(*id));
            }
            return Err(e);
        }
        Ok(rotation)
    }

    /// What is to be done; writes nothing.
    fn plan<'a>(&self, options: &RotateOptions<'a>) -> Result<Rotation<'a>> {
        let slots = slots::read_slots(self.store(), self.id())?;
        let mut keyring = self.keyring();
        let (mut wraps, mut replaced) = (Vec::new(), BTreeSet::new());
        for (secret, name) in options.secrets {
            let opened = slots::opened_by(&slots, secret)?;
            let Some((best, _)) = opened.first() else {
                return Err(slots::opens_nothing(secret)
                    .with_object(*name)
                    .with_hint(advice![Remedy::ListKeys, " shows the keys that do"]));
            };
            let renewed = options.new_recovery.is_some() && secret.kind() == SecretKind::Recovery;
            if !renewed && !replaced.contains(&best.id) {
                let kdf = best.kdf.unwrap_or_default();
                wraps.push(Wrap { secret, label: best.label.clone(), kdf });
            }
            for (slot, keys) in &opened {
                slots::join(&mut keyring, slot, keys)?;
                replaced.insert(slot.id);
            }
        }
        if let Some(secret) = options.new_recovery {
            let kdf = KdfParams::default();
            wraps.push(Wrap { secret, label: RECOVERY_LABEL.to_owned(), kdf });
            let recovery = |slot: &SlotObject| slot.front.secret == SecretKind::Recovery;
            let old = slots.iter().filter(|(_, slot)| slot.as_ref().is_ok_and(recovery));
            replaced.extend(old.map(|(id, _)| *id));
        }
        if wraps.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "a repository needs a key"));
        }
        let others: Vec<_> = slots.iter().filter(|(id, _)| !replaced.contains(id)).collect();
        if !others.is_empty() && !options.remove_others {
            return Err(refusal(&others).with_object(self.store().location()));
        }
        // Neither a key that is renewed nor one that is removed was opened just now.
        let newer = |slot: &SlotObject| slot.key_count() > keyring.count();
        if let Some((id, _)) = slots.iter().find(|(_, slot)| slot.as_ref().is_ok_and(newer)) {
            return Err(Error::new(ErrorKind::Refused, "has keys that none of the given ones has")
                .with_object(names::slot(*id))
                .with_hint("rotate with the key that opens this slot"));
        }
        Ok(Rotation {
            repository: self.clone(),
            wraps,
            key: keyring.next_key(self.now())?,
            keyring,
            removed: others.iter().map(|(id, _)| *id).collect(),
            replaced,
            announced: BTreeSet::new(),
        })
    }
}

fn refusal(others: &[&slots::Read]) -> Error {
    let others: Vec<String> = others
        .iter()
        .map(|(id, slot)| match slot {
            Ok(slot) => format!("{id} ({}, {:?})", slot.front.secret.name(), slot.front.label),
            Err(_) => format!("{id} (cannot be read)"),
        })
        .collect();
    Error::new(
        ErrorKind::Refused,
        format!("keys that were not given would not open new backups: {}", others.join(", ")),
    )
    .with_hint(advice![
        "give them: ",
        Remedy::GiveKeys,
        "; or replace the recovery keys: ",
        Remedy::NewRecoveryKey,
        "; or remove all that were not given: ",
        Remedy::RemoveOtherKeys,
    ])
}

impl Rotation<'_> {
    /// The slots that were there when it began.
    fn before(&self) -> BTreeSet<SlotId> {
        self.replaced.union(&self.removed).copied().collect()
    }

    fn listed(&self) -> Result<BTreeSet<SlotId>> {
        Ok(slots::list_slots(self.repository.store())?.into_iter().collect())
    }

    fn slot(&self, wrap: &Wrap<'_>, keyring: &Keyring) -> Result<SlotObject> {
        let of = (self.repository.id(), self.repository.now());
        slots::make_slot(of, keyring, wrap.secret, &wrap.label, wrap.kdf)
    }

    /// The first step.
    fn announce(&mut self) -> Result<()> {
        let keyring = self.keyring.with(&self.key, false);
        for wrap in &self.wraps {
            let slot = self.slot(wrap, &keyring)?;
            // Before it is tried: after an error it may be there all the same.
            self.announced.insert(slot.front.id);
            slots::store_slot(self.repository.store(), &slot)?;
        }
        if self.listed()? == &self.before() | &self.announced {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Busy, "the key slots were changed meanwhile by somebody else")
            .with_object(self.repository.store().location())
            .with_hint("nothing was rotated; run it again"))
    }

    /// Puts the new key to use and removes what was there before.
    ///
    /// # Errors
    /// Store errors, after which some slots may have the new key in use and others not. All open
    /// everything, and another rotation leaves only its own. [`ErrorKind::Busy`] when all was done,
    /// but somebody else changed the slots meanwhile.
    ///
    /// # Durability
    /// Old slots are deleted once all new ones are durable, and were read back and opened.
    pub fn complete(self) -> Result<Rotated> {
        let store = self.repository.store();
        let keyring = self.keyring.with(&self.key, true);
        let mut added = BTreeSet::new();
        for wrap in &self.wraps {
            let slot = self.slot(wrap, &keyring)?;
            slots::store_slot(store, &slot)?;
            added.insert(slot.front.id);
            self.prove(slot.front.id, wrap.secret, &keyring)?;
        }
        let before = self.before();
        let (listed, ours) = (self.listed()?, &self.announced | &added);
        let undisturbed = before.is_subset(&listed) && listed.is_subset(&(&before | &ours));
        for id in before.iter().chain(&self.announced) {
            store.delete(&names::slot(*id))?;
        }
        if !undisturbed {
            return Err(Error::new(
                ErrorKind::Busy,
                "the new key is in use, but somebody else changed the key slots meanwhile",
            )
            .with_object(store.location())
            .with_hint(advice!["look at ", Remedy::ListKeys, ", and rotate again"]));
        }
        Ok(Rotated {
            key: self.key.id,
            added: added.into_iter().collect(),
            replaced: self.replaced.into_iter().collect(),
            removed: self.removed.into_iter().collect(),
        })
    }

    /// Makes sure that a new slot opens as the one that it replaces did.
    fn prove(&self, id: SlotId, secret: &Secret, keyring: &Keyring) -> Result<()> {
        let name = names::slot(id);
        let Some(slot) = slots::read_slot(self.repository.store(), self.repository.id(), id)?
        else {
            return Err(Error::new(ErrorKind::Busy, "was removed meanwhile by somebody else")
                .with_object(name)
                .with_hint(advice!["look at ", Remedy::ListKeys, ", and rotate again"]));
        };
        let found = slots::open_slot(&slot?, secret)?;
        if found.is_some_and(|found| found.same_as(keyring)) {
            return Ok(());
        }
        Err(Error::damaged(name, "was just written and does not open"))
    }
}
