//! Whether a terminal shows what is typed.
//!
//! Invariant: whoever hides it shows it again, also where a signal ends the process.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// How the terminal was before what is typed was hidden between two prompts.
static HIDDEN: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Hides what is typed as long as this is there: who types or pastes two passphrases does not wait
/// for the second prompt, and stretching the first one takes a while.
pub(crate) struct Hidden;

impl Hidden {
    pub(crate) fn until_dropped() -> Self {
        let hide = || -> io::Result<(File, Termios)> {
            let terminal = File::open("/dev/tty")?;
            let before = tcgetattr(&terminal)?;
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
            Ok((terminal, before))
        };
        // Without a terminal nothing is shown.
        if io::stdin().is_terminal()
            && let Ok(before) = hide()
        {
            *HIDDEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        }
        Self
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        show_typing();
    }
}

/// The terminal shows what is typed, if that was hidden. Also for whoever ends the process.
pub(crate) fn show_typing() {
    let hidden = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = hidden {
        show_again(&terminal, &before);
    }
}

/// The terminal shows what is typed, as before. If that fails there is nothing better to do.
pub(crate) fn show_again(terminal: &File, before: &Termios) {
    let _ = tcsetattr(terminal, OptionalActions::Now, before);
}
