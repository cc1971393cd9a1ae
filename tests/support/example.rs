//! Where cargo puts the examples.

use std::path::PathBuf;
use std::process::Command;

/// The binary of an example. A whole `cargo test` builds the examples beside the tests. One that
/// names a single test does not: then an example that is there is taken as it is, and one that is
/// missing is built.
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--example", name]).status().unwrap();
        assert!(built.success());
    }
    binary
}
