//! The command line of pagekeep: parse, call, map to an exit code.

use std::process::ExitCode;

/// The C library's allocator keeps what a burst of commits took. This one gives it back, so that a
/// `watch` stays small for months.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pagekeep::cli::run()
}
