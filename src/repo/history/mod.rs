//! One history: its description and its records.
//!
//! - [`handle::History`] is what all the others are about.
//! - [`described`] keeps its description twice.
//! - [`labels`], [`holds`], `proofs` and `expired` are records of its commits; `doubt` is what
//!   failed verifications say about it.
//! - [`numbers`] knows which numbers of commits were ever used.

pub mod described;
pub(crate) mod doubt;
pub(crate) mod expired;
pub mod handle;
pub mod holds;
pub mod labels;
pub mod numbers;
pub(crate) mod proofs;
