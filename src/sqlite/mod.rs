//! The only code that touches SQLite files.
//!
//! [`source`] opens a database, [`pin`] pins one moment of it; [`image`] reads its pages, all of
//! them or those that the WAL shows as changed; [`check`] asks SQLite whether a restored file is
//! sound; [`view`] opens a database whose pages come from elsewhere. `ffi` is the only unsafe code,
//! `wal` the pure parser.

mod accounting;
pub(crate) mod answer;
mod backup_api;
pub(crate) mod beside;
pub mod check;
pub(crate) mod connection;
pub(crate) mod elsewhere;
mod ffi;
#[cfg(feature = "cli")]
pub(crate) mod gate;
mod held;
pub mod image;
pub(crate) mod install;
mod journal;
pub(crate) mod layout;
pub mod library;
pub(crate) mod notify;
mod overlay;
mod pages;
pub mod pin;
mod position;
pub(crate) mod provider;
#[cfg(feature = "cli")]
mod resting;
pub(crate) mod rows;
pub mod source;
pub(crate) mod tail;
pub(crate) mod view;
mod wal;
pub(crate) mod witness;
pub(crate) mod writing;

use crate::error::{Error, ErrorKind};
use crate::remedy::{Advice, Remedy, advice};

/// The error kind and message for what SQLite said about a source database.
pub(crate) fn source_error(error: rusqlite::Error, what: &str) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::OperationInterrupted) => ErrorKind::Interrupted,
        _ => ErrorKind::Source,
    };
    let code = error.sqlite_error_code();
    // SQLite's error and its source say the same twice.
    let error = Error::new(kind, what).with_source(error.to_string());
    let hint = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Advice::from(
            "another process holds it locked; an application with PRAGMA locking_mode=EXCLUSIVE \
             has to close it first",
        ),
        Some(ErrorCode::NotADatabase) => advice![
            "it is not a SQLite database, or an encrypted one. If it was a SQLite database before, keep a copy of the file; then ",
            Remedy::Restore { history: None, file: None, force: true },
            " brings back the newest commit",
        ],
        Some(ErrorCode::DatabaseCorrupt) => advice![
            "restore a sound commit with ",
            Remedy::Restore { history: None, file: None, force: false },
            ", or repair it with the `.recover` of sqlite3",
        ],
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            Advice::from(
                "check that this user may read the file, and write its -shm if it is in WAL mode; on a read-only disk, copy the \
             database elsewhere first",
            )
        }
        _ => return error,
    };
    error.with_hint(hint)
}
