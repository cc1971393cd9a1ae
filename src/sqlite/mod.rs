//! The only code that touches SQLite files.
//!
//! [`source`] opens a database, [`pin`] pins one moment of it; [`image`] reads its pages, all of
//! them or those that the WAL shows as changed; [`check`] asks SQLite whether a restored file is
//! sound. `ffi` is the only unsafe code, `wal` the pure parser.

mod accounting;
pub(crate) mod answer;
mod backup;
pub(crate) mod beside;
pub mod check;
pub(crate) mod connection;
pub(crate) mod elsewhere;
mod ffi;
pub mod image;
pub(crate) mod install;
mod journal;
pub(crate) mod layout;
pub mod library;
pub(crate) mod notice;
mod overlay;
mod pages;
pub mod pin;
mod position;
pub mod source;
pub(crate) mod tail;
mod wal;
pub(crate) mod witness;

use crate::error::{Error, ErrorKind};

/// The error kind and message for what SQLite said about a source database.
pub(crate) fn source_error(error: rusqlite::Error, what: &str) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::OperationInterrupted) => ErrorKind::Interrupted,
        _ => ErrorKind::Source,
    };
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Some(
            "another process holds it locked; an application with PRAGMA locking_mode=EXCLUSIVE \
             has to close it first",
        ),
        Some(ErrorCode::NotADatabase) => Some(
            "it is not a SQLite database, or an encrypted one. If it was a SQLite database before, keep a copy of the file; then \
             `pagekeep restore NAME FILE --force` brings back the newest commit",
        ),
        Some(ErrorCode::DatabaseCorrupt) => Some(
            "restore a sound commit with `pagekeep restore`, or repair it with sqlite3 .recover",
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Some(
            "check that this user may read the file, and write its -shm if it is in WAL mode; on a read-only disk, copy the \
                 database elsewhere first",
        ),
        _ => None,
    };
    // SQLite's error and its source say the same twice.
    let error = Error::new(kind, what).with_source(error.to_string());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
