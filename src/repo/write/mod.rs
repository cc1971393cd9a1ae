//! The right to append to a history, and what is appended.
//!
//! - [`term`] claims a turn; `claims` says who has which; `standing` which commits a writer of
//!   another turn may still displace; `presence` is how a follower shows that it is there.
//! - [`writer::Writer`] holds a turn. `segment_data` puts batches into parts, `segment_writer`
//!   publishes the segment. `noticed` is what its commits did to the database as a whole.

pub(crate) mod claims;
pub(crate) mod noticed;
pub(crate) mod presence;
pub(crate) mod segment_data;
pub(crate) mod segment_writer;
pub(crate) mod standing;
pub mod term;
pub mod writer;
