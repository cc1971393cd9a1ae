//! Pagekeep.
pub mod codec;
pub mod error;
pub mod format;
pub mod progress;
pub mod repo;
pub mod sqlite;
pub mod store;
pub mod types;
