//! From a source and a head to a new segment.
//!
//! [`commit`] captures one pinned moment: `pipeline` is the road that its pages take, reader, workers, ordered collector.
//! [`follow`] captures every transaction of a live database: `group` is what collects them for a segment.

pub mod commit;
pub mod follow;
mod group;
pub(crate) mod pipeline;
