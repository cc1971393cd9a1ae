//! Nothing that a command writes for people lies where a repository has its objects, or where this
//! machine remembers things: it would be taken for one of them, or go with them.

use std::fs;
use std::path::{Path, PathBuf, absolute};

use super::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::format::MAGIC;
use crate::format::names::REPOSITORY;
use crate::repo::local::files;

/// Refuses a new file or folder within a repository, or within the state folder.
///
/// # Errors
/// [`ErrorKind::Refused`] when it would lie there.
pub(super) fn check_outside(context: &Context, target: &Path) -> Result<()> {
    let whole = absolute(target).unwrap_or_else(|_| target.to_owned());
    // Folders on the way may not be there yet.
    let there = whole.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok());
    let Some(there) = there else { return Ok(()) };
    let state_dir = context.state_dir().ok().and_then(|dir| fs::canonicalize(dir).ok());
    let what = if let Some(repository) = there.ancestors().find(|above| is_repository(above)) {
        format!("is in the repository {}, which is for backups alone", repository.display())
    } else if let Some(dir) = state_dir.filter(|dir| there.starts_with(dir)) {
        format!("is in {}, which is for what this machine remembers", dir.display())
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Refused, what)
        .with_object(target.display().to_string())
        .with_hint("name a place elsewhere"))
}

fn is_repository(folder: &Path) -> bool {
    let object: PathBuf = folder.join(REPOSITORY);
    files::read(&object).is_ok_and(|bytes| bytes.starts_with(&MAGIC))
}
