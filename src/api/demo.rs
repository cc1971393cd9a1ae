//! The demo.

use serde::Serialize;
use utoipa::ToSchema;

/// A command that the demo ran.
#[derive(Serialize, ToSchema)]
pub(crate) struct Step {
    /// The command, as a shell takes it.
    pub(crate) command: String,
    /// Its exit code; null if a signal ended it.
    pub(crate) exit_code: Option<i32>,
}

/// What the demo came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct DemoSummary {
    /// The path of the folder that has its files.
    pub(crate) dir: String,
    /// How many orders there were before the mistake.
    pub(crate) orders_before: u32,
    /// How many of them the restored database has.
    pub(crate) orders_rescued: u32,
    /// How many orders the second mistake deleted.
    pub(crate) orders_lost: u32,
    /// How many of them are in the live database again.
    pub(crate) orders_recovered: u32,
    /// How many orders were sold after it, all of which are still there.
    pub(crate) orders_sold_since: u32,
    /// Whether the folder is still there.
    pub(crate) kept: bool,
}
