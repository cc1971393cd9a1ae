//! `completions`, `man` and `json-schema`: made from the definitions of flags and answers.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use super::args::{Cli, ManArgs};
use super::complete::script;
use super::lines::schema;
use crate::error::{Error, Result};

/// Behind it stand the exit codes.
const ENVIRONMENT: &str = ".SH ENVIRONMENT
PAGEKEEP_REPO names the repository. PAGEKEEP_KEY_FILE names a key file, PAGEKEEP_PASSWORD has a passphrase; the key file
counts if both are set. PAGEKEEP_STATE_DIR names the folder in which this machine remembers things.
.SH \"EXIT STATUS\"";

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let script = script(&shell.to_string());
    print(&script.map_err(|e| Error::io(e, "cannot be made", "the script"))?)
}

pub(crate) fn man(args: &ManArgs) -> Result<()> {
    match &args.dir {
        Some(dir) => pages(dir),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|e| Error::io(e, "cannot be made", "the manual page"))?;
            print(headed(&String::from_utf8_lossy(&page)).as_bytes())
        }
    }
}

pub(crate) fn json_schema() -> Result<()> {
    print(format!("{:#}\n", schema()?).as_bytes())
}

fn pages(dir: &Path) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(dir)?;
        clap_mangen::generate_to(Cli::command(), dir)?;
        let mut names = Vec::new();
        names_below(&Cli::command(), "", &mut names);
        for name in names {
            let path = dir.join(format!("{name}.1"));
            // Hidden commands have no page.
            if path.exists() {
                std::fs::write(&path, headed(&std::fs::read_to_string(&path)?))?;
            }
        }
        Ok(())
    };
    write().map_err(|e| Error::io(e, "cannot be written to", dir.display().to_string()))
}

/// A manual page with the headings that such pages have.
fn headed(page: &str) -> String {
    match page.contains("Exit codes:") {
        true => page.replace(".SH EXTRA", ENVIRONMENT),
        false => page
            .replace(".SH EXTRA\nExamples:", ".SH EXAMPLES")
            .replace(".SH EXTRA", ".SH EXAMPLES"),
    }
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

/// The names of a command and of all below it, as their pages have them.
fn names_below(command: &clap::Command, above: &str, names: &mut Vec<String>) {
    let name = format!("{above}{}", command.get_name());
    command.get_subcommands().for_each(|below| names_below(below, &format!("{name}-"), names));
    names.push(name);
}
