//! Which journal a database file says that it has: two bytes of its header.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};

/// Where the header says it: 2 for a WAL, 1 for a rollback journal, to be written and to be read.
const VERSIONS: u64 = 18;

/// Makes a restored file one of a database with a rollback journal: SQLite writes to it then, or
/// takes it for one, without a WAL beside it.
///
/// # Errors
/// When it can't be read or written.
pub(super) fn leave_wal(file: &File) -> Result<()> {
    let leave = || {
        let mut versions = [0; 2];
        // An empty one says nothing.
        if file.metadata()?.len() < 100 {
            return Ok(());
        }
        file.read_exact_at(&mut versions, VERSIONS)?;
        if versions == [2, 2] { file.write_all_at(&[1, 1], VERSIONS) } else { Ok(()) }
    };
    leave().map_err(|e| Error::io(e, "cannot be written", "the restored file"))
}
