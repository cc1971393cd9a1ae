//! A shell command that gets a message as JSON on its standard input.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::message::{Message, cleaned};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, check_cancelled};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon its end is noticed.
const TICK: Duration = Duration::from_millis(20);
/// How much of what it says is told.
const SHOWN: usize = 300;

/// Runs it. Returns what it printed.
///
/// # Errors
/// [`ErrorKind::Failure`] when it fails or takes too long; [`ErrorKind::Interrupted`]. The command
/// itself may hold a secret and is in no error.
pub(super) fn send(message: &Message, command: &str, monitor: &dyn Monitor) -> Result<String> {
    let failed = |what: String| {
        let error = Error::new(ErrorKind::Failure, what).with_object("the command");
        error.with_hint("run it by hand: it gets JSON on its standard input, and has to end with 0")
    };
    let unable = |e: io::Error| failed(format!("cannot be run: {e}"));
    // Files: a command that prints without end, or reads nothing, blocks nobody.
    let mut input = tempfile::tempfile().map_err(unable)?;
    input.write_all(message.json().as_bytes()).map_err(unable)?;
    input.seek(SeekFrom::Start(0)).map_err(unable)?;
    let mut output = tempfile::tempfile().map_err(unable)?;
    let copy = || output.try_clone().map_err(unable);
    let child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("PAGEKEEP_EVENT", message.event)
        .env("PAGEKEEP_SUBJECT", &message.subject)
        .stdin(Stdio::from(input))
        .stdout(copy()?)
        .stderr(copy()?)
        .process_group(0)
        .spawn()
        .map_err(unable)?;
    let mut child = Running(child);
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.0.try_wait().map_err(unable)? {
            break status;
        }
        check_cancelled(monitor)?;
        if Instant::now() >= until {
            return Err(failed(format!("did not end within {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(TICK);
    };
    let printed = printed(&mut output);
    let shown = if printed.is_empty() { String::new() } else { format!(": {printed}") };
    match status.success() {
        true => Ok(format!("the command ended with 0{shown}")),
        false => Err(failed(format!("failed: {status}{shown}"))),
    }
}

/// What it printed first; nothing if that can't be read.
fn printed(output: &mut File) -> String {
    let mut bytes = Vec::new();
    let read =
        output.seek(SeekFrom::Start(0)).and_then(|_| output.take(4096).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    read.map_or(String::new(), |_| cleaned(text.trim(), SHOWN))
}

/// A command that ends with whoever waits for it, with all that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::types::Timestamp;

    #[test]
    fn a_command_gets_json_and_its_end_counts() {
        let dir = tempfile::tempdir().unwrap();
        let got = dir.path().join("got");
        let message = Message::test("a", "box", Timestamp(0));
        let command = format!("cat > '{}'; echo \"$PAGEKEEP_EVENT\" done", got.display());
        let told = send(&message, &command, &Silent).unwrap();
        assert_eq!(told, "the command ended with 0: test done");
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(got).unwrap()).unwrap();
        assert_eq!((&read["event"], &read["host"]), (&"test".into(), &"box".into()));
        let error = send(&message, "echo nobody is there >&2; exit 3", &Silent).unwrap_err();
        assert!(error.to_string().contains("exit status: 3: nobody is there"), "{error}");
        // One that reads nothing and prints much is none that hangs.
        send(&message, "head -c 1000000 /dev/zero", &Silent).unwrap();
    }

    #[test]
    fn a_stop_ends_a_command_with_all_that_it_started() {
        struct Stopped;
        impl Monitor for Stopped {
            fn cancelled(&self) -> bool {
                true
            }
        }
        let message = Message::test("a", "box", Timestamp(0));
        let error = send(&message, "sleep 1000 & wait", &Stopped).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}
