//! The files of an application beside its database: configuration, uploads and the like, kept as an
//! archive in a history of their own.
//!
//! The archive is a SQLite database on this machine, which a run brings up to date; the engine
//! keeps it as it keeps any database. So files that stay the same are stored once, and every
//! moment can be looked into, restored and verified.
//!
//! Invariant: what a run could not read is told by its name, and what was stored of it stays.

mod archive;
mod chosen;
mod entries;
mod extract;
mod facts;
mod gather;
mod name;
mod report;
mod run;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use chosen::{Chosen, check_excluded, check_path};
pub(crate) use entries::{Entry, list};
pub(crate) use extract::restore;
pub(crate) use report::{FilesReport, PassedOver, Refused, Restored};
pub(crate) use run::{FilesOptions, history_of};
