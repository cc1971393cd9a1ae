//! The master keys of a repository, and which of them are open in this process.
//!
//! Invariant: the last key of a keyring is the one that seals.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::format::slot::MasterKey;
use crate::remedy::{Remedy, advice};
use crate::types::{KeyId, SlotId, Timestamp, random_bytes};

/// The master keys of a repository; the last one seals.
#[derive(Clone, Debug)]
pub struct Keyring(pub(crate) Vec<MasterKey>);

impl Keyring {
    /// A keyring with one new key, of a time.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] without random bytes.
    pub fn new(created: Timestamp) -> Result<Self> {
        Ok(Self(vec![new_key(created)?]))
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
    pub(crate) fn next_key(&self, now: Timestamp) -> Result<MasterKey> {
        if self.count() >= limits::KEYRING {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the keyring has {} keys, and no more fit", self.count()),
            )
            .with_hint(advice!["begin a new repository: ", Remedy::CreateRepository]));
        }
        let after = self.0.iter().map(|key| key.created.0.saturating_add(1)).max();
        new_key(now.max(Timestamp(after.unwrap_or(i64::MIN))))
    }

    /// This keyring with one more key: the one that seals from now on, or for the time being only
    /// one to open with.
    pub(crate) fn with(&self, key: &MasterKey, seals: bool) -> Self {
        let mut keys = Vec::with_capacity(self.count() + 1);
        let last = if seals { None } else { self.0.last() };
        let before = self.0.iter().filter(|key| last.is_none_or(|last| last.id != key.id));
        keys.extend(before.chain([key]).chain(last).cloned());
        Self(keys)
    }

    /// Adds the keys of another keyring. Of the two keys that seal, the later one does. `false`
    /// when the two have different keys of one id, which no honest program makes.
    pub(crate) fn join(&mut self, other: &Self) -> bool {
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
    pub(crate) fn rank(&self) -> Option<(Timestamp, KeyId)> {
        self.0.last().map(|key| (key.created, key.id))
    }
}

pub(crate) fn new_key(created: Timestamp) -> Result<MasterKey> {
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
pub(crate) struct Keys {
    secret: Secret,
    opened: RwLock<Arc<Opened>>,
    /// One at a time looks for new keys: a passphrase takes a second and much memory.
    looking: Mutex<()>,
}

impl Keys {
    pub(crate) fn new(secret: &Secret, opened: Opened) -> Self {
        let (secret, looking) = (secret.clone(), Mutex::new(()));
        Self { secret, opened: RwLock::new(Arc::new(opened)), looking }
    }

    /// The same keys, for a process of its own.
    #[cfg(test)]
    pub(crate) fn again(&self) -> Self {
        Self::new(&self.secret, Opened::clone(&self.opened()))
    }

    /// What opened them.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Makes whoever else looks for new keys wait until the answer is dropped.
    pub(crate) fn look(&self) -> MutexGuard<'_, ()> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replace(&self, opened: Opened) {
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
    }

    pub(crate) fn opened(&self) -> Arc<Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
