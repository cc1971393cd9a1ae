//! The Python that checks our bytes with code that is not ours.

use std::path::{Path, PathBuf};
use std::process::Command;

const HOW_TO_GET_ONE: &str = "there is no Python for the independent checks; to make one:
    python3 -m venv target/reader-venv
    target/reader-venv/bin/pip install -r tests/reader/requirements.txt";

/// A path below the package's folder.
pub fn in_package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The Python that `PAGEKEEP_READER_PYTHON` names, else the one in `target/reader-venv`, if it is
/// there. With `PAGEKEEP_REQUIRE_READER=1` it has to be.
pub fn find() -> Option<PathBuf> {
    let named = std::env::var_os("PAGEKEEP_READER_PYTHON").filter(|value| !value.is_empty());
    let made = in_package("target/reader-venv/bin/python");
    let python = named.map(PathBuf::from).or_else(|| made.exists().then_some(made));
    let required = std::env::var_os("PAGEKEEP_REQUIRE_READER").is_some_and(|v| v == "1");
    assert!(python.is_some() || !required, "{HOW_TO_GET_ONE}");
    if python.is_none() {
        eprintln!("not run: {HOW_TO_GET_ONE}");
    }
    python
}

/// A script of `tests/reader`.
pub fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg("-B").arg(in_package("tests/reader").join(name));
    command
}
