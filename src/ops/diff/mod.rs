//! What differs between two moments of a database, row by row.
//!
//! [`change`] is the model: one row that came, went or has other values. `opened` is one of the
//! moments. `plan` pairs the tables of two schemas and says how each pair is compared; `pages`
//! tells which rows of them. [`run`] walks through them, [`sql`] writes what turns one moment into
//! the other, [`changeset`] the same in SQLite's own format, and [`feed`] goes from commit to
//! commit; `touched` tells of their tables alone.
//!
//! Invariants:
//! - Nothing is written to either moment.
//! - A row is told once, in the order of its table's key; memory does not grow with the tables.
//! - A table that can't be compared is named, with the reason. It is never passed over as equal.

pub mod change;
pub mod changeset;
pub mod feed;
mod opened;
mod pages;
pub(super) mod plan;
pub mod run;
mod side;
pub mod sql;
mod touched;
