//! Row changes of the past, applied to a live database beside its application: what `recover` and
//! `undo` share.
//!
//! `spool` keeps row changes out of memory. `judge` compares what is wanted with the row that
//! is there now. `run` is the one transaction, `foreign` its look at foreign keys, `indexes`
//! that at full-text indexes, and `report` what it came to.
//!
//! Invariants:
//! - All or nothing: one transaction of SQLite's, and before its commit everything that was there
//!   is in the history, under a label.
//! - A row is written only over what the caller knows of it: of the whole row, or of the columns
//!   that it changes. Anything else is a conflict, which is told and never decided silently.
//! - A row that was written is read again and compared; of one that goes, exactly one has to go.
//!   Nothing else of the database changes but what SQLite keeps itself: indexes, and the largest
//!   rowids of AUTOINCREMENT tables.

pub(crate) mod foreign;
mod indexes;
pub(crate) mod judge;
pub mod report;
pub(crate) mod run;
pub(crate) mod spool;
