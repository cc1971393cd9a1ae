//! A repository: histories of databases, sealed, in a store.
//!
//! - [`Repository`] is an open repository (`repository`), with the clock and the threads that all
//!   operations take. `open` creates and opens it, `catalog`
//!   finds its histories, `object` seals and opens what it stores. [`keys`] are the secrets that
//!   people keep, `slots` wrap the master keys for each of them, `master` uses those keys,
//!   [`key_slots`] adds and removes slots, and [`rotate`] brings a new master key in.
//! - [`history::History`] is one history, of whose description there are two copies
//!   ([`described`]). [`labels`], [`hold`], `proofs` and `expired` are its records;
//!   [`chain::Chain`] is its segments, from the first to the newest.
//! - [`writer::Writer`] is the right to append to it, `publish::SegmentWriter` a segment under way.
//! - `page_map` finds which page versions a commit consists of.
//! - `state` is what this machine remembers, `seen` what it saw; all of it can be deleted at any
//!   time. `rollback` compares a chain with it. [`absent`] and [`place`] notice by it what is gone
//!   as a whole. [`recover`] writes the object `repository` anew when that is lost.
//!
//! Invariants: what was published is never overwritten; nothing is trusted before its seal opened
//! and its place in the chain was checked.

pub mod absent;
mod catalog;
pub mod chain;
pub(crate) mod claims;
pub(crate) mod collect;
pub(crate) mod data;
pub mod described;
pub(crate) mod digests;
pub(crate) mod doubt;
pub(crate) mod expired;
pub mod history;
pub mod hold;
pub mod key_slots;
mod keyring;
pub mod keys;
pub mod labels;
pub(crate) mod links;
pub(crate) mod local;
mod master;
pub(crate) mod merge;
mod newer;
pub mod numbers;
mod object;
mod open;
pub(crate) mod page_map;
pub mod place;
mod proofs;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub mod recover;
mod repository;
pub(crate) mod rival;
pub(crate) mod rollback;
pub mod rotate;
pub(crate) mod seen;
mod slots;
pub(crate) mod standing;
pub(crate) mod state;
pub mod strangers;
pub mod term;
pub(crate) mod upkeep;
pub mod writer;

pub use repository::{Repository, RepositoryOptions};
pub use seen::accept_rollback;
pub use state::last_run_here;
