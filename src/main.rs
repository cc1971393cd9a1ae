//! The command line of pagekeep: parse, call, map to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pagekeep::cli::run()
}
