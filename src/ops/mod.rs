//! One use case per file: what the command line, and later the daemon and the embedding API, can do
//! with a repository.

pub mod apply;
#[cfg(feature = "cli")]
mod at_rest;
mod audit;
pub mod backup;
mod beside;
pub mod copy;
pub mod coverage;
pub mod diff;
pub mod drift;
#[cfg(feature = "cli")]
pub(crate) mod files;
pub mod find;
pub mod finding;
mod folder;
pub mod follow;
pub mod freshness;
#[cfg(feature = "cli")]
pub(crate) mod group;
pub(crate) mod labels;
pub(crate) mod locate;
pub mod missing;
pub mod point;
pub mod prune;
pub mod query;
pub mod question;
pub mod recover;
pub mod repair;
pub mod restore;
pub mod rewind;
pub(crate) mod safety;
mod scratch;
pub mod select;
pub mod soundness;
#[cfg(feature = "cli")]
pub(crate) mod standing;
pub mod stats;
pub mod trace;
pub mod undo;
pub mod verify;
pub mod view;

#[cfg(test)]
mod clocked;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod holes;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod trial;
