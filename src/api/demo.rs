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
    /// Whether the folder is still there.
    pub(crate) kept: bool,
}
