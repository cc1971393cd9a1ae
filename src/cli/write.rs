//! New files for people.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::disk::{make_dirs, sync_names};
use crate::error::{Error, Result};

/// Creates a file that its owner may write and its group may read. Replaces none.
///
/// # Errors
/// When there is one, or it can't be written.
pub(crate) fn create_new(file: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| {
        let hint = match e.kind() {
            std::io::ErrorKind::AlreadyExists => "name another file; this one stays as it is",
            _ => "check its folder",
        };
        Error::io(e, "cannot be written", file.display().to_string()).with_hint(hint)
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    make_dirs(folder).map_err(failed)?;
    let mut open = OpenOptions::new();
    let mut created = open.write(true).create_new(true).mode(0o640).open(file).map_err(failed)?;
    let written = created.write_all(bytes).and_then(|()| created.sync_all());
    written.and_then(|()| sync_names(&std::fs::File::open(folder)?)).map_err(failed)
}
