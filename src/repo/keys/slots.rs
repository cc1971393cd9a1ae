//! Key slots, and the keyring that each of them wraps for one secret.
//!
//! Several slots may open with one secret: a rotation of keys that was interrupted leaves such
//! behind. Then their keyrings together are the keyring, so that no key that was ever in use is
//! passed over.
//!
//! Invariants: a slot object is never overwritten; the cost that a stored slot asks for is bounded
//! before it is paid; the last key of a keyring is the one that seals.

use std::cmp::Reverse;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::keyring::{Keyring, Opened};
use super::secret::Secret;
use crate::codec::seal::{SealKey, TAG_LEN, same_commitment};
use crate::error::{Error, ErrorKind, Result};
use crate::format::slot::{
    KdfParams, SecretKind, SlotFront, SlotObject, decode_keyring, encode_keyring,
};
use crate::format::{limits, names};
use crate::remedy::{Remedy, advice};
use crate::repo::newer;
use crate::store::{Created, Store};
use crate::types::{RepositoryId, SlotId, Timestamp, random_bytes};

/// How often slots that vanish while they are read are listed again.
const LISTINGS: usize = 5;

/// Wraps the keyring for a secret; the slot is of a repository and a time.
pub(crate) fn make_slot(
    (repository, created): (RepositoryId, Timestamp),
    keyring: &Keyring,
    secret: &Secret,
    label: &str,
    kdf: KdfParams,
) -> Result<SlotObject> {
    let front = SlotFront {
        id: SlotId::random()?,
        repository,
        secret: secret.kind(),
        created,
        kdf: matches!(secret, Secret::Passphrase(_)).then_some(kdf),
        salt: random_bytes()?,
        label: label.to_owned(),
        optional: 0,
    };
    let (key, commitment) = SealKey::for_slot(&*secret.bits(&front)?, &front);
    let plain = encode_keyring(&keyring.0);
    let sealed_len = plain.len() + TAG_LEN;
    let bound = SlotObject::associated_data(&front, &commitment, sealed_len);
    let sealed = key.seal(&[&bound], &plain).map_err(|e| e.of("key slot"))?;
    Ok(SlotObject { front, commitment, sealed })
}

/// Publishes a slot.
pub(crate) fn store_slot(store: &dyn Store, slot: &SlotObject) -> Result<()> {
    let name = names::slot(slot.front.id);
    match store.create(&name, &slot.encode())? {
        Created::New => Ok(()),
        Created::Exists => Err(Error::new(ErrorKind::Failure, "exists already").with_object(name)),
    }
}

/// The ids of all slots.
pub(crate) fn list_slots(store: &dyn Store) -> Result<Vec<SlotId>> {
    Ok(store.list(names::KEYS)?.iter().filter_map(|e| names::parse_slot(&e.name)).collect())
}

/// A slot with what could be read of it.
pub(crate) type Read = (SlotId, Result<SlotObject>);

/// All slots with what could be read of them, sorted by age. A slot of another repository, such as
/// an interrupted `init` leaves behind, opens nothing here and counts as damaged.
pub(crate) fn read_slots(store: &dyn Store, repository: RepositoryId) -> Result<Vec<Read>> {
    let slots = read_any(store)?;
    Ok(slots.into_iter().map(|(id, slot)| (id, of_repository(slot, repository))).collect())
}

/// As [`read_slots`], of whatever repository they are.
pub(crate) fn read_any(store: &dyn Store) -> Result<Vec<Read>> {
    let mut slots = Vec::new();
    for _ in 0..LISTINGS {
        slots.clear();
        let mut gone = false;
        for id in list_slots(store)? {
            match read_any_slot(store, id)? {
                Some(slot) => slots.push((id, slot)),
                None => gone = true,
            }
        }
        // Slots that vanished may have been replaced by others, which the listing did not have yet;
        // it may have had neither.
        if !gone && !slots.is_empty() {
            break;
        }
    }
    slots.sort_by_key(|(_, slot)| slot.as_ref().map_or(Timestamp(i64::MAX), |s| s.front.created));
    Ok(slots)
}

/// One slot, if it is there, with what could be read of it.
pub(crate) fn read_slot(
    store: &dyn Store,
    repository: RepositoryId,
    id: SlotId,
) -> Result<Option<Result<SlotObject>>> {
    Ok(read_any_slot(store, id)?.map(|slot| of_repository(slot, repository)))
}

fn of_repository(slot: Result<SlotObject>, repository: RepositoryId) -> Result<SlotObject> {
    let slot = slot?;
    if slot.front.repository == repository {
        return Ok(slot);
    }
    Err(Error::damaged(
        names::slot(slot.front.id),
        format!("belongs to another repository, {}", slot.front.repository),
    ))
}

fn read_any_slot(store: &dyn Store, id: SlotId) -> Result<Option<Result<SlotObject>>> {
    let name = names::slot(id);
    let slot = match store.get_range(&name, 0, limits::PLAIN_OBJECT) {
        Ok(Some(bytes)) => SlotObject::decode(&bytes).map_err(|e| newer::plain(e, &name, &bytes)),
        Ok(None) => return Ok(None),
        Err(e) if e.kind() == ErrorKind::Damaged => Err(e),
        Err(e) => return Err(e),
    };
    Ok(Some(slot.and_then(|slot| {
        if slot.front.id != id {
            return Err(Error::damaged(name, "is another slot under this one's name"));
        }
        Ok(slot)
    })))
}

/// The slots that a secret opens; first the one whose last key is the latest.
///
/// # Errors
/// [`ErrorKind::Damaged`] when the secret fits slots and none of them opens.
pub(crate) fn opened_by<'s>(
    slots: &'s [Read],
    secret: &Secret,
) -> Result<Vec<(&'s SlotFront, Keyring)>> {
    let mut opened = Vec::new();
    let mut broken = None;
    let readable = slots.iter().filter_map(|(_, slot)| slot.as_ref().ok());
    for slot in readable.filter(|slot| slot.front.secret == secret.kind()) {
        match open_slot(slot, secret) {
            Ok(Some(keyring)) => opened.push((&slot.front, keyring)),
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::Failure => return Err(e),
            Err(e) => {
                broken.get_or_insert(e);
            }
        }
    }
    if let (Some(e), true) = (broken, opened.is_empty()) {
        return Err(e);
    }
    opened.sort_by_key(|(_, keyring)| Reverse((keyring.rank(), keyring.count())));
    Ok(opened)
}

/// Adds the keys of a slot to others.
pub(crate) fn join(keyring: &mut Keyring, slot: &SlotFront, other: &Keyring) -> Result<()> {
    if keyring.join(other) {
        return Ok(());
    }
    Err(Error::damaged(names::slot(slot.id), "has another key of the same id than another slot"))
}

/// Finds the slots that the secret opens, and opens them.
///
/// # Errors
/// [`ErrorKind::WrongKey`] when no slot opens; [`ErrorKind::Damaged`] when the one that might have
/// is damaged.
pub(crate) fn open_slots(
    store: &dyn Store,
    repository: RepositoryId,
    secret: &Secret,
) -> Result<Opened> {
    let slots = read_slots(store, repository)?;
    let mut opened = opened_by(&slots, secret)?.into_iter();
    if let Some((first, mut keyring)) = opened.next() {
        let mut ids = vec![first.id];
        for (slot, other) in opened {
            ids.push(slot.id);
            join(&mut keyring, slot, &other)?;
        }
        let tried = slots.iter().map(|(id, _)| *id).collect();
        let unread = unread(slots);
        return Ok(Opened { slots: ids, keyring, tried, unread });
    }
    Err(opens_none(store, secret, slots))
}

/// Why slots can't be read, and what to do about them.
pub(crate) fn unread(slots: Vec<Read>) -> Arc<[Error]> {
    let errors = slots.into_iter().filter_map(|(id, slot)| slot.err().map(|e| (id, e)));
    let told = errors.map(|(id, e)| match (e.kind(), e.hint()) {
        (ErrorKind::Damaged, None) => e.with_hint(advice![
            "its key opens nothing now; put the object back from a copy of the repository, or give that key anew: ",
            Remedy::RemoveKey { slot: id.to_string() },
            ", then ",
            Remedy::AddKey,
        ]),
        _ => e,
    });
    told.collect()
}

/// Why a secret opens none of these slots, and which there are.
pub(crate) fn opens_none(store: &dyn Store, secret: &Secret, slots: Vec<Read>) -> Error {
    if slots.is_empty() {
        return Error::damaged(
            store.location(),
            "has no key slots: its folder keys/ is missing or empty, and without a slot no key opens anything",
        )
        .with_hint("put the folder keys/ back, from a copy of this repository's folder; old copies of slots do as well");
    }
    let front = |(_, slot): &Read| slot.as_ref().ok().map(|slot| slot.front.clone());
    let there: Vec<String> = slots
        .iter()
        .filter_map(front)
        .map(|front| format!("{} {:?} ({})", front.secret.name(), front.label, front.id))
        .collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    match slots.into_iter().find_map(|(_, slot)| slot.err()) {
        Some(e) if e.kind() == ErrorKind::TooNew => e,
        Some(e) => e.with_hint(format!(
            "another key of this repository may still open it; slots that can be read: {there}"
        )),
        None => opens_nothing(secret).with_object(store.location()).with_hint(advice![
            "check the key, or use another one: ",
            Remedy::OtherKey,
            format!("; there are: {there}"),
        ]),
    }
}

pub(crate) fn opens_nothing(secret: &Secret) -> Error {
    let kind = match secret.kind() {
        SecretKind::Passphrase => "passphrase",
        SecretKind::KeyFile => "key file",
        SecretKind::Recovery => "recovery key",
    };
    Error::new(ErrorKind::WrongKey, format!("no key slot opens with this {kind}"))
}

/// The keyring in a slot, or `None` if it needs another secret.
pub(crate) fn open_slot(slot: &SlotObject, secret: &Secret) -> Result<Option<Keyring>> {
    let (key, commitment) = SealKey::for_slot(&*secret.bits(&slot.front)?, &slot.front);
    if !same_commitment(&commitment, &slot.commitment) {
        return Ok(None);
    }
    let name = names::slot(slot.front.id);
    let bound = SlotObject::associated_data(&slot.front, &slot.commitment, slot.sealed.len());
    let mut sealed = Zeroizing::new(slot.sealed.clone());
    let plain = key.open_in_place(&[&bound], &mut sealed).map_err(|e| e.of(&name))?;
    decode_keyring(plain).map(|keys| Some(Keyring(keys))).map_err(|e| e.of(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::slot::MasterKey;
    use crate::repo::keys::keyring::new_key;
    use crate::store::MemoryStore;
    use crate::types::KeyId;

    const CHEAP: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    const ID: RepositoryId = RepositoryId([1; 16]);
    const NOW: Timestamp = Timestamp(1_772_323_200_000_000);

    fn key(id: u8, created: i64) -> MasterKey {
        MasterKey { id: KeyId([id; 8]), created: Timestamp(created), secret: [id; 32] }
    }

    fn keyring(keys: &[(u8, i64)]) -> Keyring {
        Keyring(keys.iter().map(|(id, created)| key(*id, *created)).collect())
    }

    fn ids(keyring: &Keyring) -> Vec<u8> {
        keyring.0.iter().map(|key| key.id.0[0]).collect()
    }

    /// A store with a slot of the secret for each keyring, and what the secret then opens.
    fn opened(secret: &Secret, keyrings: &[&Keyring]) -> (Vec<SlotId>, Result<Opened>) {
        let store = MemoryStore::new();
        let slots = keyrings.iter().map(|keyring| {
            let slot = make_slot((ID, NOW), keyring, secret, "x", CHEAP).unwrap();
            assert_eq!(slot.key_count(), keyring.count());
            store_slot(&store, &slot).unwrap();
            slot.front.id
        });
        (slots.collect(), open_slots(&store, ID, secret))
    }

    #[test]
    fn all_keyrings_of_a_secret_count_and_the_latest_last_key_seals() {
        let old = keyring(&[(1, 10), (2, 20)]);
        let announced = keyring(&[(1, 10), (3, 30), (2, 20)]);
        let new = keyring(&[(1, 10), (2, 20), (3, 30)]);
        let fork = keyring(&[(1, 10), (2, 20), (4, 25)]);
        let secret = Secret::new_recovery().unwrap();
        for (keyrings, first, keys) in [
            (&[&old][..], 0, &[1, 2][..]),
            (&[&old, &announced], 1, &[1, 3, 2]),
            (&[&announced, &old], 0, &[1, 3, 2]),
            (&[&old, &announced, &new], 2, &[1, 2, 3]),
            (&[&new, &old], 0, &[1, 2, 3]),
            (&[&old, &fork, &new], 2, &[1, 2, 4, 3]),
            (&[&new, &fork, &old], 0, &[1, 2, 4, 3]),
        ] {
            let (slots, opened) = opened(&secret, keyrings);
            let opened = opened.unwrap();
            assert_eq!(opened.slots[0], slots[first], "{keyrings:?}");
            assert_eq!(opened.slots.len(), slots.len());
            let mut sorted = ids(&opened.keyring);
            assert_eq!(sorted.last(), keys.last(), "{keyrings:?}: {sorted:?}");
            let mut wanted = keys.to_vec();
            sorted.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(sorted, wanted, "{keyrings:?}");
        }
    }

    #[test]
    fn keys_of_one_id_that_differ_are_damage() {
        let secret = Secret::new_recovery().unwrap();
        let mut other = keyring(&[(1, 10)]);
        other.0[0].secret = [9; 32];
        let (_, opened) = opened(&secret, &[&keyring(&[(1, 10)]), &other]);
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_slot_that_is_broken_does_not_hide_one_that_opens() {
        let store = MemoryStore::new();
        let secret = Secret::new_recovery().unwrap();
        let mut broken = make_slot((ID, NOW), &keyring(&[(1, 10)]), &secret, "x", CHEAP).unwrap();
        broken.sealed[20] ^= 1;
        store_slot(&store, &broken).unwrap();
        assert_eq!(open_slots(&store, ID, &secret).unwrap_err().kind(), ErrorKind::Damaged);
        store_slot(
            &store,
            &make_slot((ID, NOW), &keyring(&[(1, 10)]), &secret, "x", CHEAP).unwrap(),
        )
        .unwrap();
        assert_eq!(open_slots(&store, ID, &secret).unwrap().slots.len(), 1);
    }

    #[test]
    fn a_new_key_is_the_latest_whatever_the_clock_says_and_the_keyring_has_an_end() {
        let ahead = keyring(&[(1, i64::MAX - 5), (2, 20)]);
        let next = ahead.next_key(NOW).unwrap();
        assert_eq!(next.created, Timestamp(i64::MAX - 4));
        assert_eq!(ids(&ahead.with(&key(3, 0), true)), [1, 2, 3]);
        assert_eq!(ids(&ahead.with(&key(3, 0), false)), [1, 3, 2]);
        assert_eq!(ids(&keyring(&[(1, 0)]).with(&key(3, 0), false)), [3, 1]);
        let almost =
            Keyring((0..limits::KEYRING - 1).map(|_| new_key(Timestamp(0)).unwrap()).collect());
        let full = almost.with(&almost.next_key(NOW).unwrap(), true);
        assert_eq!(full.next_key(NOW).unwrap_err().kind(), ErrorKind::Refused);
        // The fullest slot with the longest label is still one.
        let secret = Secret::new_recovery().unwrap();
        let slot = make_slot((ID, NOW), &full, &secret, &"x".repeat(limits::TEXT), CHEAP).unwrap();
        assert_eq!(slot.key_count(), limits::KEYRING);
        assert!(slot.encode().len() <= limits::PLAIN_OBJECT);
        assert_eq!(open_slot(&slot, &secret).unwrap().unwrap().count(), limits::KEYRING);
    }

    #[test]
    fn only_the_right_secret_opens_a_slot_and_debug_shows_none() {
        let store = MemoryStore::new();
        let id = RepositoryId([1; 16]);
        let keyring = Keyring::new(NOW).unwrap();
        let word = Secret::passphrase("correct horse".into()).unwrap();
        let recovery = Secret::new_recovery().unwrap();
        for secret in [&word, &recovery] {
            store_slot(&store, &make_slot((id, NOW), &keyring, secret, "x", CHEAP).unwrap())
                .unwrap();
        }
        for secret in [&word, &recovery] {
            let opened = open_slots(&store, id, secret).unwrap();
            assert_eq!(opened.keyring.0, keyring.0);
        }
        let wrong = Secret::passphrase("wrong horse".into()).unwrap();
        assert_eq!(open_slots(&store, id, &wrong).unwrap_err().kind(), ErrorKind::WrongKey);
        let other = RepositoryId([2; 16]);
        assert_eq!(open_slots(&store, other, &word).unwrap_err().kind(), ErrorKind::Damaged);
        assert!(!format!("{word:?}").contains("horse"));
        assert!(Secret::passphrase(String::new()).is_err());
    }
}
