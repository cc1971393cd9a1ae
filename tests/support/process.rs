//! Processes beside the test's own: POSIX locks belong to processes, so an application that is to be in the way has to be one.
//!
//! A process ends when its stdin does; so a test that fails leaves none behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// This test binary, as one of its ignored tests that plays a role: `hostile::role_writer`.
pub fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(role_args(name));
    command
}

/// The arguments that make this test binary, or a copy of it, play a role.
///
/// A name that no test has would run no test, and end well: a test whose applications do nothing
/// would pass. So it is looked up.
pub fn role_args(name: &str) -> [&str; 5] {
    static ROLES: OnceLock<String> = OnceLock::new();
    let roles = ROLES.get_or_init(|| {
        let mut list = Command::new(std::env::current_exe().unwrap());
        let listed = list.args(["--list", "--ignored"]).output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        String::from_utf8(listed.stdout).unwrap()
    });
    let line = format!("{name}: test");
    assert!(roles.lines().any(|role| role == line), "no ignored test is {name}:\n{roles}");
    ["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]
}

/// A process that reads lines and answers lines.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, stdout }
    }

    /// A [`role`] that works at a database.
    pub fn role(name: &str, database: &Path, seed: u64) -> Self {
        let mut command = role(name);
        command.env("PAGEKEEP_ROLE_DATABASE", database).env("PAGEKEEP_ROLE_SEED", seed.to_string());
        Self::start(&mut command)
    }

    /// Says a line and hears one.
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the process ended at {line:?}");
        answer.trim_end().to_owned()
    }

    /// Waits until it says that it is ready; what the test harness says before is skipped.
    pub fn ready(mut self) -> Self {
        let mut line = String::new();
        while line.trim_end() != "ready" {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the process never was ready");
        }
        self
    }

    /// SIGKILL, at whatever it is.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Lets it end, and hears what it says last.
    pub fn end(mut self) -> String {
        drop(self.stdin.take());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also when the test fails: nobody is left behind.
        drop(self.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A command for the script that uses Python's own SQLite; `None`, with a note, where there is no Python.
pub fn python() -> Option<Command> {
    let named = std::env::var("PYTHON").ok().filter(|name| !name.is_empty());
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let new_enough = "import sys, sqlite3; sys.exit(sys.version_info < (3, 11))";
    let found = Command::new(&python)
        .args(["-c", new_enough])
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        let required = std::env::var_os("PAGEKEEP_REQUIRE_READER").is_some_and(|v| v == "1");
        assert!(!required, "{python} is no Python 3.11 or later; PYTHON=... names one");
        eprintln!("not run: there is no Python 3.11 or later; PYTHON=... names one");
        return None;
    }
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/follow/hostile/application.py"));
    Some(command)
}
