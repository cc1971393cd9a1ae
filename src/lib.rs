//! Pagekeep.
pub mod capture;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codec;
pub mod error;
pub mod format;
pub mod ops;
pub mod policy;
pub mod progress;
pub mod repo;
pub mod sqlite;
pub mod store;
pub mod types;
