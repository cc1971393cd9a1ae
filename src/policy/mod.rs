//! Decisions without side effects: no file, no store, no clock of its own.

pub mod selector;
