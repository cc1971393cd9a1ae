//! A database that is followed: what a follower meets, and applications in processes of their own
//! that are in its way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod any_transaction;
mod at_rest;
mod basics;
mod faults;
mod hostile;
mod marks;
mod operations;
mod overwritten;
