//! A terminal, which `script` makes: a command runs at it, and a test reads and types.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::cli::Lab;

/// Runs a line of shell at a terminal, in the folder and with the variables of [`Lab::command`].
pub fn command(lab: &Lab, line: &str) -> Command {
    let mut script = lab.other("script");
    script.args(["-qefc", line, "/dev/null"]);
    script
}

/// A terminal with somebody who types.
pub struct Terminal {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// All that was shown so far.
    seen: String,
}

impl Terminal {
    /// Starts a line of shell without a key file, so that it asks; `None`, with a note, where there
    /// is no `script`.
    pub fn start(lab: &Lab, line: &str) -> Option<Self> {
        let mut script = command(lab, line);
        script.env_remove("PAGEKEEP_KEY_FILE").stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = script.spawn() else {
            println!("skipped: there is no `script`");
            return None;
        };
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self { child, input, output, seen: String::new() })
    }

    /// Reads until a text was shown so many times.
    pub fn wait_for(&mut self, text: &str, times: usize) {
        let mut buffer = [0; 1024];
        while self.seen.matches(text).count() < times {
            let n = self.output.read(&mut buffer).unwrap();
            assert!(n > 0, "{text:?} is not shown {times} times: {}", self.seen);
            self.seen += &String::from_utf8_lossy(&buffer[..n]);
        }
    }

    /// Types a text; `false` if nobody is there to take it.
    pub fn types(&mut self, text: &str) -> bool {
        self.input.write_all(text.as_bytes()).is_ok()
    }

    /// Reads to the end, and returns all that was shown.
    pub fn end(mut self) -> String {
        self.output.read_to_string(&mut self.seen).unwrap();
        self.child.wait().unwrap();
        self.seen
    }
}
