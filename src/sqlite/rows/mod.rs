//! The rows of a database, as values and in the order of their keys: what a table is to whoever
//! compares two states of it.
//!
//! [`cell`] has the values, [`literal`] writes them as SQL, and [`collation`] has their order.
//! [`table`] reads from a schema which tables there are and what tells their rows apart. [`merge`]
//! walks through a table of two databases side by side. Nothing here knows of repositories.

pub(crate) mod access;
pub mod cell;
pub(crate) mod collation;
pub(crate) mod differing;
pub(crate) mod literal;
pub(crate) mod merge;
mod page;
mod ranges;
pub(crate) mod record;
pub(crate) mod table;
mod threads;
pub(crate) mod trees;
