//! Pagekeep.
pub mod error;
pub mod format;
pub mod progress;
pub mod types;
