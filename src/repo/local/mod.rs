//! What this machine remembers of a repository. All of it can be deleted at any time, and costs a
//! scan and a warning less.
//!
//! - `files` reads and writes it, and trusts nothing that another user may have put there.
//! - `state` is where a writer of this machine stands, `digests` the page digests of its head.
//! - `rollback_guard` is which commits it saw, `place` which repository it found where; `rollback`
//!   compares a chain with that.

pub(crate) mod digests;
pub(crate) mod files;
pub mod place;
pub(crate) mod rollback;
pub(crate) mod rollback_guard;
pub(crate) mod state;
