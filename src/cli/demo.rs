//! `demo`.
use std::path::Path;

use super::args::DemoArgs;
use super::context::Context;
use crate::error::Result;

pub(crate) fn demo(_context: &Context, _args: &DemoArgs) -> Result<()> {
    Ok(())
}

pub(crate) fn write(_database: &Path) -> Result<()> {
    Ok(())
}
