//! A repository: histories of databases, sealed, in a store.
//!
//! - [`Repository`] is an open repository (`repository`). `open` creates and opens it, `catalog`
//!   finds its histories, `object` seals and opens what it stores.
//! - [`keys`] has what people keep and what that opens.
//! - [`history`] has one history: its description, labels, holds, proofs, and what expired.
//! - [`chain`] has its segments, from the first to the newest, and reads their pages.
//! - [`write`] has the right to append to it, and a segment under way.
//! - `merge` puts segments together, and deletes what that makes superfluous.
//! - `local` has what this machine remembers; all of it can be deleted at any time. [`absent`]
//!   notices by it what is gone as a whole.
//! - [`recover`] writes the object `repository` anew when that is lost, `quarantine` puts aside
//!   what is damaged, [`strangers`] tells what is no object of a repository, and `newer` what a
//!   newer version wrote.
//!
//! Invariants: what was published is never overwritten; nothing is trusted before its seal opened
//! and its place in the chain was checked.

pub mod absent;
pub(crate) mod catalog;
pub mod chain;
pub mod history;
pub mod keys;
pub mod local;
pub(crate) mod merge;
mod newer;
mod object;
mod open;
pub(crate) mod quarantine;
pub mod recover;
mod repository;
pub mod strangers;
pub mod write;

pub use local::rollback_guard::accept_rollback;
pub use local::state::last_run_here;
pub use repository::{Repository, RepositoryOptions};
