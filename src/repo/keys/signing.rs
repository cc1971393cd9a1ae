//! Signatures by a repository's key, which others check without any key of the repository.
//!
//! Each master key has one Ed25519 key, which follows from it: so it needs no place of its own, and
//! who can open the repository can sign. A rotation of keys brings a new one.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::codec::seal::evidence_seed;
use crate::error::{Error, ErrorKind, Result};
use crate::format::slot::MasterKey;
use crate::repo::repository::Repository;
use crate::types::{KeyId, Timestamp};

/// The public half of a key that signs.
pub(crate) type PublicKey = [u8; 32];
/// A signature.
pub(crate) type Signature = [u8; 64];

/// A key that signs.
pub(crate) struct SigningKey {
    /// The master key that it follows from.
    pub(crate) master: KeyId,
    /// When that was made.
    pub(crate) created: Timestamp,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    fn of(master: &MasterKey, repository: &Repository) -> Result<Self> {
        let seed = evidence_seed(master, repository.id());
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .map_err(|_| Error::new(ErrorKind::Failure, "no key that signs can be made"))?;
        Ok(Self { master: master.id, created: master.created, pair })
    }

    /// Its public half.
    pub(crate) fn public(&self) -> Result<PublicKey> {
        let public = self.pair.public_key().as_ref().try_into();
        public.map_err(|_| Error::new(ErrorKind::Failure, "a public key has not 32 bytes"))
    }

    /// Signs.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Signature> {
        let signature = self.pair.sign(message);
        let signature = signature.as_ref().try_into();
        signature.map_err(|_| Error::new(ErrorKind::Failure, "a signature has not 64 bytes"))
    }
}

/// Whether a signature of a message is one by the key of a public half.
pub(crate) fn is_signed(public: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

impl Repository {
    /// The keys that sign, the one that signs now first.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when a key can't be made.
    pub(crate) fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        let keyring = self.keyring();
        keyring.0.iter().rev().map(|master| SigningKey::of(master, self)).collect()
    }

    /// The key that signs now.
    ///
    /// # Errors
    /// As [`Repository::signing_keys`].
    pub(crate) fn signing_key(&self) -> Result<SigningKey> {
        SigningKey::of(&self.newest_key()?, self)
    }
}
