//! Builds and changes the databases that the other benches, and people, measure with.
//!
//! ```text
//! cargo bench --bench make_db -- OUT.db MIB [SEED]
//! cargo bench --bench make_db -- --mutate DB one|pct1|pct1pages [SEED] [--keep-wal]
//! ```
//!
//! It is a bench for the sake of the development dependencies and of the optimised profile; it
//! measures nothing. One machine, size and seed give one database.

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

mod realdata;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use realdata::Result;
use realdata::mutate::{Kind, change_file};

const USAGE: &str = "usage: make_db OUT.db MIB [SEED]
       make_db --mutate DB one|pct1|pct1pages [SEED] [--keep-wal]";

fn main() -> ExitCode {
    // Cargo adds `--bench` to every bench's arguments.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if arguments.is_empty() {
        // Where all benches are run in turn there is nothing to do here.
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make_db: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Vec<String>) -> Result<()> {
    let mut flag = |name: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != name);
        arguments.len() < before
    };
    let (change, keep_wal) = (flag("--mutate"), flag("--keep-wal"));
    let number = |text: &String| {
        text.parse::<u64>().map_err(|_| format!("{text} is not a whole number\n{USAGE}"))
    };
    let (path, what, seed) = match arguments.as_slice() {
        [path, what] => (Path::new(path), what, 1),
        [path, what, seed] => (Path::new(path), what, number(seed)?),
        _ => return Err(USAGE.into()),
    };
    let start = Instant::now();
    if change {
        let kind: Kind = what.parse()?;
        let changed = change_file(path, kind, seed, keep_wal)?;
        println!(
            "{what}: {} rows, {} bytes of WAL{}, {:.1} s",
            changed.rows,
            changed.wal_bytes,
            if keep_wal { " kept" } else { ", checkpointed" },
            start.elapsed().as_secs_f64(),
        );
        return Ok(());
    }
    // Beyond 16 TiB SQLite has no page numbers left.
    let mib = number(what)?.clamp(1, 16 << 20);
    let built = realdata::build(path, mib, seed)?;
    println!(
        "{}: {} bytes, {} pages ({} free), {:.1} s",
        path.display(),
        built.bytes,
        built.pages,
        built.free_pages,
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}
