//! Where a text comes from that need not stand in the configuration, or must not: a file, a
//! command, the environment.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::input::{self, MAX_SECRET, first_line};
use crate::progress::Monitor;

/// What helps where there is no text.
const SET: &str = "put the text there, or have the configuration name another place";

/// How long a command may take that prints a text.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a text comes from. The first line counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextSource {
    /// The configuration itself: no secret.
    Plain(String),
    /// A file.
    File(PathBuf),
    /// A shell command.
    Command(String),
    /// A variable of the environment.
    Env(String),
}

impl TextSource {
    /// Reads the text.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when it is not there, or empty; [`ErrorKind::Interrupted`].
    pub(crate) fn read(&self, monitor: &dyn Monitor) -> Result<Zeroizing<String>> {
        let (text, object) = match self {
            Self::Plain(text) => (Zeroizing::new(text.clone()), text.clone()),
            Self::File(path) => {
                let text = input::text(path, MAX_SECRET, ErrorKind::WrongKey, monitor)?;
                (text, path.display().to_string())
            }
            Self::Command(command) => {
                let by_hand = "run the command by hand: it has to print the text in its first line, and to end with 0";
                let text =
                    input::output_of(command, "the command of a channel", Some(PATIENCE), monitor);
                (text.map_err(|e| e.with_hint(by_hand))?, "the command of a channel".to_owned())
            }
            Self::Env(name) => {
                let object = format!("the environment variable {name}");
                (input::variable(name).map_err(|e| e.with_hint(SET))?, object)
            }
        };
        let line = Zeroizing::new(first_line(&text).trim().to_owned());
        match line.is_empty() {
            true => Err(Error::new(ErrorKind::WrongKey, "has no text in its first line")
                .with_object(object)
                .with_hint(SET)),
            false => Ok(line),
        }
    }

    /// Where it is, in words that show nothing of it; `None` if it is no secret.
    pub(crate) fn described(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::File(path) => Some(path.display().to_string()),
            // A command may hold a secret.
            Self::Command(_) => Some("a command".to_owned()),
            Self::Env(name) => Some(format!("${name}")),
        }
    }

    /// The key of the configuration that has it, after the name of what it is, and its value. Like
    /// everything in the file that is no secret.
    pub(super) fn shown(&self) -> (&'static str, String) {
        match self {
            Self::Plain(text) => ("", text.clone()),
            Self::File(path) => ("-file", path.display().to_string()),
            Self::Command(command) => ("-command", command.clone()),
            Self::Env(name) => ("-env", name.clone()),
        }
    }
}
