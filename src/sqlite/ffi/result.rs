//! What SQLite's C functions return, as errors.

use std::ffi::c_int;

use rusqlite::ffi;

use crate::error::{Error, ErrorKind, Result};

pub(super) fn check(rc: c_int, what: &str) -> Result<()> {
    if rc == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(crate::sqlite::source_error(
        rusqlite::Error::SqliteFailure(ffi::Error::new(rc), None),
        what,
    ))
}

pub(super) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Source, format!("the database's VFS does not support {what}"))
}
