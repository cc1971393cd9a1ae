//! What lies in a directory where an object or a folder of objects should be, and is neither: a
//! folder in the place of a file, a file in the place of a folder, a pipe, a link to nowhere.
//!
//! Invariants: it is never waited for, as a reader of a pipe would. It is damage, named, and
//! neither a missing object nor an empty folder: else somebody would go on as if nothing had been
//! there. Nothing moves it: what it is for is not known here.

use std::fs::{self, DirEntry, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::error::Error;

/// What to do about it.
const HINT: &str = "nothing moves what is not known here: move it to another place yourself, out of the repository's \
                    folder; a repair then says what is left";

/// Opens what has an object's name, without waiting for anybody.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// That an object's name belongs to no file.
pub(super) fn no_file(name: &str, kind: FileType) -> Error {
    Error::damaged(name, format!("is {}, and should be a file", word(kind))).with_hint(HINT)
}

fn word(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_symlink() {
        "a symbolic link that leads to no file"
    } else {
        "a device"
    }
}

/// Why what has an object's name can't be opened or looked at, if something strange is to blame.
pub(super) fn why(root: &Path, name: &str, e: &io::Error) -> Option<Error> {
    let above = name.rsplit_once('/').and_then(|(folder, _)| blocked(root, folder, e));
    if above.is_some() {
        return above;
    }
    let kind = fs::symlink_metadata(root.join(name)).ok()?.file_type();
    if kind.is_symlink() && !leads_nowhere(e) {
        return None;
    }
    (!kind.is_file()).then(|| no_file(name, kind))
}

/// What stands in the place of a folder that a name is below, or is, if that is why the name leads
/// nowhere.
pub(super) fn blocked(root: &Path, name: &str, e: &io::Error) -> Option<Error> {
    if leads_nowhere(e) { in_the_way(root, name) } else { None }
}

/// What stands in the place of a folder that a name is below, or is.
pub(super) fn in_the_way(root: &Path, name: &str) -> Option<Error> {
    let mut path = root.to_owned();
    let mut above = String::new();
    for part in name.split('/') {
        path.push(part);
        above.push_str(part);
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => above.push('/'),
            Ok(_) => return Some(no_folder(&above, "a file")),
            Err(_) => {
                let is_link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
                return is_link.then(|| no_folder(&above, "a symbolic link that leads nowhere"));
            }
        }
    }
    None
}

fn no_folder(name: &str, what: &str) -> Error {
    Error::damaged(name, format!("is {what}, and should be a folder")).with_hint(HINT)
}

/// What is known of a name in a folder that is no folder itself: of the file that a link leads to,
/// or of whatever else is there.
pub(super) fn measure(entry: &DirEntry) -> io::Result<Metadata> {
    followed(entry)?.filter(Metadata::is_file).map_or_else(|| entry.metadata(), Ok)
}

/// What a name in a folder is, or what a link leads to.
pub(super) fn kind_of(entry: &DirEntry) -> io::Result<FileType> {
    followed(entry)?.map_or_else(|| entry.file_type(), |meta| Ok(meta.file_type()))
}

/// What a link leads to; nothing for all else, and for a link that leads nowhere.
fn followed(entry: &DirEntry) -> io::Result<Option<Metadata>> {
    if !entry.file_type()?.is_symlink() {
        return Ok(None);
    }
    match fs::metadata(entry.path()) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if leads_nowhere(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether an error is that of a link that leads nowhere, or to itself.
fn leads_nowhere(e: &io::Error) -> bool {
    let is_loop = e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    is_loop || matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name in a folder is a link to that folder, or to one above it.
pub(super) fn leads_up(entry: &DirEntry) -> io::Result<bool> {
    if !entry.file_type()?.is_symlink() {
        return Ok(false);
    }
    let path = entry.path();
    let (to, from) = (fs::canonicalize(&path)?, path.parent().map(fs::canonicalize));
    Ok(from.transpose()?.is_some_and(|from| from.starts_with(to)))
}
