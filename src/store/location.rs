//! How people name a place for objects.

use std::path::Path;
use std::sync::Arc;

use super::contract::Store;
use super::local::LocalStore;
use crate::error::{Error, ErrorKind, Result};

/// The store at a location, as the command line and configuration files write it: a directory.
///
/// # Errors
/// [`ErrorKind::NoRepository`] when there is no such directory; [`ErrorKind::Usage`] for a location
/// of a kind that this build can't reach.
pub fn open_store(location: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(LocalStore::open(local_path(location)?)?))
}

/// As [`open_store`], creating the directory.
///
/// # Errors
/// As [`open_store`], and when it can't be created.
pub fn create_store(location: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(LocalStore::create_root(local_path(location)?)?))
}

fn local_path(location: &str) -> Result<&Path> {
    if location.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the repository's location is empty"));
    }
    if let Some((scheme, _)) = location.split_once("://") {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{scheme}:// locations are not supported yet; only directories are"),
        )
        .with_object(location));
    }
    Ok(Path::new(location))
}
