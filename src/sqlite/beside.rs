//! The files that SQLite makes beside a database, `-wal` and `-shm`, where the database is another
//! account's: that account has to be able to write to them.
//!
//! SQLite gives them the mode of the database, and as root its owner and group. Any other account
//! makes them its own.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::ffi::FileRef;
use super::source_error;
use crate::error::{Error, ErrorKind, Result};

/// What to tell when [`give_to_group`] answers that they can't.
pub(crate) const LOCKED_OUT: &str = "the files beside the database belong to this account and a group of its own: an application of another account can't \
     write until they are gone; run this as the database's owner, or as a member of its group";

/// The database's path as SQLite is to be given it: a name such as `file:a.db` or `:memory:` means
/// a file, and files beside it are beside the file that a link leads to.
pub(crate) fn full_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// A file beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes sure, before anything is read, that reading will not make files which the database's owner
/// can't write to: they would lock its application out until somebody removes them.
///
/// # Errors
/// [`ErrorKind::Source`] when it would.
pub(super) fn check_owner(connection: &Connection, path: &Path) -> Result<()> {
    let failed = |e| source_error(e, "cannot be read");
    let me = rustix::process::geteuid().as_raw();
    let Ok(meta) = std::fs::metadata(path) else { return Ok(()) };
    // Whoever may write to the database may share the files; see `give_to_group`.
    if meta.uid() == me || me == 0 || !connection.is_readonly("main").map_err(failed)? {
        return Ok(());
    }
    if !is_in_wal_mode(connection)? || beside(path, "-shm").exists() {
        return Ok(());
    }
    let why = "is in WAL mode, and closed: reading it would make files beside it that its application could not write to";
    Err(Error::new(ErrorKind::Source, why).with_hint(format!(
        "run this as user {}, who owns it, or as root; or let this user write to it",
        meta.uid()
    )))
}

/// Whether a connection's database is in WAL mode, by the file's header; nothing is locked.
///
/// # Errors
/// When the file can't be read.
pub(super) fn is_in_wal_mode(connection: &Connection) -> Result<bool> {
    let mut header = [0; 20];
    match FileRef::database(connection)? {
        Some(file) => Ok(!file.read_at(&mut header, 0)? && header.ends_with(&[2, 2])),
        None => Ok(false),
    }
}

/// Gives the files beside a database that this account made to the database's group, whose members
/// write to it. Answers whether the owner can write to them now.
pub(crate) fn give_to_group(path: &Path) -> bool {
    let path = full_path(path);
    let me = rustix::process::geteuid().as_raw();
    let Ok(database) = std::fs::metadata(&path) else { return true };
    ["-wal", "-shm"].iter().all(|suffix| {
        let file = beside(&path, suffix);
        let Ok(meta) = std::fs::symlink_metadata(&file) else { return true };
        let is_mine = meta.uid() == me && database.uid() != me && meta.is_file();
        !is_mine || is_shared(&meta, &database) || lchown(&file, None, Some(database.gid())).is_ok()
    })
}

fn is_shared(file: &Metadata, database: &Metadata) -> bool {
    file.mode() & 0o002 != 0 || file.gid() == database.gid()
}
