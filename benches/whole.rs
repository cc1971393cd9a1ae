//! The `pagekeep` program against the floor, as whole processes and on files.
//!
//! `cargo bench --bench whole -- --mib 1024 --rounds 3 --cmp`; see [`harness::options::USAGE`] for
//! all options. For each step it prints minimum and median of wall and CPU time, peak memory, stored
//! bytes, and the ratios of Pagekeep to the floor.
//!
//! The page cache is warm throughout: what is compared is the work, not the disk's reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    missing_docs
)]

// Its stages one by one are not needed here.
#[allow(dead_code)]
mod components;
mod harness;
// Nor is what it tells of a database.
#[allow(dead_code)]
mod realdata;

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use harness::Result;
use harness::measure::{RELAY, relay};
use harness::options::{Options, USAGE};
use harness::rounds::{Bench, COPY, FLOOR};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("whole: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (first, rest) = arguments.split_first().map_or((None, &[][..]), |(f, r)| (f.to_str(), r));
    match first {
        Some(RELAY) => return relay(rest),
        Some(COPY) => {
            fs::copy(&rest[0], &rest[1])?;
            return Ok(());
        }
        Some(FLOOR) => return components::command::main(&texts(rest)?),
        // A test run of all targets: there is nothing to test in a measurement.
        None => return Ok(()),
        Some("--help") => {
            println!("{USAGE}");
            return Ok(());
        }
        Some(_) => {}
    }

    let mut arguments = texts(&arguments)?;
    // Cargo adds `--bench` to every bench's arguments.
    arguments.retain(|argument| argument != "--bench");
    let options = Options::parse(&arguments)?;
    fs::create_dir_all(&options.dir)
        .map_err(|e| format!("cannot create {}: {e}", options.dir.display()))?;
    let source = match &options.db {
        Some(path) => path.clone(),
        None => {
            let path = options.dir.join(format!("real-{}-{}.db", options.mib, options.seed));
            if !path.exists() {
                println!("building {} ({} MiB)", path.display(), options.mib);
                realdata::build(&path, options.mib, options.seed)?;
            }
            path
        }
    };
    Bench::new(options, source).run()
}

fn texts(arguments: &[OsString]) -> Result<Vec<String>> {
    let text = |argument: &OsString| {
        argument.to_str().map(str::to_owned).ok_or_else(|| "an argument is not UTF-8".into())
    };
    arguments.iter().map(text).collect()
}
