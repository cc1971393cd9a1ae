//! The keys of a repository: what people keep, and what that opens.
//!
//! - [`secret`] is a passphrase, a key file or a recovery key, as people have it.
//! - `slots` are the objects that wrap the keyring for each of them; [`key_slots`] adds, lists and
//!   removes them.
//! - `keyring` holds the master keys, oldest first; `master` seals and opens with them, and
//!   notices when another process brought a new one in.
//! - [`rotate`] brings a new master key in.
//! - `signing` has what others check without a key of the repository.

pub mod key_slots;
pub(crate) mod keyring;
pub(crate) mod master;
pub mod rotate;
pub mod secret;
#[cfg(feature = "cli")]
pub(crate) mod signing;
pub(crate) mod slots;
