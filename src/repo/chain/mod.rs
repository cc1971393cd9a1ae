//! The chain of a history: its segments from the first to the newest, each checked against its
//! parent.
//!
//! Invariants:
//! - The newest segment is the one with the highest term and in it the highest first commit.
//!   Whatever is not among its ancestors is garbage: a late write of a superseded writer, or what a
//!   merge replaced.
//! - A merged segment stands in for its last covered segment, and all before it that it covers. Of
//!   several the one that reaches back farthest counts, and then the newest, so everybody who lists
//!   the same objects walks the same chain. One that can't be read, does not fit, or leads to no
//!   whole chain is passed over: what it covers counts while it is there (`walk`).
//! - A segment is on the chain only if its seal opened under its own name, its child names its
//!   digest, terms do not go down within the log, and commits follow without a gap.
//! - Whoever writes, prunes, merges or copies takes a whole chain or an error that names the object
//!   ([`super::history::handle::History::chain`]). Whoever only reads may have a chain with holes,
//!   which says where they are ([`super::history::handle::History::readable_chain`], `tolerant`).
//! - Names are untrusted: what nobody can have published is passed over, in bounded time and memory
//!   (`listing`).
//! - A commit is a restore point if a segment on the chain has it, does not merely carry it, and no
//!   expiry lists it.

mod changed;
mod finding;
mod known;
pub(crate) mod links;
mod listing;
mod load;
pub(crate) mod lookup;
pub(crate) mod page_map;
pub(crate) mod pages;
pub(crate) mod reader;
mod recent;
pub(crate) mod segment;
mod tolerant;
pub(crate) mod trail;
mod view;
mod walk;

pub(crate) use changed::{Between, Step, Written};
pub use finding::{Hole, Problem};
pub(crate) use load::{replaced_too_fast, retry_on_merge, until_still};
pub use segment::Segment;
pub(crate) use segment::{bridge, without_pages};
pub use view::{Chain, Commit};
