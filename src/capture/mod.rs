//! From a source and a head to a new segment.
//!
//! [`commit`] captures one pinned moment: `pipeline` is the road that its pages take, reader,
//! workers, ordered collector. `overwritten` makes sure that it is of one database, `divergence`
//! tells when it is not the one that others captured meanwhile. [`follow`] captures every
//! transaction of a live database: `group` is what collects them for a segment, and `spool` what
//! holds their pages meanwhile. [`marks`] marks the states before commits that matter.

pub mod commit;
mod divergence;
pub mod follow;
mod group;
pub(crate) mod marks;
mod overwritten;
pub(crate) mod pipeline;
mod spool;
