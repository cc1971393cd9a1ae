//! How a repository is created and opened.

use std::sync::Arc;

use super::keys::keyring::{Keyring, Keys, Opened};
use super::keys::secret::Secret;
use super::keys::slots;
use super::local::{files, place};
use super::recover;
use super::repository::{Inner, Repository, RepositoryOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::format::names;
use crate::format::repository::RepositoryObject;
use crate::format::slot::KdfParams;
use crate::store::{Created, Store, create_store, open_store};
use crate::types::RepositoryId;

impl Repository {
    /// Creates a repository in a store and opens it. Each secret gets a slot with a label.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is one already, or what is left of one whose object
    /// `repository` is missing; store errors.
    ///
    /// # Durability
    /// When this returns, the repository and its slots survive a crash. The repository object comes
    /// last, so one that exists has its slots.
    pub fn init(
        store: Arc<dyn Store>,
        secrets: &[(&Secret, &str)],
        kdf: KdfParams,
        options: &RepositoryOptions,
    ) -> Result<Self> {
        let Some((first, _)) = secrets.first() else {
            return Err(Error::new(ErrorKind::Usage, "a repository needs a key"));
        };
        recover::check_free(&*store)?;
        let created = options.clock.now();
        let object = RepositoryObject { id: RepositoryId::random()?, created };
        let keyring = Keyring::new(created)?;
        let mut slots = Vec::new();
        for (secret, label) in secrets {
            // Each has its own time, so that listings have them in this order.
            let of = (object.id, options.clock.now());
            let slot = slots::make_slot(of, &keyring, secret, label, kdf)?;
            slots::store_slot(&*store, &slot)?;
            slots.push(slot.front.id);
        }
        // It is open with the first one.
        slots.truncate(1);
        if store.create(names::REPOSITORY, &object.encode())? == Created::Exists {
            return Err(Error::new(ErrorKind::Refused, "is a repository already")
                .with_object(store.location()));
        }
        let RepositoryObject { id, .. } = object;
        let tried = slots.iter().copied().collect();
        let unread = Arc::default();
        let keys = Keys::new(first, Opened { slots, keyring, tried, unread });
        Ok(Self(Arc::new(Inner { store, id, created, keys, options: options.clone() })))
    }

    /// Opens the repository in a store.
    ///
    /// # Errors
    /// [`ErrorKind::NoRepository`], [`ErrorKind::WrongKey`], [`ErrorKind::TooNew`],
    /// [`ErrorKind::Damaged`]; [`ErrorKind::Refused`] when what this machine remembers is another
    /// user's; store errors.
    pub fn open(
        store: Arc<dyn Store>,
        secret: &Secret,
        options: &RepositoryOptions,
    ) -> Result<Self> {
        let object = recover::read_object(&*store)?;
        let opened = slots::open_slots(&*store, object.id, secret)?;
        let RepositoryObject { id, created } = object;
        files::check_folder(&options.state_dir.join(id.to_string()))?;
        let keys = Keys::new(secret, opened);
        Ok(Self(Arc::new(Inner { store, id, created, keys, options: options.clone() })))
    }

    /// Opens the repository at a location; creates it if there is none, and none was there when
    /// this machine last looked.
    ///
    /// # Errors
    /// As [`Repository::open`] and [`Repository::init`]; [`ErrorKind::Refused`] when a repository
    /// was there before and is gone: its disk may not be mounted.
    ///
    /// # Durability
    /// As [`Repository::init`].
    pub fn open_or_create(
        location: &str,
        secret: &Secret,
        options: &RepositoryOptions,
    ) -> Result<Self> {
        let open = || {
            let repository = Self::open(open_store(location)?, secret, options)?;
            // So that it is missed when it is gone. Who follows or looks is told of another one in
            // its place.
            place::check_place(&repository);
            Ok::<_, Error>(repository)
        };
        match open() {
            Err(e) if e.kind() == ErrorKind::NoRepository => {}
            opened => return opened,
        }
        if let Some(before) = place::expected(&options.state_dir, location) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the repository {before} was here, and is gone"),
            )
            .with_object(location)
            .with_hint("is its disk mounted? `Repository::init` begins another one here"));
        }
        let store = create_store(location)?;
        let keys = [(secret, "first key")];
        match Self::init(store, &keys, KdfParams::default(), options) {
            Ok(repository) => {
                place::check_place(&repository);
                Ok(repository)
            }
            // Somebody else was quicker.
            Err(refused) if refused.kind() == ErrorKind::Refused => open().map_err(|_| refused),
            Err(e) => Err(e),
        }
    }

    /// The same repository, opened once more with the keys that there are now.
    #[cfg(test)]
    pub(crate) fn again(&self, secret: &Secret) -> Result<Self> {
        Self::open(self.0.store.clone(), secret, &self.0.options)
    }
}
