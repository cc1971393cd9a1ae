//! Small inputs: keys, passphrases, policies.
//!
//! Invariants: no input is read beyond its bound, whatever it is (`/dev/zero`); none is waited for
//! when a stop was asked for, be it a pipe that nobody writes to or a command that hangs. What a
//! command prints is in no error.

use std::env::VarError;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, check_cancelled};

/// The longest key, passphrase with what stands behind it, or recovery key.
pub(crate) const MAX_SECRET: usize = 64 << 10;

/// How soon a stop ends a wait.
const TICK: Duration = Duration::from_millis(100);

/// The whole text of a file, a pipe or standard input (`-`). An error is of the kind given, and
/// names the file.
///
/// # Errors
/// When it can't be read, is longer than `limit`, or is no text; [`ErrorKind::Interrupted`].
pub(crate) fn text(
    path: &Path,
    limit: usize,
    kind: ErrorKind,
    monitor: &dyn Monitor,
) -> Result<Zeroizing<String>> {
    let path = if path.as_os_str() == "-" { Path::new("/dev/stdin") } else { path };
    let name = path.display().to_string();
    let failed = |e: io::Error| {
        let hint = match e.kind() {
            io::ErrorKind::NotFound => "check its path, and whether its disk is mounted",
            io::ErrorKind::PermissionDenied => "check that this user may read it",
            _ => "name a file with the text",
        };
        Error::io(e, "cannot be read", &*name).with_kind(kind).with_hint(hint)
    };
    // Opening a pipe would wait for who writes to it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let mut file = File::from(opened.map_err(|e| failed(e.into()))?);
    let mut bytes = Zeroizing::new(Vec::new());
    while bytes.len() <= limit {
        check_cancelled(monitor)?;
        if !readable(&file).map_err(failed)? {
            continue;
        }
        match some(&mut file, &mut bytes) {
            Ok(0) => break,
            Err(e) if !is_passing(&e) => return Err(failed(e)),
            _ => {}
        }
    }
    if bytes.len() > limit {
        return Err(Error::new(kind, format!("is longer than {limit} bytes"))
            .with_object(name)
            .with_hint("check its path"));
    }
    let text =
        as_text(bytes).ok_or_else(|| Error::new(kind, "is no text (UTF-8)").with_object(name))?;
    // What editors of Windows put in front is none of it.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => Zeroizing::new(rest.to_owned()),
        None => text,
    })
}

/// The first line of a text.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The text of a variable of the environment.
///
/// # Errors
/// [`ErrorKind::WrongKey`] when it is not set, or is no text. The error that the system answers has
/// the bytes of such a variable, which may be a secret: it is in none of ours.
pub(crate) fn variable(name: &str) -> Result<Zeroizing<String>> {
    let wrong = |what| {
        Error::new(ErrorKind::WrongKey, what)
            .with_object(format!("the environment variable {name}"))
    };
    match std::env::var(name) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(VarError::NotPresent) => Err(wrong("is not set")),
        Err(VarError::NotUnicode(bytes)) => {
            drop(Zeroizing::new(bytes.into_encoded_bytes()));
            Err(wrong("is no text (UTF-8)"))
        }
    }
}

/// What a shell command prints to its standard output. `given_by` is what the command was named in.
/// One that takes longer than `limit` is stopped: a daemon has nobody who would.
///
/// # Errors
/// [`ErrorKind::WrongKey`] when it fails, in whatever way, or prints too much;
/// [`ErrorKind::Interrupted`]. The command itself may hold a secret and is in no error.
pub(crate) fn output_of(
    command: &str,
    given_by: &str,
    limit: Option<Duration>,
    monitor: &dyn Monitor,
) -> Result<Zeroizing<String>> {
    let until = limit.and_then(|limit| Instant::now().checked_add(limit));
    let wrong = |what: String| {
        Error::new(ErrorKind::WrongKey, what).with_object(given_by).with_hint(
            "run the command by hand: it has to print the passphrase in its first line, and to end with 0",
        )
    };
    let failed = |e: io::Error| wrong("cannot be run".to_owned()).with_source(e);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdout(Stdio::piped());
    // On a terminal it may have to ask there, which only the terminal's own group may; and the
    // terminal's signals reach it.
    let apart = File::open("/dev/tty").is_err();
    if apart {
        shell.process_group(0);
    }
    let mut child = Running(shell.spawn().map_err(failed)?, apart);
    let Some(mut stdout) = child.0.stdout.take() else { return Err(wrong("has no output".into())) };
    ioctl_fionbio(&stdout, true).map_err(|e| failed(e.into()))?;
    let mut bytes = Zeroizing::new(Vec::new());
    let (mut status, mut open) = (None, true);
    while status.is_none() || open {
        check_cancelled(monitor)?;
        if until.is_some_and(|until| until <= Instant::now()) {
            let seconds = limit.unwrap_or_default().as_secs();
            return Err(wrong(format!("did not end within {seconds} s, and was stopped")));
        }
        if bytes.len() > MAX_SECRET {
            return Err(wrong(format!("printed more than {MAX_SECRET} bytes")));
        }
        // Asked first: what it printed before it ended is there by then.
        status = child.0.try_wait().map_err(failed)?;
        if !open {
            std::thread::sleep(TICK / 10);
        } else if readable(&stdout).map_err(failed)? {
            match some(&mut stdout, &mut bytes) {
                Ok(0) => open = false,
                Err(e) if !is_passing(&e) => return Err(failed(e)),
                _ => {}
            }
        } else if status.is_some() {
            // Something that it left behind holds the pipe open.
            open = false;
        }
    }
    match status {
        Some(status) if !status.success() => Err(wrong(format!("failed: {status}"))),
        _ => as_text(bytes).ok_or_else(|| wrong("printed no text (UTF-8)".into())),
    }
}

/// A command that ends with whoever waits for it, with all that it started if it has a group of its
/// own.
struct Running(Child, bool);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).filter(|_| self.1);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Whether there is something to read, or the end, within a tick.
fn readable(from: &impl AsFd) -> io::Result<bool> {
    let nanos = TICK.subsec_nanos().into();
    let tick = Timespec { tv_sec: 0, tv_nsec: nanos };
    let mut asked = [PollFd::new(from, PollFlags::IN)];
    match poll(&mut asked, Some(&tick)) {
        Ok(n) => Ok(n > 0),
        Err(Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Reads some bytes more.
fn some(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = Zeroizing::new([0; 4096]);
    let n = from.read(&mut *buffer)?;
    bytes.extend(buffer.iter().take(n));
    Ok(n)
}

fn is_passing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn as_text(mut bytes: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    String::from_utf8(std::mem::take(&mut *bytes)).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_command_that_does_not_end_is_stopped_and_named() {
        let limit = Some(Duration::from_millis(300));
        let e = output_of("sleep 1000", "the command", limit, &Silent).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WrongKey);
        assert!(e.to_string().contains("the command: did not end within"), "{e}");
        let text = output_of("echo it", "the command", Some(Duration::from_secs(600)), &Silent);
        assert_eq!(first_line(&text.unwrap()), "it");
    }
}
