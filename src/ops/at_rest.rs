//! Whether a database that nobody follows has changed since it was last captured, without a
//! connection to it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Result;
use crate::repo::history::handle::History;
use crate::repo::local::state::peek;

impl History {
    /// Whether the file at a path is as the last follower or backup of this machine left it, with
    /// everything in it captured and published. `false` where that can't be told.
    ///
    /// To be asked only while this process has no connection to the file.
    ///
    /// # Errors
    /// When what this machine remembers can't be read.
    pub(crate) fn is_at_rest(&self, path: &Path) -> Result<bool> {
        let Some(state) = peek(self)? else { return Ok(false) };
        // What was about to be published may not be there.
        // The history may be another file's.
        let place = std::fs::canonicalize(path).map(|place| place.into_os_string());
        if !place.is_ok_and(|place| place.as_bytes() == state.source.as_bytes()) {
            return Ok(false);
        }
        let is_settled = state.next.is_none() && !state.gap && !state.head_lost;
        let position = state.position.filter(|_| is_settled && state.head.is_some());
        Ok(position.is_some_and(|position| position.is_resting(path)))
    }
}
