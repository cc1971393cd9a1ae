//! Stores for tests: one in memory, one that fails on purpose, one that counts what it is asked
//! for, a disk that loses its power; and the suite that checks every store.

pub mod conformance;
mod counting;
mod fault;
mod memory;
#[cfg(test)]
pub(crate) mod power;

pub use counting::{Call, CountingStore, Verb};
pub use fault::{Fault, FaultStore};
pub use memory::MemoryStore;
