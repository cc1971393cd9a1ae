//! `completions` and `man`: made from the definition of the flags.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use super::args::{Cli, ManArgs};
use crate::error::{Error, Result};

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pagekeep", &mut script);
    print(&script)
}

pub(crate) fn man(args: &ManArgs) -> Result<()> {
    match &args.dir {
        Some(dir) => pages(dir),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|e| Error::io(e, "cannot be made", "the manual page"))?;
            print(&page)
        }
    }
}

fn pages(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|e| Error::io(e, "cannot be written to", dir.display().to_string()))
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io(e, "cannot be written", "standard output"))
        }
        _ => Ok(()),
    }
}
