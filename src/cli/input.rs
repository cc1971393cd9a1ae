//! What people are asked for on a terminal, and what a signal stops.

use std::fs::File;
use std::io;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use rustix::termios::tcgetattr;
use zeroize::Zeroizing;

use super::echo::show_again;
use super::progress::stop_requested;
use super::terminal::printable;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, stopped};

/// How soon a signal ends a wait.
const TICK: Duration = Duration::from_millis(100);

/// Shows nothing, and stops at a signal.
pub(crate) struct Signals;

impl Monitor for Signals {
    fn cancelled(&self) -> bool {
        stop_requested()
    }
}

/// Asks on the terminal, without showing what is typed.
///
/// # Errors
/// When that fails; [`ErrorKind::Interrupted`].
pub(crate) fn prompt(text: &str) -> Result<Zeroizing<String>> {
    let failed = |e| Error::io(e, "cannot be asked for", "the passphrase");
    let terminal = File::open("/dev/tty").map_err(failed)?;
    let before = tcgetattr(&terminal).map_err(|e| failed(e.into()))?;
    let (sender, answer) = crossbeam_channel::bounded(1);
    let text = printable(text);
    std::thread::spawn(move || {
        // Nobody waits for the answer after a signal.
        let _ = sender.send(rpassword::prompt_password(text).map(Zeroizing::new));
    });
    loop {
        match answer.recv_timeout(TICK) {
            // Ctrl-C, as the prompt reads it.
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => return Err(stopped()),
            // Ctrl-D.
            Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::new(ErrorKind::WrongKey, "no passphrase was typed"));
            }
            Ok(answer) => return answer.map_err(failed),
            Err(RecvTimeoutError::Timeout) if stop_requested() => {
                show_again(&terminal, &before);
                return Err(stopped());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                show_again(&terminal, &before);
                return Err(failed(io::ErrorKind::Other.into()));
            }
        }
    }
}
