//! Where objects live.
//!
//! [`Store`] is a contract; [`conformance`] checks every implementation against it.

pub mod conformance;
mod contract;
mod fault;
#[cfg(test)]
pub(crate) mod journal;
pub(crate) mod local;
mod location;
mod memory;
mod shared;
mod strange;

pub use contract::{Created, Entry, Nature, Store, Upload};
pub use fault::{Fault, FaultStore};
pub use local::LocalStore;
pub use location::{create_store, open_store};
pub use memory::MemoryStore;
