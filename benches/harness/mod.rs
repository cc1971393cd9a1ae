//! Whole processes against each other: how they are timed, what they are put through, and how the
//! figures are shown.

mod compare;
pub mod measure;
pub mod options;
mod report;
pub mod rounds;

use std::error::Error;

/// A failure in words; benches have nobody to handle it but the reader.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
