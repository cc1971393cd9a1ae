//! The format and its document, golden files, the independent reader, and the seeds of the fuzzers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod corpus;
mod format_doc;
mod golden;
mod independent_reader;
