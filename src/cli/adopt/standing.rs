//! What there is where a database was: nothing, a database, or something else that nobody replaces.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// What there is where a database was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// A database: the one that was kept, or another one.
    Database,
    /// Something else.
    Other(&'static str),
}

impl Standing {
    pub(super) fn of(path: &Path) -> Self {
        match path.symlink_metadata() {
            Err(e) if is_nothing(&e) => return Self::Nothing,
            Err(_) => return Self::Other("something that cannot be looked at"),
            Ok(_) => {}
        }
        match path.metadata() {
            Err(e) if is_nothing(&e) => Self::Other("a link that leads nowhere"),
            Err(_) => Self::Other("a link that leads to nothing that can be looked at"),
            Ok(there) if there.is_dir() => Self::Other("a folder"),
            Ok(there) if !there.is_file() => Self::Other("no file"),
            Ok(there) if there.len() == 0 => Self::Other("an empty file"),
            Ok(_) if begins_as_database(path) => Self::Database,
            Ok(_) => Self::Other("no SQLite database"),
        }
    }
}

fn is_nothing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a file begins as every SQLite database does. A pipe that came into its place is not
/// waited for.
fn begins_as_database(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut front = [0; 16];
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.is_ok_and(|file| File::from(file).read_exact(&mut front).is_ok())
        && &front == b"SQLite format 3\0"
}
