//! The engine as a library, in one process: captured, kept, damaged, looked at and brought back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod backup_restore;
mod budgets;
mod damage;
mod damaged;
mod diff;
mod drift;
mod faults;
mod find;
mod live;
mod lost;
mod marks;
mod model;
mod query;
mod retention;
mod rewind;
mod rotation;
mod stats;
mod trace;
mod writers;
