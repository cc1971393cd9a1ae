//! From a pinned source and a head to a new segment.
//!
//! `pipeline` is the road that pages take: reader, workers, ordered collector. [`commit`] decides what has to be read, and
//! turns what came out into a published commit.

pub mod commit;
pub(crate) mod pipeline;
