//! Decisions without side effects: no file, no store, no clock of its own.

#[cfg(feature = "cli")]
pub(crate) mod alert;
mod calendar;
pub mod clock;
pub mod guess;
pub mod mark;
pub mod order;
pub mod retention;
#[cfg(feature = "cli")]
pub mod schedule;
pub mod selector;
pub mod text;
#[cfg(feature = "cli")]
pub(crate) mod typed;
#[cfg(feature = "cli")]
pub(crate) mod verdict;
