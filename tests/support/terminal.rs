//! A terminal, which `script` makes: a command runs at it, and a test reads and types.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cli::Lab;

/// How long a command at a terminal may say nothing and take nothing before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

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
    /// Starts a line of shell; `None`, with a note, where there is no `script`.
    pub fn start(lab: &Lab, line: &str) -> Option<Self> {
        Self::run(command(lab, line))
    }

    /// Starts a line of shell without a key file, so that it asks for a passphrase.
    pub fn start_without_key(lab: &Lab, line: &str) -> Option<Self> {
        let mut script = command(lab, line);
        script.env_remove("PAGEKEEP_KEY_FILE");
        Self::run(script)
    }

    fn run(mut script: Command) -> Option<Self> {
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = script.spawn() else {
            println!("skipped: there is no `script`");
            return None;
        };
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self { child, input, output, seen: String::new() })
    }

    /// Reads until a text was shown so many times.
    pub fn wait_for(&mut self, text: &str, times: usize) {
        while self.seen.matches(text).count() < times {
            assert!(self.read(), "{text:?} is not shown {times} times: {}", self.seen);
        }
    }

    /// Reads what comes next; `false` at the end. A test that waits for ever tells nobody what
    /// was shown, so this one fails.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap();
            match poll(&mut [PollFd::new(&self.output, PollFlags::IN)], Some(&left)) {
                Ok(0) => {
                    let _ = self.child.kill();
                    panic!("nothing more is shown after {}", self.seen);
                }
                Err(rustix::io::Errno::INTR) => {}
                ready => {
                    ready.unwrap();
                    let n = self.output.read(&mut buffer).unwrap();
                    self.seen += &String::from_utf8_lossy(&buffer[..n]);
                    return n > 0;
                }
            }
        }
    }

    /// Types a text; `false` if nobody is there to take it.
    pub fn types(&mut self, text: &str) -> bool {
        self.input.write_all(text.as_bytes()).is_ok()
    }

    /// Reads to the end, and returns all that was shown.
    pub fn end(mut self) -> String {
        while self.read() {}
        self.child.wait().unwrap();
        self.seen
    }
}
