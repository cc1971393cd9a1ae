//! One history: its description and its records.
//!
//! - [`handle::History`] is what all the others are about.
//! - [`described`] keeps its description twice.
//! - [`labels`], [`holds`], `proofs` and `expired` are records of its commits; `doubt` is what
//!   failed verifications say about it.
//! - `marks` are labels that commits get by themselves; `unseen` finds what calls for one in what
//!   is stored.
//! - [`numbers`] knows which numbers of commits were ever used.

pub mod described;
pub(crate) mod doubt;
pub(crate) mod expired;
pub mod handle;
pub mod holds;
pub mod labels;
pub(crate) mod marks;
pub mod numbers;
pub(crate) mod proofs;
pub(crate) mod unseen;
