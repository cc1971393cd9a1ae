//! Where evidence goes: a new file, or standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::cli::context::Context;
use crate::cli::outside::check_outside;
use crate::disk::sync_names;
use crate::error::{Error, ErrorKind, Result};

/// Where evidence goes.
pub(super) enum Target<'a> {
    Output(&'a Context),
    New(File, &'a Path),
}

impl<'a> Target<'a> {
    /// A new file, or standard output. No file that is there is replaced.
    pub(super) fn new(context: &'a Context, output: Option<&'a Path>) -> Result<Self> {
        let Some(path) = output else { return Ok(Self::Output(context)) };
        check_outside(context, path)?;
        let mut open = OpenOptions::new();
        let created = open.write(true).create_new(true).mode(0o640).open(path);
        created.map(|file| Self::New(file, path)).map_err(|e| {
            let object = path.display().to_string();
            match e.kind() {
                io::ErrorKind::AlreadyExists => Error::new(ErrorKind::Refused, "exists already")
                    .with_object(object)
                    .with_hint("name another file; this one stays as it is"),
                _ => Error::io(e, "cannot be written", object).with_hint("check its folder"),
            }
        })
    }

    /// Has it written. A file that does not become whole goes.
    pub(super) fn write<T>(
        self,
        write: impl FnOnce(&mut dyn Write) -> Result<io::Result<T>>,
    ) -> Result<T> {
        match self {
            Self::Output(context) => {
                let mut to = BufWriter::new(Raw(context));
                let written = write(&mut to)?;
                let flushed = to.flush();
                let failed = |e| Error::io(e, "cannot be written", "standard output");
                written.and_then(|written| flushed.map(|()| written)).map_err(failed)
            }
            Self::New(file, path) => {
                let mut to = BufWriter::new(&file);
                let failed = |e| Error::io(e, "cannot be written", path.display().to_string());
                let written = write(&mut to).and_then(|written| written.map_err(failed));
                let mut durable = || {
                    to.flush()?;
                    file.sync_all()?;
                    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                    sync_names(&File::open(folder.unwrap_or(Path::new(".")))?)
                };
                let done = written.and_then(|written| durable().map(|()| written).map_err(failed));
                if done.is_err() {
                    // The first error is told; what is left has no signature.
                    let _ = fs::remove_file(path);
                }
                done
            }
        }
    }
}

/// Standard output, as commands write to it: a reader that goes away is no failure.
struct Raw<'a>(&'a Context);

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.out.raw(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.out.flush();
        Ok(())
    }
}
