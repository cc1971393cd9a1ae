//! Where objects live.
//!
//! [`Store`] is a contract; [`testing::conformance`] checks every implementation against it.

mod contract;
pub(crate) mod local;
mod location;
#[cfg(feature = "cli")]
pub(crate) mod metered;
mod shared;
mod strange;
pub mod testing;

pub use contract::{Created, Entry, Nature, Store, Upload};
pub use local::LocalStore;
pub use location::{create_store, open_store};
pub use testing::{Fault, FaultStore, MemoryStore};
