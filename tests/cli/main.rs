//! The real binary, as people and programs use it, and what stands beside it: applications, other
//! accounts, kills, a `Keeper`, the examples.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod adopt;
mod api;
mod beginnings;
mod commands;
mod complete;
mod daemon;
mod damage;
mod demo;
mod diff;
mod doubt;
mod drift;
mod edges;
mod errors;
mod evidence;
mod example_ledger;
mod examples;
mod files;
mod groups;
mod inputs;
mod json;
mod kills;
mod lost;
mod marks;
mod mirrors;
mod missing;
mod mixed;
mod moments;
mod monitors;
mod notify;
mod other_people;
mod packaging;
mod pairs;
mod places;
mod query;
mod retention;
mod soak;
mod strange;
mod supervised;
mod terminal;
mod trouble;
mod watch;
mod when;
